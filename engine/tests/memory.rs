//! Packets take no memory, and nobody takes or frees memory while holding a lock: watched by an allocator.

mod common;
use common::*;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::handshake::Handled;
use kerntun_engine::host::Rank;
use kerntun_engine::packet::Incoming;
use kerntun_engine::peer::Endpoint;
use kerntun_engine::reason::Reason;
use kerntun_engine::session::SessionBlock;
use kerntun_host::Held;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static UNDER_LOCK: Cell<Option<Rank>> = const { Cell::new(None) };
    /// How large the last piece was that was taken.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    /// How many pieces of some size were freed.
    static FREED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Watched;

impl Watched {
    fn note() {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // Configuration may sleep, so it may take memory.
        if let Some(rank) = kerntun_host::held().filter(|rank| *rank != Rank::Configuration) {
            UNDER_LOCK.with(|seen| seen.set(Some(rank)));
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the notes beside it take no memory.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        TAKEN.set(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::note();
        let (size, count) = FREED.get();
        FREED.set((size, count + usize::from(layout.size() == size)));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// How often memory was taken or freed during `act`, on this thread.
fn calls<R>(act: impl FnOnce() -> R) -> (usize, R) {
    let before = CALLS.with(Cell::get);
    let result = act();
    (CALLS.with(Cell::get) - before, result)
}

fn free<R>(what: &str, act: impl FnOnce() -> R) -> R {
    let (calls, result) = calls(act);
    assert_eq!(calls, 0, "{what} took or freed memory");
    result
}

/// How many pieces of `size` bytes were freed during `act`, none of them under a lock.
fn freed(size: usize, act: impl FnOnce()) -> usize {
    FREED.set((size, 0));
    act();
    assert_eq!(UNDER_LOCK.take(), None);
    FREED.get().1
}

/// How large a session is.
fn session_size() -> usize {
    let block = SessionBlock::new().unwrap();
    let size = TAKEN.get();
    assert_eq!(freed(size, || drop(block)), 1);
    size
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn the_watch_sees_what_it_watches_for() {
    let (calls, _) = calls(|| vec![0_u8; 100]);
    assert_eq!(calls, 1);
    use kerntun_engine::host::Lock;
    let lock = kerntun_host::UserLock::new(Rank::Peer, ()).unwrap();
    lock.with(|()| drop(vec![0_u8; 100]));
    assert_eq!(UNDER_LOCK.with(Cell::take), Some(Rank::Peer));
}

#[test]
fn data_and_handshakes_take_no_memory() {
    let mut pair = Pair::new();
    let (a, b) = (&pair.a.device, &pair.b.device);
    let (at_a, at_b) =
        (Endpoint { remote: pair.a.address, source: None }, Endpoint { remote: pair.b.address, source: None });
    let packet = ipv4(A, B, b"packet");
    let (wall, load) = (pair.a.wall(), pair.a.load);

    let held = Held::from_bytes(packet.clone(), 1);
    let peer = free("route", || a.route(&packet, packet.len())).unwrap();
    assert!(free("reserve", || a.reserve(START, peer, 1)).is_err());
    let _ = free("stage", || a.stage(START, peer, held).followup);
    let due = free("expire", || a.expire(START)).unwrap();
    let initiation = free("initiate", || a.initiate(START, wall, due.peer)).unwrap();
    let mut block = SessionBlock::new().ok();
    let Handled::Reply(response) =
        free("initiation", || b.receive_handshake(START, initiation.bytes(), &at_a, load, &mut block))
    else {
        panic!("no response")
    };
    assert!(block.is_none(), "the lent block is the only memory taken");
    let mut block = SessionBlock::new().ok();
    let handled = free("response", || a.receive_handshake(START, response.bytes(), &at_b, load, &mut block));
    assert!(matches!(handled, Handled::Connected(..)) && block.is_none());
    let (staged, job) = free("reserve_staged", || a.reserve_staged(START, peer)).unwrap();
    let _ = free("flushed", || a.flushed(START, peer));

    let mut buffer = vec![0; 4 * 64];
    let spans: Vec<_> = (0..4).map(|at| Span { start: at * 64, len: 64 }).collect();
    let mut first = Some(job);
    for round in 0..100 {
        let job = first.take().unwrap_or_else(|| free("reserve", || a.reserve(START, peer, 4)).unwrap());
        let count = job.count() as usize;
        for at in 0..count {
            buffer[at * 64..at * 64 + 16].copy_from_slice(&job.header(at as u32));
            buffer[at * 64 + 16..at * 64 + 16 + packet.len()].copy_from_slice(&packet);
        }
        let spans = &spans[..count];
        let sealed = free("seal", || a.seal(job, &mut Slices { buffer: &mut buffer, spans })).unwrap();
        let _ = free("commit_sealed", || a.commit_sealed(START, sealed, count * 64, true)).unwrap();
        if round % 7 == 3 {
            buffer[20] ^= 1;
        }
        let mut entries: Vec<_> = spans
            .iter()
            .map(|span| Incoming::new(buffer[span.start..].first_chunk().unwrap(), 64, 0).unwrap())
            .collect();
        let job = free("admit", || b.admit(START, &mut entries)).unwrap();
        free("open", || b.open(&job, &mut entries, &mut Slices { buffer: &mut buffer, spans }));
        let _ = free("commit_opened", || b.commit_opened(START, job, &mut entries, &at_a));
    }
    free("drops", || a.count_drop(Some(peer), Reason::SendFailed, 1));
    free("next_deadline", || a.next_deadline());
    drop(staged);
    pair.settle();
    assert_eq!(UNDER_LOCK.with(Cell::take), None);
}

#[test]
fn no_memory_is_taken_or_freed_under_a_lock() {
    let mut pair = Pair::connected();
    let lists: Vec<_> = (0..300).map(|n| public_key(&private_key(500 + n))).map(PeerChange::new).collect();
    for second in 1..400_u64 {
        pair.run_until(seconds(second));
        let _ = pair.a.send(&ipv4(A, B, &vec![1; second as usize]));
        let _ = pair.b.send(&ipv4(B, A, &vec![2; second as usize]));
        match second % 60 {
            10 => pair.a.set(Change { peers: &lists, ..Change::default() }),
            20 => {
                for change in &lists {
                    pair.a.set_peer(PeerChange { remove: true, ..change.clone() });
                }
            }
            30 => pair.b.device.configure(|configuration| configuration.forget_sessions()),
            40 => {
                pair.b.device.configure(|configuration| configuration.down());
                pair.b.device.configure(|configuration| configuration.up(seconds(second)));
            }
            _ => {}
        }
        assert_eq!(UNDER_LOCK.with(Cell::take), None, "at {second} s");
    }
    assert!(pair.b.delivered.len() > 300, "{}", pair.b.delivered.len());
}

/// Of no other size than theirs is anything in these tests.
const STAGED: usize = 7_777;

#[test]
fn staged_packets_that_go_are_freed_under_no_lock() {
    let mut pair = Pair::new();
    let packet = ipv4(A, B, &[0; STAGED - 20]);
    // 128 fit, so that the others push some out.
    let pushed_out = freed(STAGED, || (0..200).for_each(|_| pair.a.send(&packet).unwrap()));
    assert_eq!(pushed_out, 200 - 128);
    // Nobody answers: with the handshake, after 90 seconds and what retransmissions are late, they are given up.
    assert_eq!(freed(STAGED, || pair.run_until_with(seconds(120), |_| false)), 128);
    // The interface goes down, and so does the peer.
    for remove in [false, true] {
        (0..10).for_each(|_| pair.a.send(&packet).unwrap());
        let change = PeerChange { remove, ..PeerChange::new(pair.b.public()) };
        let gone = freed(STAGED, || {
            if remove {
                pair.a.set_peer(change);
            } else {
                pair.a.device.configure(|configuration| configuration.down());
            }
        });
        assert_eq!(gone, 10, "removed: {remove}");
        pair.a.device.configure(|configuration| configuration.up(pair.a.now));
    }
}

#[test]
fn sessions_that_go_are_freed_under_no_lock() {
    let size = session_size();
    let mut pair = Pair::connected();
    // Two to begin with; from the third handshake on each side gives up the oldest of its own, as initiator and as responder.
    for (second, gone) in [(121, 0), (242, 2), (363, 2)] {
        pair.run_until(seconds(second - 1));
        let renew = || {
            pair.run_until(seconds(second));
            pair.a.send(&ipv4(A, B, b"new keys")).unwrap();
            pair.settle();
        };
        assert_eq!(freed(size, renew), gone, "after {second} s");
    }
    // Initiations whose responses get lost: each session that waits for its confirmation takes the place of the one before,
    // the first that of the oldest.
    let before = pair.b.handled.len();
    let gone = freed(size, || {
        pair.run_until(seconds(484));
        pair.a.send(&ipv4(A, B, b"new keys")).unwrap();
        pair.run_until_with(seconds(496), |datagram| datagram.kind() != 2);
    });
    assert_eq!(pair.b.handled.len() - before, gone, "{:?}", pair.b.handled);
    assert!(gone > 1, "{gone}");
    // Nine minutes later all keys are wiped: those of two sessions on one side, on the other of one and one that nobody confirmed.
    assert_eq!(freed(size, || pair.run_until_with(seconds(1500), |_| false)), 4);
}
