//! Crashes, copies and strangers.

use crate::lab::{Daemon, INNER, Lab, Namespace, is_root, try_run, wait_until};
use crate::{SERVE, SOCKETS};
use kerntun_uapi::{Section, SetRequest};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, sendto, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The process that serves, which is the child of the one that was started.
fn server(daemon: &Daemon) -> Pid {
    // Children are listed with the thread that made them.
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let children = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    Pid::from_raw(children.collect::<String>().trim().parse().unwrap()).unwrap()
}

fn interface_is_gone(lab: &Lab, side: usize) -> bool {
    try_run(&format!("ip -n {} link show {}", lab.namespaces[side].0, lab.daemons[side].name)).is_err()
}

#[test]
fn after_a_crash_peers_recover_with_the_first_retry() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    for (side, killed) in [(0, "server"), (1, "server"), (1, "keeper")] {
        let (keeper, server) = (Pid::from_child(&lab.daemons[side].child), server(&lab.daemons[side]));
        kill_process(if killed == "server" { server } else { keeper }, Signal::KILL).unwrap();
        let status = lab.daemons[side].end();
        wait_until("the interface to be gone", || interface_is_gone(&lab, side));
        if killed == "server" {
            assert_eq!(status.code(), Some(1));
            assert!(!lab.daemons[side].socket().exists(), "the keeper cleans up");
            assert!(lab.daemons[side].log().contains("killed by signal 9"));
        } else {
            // Its socket stays, or is swept away by whoever finds it dead.
            assert!(lab.daemons[side].log().contains("the process that keeps it is gone"));
        }
        lab.start_again(side, &[]);
        // Side 0 begins anew at once; side 1 does not know where 0 is, and 0 finds out that nobody answers: after 10 s + 5 s.
        let before = initiations(&lab);
        let line = format!("ping -n -c 1 -w 30 {}", INNER[0][1]);
        let pinged = (0..30).any(|_| lab.namespaces[0].exec(&line).is_ok());
        assert!(pinged, "{}", lab.daemons[0].log());
        assert_eq!(initiations(&lab) - before, 1, "one start of a handshake did it");
    }
}

/// Handshake starts that side 0 has sent.
fn initiations(lab: &Lab) -> usize {
    lab.daemons[0].log().matches("handshake initiation to").count()
}

#[test]
fn what_a_killed_daemon_left_is_no_obstacle() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let directory = std::env::temp_dir().join(crate::lab::unique());
    let environment = [(SOCKETS, directory.to_str().unwrap())];
    let mut daemon = Daemon::start(&namespace, &environment);
    let (keeper, server) = (Pid::from_child(&daemon.child), server(&daemon));
    kill_process(server, Signal::STOP).unwrap();
    kill_process(keeper, Signal::KILL).unwrap();
    daemon.end();
    assert!(daemon.socket().exists());
    let again = Daemon::spawn(&namespace, &daemon.name, &environment);
    // The old one still answers the door and holds the interface, for as long as a busy system may take to end it.
    std::thread::sleep(std::time::Duration::from_secs(1));
    kill_process(server, Signal::KILL).unwrap();
    wait_until("the next one to serve", || again.serves());
    drop((again, daemon));
    std::fs::remove_dir_all(directory).unwrap();
}

/// A terminal that was closed, a reader of the log that has ended, a full disk: the tunnel goes on.
#[test]
fn a_log_that_nobody_takes_ends_nothing() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let name = crate::lab::unique();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = crate::lab::command(&namespace, &name).stderr(writer).spawn().unwrap();
    let daemon = Daemon::of(name, child);
    wait_until("the daemon to serve", || daemon.serves());
    // Each of which it tells.
    for up in ["up", "down", "up"] {
        namespace.ip(&format!("link set {} {up}", daemon.name));
        let expected = if up == "up" { "yes" } else { "no" };
        wait_until("the interface to be seen", || daemon.diagnostic("up").as_deref() == Some(expected));
    }
    assert!(daemon.serves());
}

#[test]
fn a_server_that_does_not_end_is_killed() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let mut daemon = Daemon::start(&namespace, &[]);
    kill_process(server(&daemon), Signal::STOP).unwrap();
    daemon.signal(Signal::TERM);
    // Ten seconds of patience, and `end` has as much.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(daemon.end().code(), Some(1));
    assert!(daemon.log().contains("does not end when asked to, and is killed"));
    assert!(!daemon.socket().exists());
    assert!(try_run(&format!("ip -n {} link show {}", namespace.0, daemon.name)).is_err());
}

