//! Somebody who begins handshakes faster than they can be looked at, with nothing right but what costs nothing: the first MAC.
//!
//! ```text
//! hostile-flood key                            the private key of the victim
//! hostile-flood send ADDRESS:PORT SECONDS      sends to whoever has it, and says how much
//! hostile-flood drops INTERFACE                what our module dropped there, a line for each reason
//! ```

use kerntun_hostile::netlink::wireguard;
use kerntun_interop::attack::Forger;
use kerntun_interop::keys::Keys;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Different messages; they repeat.
const MESSAGES: usize = 1000;
/// Sent at once, and how often: 5,000 a second.
const BURST: usize = 50;
const PACE: Duration = Duration::from_millis(10);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let victim = Keys::number(1);
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["key"] => println!("{}", victim.private_text()),
        ["send", target, seconds] => {
            println!("{} sent", flood(victim, target, Duration::from_secs(seconds.parse().expect("a number"))));
        }
        ["drops", interface] => {
            for (reason, count) in wireguard::drops(interface).expect("an interface of our module") {
                println!("{reason} {count}");
            }
        }
        _ => {
            eprintln!("usage: hostile-flood key | send ADDRESS:PORT SECONDS | drops INTERFACE");
            std::process::exit(2);
        }
    }
}

fn flood(victim: Keys, target: &str, time: Duration) -> usize {
    let mut forger = Forger::new(1, victim, Vec::new());
    let messages: Vec<_> = (0..MESSAGES).map(|_| forger.start().bytes).collect();
    let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a socket");
    socket.connect(target).expect("a way there");
    let (start, mut sent) = (Instant::now(), 0);
    let mut messages = messages.iter().cycle();
    while start.elapsed() < time {
        sent += messages.by_ref().take(BURST).filter(|message| socket.send(message).is_ok()).count();
        sleep(PACE);
    }
    sent
}
