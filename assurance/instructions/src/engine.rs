//! The engine's packet paths, each at its worst: a deep routing tree, many peers, full runs.

use kerntun_crypto::{InsecureFake, Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::{Device, Due, Followup};
use kerntun_engine::egress::{SealJob, SealedJob};
use kerntun_engine::handshake::{Handled, Load, Outgoing};
use kerntun_engine::host::Crypto;
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::reason::Reason;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::Secret;
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{Held, SeededEntropy, UserHost};
use std::net::Ipv4Addr;

type Engine = Device<UserHost<InsecureFake, SeededEntropy>>;

/// Peers beside the one that is talked to.
const OTHERS: u32 = 1_000;
/// Bytes of an inner packet, and of the datagram around it.
const PACKET: usize = 64;
const DATAGRAM: usize = PACKET + 32;
const HERE: [u8; 4] = [10, 0, 0, 1];
const THERE: [u8; 4] = [10, 255, 170, 85];
/// The peer's too, at the end of a path as long.
const BESIDE: [u8; 4] = [10, 255, 170, 84];
const IDLE: Load = Load { depth: 0, capacity: 1024 };
const LOADED: Load = Load { depth: 1024, capacity: 1024 };

counted!(counted_route_and_reserve_1(device: &Engine, now: Instant, packet: &[u8]) -> Option<SealJob> {
    let peer = device.route(packet, packet.len()).ok()?;
    device.reserve(now, peer, 1).ok()
});
counted!(counted_route_and_reserve_64(device: &Engine, now: Instant, packet: &[u8]) -> Option<SealJob> {
    let peer = device.route(packet, packet.len()).ok()?;
    device.reserve(now, peer, 64).ok()
});
counted!(counted_commit_sealed_1(device: &Engine, now: Instant, job: SealedJob) -> bool {
    device.commit_sealed(now, job, DATAGRAM, true).is_ok()
});
counted!(counted_commit_sealed_64(device: &Engine, now: Instant, job: SealedJob) -> bool {
    device.commit_sealed(now, job, 64 * DATAGRAM, true).is_ok()
});
counted!(counted_admit_1(device: &Engine, now: Instant, packets: &mut [Incoming]) -> Option<OpenJob> {
    device.admit(now, packets)
});
counted!(counted_admit_64(device: &Engine, now: Instant, packets: &mut [Incoming]) -> Option<OpenJob> {
    device.admit(now, packets)
});
// The first look at where a packet says that it comes from, and that of the next, which comes from there too.
counted!(counted_commit_opened_1(device: &Engine, now: Instant, job: OpenJob, packets: &mut [Incoming], from: &Endpoint) -> Followup {
    device.commit_opened(now, job, packets, from)
});
counted!(counted_commit_opened_1_more(device: &Engine, now: Instant, job: OpenJob, packets: &mut [Incoming], from: &Endpoint) -> Followup {
    device.commit_opened(now, job, packets, from)
});
counted!(counted_commit_opened_64(device: &Engine, now: Instant, job: OpenJob, packets: &mut [Incoming], from: &Endpoint) -> Followup {
    device.commit_opened(now, job, packets, from)
});
// From two addresses by turns.
counted!(counted_commit_opened_64_by_turns(device: &Engine, now: Instant, job: OpenJob, packets: &mut [Incoming], from: &Endpoint) -> Followup {
    device.commit_opened(now, job, packets, from)
});
counted!(counted_replay_64(device: &Engine, now: Instant, packets: &mut [Incoming]) -> Option<OpenJob> {
    device.admit(now, packets)
});
counted!(counted_unknown_index(device: &Engine, now: Instant, packets: &mut [Incoming]) -> Option<OpenJob> {
    device.admit(now, packets)
});
counted!(counted_junk(device: &Engine, datagram: &[u8]) -> bool {
    device.screen_handshake(datagram)
});
counted!(counted_bad_mac1(device: &Engine, datagram: &[u8]) -> bool {
    device.screen_handshake(datagram)
});
counted!(counted_initiation_without_cookie_under_load(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, LOADED, block)
});
counted!(counted_initiation_with_cookie_under_load(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, LOADED, block)
});
counted!(counted_initiation_over_its_share(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, LOADED, block)
});
counted!(counted_initiation_accepted(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, IDLE, block)
});
counted!(counted_response_accepted(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, IDLE, block)
});
counted!(counted_cookie_reply_accepted(device: &Engine, now: Instant, datagram: &[u8], from: &Endpoint, block: &mut Option<SessionBlock>) -> Handled {
    device.receive_handshake(now, datagram, from, IDLE, block)
});
counted!(counted_stage(device: &Engine, now: Instant, peer: PeerRef, packet: Held<Vec<u8>>) -> Followup {
    device.stage(now, peer, packet).followup
});
counted!(counted_reserve_staged_and_flushed(device: &Engine, now: Instant, peer: PeerRef) -> Option<u32> {
    let (staged, job) = device.reserve_staged(now, peer).ok()?;
    let _ = device.flushed(now, peer);
    // Freeing the packets is the host's.
    std::mem::forget(staged);
    Some(job.count())
});
counted!(counted_expire(device: &Engine, now: Instant) -> Option<Due> {
    device.expire(now)
});
counted!(counted_initiate(device: &Engine, now: Instant, wall: Wall, peer: PeerRef) -> Option<Outgoing> {
    device.initiate(now, wall, peer)
});

