//! What every kind of message changes of a peer: deadlines, where it is, and when the last handshake was. What is not in the
//! lists stays as it was.

mod common;
use common::*;
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::listing::PeerInfo;
use kerntun_engine::peer::Endpoint;
use kerntun_engine::time::Instant;
use kerntun_engine::timers::Timer;
use kerntun_host::Held;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const SECOND: u64 = 1_000_000_000;

fn info(node: &Node, other: &Node) -> PeerInfo {
    node.device.peer_info(node.peer(other)).unwrap()
}

fn deadline(node: &Node, other: &Node, timer: Timer) -> Instant {
    info(node, other).deadlines[timer as usize]
}

/// What `event` changes in one of the two, of what it knows about the other. Deadlines are in seconds from now.
fn changes(pair: &mut Pair, of_a: bool, event: impl FnOnce(&mut Node)) -> Vec<String> {
    let state = |pair: &Pair| if of_a { info(&pair.a, &pair.b) } else { info(&pair.b, &pair.a) };
    let before = state(pair);
    event(if of_a { &mut pair.a } else { &mut pair.b });
    let (after, now) = (state(pair), pair.a.now);
    let mut list = Vec::new();
    for timer in Timer::ALL {
        let at = after.deadlines[timer as usize];
        if at == Instant::NEVER && before.deadlines[timer as usize] != at {
            list.push(format!("{} off", timer.name()));
        } else if before.deadlines[timer as usize] != at {
            list.push(format!("{} {}", timer.name(), at.since(now) / SECOND));
        }
    }
    if after.endpoint != before.endpoint {
        list.push(format!("endpoint {}", after.endpoint.unwrap().remote));
    }
    if after.last_handshake != before.last_handshake {
        assert_eq!(after.last_handshake, Some(now));
        list.push("last handshake".into());
    }
    list
}

/// A pair with a session and persistent keepalives, half a minute old. Then either each waits for an answer to a packet of
/// its own, or each owes the other a keepalive. It is two seconds later now.
fn pair(owing: bool) -> Pair {
    let mut pair = Pair::connected();
    for (node, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        node.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(other.public()) });
    }
    pair.run_until(seconds(30));
    pair.a.send(&ipv4(A, B, b"to b")).unwrap();
    pair.b.send(&ipv4(B, A, b"to a")).unwrap();
    pair.settle_with(|_| owing);
    pair.set_now(seconds(32));
    for (node, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let on = |timer| deadline(node, other, timer) != Instant::NEVER;
        assert_eq!((on(Timer::Keepalive), on(Timer::NewHandshake)), (owing, !owing));
    }
    pair
}

fn elsewhere() -> Endpoint {
    Endpoint { remote: "203.0.113.1:1".parse().unwrap(), source: None }
}

/// Takes a handshake message as if from elsewhere, and does nothing that follows from it.
fn take(node: &mut Node, bytes: &[u8]) {
    node.block = kerntun_engine::session::SessionBlock::new().ok();
    let _ = node.device.receive_handshake(node.now, bytes, &elsewhere(), node.load, &mut node.block);
    assert!(node.block.is_none(), "it made a session");
}

fn initiation(pair: &mut Pair) -> Datagram {
    let peer = pair.a.peer(&pair.b);
    pair.a.initiate(peer);
    pair.a.sent.pop().unwrap()
}

#[test]
fn an_initiation_that_is_sent() {
    let mut pair = pair(true);
    let peer = pair.a.peer(&pair.b);
    assert_eq!(
        changes(&mut pair, true, |a| a.initiate(peer)),
        ["no-response-to-initiation 5", "keepalive-owed off", "persistent-keepalive 25"]
    );
}

#[test]
fn an_initiation_that_is_received_and_its_response() {
    for (owing, ends) in [(false, "no-reply-to-data off"), (true, "keepalive-owed off")] {
        let mut pair = pair(owing);
        let message = initiation(&mut pair);
        assert_eq!(
            changes(&mut pair, false, |b| take(b, &message.bytes)),
            [ends, "wipe-keys 540", "persistent-keepalive 25", "endpoint 203.0.113.1:1"]
        );
    }
}

#[test]
fn a_response_that_is_received_and_its_confirmation() {
    let mut pair = pair(false);
    let message = initiation(&mut pair);
    pair.b.receive(&message);
    let response = pair.b.sent.pop().unwrap();
    // The initiation moved the persistent keepalive already.
    pair.set_now(seconds(33));
    assert_eq!(
        changes(&mut pair, true, |a| take(a, &response.bytes)),
        [
            "no-response-to-initiation off",
            "no-reply-to-data off",
            "wipe-keys 540",
            "persistent-keepalive 25",
            "endpoint 203.0.113.1:1",
            "last handshake",
        ]
    );
    pair.b.send(&ipv4(B, A, b"under the session before")).unwrap();
    let peer = pair.a.peer(&pair.b);
    pair.a.keepalive(peer);
    let confirmation = pair.a.sent.pop().unwrap();
    pair.set_now(seconds(34));
    assert_eq!(
        changes(&mut pair, false, |b| _ = b.receive_data(&confirmation, &elsewhere())),
        ["no-reply-to-data off", "persistent-keepalive 25", "endpoint 203.0.113.1:1", "last handshake"]
    );
}

