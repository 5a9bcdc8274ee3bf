//! Handshakes against strangers, replays, load, lies about time, and changes of configuration under way.

mod common;
use common::*;
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::peer::Endpoint;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::timers::Timer;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn last(node: &Node) -> &'static str {
    node.handled.last().unwrap()
}

fn initiation(pair: &mut Pair) -> Datagram {
    let peer = pair.a.peer(&pair.b);
    pair.a.initiate(peer);
    pair.a.sent.remove(0)
}

#[test]
fn garbage_is_dropped_for_its_own_reason() {
    let mut pair = Pair::new();
    let good = initiation(&mut pair);
    for (at, reason) in [(0, "malformed"), (1, "malformed"), (3, "malformed"), (20, "bad-mac1"), (120, "bad-mac1")] {
        let mut bad = good.clone();
        bad.bytes[at] ^= 0x40;
        let before = drops(&pair.b, Reason::Malformed) + drops(&pair.b, Reason::BadMac1);
        pair.b.receive(&bad);
        if reason == "bad-mac1" {
            assert_eq!(last(&pair.b), reason);
        }
        assert_eq!(drops(&pair.b, Reason::Malformed) + drops(&pair.b, Reason::BadMac1), before + 1);
        assert!(pair.b.sent.is_empty());
    }
    for len in [0, 1, 3, 31, 63, 91, 93, 147, 149] {
        let mut bad = good.clone();
        bad.bytes.resize(len, 0);
        pair.b.receive(&bad);
        assert!(pair.b.sent.is_empty());
    }
    pair.b.receive(&good);
    assert_eq!(last(&pair.b), "response");
}

/// The thread that fills a host's queue sees the same of a message as the thread that empties it.
#[test]
fn what_strangers_can_send_is_not_worth_a_place_in_a_queue() {
    let mut pair = Pair::new();
    let good = initiation(&mut pair);
    let dropped =
        |node: &Node| Reason::ALL.iter().filter(|reason| drops(node, **reason) > 0).copied().collect::<Vec<_>>();
    assert!(pair.b.device.screen_handshake(&good.bytes));
    assert!(!pair.a.device.screen_handshake(&good.bytes), "it is for somebody else");
    assert_eq!(dropped(&pair.a), [Reason::BadMac1]);
    let mut bad = good.clone();
    bad.bytes[116] ^= 1;
    assert!(!pair.b.device.screen_handshake(&bad.bytes));
    assert_eq!((dropped(&pair.b), drops(&pair.b, Reason::BadMac1)), (vec![Reason::BadMac1], 1));

    pair.b.load = Load { depth: 128, capacity: 1024 };
    pair.b.receive(&good);
    let mut cookie = pair.b.sent.remove(0);
    assert!(pair.a.device.screen_handshake(&cookie.bytes));
    cookie.bytes[5] ^= 1;
    assert!(!pair.a.device.screen_handshake(&cookie.bytes));
    assert_eq!(dropped(&pair.a), [Reason::BadMac1, Reason::UnknownIndex]);

    let kinds: [&[u8]; 4] = [&[4; 32], &[1, 0, 0, 0], &[], &good.bytes[..147]];
    assert!(kinds.iter().all(|bytes| !pair.a.device.screen_handshake(bytes)));
    assert_eq!(drops(&pair.a, Reason::Malformed), 4);
    pair.b.device.configure(|configuration| configuration.down());
    assert!(!pair.b.device.screen_handshake(&good.bytes));
    assert_eq!(drops(&pair.b, Reason::Down), 1);
    pair.b.device.configure(|configuration| configuration.up(START));
    pair.b.set(Change { private_key: Some(Secret::ZERO), ..Change::default() });
    assert!(!pair.b.device.screen_handshake(&good.bytes));
    assert_eq!(drops(&pair.b, Reason::NoIdentity), 1);
}

#[test]
fn an_initiation_counts_once() {
    let mut pair = Pair::new();
    let first = initiation(&mut pair);
    pair.b.receive(&first);
    assert_eq!(last(&pair.b), "response");
    pair.b.now = seconds(1);
    pair.b.receive(&first);
    assert_eq!(last(&pair.b), "old-timestamp");
    let peer = pair.b.peer(&pair.a);
    assert_eq!(pair.b.device.peer_info(peer).unwrap().drops[Reason::OldTimestamp.index()], 1);
    // It stays so when the interface was down in between, and when the peer was configured again.
    pair.b.device.configure(|configuration| configuration.down());
    pair.b.device.configure(|configuration| configuration.up(seconds(1)));
    pair.b.add(&pair.a, "10.0.0.1/32", true);
    pair.b.receive(&first);
    assert_eq!(last(&pair.b), "old-timestamp");
}

