//! Runs of every mix of lengths against AWS-LC and RustCrypto.

mod common;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use common::{Random, nonce, reference, vectors};
use kerntun_aead::{Packet, State, Vectors};

/// A buffer with packets of the given lengths in it, scattered, and what sealing must make of it.
struct Run {
    key: [u8; 32],
    plain: Vec<u8>,
    sealed: Vec<u8>,
    packets: Vec<Packet>,
}

fn run(random: &mut Random, lengths: &[usize], first_counter: u64) -> Run {
    let key = random.key();
    let mut packets = Vec::new();
    let mut end = random.below(64);
    for (i, len) in lengths.iter().enumerate() {
        packets.push(Packet::new(end, *len, first_counter.wrapping_add(i as u64)));
        end += len + 16 + random.below(40);
    }
    let mut plain = vec![0; end];
    random.fill(&mut plain);
    let mut sealed = plain.clone();
    for packet in &packets {
        let (text, rest) = sealed[packet.start..].split_at_mut(packet.len);
        rest[..16].copy_from_slice(&reference(&key, packet.counter, text));
    }
    Run { key, plain, sealed, packets }
}

/// Seals and opens the run, and compares every byte of the buffer: of packets that were left alone as they were, of those
/// that were done as the library has them. Gives how many were done.
fn check(vectors: Vectors, run: &Run) -> usize {
    let mut buffer = run.plain.clone();
    let mut packets = run.packets.clone();
    vectors.seal(&run.key, &mut buffer, &mut packets);
    let mut expected = run.plain.clone();
    for packet in packets.iter().filter(|packet| packet.state == State::Done) {
        let whole = packet.start..packet.start + packet.len + 16;
        expected[whole.clone()].copy_from_slice(&run.sealed[whole]);
    }
    let lengths = || run.packets.iter().map(|packet| packet.len).collect::<Vec<_>>();
    assert!(buffer == expected, "sealing {:?}", lengths());
    assert!(packets.iter().all(|packet| packet.state != State::Forged));

    let mut buffer = run.sealed.clone();
    let mut packets = run.packets.clone();
    vectors.open(&run.key, &mut buffer, &mut packets);
    let mut expected = run.sealed.clone();
    for packet in packets.iter().filter(|packet| packet.state != State::Waiting) {
        let text = packet.start..packet.start + packet.len;
        expected[text.clone()].copy_from_slice(&run.plain[text]);
    }
    assert!(buffer == expected, "opening {:?}", lengths());
    assert!(packets.iter().all(|packet| packet.state != State::Forged), "forged: {:?}", lengths());
    packets.iter().filter(|packet| packet.state == State::Done).count()
}

#[test]
fn every_length_in_every_count() {
    let levels = vectors("every_length_in_every_count");
    let mut random = Random(1);
    for len in (0..=2_100).chain([4_095, 4_096, 8_900, 8_960, 16_000, 65_519, 65_520, 65_534, 65_535]) {
        let counts: &[usize] = if !(200..=2_100).contains(&len) { &[1, 2, 3, 4, 7, 8, 16, 31] } else { &[2, 4, 8, 16] };
        for &count in counts {
            let first = random.next();
            let run = run(&mut random, &vec![len; count], first);
            levels.iter().for_each(|vectors| _ = check(*vectors, &run));
        }
    }
}

#[test]
fn mixed_lengths() {
    let levels = vectors("mixed_lengths");
    let mut random = Random(2);
    let mut done = vec![0; levels.len()];
    for round in 0..20_000 {
        let count = 1 + random.below(if round % 50 == 0 { 150 } else { 40 });
        let longest = [64, 130, 300, 1_500, 1_500, 2_500][random.below(6)];
        let usual = random.below(longest + 1);
        let lengths: Vec<_> = (0..count)
            .map(|_| match random.below(4) {
                0 => random.below(longest + 1),
                1 => usual / 64 * 64 + random.below(64),
                _ => usual,
            })
            .collect();
        let first = if round % 7 == 0 { u64::from(u32::MAX) - 5 } else { random.next() };
        let run = run(&mut random, &lengths, first);
        for (vectors, done) in levels.iter().zip(&mut done) {
            *done += check(*vectors, &run);
        }
    }
    for (vectors, done) in levels.iter().zip(done) {
        println!("{vectors:?}: {done} packets done");
        assert!(done > 50_000, "hardly anything was tried");
    }
}

#[test]
fn counters_at_the_edges() {
    let levels = vectors("counters_at_the_edges");
    let mut random = Random(3);
    for first in [0, u64::from(u32::MAX) - 8, u64::MAX - 15, u64::MAX, (1 << 63) - 4] {
        for len in [0, 64, 1_420] {
            let run = run(&mut random, &[len; 16], first);
            levels.iter().for_each(|vectors| _ = check(*vectors, &run));
        }
    }
}

#[test]
fn another_library_agrees() {
    let mut random = Random(4);
    let levels = vectors("another_library_agrees");
    for (vectors, len) in levels.iter().flat_map(|vectors| (0..1_600).step_by(37).map(move |len| (vectors, len))) {
        let run = run(&mut random, &[len; 16], 99);
        let mut buffer = run.plain.clone();
        let mut packets = run.packets.clone();
        vectors.eager().seal(&run.key, &mut buffer, &mut packets);
        let cipher = ChaCha20Poly1305::new(&run.key.into());
        for packet in packets {
            assert_eq!(packet.state, State::Done);
            let mut text = run.plain[packet.start..packet.start + packet.len].to_vec();
            let nonce = nonce(packet.counter).into();
            let tag = cipher.encrypt_inout_detached(&nonce, &[], text.as_mut_slice().into()).unwrap();
            assert!(buffer[packet.start..].starts_with(&text));
            assert!(buffer[packet.start + packet.len..].starts_with(&tag));
        }
    }
}
