//! What happens between the calls: keys, peers and the interface change while packets wait and jobs are out. A packet
//! that waits always has something that will move it.

mod common;
use common::*;
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::egress::{NotReserved, SealJob};
use kerntun_engine::host::Host;
use kerntun_engine::peer::{Endpoint, PeerRef, Source};
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::Secret;
use kerntun_engine::time::Instant;
use kerntun_host::Held;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn staged(node: &Node, other: &Node) -> u32 {
    node.device.peer_info(node.peer(other)).unwrap().staged.0
}

#[test]
fn a_packet_that_waits_survives_a_change_of_our_key() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"waiting")).unwrap();
    // The initiation is lost, and then we become somebody else, whom the other side knows too.
    pair.settle_with(|_| false);
    pair.a.set(Change { private_key: Some(private_key(55)), ..Change::default() });
    pair.b.add(&pair.a, "10.0.0.1/32", true);
    pair.run_until(seconds(1));
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"waiting")]);
}

#[test]
fn a_packet_that_came_before_the_key_leaves_when_there_is_one() {
    let mut pair = Pair::new();
    pair.a.set(Change { private_key: Some(Secret::ZERO), ..Change::default() });
    pair.a.send(&ipv4(A, B, b"early")).unwrap();
    pair.settle();
    assert!(pair.wire.is_empty());
    pair.set_now(seconds(1));
    pair.a.set(Change { private_key: Some(private_key(1)), ..Change::default() });
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"early")]);
}

#[test]
fn a_persistent_keepalive_begins_when_there_is_a_key() {
    let mut pair = Pair::new();
    pair.a.set(Change { private_key: Some(Secret::ZERO), ..Change::default() });
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(pair.b.public()) });
    pair.run_until(seconds(60));
    assert!(pair.wire.is_empty());
    pair.a.set(Change { private_key: Some(private_key(1)), ..Change::default() });
    pair.settle();
    assert_eq!(pair.wire.iter().map(Datagram::kind).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn a_flush_that_finds_no_session_asks_for_one() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    let peer = pair.a.peer(&pair.b);
    // The host reserved and was refused; by the time it stages there is a session; by the time it flushes there is none.
    let outcome = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"unlucky"), 1));
    assert_eq!(outcome.followup.flush, Some(peer));
    pair.a.device.configure(|configuration| configuration.forget_sessions());
    assert!(pair.a.device.reserve_staged(pair.a.now, peer).is_err());
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"unlucky")]);
}

#[test]
fn without_randomness_a_waiting_packet_waits_only_for_that() {
    let mut pair = Pair::new();
    pair.a.device.host().entropy().set_dry(true);
    pair.a.send(&ipv4(A, B, b"patient")).unwrap();
    pair.run_until(seconds(12));
    assert!(pair.wire.is_empty());
    assert!(drops(&pair.a, Reason::NotSeeded) >= 2);
    pair.a.device.host().entropy().set_dry(false);
    pair.run_until(seconds(20));
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"patient")]);
}

#[test]
fn a_job_of_the_old_session_asks_for_no_second_handshake() {
    let mut pair = Pair::connected();
    pair.run_until(seconds(121));
    let peer = pair.a.peer(&pair.b);
    let late = pair.a.device.reserve(pair.a.now, peer, 1).unwrap();
    pair.a.initiate(peer);
    pair.settle();
    pair.wire.clear();
    pair.a.seal_and_send(late, &[ipv4(A, B, b"under the old key")]);
    pair.settle();
    assert_eq!(pair.b.delivered.len(), 1);
    pair.run_until(seconds(140));
    assert!(pair.wire.iter().all(|datagram| datagram.kind() == 4), "{:?}", pair.wire.len());
}

/// A session that is renewed at `at`, while a packet numbered under the old one is not yet sent.
fn renewed_while_flushing(at: Instant) -> (Pair, PeerRef, SealJob) {
    let mut pair = Pair::connected();
    pair.set_now(at);
    let peer = pair.a.peer(&pair.b);
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"old"), 1));
    let (_staged, job) = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();
    pair.a.initiate(peer);
    let initiation = pair.a.sent.remove(0);
    pair.b.receive(&initiation);
    let response = pair.b.sent.remove(0);
    pair.a.receive(&response);
    (pair, peer, job)
}

#[test]
fn newer_packets_do_not_pass_staged_ones_when_a_session_is_renewed_meanwhile() {
    let (mut pair, peer, job) = renewed_while_flushing(seconds(10));
    pair.a.sent.clear();
    pair.a.send(&ipv4(A, B, b"new")).unwrap();
    assert!(pair.a.sent.is_empty(), "the new packet waits for the old one");
    pair.a.seal_and_send(job, &[ipv4(A, B, b"old")]);
    let followup = pair.a.device.flushed(pair.a.now, peer);
    pair.a.follow(followup);
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"old"), ipv4(A, B, b"new")]);
}

