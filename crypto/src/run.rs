//! Runs of datagrams in contiguous memory.

use kerntun_engine::packet::Incoming;

/// Bytes of the header in front of the text (paper, section 5.4.6).
pub(crate) const HEADER: usize = 16;

/// Where one whole datagram lies in a buffer: 16 bytes of header, padded plaintext or ciphertext, 16 bytes of tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the header's first byte in the buffer.
    pub start: usize,
    /// Length of the datagram in bytes, header and tag included: at least 32.
    pub len: usize,
}

/// A run of datagrams in one piece of memory: side by side, as segmentation offload gives and takes them, or scattered.
///
/// Spans must not overlap. One that does not fit the buffer or is shorter than 32 bytes is a mistake of the host and
/// harms only itself: sealing fills what of it lies in the buffer with zeros, the header too, which no receiver takes
/// for a message; opening leaves its packet unauthenticated. It still uses up its counter.
#[derive(Debug)]
pub struct Slices<'a> {
    /// The memory.
    pub buffer: &'a mut [u8],
    /// The datagrams in it, in the order of the job's entries.
    pub spans: &'a [Span],
}

impl Slices<'_> {
    /// Gives the counter and text of each datagram to `seal` and appends the tag it returns. Where there is no tag,
    /// no text and no counter left, the datagram becomes zeros.
    pub(crate) fn seal_each(&mut self, first_counter: u64, mut seal: impl FnMut(u64, &mut [u8]) -> Option<[u8; 16]>) {
        for (place, span) in (0..).zip(self.spans) {
            self.seal_one(*span, first_counter.checked_add(place), &mut seal);
        }
    }

    /// As [`Slices::seal_each`], for one datagram.
    pub(crate) fn seal_one(
        &mut self,
        span: Span,
        counter: Option<u64>,
        seal: &mut impl FnMut(u64, &mut [u8]) -> Option<[u8; 16]>,
    ) {
        let sealed = match (counter, self.body(span)) {
            (Some(counter), Some((text, room))) => seal(counter, text).map(|tag| *room = tag),
            _ => None,
        };
        if sealed.is_none() {
            self.wipe(span);
        }
    }

    /// Gives counter, text and tag of each wanted datagram to `open`, which decrypts in place and says whether the tag
    /// was right. Reports those that were, wipes the text of the others.
    pub(crate) fn open_each(
        &mut self,
        packets: &mut [Incoming],
        mut open: impl FnMut(u64, &mut [u8], &[u8; 16]) -> bool,
    ) {
        for (packet, span) in packets.iter_mut().zip(self.spans) {
            self.open_one(*span, packet, &mut open);
        }
    }

    /// As [`Slices::open_each`], for one datagram.
    pub(crate) fn open_one(
        &mut self,
        span: Span,
        packet: &mut Incoming,
        open: &mut impl FnMut(u64, &mut [u8], &[u8; 16]) -> bool,
    ) {
        if !packet.is_wanted() {
            return;
        }
        let Some((text, tag)) = self.body(span) else { return };
        // An entry of another length speaks of another packet: the engine would trim by the wrong one.
        if text.len() == packet.plaintext_len() && open(packet.counter(), text, tag) {
            packet.authenticated(text);
        } else {
            text.fill(0);
        }
    }

    /// Text and tag of the datagram at `span`, if it is one.
    pub(crate) fn body(&mut self, span: Span) -> Option<(&mut [u8], &mut [u8; 16])> {
        let end = span.start.checked_add(span.len)?;
        let (_, body) = self.buffer.get_mut(span.start..end)?.split_at_mut_checked(HEADER)?;
        body.split_last_chunk_mut()
    }

    fn wipe(&mut self, span: Span) {
        let end = span.start.saturating_add(span.len).min(self.buffer.len());
        if let Some(bytes) = self.buffer.get_mut(span.start.min(end)..end) {
            bytes.fill(0);
        }
    }
}

/// The nonce of ChaCha20-Poly1305 in this protocol: four zero bytes and the counter in little endian (paper, section
/// 5.4.6).
pub(crate) const fn nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}
