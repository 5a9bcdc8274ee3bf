//! What peers cost in memory, counted by allocation, with the locks, the queue and the packets that the daemon uses.

use kerntun_crypto::InsecureFake;
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::Crypto;
use kerntun_engine::peer::Endpoint;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicIsize, Ordering};

/// Bytes that are allocated, as they were asked for.
static HELD: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the count beside it takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the threads of the test's harness may take or free meanwhile.
const HARNESS: usize = 4096;

/// The daemon's kind of device; what crypto it uses does not show in its memory.
type Engine = Device<UserHost<InsecureFake, SeededEntropy, Box<[u8]>>>;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: Wall = Wall { seconds: 1_800_000_000, nanos: 0 };
const IDLE: Load = Load { depth: 0, capacity: 4096 };

fn private_key(number: u32) -> Secret {
    let mut bytes = [0x41; 32];
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes[12..16].copy_from_slice(&number.to_be_bytes());
    Secret::new(bytes)
}

fn public_key(number: u32) -> PublicKey {
    PublicKey(InsecureFake.public_key(&private_key(number)))
}

fn engine(number: u32) -> Engine {
    let host = UserHost::with_entropy(InsecureFake, SeededEntropy::new(u64::from(number))).holding();
    let engine = Device::new(host).unwrap();
    set(&engine, Change { private_key: Some(private_key(number)), ..Change::default() });
    engine
}

fn set(engine: &Engine, change: Change<'_>) {
    engine.configure(|configuration| {
        let prepared = configuration.prepare(change).unwrap();
        configuration.apply(NOW, prepared)
    });
}

fn held() -> usize {
    usize::try_from(HELD.load(Ordering::Relaxed)).unwrap()
}

/// Peers 1 to `count`, each with keys, an endpoint and an allowed IP, a thousand at a time.
fn add_peers(engine: &Engine, count: u32, replace_peers: bool) {
    let numbers: Vec<_> = (1..=count).collect();
    for numbers in numbers.chunks(if replace_peers { numbers.len() } else { 1000 }) {
        let prefix = |number: u32| AllowedIp::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)), 32).unwrap();
        let lists: Vec<_> = numbers.iter().map(|number| [AllowedIpChange::Add(prefix(*number))]).collect();
        let peers = numbers.iter().zip(&lists).map(|(number, list)| PeerChange {
            preshared_key: Some(private_key(*number)),
            endpoint: Some(address(*number)),
            allowed_ips: list,
            ..PeerChange::new(public_key(*number))
        });
        let peers: Vec<_> = peers.collect();
        set(engine, Change { replace_peers, peers: &peers, ..Change::default() });
    }
    assert_eq!(engine.peer_count(), count);
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)).into(), 51820)
}

/// A peer begins a handshake with `hub`, which answers it: from then on it has a session.
fn connect(hub: &Engine, number: u32) {
    let client = engine(number);
    let peer = PeerChange {
        preshared_key: Some(private_key(number)),
        endpoint: Some(address(0)),
        ..PeerChange::new(public_key(0))
    };
    set(&client, Change { peers: &[peer], ..Change::default() });
    let initiation = client.initiate(NOW, WALL, client.find(&public_key(0)).unwrap()).unwrap();
    let from = Endpoint { remote: address(number), source: None };
    let mut block = SessionBlock::new().ok();
    let handled = hub.receive_handshake(NOW, initiation.bytes(), &from, IDLE, &mut block);
    assert!(matches!(handled, Handled::Reply(_)) && block.is_none(), "{handled:?}");
}

/// One test, as the count is the process's.
#[test]
fn a_peer_takes_less_than_a_kilobyte_and_a_session_a_third_more() {
    // Also one more than fits into tables of a size, where most of them is unused.
    for count in [1_000, 1_025, 10_000, 65_537, 100_000] {
        let engine = engine(0);
        let before = held();
        add_peers(&engine, count, false);
        let peers = held() - before;
        println!("{count} peers: {} bytes each", peers / count as usize);
        assert!(peers <= 1024 * count as usize, "{peers} bytes for {count} peers");
        // The same again, as a change and in the place of what was there: nothing grows.
        add_peers(&engine, count, false);
        assert!(held() - before < peers + HARNESS, "{count} peers changed");
        add_peers(&engine, count, true);
        assert!(held() - before < peers + HARNESS, "{count} peers replaced");
        // What is left of peers that are gone is their places.
        set(&engine, Change { replace_peers: true, ..Change::default() });
        let places = held() - before;
        assert!(places <= 360 * count as usize, "{places} bytes for the places of {count} peers");
    }
    const SESSIONS: u32 = 1000;
    let hub = engine(0);
    add_peers(&hub, SESSIONS, false);
    let before = held();
    (1..=SESSIONS).for_each(|number| connect(&hub, number));
    let sessions = held() - before;
    println!("{SESSIONS} sessions: {} bytes each", sessions / SESSIONS as usize);
    assert!(sessions <= 1331 * SESSIONS as usize, "{sessions} bytes for {SESSIONS} sessions");
    hub.configure(|configuration| configuration.forget_sessions());
    assert!(held() < before + HARNESS, "sessions leave nothing behind");
}
