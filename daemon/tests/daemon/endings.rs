//! How it begins and how it ends: nothing is left behind, and every failure is a sentence.

use crate::lab::{
    Daemon, Lab, Namespace, command, endpoint, is_root, peer, private_key, run, try_run, unique, wait_until,
};
use crate::{BACKGROUND, SERVE};
use kerntun_uapi::{KeyChange, PeerChange, SetRequest};
use rustix::process::Signal;
use std::process::Stdio;

/// Ends a daemon in one way and looks at what is left.
fn ends(how: impl FnOnce(&Daemon, &Namespace), line: &str) {
    let namespace = Namespace::new();
    let mut daemon = Daemon::start(&namespace, &[]);
    wait_until("its log", || daemon.log().contains("serving"));
    how(&daemon, &namespace);
    let status = daemon.end();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert!(!daemon.socket().exists());
    let link = try_run(&format!("ip -n {} link show {}", namespace.0, daemon.name));
    assert!(link.is_err(), "{link:?}");
    let log = daemon.log();
    assert!(log.lines().last().unwrap().contains(line), "{log}");
}

#[test]
fn signals() {
    if !is_root() {
        return;
    }
    ends(|daemon, _| daemon.signal(Signal::TERM), "SIGTERM");
    ends(|daemon, _| daemon.signal(Signal::INT), "SIGINT");
}

#[test]
fn deletion_of_the_interface() {
    if !is_root() {
        return;
    }
    ends(|daemon, namespace| drop(namespace.ip(&format!("link del {}", daemon.name))), "deleted");
}

#[test]
fn removal_of_the_socket() {
    if !is_root() {
        return;
    }
    ends(|daemon, _| std::fs::remove_file(daemon.socket()).unwrap(), "socket was removed");
}

/// Starts a daemon that cannot be.
fn fails(namespace: &Namespace, name: &str, sentence: &str) {
    let mut daemon = Daemon::spawn(namespace, name, &[]);
    assert_eq!(daemon.end().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains(sentence), "{log}");
    // The drop of a daemon removes its socket, which here is somebody else's.
    daemon.name = unique();
}

#[test]
fn failures_are_sentences() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add taken0 type veth peer name taken1");
    fails(&namespace, "taken0", "interface taken0 exists already");
    fails(&namespace, "a-name-that-is-too-long", "at most 15 bytes");
    let daemon = Daemon::start(&namespace, &[]);
    fails(&namespace, &daemon.name, "exists already");
    // The same name in another namespace is free, but the socket is not.
    let elsewhere = Namespace::new();
    fails(&elsewhere, &daemon.name, "already running");
    assert!(try_run(&format!("ip -n {} link show {}", elsewhere.0, daemon.name)).is_err());
    assert!(daemon.socket().exists());
}

#[test]
fn the_background_mode_returns_when_the_daemon_serves() {
    if !is_root() {
        return;
    }
    let (namespace, name) = (Namespace::new(), unique());
    let output =
        command(&namespace, &name).env(BACKGROUND, "1").stderr(Stdio::piped()).env_remove("LOG_LEVEL").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // No waiting here: it serves.
    assert!(run(&format!("wg show {name}")).contains(&name));
    namespace.ip(&format!("link show {name}"));
    // A second one is refused, and says so where it was started.
    let second = command(&namespace, &name).env(BACKGROUND, "1").stderr(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("exists already"));
    assert_eq!(second.status.code(), Some(1));
    std::fs::remove_file(format!("/var/run/wireguard/{name}.sock")).unwrap();
    wait_until("the interface to be gone", || try_run(&format!("ip -n {} link show {name}", namespace.0)).is_err());
}

#[test]
fn what_is_missing_is_said() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let this = std::env::current_exe().unwrap();
    // The daemon in surroundings of its own, made by the shell.
    let start = |surroundings: &str| {
        let name = unique();
        let serve = format!("exec {} {} --exact serve --nocapture --test-threads=1", surroundings, this.display());
        let line = if surroundings.is_empty() {
            format!("mount -t tmpfs none /dev/net && {serve}")
        } else {
            format!("mount -t tmpfs none /run && {serve}")
        };
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &namespace.0, "unshare", "-m", "sh", "-c", &line]).env(SERVE, &name);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(try_run(&format!("ip -n {} link show {name}", namespace.0)).is_err());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start("");
    assert!(said.contains("modprobe tun"), "{said}");
    let said = start("setpriv --bounding-set -net_admin --inh-caps -net_admin");
    assert!(said.contains("run as root or with CAP_NET_ADMIN"), "{said}");
}

