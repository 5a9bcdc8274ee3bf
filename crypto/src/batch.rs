//! Runs whose datagrams go through the vectors of `kerntun-aead` together, and through the library where those have no
//! gain.

use crate::run::{HEADER, Slices, Span};
use kerntun_aead::{Packet, State, Vectors};
use kerntun_engine::packet::Incoming;

/// Bytes of the tag.
const TAG: usize = 16;

/// Datagrams that are handed over together.
const WINDOW: usize = 64;

/// What takes a place in a window without being a datagram for the vectors: no buffer has room for it.
const NOTHING: Packet = Packet::new(0, usize::MAX, 0);

/// Whether the vectors are worth asking. Most runs of a quiet device are one or two short datagrams, which the library does
/// faster, and these need not pay for a window.
pub(crate) fn gains(vectors: &Vectors, spans: &[Span]) -> bool {
    let longest = spans.iter().map(|span| span.len.saturating_sub(HEADER + TAG)).max();
    spans.len() > 2 || longest.is_some_and(|len| vectors.gains(spans.len(), len))
}

/// Seals as [`Slices::seal_each`] does, with `seal` for the datagrams that are left.
pub(crate) fn seal_each(
    vectors: &Vectors,
    key: &[u8; 32],
    run: &mut Slices<'_>,
    first_counter: u64,
    mut seal: impl FnMut(u64, &mut [u8]) -> Option<[u8; 16]>,
) {
    let mut counter = Some(first_counter);
    for spans in run.spans.chunks(WINDOW) {
        let mut window = [NOTHING; WINDOW];
        for (packet, span) in window.iter_mut().zip(spans) {
            if let (Some(counter), Some((text, _))) = (counter, run.body(*span)) {
                *packet = Packet::new(span.start + HEADER, text.len(), counter);
            }
            counter = counter.and_then(|counter| counter.checked_add(1));
        }
        let (packets, _) = window.split_at_mut(spans.len());
        vectors.seal(key, run.buffer, packets);
        for (packet, span) in packets.iter().zip(spans) {
            if packet.state != State::Done {
                let counter = (*packet != NOTHING).then_some(packet.counter);
                run.seal_one(*span, counter, &mut seal);
            }
        }
    }
}

/// Opens as [`Slices::open_each`] does, with `open` for the datagrams that are left.
pub(crate) fn open_each(
    vectors: &Vectors,
    key: &[u8; 32],
    run: &mut Slices<'_>,
    packets: &mut [Incoming],
    mut open: impl FnMut(u64, &mut [u8], &[u8; 16]) -> bool,
) {
    for (spans, entries) in run.spans.chunks(WINDOW).zip(packets.chunks_mut(WINDOW)) {
        let mut window = [NOTHING; WINDOW];
        for ((packet, span), entry) in window.iter_mut().zip(spans).zip(entries.iter()) {
            let body = run.body(*span).filter(|(text, _)| entry.is_wanted() && text.len() == entry.plaintext_len());
            if let Some((text, _)) = body {
                *packet = Packet::new(span.start + HEADER, text.len(), entry.counter());
            }
        }
        let (waiting, _) = window.split_at_mut(spans.len());
        vectors.open(key, run.buffer, waiting);
        for ((packet, span), entry) in waiting.iter().zip(spans).zip(entries) {
            match (packet.state, run.body(*span)) {
                (State::Done, Some((text, _))) => entry.authenticated(text),
                // Wiped, and unauthenticated from the beginning.
                (State::Forged, _) => {}
                _ => run.open_one(*span, entry, &mut open),
            }
        }
    }
}
