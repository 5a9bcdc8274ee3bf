//! Somebody who changes the interface all the time.

use kerntun_interop::random::Random;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the test has written down: how to make the peer again.
const PEER: &str = "/run/hostile.peer";

pub(crate) struct Churn {
    over: Arc<AtomicBool>,
    changes: JoinHandle<u64>,
}

impl Churn {
    /// Begins to change the interface wg0 in the namespace a.
    pub(crate) fn begin(mut random: Random) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let changes = thread::spawn(move || {
            let mut changes = 0;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50 + random.below(200) as u64));
                change(&mut random);
                changes += 1;
            }
            make_good();
            changes
        });
        Self { over, changes }
    }

    /// Ends it and makes the interface what it was; how many changes there were.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.changes.join().expect("no panic")
    }
}

fn change(random: &mut Random) {
    match random.below(8) {
        0 | 1 => {
            let mtu = random.pick(&["68", "576", "1280", "1420", "9000", "65535", "1000000"]);
            run(&format!("ip -n a link set wg0 mtu {mtu}"));
        }
        2 => {
            run("ip -n a link set wg0 down");
            thread::sleep(Duration::from_millis(random.below(50) as u64));
            run("ip -n a link set wg0 up");
        }
        3 => {
            let peer = peer();
            let key = peer.split_whitespace().nth(1).unwrap_or_default();
            run(&format!("ip netns exec a wg set wg0 peer {key} remove"));
            thread::sleep(Duration::from_millis(random.below(50) as u64));
            run(&format!("ip netns exec a wg set wg0 {peer}"));
        }
        4 => {
            run("ip netns exec a wg set wg0 listen-port 1112");
            run("ip netns exec a wg set wg0 listen-port 1111");
        }
        5 => run("ip netns exec a wg show wg0 dump"),
        6 => run("ip netns exec a wg set wg0 fwmark 1"),
        _ => run("ip netns exec a wg set wg0 fwmark 0"),
    }
}

fn make_good() {
    run("ip netns exec a wg set wg0 fwmark 0 listen-port 1111");
    run("ip -n a link set wg0 mtu 1420 up");
    // IPv6 leaves an interface that is down, or too small for it.
    run("ip -n a address replace fd77::1/64 dev wg0 nodad");
    run(&format!("ip netns exec a wg set wg0 {}", peer()));
}

fn peer() -> String {
    fs::read_to_string(PEER).expect("the test writes it down").trim().to_owned()
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    // What is refused is not this program's business.
    let _ = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
