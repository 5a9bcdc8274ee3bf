//! Prints how fast runs of packets are sealed and opened: by AWS-LC, ring and OpenSSL one by one, and by `kerntun-aead`.
//!
//! Rounds are interleaved: each candidate has its turn in every round, in rotating order, so that whatever else the
//! machine does hits all alike. Printed are medians; ratios are medians of the ratios of each round.
//!
//! `cargo run --release --bin runs -- [LENGTHS [COUNTS [LEVEL]]]`, as in `64,1420 1,16 Avx2`

use aws_lc_rs::aead as aws;
use kerntun_aead::{Level, Packet, State, Vectors};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use ring::aead as rng;
use std::hint::black_box;
use std::time::Instant;

/// Rounds per line, and nanoseconds a candidate works in each.
const ROUNDS: usize = 101;
const ROUND: u64 = 200_000;

/// The run that every candidate works on, and what it works with.
struct Work {
    key: [u8; 32],
    vectors: Option<Vectors>,
    len: usize,
    packets: Vec<Packet>,
    scratch: Vec<Packet>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    buffer: Vec<u8>,
}

type Candidate = fn(&mut Work, seal: bool);

fn main() {
    let vectors = match std::env::args().nth(3) {
        None => Vectors::detect(),
        Some(name) => Level::ALL.into_iter().find(|level| format!("{level:?}") == name).and_then(Vectors::at),
    };
    match &vectors {
        Some(vectors) => println!("level: {:?}", vectors.level()),
        None => println!("This processor has not these vectors: the column of this crate is AWS-LC."),
    }
    println!("{}", openssl::version::version());
    println!("GB/s, ratio to AWS-LC with the quartiles; keys come as bytes to every run");
    for seal in [true, false] {
        println!("\n| {} | aws-lc-rs | ring | OpenSSL | this | ratio | quartiles |", if seal { "seal" } else { "open" });
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for len in lengths() {
            for count in counts() {
                measure(vectors, len, count, seal);
            }
        }
    }
}

/// Lengths from the command line (`64,1420`), or the usual ones.
fn lengths() -> Vec<usize> {
    argument(1).unwrap_or_else(|| vec![64, 576, 1_420, 8_900])
}

/// Packets per run from the command line behind the lengths, or the usual ones.
fn counts() -> Vec<usize> {
    argument(2).unwrap_or_else(|| vec![1, 2, 3, 4, 7, 15, 16, 64])
}

fn argument(place: usize) -> Option<Vec<usize>> {
    Some(std::env::args().nth(place)?.split(',').filter_map(|number| number.parse().ok()).collect())
}

fn measure(vectors: Option<Vectors>, len: usize, count: usize, seal: bool) {
    // As a super-packet has them: 16 bytes of header, text, tag.
    let packets: Vec<_> = (0..count).map(|i| Packet::new(i * (len + 32) + 16, len, i as u64)).collect();
    let plain = vec![7; count * (len + 32)];
    let mut work = Work {
        key: [9; 32],
        vectors,
        len,
        scratch: packets.clone(),
        packets,
        sealed: plain.clone(),
        buffer: plain.clone(),
        plain,
    };
    library_aws(&mut work, true);
    work.sealed.clone_from(&work.buffer);
    let candidates: [Candidate; 4] = [library_aws, library_ring, library_openssl, this];
    // Opening needs the sealed bytes again, which all candidates copy alike; the copy is measured and taken off.
    let times = interleave(&mut work, &candidates, seal);
    let bytes = (len * count) as f64;
    let [aws, ring, openssl, this] = [0, 1, 2, 3].map(|i| bytes / median(times.iter().map(|round| round[i])));
    let ratios = |q| quantile(times.iter().map(|round| round[0] / round[3]), q);
    println!(
        "| {len} × {count} | {aws:.2} | {ring:.2} | {openssl:.2} | {this:.2} | {:.2} | {:.2}–{:.2} |",
        ratios(0.5),
        ratios(0.25),
        ratios(0.75)
    );
}

/// Nanoseconds per run of each candidate in each round.
fn interleave(work: &mut Work, candidates: &[Candidate; 4], seal: bool) -> Vec<[f64; 4]> {
    let started = Instant::now();
    let mut warm = 0;
    while started.elapsed().as_millis() < 5 {
        turn(work, candidates[0], seal, 1);
        warm += 1;
    }
    let repeats = (ROUND * warm / 5_000_000).max(1);
    (0..ROUNDS)
        .map(|round| {
            let mut times = [0.0; 4];
            for i in 0..4 {
                let i = (i + round) % 4;
                times[i] = turn(work, candidates[i], seal, repeats);
            }
            times
        })
        .collect()
}