/// A peer whose key is of low order (0, 1 and a point of order eight, RFC 7748, section 6.1) can be configured, as in the
/// kernel. Twenty initiations to it fail, as if they were lost, and leave nothing behind.
#[test]
fn a_degenerate_peer_is_silently_out_of_reach() {
    let eighth = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    for (point, key_first) in
        [([0; 32], true), ([[1].as_slice(), &[0; 31]].concat().try_into().unwrap(), false), (eighth, true)]
    {
        let mut node = Node::new(1, "192.0.2.1:1");
        let set_key = |key| node.set(Change { private_key: Some(key), ..Change::default() });
        if !key_first {
            set_key(Secret::ZERO);
        }
        let allowed_ips = [AllowedIpChange::Add(prefix("10.0.0.2/32"))];
        let endpoint = Some("192.0.2.2:2".parse().unwrap());
        node.set_peer(PeerChange { endpoint, allowed_ips: &allowed_ips, ..PeerChange::new(PublicKey(point)) });
        if !key_first {
            set_key(private_key(1));
        }
        let peer = node.device.find(&PublicKey(point)).unwrap();
        node.send(&ipv4(A, B, b"to nobody")).unwrap();
        while let Some(deadline) = node.device.next_deadline().filter(|deadline| deadline.timer != Timer::WipeKeys) {
            node.now = node.now.max(deadline.at);
            node.expire();
            assert!(node.now < seconds(107), "it is tried without end");
        }
        assert!(node.sent.is_empty() && node.now >= seconds(100), "{:?}", node.now);
        let info = node.device.peer_info(peer).unwrap();
        assert_eq!(info.drops[Reason::WeakKey.index()], 20);
        assert_eq!((info.drops[Reason::HandshakeTimeout.index()], info.staged, info.tx_bytes), (1, (0, 0), 0));
        assert_eq!((drops(&node, Reason::WeakKey), drops(&node, Reason::HandshakeTimeout)), (20, 1));
    }
}

#[test]
fn fifty_initiations_a_second_are_enough() {
    let mut pair = Pair::new();
    let first = initiation(&mut pair);
    pair.set_now(seconds(6));
    let second = initiation(&mut pair);
    pair.b.receive(&first);
    pair.b.now = seconds(6).after(19_000_000);
    pair.b.receive(&second);
    assert_eq!(last(&pair.b), "initiation-flood");
    pair.b.now = seconds(6).after(20_000_000);
    pair.b.receive(&second);
    assert_eq!(last(&pair.b), "response");
}

#[test]
fn initiations_leave_five_seconds_apart() {
    let mut pair = Pair::new();
    let _ = initiation(&mut pair);
    let peer = pair.a.peer(&pair.b);
    for (at, sent) in [(4_999, 0), (5_000, 1)] {
        pair.a.now = millis(at);
        pair.a.initiate(peer);
        assert_eq!(pair.a.sent.len(), sent);
    }
}

#[test]
fn a_clock_set_back_does_not_lock_us_out_while_we_run() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    pair.a.wall_offset = -3600;
    let again = initiation(&mut pair);
    pair.b.receive(&again);
    assert_eq!(last(&pair.b), "response");
}

#[test]
fn a_remembered_stamp_outlives_a_restart_with_a_wrong_clock() {
    let mut pair = Pair::connected();
    let remembered = pair.a.device.greatest_stamp_sent();
    let mut reborn = Node::new(1, "192.0.2.1:1001");
    reborn.add(&pair.b, "10.0.0.2/32", true);
    reborn.wall_offset = -86_400;
    pair.a = reborn;
    pair.set_now(seconds(1));
    let early = initiation(&mut pair);
    pair.b.receive(&early);
    assert_eq!(last(&pair.b), "old-timestamp");
    pair.set_now(seconds(10));
    pair.a.device.configure(|configuration| configuration.set_stamp_floor(remembered));
    let late = initiation(&mut pair);
    pair.b.receive(&late);
    assert_eq!(last(&pair.b), "response");
}

#[test]
fn preshared_keys_must_be_the_same_and_change_at_the_next_handshake() {
    let mut pair = Pair::new();
    let psk = Secret::new([7; 32]);
    let change = |node: &Node, other: &Node, key: &Secret| {
        node.set_peer(PeerChange { preshared_key: Some(key.clone()), ..PeerChange::new(other.public()) });
    };
    change(&pair.a, &pair.b, &psk);
    pair.a.send(&ipv4(A, B, b"1")).unwrap();
    pair.settle();
    assert_eq!(last(&pair.a), "bad-handshake");
    change(&pair.b, &pair.a, &psk);
    pair.run_until(seconds(6));
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"1")]);
    // A new one on both sides leaves the session as it is.
    change(&pair.a, &pair.b, &Secret::new([8; 32]));
    change(&pair.b, &pair.a, &Secret::new([8; 32]));
    pair.wire.clear();
    pair.a.send(&ipv4(A, B, b"2")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered.len(), 2);
    assert!(pair.wire.iter().all(|datagram| datagram.kind() == 4));
}

