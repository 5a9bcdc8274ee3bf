//! A daemon that an attacker has taken over: what it can still do.

#![allow(missing_docs)]
#![cfg(target_arch = "x86_64")]

mod captive;
mod daemon;

use captive::{Captive, Outcome};
use daemon::{Daemon, is_in, is_root};
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// An open file of no process.
const NO_FILE: u64 = u64::MAX;
/// The number of no process.
const NO_PROCESS: u64 = i32::MAX as u64;
const HERE: u64 = libc::AT_FDCWD as u64;
const NOT_THERE: Outcome = Outcome::Returned(-(libc::ENOSYS as i64));

/// Something that an attacker would try: its name, its system call, the bytes that `PLACE` among the arguments points to.
type Attempt = (&'static str, i64, &'static [u8], [u64; 6]);

/// Stands for the address of the bytes.
const PLACE: u64 = 0x5eed_5eed_5eed;

fn attempt(captive: &mut Captive, (_, number, bytes, mut arguments): Attempt) -> Outcome {
    let place = captive.put(bytes);
    for argument in &mut arguments {
        if *argument == PLACE {
            *argument = place;
        }
    }
    captive.call(number, arguments)
}

const fn numbers<const N: usize>(values: [i32; N]) -> [u64; 6] {
    let mut all = [0; 6];
    let mut place = 0;
    while place < N {
        all[place] = values[place] as u64;
        place += 1;
    }
    all
}

/// `<linux/in.h>` and `<linux/udp.h>`.
const IP_XFRM_POLICY: i32 = 17;
const UDP_ENCAP: i32 = 100;

