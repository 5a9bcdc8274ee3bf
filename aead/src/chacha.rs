//! What ChaCha20 (RFC 8439, section 2.3) begins with at every level.

/// "expand 32-byte k".
pub(crate) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The key as words.
#[inline]
pub(crate) fn words(key: &[u8; 32]) -> [u32; 8] {
    let (chunks, _) = key.as_chunks::<4>();
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(chunks) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
