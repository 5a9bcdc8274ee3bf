//! Calls from several threads in thousands of schedules: what carries packets against what changes the device. The locks
//! that the engine uses are the scheduler's, so every order of taking them can happen, and a deadlock is found at once.
//!
//! In every test the host checks the order of locks, that no key is used for the same counter twice, and that nothing is
//! computed under a lock. A failure prints the schedule; `shuttle::replay` runs it again.
//!
//!     SCHEDULES=100000 cargo test --release -p kerntun-models --test schedules

#![allow(unreachable_pub, reason = "a test has no callers")]

mod handshakes;
mod home;

use home::ScheduledHost;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::Followup;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::reason::Reason;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::time::{Instant, Wall};
use kerntun_models::{End, Out, private_key};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::thread;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

type Device = End<ScheduledHost>;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: Wall = Wall { seconds: 1_800_000_000, nanos: 0 };

/// Half of the schedules are drawn evenly, half with few changes of thread at the worst places (probabilistic
/// concurrency testing, Burckhardt and others 2010).
fn every_schedule(test: impl Fn() + Copy + Send + Sync + 'static) {
    let iterations = std::env::var("SCHEDULES").map_or(600, |number| number.parse().expect("a number of schedules"));
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    shuttle::Runner::new(RandomScheduler::new(iterations / 2), config.clone()).run(test);
    shuttle::Runner::new(PctScheduler::new(3, iterations / 2), config).run(test);
}

/// Two devices that are each other's peers.
fn acquainted() -> (Device, Device) {
    let (device, other) = (End::new(ScheduledHost::new(1), 1, NOW), End::new(ScheduledHost::new(2), 2, NOW));
    device.meet(NOW, other.device.public_key().unwrap(), None);
    other.meet(NOW, device.device.public_key().unwrap(), None);
    (device, other)
}

/// Two devices with a session, and packets of the other one under way.
fn connected(packets: u32) -> (Arc<Device>, Device, Vec<Vec<u8>>) {
    let (device, other) = acquainted();
    let mut out = Out::default();
    device.send(NOW, device.packet(0), &mut out);
    device.expire(NOW, WALL, &mut out);
    exchange(&device, &other, NOW, out);
    let mut out = Out::default();
    for mark in 1..=packets {
        other.send(NOW, other.packet(mark), &mut out);
    }
    assert_eq!(out.sent.len(), packets as usize);
    (Arc::new(device), other, out.sent)
}

/// Carries what `device` said, and all that follows from it.
fn exchange(device: &Device, other: &Device, now: Instant, out: Out) {
    let (mut to_other, mut to_device) = (out.sent, Vec::new());
    while !to_other.is_empty() || !to_device.is_empty() {
        let (mut first, mut second) = (Out::default(), Out::default());
        to_other.drain(..).for_each(|datagram: Vec<u8>| other.receive(now, &datagram, &mut first));
        to_device.drain(..).for_each(|datagram: Vec<u8>| device.receive(now, &datagram, &mut second));
        (to_device, to_other) = (first.sent, second.sent);
    }
}

fn other_key() -> PublicKey {
    let device = End::new(ScheduledHost::new(3), 2, NOW);
    device.device.public_key().unwrap()
}

fn spawn<R: Send + 'static>(
    device: &Arc<Device>,
    work: impl FnOnce(&Device) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let device = Arc::clone(device);
    thread::spawn(move || work(&device))
}

fn join<R>(threads: Vec<thread::JoinHandle<R>>) -> Vec<R> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Receives datagrams; gives the inner packets.
fn receive(datagrams: Vec<Vec<u8>>) -> impl FnOnce(&Device) -> Vec<Vec<u8>> + Send {
    move |device| {
        let mut out = Out::default();
        datagrams.iter().for_each(|datagram| device.receive(NOW, datagram, &mut out));
        out.delivered
    }
}

