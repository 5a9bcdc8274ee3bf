//! A hundred thousand peers come, are listed, changed, replaced and go, while a tunnel is in use; and what that costs
//! grows as their number.

mod common;

use common::*;
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::reason::Reason;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the tunnel's other end.
const CLIENT: u32 = 1 << 20;

/// What is done to many peers.
type Step<'a> = Box<dyn Fn() + 'a>;

/// Every way to change or read many peers beside those that an engine has. Each step leaves what the next one needs.
fn steps<'a>(hub: &'a Engine, peers: &'a [PeerChange<'a>]) -> Vec<(&'static str, Step<'a>)> {
    let others = hub.peer_count();
    let count = others + peers.len() as u32;
    let removed = |peer: &PeerChange<'a>| PeerChange { remove: true, ..peer.clone() };
    let removals: Vec<_> = peers.iter().map(removed).collect();
    let replacements: Vec<_> = peers.iter().flat_map(|peer| [removed(peer), peer.clone()]).collect();
    let change = |peers: &[PeerChange<'_>]| set(hub, Change { peers, ..Change::default() });
    vec![
        ("set", Box::new(move || change(peers))),
        ("listed", Box::new(move || assert_eq!(list(hub), (count, count)))),
        ("changed", Box::new(move || change(peers))),
        ("replaced", Box::new(move || change(&replacements))),
        ("removed", Box::new(move || change(&removals))),
        ("listed when gone", Box::new(move || assert_eq!(list(hub), (others, others)))),
    ]
}

/// How many peers and allowed IPs there are.
fn list(engine: &Engine) -> (u32, u32) {
    let (mut peers, mut prefixes, mut at) = (0, 0, None);
    while let Some(peer) = engine.next_peer(at) {
        (at, peers) = (Some(peer), peers + 1);
        assert!(engine.peer_info(peer).is_some());
        let mut cursor = None;
        while let Some((_, next)) = engine.next_allowed_ip(peer, cursor) {
            (cursor, prefixes) = (Some(next), prefixes + 1);
        }
    }
    (peers, prefixes)
}

/// Runs `act` while `client` and `hub` exchange packets as fast as they can, all of which have to arrive, and says how
/// many did each way.
fn under_traffic(hub: &Engine, client: &Engine, act: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut passed = 0;
            while !over.load(Ordering::Relaxed) {
                carry(client, CLIENT, hub, 0);
                carry(hub, 0, client, CLIENT);
                passed += 1;
            }
            passed
        });
        act();
        over.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    })
}

#[test]
fn a_tunnel_in_use_loses_nothing_while_a_hundred_thousand_peers_change() {
    let (hub, client) = (engine(0), engine(CLIENT));
    set(&hub, Change { peers: &[peer(CLIENT).change()], ..Change::default() });
    set(&client, Change { peers: &[peer(0).change()], ..Change::default() });
    connect(&client, CLIENT, &hub);
    let others: Vec<_> = (1..=100_000).map(peer).collect();
    let others: Vec<_> = others.iter().map(Peer::change).collect();
    let mut all = 0;
    for (name, step) in steps(&hub, &others) {
        let passed = under_traffic(&hub, &client, step);
        println!("{} peers {name}: {passed} packets passed each way meanwhile", others.len());
        all += passed;
    }
    assert!(all > 1000, "{all} packets are no traffic");
    for engine in [&hub, &client] {
        for reason in Reason::ALL {
            assert_eq!(engine.drops(*reason), 0, "{}", reason.name());
        }
    }
}

/// Seconds for which this thread has had a processor.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Ten times as many peers take ten times as long, and a little more because caches are small. What grew as their square
/// would take a hundred times as long.
#[test]
fn the_cost_of_changes_grows_as_the_number_of_peers() {
    let costs = [10_000, 100_000].map(|count| {
        let hub = engine(0);
        let peers: Vec<_> = (1..=count).map(peer).collect();
        let peers: Vec<_> = peers.iter().map(Peer::change).collect();
        let cost = |(name, step): (_, Step<'_>)| {
            let before = processor_time();
            step();
            (name, processor_time() - before)
        };
        steps(&hub, &peers).into_iter().map(cost).collect::<Vec<_>>()
    });
    let [few, many] = &costs;
    for ((name, few), (_, many)) in few.iter().zip(many) {
        println!("{name}: {:.1} ms for 10,000 peers, {:.1} ms for 100,000", few * 1e3, many * 1e3);
        assert!(*many < 40.0 * few.max(1e-3), "{name}: {few} s, then {many} s");
    }
}