/// The other side sends under the new session only when it has heard of it, which is not to wait for the next packet.
#[test]
fn a_session_is_confirmed_at_once_though_older_packets_are_still_leaving() {
    let (mut pair, peer, job) = renewed_while_flushing(seconds(130));
    assert_eq!(pair.a.sent.iter().map(|datagram| datagram.bytes.len()).collect::<Vec<_>>(), [32], "a keepalive");
    pair.settle();
    let session = pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap().session_since;
    assert_eq!(session, Some(seconds(130)));
    pair.a.seal_and_send(job, &[ipv4(A, B, b"old")]);
    let followup = pair.a.device.flushed(pair.a.now, peer);
    pair.a.follow(followup);
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"old")]);
    // What is staged meanwhile goes instead of a keepalive, when the flush is over.
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"1"), 1));
    let (_staged, job) = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"2"), 1));
    assert!(pair.a.device.reserve_keepalive(pair.a.now, peer).0.is_none());
    drop(job);
    assert_eq!(pair.a.device.flushed(pair.a.now, peer).flush, Some(peer));
}

#[test]
fn a_host_that_forgets_flushed_holds_packets_up_only_until_the_session_is_forgotten() {
    let ends: [fn(&mut Pair); 3] = [
        |pair| pair.a.device.configure(|configuration| configuration.forget_sessions()),
        |pair| {
            pair.a.device.configure(|configuration| configuration.down());
            pair.a.device.configure(|configuration| configuration.up(pair.a.now));
        },
        // Or two handshakes later.
        |pair| {
            for second in 11..400 {
                pair.run_until(seconds(second));
                let _ = pair.a.send(&ipv4(A, B, b"held up"));
            }
        },
    ];
    for end in ends {
        let mut pair = Pair::connected();
        pair.set_now(seconds(10));
        let peer = pair.a.peer(&pair.b);
        let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"lost"), 1));
        let _ = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();
        pair.a.send(&ipv4(A, B, b"held up")).unwrap();
        pair.settle();
        assert!(pair.b.delivered.is_empty());
        end(&mut pair);
        pair.a.send(&ipv4(A, B, b"arrives")).unwrap();
        pair.settle();
        assert_eq!(pair.b.delivered.last(), Some(&ipv4(A, B, b"arrives")));
    }
}

#[test]
fn nothing_begins_on_an_interface_that_is_down() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    let peer = pair.a.peer(&pair.b);
    pair.b.initiate(pair.b.peer(&pair.a));
    let initiation = pair.b.sent.remove(0);
    pair.a.device.configure(|configuration| configuration.down());
    assert!(matches!(pair.a.device.reserve(pair.a.now, peer, 1), Err(NotReserved::Drop(_))));
    let mut outcome = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"late"), 1));
    use kerntun_engine::host::Staged;
    assert!(outcome.evicted.pop().is_some() && !outcome.followup.rearm);
    pair.a.receive(&initiation);
    assert_eq!(pair.a.handled.last(), Some(&"down"));
    let stamp = pair.a.device.greatest_stamp_sent();
    pair.a.initiate(peer);
    assert!(pair.a.sent.is_empty());
    assert_eq!(pair.a.device.greatest_stamp_sent(), stamp);
    let info = pair.a.device.peer_info(peer).unwrap();
    assert_eq!((info.staged.0, info.session_since), (0, None));
    assert!(info.deadlines.iter().all(|at| *at == kerntun_engine::time::Instant::NEVER));
}

#[test]
fn staged_packets_are_purged_and_counted_when_the_interface_goes_down() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        pair.a.send(&ipv4(A, B, b"waiting")).unwrap();
    }
    pair.a.device.configure(|configuration| configuration.down());
    assert_eq!(drops(&pair.a, Reason::StagedPurged), 3);
    assert_eq!(staged(&pair.a, &pair.b), 0);
    // And with the peer.
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"waiting")).unwrap();
    pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(pair.b.public()) });
    assert_eq!(drops(&pair.a, Reason::StagedPurged), 1);
}

#[test]
fn a_peer_that_was_removed_and_made_again_gets_greater_timestamps() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    pair.a.wall_offset = -3600;
    pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(pair.b.public()) });
    pair.a.add(&pair.b, "10.0.0.2/32", true);
    pair.a.send(&ipv4(A, B, b"hello again")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"hello again")]);
}

