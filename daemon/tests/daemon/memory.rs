//! A daemon at work takes no memory: watched by an allocator in its own processes, and read from outside.

use crate::lab::{INNER, Lab, is_root, unique};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::net::UdpSocket;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// Names the file in whose first eight bytes the servers of this environment count.
const COUNT: &str = "KTD_COUNT";
/// Set in the process that carries the packets, and in no other.
const SERVER: &str = "KERNTUN_LIFELINE_FD";

/// Where to count; null in processes that are not watched.
static CALLS: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

struct Watched;

impl Watched {
    fn note() {
        let calls = CALLS.load(Ordering::Relaxed);
        // SAFETY: null, or memory that `watch` mapped for as long as the process lives.
        if let Some(calls) = unsafe { calls.as_ref() } {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the note beside it takes no memory.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::note();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Begins to count, if this process is a server that is to be watched. All its threads count, from before it locks itself up.
pub(crate) fn watch() {
    let (Some(path), Some(_)) = (std::env::var_os(COUNT), std::env::var_os(SERVER)) else { return };
    let file = File::options().read(true).write(true).open(path).unwrap();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a mapping of its own at an address that the kernel chooses.
    let memory = unsafe { mmap(ptr::null_mut(), size_of::<AtomicU64>(), access, MapFlags::SHARED, &file, 0) }.unwrap();
    CALLS.store(memory.cast(), Ordering::Relaxed);
}

/// Datagrams from one side to the other, fewer than fit into any queue, so that all of them arrive.
fn burst(lab: &Lab, from: usize, len: usize) {
    const DATAGRAMS: usize = 40;
    let bind = |side: usize| {
        let address = INNER[0][side];
        lab.namespaces[side].inside(move || UdpSocket::bind((address, 0)).unwrap()).join().unwrap()
    };
    let (sender, receiver) = (bind(from), bind(1 - from));
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = receiver.local_addr().unwrap();
    for _ in 0..40 {
        for _ in 0..DATAGRAMS {
            sender.send_to(&vec![7; len], to).unwrap();
        }
        for _ in 0..DATAGRAMS {
            assert_eq!(receiver.recv(&mut [0; 2048]).unwrap(), len);
        }
    }
}

/// Thousands of packets of every kind, each way: alone and in super-packets, long and short, of both families.
fn traffic(lab: &Lab) {
    for side in [0, 1] {
        for len in [1, 64, 1392] {
            burst(lab, side, len);
        }
        for family in [0, 1] {
            lab.bulk(family, side, 4 << 20);
        }
    }
}

#[test]
fn a_daemon_at_work_takes_no_memory() {
    if !is_root() {
        return;
    }
    for offload in ["on", "off"] {
        let path = std::env::temp_dir().join(unique());
        fs::write(&path, [0; 8]).unwrap();
        let count = || u64::from_ne_bytes(*fs::read(&path).unwrap().first_chunk().unwrap());
        let lab = Lab::new(1420, &[(COUNT, path.to_str().unwrap()), ("KERNTUN_OFFLOAD", offload)]);
        lab.connect(0);
        assert!(count() > 1000, "the watch sees both servers start");
        // The lists of a batch grow up to the longest one there is, a few times in all: so there is an end to it, and a
        // packet that took memory would take it each time.
        let mut calls = Vec::new();
        while calls.last() != Some(&0) {
            assert!(calls.len() < 40, "with offload {offload}, memory was taken or freed so often: {calls:?}");
            let before = count();
            traffic(&lab);
            calls.push(count() - before);
        }
        println!("offload {offload}: {calls:?}");
        let before = count();
        lab.daemons[0].diagnostic("up");
        assert!(count() > before, "the watch sees what it watches for");
        fs::remove_file(&path).unwrap();
    }
}