#[test]
fn packets_that_are_sent() {
    let mut first = pair(true);
    let peer = first.a.peer(&first.b);
    assert_eq!(changes(&mut first, true, |a| a.keepalive(peer)), ["keepalive-owed off", "persistent-keepalive 25"]);
    let mut second = pair(true);
    assert_eq!(
        changes(&mut second, true, |a| a.send(&ipv4(A, B, b"x")).unwrap()),
        ["keepalive-owed off", "no-reply-to-data 15", "persistent-keepalive 25"]
    );
}

/// An authentic packet that is dropped for what is in it is a sign of life as any other.
#[test]
fn packets_that_are_received() {
    let empty = ["no-reply-to-data off", "persistent-keepalive 25", "endpoint 203.0.113.1:1"];
    let content = ["keepalive-owed 10", "no-reply-to-data off", "persistent-keepalive 25", "endpoint 203.0.113.1:1"];
    let packets: [(Vec<u8>, &str, &[&str]); 4] = [
        (vec![], "Keepalive", &empty),
        (ipv4(B, A, b"x"), "Deliver { len: 21, rewritten: false }", &content),
        (ipv4([10, 9, 9, 9], A, b"x"), "Drop(WrongSource)", &content),
        (vec![0; 16], "Drop(InnerMalformed)", &content),
    ];
    for (packet, verdict, expected) in packets {
        let mut pair = pair(false);
        let peer = pair.b.peer(&pair.a);
        let job = pair.b.device.reserve(pair.b.now, peer, 1).unwrap();
        pair.b.seal_and_send(job, &[packet]);
        let datagram = pair.b.sent.pop().unwrap();
        let mut seen = None;
        let changed = changes(&mut pair, true, |a| seen = a.receive_data(&datagram, &elsewhere()));
        assert_eq!(format!("{:?}", seen.unwrap()), verdict);
        assert_eq!(changed, expected, "{verdict}");
    }
}

/// Each side that answers gives up its own, so that there are not two sessions of which each side prefers another.
#[test]
fn initiations_that_cross_end_each_other() {
    let mut pair = Pair::new();
    let (b, a) = (pair.a.peer(&pair.b), pair.b.peer(&pair.a));
    pair.a.initiate(b);
    pair.b.initiate(a);
    let (from_a, from_b) = (pair.a.sent.remove(0), pair.b.sent.remove(0));
    pair.b.receive(&from_a);
    pair.a.receive(&from_b);
    let (by_a, by_b) = (pair.a.sent.remove(0), pair.b.sent.remove(0));
    pair.a.receive(&by_b);
    pair.b.receive(&by_a);
    assert_eq!(pair.a.handled, ["response", "unknown-index"]);
    assert_eq!(pair.b.handled, ["response", "unknown-index"]);
}

#[test]
fn a_change_of_our_key_ends_a_handshake_under_way() {
    let mut pair = Pair::new();
    let message = initiation(&mut pair);
    pair.b.receive(&message);
    let response = pair.b.sent.remove(0);
    // There and back: the message is for us again, but not for anything that is under way.
    for key in [55, 1] {
        pair.a.set(Change { private_key: Some(private_key(key)), ..Change::default() });
        assert!(!info(&pair.a, &pair.b).handshake_pending);
    }
    pair.a.receive(&response);
    assert_eq!(pair.a.handled, ["unknown-index"]);
}

/// A session that may not send any more is not renewed because something came in under it.
#[test]
fn what_comes_in_under_the_key_before_asks_for_no_handshake() {
    for change in [false, true] {
        let mut pair = Pair::connected();
        pair.run_until(seconds(166));
        if change {
            pair.a.set(Change { private_key: Some(private_key(55)), ..Change::default() });
        }
        pair.b.send(&ipv4(B, A, b"late")).unwrap();
        let datagram = pair.b.sent.remove(0);
        pair.a.receive(&datagram);
        assert_eq!(pair.a.delivered.last(), Some(&ipv4(B, A, b"late")));
        assert_eq!(deadline(&pair.a, &pair.b, Timer::Initiation) == Instant::NEVER, change);
    }
}

#[test]
fn the_end_of_a_flush_asks_for_the_session_that_ended_meanwhile() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    let peer = pair.a.peer(&pair.b);
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"1"), 1));
    let (_, job) = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"2"), 1));
    pair.a.device.configure(|configuration| configuration.forget_sessions());
    drop(job);
    assert_eq!(pair.a.device.flushed(pair.a.now, peer).flush, None);
    assert_eq!(deadline(&pair.a, &pair.b, Timer::Initiation), pair.a.now);
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"2")]);
}