#[test]
fn a_removed_peer_takes_no_other_peers_deadline_with_it() {
    let mut pair = Pair::new();
    pair.a.set_peer(PeerChange { persistent_keepalive: Some(25), ..PeerChange::new(pair.b.public()) });
    let third = Node::new(3, "192.0.2.3:1003");
    pair.a.add(&third, "10.0.0.3/32", true);
    pair.settle();
    pair.a.send(&ipv4(A, [10, 0, 0, 3], b"earliest")).unwrap();
    assert_eq!(pair.a.device.next_deadline().unwrap().peer, pair.a.peer(&third));
    pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(third.public()) });
    assert_eq!(pair.a.device.next_deadline().unwrap().peer, pair.a.peer(&pair.b));
}

#[test]
fn a_peer_made_with_a_preshared_key_never_exists_without_it() {
    // Observable only as: the first handshake after one change already needs it.
    let mut pair = Pair::new();
    let psk = Some(Secret::new([9; 32]));
    for (node, other, allowed) in [(&pair.a, &pair.b, "10.0.0.2/32"), (&pair.b, &pair.a, "10.0.0.1/32")] {
        let allowed_ips = [AllowedIpChange::Add(prefix(allowed))];
        let peers = [PeerChange {
            preshared_key: psk.clone(),
            endpoint: Some(other.address),
            allowed_ips: &allowed_ips,
            ..PeerChange::new(other.public())
        }];
        node.set(Change { replace_peers: true, peers: &peers, ..Change::default() });
    }
    pair.a.send(&ipv4(A, B, b"secret")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn the_local_address_is_remembered_until_there_is_doubt() {
    let with_source = |pair: &mut Pair| {
        let source = Some(Source { address: "192.0.2.1".parse().unwrap(), interface: 7 });
        pair.b.send(&ipv4(B, A, b"in")).unwrap();
        let datagram = pair.b.sent.remove(0);
        let from = Endpoint { remote: pair.b.address, source };
        pair.a.receive_data(&datagram, &from);
        source
    };
    let source = |pair: &Pair| pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().endpoint.unwrap().source;

    let mut pair = Pair::connected();
    let expected = with_source(&mut pair);
    assert_eq!(source(&pair), expected);
    pair.a.device.forget_source(pair.a.peer(&pair.b));
    assert_eq!(source(&pair), None);
    with_source(&mut pair);
    pair.a.device.configure(|configuration| configuration.forget_sources());
    assert_eq!(source(&pair), None);
    with_source(&mut pair);
    pair.a.set_peer(PeerChange { endpoint: Some(pair.b.address), ..PeerChange::new(pair.b.public()) });
    assert_eq!(source(&pair), None);
    // Fifteen seconds without an answer.
    with_source(&mut pair);
    pair.a.send(&ipv4(A, B, b"lost")).unwrap();
    pair.run_until_with(millis(14_900), |_| false);
    assert_eq!(source(&pair), expected);
    pair.run_until_with(millis(15_400), |_| false);
    assert_eq!(source(&pair), None);
}

#[test]
fn thousands_of_handshakes_leave_no_index_behind() {
    let mut pair = Pair::new();
    let mut peer = pair.a.peer(&pair.b);
    // The index table has room for 64 peers' indices; leaks would fill it long before the end.
    for round in 0..3_000_u64 {
        pair.set_now(seconds(6 * round));
        pair.a.initiate(peer);
        match round % 6 {
            0 => pair.settle_with(|_| false),
            1 => pair.settle_with(|datagram| datagram.kind() != 2),
            2 => pair.a.device.configure(|configuration| configuration.forget_sessions()),
            3 => {
                let datagram = pair.a.sent.pop().unwrap();
                pair.b.block = None;
                let from = Endpoint { remote: pair.a.address, source: None };
                let _ = pair.b.device.receive_handshake(pair.b.now, &datagram.bytes, &from, pair.b.load, &mut None);
            }
            4 => pair.settle(),
            _ => {
                // It has a session from the round before and a handshake from this one.
                assert!(pair.a.device.peer_info(peer).is_some_and(|info| info.session_since.is_some()));
                pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(pair.b.public()) });
                peer = pair.a.add(&pair.b, "10.0.0.2/32", true);
            }
        }
        pair.a.sent.clear();
        pair.b.sent.clear();
    }
    assert_eq!(drops(&pair.a, Reason::HandshakeLost), 0);
    pair.set_now(seconds(6 * 3_000));
    pair.a.send(&ipv4(A, B, b"still")).unwrap();
    pair.settle();
    assert_eq!(pair.b.delivered, [ipv4(A, B, b"still")]);
}