/// Runs everything once.
pub(crate) fn run() {
    let (a, b) = (device(1), device(2));
    let (at_a, at_b) = (endpoint("192.0.2.1:1001"), endpoint("192.0.2.2:1002"));
    let peer = know(&a, &b, &at_b, THERE);
    let far_peer = know(&b, &a, &at_a, HERE);
    let mut block = SessionBlock::new().ok();
    let mut far_block = SessionBlock::new().ok();
    let packet = packet(HERE, THERE);

    // No session yet: the packet is staged, and the handshake with its answer follows.
    assert!(a.reserve(at(0), peer, 1).is_err());
    let _ = counted_stage(&a, at(0), peer, Held::from_bytes(packet.to_vec(), 1));
    let due = counted_expire(&a, at(0)).expect("an initiation is due");
    let initiation = counted_initiate(&a, at(0), wall(0), due.peer).expect("an initiation");
    let Handled::Reply(response) = b.receive_handshake(at(0), initiation.bytes(), &at_a, IDLE, &mut far_block) else {
        panic!("no response");
    };
    let handled = counted_response_accepted(&a, at(0), response.bytes(), &at_b, &mut block);
    assert!(matches!(handled, Handled::Connected(..)), "{handled:?}");
    assert_eq!(counted_reserve_staged_and_flushed(&a, at(0), peer), Some(1));

    // Out.
    let job = counted_route_and_reserve_1(&a, at(0), &packet).expect("a job");
    let (sealed, mut datagrams) = seal(&a, job, &[packet]);
    assert!(counted_commit_sealed_1(&a, at(0), sealed));
    let job = counted_route_and_reserve_64(&a, at(0), &packet).expect("a job");
    let (sealed, _) = seal(&a, job, &[packet]);
    assert!(counted_commit_sealed_64(&a, at(0), sealed));

    // In, after the far end has heard from us.
    let mut entries = entries(&datagrams);
    let job = b.admit(at(0), &mut entries).expect("a job");
    open(&b, &job, &mut entries, &mut datagrams);
    let _ = b.commit_opened(at(0), job, &mut entries, &at_a);
    assert!(matches!(entries[0].verdict(), Verdict::Deliver { .. }));
    let back = self::packet(THERE, HERE);
    let mut one = far(&b, far_peer, 1, &[back]);
    let mut another = far(&b, far_peer, 1, &[back]);
    let mut many = far(&b, far_peer, 64, &[back]);
    let mut by_turns = far(&b, far_peer, 64, &[self::packet(BESIDE, HERE), back]);
    let replayed = many.clone();
    let mut entries = self::entries(&one);
    let job = counted_admit_1(&a, at(0), &mut entries).expect("a job");
    open(&a, &job, &mut entries, &mut one);
    let _ = counted_commit_opened_1(&a, at(0), job, &mut entries, &at_b);
    assert!(matches!(entries[0].verdict(), Verdict::Deliver { .. }));
    let mut entries = self::entries(&another);
    let job = a.admit(at(0), &mut entries).expect("a job");
    open(&a, &job, &mut entries, &mut another);
    let _ = counted_commit_opened_1_more(&a, at(0), job, &mut entries, &at_b);
    assert!(matches!(entries[0].verdict(), Verdict::Deliver { .. }));
    let mut entries = self::entries(&many);
    let job = counted_admit_64(&a, at(0), &mut entries).expect("a job");
    open(&a, &job, &mut entries, &mut many);
    let _ = counted_commit_opened_64(&a, at(0), job, &mut entries, &at_b);
    assert!(entries.iter().all(|entry| matches!(entry.verdict(), Verdict::Deliver { .. })));
    let mut entries = self::entries(&by_turns);
    let job = a.admit(at(0), &mut entries).expect("a job");
    open(&a, &job, &mut entries, &mut by_turns);
    let _ = counted_commit_opened_64_by_turns(&a, at(0), job, &mut entries, &at_b);
    assert!(entries.iter().all(|entry| matches!(entry.verdict(), Verdict::Deliver { .. })));
    let mut entries = self::entries(&replayed);
    assert!(counted_replay_64(&a, at(0), &mut entries).is_none());
    assert_eq!(a.drops(Reason::Replayed), 64);
    many[4..8].copy_from_slice(&[0x55; 4]);
    let mut entries = vec![Incoming::new(many.first_chunk().expect("a header"), DATAGRAM, 0).expect("data")];
    assert!(counted_unknown_index(&a, at(0), &mut entries).is_none());
    assert_eq!(a.drops(Reason::UnknownIndex), 1);

    // Handshakes of the far end: without a cookie, with one, once too often, and in peace.
    let initiation = b.initiate(at(10), wall(10), far_peer).expect("an initiation");
    let mut bad = initiation.bytes().to_vec();
    assert!(!counted_junk(&a, &[0x17; 148]));
    assert_eq!(a.drops(Reason::Malformed), 1);
    bad[120] ^= 1;
    assert!(!counted_bad_mac1(&a, &bad));
    assert_eq!(a.drops(Reason::BadMac1), 1);
    let mut block = SessionBlock::new().ok();
    let handled = counted_initiation_without_cookie_under_load(&a, at(10), initiation.bytes(), &at_b, &mut block);
    let Handled::Reply(reply) = handled else { panic!("{handled:?}") };
    assert_eq!(reply.bytes().len(), 64, "a cookie reply");
    let handled = counted_cookie_reply_accepted(&b, at(10), reply.bytes(), &at_a, &mut block);
    assert!(matches!(handled, Handled::CookieStored), "{handled:?}");
    let initiation = b.initiate(at(20), wall(20), far_peer).expect("an initiation");
    let handled = counted_initiation_with_cookie_under_load(&a, at(20), initiation.bytes(), &at_b, &mut block);
    let Handled::Reply(response) = handled else { panic!("{handled:?}") };
    assert_eq!(response.bytes().len(), 92, "a response");
    for _ in 0..100 {
        let mut block = SessionBlock::new().ok();
        let _ = a.receive_handshake(at(20), initiation.bytes(), &at_b, LOADED, &mut block);
    }
    let handled = counted_initiation_over_its_share(&a, at(20), initiation.bytes(), &at_b, &mut None);
    assert!(matches!(handled, Handled::Dropped(Reason::RateLimited)), "{handled:?}");
    let initiation = b.initiate(at(40), wall(40), far_peer).expect("an initiation");
    let mut block = SessionBlock::new().ok();
    let handled = counted_initiation_accepted(&a, at(40), initiation.bytes(), &at_b, &mut block);
    assert!(matches!(handled, Handled::Reply(reply) if reply.bytes().len() == 92), "{handled:?}");
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos((1_000 + seconds) * 1_000_000_000)
}

