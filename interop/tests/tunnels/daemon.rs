//! How the program starts and ends.

use kerntun_interop::end::End;
use kerntun_interop::namespace::{Namespace, said};
use kerntun_interop::program::{Program::Kerntun, kerntun};
use kerntun_interop::requirements::met;
use kerntun_interop::tunnel::{Plan, Tunnel};
use kerntun_interop::uapi::{Connection, errno};
use kerntun_interop::wait::{SOON, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;

fn nothing_is_left(end: &End) {
    assert!(!fs::exists(end.socket()).unwrap(), "the socket is removed");
    assert!(!fs::exists(format!("/var/lib/kerntun/{}.stamp", end.interface)).unwrap(), "tests leave nothing of theirs");
    assert!(!end.namespace.ip("-brief link").contains(&end.interface), "the interface is removed");
}

#[test]
fn signals_end_it_in_good_order() {
    if !met("signals end it in good order", &[]) {
        return;
    }
    let namespace = Arc::new(Namespace::new("alone"));
    let mut end = End::start(&namespace, Kerntun);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        assert_eq!(end.end(signal).code(), Some(0), "{signal}");
        nothing_is_left(&end);
        end.restart();
    }
    // After the worst end, the next one takes over what was left.
    end.end(Signal::SIGKILL);
    assert!(fs::exists(end.socket()).unwrap());
    end.restart();
    assert!(end.show("listen-port").trim().parse::<u16>().is_ok());
}

#[test]
fn deletion_of_the_interface_ends_it() {
    if !met("deletion of the interface ends it", &[]) {
        return;
    }
    let mut tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let interface = tunnel.left.interface.clone();
    tunnel.site.left.ip(&format!("link del {interface}"));
    assert_eq!(tunnel.left.ended().code(), Some(0));
    nothing_is_left(&tunnel.left);
}

#[test]
fn removal_of_its_socket_ends_it() {
    if !met("removal of its socket ends it", &[]) {
        return;
    }
    let namespace = Arc::new(Namespace::new("alone"));
    let mut end = End::start(&namespace, Kerntun);
    fs::remove_file(end.socket()).unwrap();
    assert_eq!(end.ended().code(), Some(0));
    nothing_is_left(&end);
}

/// The second one of a name says so, and does the first one no harm.
#[test]
fn a_name_in_use() {
    if !met("a name in use", &[]) {
        return;
    }
    let mut tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let interface = tunnel.left.interface.clone();
    // Here the interface exists; elsewhere, only the socket does.
    let elsewhere = Namespace::new("elsewhere");
    for namespace in [&*tunnel.site.left, &elsewhere] {
        for arguments in [&["-f", &interface][..], &["run", &interface], &[&interface]] {
            let output = namespace.command(kerntun()).args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(&interface), "it says which name: {text}");
        }
        assert!(tunnel.left.is_running());
        tunnel.exchange();
    }
    assert!(!elsewhere.ip("-brief link").contains(&interface), "nothing half-made");
}

/// All ways of starting it: `kerntun IF` returns when it can be configured.
#[test]
fn forms_of_the_command_line() {
    if !met("forms of the command line", &[]) {
        return;
    }
    let namespace = Arc::new(Namespace::new("alone"));
    // Only for its name, and to clean up behind it.
    let mut end = End::start(&namespace, Kerntun);
    end.end(Signal::SIGTERM);
    let mut command = namespace.command(kerntun());
    // The one in the background must not hold what ours holds, or nobody would ever see the end of our output.
    command.arg(&end.interface).env("KERNTUN_STAMP_FILE", end.stamps()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(end.show("listen-port").trim().parse::<u16>().is_ok());
    // The one that was started first keeps the other one.
    let [process, _] = namespace.processes()[..] else { panic!("two processes: {:?}", namespace.processes()) };
    kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
    wait_until("the daemon is gone", SOON, || namespace.processes().is_empty());
    nothing_is_left(&end);
    let mut run = namespace.unbounded(kerntun());
    run.args(["run", &end.interface]).env("LOG_LEVEL", "silent").env("KERNTUN_STAMP_FILE", end.stamps());
    let mut run = run.spawn().unwrap();
    wait_until("the daemon listens", SOON, || Connection::open(&end.socket()).is_ok());
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    nothing_is_left(&end);
}

/// Messages from strangers may come before there is a private key, and data before there is a peer.
#[test]
fn packets_before_configuration() {
    if !met("packets before configuration", &[]) {
        return;
    }
    let mut tunnel = Tunnel::new(Kerntun, Kerntun);
    tunnel.configure_right(Plan::default());
    tunnel.left.bring_up(&["10.78.0.1/24".to_owned(), "fd78::1/64".to_owned()], 1420);
    tunnel.left.set("listen-port 51820");
    for (namespace, to) in [(&tunnel.site.left, 2), (&tunnel.site.right, 1)] {
        let to = kerntun_interop::site::Family::V4.inner(to);
        assert!(kerntun_interop::traffic::echo::is_unreachable(namespace, to));
    }
    assert!(tunnel.left.is_running() && tunnel.right.is_running());
    let answer = Connection::open(&tunnel.left.socket()).unwrap().ask(b"get=1\n\n").unwrap();
    assert_eq!(errno(&answer), Some(0), "{answer}");
    tunnel.configure_left(Plan::default());
    tunnel.exchange();
}
