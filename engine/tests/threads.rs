//! A host unlike the daemon: packets in fragments, jobs that complete in random order on several threads, and a
//! configuration that changes meanwhile. The same calls, the same results.

mod common;
use common::{Primitives, private_key, public_key};
use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::egress::SealJob;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Host};
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::Secret;
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{HeldQueue, SeededEntropy, UserLock, UserTable};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

/// A datagram in pieces, as a kernel has them.
#[derive(Clone, Debug, Default)]
struct Fragments(Vec<Vec<u8>>);

impl Fragments {
    fn cut(bytes: &[u8], mut seed: u64) -> Self {
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (piece, tail) = rest.split_at((1 + (seed >> 33) as usize % 97).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        Self(pieces)
    }

    fn join(&self) -> Vec<u8> {
        self.0.concat()
    }

    fn put_back(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        for piece in &mut self.0 {
            let (head, tail) = rest.split_at(piece.len());
            piece.copy_from_slice(head);
            rest = tail;
        }
    }
}

/// The primitives, on fragments.
struct Scattered;

impl Scattered {
    fn each(run: &mut [Fragments], mut act: impl FnMut(usize, &mut [u8])) {
        for (at, packet) in run.iter_mut().enumerate() {
            let mut bytes = packet.join();
            act(at, &mut bytes);
            packet.put_back(&bytes);
        }
    }
}

impl Crypto for Scattered {
    type Run<'a> = &'a mut [Fragments];

    fn run_len(&self, run: &Self::Run<'_>) -> usize {
        run.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Self::Run<'_>) {
        Self::each(run, |at, bytes| {
            let spans = [Span { start: 0, len: bytes.len() }];
            Primitives.seal_run(key, first_counter + at as u64, &mut Slices { buffer: bytes, spans: &spans });
        });
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Self::Run<'_>) {
        Self::each(run, |at, bytes| {
            let spans = [Span { start: 0, len: bytes.len() }];
            Primitives.open_run(key, &mut packets[at..=at], &mut Slices { buffer: bytes, spans: &spans });
        });
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        Primitives.x25519(out, private, public)
    }
    fn public_key(&self, private: &Secret) -> [u8; 32] {
        Primitives.public_key(private)
    }
    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        Primitives.hash(out, parts);
    }
    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        Primitives.mac(out, key, parts);
    }
    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        Primitives.seal(key, counter, additional, text)
    }
    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        Primitives.open(key, counter, additional, text, tag)
    }
    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        Primitives.xseal(key, nonce, additional, text)
    }
    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        Primitives.xopen(key, nonce, additional, text, tag)
    }
}

struct Home(Scattered, SeededEntropy);

impl Host for Home {
    type Crypto = Scattered;
    type Entropy = SeededEntropy;
    type Lock<T: Send> = UserLock<T>;
    type Table<T: Send + Sync> = UserTable<T>;
    type Staged = HeldQueue<Vec<u8>>;

    fn crypto(&self) -> &Scattered {
        &self.0
    }
    fn entropy(&self) -> &SeededEntropy {
        &self.1
    }
}

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const LOAD: Load = Load { depth: 0, capacity: 64 };

fn device(seed: u64, peer: u64, allowed: &str, endpoint: &str) -> (Device<Home>, PeerRef) {
    let device = Device::new(Home(Scattered, SeededEntropy::new(seed))).unwrap();
    let allowed_ips = [AllowedIpChange::Add(common::prefix(allowed))];
    let peers = [PeerChange {
        endpoint: Some(endpoint.parse().unwrap()),
        allowed_ips: &allowed_ips,
        ..PeerChange::new(public_key(&private_key(peer)))
    }];
    let change = Change { private_key: Some(private_key(seed)), peers: &peers, ..Change::default() };
    device.configure(|configuration| {
        let prepared = configuration.prepare(change).unwrap();
        prepared.apply(NOW)
    });
    let peer = device.next_peer(None).unwrap();
    (device, peer)
}

/// Two devices with a session between them that both sides may use.
fn connected() -> (Device<Home>, PeerRef, Device<Home>) {
    let (a, to_b) = device(1, 2, "10.0.0.2/32", "192.0.2.2:2");
    let (b, to_a) = device(2, 1, "10.0.0.1/32", "192.0.2.1:1");
    let from = |address: &str| Endpoint { remote: address.parse::<SocketAddr>().unwrap(), source: None };
    let mut block = SessionBlock::new().ok();
    let initiation = a.initiate(NOW, Wall { seconds: 1_800_000_000, nanos: 0 }, to_b).unwrap();
    let Handled::Reply(response) = b.receive_handshake(NOW, initiation.bytes(), &from("192.0.2.1:1"), LOAD, &mut block)
    else {
        panic!("no response");
    };
    let mut block = SessionBlock::new().ok();
    let handled = a.receive_handshake(NOW, response.bytes(), &from("192.0.2.2:2"), LOAD, &mut block);
    assert!(matches!(handled, Handled::Connected(..)));
    let _ = to_a;
    (a, to_b, b)
}

