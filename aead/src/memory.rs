//! The only place that touches the caller's memory: texts that lie in one buffer, read and written 64 bytes at a time, or 16.

use crate::wipe::wipe;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// Bytes of a tag.
const TAG: usize = 16;

/// Longest text that is taken: a UDP datagram cannot be longer.
pub(crate) const LONGEST: usize = 65_535;

/// A buffer that is borrowed exclusively while texts in it are worked on.
pub(crate) struct Memory<'a> {
    start: *mut u8,
    len: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Memory<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), borrow: PhantomData }
    }

    /// The text of `len` bytes at `start` with its tag behind it, unless it leaves the buffer or is too long.
    ///
    /// Two texts may overlap: they are only ever read and written through raw pointers, by one thread, so that the
    /// worst that comes of it is wrong bytes.
    pub(crate) fn text(&self, start: usize, len: usize) -> Option<Text<'a>> {
        let end = start.checked_add(len)?.checked_add(TAG)?;
        if end > self.len || len > LONGEST {
            return None;
        }
        Some(Text { start: self.start.wrapping_add(start), len, borrow: PhantomData })
    }
}

/// One text and the tag behind it. `start` is valid for reads and writes of `len + 16` bytes, or it is null and `len` is
/// zero.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    start: *mut u8,
    len: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

impl Text<'_> {
    /// Nothing, to fill a lane with. It has no tag.
    pub(crate) const NOTHING: Self = Self { start: core::ptr::null_mut(), len: 0, borrow: PhantomData };

    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.start.is_null()
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The 64 bytes at `offset`, zeros unless all are in the text.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn load_inner(&self, offset: isize) -> __m512i {
        // As an unsigned number, a negative offset is too large.
        if offset.cast_unsigned().saturating_add(64) <= self.len {
            // SAFETY: the 64 bytes lie in the text, which is valid for reads.
            unsafe { _mm512_loadu_si512(self.start.wrapping_offset(offset).cast()) }
        } else {
            _mm512_setzero_si512()
        }
    }

    /// The 64 bytes at an edge; zeros where there is no text.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn load_edge(&self, edge: &Edge) -> __m512i {
        let mask = if edge.len == self.len { edge.bytes } else { 0 };
        if mask == 0 {
            // Masked or not, an address without memory behind it takes the processor hundreds of cycles.
            return _mm512_setzero_si512();
        }
        // SAFETY: of the 64 bytes only those are read whose mask bit is set, byte `offset + i` with 0 <= offset + i < len.
        unsafe { _mm512_maskz_loadu_epi8(mask, self.start.wrapping_offset(edge.offset).cast()) }
    }

    /// Adds `stream` to the 64 bytes at `offset`, to as many as there are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn xor(&self, offset: usize, stream: __m512i) {
        let at = self.start.wrapping_add(offset);
        if offset + 64 <= self.len {
            // SAFETY: the 64 bytes lie in the text, which is valid for reads and writes.
            unsafe { _mm512_storeu_si512(at.cast(), _mm512_xor_si512(_mm512_loadu_si512(at.cast()), stream)) }
        } else if offset < self.len {
            let mask = first_bits(self.len.cast_signed() - offset.cast_signed());
            // SAFETY: only bytes whose mask bit is set are read and written, byte `offset + i` with offset + i < len.
            unsafe {
                let text = _mm512_maskz_loadu_epi8(mask, at.cast());
                _mm512_mask_storeu_epi8(at.cast(), mask, _mm512_xor_si512(text, stream));
            }
        }
    }

    /// The four blocks of 16 bytes at `offset`, if all are in the text.
    #[inline]
    pub(crate) fn four_blocks(&self, offset: usize) -> Option<[u128; 4]> {
        (offset.saturating_add(64) <= self.len).then(|| {
            // SAFETY: the 64 bytes lie in the text, which is valid for reads.
            let blocks = unsafe { self.start.wrapping_add(offset).cast::<[[u8; 16]; 4]>().read() };
            blocks.map(u128::from_le_bytes)
        })
    }

    /// The block of 16 bytes at `offset`; zeros behind the text.
    #[inline]
    pub(crate) fn block(&self, offset: usize) -> u128 {
        let mut block = [0; 16];
        if offset < self.len {
            let len = (self.len - offset).min(16);
            // SAFETY: `len` bytes, from `offset` to the end of the text at most, which is valid for reads.
            unsafe { self.start.wrapping_add(offset).copy_to_nonoverlapping(block.as_mut_ptr(), len) };
        }
        u128::from_le_bytes(block)
    }

    /// As [`Text::xor`], with the stream in halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn xor_halves(&self, offset: usize, stream: &[__m256i; 2]) {
        let at = self.start.wrapping_add(offset);
        if offset + 64 <= self.len {
            // SAFETY: the 64 bytes lie in the text, which is valid for reads and writes.
            unsafe { add_to(at, stream) };
        } else if offset < self.len {
            let mut piece = [0; 64];
            let len = self.len - offset;
            // SAFETY: fewer than 64 bytes, from `offset` to the end of the text, which is valid for reads and writes.
            unsafe {
                at.copy_to_nonoverlapping(piece.as_mut_ptr(), len);
                add_to(piece.as_mut_ptr(), stream);
                at.copy_from_nonoverlapping(piece.as_ptr(), len);
            }
            wipe(&mut piece, 0);
        }
    }

    /// The tag behind the text; zero if this is nothing.
    #[inline]
    pub(crate) fn tag(&self) -> u128 {
        if self.is_nothing() {
            return 0;
        }
        // SAFETY: the 16 bytes behind the text belong to it.
        u128::from_le_bytes(unsafe { self.start.wrapping_add(self.len).cast::<[u8; TAG]>().read() })
    }

    /// Writes the tag behind the text, unless this is nothing.
    #[inline]
    pub(crate) fn set_tag(&self, tag: u128) {
        if !self.is_nothing() {
            // SAFETY: the 16 bytes behind the text belong to it.
            unsafe { self.start.wrapping_add(self.len).cast::<[u8; TAG]>().write(tag.to_le_bytes()) }
        }
    }

    /// Fills the text with zeros.
    pub(crate) fn wipe(&self) {
        if !self.is_nothing() {
            // SAFETY: `len` bytes are valid for writes.
            unsafe { self.start.write_bytes(0, self.len) }
        }
    }
}