#[test]
fn a_clock_that_goes_back_breaks_nothing() {
    let mut pair = Pair::connected();
    pair.set_now(seconds(100));
    pair.a.send(&ipv4(A, B, b"1")).unwrap();
    pair.settle();
    pair.set_now(seconds(3));
    pair.a.send(&ipv4(A, B, b"2")).unwrap();
    pair.b.send(&ipv4(B, A, b"3")).unwrap();
    pair.settle();
    assert_eq!((pair.b.delivered.len(), pair.a.delivered.len()), (2, 1));
    pair.run_until(seconds(400));
    pair.a.send(&ipv4(A, B, b"4")).unwrap();
    pair.run_until(seconds(420));
    assert_eq!(pair.b.delivered.len(), 3);
}

#[test]
fn a_peer_removed_between_the_calls_makes_its_jobs_stale() {
    use kerntun_crypto::{Slices, Span};
    use kerntun_engine::packet::{Incoming, Verdict};
    let mut pair = Pair::connected();
    pair.set_now(seconds(10));
    let peer = pair.a.peer(&pair.b);
    let unsealed = pair.a.device.reserve(pair.a.now, peer, 1).unwrap();
    let sealing = pair.a.device.reserve(pair.a.now, peer, 1).unwrap();
    let mut bytes = vec![0; 64];
    let spans = [Span { start: 0, len: 64 }];
    let sealed = pair.a.device.seal(sealing, &mut Slices { buffer: &mut bytes, spans: &spans }).unwrap();
    pair.b.send(&ipv4(B, A, b"under way")).unwrap();
    let mut datagram = pair.b.sent.remove(0).bytes;
    let mut entries = [Incoming::new(datagram.first_chunk().unwrap(), datagram.len(), 0).unwrap()];
    let opening = pair.a.device.admit(pair.a.now, &mut entries).unwrap();
    let whole = [Span { start: 0, len: datagram.len() }];
    pair.a.device.open(&opening, &mut entries, &mut Slices { buffer: &mut datagram, spans: &whole });
    let _ = pair.a.device.stage(pair.a.now, peer, Held::from_bytes(ipv4(A, B, b"staged"), 1));
    let (_, flushing) = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();

    pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(pair.b.public()) });
    // Its place is somebody else's by now.
    pair.a.set_peer(PeerChange::new(public_key(&private_key(77))));

    assert!(pair.a.device.seal(unsealed, &mut Slices { buffer: &mut bytes, spans: &spans }).is_none());
    assert_eq!(pair.a.device.commit_sealed(pair.a.now, sealed, 64, true).unwrap_err(), Reason::StaleOut);
    assert!(pair.a.device.seal(flushing, &mut Slices { buffer: &mut bytes, spans: &spans }).is_none());
    assert_eq!(pair.a.device.flushed(pair.a.now, peer), Default::default());
    let from = Endpoint { remote: pair.b.address, source: None };
    assert_eq!(pair.a.device.commit_opened(pair.a.now, opening, &mut entries, &from), Default::default());
    assert_eq!(entries[0].verdict(), Verdict::Drop(Reason::StaleIn));
    assert_eq!((drops(&pair.a, Reason::StaleOut), drops(&pair.a, Reason::StaleIn)), (3, 1));
    let other = pair.a.device.peer_info(pair.a.device.next_peer(None).unwrap()).unwrap();
    assert_eq!((other.rx_bytes, other.tx_bytes, other.endpoint), (0, 0, None));
}

#[test]
fn counters_from_the_limit_on_are_not_even_opened() {
    use kerntun_engine::packet::{Incoming, Verdict};
    let mut pair = Pair::connected();
    pair.b.send(&ipv4(B, A, b"x")).unwrap();
    let genuine = pair.b.sent.remove(0).bytes;
    // 2^64 - 2^13 - 1 is the first that nobody may use.
    for (counter, wanted) in
        [(18_446_744_073_709_543_422_u64, true), (18_446_744_073_709_543_423, false), (u64::MAX, false)]
    {
        let mut header: [u8; 16] = *genuine.first_chunk().unwrap();
        header[8..].copy_from_slice(&counter.to_le_bytes());
        let mut entries = [Incoming::new(&header, genuine.len(), 0).unwrap()];
        assert_eq!(pair.a.device.admit(pair.a.now, &mut entries).is_some(), wanted);
        assert_eq!(entries[0].is_wanted(), wanted);
        if !wanted {
            assert_eq!(entries[0].verdict(), Verdict::Drop(Reason::SessionExpired));
        }
    }
}