/// Puts jobs that complete in any order back into the order of their tickets, without making anybody wait.
struct Sequencer<T>(Mutex<(u64, BTreeMap<u64, T>)>);

impl<T> Sequencer<T> {
    fn new() -> Self {
        Self(Mutex::new((0, BTreeMap::new())))
    }

    fn complete(&self, ticket: u64, job: T, mut act: impl FnMut(T)) {
        let mut state = self.0.lock().unwrap();
        state.1.insert(ticket, job);
        while let Some(job) = {
            let turn = state.0;
            state.1.remove(&turn)
        } {
            act(job);
            state.0 += 1;
        }
    }
}

/// A pool that takes jobs out in random order.
fn take_at_random<T>(pool: &Mutex<Vec<T>>, seed: &mut u64) -> Option<T> {
    let mut pool = pool.lock().unwrap();
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    // Only the oldest few, or a job could stay behind for longer than a replay window.
    let at = (*seed >> 33) as usize % pool.len().clamp(1, 8);
    (!pool.is_empty()).then(|| pool.remove(at))
}

struct Sealing {
    ticket: u64,
    job: SealJob,
    packets: Vec<Fragments>,
}

struct Opening {
    ticket: u64,
    job: OpenJob,
    entries: Vec<Incoming>,
    packets: Vec<Fragments>,
}

const RUNS: u64 = if cfg!(miri) { 20 } else { 600 };
const RUN: u64 = 7;

#[test]
fn fragmented_runs_completed_in_random_order_arrive_whole_and_in_order() {
    let (a, to_b, b) = connected();
    let (seal_pool, open_pool) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (departures, arrivals) = (Sequencer::new(), Sequencer::new());
    let (wire, from_wire) = mpsc::channel::<Vec<Vec<u8>>>();
    let (deliver, delivered) = mpsc::channel::<Vec<u8>>();
    let (reserved, admitted, disturbed) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));

    std::thread::scope(|scope| {
        // Numbers runs in order; everything else happens in any order.
        scope.spawn(|| {
            for ticket in 0..RUNS {
                let job = a.reserve(NOW, to_b, RUN as u32).unwrap();
                let packets = (0..RUN)
                    .map(|at| {
                        let number = ticket * RUN + at;
                        let packet = common::ipv4([10, 0, 0, 1], [10, 0, 0, 2], &number.to_be_bytes());
                        let mut bytes = job.header(at as u32).to_vec();
                        bytes.extend(packet);
                        bytes.resize(16 + 32 + 16, 0);
                        Fragments::cut(&bytes, number)
                    })
                    .collect();
                seal_pool.lock().unwrap().push(Sealing { ticket, job, packets });
            }
            reserved.store(true, Ordering::Release);
        });
        for worker in 0..3_u64 {
            let (seal_pool, reserved, departures, a) = (&seal_pool, &reserved, &departures, &a);
            let wire = wire.clone();
            scope.spawn(move || {
                let mut seed = worker;
                loop {
                    let finished = reserved.load(Ordering::Acquire);
                    let Some(mut work) = take_at_random(seal_pool, &mut seed) else {
                        if finished {
                            return;
                        }
                        std::thread::yield_now();
                        continue;
                    };
                    let sealed = a.seal(work.job, &mut &mut work.packets[..]).unwrap();
                    departures.complete(work.ticket, (sealed, work.packets), |(sealed, packets)| {
                        let _ = a.commit_sealed(NOW, sealed, 64 * RUN as usize, true).unwrap();
                        wire.send(packets.iter().map(Fragments::join).collect()).unwrap();
                    });
                }
            });
        }
        drop(wire);
        // The other end: admits in order, opens in any order, commits in order.
        let (from_wire, open_pool, admitted, b) = (from_wire, &open_pool, &admitted, &b);
        scope.spawn(move || {
            for (ticket, datagrams) in from_wire.iter().enumerate() {
                let mut entries: Vec<_> =
                    datagrams.iter().map(|bytes| Incoming::new(bytes.first_chunk().unwrap(), 64, 0).unwrap()).collect();
                let job = b.admit(NOW, &mut entries).unwrap();
                let packets = datagrams.iter().map(|bytes| Fragments::cut(bytes, ticket as u64)).collect();
                open_pool.lock().unwrap().push(Opening { ticket: ticket as u64, job, entries, packets });
            }
            admitted.store(true, Ordering::Release);
        });
        for worker in 10..13_u64 {
            let arrivals = &arrivals;
            let deliver = deliver.clone();
            scope.spawn(move || {
                let mut seed = worker;
                let from = Endpoint { remote: "192.0.2.1:1".parse().unwrap(), source: None };
                loop {
                    let finished = admitted.load(Ordering::Acquire);
                    let Some(mut work) = take_at_random(open_pool, &mut seed) else {
                        if finished {
                            return;
                        }
                        std::thread::yield_now();
                        continue;
                    };
                    b.open(&work.job, &mut work.entries, &mut &mut work.packets[..]);
                    arrivals.complete(work.ticket, work, |mut work| {
                        let _ = b.commit_opened(NOW, work.job, &mut work.entries, &from);
                        for (entry, packet) in work.entries.iter().zip(&work.packets) {
                            let Verdict::Deliver { len, .. } = entry.verdict() else { panic!("{:?}", entry.verdict()) };
                            deliver.send(packet.join()[16..16 + len].to_vec()).unwrap();
                        }
                    });
                }
            });
        }
        drop(deliver);
        // Meanwhile somebody configures and lists both devices without end.
        scope.spawn(|| {
            let mut round = 0_u64;
            while !disturbed.load(Ordering::Acquire) {
                round += 1;
                for device in [&a, b] {
                    disturb(device, round);
                }
            }
        });
        let got: Vec<_> = delivered.iter().collect();
        disturbed.store(true, Ordering::Release);
        let numbers: Vec<_> = got.iter().map(|packet| u64::from_be_bytes(packet[20..28].try_into().unwrap())).collect();
        assert_eq!(numbers, (0..RUNS * RUN).collect::<Vec<_>>());
    });
    let sent = a.peer_info(to_b).unwrap();
    assert_eq!(sent.session_packets, RUNS * RUN);
    assert_eq!(sent.tx_bytes, 148 + 64 * RUNS * RUN);
}

