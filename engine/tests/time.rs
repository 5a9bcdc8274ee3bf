//! The five timers and the ends of sessions, in virtual time: 5, 10, 15, 25, 90, 120, 165, 180 and 540 seconds.

mod common;
use common::*;
use kerntun_engine::config::PeerChange;
use kerntun_engine::reason::Reason;
use kerntun_engine::time::Instant;
use kerntun_engine::timers::Timer;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn ten_seconds_after_unanswered_data_a_keepalive_comes_back() {
    let mut pair = Pair::connected();
    pair.a.send(&ipv4(A, B, b"no answer")).unwrap();
    pair.run_until(millis(9_999));
    assert_eq!(pair.wire.len(), 1);
    pair.run_until(millis(10_000));
    assert_eq!(pair.wire.len(), 2);
    assert_eq!((pair.wire[1].bytes.len(), pair.wire[1].from), (32, pair.b.address));
    // A keepalive is not answered by a keepalive: then the two are quiet.
    pair.run_until(seconds(100));
    assert_eq!(pair.wire.len(), 2);
}

#[test]
fn an_idle_pair_with_sessions_has_nothing_to_do_but_to_forget_them() {
    let mut pair = Pair::connected();
    pair.run_until(seconds(30));
    pair.wire.clear();
    for node in [&pair.a, &pair.b] {
        let next = node.device.next_deadline().unwrap();
        assert_eq!((next.at, next.timer), (seconds(540), Timer::WipeKeys));
    }
    pair.run_until(seconds(539));
    let index = |node: &Node, other: &Node| node.device.peer_info(node.peer(other)).unwrap().session_since;
    assert!(index(&pair.a, &pair.b).is_some());
    pair.run_until(seconds(540));
    assert!(index(&pair.a, &pair.b).is_none() && index(&pair.b, &pair.a).is_none());
    assert!(pair.a.device.next_deadline().is_none(), "no keys, no deadlines, no wake-ups");
    assert!(pair.wire.is_empty());
    // The last handshake stays visible.
    assert_eq!(pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().last_handshake, Some(START));
}

/// The attempts of a peer that does not answer do not keep old keys any longer.
#[test]
fn giving_up_does_not_postpone_the_end_of_keys() {
    let mut pair = Pair::connected();
    pair.run_until(seconds(400));
    pair.a.send(&ipv4(A, B, b"lost")).unwrap();
    pair.run_until_with(millis(539_999), |_| false);
    assert_eq!(drops(&pair.a, Reason::HandshakeTimeout), 1);
    let session = |pair: &Pair| pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().session_since;
    assert_eq!(session(&pair), Some(START));
    pair.run_until_with(seconds(540), |_| false);
    assert_eq!(session(&pair), None);
}

#[test]
fn fifteen_seconds_without_an_answer_start_a_handshake() {
    let mut pair = Pair::connected();
    pair.a.send(&ipv4(A, B, b"lost")).unwrap();
    pair.run_until_with(millis(14_999), |_| false);
    assert!(pair.wire.iter().all(|datagram| datagram.kind() != 1));
    pair.run_until_with(millis(15_333), |_| false);
    assert_eq!(pair.wire.iter().filter(|datagram| datagram.kind() == 1).count(), 1);
}

#[test]
fn initiations_are_repeated_every_five_seconds_and_given_up_after_ninety() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"anybody there?")).unwrap();
    let mut sent = Vec::new();
    for step in 0..1300_u64 {
        pair.run_until_with(millis(step * 100), |_| false);
        sent.extend(pair.wire.drain(..).map(|datagram| (step * 100, datagram)));
    }
    assert_eq!(sent.len(), 20, "one and nineteen repetitions");
    assert!(sent.iter().all(|(_, datagram)| datagram.kind() == 1));
    for pair in sent.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((4_900..=5_500).contains(&gap), "{gap} ms");
    }
    assert_eq!(drops(&pair.a, Reason::HandshakeTimeout), 1);
    let info = pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap();
    assert_eq!(info.staged, (0, 0));
    // All initiations differ, and their timestamps grow (they are in different ephemeral keys' boxes, so only the
    // bytes can be compared).
    for pair in sent.windows(2) {
        assert_ne!(pair[0].1.bytes, pair[1].1.bytes);
    }
    // New data begins again at once.
    pair.a.send(&ipv4(A, B, b"and now?")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"and now?")]);
}