/// Adds `stream` to 64 bytes.
///
/// # Safety
///
/// The bytes at `at` must be valid for reads and writes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_to(at: *mut u8, stream: &[__m256i; 2]) {
    for (i, half) in stream.iter().enumerate() {
        let at = at.wrapping_add(32 * i).cast();
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(at, _mm256_xor_si256(_mm256_loadu_si256(at), *half)) };
    }
}

/// What there is of 64 bytes that begin before a text or end behind it.
#[derive(Clone, Copy)]
pub(crate) struct Edge {
    len: usize,
    offset: isize,
    /// The bytes of the text.
    bytes: u64,
    /// Of the four blocks of 16 bytes, those that do not begin before the text: bits 0, 2, 4 and 6.
    pub(crate) blocks: u8,
}

impl Edge {
    /// Of no text.
    pub(crate) const NONE: Self = Self { len: usize::MAX, offset: 0, bytes: 0, blocks: 0 };

    /// That at `offset` of a text of `len` bytes; it may be known already.
    #[inline]
    pub(crate) fn of(len: usize, offset: isize, known: &mut Self) -> Self {
        if known.len != len || known.offset != offset {
            let before = first_bits(-offset);
            let blocks = (0..4).fold(0, |blocks, i| blocks | u8::from(offset + 16 * i >= 0) << (2 * i));
            *known = Self { len, offset, bytes: first_bits(len.cast_signed() - offset) & !before, blocks };
        }
        *known
    }
}

/// A mask of the first `count` of 64 bits: none if it is negative, all if it is 64 or more.
#[inline]
const fn first_bits(count: isize) -> u64 {
    match count {
        ..=0 => 0,
        1..64 => (1 << count) - 1,
        64.. => u64::MAX,
    }
}