/// Sends packets numbered from `first`; gives the datagrams.
fn send(first: u32, count: u32) -> impl FnOnce(&Device) -> Vec<Vec<u8>> + Send {
    move |device| {
        let mut out = Out::default();
        (first..first + count).for_each(|mark| device.send(NOW, device.packet(mark), &mut out));
        out.sent
    }
}

fn remove(device: &Device) {
    device.change(
        NOW,
        Change { peers: &[PeerChange { remove: true, ..PeerChange::new(other_key()) }], ..Change::default() },
    );
}

/// No packet twice, and the counters of what was sent neither.
fn assert_each_once(packets: Vec<Vec<Vec<u8>>>) -> usize {
    let all: Vec<_> = packets.into_iter().flatten().collect();
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    all.len()
}

fn counters(datagrams: Vec<Vec<Vec<u8>>>) -> usize {
    assert_each_once(
        datagrams
            .into_iter()
            .map(|thread| thread.into_iter().filter(|d| d[0] == 4).map(|d| d[4..16].to_vec()).collect())
            .collect(),
    )
}

#[test]
fn two_senders_and_two_copies_of_what_comes_in() {
    every_schedule(|| {
        let (device, _, datagrams) = connected(3);
        let senders = vec![spawn(&device, send(10, 2)), spawn(&device, send(20, 2))];
        let receivers = vec![spawn(&device, receive(datagrams.clone())), spawn(&device, receive(datagrams))];
        assert_eq!(counters(join(senders)), 4);
        assert_eq!(assert_each_once(join(receivers)), 3);
    });
}

#[test]
fn packets_against_the_removal_of_their_peer() {
    every_schedule(|| {
        let (device, _, datagrams) = connected(2);
        let removed = Arc::new(AtomicBool::new(false));
        let remover = {
            let removed = Arc::clone(&removed);
            spawn(&device, move |device| {
                remove(device);
                removed.store(true, Ordering::SeqCst);
                // The same key again: a peer like the one that was, in the place where it was.
                device.meet(NOW, other_key(), None);
            })
        };
        let receivers = datagrams.into_iter().map(|datagram| {
            let removed = Arc::clone(&removed);
            spawn(&device, move |device| receive_in_steps(device, datagram, &removed))
        });
        let receivers: Vec<_> = receivers.collect();
        let sender = spawn(&device, send(10, 2));
        assert!(assert_each_once(join(receivers)) <= 2);
        assert!(counters(vec![sender.join().unwrap()]) <= 2);
        remover.join().unwrap();
        assert_eq!(device.device.peer_count(), 1);
        let peer = device.device.next_peer(None).unwrap();
        let info = device.device.peer_info(peer).unwrap();
        assert!(info.session_since.is_none() && info.rx_bytes == 0 && info.last_handshake.is_none());
    });
}

/// One datagram in the three steps of a host. What is committed after the peer or its address is `gone` delivers nothing.
fn receive_in_steps(device: &Device, mut bytes: Vec<u8>, gone: &AtomicBool) -> Vec<Vec<u8>> {
    let mut packets = [Incoming::new(bytes.first_chunk().unwrap(), bytes.len(), 0).unwrap()];
    let Some(job) = device.device.admit(NOW, &mut packets) else { return Vec::new() };
    let spans = [Span { start: 0, len: bytes.len() }];
    device.device.open(&job, &mut packets, &mut Slices { buffer: &mut bytes, spans: &spans });
    let stale = gone.load(Ordering::SeqCst);
    let _: Followup = device.device.commit_opened(NOW, job, &mut packets, &device.other());
    match packets[0].verdict() {
        Verdict::Deliver { len, .. } => {
            assert!(!stale, "a packet of a peer that is gone, or of an address that is not its own, is delivered");
            vec![bytes[16..16 + len].to_vec()]
        }
        _ => Vec::new(),
    }
}