/// Has the kernel tell everybody in a network namespace of an event of a device, as root may (`uevent_net_rcv` in Linux
/// `lib/kobject_uevent.c`).
fn tell_of_event(namespace: &Namespace, words: &str) -> Result<(), String> {
    const HEADER: usize = 16;
    let text = words.replace('\n', "\0");
    let mut message = u32::try_from(HEADER + text.len()).unwrap().to_ne_bytes().to_vec();
    // Any type that is not reserved, as a request.
    message.extend([0x10_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend(text.bytes());
    let send = move || {
        let kind = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(kind.0, kind.1, kind.2, Some(netlink::KOBJECT_UEVENT)).unwrap();
        sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map(drop)
    };
    namespace.inside(send).join().unwrap().map_err(|error| error.to_string())
}

#[test]
fn the_copy_of_a_machine_makes_new_sessions() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    let handshake = || lab.daemons[1].client().get().unwrap().peers[0].last_handshake.unwrap();
    let has_session = || {
        let entries = lab.daemons[0].client().diagnostics().unwrap().unwrap();
        entries.iter().any(|entry| entry.section != Section::Device && entry.name == "session.age_ms")
    };
    let before = handshake();
    let event = "change@/devices/platform/vmgenid\nACTION=change\nSUBSYSTEM=platform\n";
    if let Err(error) = tell_of_event(&lab.namespaces[0], event) {
        return println!("SKIPPED: this kernel passes no made-up events on: {error}");
    }
    // The MTU comes the same way and later, so everything before it has come too.
    let mtu = |mtu: &str| {
        lab.namespaces[0].ip(&format!("link set {} mtu {mtu}", lab.daemons[0].name));
        wait_until("the MTU", || lab.daemons[0].diagnostic("mtu").as_deref() == Some(mtu));
    };
    mtu("1400");
    assert!(has_session(), "that was another event");
    tell_of_event(&lab.namespaces[0], &format!("{event}NEW_VMGENID=1\n")).unwrap();
    wait_until("the sessions to be forgotten", || !has_session());
    assert!(lab.daemons[0].log().contains("is a copy"), "{}", lab.daemons[0].log());
    lab.ping(0, 56);
    assert!(has_session() && handshake() > before, "a new one, for new packets");
}

#[test]
fn nobody_else_configures_the_interface() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let directory = std::env::temp_dir().join(crate::lab::unique());
    let daemon = Daemon::start(&namespace, &[(SOCKETS, directory.to_str().unwrap())]);
    let ask = |user: u32, path: PathBuf| {
        let ask = move || {
            let (uid, gid) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(user));
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            let mut stream = UnixStream::connect(path)?;
            stream.write_all(b"get=1\n\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        std::thread::spawn(ask).join().unwrap()
    };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&daemon.socket())), (0o700, 0o600));
    // Also where somebody has loosened the modes; also for the user that the server runs as, who is not the one who
    // started it.
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(daemon.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server(&daemon).as_raw_nonzero())).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace().next().unwrap();
    for user in [user.parse().unwrap(), 12_345] {
        let answer = ask(user, daemon.socket());
        assert!(!matches!(&answer, Ok(text) if !text.is_empty()), "{user}: {answer:?}");
        wait_until("its log", || daemon.log().contains(&format!("user {user} tried to configure the interface")));
    }
    daemon.client().get().unwrap();
    drop(daemon);
    std::fs::remove_dir(directory).unwrap();
}

#[test]
fn its_files_are_private_whatever_the_umask() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let (name, directory) = (crate::lab::unique(), std::env::temp_dir().join(crate::lab::unique()));
    std::fs::create_dir(&directory).unwrap();
    let (sockets, stamps) = (directory.join("sockets"), directory.join("stamp"));
    let line = format!(
        "umask 0; exec {} --exact serve --nocapture --test-threads=1",
        std::env::current_exe().unwrap().display()
    );
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", &namespace.0, "sh", "-c", &line]).env(SERVE, &name);
    command.env(SOCKETS, &sockets).env("KERNTUN_STAMP_FILE", &stamps).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let socket = sockets.join(format!("{name}.sock"));
    let client = kerntun_uapi::Client::in_directory(&sockets, kerntun_uapi::InterfaceName::new(&name).unwrap());
    wait_until("it to serve", || client.get().is_ok());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    let modes = (mode(&sockets), mode(&socket), mode(&stamps));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    assert_eq!(modes, (0o700, 0o600, 0o600));
}

#[test]
fn ports_below_1024_and_marks_are_for_the_asking() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    // The server gave up root long before.
    let request = SetRequest { listen_port: Some(77), fwmark: Some(0xbeef), ..SetRequest::default() };
    lab.daemons[0].client().set(&request).unwrap();
    let state = lab.daemons[0].client().get().unwrap();
    assert_eq!((state.listen_port, state.fwmark), (77, 0xbeef));
    lab.ping(0, 56);
}