/// 127.0.0.1, port 9.
const DISCARD: &[u8] = &[2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// What does not exist for the server. Each of these works in a process that is not locked up, or fails there for a reason of
/// its own (no such descriptor, nobody listening).
const REFUSED: &[Attempt] = &[
    ("open a file", libc::SYS_open, b"/proc/version\0", [PLACE, 0, 0, 0, 0, 0]),
    ("open a file", libc::SYS_openat, b"/proc/version\0", [HERE, PLACE, 0, 0, 0, 0]),
    ("open a device", libc::SYS_openat, b"/dev/net/tun\0", [HERE, PLACE, 2, 0, 0, 0]),
    ("make a file", libc::SYS_creat, b"/tmp/kerntun-attack\0", [PLACE, 0o600, 0, 0, 0, 0]),
    ("remove a file", libc::SYS_unlink, b"/tmp/kerntun-attack\0", [PLACE, 0, 0, 0, 0, 0]),
    ("list a directory", libc::SYS_getdents64, b"", [NO_FILE, 0, 0, 0, 0, 0]),
    ("make a nameless file", libc::SYS_memfd_create, b"x\0", [PLACE, 0, 0, 0, 0, 0]),
    ("connect", libc::SYS_connect, DISCARD, [NO_FILE, PLACE, 16, 0, 0, 0]),
    ("a TCP socket", libc::SYS_socket, b"", numbers([libc::AF_INET, libc::SOCK_STREAM, 0])),
    ("a raw socket", libc::SYS_socket, b"", numbers([libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP])),
    ("a raw IPv6 socket", libc::SYS_socket, b"", numbers([libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6])),
    ("a packet socket", libc::SYS_socket, b"", numbers([libc::AF_PACKET, libc::SOCK_RAW, 0x300])),
    ("a packet socket", libc::SYS_socket, b"", numbers([libc::AF_PACKET, libc::SOCK_DGRAM, 0x300])),
    ("a netlink socket", libc::SYS_socket, b"", numbers([libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE])),
    ("a unix socket", libc::SYS_socket, b"", numbers([libc::AF_UNIX, libc::SOCK_DGRAM, 0])),
    ("a pair of unix sockets", libc::SYS_socketpair, b"", [1, libc::SOCK_DGRAM as u64, 0, PLACE, 0, 0]),
    ("change routes", libc::SYS_ioctl, b"", [NO_FILE, 0x890b, PLACE, 0, 0, 0]),
    ("change an interface", libc::SYS_ioctl, b"", [NO_FILE, 0x8914, PLACE, 0, 0, 0]),
    ("change the firewall", libc::SYS_setsockopt, b"", [NO_FILE, 0, 64, PLACE, 4, 0]),
    ("change the IPv6 firewall", libc::SYS_setsockopt, b"", [NO_FILE, 41, 64, PLACE, 4, 0]),
    ("read the firewall", libc::SYS_getsockopt, b"", [NO_FILE, 0, 64, PLACE, PLACE, 0]),
    (
        "an address of an interface",
        libc::SYS_setsockopt,
        b"",
        numbers([-1, libc::IPPROTO_IPV6, libc::IPV6_JOIN_ANYCAST]),
    ),
    ("foreign source addresses", libc::SYS_setsockopt, b"", numbers([-1, libc::IPPROTO_IP, libc::IP_TRANSPARENT])),
    ("foreign source addresses", libc::SYS_setsockopt, b"", numbers([-1, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT])),
    ("a program for the kernel", libc::SYS_setsockopt, b"", numbers([-1, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER])),
    ("a policy of IPsec", libc::SYS_setsockopt, b"", numbers([-1, libc::IPPROTO_IP, IP_XFRM_POLICY])),
    ("another protocol", libc::SYS_setsockopt, b"", numbers([-1, libc::SOL_UDP, UDP_ENCAP])),
    ("a handle of another process", libc::SYS_getsockopt, b"", numbers([-1, libc::SOL_SOCKET, libc::SO_PEERPIDFD])),
    ("end another process", libc::SYS_kill, b"", [NO_PROCESS, 0, 0, 0, 0, 0]),
    ("end a thread of another", libc::SYS_tgkill, b"", [NO_PROCESS, NO_PROCESS, 0, 0, 0, 0]),
    ("new code", libc::SYS_mmap, b"", [0, 4096, 7, 0x22, NO_FILE, 0]),
    ("code of data", libc::SYS_mprotect, b"", [0, 0, 7, 0, 0, 0]),
    ("become root", libc::SYS_setuid, b"", [0; 6]),
    ("get capabilities", libc::SYS_capset, b"", [PLACE, PLACE, 0, 0, 0, 0]),
    ("be dumped again", libc::SYS_prctl, b"", [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
    ("unlock memory", libc::SYS_munlockall, b"", [0; 6]),
    ("a thread without a filter's knowledge", libc::SYS_clone3, b"", [PLACE, 0, 0, 0, 0, 0]),
];

/// What kills the server. Where the filter fails, none of these does harm either: they name nothing that there is.
const DEADLY: &[Attempt] = &[
    ("start a program", libc::SYS_execve, b"/bin/sh\0", [PLACE, 0, 0, 0, 0, 0]),
    ("fork", libc::SYS_fork, b"", [0; 6]),
    ("fork", libc::SYS_clone, b"", [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
    ("debug another process", libc::SYS_ptrace, b"", [libc::PTRACE_SEIZE as u64, NO_PROCESS, 0, 0, 0, 0]),
    ("a user namespace", libc::SYS_unshare, b"", [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
    ("mount", libc::SYS_mount, b"/\0", [PLACE, PLACE, PLACE, 0, 0, 0]),
    ("unfiltered calls", libc::SYS_io_uring_setup, b"", [1, PLACE, 0, 0, 0, 0]),
];

/// A process like any other that root starts, ended when dropped.
struct Free(Child);

impl Free {
    fn start() -> Self {
        let child = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It has to be asleep, in a system call of the program that it becomes.
        let is_asleep = || is_in(child.id(), &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep]);
        let begin = std::time::Instant::now();
        while !is_asleep() {
            assert!(begin.elapsed() < std::time::Duration::from_secs(30), "it does not fall asleep");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes a process over, unless this machine lets nobody.
fn take(pid: u32) -> Option<Captive> {
    Captive::take(pid).map_err(|error| println!("SKIPPED: processes cannot be taken over here: {error}")).ok()
}

#[test]
fn a_server_that_was_taken_over_reaches_nothing() {
    let test = "a_server_that_was_taken_over_reaches_nothing";
    if !is_root(test) {
        return;
    }
    // Otherwise the refusals below would show nothing.
    let free = Free::start();
    let Some(mut captive) = take(free.0.id()) else { return };
    for what in REFUSED.iter().filter(|what| what.1 != libc::SYS_setuid) {
        let outcome = attempt(&mut captive, *what);
        assert!(matches!(outcome, Outcome::Returned(_)) && outcome != NOT_THERE, "{}: {outcome:?}", what.0);
    }
    for what in ["open a file", "make a file", "a raw socket", "a packet socket", "a netlink socket", "new code"] {
        let attempted = REFUSED.iter().find(|attempted| attempted.0 == what).unwrap();
        let outcome = attempt(&mut captive, *attempted);
        assert!(matches!(outcome, Outcome::Returned(0..)), "{what}: {outcome:?}");
    }
    drop((captive, free));
    let _ = fs::remove_file("/tmp/kerntun-attack");

    let daemon = Daemon::start(&[]);
    let landlock = daemon.has("landlock");
    let mut captive = take(daemon.server()).unwrap();
    for what in REFUSED {
        assert_eq!(attempt(&mut captive, *what), NOT_THERE, "{}", what.0);
    }
    // A name for one of its Unix sockets would be a file. There is no rule on that but Landlock's.
    let unix = |number: &i32| matches!(descriptor(daemon.server(), *number), Some(Ok((libc::AF_UNIX, ..))));
    let sockets: Vec<_> = descriptors(daemon.server()).into_iter().filter(unix).collect();
    assert!(sockets.len() > 3, "{sockets:?}");
    for number in sockets.into_iter().filter(|_| landlock) {
        let name = b"\x01\0/tmp/kerntun-attack";
        let place = captive.put(name);
        let outcome = captive.call(libc::SYS_bind, [number as u64, place, name.len() as u64, 0, 0, 0]);
        // One that listens has a name already. Only one of the server's threads is ours: another one may have closed the connection of a
        // client that has gone.
        let refused = [libc::EACCES, libc::EINVAL].map(|error| Outcome::Returned(-i64::from(error)));
        let is_closed = || descriptor(daemon.server(), number).is_none();
        let closed = outcome == Outcome::Returned(-i64::from(libc::EBADF)) && is_closed();
        assert!(closed || refused.contains(&outcome), "{number}: {outcome:?}");
    }
    // It is not that nothing works.
    let udp =
        ("a UDP socket", libc::SYS_socket, &b""[..], numbers([libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP]));
    assert!(matches!(attempt(&mut captive, udp), Outcome::Returned(0..)));
    drop(captive);
    assert!(!fs::exists("/tmp/kerntun-attack").unwrap());
    daemon.wg("set DEVICE listen-port 0 fwmark 7");
    assert!(daemon.wg("show DEVICE").contains("fwmark: 0x7"), "and it went on as if nothing had been");

    let mut captive = take(daemon.keeper()).unwrap();
    // It may look for files; of what it could remove there is only the socket.
    for what in REFUSED.iter().filter(|what| what.1 != libc::SYS_unlink) {
        assert_eq!(attempt(&mut captive, *what), NOT_THERE, "the keeper: {}", what.0);
    }
    // A file of ours, as nobody knows what happens to it where Landlock fails.
    let decoy = format!("/tmp/kerntun-decoy-{}", std::process::id());
    fs::write(&decoy, "").unwrap();
    let place = captive.put(format!("{decoy}\0").as_bytes());
    let removed = captive.call(libc::SYS_unlink, [place, 0, 0, 0, 0, 0]);
    let _ = fs::remove_file(&decoy);
    if landlock {
        assert_eq!(removed, Outcome::Returned(-i64::from(libc::EACCES)));
    }
    drop(captive);
    assert!(daemon.wg("show DEVICE").contains("fwmark: 0x7"));
}

#[test]
fn what_only_an_attacker_does_is_the_end() {
    if !is_root("what_only_an_attacker_does_is_the_end") {
        return;
    }
    for what in DEADLY {
        let mut daemon = Daemon::start(&[]);
        let Some(mut captive) = take(daemon.server()) else { return };
        assert_eq!(attempt(&mut captive, *what), Outcome::Killed(Signal::SIGSYS), "{}", what.0);
        let (code, log) = daemon.end();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("a system call that it never makes"), "{log}");
        assert!(daemon.is_gone(), "{}", what.0);
    }
    let mut daemon = Daemon::start(&[]);
    let mut captive = take(daemon.keeper()).unwrap();
    assert_eq!(attempt(&mut captive, DEADLY[0]), Outcome::Killed(Signal::SIGSYS));
    drop(captive);
    daemon.keeper_is_dead();
    assert!(daemon.is_gone_but_for_the_socket(), "the server ends with its keeper");
}

#[test]
fn there_is_no_way_around_by_another_architecture() {
    /// `getpid` of 32-bit programs (Linux `arch/x86/entry/syscalls/syscall_32.tbl`).
    const GETPID_32: i64 = 20;
    /// The numbers of the x32 ABI (`<asm/unistd.h>`).
    const X32: i64 = 0x4000_0000;
    if !is_root("there_is_no_way_around_by_another_architecture") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let Some(mut captive) = take(daemon.server()) else { return };
    assert_eq!(
        captive.call(X32 | libc::SYS_getpid, [0; 6]),
        NOT_THERE,
        "although the call of that number is on the list"
    );
    drop(captive);
    let free = Free::start();
    let answer = take(free.0.id()).unwrap().call_as_32_bit(GETPID_32);
    if answer != Outcome::Returned(free.0.id().into()) {
        return println!("SKIPPED: this kernel has no system calls of 32-bit programs: {answer:?}");
    }
    let mut captive = take(daemon.server()).unwrap();
    assert_eq!(captive.call_as_32_bit(GETPID_32), Outcome::Killed(Signal::SIGSYS));
}

#[test]
fn every_thread_has_given_up_everything() {
    if !is_root("every_thread_has_given_up_everything") {
        return;
    }
    // Whoever starts it may be in groups.
    let daemon = Daemon::start_by(&["setpriv", "--groups", "7,8"], &[]);
    // Threads that were made later are no exception.
    daemon.wg("show DEVICE");
    let check = |pid: u32, name: &str, value: &str| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        // One that served a client who has gone may end at any time.
        let texts: Vec<_> =
            threads.filter_map(|it| fs::read_to_string(it.unwrap().path().join("status")).ok()).collect();
        assert!(texts.len() >= if pid == daemon.server() { 4 } else { 1 }, "{texts:?}");
        for text in texts {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), value, "{name} in\n{text}");
        }
    };
    let (server, keeper) = (daemon.server(), daemon.keeper());
    assert!(fs::read_dir(format!("/proc/{server}/task")).unwrap().count() >= 4, "workers, handshakes, control");
    let user = daemon::user("kerntun").or_else(|| daemon::user("nobody")).unwrap();
    for (name, value) in [
        ("Uid", &*format!("{user} {user} {user} {user}")),
        ("Groups", ""),
        // CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
        ("CapPrm", "0000000000001400"),
        ("CapEff", "0000000000001400"),
        ("CapInh", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        check(server, name, value);
    }
    // CAP_KILL.
    for (name, value) in
        [("CapPrm", "0000000000000020"), ("CapBnd", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")]
    {
        check(keeper, name, value);
    }
    for pid in [server, keeper] {
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/coredump_filter")).unwrap().trim(), "00000000");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    }
    // Its files are root's although its user is not: that is how the kernel marks a process that nobody may look into.
    let maps = fs::metadata(format!("/proc/{server}/maps")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&maps), 0);
    let locked = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let locked = locked.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim() != "0 kB";
    assert_eq!(locked, daemon.has("locked-memory"), "{}", daemon.log());
}

/// What a descriptor of another process is: a socket's family, kind and protocol, or what the kernel calls anything else. `None` if it
/// was closed meanwhile.
fn descriptor(pid: u32, number: i32) -> Option<Result<(i32, u32, i32), String>> {
    let process = pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap();
    let copy = match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
        Err(Errno::BADF) => return None,
        copy => copy.unwrap(),
    };
    let Ok(family) = sockopt::socket_domain(&copy) else {
        return Some(Err(fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?.display().to_string()));
    };
    let protocol = sockopt::socket_protocol(&copy).unwrap();
    let protocol = protocol.map_or(0, |protocol| protocol.as_raw().get().cast_signed());
    Some(Ok((i32::from(family.as_raw()), sockopt::socket_type(&copy).unwrap().as_raw(), protocol)))
}

fn descriptors(pid: u32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_server_holds_nothing_that_it_could_not_open() {
    if !is_root("the_server_holds_nothing_that_it_could_not_open") {
        return;
    }
    // Whoever starts it may have files open by accident, here the passwords of the system, and on no account to leave to the network.
    let daemon = Daemon::start_by(&["sh", "-c", "exec 9</etc/shadow; exec \"$@\"", "sh"], &[]);
    daemon.wg("set DEVICE listen-port 0");
    let here = descriptors(daemon.keeper()).into_iter().find(|number| *number == 9).unwrap();
    let shadow = Some(Err("/etc/shadow".to_owned()));
    assert_eq!(descriptor(daemon.keeper(), here), shadow, "otherwise this would show nothing");

    let server = daemon.server();
    let (sockets, others): (Vec<_>, Vec<_>) =
        descriptors(server).into_iter().filter_map(|number| descriptor(server, number)).partition(Result::is_ok);
    let (datagrams, udp) = (libc::SOCK_DGRAM.cast_unsigned(), libc::IPPROTO_UDP);
    let sockets: Vec<_> = sockets.into_iter().flatten().collect();
    for family in [libc::AF_INET, libc::AF_INET6] {
        assert!(sockets.contains(&(family, datagrams, udp)), "{sockets:?}");
    }
    // With a netlink, a raw or a packet socket it could rebuild the network.
    for socket in &sockets {
        let (family, ..) = *socket;
        let harmless = family == libc::AF_UNIX
            || [libc::AF_INET, libc::AF_INET6].map(|family| (family, datagrams, udp)).contains(socket);
        assert!(harmless, "{socket:?}");
    }
    let log = daemon.log_file();
    let known =
        ["/dev/null", "/dev/net/tun", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]", &log];
    for other in others.into_iter().filter_map(Result::err) {
        assert!(known.contains(&&*other), "{other}");
    }
}

#[test]
fn the_server_does_not_read_what_is_typed() {
    if !is_root("the_server_does_not_read_what_is_typed") {
        return;
    }
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let daemon = Daemon::start_by(&["sh", "-c", "exec 2<>\"$0\"; exec \"$@\"", path.to_str().unwrap()], &[]);
    // The lowest bits of the flags of open(2): 1 writes, 2 does both.
    let mode = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/2")).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_ACCMODE
    };
    assert_eq!((mode(daemon.keeper()), mode(daemon.server())), (libc::O_RDWR, libc::O_WRONLY));
    for pid in [daemon.keeper(), daemon.server()] {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/2")).unwrap().to_str(), path.to_str().ok());
    }
    assert_eq!(fs::read_link(format!("/proc/{}/fd/1", daemon.server())).unwrap().to_str(), Some("/dev/null"));
}

#[test]
fn a_layer_that_is_missing_is_named_and_can_be_required() {
    if !is_root("a_layer_that_is_missing_is_named_and_can_be_required") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let whole = daemon.log().contains("sandbox: ") && !daemon.log().contains("; without ");
    drop(daemon);
    let (code, log) = Daemon::try_start(&["--require-sandbox"]);
    assert_eq!(code.is_none(), whole, "{log}");
    // Without this capability the limit of locked memory stays as it is.
    let limited = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"];
    let daemon = Daemon::start_by(&limited, &[]);
    let log = daemon.log();
    assert!(log.contains("; without locked-memory (the limit of locked memory cannot be raised"), "{log}");
    assert_eq!(log.matches("sandbox: ").count(), 1, "said once: {log}");
    assert!(!daemon.has("locked-memory") && daemon.has("seccomp") && daemon.has("user"));
    assert!(daemon.diagnostic("sandbox.missing.locked-memory").is_some());
    drop(daemon);
    let mut daemon = Daemon::spawn(&limited, &["--require-sandbox"]);
    let (code, log) = daemon.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("error: the sandbox is required and not whole, so nothing is served: without locked-memory"),
        "{log}"
    );
    assert!(daemon.is_gone());
}

/// For the launcher: a system call, its first argument or none, and the error number that it is to fail with.
const WITHOUT: &str = "KERNTUN_TEST_WITHOUT";

/// No test: starts a program on a kernel that lacks something, as it seems to that program.
#[test]
fn launcher() {
    let Ok(without) = std::env::var(WITHOUT) else { return };
    let numbers: Vec<u32> = without.split(' ').map(|number| number.parse().unwrap()).collect();
    let (call, error, argument) = (numbers[0], numbers[1], numbers.get(2));
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf, k };
    let load = |place| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, place);
    let equal = |value, otherwise| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, otherwise, value);
    let answer = |verdict| step(libc::BPF_RET | libc::BPF_K, 0, verdict);
    let end = [answer(libc::SECCOMP_RET_ERRNO | error), answer(libc::SECCOMP_RET_ALLOW)];
    // `struct seccomp_data` begins with the number; the arguments follow from byte 16 on.
    let program = match argument {
        None => [&[load(0), equal(call, 1)][..], &end].concat(),
        Some(argument) => [&[load(0), equal(call, 3), load(16), equal(*argument, 1)][..], &end].concat(),
    };
    kerntun_linux::seccomp::install_filter(&program).unwrap();
    let command: Vec<_> = std::env::args().skip_while(|argument| argument != "--").skip(1).collect();
    panic!("{}", Command::new(&command[0]).args(&command[1..]).env_remove(WITHOUT).exec());
}

#[test]
fn every_layer_may_be_missing() {
    if !is_root("every_layer_may_be_missing") {
        return;
    }
    let privileges = libc::PR_SET_NO_NEW_PRIVS;
    let refused = [
        (
            format!("{} {}", libc::SYS_landlock_create_ruleset, libc::ENOSYS),
            "landlock (the kernel has none, or it is switched off)",
        ),
        (format!("{} {}", libc::SYS_seccomp, libc::ENOSYS), "seccomp (the kernel has none)"),
        // Where the limit cannot be raised either, that is said instead.
        (format!("{} {}", libc::SYS_mlockall, libc::EPERM), "locked-memory ("),
        (format!("{} {}", libc::SYS_setgroups, libc::EPERM), "user (cannot become user "),
        (format!("{} {}", libc::SYS_setresuid, libc::EPERM), "user (cannot become user "),
        (format!("{} {}", libc::SYS_capset, libc::EPERM), "capabilities (Operation not permitted"),
        (
            format!("{} {} {privileges}", libc::SYS_prctl, libc::EINVAL),
            "no-new-privileges (PR_SET_NO_NEW_PRIVS: Invalid",
        ),
    ];
    for (without, sentence) in refused {
        launched_without(&without, |starter| starts_without(starter, sentence));
    }
    // A container whose only user is root, and none on the outside.
    starts_without(&["unshare", "--user", "--map-root-user", "--net"], "user (cannot become user ");
}

fn launched_without<R>(without: &str, body: impl FnOnce(&[&str]) -> R) -> R {
    let (this, without) = (std::env::current_exe().unwrap(), format!("{WITHOUT}={without}"));
    body(&["env", &without, this.to_str().unwrap(), "--exact", "launcher", "--nocapture", "--test-threads=1", "--"])
}

#[test]
fn so_may_one_of_the_keeper() {
    if !is_root("so_may_one_of_the_keeper") {
        return;
    }
    // A rule for the socket's directory is what the server has no need of.
    let without = format!("{} {}", libc::SYS_landlock_add_rule, libc::ENOSYS);
    launched_without(&without, |starter| {
        let daemon = Daemon::start_by(starter, &[]);
        if !daemon.has("landlock") {
            return println!("SKIPPED: so_may_one_of_the_keeper needs Landlock");
        }
        let sentence = "the keeping process is not locked up as it should be: without landlock (";
        assert!(daemon.log().contains(sentence), "{}", daemon.log());
        drop(daemon);
        let mut daemon = Daemon::spawn(starter, &["--require-sandbox"]);
        let (code, log) = daemon.end();
        assert_eq!(code, Some(1), "{log}");
        // The server may lack something too, and say so in the same words.
        let sentence = "error: the sandbox is required and not whole, so nothing is served: without landlock (";
        assert!(log.contains(sentence), "{log}");
        assert!(daemon.is_gone());
    });
}

/// Without a layer the daemon starts, names it, and puts the others in place; where all are required it does not start.
#[track_caller]
fn starts_without(starter: &[&str], sentence: &str) {
    let (layer, _) = sentence.split_once(' ').unwrap();
    let daemon = Daemon::start_by(starter, &[]);
    let log = daemon.log();
    let warning = log.lines().find(|line| line.contains("sandbox: ")).unwrap();
    assert!(warning.split_once("; without ").unwrap().1.contains(sentence), "{log}");
    assert!(!daemon.has(layer) && daemon.has("no-dumps"), "{log}");
    assert!(daemon.diagnostic(&format!("sandbox.missing.{layer}")).is_some(), "{log}");
    if layer != "no-new-privileges" {
        assert!(daemon.has("no-new-privileges"), "{log}");
    }
    drop(daemon);
    let mut daemon = Daemon::spawn(starter, &["--require-sandbox"]);
    let (code, log) = daemon.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("error: the sandbox is required and not whole, so nothing is served"), "{log}");
    assert!(log.contains(sentence), "{log}");
    assert!(daemon.is_gone());
}