/// The address that packets come from is given to another peer, itself or in a longer prefix, while they are opened, and the
/// engine has seen it before. What is committed afterwards delivers nothing.
#[test]
fn packets_against_a_source_that_changes_hands() {
    fn check(before: u8) {
        let (device, other, datagrams) = connected(4);
        let address = |prefix_len| AllowedIp::new([10, 0, 0, 2].into(), prefix_len).unwrap();
        let first = [AllowedIpChange::Remove(address(32)), AllowedIpChange::Add(address(before))];
        let change = PeerChange { allowed_ips: &first, ..PeerChange::new(other_key()) };
        device.change(NOW, Change { peers: &[change], ..Change::default() });
        assert_eq!(receive(datagrams[..1].to_vec())(&device).len(), 1);
        let given_away = Arc::new(AtomicBool::new(false));
        let change = {
            let given_away = Arc::clone(&given_away);
            spawn(&device, move |device| {
                let allowed_ips = [AllowedIpChange::Add(address(32))];
                let thief = PeerChange { allowed_ips: &allowed_ips, ..PeerChange::new(PublicKey([77; 32])) };
                device.change(NOW, Change { peers: &[thief], ..Change::default() });
                given_away.store(true, Ordering::SeqCst);
            })
        };
        let receivers = datagrams[1..].iter().cloned().map(|datagram| {
            let given_away = Arc::clone(&given_away);
            spawn(&device, move |device| receive_in_steps(device, datagram, &given_away))
        });
        let receivers: Vec<_> = receivers.collect();
        assert!(assert_each_once(join(receivers)) <= 3);
        change.join().unwrap();
        let mut out = Out::default();
        other.send(NOW, other.packet(9), &mut out);
        assert!(receive(out.sent)(&device).is_empty());
        assert!(device.device.drops(Reason::WrongSource) >= 1);
    }
    every_schedule(|| check(32));
    every_schedule(|| check(24));
}

#[test]
fn packets_against_new_sessions() {
    every_schedule(|| {
        let (device, other, datagrams) = connected(2);
        // The other one starts over: two initiations, five seconds apart, and both arrive now.
        let later = NOW.after(130_000_000_000);
        let mut initiations = Vec::new();
        for (seconds, wall) in [(0, 130), (6, 136)] {
            let mut out = Out::default();
            let now = later.after(seconds * 1_000_000_000);
            other.send(now, other.packet(50), &mut out);
            other.expire(now, Wall { seconds: WALL.seconds + wall, nanos: 0 }, &mut out);
            initiations.extend(out.sent.into_iter().filter(|datagram| datagram[0] == 1));
        }
        assert!(!initiations.is_empty());
        let handshakes = spawn(&device, receive(initiations));
        let senders = vec![spawn(&device, send(10, 2)), spawn(&device, send(20, 1))];
        let receiver = spawn(&device, receive(datagrams));
        assert_eq!(counters(join(senders)), 3);
        assert_eq!(receiver.join().unwrap().len(), 2);
        handshakes.join().unwrap();
    });
}

#[test]
fn packets_against_changes_of_everything_else() {
    every_schedule(|| {
        let (device, _, datagrams) = connected(2);
        let changes = spawn(&device, |device| {
            let prefix = AllowedIp::new([10, 0, 0, 0].into(), 24).unwrap();
            let more = [AllowedIpChange::Add(prefix)];
            let change = PeerChange {
                allowed_ips: &more,
                preshared_key: Some(Secret::new([9; 32])),
                persistent_keepalive: Some(25),
                ..PeerChange::new(other_key())
            };
            device.change(NOW, Change { peers: &[change], ..Change::default() });
            device.device.configure(|configuration| configuration.forget_sources());
            device.change(NOW, Change { private_key: Some(private_key(5)), ..Change::default() });
            device.device.configure(|configuration| {
                configuration.forget_sessions();
                configuration.down();
                configuration.up(NOW)
            })
        });
        let reader = spawn(&device, |device| {
            let mut at = None;
            while let Some(peer) = device.device.next_peer(at) {
                let _ = (device.device.peer_info(peer), device.device.next_allowed_ip(peer, None));
                at = Some(peer);
            }
        });
        let timers = spawn(&device, |device| {
            let mut out = Out::default();
            device.expire(NOW.after(11_000_000_000), WALL, &mut out);
            let _ = device.device.next_deadline();
            out.sent
        });
        let sender = spawn(&device, send(10, 2));
        let receivers = vec![spawn(&device, receive(datagrams.clone())), spawn(&device, receive(datagrams))];
        assert!(assert_each_once(join(receivers)) <= 2);
        counters(vec![sender.join().unwrap(), timers.join().unwrap()]);
        changes.join().unwrap();
        reader.join().unwrap();
    });
}

