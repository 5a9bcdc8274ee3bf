//! Wrong tags, wrong texts, and hosts' mistakes.

mod common;

use common::{Random, reference, vectors};
use kerntun_aead::{Packet, State, Vectors};

/// A run side by side as segmentation offload has it: 16 bytes of header, text, tag.
fn sealed_run(key: &[u8; 32], plain: &[u8], lengths: &[usize]) -> (Vec<u8>, Vec<Packet>) {
    let mut buffer = Vec::new();
    let mut packets = Vec::new();
    for (i, len) in lengths.iter().enumerate() {
        buffer.extend([0xaa; 16]);
        packets.push(Packet::new(buffer.len(), *len, i as u64));
        let mut text = plain[..*len].to_vec();
        let tag = reference(key, i as u64, &mut text);
        buffer.extend(text);
        buffer.extend(tag);
    }
    (buffer, packets)
}

/// Opens a run in which byte `at` of packet `wrong`, from the beginning of its text, has another bit, and checks that
/// this packet alone is refused and wiped.
fn check(vectors: Vectors, lengths: &[usize], wrong: usize, at: usize, bit: u8) {
    let (key, plain) = ([3; 32], vec![0x5a; 70_000]);
    let (mut buffer, mut packets) = sealed_run(&key, &plain, lengths);
    buffer[packets[wrong].start + at] ^= bit;
    let before = buffer.clone();
    vectors.open(&key, &mut buffer, &mut packets);
    for (i, packet) in packets.iter().enumerate() {
        let text = packet.start..packet.start + packet.len;
        match packet.state {
            State::Done => {
                assert_ne!(i, wrong, "{lengths:?}: byte {at}, bit {bit} went unnoticed");
                assert!(buffer[text.clone()] == plain[..packet.len]);
            }
            State::Forged => {
                assert_eq!(i, wrong, "{lengths:?}: refused beside {wrong}");
                assert!(buffer[text.clone()].iter().all(|byte| *byte == 0), "not wiped");
            }
            State::Waiting => assert!(buffer[text.clone()] == before[text.clone()]),
        }
        let behind = text.end..text.end + 16;
        assert!(buffer[behind.clone()] == before[behind], "a tag is not to be written by opening");
    }
}

#[test]
fn every_bit_of_every_tag() {
    for vectors in vectors("every_bit_of_every_tag") {
        for (len, counts) in [(0, 16), (64, 16), (64, 4), (100, 8), (1_420, 2), (2_000, 1)] {
            for wrong in 0..counts {
                for at in 0..16 {
                    for bit in 0..8 {
                        check(vectors, &vec![len; counts], wrong, len + at, 1 << bit);
                    }
                }
            }
        }
    }
}

#[test]
fn every_byte_of_a_text() {
    for vectors in vectors("every_byte_of_a_text") {
        for (len, count) in [(64, 16), (191, 8), (200, 4), (577, 2), (2_048, 1)] {
            for at in 0..len {
                check(vectors, &vec![len; count], at % count, at, 1 << (at % 8));
            }
        }
    }
}

#[test]
fn one_of_a_mixed_run() {
    for vectors in vectors("one_of_a_mixed_run") {
        let mut random = Random(5);
        for _ in 0..500 {
            let lengths: Vec<_> =
                (0..1 + random.below(70)).map(|_| [64, 1_420, random.below(3_000)][random.below(3)]).collect();
            let wrong = random.below(lengths.len());
            check(vectors, &lengths, wrong, random.below(lengths[wrong] + 16), 0x10);
        }
    }
}

/// Another key or another counter: all are refused.
#[test]
fn wrong_key_and_counter() {
    for vectors in vectors("wrong_key_and_counter") {
        for (key, offset) in [([4; 32], 0), ([3; 32], 1), ([3; 32], 1 << 32)] {
            let (mut buffer, mut packets) = sealed_run(&[3; 32], &[1; 500], &[500; 16]);
            packets.iter_mut().for_each(|packet| packet.counter += offset);
            vectors.eager().open(&key, &mut buffer, &mut packets);
            assert!(packets.iter().all(|packet| packet.state == State::Forged));
        }
    }
}

/// What is not in the buffer, too long or not waiting is left alone; the rest is done.
#[test]
fn mistakes_of_the_host() {
    for vectors in vectors("mistakes_of_the_host") {
        let mut buffer = vec![0x77; 200_000];
        let run: Vec<_> = (0..16).map(|i| Packet::new(100 * i, 64, i as u64)).collect();
        let mut packets = run.clone();
        packets.extend([
            Packet::new(200_000 - 79, 64, 1),
            Packet::new(usize::MAX, 64, 2),
            Packet::new(usize::MAX - 64, 64, 2),
            Packet::new(0, usize::MAX, 3),
            Packet::new(2_000, 65_536, 4),
            Packet { state: State::Forged, ..Packet::new(100_000, 64, 5) },
            Packet { state: State::Done, ..Packet::new(101_000, 64, 6) },
        ]);
        let before = packets.clone();
        vectors.seal(&[9; 32], &mut buffer, &mut packets);
        assert!(packets[..16].iter().all(|packet| packet.state == State::Done));
        assert_eq!(packets[16..], before[16..]);
        assert!(buffer[1_600..].iter().all(|byte| *byte == 0x77));
        // The last one that fits, alone with itself in a run of overlapping ones: wrong bytes, and nothing else.
        let mut packets = vec![Packet::new(200_000 - 80, 64, 1); 16];
        vectors.seal(&[9; 32], &mut buffer, &mut packets);
        vectors.open(&[9; 32], &mut buffer, &mut packets);
        assert!(buffer[1_600..200_000 - 80].iter().all(|byte| *byte == 0x77));
        vectors.seal(&[9; 32], &mut [], &mut packets);
        vectors.seal(&[9; 32], &mut buffer, &mut []);
    }
}