/// A disk on which no file can be made keeps no tunnel from coming up: the daemon says so and goes on without, but from the timestamp
/// that stands there, if one does.
#[test]
fn a_full_disk_is_no_reason_not_to_serve() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let this = std::env::current_exe().unwrap();
    let disk = std::env::temp_dir().join(unique());
    std::fs::create_dir(&disk).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let stored = now + 3 * 24 * 3600 + 3600;
    let write = format!("none {0} && umask 022 && echo {stored}.0 > {0}/stamp && mount -o remount,ro", disk.display());
    for (option, reason, floor) in [
        ("-o nr_inodes=1 none", "No space left on device", now),
        ("-o ro none", "Read-only file system", now),
        (&*write, "Read-only file system", stored),
    ] {
        let (name, log) = (unique(), disk.with_extension("log"));
        let line = format!(
            "mount -t tmpfs {option} {} && exec {} --exact serve --nocapture --test-threads=1",
            disk.display(),
            this.display()
        );
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &namespace.0, "unshare", "-m", "sh", "-c", &line]).env(SERVE, &name);
        command.env("KERNTUN_STAMP_FILE", disk.join("stamp")).env("LOG_LEVEL", "error");
        let output = std::fs::File::create(&log).unwrap();
        let mut daemon = Daemon::of(name, command.stderr(output).spawn().unwrap());
        let said = || std::fs::read_to_string(&log).unwrap();
        wait_until("the daemon to serve", || {
            assert!(!said().contains("kerntun: "), "{}", said());
            daemon.serves()
        });
        assert!(said().contains("timestamps cannot be remembered in") && said().contains(reason), "{}", said());
        assert_eq!(said().contains("3 days in the future"), floor == stored, "{}", said());
        let peer =
            PeerChange { endpoint: Some(endpoint("127.0.0.1", 9)), persistent_keepalive_interval: Some(1), ..peer(1) };
        let private_key = Some(KeyChange::Set(private_key(0)));
        daemon.client().set(&SetRequest { private_key, peers: vec![peer], ..SetRequest::default() }).unwrap();
        namespace.ip(&format!("link set {} up", daemon.name));
        let greatest = || daemon.diagnostic("clock.greatest_stamp").unwrap().parse::<u64>().unwrap();
        wait_until("a handshake", || greatest() > 0);
        // To the hour.
        assert_eq!((greatest() - floor) / 3600, 0, "{option}: {} {floor}", greatest());
        daemon.signal(Signal::TERM);
        daemon.end();
        std::fs::remove_file(&log).unwrap();
    }
    std::fs::remove_dir(&disk).unwrap();
}

#[test]
fn timestamps_go_on_where_they_ended() {
    if !is_root() {
        return;
    }
    let file = std::env::temp_dir().join(unique());
    let environment = [("KERNTUN_STAMP_FILE", file.to_str().unwrap())];
    // As if the clock had been two hours ahead, and was set right since.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    std::fs::write(&file, format!("{}.0\n", now + 7200)).unwrap();
    let mut lab = Lab::new(1420, &[]);
    lab.restart(0, &environment);
    lab.connect(0);
    lab.ping(0, 56);
    lab.restart(0, &environment);
    lab.ping(0, 56);
    assert_eq!(lab.daemons[1].diagnostic("drop.old-timestamp"), None);
    // Without the file, the other side takes the handshake for a replay.
    lab.restart(0, &[]);
    let ping = format!("ping -n -c 1 -w 1 {}", crate::lab::INNER[0][1]);
    assert!(lab.namespaces[0].exec(&ping).is_err());
    assert_eq!(lab.daemons[1].diagnostic("drop.old-timestamp").as_deref(), Some("1"));
    std::fs::remove_file(file).unwrap();
}