#[test]
fn a_stranger_gets_silence() {
    let mut pair = Pair::new();
    let stranger = Node::new(77, "198.51.100.1:1");
    stranger.add(&pair.b, "10.0.0.2/32", true);
    pair.a = stranger;
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "unknown-peer");
    assert!(pair.b.sent.is_empty());
}

#[test]
fn a_device_without_a_key_drops() {
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    pair.b.set(Change { private_key: Some(Secret::ZERO), ..Change::default() });
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "no-identity");
    let peer = pair.b.device.next_peer(None).unwrap();
    pair.b.initiate(peer);
    assert!(pair.b.sent.is_empty());
}

#[test]
fn under_load_a_cookie_comes_first_and_is_enough() {
    let mut pair = Pair::new();
    pair.b.load = Load { depth: 128, capacity: 1024 };
    pair.a.send(&ipv4(A, B, b"busy?")).unwrap();
    pair.settle();
    assert_eq!(last(&pair.b), "cookie-reply");
    assert_eq!(last(&pair.a), "cookie-stored");
    assert_eq!(drops(&pair.b, Reason::CookieRequired), 1);
    let before = pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap();
    assert_eq!((before.rx_bytes, before.tx_bytes), (0, 0));
    // The next one carries mac2 and is served although the load stays.
    pair.run_until(seconds(6));
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"busy?")]);
}

#[test]
fn load_is_an_eighth_of_the_queue_and_a_second_after() {
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    let mut damaged = knock.clone();
    damaged.bytes[147] ^= 1; // mac2 is not looked at without load
    pair.b.load = Load { depth: 127, capacity: 1024 };
    pair.b.receive(&damaged);
    assert_eq!(last(&pair.b), "response");
    pair.b.load = Load { depth: 128, capacity: 1024 };
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "cookie-reply");
    pair.b.load = Load { depth: 0, capacity: 1024 };
    pair.b.now = millis(999);
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "cookie-reply");
    pair.b.now = millis(1000);
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "old-timestamp");
}

#[test]
fn under_load_one_source_has_five_at_once_and_twenty_a_second() {
    let mut pair = Pair::new();
    pair.b.load = Load { depth: 1024, capacity: 1024 };
    pair.a.send(&ipv4(A, B, b"")).unwrap();
    pair.settle();
    pair.set_now(seconds(6));
    let peer = pair.a.peer(&pair.b);
    pair.a.initiate(peer);
    let knock = pair.a.sent.pop().unwrap();
    let mut served = Vec::new();
    for step in 0..70_u64 {
        pair.b.now = seconds(6).after(step * 10_000_000);
        pair.b.receive(&knock);
        served.push(last(&pair.b) != "rate-limited");
    }
    // Five at once; a token every 50 ms then.
    assert_eq!(served[..6].iter().filter(|served| **served).count(), 6, "five, and the token of the first 50 ms");
    assert_eq!(served[6..].iter().filter(|served| **served).count(), 12);
}

#[test]
fn a_cookie_reply_is_accepted_once_and_moves_nothing() {
    let mut pair = Pair::new();
    pair.b.load = Load { depth: 1024, capacity: 1024 };
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let reply = pair.b.sent.remove(0);
    let peer = pair.a.peer(&pair.b);
    let before = pair.a.device.peer_info(peer).unwrap();
    let elsewhere = Datagram { from: "203.0.113.1:1".parse().unwrap(), ..reply.clone() };
    pair.a.receive(&elsewhere);
    assert_eq!(last(&pair.a), "cookie-stored");
    let after = pair.a.device.peer_info(peer).unwrap();
    assert_eq!((before.endpoint, before.deadlines, before.rx_bytes), (after.endpoint, after.deadlines, after.rx_bytes));
    pair.a.receive(&reply);
    assert_eq!(last(&pair.a), "bad-cookie");
}

#[test]
fn a_cookie_counts_for_its_address_and_port_only() {
    let mut pair = Pair::new();
    pair.b.load = Load { depth: 1024, capacity: 1024 };
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let reply = pair.b.sent.remove(0);
    pair.a.receive(&reply);
    pair.set_now(seconds(6));
    let knock = initiation(&mut pair);
    for from in ["192.0.2.1:1002", "192.0.2.3:1001", "[2001:db8::1]:1001"] {
        pair.b.receive(&Datagram { from: from.parse().unwrap(), ..knock.clone() });
        assert_eq!(last(&pair.b), "cookie-reply", "{from}");
    }
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "response");
}

