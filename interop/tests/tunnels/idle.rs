//! What the daemon takes while nothing happens.

use kerntun_interop::end::End;
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::site::Family;
use kerntun_interop::traffic::echo::reach;
use kerntun_interop::tunnel::{Plan, Tunnel};
use kerntun_interop::uapi::{Connection, errno};
use std::fmt::Write;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// The most that may be resident, in KiB.
const RESIDENT: u64 = 8192;

/// Peers that are configured and silent.
const MANY: u32 = 100_000;

/// So many of them in one request.
const PART: usize = 2000;

/// How often threads of both processes have gone to sleep (proc_pid_status(5)), each of which means that they woke up
/// before, and how many threads there are. A thread that ends while they are listed is not among them.
fn sleeps(end: &End) -> (u64, usize) {
    let tasks = end.processes().into_iter().flat_map(|process| fs::read_dir(format!("/proc/{process}/task")).unwrap());
    let statuses: Vec<_> = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok()).collect();
    let count = |status: &String| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    (statuses.iter().map(count).sum(), statuses.len())
}

/// Somebody else's packet may come at any time, and the thread of the last request ends when it may; but of some windows of
/// two seconds one passes without any of that.
fn sleeps_soundly(end: &End, what: &str) {
    let woken: Vec<_> = (0..5)
        .map(|_| {
            let before = sleeps(end);
            sleep(Duration::from_secs(2));
            let after = sleeps(end);
            (before.1 == after.1).then(|| after.0 - before.0)
        })
        .take_while(|woken| *woken != Some(0))
        .collect();
    assert!(woken.len() < 5, "{what}: woken {woken:?} times in two seconds each");
}

#[test]
fn nothing_happens_while_nothing_happens() {
    if !met("nothing happens while nothing happens", &[]) {
        return;
    }
    // The kernel sends router solicitations into every new interface that speaks IPv6.
    let tunnel = Tunnel::without_ipv6(Kerntun, Kerntun);
    let plan = Plan::default();
    tunnel.configure_left(plan);
    sleeps_soundly(&tunnel.left, "before a session");
    tunnel.configure_right(plan);
    reach(&tunnel.site.left, Family::V4.inner(2));
    sleeps_soundly(&tunnel.left, "with a session");
    let resident = tunnel.left.resident();
    assert!(resident < RESIDENT, "{resident} KiB resident");
    for first in (1..=MANY).step_by(PART) {
        let mut request = "set=1\n".to_owned();
        for number in first..first + PART as u32 {
            let bytes = number.to_be_bytes();
            let key: String = [bytes; 8].concat().iter().map(|byte| format!("{byte:02x}")).collect();
            let [_, a, b, c] = bytes;
            write!(request, "public_key={key}\nendpoint=10.77.0.9:1\nallowed_ip=10.{a}.{b}.{c}/32\n").unwrap();
        }
        let answer = Connection::open(&tunnel.left.socket()).unwrap().ask((request + "\n").as_bytes()).unwrap();
        assert_eq!(errno(&answer), Some(0));
    }
    sleeps_soundly(&tunnel.left, "with many peers");
    eprintln!("{resident} KiB resident, {} KiB with {MANY} peers", tunnel.left.resident());
}
