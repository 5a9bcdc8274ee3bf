//! A buffered writer whose memory is wiped.

use std::io::{self, Write};
use zeroize::Zeroize;

/// Bytes gathered before they go to the inner writer.
const CAPACITY: usize = 16 * 1024;

/// Like `BufWriter`, but the buffer is of fixed size, is wiped after each flush, and is *not* flushed on drop. Once the
/// inner writer has failed, so does everything after it: text would be missing in between.
pub(crate) struct Wiping<'a> {
    inner: &'a mut dyn Write,
    buffer: Box<[u8; CAPACITY]>,
    len: usize,
    broken: bool,
}

impl<'a> Wiping<'a> {
    pub(crate) fn new(inner: &'a mut dyn Write) -> Self {
        Self { inner, buffer: Box::new([0; CAPACITY]), len: 0, broken: false }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Some(filled) = self.buffer.get_mut(..self.len) else { return Ok(()) };
        let result = self.inner.write_all(filled);
        filled.zeroize();
        self.len = 0;
        self.broken = result.is_err();
        result
    }
}

impl Write for Wiping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len == CAPACITY || self.broken {
            self.pass_on()?;
        }
        let Some(room) = self.buffer.get_mut(self.len..) else { return Ok(0) };
        let taken = room.len().min(bytes.len());
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.len = self.len.saturating_add(taken);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.inner.flush()
    }
}

impl Drop for Wiping<'_> {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order_and_nothing_stays() {
        let text: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let mut out = Vec::new();
        let mut writer = Wiping::new(&mut out);
        for piece in text.chunks(777) {
            writer.write_all(piece).unwrap();
        }
        writer.flush().unwrap();
        assert!(writer.buffer.iter().all(|&byte| byte == 0) && writer.len == 0);
        drop(writer);
        assert_eq!(out, text);
    }
}
