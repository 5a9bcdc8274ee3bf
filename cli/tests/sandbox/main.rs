//! A daemon that an attacker has taken over: what it can still do.

#![allow(missing_docs)]
#![cfg(target_arch = "x86_64")]

mod captive;
mod daemon;

use captive::{Captive, Outcome};
use daemon::{Daemon, is_root};
use nix::sys::signal::Signal;
use std::fs;
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
        let child = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        // It has to be asleep.
        std::thread::sleep(std::time::Duration::from_millis(200));
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
    let mut captive = take(daemon.server()).unwrap();
    for what in REFUSED {
        assert_eq!(attempt(&mut captive, *what), NOT_THERE, "{}", what.0);
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
    // It may look for files and end processes; of what it could remove there is only the socket.
    for what in REFUSED.iter().filter(|what| ![libc::SYS_unlink, libc::SYS_kill].contains(&what.1)) {
        assert_eq!(attempt(&mut captive, *what), NOT_THERE, "the keeper: {}", what.0);
    }
    // A file of ours, as nobody knows what happens to it where Landlock fails.
    let decoy = format!("/tmp/kerntun-decoy-{}", std::process::id());
    fs::write(&decoy, "").unwrap();
    let place = captive.put(format!("{decoy}\0").as_bytes());
    let removed = captive.call(libc::SYS_unlink, [place, 0, 0, 0, 0, 0]);
    let _ = fs::remove_file(&decoy);
    if daemon.has("landlock") {
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
fn every_thread_has_given_up_everything() {
    if !is_root("every_thread_has_given_up_everything") {
        return;
    }
    let daemon = Daemon::start(&[]);
    // Threads that were made later are no exception.
    daemon.wg("show DEVICE");
    let check = |pid: u32, name: &str, value: &str| {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
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

#[test]
fn the_server_holds_no_socket_it_could_rebuild_the_network_with() {
    if !is_root("the_server_holds_no_socket_it_could_rebuild_the_network_with") {
        return;
    }
    let daemon = Daemon::start(&[]);
    daemon.wg("set DEVICE listen-port 0");
    let families = |pid: u32| -> Option<Vec<i32>> {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let descriptors: Vec<u64> =
            descriptors.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        let mut captive = take(pid)?;
        Some(descriptors.into_iter().filter_map(|descriptor| captive.family_of(descriptor)).collect())
    };
    let Some(families) = families(daemon.server()) else { return };
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        assert!(families.contains(&family), "{families:?}");
    }
    assert!(
        families.iter().all(|family| [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].contains(family)),
        "{families:?}"
    );
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