/// Tables grow, buckets split, while packets look into them.
#[test]
fn packets_against_growing_tables() {
    every_schedule(|| {
        let (device, _, datagrams) = connected(2);
        let growing = spawn(&device, |device| {
            for base in 0..3 {
                let keys: Vec<_> = (0..6).map(|at| PublicKey([base * 6 + at + 77; 32])).collect();
                let ips: Vec<_> = (0..6)
                    .map(|at| [AllowedIpChange::Add(AllowedIp::new([10, 1, base, at].into(), 32).unwrap())])
                    .collect();
                let peers: Vec<_> = keys
                    .iter()
                    .zip(&ips)
                    .map(|(key, ips)| PeerChange { allowed_ips: ips, ..PeerChange::new(*key) })
                    .collect();
                device.change(NOW, Change { peers: &peers, ..Change::default() });
            }
        });
        let senders = vec![spawn(&device, send(10, 2))];
        let receiver = spawn(&device, receive(datagrams));
        assert_eq!(counters(join(senders)), 2);
        assert_eq!(receiver.join().unwrap().len(), 2);
        growing.join().unwrap();
        assert_eq!(device.device.peer_count(), 19);
    });
}

/// Packets are staged by two threads while the handshake that they wait for ends: each thread's leave in its order, none
/// is left behind.
#[test]
fn staged_packets_against_the_end_of_their_handshake() {
    every_schedule(|| {
        let (device, other) = (End::new(ScheduledHost::new(1), 1, NOW), End::new(ScheduledHost::new(2), 2, NOW));
        device.meet(NOW, other.device.public_key().unwrap(), None);
        other.meet(NOW, device.device.public_key().unwrap(), None);
        let mut out = Out::default();
        device.send(NOW, device.packet(0), &mut out);
        device.expire(NOW, WALL, &mut out);
        let mut response = Out::default();
        out.sent.iter().for_each(|initiation| other.receive(NOW, initiation, &mut response));
        let device = Arc::new(device);
        let senders = vec![spawn(&device, send(10, 3)), spawn(&device, send(20, 3))];
        let handshake = spawn(&device, move |device| {
            let mut out = Out::default();
            response.sent.iter().for_each(|datagram| device.receive(NOW, datagram, &mut out));
            out.sent
        });
        let mut sent: Vec<_> = join(senders).into_iter().flatten().collect();
        sent.extend(handshake.join().unwrap());
        sent.sort_by_key(|datagram| u64::from_le_bytes(datagram[8..16].try_into().unwrap()));
        let mut arrived = Out::default();
        sent.iter().for_each(|datagram| other.receive(NOW, datagram, &mut arrived));
        let marks: Vec<_> = arrived.delivered.iter().map(|packet| packet[23]).collect();
        let of =
            |range: std::ops::Range<u8>| marks.iter().copied().filter(|mark| range.contains(mark)).collect::<Vec<_>>();
        assert_eq!((of(10..20), of(20..30)), (vec![10, 11, 12], vec![20, 21, 22]), "{marks:?}");
        assert_eq!(marks.len(), 7);
    });
}
