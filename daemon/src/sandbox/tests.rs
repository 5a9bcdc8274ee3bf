//! Each layer alone, so that none hides behind another: this program again as an *inmate*, which enters one layer and then
//! tries what it should not be able to do. The server as a whole is attacked in the tests of the program `kerntun`.

use super::*;
use rustix::event::{Timespec, epoll};
use rustix::process::{Pid, Signal, getppid, kill_process, test_kill_process};
use std::fs::{self, File};
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

const INMATE: &str = "KERNTUN_TEST_INMATE";
const DIRECTORY: &str = "KERNTUN_TEST_DIRECTORY";
/// An inmate's exit code where the kernel lacks the layer.
const NOT_HERE: i32 = 77;

/// A directory of its own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ktd-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the inmate's deed `name` and says how that ended.
fn inmate(name: &str, directory: &Path) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sandbox::tests::deed", "--nocapture", "--test-threads=1"]);
    command.env(INMATE, name).env(DIRECTORY, directory).status().unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: needs root, whose rights are to be given up");
    }
    root
}

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

/// A line of `/proc/thread-self/status`: the test harness has a thread of its own.
fn status(name: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// No test: what inmates do.
#[test]
fn deed() {
    let Ok(name) = std::env::var(INMATE) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let (inside, outside) = (directory.join("inside/file"), directory.join("file"));
    match name.as_str() {
        "landlock" => {
            privileges::no_new().unwrap();
            if landlock::enter(&Role::Server).is_err() {
                std::process::exit(NOT_HERE);
            }
            assert_eq!(errno(File::open(&outside)), libc::EACCES);
            assert_eq!(errno(File::create(directory.join("new"))), libc::EACCES);
            assert_eq!(errno(fs::remove_file(&outside)), libc::EACCES);
            assert_eq!(errno(Command::new("/bin/true").status()), libc::EACCES);
        }
        "landlock-keeper" => {
            privileges::no_new().unwrap();
            let inside_directory = directory.join("inside");
            if landlock::enter(&Role::Keeper { directory: Some(&inside_directory), server: 0 }).is_err() {
                std::process::exit(NOT_HERE);
            }
            assert_eq!(errno(File::open(&inside)), libc::EACCES);
            assert_eq!(errno(File::create(directory.join("inside/new"))), libc::EACCES);
            assert_eq!(errno(fs::remove_file(&outside)), libc::EACCES);
            fs::remove_file(&inside).unwrap();
            // It can still look whether the file is there, and end the server.
            assert_eq!(errno(fs::symlink_metadata(&inside)), libc::ENOENT);
            test_kill_process(getppid().unwrap()).unwrap();
        }
        "landlock-beyond-files" => {
            privileges::no_new().unwrap();
            if landlock::restrict(&Role::Server).unwrap() != ::landlock::RulesetStatus::FullyEnforced {
                std::process::exit(NOT_HERE);
            }
            assert_eq!(errno(TcpStream::connect("127.0.0.1:9")), libc::EACCES);
            assert_eq!(test_kill_process(getppid().unwrap()).unwrap_err().raw_os_error(), libc::EPERM);
        }
        "user" => {
            privileges::change_user().unwrap();
            let account = account::Account::find();
            assert_eq!(status("Uid"), [account.user; 4].map(|id| id.to_string()).join(" "));
            assert_eq!(status("Gid"), [account.group; 4].map(|id| id.to_string()).join(" "));
            assert_eq!(status("Groups"), "");
            privileges::keep_capabilities(&Role::Server).unwrap();
            let root = nix::unistd::Uid::from_raw(0);
            assert!(nix::unistd::setresuid(root, root, root).is_err(), "there is no way back");
            assert_eq!(errno(File::open(&outside)), libc::EACCES, "a private file of root's");
        }
        "capabilities" => {
            privileges::drop_bounding_set();
            privileges::change_user().unwrap();
            privileges::keep_capabilities(&Role::Server).unwrap();
            // Bits 10 and 12 of <linux/capability.h>.
            for set in ["CapPrm", "CapEff"] {
                assert_eq!(status(set), "0000000000001400");
            }
            for set in ["CapInh", "CapBnd", "CapAmb"] {
                assert_eq!(status(set), "0000000000000000");
            }
            UdpSocket::bind("127.0.0.1:0").unwrap();
        }
        "capabilities-keeper" => {
            privileges::drop_bounding_set();
            privileges::keep_capabilities(&Role::Keeper { directory: None, server: 0 }).unwrap();
            assert_eq!(status("CapEff"), "0000000000000020");
            assert_eq!(status("CapBnd"), "0000000000000000");
            assert_eq!(status("Uid"), "0 0 0 0");
        }
        "dumps" => {
            memory::keep_out_of_dumps().unwrap();
            assert_eq!(fs::read_to_string("/proc/self/coredump_filter").unwrap().trim(), "00000000");
            memory::keep_closed().unwrap();
            assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
        }
        "memory" => match memory::lock() {
            Ok(()) => {
                let locked: u64 = status("VmLck").split(' ').next().unwrap().parse().unwrap();
                assert!(locked > 0);
                let before: u64 = status("VmRSS").split(' ').next().unwrap().parse().unwrap();
                let lazy = Vec::<u8>::with_capacity(64 << 20);
                let after: u64 = status("VmRSS").split(' ').next().unwrap().parse().unwrap();
                assert!(after < before + (1 << 10), "only what is used is locked: {before} KiB, {after} KiB");
                drop(lazy);
            }
            Err(reason) => {
                println!("SKIPPED: memory cannot be locked here: {reason}");
                assert_eq!(status("VmLck"), "0 kB", "all or nothing: later memory would be refused");
            }
        },
        "seccomp" => {
            privileges::no_new().unwrap();
            let parent = getppid().unwrap();
            filter::enter(&Role::Server).unwrap();
            assert_eq!(errno(File::open(&outside)), libc::ENOSYS);
            assert_eq!(errno(fs::remove_file(&outside)), libc::ENOSYS);
            assert_eq!(errno(TcpStream::connect("127.0.0.1:9")), libc::ENOSYS);
            assert_eq!(errno(UnixStream::connect("/dev/log")), libc::ENOSYS);
            assert_eq!(test_kill_process(parent).unwrap_err().raw_os_error(), libc::ENOSYS);
            // And what it should be able to.
            let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
            let socket = UdpSocket::from(rustix::net::socket(family, kind, Some(rustix::net::ipproto::UDP)).unwrap());
            assert_eq!(errno(socket.connect("127.0.0.1:9")), libc::ENOSYS);
            std::thread::Builder::new().name("another".to_owned()).spawn(|| ()).unwrap().join().unwrap();
            // Every option that it sets, by what sets them.
            let offload = kerntun_linux::UdpOffload::ALL;
            let config = kerntun_linux::UdpConfig { port: 0, mark: 0, workers: 2, offload, ipv6: true };
            let bound = kerntun_linux::bind(&config).unwrap();
            let gro = bound.workers.iter().all(|sockets| sockets.v4.gro());
            assert!(gro, "as without the filter (Linux 5.0)");
        }
        "seccomp-program" => {
            privileges::no_new().unwrap();
            filter::enter(&Role::Server).unwrap();
            let _ = Command::new("/bin/true").status();
        }
        "seccomp-keeper" => {
            privileges::no_new().unwrap();
            let child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
            let parent = getppid().unwrap();
            filter::enter(&Role::Keeper { directory: None, server: child.id() }).unwrap();
            assert_eq!(test_kill_process(parent).unwrap_err().raw_os_error(), libc::ENOSYS, "only the server");
            assert_eq!(errno(File::open(&outside)), libc::ENOSYS);
            assert_eq!(errno(UdpSocket::bind("127.0.0.1:0")), libc::ENOSYS);
            fs::remove_file(&outside).unwrap();
            assert_eq!(errno(fs::symlink_metadata(&outside)), libc::ENOENT);
            let mut child = child;
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(15));
        }
        "cost" => {
            let (socket, _other) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let before = cost(&socket, &epoll);
            privileges::no_new().unwrap();
            filter::enter(&Role::Server).unwrap();
            let after = cost(&socket, &epoll);
            for ((name, before), (_, after)) in before.into_iter().zip(after) {
                println!("{name}: {before:.0} ns, under the filter {after:.0} ns");
            }
        }
        other => panic!("no deed is called {other}"),
    }
    // Without the end of the test harness, which would open files.
    std::process::exit(0);
}