fn wall(seconds: u64) -> Wall {
    Wall { seconds: 1_800_000_000 + seconds, nanos: 0 }
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint { remote: address.parse().expect("an address"), source: None }
}

fn private_key(seed: u32) -> Secret {
    let mut bytes = [0x42; 32];
    bytes[8..12].copy_from_slice(&seed.to_le_bytes());
    Secret::new(bytes)
}

/// A device that is up, with many peers whose prefixes are scattered.
fn device(seed: u32) -> Engine {
    let device = Device::new(UserHost::with_entropy(InsecureFake, SeededEntropy::new(seed.into()))).expect("memory");
    set(&device, Change { private_key: Some(private_key(seed)), ..Change::default() });
    device.configure(|configuration| configuration.up(at(0)));
    for other in 0..OTHERS {
        let key = private_key(1_000 + other);
        // Multiplying by an odd number scatters them.
        let address = Ipv4Addr::from(0x2000_0000 + other.wrapping_mul(2_654_435_761) % 0x1000_0000);
        let allowed = [AllowedIpChange::Add(AllowedIp::new(address.into(), 32).expect("a prefix"))];
        let public = kerntun_engine::secret::PublicKey(InsecureFake.public_key(&key));
        let change = PeerChange { allowed_ips: &allowed, ..PeerChange::new(public) };
        set(&device, Change { peers: &[change], ..Change::default() });
    }
    device
}