/// Other peers come and go, and take and lose allowed IPs of their own.
fn disturb(device: &Device<Home>, round: u64) {
    let keys: Vec<_> = (0..5).map(|number| public_key(&private_key(100 + number))).collect();
    let lists: Vec<_> = (0..5_u8)
        .map(|number| {
            let address = std::net::IpAddr::from([10, 1, number, (round % 250) as u8]);
            [AllowedIpChange::Add(AllowedIp::new(address, 32).unwrap())]
        })
        .collect();
    let peers: Vec<_> = keys
        .iter()
        .zip(&lists)
        .map(|(key, list)| PeerChange { remove: round.is_multiple_of(2), allowed_ips: list, ..PeerChange::new(*key) })
        .collect();
    device.configure(|configuration| {
        let prepared = configuration.prepare(Change { peers: &peers, ..Change::default() }).unwrap();
        prepared.apply(NOW);
    });
    let mut at = None;
    while let Some(peer) = device.next_peer(at) {
        let _ = device.peer_info(peer);
        let _ = device.next_allowed_ip(peer, None);
        at = Some(peer);
    }
}

#[test]
fn many_threads_never_share_a_counter() {
    let (a, to_b, _) = connected();
    let seen = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (a, seen) = (&a, &seen);
            scope.spawn(move || {
                for round in 0..if cfg!(miri) { 50 } else { 2_000 } {
                    let count = 1 + (round + worker) % 5;
                    let job = a.reserve(NOW, to_b, count).unwrap();
                    let mut seen = seen.lock().unwrap();
                    for at in 0..count {
                        let counter = u64::from_le_bytes(job.header(at)[8..].try_into().unwrap());
                        assert_eq!(seen.insert(counter, worker), None, "counter {counter} twice");
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len() as u64, seen.last_key_value().unwrap().0 + 1, "and none is left out");
}

#[test]
fn a_session_that_ends_between_the_calls_makes_the_job_stale() {
    use kerntun_engine::reason::Reason;
    let (a, to_b, b) = connected();
    let job = a.reserve(NOW, to_b, 1).unwrap();
    let mut bytes = job.header(0).to_vec();
    bytes.resize(64, 0);
    let mut run = [Fragments::cut(&bytes, 1)];
    let sealed = a.seal(job, &mut &mut run[..]).unwrap();
    let late = a.reserve(NOW, to_b, 2).unwrap();
    let entries = || [Incoming::new(run[0].join().first_chunk().unwrap(), 64, 0).unwrap()];
    let (mut first, mut second) = (entries(), entries());
    let opening = b.admit(NOW, &mut first).unwrap();
    let opening_too = b.admit(NOW, &mut second).unwrap();
    b.open(&opening, &mut first, &mut &mut run.clone()[..]);
    for device in [&a, &b] {
        device.configure(|configuration| configuration.forget_sessions());
    }
    assert!(a.seal(late, &mut &mut [run[0].clone(), run[0].clone()][..]).is_none());
    assert_eq!(a.drops(Reason::StaleOut), 2);
    assert_eq!(a.commit_sealed(NOW, sealed, 64, true).unwrap_err(), Reason::StaleOut);
    assert_eq!(a.drops(Reason::StaleOut), 3);
    let from = Endpoint { remote: "192.0.2.1:1".parse().unwrap(), source: None };
    let _ = b.commit_opened(NOW, opening, &mut first, &from);
    assert_eq!(first[0].verdict(), Verdict::Drop(Reason::StaleIn));
    b.open(&opening_too, &mut second, &mut &mut run.clone()[..]);
    let _ = b.commit_opened(NOW, opening_too, &mut second, &from);
    assert_eq!(second[0].verdict(), Verdict::Drop(Reason::StaleIn));
    assert_eq!(b.drops(Reason::StaleIn), 2);
}
