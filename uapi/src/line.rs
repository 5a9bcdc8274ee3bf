//! Lines out of a byte stream, in fixed memory.

use zeroize::Zeroize;

/// Collects one line of at most `N` bytes. Longer lines are reported as such once they end, and never stored.
///
/// The memory is wiped when the next line begins, on [`LineBuffer::wipe`], and on drop: lines carry keys.
pub(crate) struct LineBuffer<const N: usize> {
    bytes: Box<[u8; N]>,
    len: usize,
    too_long: bool,
    complete: bool,
}

/// What was found up to a newline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A line without its newline.
    Text(&'a [u8]),
    /// A line that exceeded the limit; its content is gone.
    TooLong,
}

impl<const N: usize> LineBuffer<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: Box::new([0; N]), len: 0, too_long: false, complete: false }
    }

    /// Takes bytes from the front of `input`, up to and with the next newline; `None` when all were taken without one.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Option<Line<'_>> {
        if self.complete {
            self.wipe();
        }
        let newline = input.iter().position(|&byte| byte == b'\n');
        let (text, rest) = match newline.and_then(|at| input.split_at_checked(at)) {
            Some((text, [_, rest @ ..])) => (text, rest),
            _ => (*input, [].as_slice()),
        };
        *input = rest;
        self.append(text);
        newline?;
        self.complete = true;
        if self.too_long { Some(Line::TooLong) } else { self.bytes.get(..self.len).map(Line::Text) }
    }

    /// Whether part of a line is waiting for its end.
    pub(crate) fn is_partial(&self) -> bool {
        !self.complete && (self.len > 0 || self.too_long)
    }

    /// Forgets the line.
    pub(crate) fn wipe(&mut self) {
        if let Some(used) = self.bytes.get_mut(..self.len) {
            used.zeroize();
        }
        self.len = 0;
        self.too_long = false;
        self.complete = false;
    }

    fn append(&mut self, text: &[u8]) {
        if self.too_long {
            return;
        }
        let end = self.len.saturating_add(text.len());
        match self.bytes.get_mut(self.len..end) {
            Some(place) => {
                place.copy_from_slice(text);
                self.len = end;
            }
            None => {
                self.wipe();
                self.too_long = true;
            }
        }
    }
}

impl<const N: usize> Drop for LineBuffer<N> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(buffer: &mut LineBuffer<4>, mut input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while let Some(line) = buffer.next(&mut input) {
            out.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
        assert!(input.is_empty());
        out
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let text = b"ab\n\nabcd\nabcde\nx\n";
        let expected = [Some(&b"ab"[..]), Some(b""), Some(b"abcd"), None, Some(b"x")].map(|l| l.map(<[u8]>::to_vec));
        for at in 0..text.len() {
            let mut buffer = LineBuffer::new();
            let mut lines = all(&mut buffer, &text[..at]);
            lines.extend(all(&mut buffer, &text[at..]));
            assert_eq!(lines, expected, "{at}");
            assert!(!buffer.is_partial());
        }
    }

    #[test]
    fn wiped_when_the_next_line_begins() {
        let mut buffer = LineBuffer::<4>::new();
        assert_eq!(all(&mut buffer, b"key!\n").len(), 1);
        assert_eq!(*buffer.bytes, [0; 4], "the search for a further line wiped this one");
        assert_eq!(all(&mut buffer, b"key").len(), 0);
        assert!(buffer.is_partial());
        assert_eq!(all(&mut buffer, b"and more").len(), 0);
        assert_eq!(*buffer.bytes, [0; 4], "a line found too long is not kept");
    }
}
