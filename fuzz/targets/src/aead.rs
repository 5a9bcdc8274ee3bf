//! The batch AEAD against the plain one.

use kerntun_aead::{Level, Packet, State, Vectors};
use kerntun_crypto::Portable;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;

/// Bytes of a tag.
const TAG: usize = 16;

/// A run: one byte makes key, texts and the first counter, then three bytes for each packet: two for its length, one
/// for what is changed of it, nothing if that is even.
///
/// At every level that the processor has, as it is used and with everything in batches, what is done is what RustCrypto does, what
/// is changed is refused and wiped, and what is left is not touched.
pub fn aead(input: &[u8]) {
    let Some((seed, rest)) = input.split_first() else { return };
    let (pieces, _) = rest.as_chunks::<3>();
    let key = [*seed; 32];
    let mut packets = Vec::new();
    let mut plain = Vec::new();
    for ([low, high, _], counter) in pieces.iter().take(70).zip(u64::from(*seed) << 28..) {
        let len = usize::from(u16::from_le_bytes([*low, *high])) % 2_200;
        packets.push(Packet::new(plain.len(), len, counter));
        plain.extend((0..len + TAG).map(|at| (at as u8).wrapping_mul(*seed)));
    }
    let mut sealed = plain.clone();
    for packet in &packets {
        let (text, tag) = sealed[packet.start..].split_at_mut(packet.len);
        tag[..TAG].copy_from_slice(&Portable.seal(&Secret::new(key), packet.counter, &[], text));
    }
    for vectors in Level::ALL.into_iter().filter_map(Vectors::at).flat_map(|vectors| [vectors, vectors.eager()]) {
        let mut buffer = plain.clone();
        let mut run = packets.clone();
        vectors.seal(&key, &mut buffer, &mut run);
        for packet in &run {
            let expected = match packet.state {
                State::Waiting => &plain,
                State::Done => &sealed,
                State::Forged => panic!("sealing refused a packet"),
            };
            let whole = packet.start..packet.start + packet.len + TAG;
            assert!(buffer[whole.clone()] == expected[whole], "sealing {packet:?}");
        }

        let mut buffer = sealed.clone();
        let mut run = packets.clone();
        let change =
            |of: u8, packet: &Packet| (of % 2 == 1).then(|| packet.start + usize::from(of) * 9 % (packet.len + TAG));
        for ([.., of], packet) in pieces.iter().zip(&packets) {
            if let Some(at) = change(*of, packet) {
                buffer[at] ^= *of;
            }
        }
        let before = buffer.clone();
        vectors.open(&key, &mut buffer, &mut run);
        for ([.., of], packet) in pieces.iter().zip(&run) {
            let text = packet.start..packet.start + packet.len;
            match packet.state {
                State::Waiting => assert!(buffer[text.clone()] == before[text], "left, but touched: {packet:?}"),
                State::Done => {
                    assert!(change(*of, packet).is_none(), "a forgery was opened: {packet:?}");
                    assert!(buffer[text.clone()] == plain[text], "opening {packet:?}");
                }
                State::Forged => {
                    assert!(change(*of, packet).is_some(), "refused: {packet:?}");
                    assert!(buffer[text].iter().all(|byte| *byte == 0), "not wiped: {packet:?}");
                }
            }
        }
    }
}