fn turn(work: &mut Work, candidate: Candidate, seal: bool, repeats: u64) -> f64 {
    let mut nanoseconds = 0.0;
    if seal {
        let started = Instant::now();
        for _ in 0..repeats {
            candidate(black_box(work), true);
        }
        nanoseconds += started.elapsed().as_nanos() as f64;
    } else {
        let copying = Instant::now();
        for _ in 0..repeats {
            work.buffer.copy_from_slice(black_box(&work.sealed));
        }
        let copying = copying.elapsed();
        let started = Instant::now();
        for _ in 0..repeats {
            work.buffer.copy_from_slice(black_box(&work.sealed));
            candidate(black_box(work), false);
        }
        nanoseconds += (started.elapsed().saturating_sub(copying)).as_nanos() as f64;
        assert!(work.plain[16..16 + work.len] == work.buffer[16..16 + work.len], "not opened");
    }
    nanoseconds / repeats as f64
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn library_aws(work: &mut Work, seal: bool) {
    aws(&work.key, &mut work.buffer, &work.packets, seal);
}

fn aws<'a>(key: &[u8; 32], buffer: &mut [u8], packets: impl IntoIterator<Item = &'a Packet>, seal: bool) {
    let key = aws::LessSafeKey::new(aws::UnboundKey::new(&aws::CHACHA20_POLY1305, key).expect("a key"));
    for packet in packets {
        let (text, rest) = buffer[packet.start..].split_at_mut(packet.len);
        let nonce = aws::Nonce::assume_unique_for_key(nonce(packet.counter));
        if seal {
            let tag = key.seal_in_place_separate_tag(nonce, aws::Aad::empty(), text).expect("sealed");
            rest[..16].copy_from_slice(tag.as_ref());
        } else {
            key.open_in_place_separate_tag(nonce, aws::Aad::empty(), &rest[..16], text).expect("opened");
        }
    }
}

fn library_ring(work: &mut Work, seal: bool) {
    let key = rng::LessSafeKey::new(rng::UnboundKey::new(&rng::CHACHA20_POLY1305, &work.key).expect("a key"));
    for packet in &work.packets {
        let nonce = rng::Nonce::assume_unique_for_key(nonce(packet.counter));
        if seal {
            let (text, rest) = work.buffer[packet.start..].split_at_mut(packet.len);
            let tag = key.seal_in_place_separate_tag(nonce, rng::Aad::empty(), text).expect("sealed");
            rest[..16].copy_from_slice(tag.as_ref());
        } else {
            let whole = &mut work.buffer[packet.start..packet.start + packet.len + 16];
            key.open_in_place(nonce, rng::Aad::empty(), whole).expect("opened");
        }
    }
}

fn library_openssl(work: &mut Work, seal: bool) {
    let (mut context, cipher) = (CipherCtx::new().expect("memory"), Some(Cipher::chacha20_poly1305()));
    if seal {
        context.encrypt_init(cipher, Some(&work.key), None).expect("a key");
    } else {
        context.decrypt_init(cipher, Some(&work.key), None).expect("a key");
    }
    for packet in &work.packets {
        let (text, rest) = work.buffer[packet.start..].split_at_mut(packet.len);
        let nonce = nonce(packet.counter);
        if seal {
            context.encrypt_init(None, None, Some(&nonce)).expect("a nonce");
        } else {
            context.decrypt_init(None, None, Some(&nonce)).expect("a nonce");
            context.set_tag(&rest[..16]).expect("a tag");
        }
        context.cipher_update_inplace(text, packet.len).expect("text");
        context.cipher_final(&mut []).expect("the end");
        if seal {
            context.tag(&mut rest[..16]).expect("a tag");
        }
    }
}

/// This crate, and AWS-LC for what it leaves, as a user would have it.
fn this(work: &mut Work, seal: bool) {
    if !work.vectors.is_some_and(|vectors| vectors.gains(work.packets.len(), work.len)) {
        return library_aws(work, seal);
    }
    let packets = &mut work.scratch;
    packets.copy_from_slice(&work.packets);
    if let Some(vectors) = &work.vectors {
        if seal {
            vectors.seal(&work.key, &mut work.buffer, packets);
        } else {
            vectors.open(&work.key, &mut work.buffer, packets);
        }
    }
    let waiting = || packets.iter().filter(|packet| packet.state == State::Waiting);
    if waiting().next().is_some() {
        aws(&work.key, &mut work.buffer, waiting(), seal);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}