#[test]
fn a_response_to_a_handshake_that_ended_finds_nothing() {
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let response = pair.b.sent.remove(0);
    pair.a.device.configure(|configuration| configuration.forget_sessions());
    pair.a.receive(&response);
    assert_eq!(last(&pair.a), "unknown-index");

    // Nor is a second response to the same initiation taken.
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let response = pair.b.sent.remove(0);
    pair.a.receive(&response);
    assert_eq!(last(&pair.a), "connected");
    pair.a.receive(&response);
    assert_eq!(last(&pair.a), "unknown-index");
}

#[test]
fn without_memory_for_a_session_the_handshake_is_lost_and_may_be_repeated() {
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    let from = Endpoint { remote: pair.a.address, source: None };
    let handled = pair.b.device.receive_handshake(pair.b.now, &knock.bytes, &from, pair.b.load, &mut None);
    assert!(matches!(handled, Handled::Dropped(Reason::HandshakeLost)));
    pair.b.receive(&knock);
    assert_eq!(last(&pair.b), "response");
}

#[test]
fn without_randomness_handshakes_are_dropped_and_data_flows() {
    let mut pair = Pair::connected();
    let peer = pair.a.peer(&pair.b);
    pair.set_now(seconds(10));
    let host = kerntun_engine::device::Device::host;
    {
        use kerntun_engine::host::Host;
        host(&pair.a.device).entropy().set_dry(true);
    }
    pair.a.initiate(peer);
    assert!(pair.a.sent.is_empty());
    pair.a.send(&ipv4(A, B, b"on")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_new_private_key_ends_sending_and_makes_new_sessions() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(1));
    pair.a.set(Change { private_key: Some(private_key(55)), ..Change::default() });
    pair.b.add(&pair.a, "10.0.0.1/32", true);
    pair.a.send(&ipv4(A, B, b"as somebody else")).unwrap();
    assert!(pair.a.sent.is_empty());
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"as somebody else")]);
    assert_eq!(pair.wire.iter().map(Datagram::kind).collect::<Vec<_>>(), [1, 2, 4]);
    // The same key again changes nothing.
    pair.wire.clear();
    pair.a.set(Change { private_key: Some(private_key(55)), ..Change::default() });
    pair.a.send(&ipv4(A, B, b"still")).unwrap();
    pair.settle();
    assert_eq!(pair.wire.iter().map(Datagram::kind).collect::<Vec<_>>(), [4]);
}

#[test]
fn nothing_unauthenticated_changes_a_peer() {
    let mut pair = Pair::connected();
    let peer = pair.b.peer(&pair.a);
    let state = |pair: &Pair| {
        let info = pair.b.device.peer_info(peer).unwrap();
        (info.endpoint, info.deadlines, info.last_handshake, info.rx_bytes, info.tx_bytes, info.session_since)
    };
    let before = state(&pair);
    pair.set_now(seconds(7));
    let knock = initiation(&mut pair);
    pair.a.send(&ipv4(A, B, b"x")).unwrap();
    let data = pair.a.sent.remove(0);
    for good in [knock, data] {
        for at in 0..good.bytes.len() {
            let mut bad = Datagram { from: "203.0.113.66:6".parse().unwrap(), ..good.clone() };
            bad.bytes[at] ^= 0x10;
            if good.kind() == 1 && at >= 132 {
                continue; // mac2 is not looked at without load
            }
            pair.b.receive(&bad);
        }
    }
    assert_eq!(state(&pair), before);
    assert!(pair.b.sent.is_empty());
}

#[test]
fn a_response_under_load_gets_a_cookie_and_the_next_one_carries_it() {
    let mut pair = Pair::new();
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let response = pair.b.sent.remove(0);
    assert_eq!(response.bytes[76..92], [0; 16], "no cookie, no mac2");
    pair.a.load = Load { depth: 1024, capacity: 1024 };
    pair.a.receive(&response);
    assert_eq!(last(&pair.a), "cookie-reply");
    let reply = pair.a.sent.remove(0);
    pair.b.receive(&reply);
    assert_eq!(last(&pair.b), "cookie-stored");
    pair.set_now(seconds(6));
    let knock = initiation(&mut pair);
    pair.b.receive(&knock);
    let response = pair.b.sent.remove(0);
    assert_ne!(response.bytes[76..92], [0; 16]);
    pair.a.receive(&response);
    assert_eq!(last(&pair.a), "connected");
}
