//! A list is emptied without taking or giving back memory: watched by an allocator.

use kerntun_linux::{Segments, VnetHeader, emptied};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Watched;

// SAFETY: every call goes to the system's allocator unchanged; the note beside it takes no memory.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// As the daemon has it: a list that borrows from a batch, kept from batch to batch.
struct Worker {
    batch: Vec<u8>,
    spare: Vec<Segments<'static>>,
}

impl Worker {
    fn turn(&mut self, byte: u8) -> usize {
        self.batch.fill(byte);
        let mut list = emptied(std::mem::take(&mut self.spare));
        for packet in self.batch.chunks(20) {
            list.extend(Segments::parse(&VnetHeader::default(), packet));
        }
        let packets = list.iter().filter(|segments| segments.packet() == [byte; 20]).count();
        self.spare = emptied(list);
        packets
    }
}

#[test]
fn the_memory_of_a_list_is_used_again() {
    let mut worker = Worker { batch: vec![0; 64 * 20], spare: Vec::with_capacity(64) };
    let before = CALLS.with(Cell::get);
    for byte in 1..100 {
        assert_eq!(worker.turn(byte), 64);
    }
    assert_eq!(CALLS.with(Cell::get) - before, 0);
    assert!(worker.spare.capacity() >= 64);
}