/// Nanoseconds that cheap system calls take, the best of several rounds: two that the filter allows whatever their
/// arguments, as it does those that carry packets, and one whose arguments it looks at.
fn cost(socket: &UnixStream, epoll: &OwnedFd) -> [(&'static str, f64); 3] {
    const CALLS: u32 = 200_000;
    let round = |call: &dyn Fn()| {
        let begin = std::time::Instant::now();
        (0..CALLS).for_each(|_| call());
        begin.elapsed().as_secs_f64() / f64::from(CALLS) * 1e9
    };
    let best = |call: &dyn Fn()| (0..7).map(|_| round(call)).fold(f64::MAX, f64::min);
    let receive = || {
        let _ = rustix::net::recv(socket, &mut [0; 8], rustix::net::RecvFlags::empty());
    };
    let wait = || {
        let nothing = epoll::Event { flags: epoll::EventFlags::IN, data: epoll::EventData::new_u64(0) };
        let _ = epoll::wait(epoll, &mut [nothing][..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    };
    let flags = || {
        let _ = rustix::fs::fcntl_getfl(socket);
    };
    [("recvfrom", best(&receive)), ("epoll_wait", best(&wait)), ("fcntl", best(&flags))]
}

/// Sees to it that a deed is done as it says.
fn does(name: &str) -> ExitStatus {
    let directory = Scratch::new(name);
    fs::create_dir(directory.0.join("inside")).unwrap();
    for file in ["file", "inside/file"] {
        fs::write(directory.0.join(file), "").unwrap();
        fs::set_permissions(directory.0.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    inmate(name, &directory.0)
}

#[track_caller]
fn does_well(name: &str) {
    assert_eq!(does(name).code(), Some(0), "{name}");
}

#[test]
fn files_by_landlock() {
    for name in ["landlock", "landlock-keeper", "landlock-beyond-files"] {
        match does(name).code() {
            Some(NOT_HERE) => println!("SKIPPED: {name}: this kernel has no Landlock, or not as much"),
            code => assert_eq!(code, Some(0), "{name}"),
        }
    }
}

#[test]
fn another_user() {
    if is_root() {
        does_well("user");
    }
}

#[test]
fn few_capabilities() {
    if is_root() {
        does_well("capabilities");
        does_well("capabilities-keeper");
    }
}

#[test]
fn memory_of_its_own() {
    does_well("dumps");
    does_well("memory");
}

#[test]
fn few_system_calls() {
    does_well("seccomp");
    does_well("seccomp-keeper");
    let status = does("seccomp-program");
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

#[test]
#[ignore = "a measurement, for a quiet machine: --ignored --nocapture"]
fn the_cost_of_a_system_call() {
    does_well("cost");
}

#[test]
fn what_is_missing_has_a_name() {
    let mut sandbox = Sandbox::default();
    sandbox.add("one", Ok(()));
    sandbox.add("two", Err("a reason".to_owned()));
    sandbox.add("three", Ok(()));
    sandbox.add("three", Err("another".to_owned()));
    assert_eq!(sandbox.layers(), "one");
    let mut options = Options::new("x", crate::Mode::Foreground);
    assert!(sandbox.satisfy(&options).is_ok());
    options.require_sandbox = true;
    let said = sandbox.satisfy(&options).unwrap_err().to_string();
    assert!(said.ends_with("without two (a reason), three (another)"), "{said}");
}