/// Makes `other` a peer of `device`, at the end of the longest path that IPv4 has: a prefix of every length.
fn know(device: &Engine, other: &Engine, reached: &Endpoint, address: [u8; 4]) -> PeerRef {
    let key = other.public_key().expect("a key");
    let prefixes = (1..=32_u8).map(|len| AllowedIp::new(Ipv4Addr::from(address).into(), len).expect("a prefix"));
    let beside = AllowedIp::new(Ipv4Addr::from(BESIDE).into(), 32);
    let allowed: Vec<_> = prefixes.chain(beside).map(AllowedIpChange::Add).collect();
    let change = PeerChange { endpoint: Some(reached.remote), allowed_ips: &allowed, ..PeerChange::new(key) };
    set(device, Change { peers: &[change], ..Change::default() });
    device.find(&key).expect("the peer")
}

fn set(device: &Engine, change: Change<'_>) {
    device.configure(|configuration| {
        let prepared = configuration.prepare(change).expect("a change that can be made");
        prepared.apply(at(0));
    });
}

/// An IPv4 packet of protocol 253 (for experiments). Nobody looks at its checksum.
fn packet(source: [u8; 4], destination: [u8; 4]) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[..10].copy_from_slice(&[0x45, 0, 0, PACKET as u8, 0, 0, 0, 0, 64, 253]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

fn spans(count: usize) -> Vec<Span> {
    (0..count).map(|at| Span { start: at * DATAGRAM, len: DATAGRAM }).collect()
}

/// Seals as many packets as the job has numbers for, these by turns.
fn seal(device: &Engine, job: SealJob, packets: &[[u8; PACKET]]) -> (SealedJob, Vec<u8>) {
    let count = job.count() as usize;
    let mut buffer = vec![0; count * DATAGRAM];
    for ((at, datagram), packet) in (0..).zip(buffer.chunks_mut(DATAGRAM)).zip(packets.iter().cycle()) {
        datagram[..16].copy_from_slice(&job.header(at));
        datagram[16..16 + PACKET].copy_from_slice(packet);
    }
    let sealed = device.seal(job, &mut Slices { buffer: &mut buffer, spans: &spans(count) }).expect("sealed");
    (sealed, buffer)
}

/// A run that the far end sends.
fn far(device: &Engine, peer: PeerRef, count: u32, packets: &[[u8; PACKET]]) -> Vec<u8> {
    let job = device.reserve(at(0), peer, count).ok().expect("a session");
    let (sealed, buffer) = seal(device, job, packets);
    assert!(device.commit_sealed(at(0), sealed, buffer.len(), true).is_ok());
    buffer
}

fn entries(datagrams: &[u8]) -> Vec<Incoming> {
    let datagrams = datagrams.chunks(DATAGRAM);
    datagrams.map(|bytes| Incoming::new(bytes.first_chunk().expect("a header"), DATAGRAM, 0).expect("data")).collect()
}

fn open(device: &Engine, job: &OpenJob, entries: &mut [Incoming], buffer: &mut [u8]) {
    let spans = spans(entries.len());
    device.open(job, entries, &mut Slices { buffer, spans: &spans });
}
