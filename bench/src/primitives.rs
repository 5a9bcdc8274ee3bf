//! The primitives of the protocol by themselves, on one processor: what a daemon cannot do without.

use crate::results::Values;
use kerntun_crypto::{Fast, Slices, Span};
use kerntun_engine::host::Crypto;
use kerntun_engine::message::DataHeader;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;
use kerntun_lab::Trouble;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What it is called among the subjects and measurements.
pub(crate) const SUBJECT: &str = "library";
pub(crate) const MEASURE: &str = "primitives";

/// How long each primitive is at work.
pub(crate) const WINDOW: Duration = Duration::from_millis(150);

/// Bytes of plaintext of a full packet, padded, and packets of a run.
const TEXT: usize = 1424;
const RUN: usize = 16;
const SEALED: usize = TEXT + 32;

/// Seals and opens runs of full packets; computes shared secrets and public keys.
pub(crate) fn measure() -> Result<Values, Trouble> {
    let (crypto, key) = (Fast::new(), Secret::new([7; 32]));
    let spans: Vec<_> = (0..RUN).map(|at| Span { start: at * SEALED, len: SEALED }).collect();
    let mut buffer = vec![0; RUN * SEALED];
    let bytes = (RUN * TEXT) as f64;
    let seal = per_call(|| crypto.seal_run(&key, 0, &mut Slices { buffer: &mut buffer, spans: &spans }));

    let packets = incoming(&mut buffer)?;
    crypto.seal_run(&key, 0, &mut Slices { buffer: &mut buffer, spans: &spans });
    let (sealed, mut opened) = (buffer.clone(), true);
    // Opening consumes what it opens: the copy is timed by itself and taken off.
    let copy = per_call(|| buffer.copy_from_slice(black_box(&sealed)));
    let both = per_call(|| {
        buffer.copy_from_slice(black_box(&sealed));
        let mut packets = packets.clone();
        crypto.open_run(&key, &mut packets, &mut Slices { buffer: &mut buffer, spans: &spans });
        opened &= buffer[16] == 0;
    });
    buffer.fill(0);
    let (mut shared, public) = (Secret::ZERO, crypto.public_key(&key));
    let agree = per_call(|| {
        let _ = black_box(crypto.x25519(&mut shared, black_box(&key), &public));
    });
    let base = per_call(|| {
        black_box(crypto.public_key(black_box(&key)));
    });
    Ok(Values::from([
        ("seal_gb_per_second".to_owned(), bytes / seal / 1e9),
        ("open_gb_per_second".to_owned(), bytes / (both - copy) / 1e9),
        ("x25519_us".to_owned(), agree * 1e6),
        ("base_us".to_owned(), base * 1e6),
    ]))
}

/// Entries for the packets of the buffer, with their headers.
fn incoming(buffer: &mut [u8]) -> Result<Vec<Incoming>, Trouble> {
    let mut packets = Vec::with_capacity(RUN);
    for (counter, datagram) in (0_u64..).zip(buffer.chunks_mut(SEALED)) {
        datagram.fill(0);
        datagram[0] = 4;
        datagram[8..16].copy_from_slice(&counter.to_le_bytes());
        let header: Option<&[u8; DataHeader::LEN]> = datagram.first_chunk();
        let packet = header.and_then(|header| Incoming::new(header, SEALED, 0));
        packets.push(packet.ok_or_else(|| Trouble::new("the engine does not take a packet of zeros"))?);
    }
    Ok(packets)
}

/// Seconds that a call takes: the best of ten turns, as anything else that happens only makes it slower.
fn per_call(mut call: impl FnMut()) -> f64 {
    call();
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let (begin, mut calls) = (Instant::now(), 0_u32);
        while begin.elapsed() < WINDOW / 10 {
            call();
            calls += 1;
        }
        best = best.min(begin.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}
