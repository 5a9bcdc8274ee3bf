//! What peers cost in memory, counted by allocation, with the locks, the queue and the packets that the daemon uses.

mod common;

use common::*;
use kerntun_engine::config::Change;
use std::alloc::{GlobalAlloc, Layout, System};
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

fn held() -> usize {
    usize::try_from(HELD.load(Ordering::Relaxed)).unwrap()
}

/// Peers 1 to `count`, a thousand at a time or all at once in the place of what is there.
fn add_peers(engine: &Engine, count: u32, replace_peers: bool) {
    let peers: Vec<_> = (1..=count).map(peer).collect();
    for peers in peers.chunks(if replace_peers { peers.len() } else { 1000 }) {
        let peers: Vec<_> = peers.iter().map(Peer::change).collect();
        set(engine, Change { replace_peers, peers: &peers, ..Change::default() });
    }
    assert_eq!(engine.peer_count(), count);
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
    for number in 1..=SESSIONS {
        let client = engine(number);
        set(&client, Change { peers: &[peer(0).change()], ..Change::default() });
        let _ = begin(&client, number, &hub);
    }
    let sessions = held() - before;
    println!("{SESSIONS} sessions: {} bytes each", sessions / SESSIONS as usize);
    assert!(sessions <= 1331 * SESSIONS as usize, "{sessions} bytes for {SESSIONS} sessions");
    hub.configure(|configuration| configuration.forget_sessions());
    assert!(held() < before + HARNESS, "sessions leave nothing behind");
}