#[test]
fn new_data_during_the_attempts_counts_them_afresh() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"1")).unwrap();
    pair.run_until_with(seconds(80), |_| false);
    pair.a.send(&ipv4(A, B, b"2")).unwrap();
    pair.run_until_with(seconds(160), |_| false);
    assert_eq!(drops(&pair.a, Reason::HandshakeTimeout), 0);
    pair.run_until_with(seconds(200), |_| false);
    assert_eq!(drops(&pair.a, Reason::HandshakeTimeout), 2);
}

fn retries(pair: &Pair) -> u8 {
    pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().handshake_retries
}

#[test]
fn a_handshake_that_ends_well_ends_the_count_of_attempts() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"1")).unwrap();
    pair.run_until_with(seconds(12), |_| false);
    assert_eq!(retries(&pair), 2);
    pair.run_until(seconds(20));
    assert_eq!((pair.b.delivered.len(), retries(&pair)), (1, 0));
}

/// Packets without an answer are a new reason, as a packet without a session is.
#[test]
fn silence_after_data_counts_the_attempts_afresh() {
    let mut pair = Pair::connected();
    pair.run_until(seconds(30));
    pair.a.initiate(pair.a.peer(&pair.b));
    pair.a.send(&ipv4(A, B, b"lost")).unwrap();
    pair.run_until_with(millis(44_990), |_| false);
    assert_eq!(retries(&pair), 2);
    let fell = (0..40).any(|step| {
        pair.run_until_with(millis(45_000 + 10 * step), |_| false);
        retries(&pair) == 0
    });
    assert!(fell);
}

#[test]
fn a_keepalive_without_a_session_counts_the_attempts_afresh() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"lost")).unwrap();
    pair.run_until_with(seconds(12), |_| false);
    assert_eq!(retries(&pair), 2);
    pair.a.keepalive(pair.a.peer(&pair.b));
    assert_eq!(retries(&pair), 0);
}

#[test]
fn a_shorter_persistent_keepalive_holds_at_once_and_none_is_due_while_down() {
    let mut pair = Pair::connected();
    let set = |pair: &Pair, seconds| {
        pair.a.set_peer(PeerChange { persistent_keepalive: Some(seconds), ..PeerChange::new(pair.b.public()) });
        pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().deadlines[Timer::PersistentKeepalive as usize]
    };
    assert_eq!(set(&pair, 100), START);
    pair.run_until(seconds(30));
    // The keepalive that answers the first packet came at ten seconds.
    assert_eq!(set(&pair, 100), seconds(110));
    assert_eq!(set(&pair, 20), seconds(50));
    assert_eq!(set(&pair, 200), seconds(50), "a longer one after the next");
    assert_eq!(set(&pair, 0), Instant::NEVER);
    pair.a.device.configure(|configuration| configuration.down());
    assert_eq!(set(&pair, 25), Instant::NEVER);
}

#[test]
fn persistent_keepalives_come_at_once_and_every_25_seconds() {
    let mut pair = Pair::connected();
    // Past the keepalive that answers the first packet: it would push the next one back.
    pair.run_until(seconds(20));
    pair.wire.clear();
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(pair.b.public()) });
    let mut times = Vec::new();
    for second in 20..=110 {
        pair.run_until(seconds(second));
        times.extend(pair.wire.drain(..).map(|datagram| (datagram.kind(), second)));
    }
    assert_eq!(times, [(4, 20), (4, 45), (4, 70), (4, 95)]);
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(0), ..PeerChange::new(pair.b.public()) });
    pair.run_until(seconds(170));
    assert!(pair.wire.is_empty());
}

#[test]
fn without_a_session_a_persistent_keepalive_makes_one() {
    let mut pair = Pair::new();
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(pair.b.public()) });
    pair.settle();
    let kinds: Vec<_> = pair.wire.iter().map(Datagram::kind).collect();
    assert_eq!(kinds, [1, 2, 4]);
}

