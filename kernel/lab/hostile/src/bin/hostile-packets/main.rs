//! A cable between two tunnels that does to packets what no cable does, and neighbours that hand the tunnel's interface what no stack does.
//!
//! ```text
//! hostile-packets SEED COUNT SECONDS    until its input ends
//! ```
//!
//! It makes the interfaces `under` in the namespaces `a` and `b`, joins them, and adds to `a` `hole`, whose packets the test redirects into the
//! tunnel, and `mirror`, to which it copies what comes in. Once the test writes a line, it sends COUNT hostile packets towards a's tunnel on the way
//! in and as many on the way out, or as many as it can in SECONDS, while it goes on carrying what the tunnels send each other, and changes the
//! interface meanwhile. After that it says what it did and carries honestly; with its input it ends, and says whether the mirror showed what came.
//! The seed decides what it does; the keys of the tunnels are others each time.

mod churn;
mod inner;
mod mirror;
mod outer;
mod relay;
mod tally;

use kerntun_hostile::namespace::inside;
use kerntun_hostile::netlink::wireguard;
use kerntun_hostile::packet::{PacketSocket, Tap};
use kerntun_interop::random::Random;
use std::io::{BufRead, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let [seed, count, seconds] = numbers[..] else {
        eprintln!("usage: hostile-packets SEED COUNT SECONDS");
        std::process::exit(2);
    };
    let make =
        |namespace, name: &'static str| inside(namespace, move || Tap::new(name)).expect("root may make interfaces");
    let (a, b, hole, mirror) = (make("a", "under"), make("b", "under"), make("a", "hole"), make("a", "mirror"));
    println!("ready");
    let mut relay = relay::Relay::new(a, b, mirror);
    let begun = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let (set_begun, set_over) = (begun.clone(), over.clone());
    thread::spawn(move || {
        // One line to begin, the end of the input to end.
        let mut lines = stdin().lock().lines();
        if lines.next().is_some() {
            set_begun.store(true, Ordering::Relaxed);
            for _ in lines {}
        }
        set_over.store(true, Ordering::Relaxed);
    });
    while !begun.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
        relay.carry(50, None);
    }

    let mut outer = outer::Outer::new(Random::new(seed ^ 2));
    let socket = inside("a", || PacketSocket::new("wg0")).expect("an interface wg0 in a");
    let mut inner = inner::Inner::new(Random::new(seed ^ 3), socket, hole);
    // Once for itself, before anything else is dropped or the interface changes.
    let no_protocol = inner.no_protocol();
    println!("no protocol: {}", no_protocol.map_or_else(|error| error.to_string(), |()| "sent".to_owned()));
    let changes = churn::Churn::begin(Random::new(seed ^ 1));
    let (start, mut sent) = (Instant::now(), 0);
    while sent < count && start.elapsed() < Duration::from_secs(seconds) {
        sent += 1;
        relay.carry(0, Some(&mut outer));
        outer.inject(&relay);
        inner.inject();
    }
    let changes = changes.end();
    print!("{}{}", outer.tally, inner.tally);
    println!("sent {sent} each way in {} s", start.elapsed().as_secs());
    println!("{changes} changes of the interface, {} packets carried in odd shapes", outer.reshaped);
    for (reason, count) in inside("a", || wireguard::drops("wg0")).unwrap_or_default() {
        println!("dropped {reason} {count}");
    }
    println!("done");
    relay.be_honest(|| over.load(Ordering::Relaxed));
    println!("mirrored {} as they came, {} changed", relay.mirror.same, relay.mirror.changed);
}
