//! The queue linked through its packets against `VecDeque`.

use kerntun_engine::host::{Staged, StagedPacket};
use kerntun_host::{Held, HeldQueue};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn any_mix_of_pushes_and_pops_is_first_in_first_out() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..50 {
        let mut queue = HeldQueue::default();
        let mut model = VecDeque::new();
        for number in 0..2_000_u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Rounds from mostly pops to mostly pushes.
            if random % 50 < round {
                queue.push(Held::new(number, number % 5, number as usize));
                model.push_back(number);
            } else {
                assert_eq!(queue.pop().map(Held::into_payload), model.pop_front());
            }
        }
        while let Some(packet) = queue.pop() {
            assert_eq!(Some(packet.into_payload()), model.pop_front());
        }
        assert!(model.is_empty());
    }
}

#[test]
fn a_packet_knows_its_datagrams_and_its_memory() {
    let mut bytes = Vec::with_capacity(3_000);
    bytes.extend_from_slice(b"payload");
    let mut packet = Held::from_bytes(bytes, 44);
    assert_eq!(packet.datagrams(), 44);
    assert!(packet.bytes() > 3_000, "the memory counts, not the content");
    assert!(packet.bytes() < 3_100);
    packet.payload_mut()[0] = b'P';
    assert_eq!(packet.payload(), b"Payload");
    assert_eq!(packet.into_payload(), b"Payload");
    assert_eq!(Held::new((), 0, 0).datagrams(), 1, "a packet is at least one datagram");
    assert_eq!(Held::new((), 1, usize::MAX).bytes(), usize::MAX);
}

#[test]
fn a_long_queue_is_dropped_whole_and_without_recursion() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    const LONG: usize = 300_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut queue = HeldQueue::default();
    let add = |queue: &mut HeldQueue<Counted>, many: usize| {
        for _ in 0..many {
            queue.push(Held::new(Counted(Arc::clone(&dropped)), 1, 0));
        }
    };
    add(&mut queue, LONG);
    // Turns the stacks over, so that both are long.
    drop(queue.pop());
    add(&mut queue, LONG);
    // A recursive drop of a chain like this takes tens of megabytes of stack.
    std::thread::Builder::new().stack_size(64 * 1024).spawn(move || drop(queue)).unwrap().join().unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 2 * LONG);
}