#[test]
fn the_initiator_renews_keys_after_two_minutes_of_sending() {
    let mut pair = Pair::connected();
    for second in 1..=125 {
        pair.run_until(seconds(second));
        pair.a.send(&ipv4(A, B, b"tick")).unwrap();
        pair.b.send(&ipv4(B, A, b"tock")).unwrap();
        pair.settle();
        let initiations: Vec<_> = pair.wire.iter().filter(|datagram| datagram.kind() == 1).collect();
        if second < 120 {
            assert!(initiations.is_empty(), "{second} s");
        } else {
            assert_eq!(initiations.len(), 1, "{second} s");
            assert_eq!(initiations[0].from, pair.a.address);
        }
    }
    assert_eq!(pair.b.delivered.len(), 125);
    assert_eq!(pair.a.delivered.len(), 125);
}

#[test]
fn a_responder_that_only_sends_does_not_renew_but_the_initiator_that_receives_does_after_165() {
    let mut pair = Pair::connected();
    pair.run_until(seconds(164));
    pair.b.send(&ipv4(B, A, b"late")).unwrap();
    pair.settle_with(|_| true);
    assert!(pair.wire.iter().all(|datagram| datagram.kind() != 1));
    pair.run_until(seconds(165));
    pair.b.send(&ipv4(B, A, b"later")).unwrap();
    pair.settle();
    assert_eq!(pair.wire.iter().filter(|datagram| datagram.kind() == 1).count(), 1);
    assert_eq!(pair.a.delivered.len(), 2);
}

#[test]
fn a_session_is_dead_after_180_seconds_both_ways() {
    let mut pair = Pair::connected();
    pair.run_until(millis(179_999));
    // Sealed at the last moment, and received one too late.
    pair.a.send(&ipv4(A, B, b"last")).unwrap();
    let late = pair.a.sent.remove(0);
    pair.set_now(seconds(180));
    pair.b.receive(&late);
    assert_eq!(drops(&pair.b, Reason::SessionExpired), 1);
    // And nothing is sent any more under it: the packet waits for a new session.
    pair.b.send(&ipv4(B, A, b"new session")).unwrap();
    assert!(pair.b.sent.is_empty());
    // Both sides want a new session now, and their initiations may cross.
    pair.run_until(seconds(190));
    assert!(pair.a.delivered.contains(&ipv4(B, A, b"new session")));
}

#[test]
fn simultaneous_initiations_converge() {
    for seed in 0..40_u64 {
        let (a, b) = (Node::new(1 + 2 * seed, "192.0.2.1:1001"), Node::new(2 + 2 * seed, "192.0.2.2:1002"));
        a.add(&b, "10.0.0.2/32", true);
        b.add(&a, "10.0.0.1/32", true);
        let mut pair = Pair { a, b, wire: Vec::new() };
        pair.a.send(&ipv4(A, B, b"from a")).unwrap();
        pair.b.send(&ipv4(B, A, b"from b")).unwrap();
        // Both initiations cross on the wire, and so does everything that follows.
        pair.run_until(seconds(20));
        assert_eq!(pair.b.delivered, [ipv4(A, B, b"from a")], "seed {seed}");
        assert_eq!(pair.a.delivered, [ipv4(B, A, b"from b")], "seed {seed}");
        assert!(pair.wire.len() < 20, "seed {seed}: {} datagrams", pair.wire.len());
    }
}

#[test]
fn an_interface_that_is_down_is_silent_and_forgets() {
    let mut pair = Pair::connected();
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(pair.b.public()) });
    pair.settle();
    pair.wire.clear();
    pair.a.device.configure(|configuration| configuration.down());
    assert!(pair.a.device.next_deadline().is_none() || pair.a.device.expire(seconds(1000)).is_none());
    pair.b.send(&ipv4(B, A, b"unheard")).unwrap();
    pair.settle();
    assert!(pair.a.delivered.is_empty());
    assert_eq!(drops(&pair.a, Reason::Down), 1);
    pair.a.device.configure(|configuration| configuration.up(START));
    pair.settle();
    assert!(pair.wire.iter().any(|datagram| datagram.from == pair.a.address && datagram.kind() == 1));
}
