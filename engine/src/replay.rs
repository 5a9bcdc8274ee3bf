//! The window of counters that may still come, one per session (RFC 6479).

/// Bits of a word of the ring.
const WORD: u64 = 64;

/// Remembers 8192 counters in 1 KiB; those more than 8128 below the greatest are too old.
pub(crate) type Window = Ring<128>;

/// A window over a ring of `WORDS` words, a power of two and at least two.
///
/// Every counter has its bit at a fixed place of the ring. One word is slack: the greatest counter clears whole
/// words ahead of it and moves no bits (RFC 6479, section 4).
#[derive(Debug)]
pub(crate) struct Ring<const WORDS: usize> {
    greatest: u64,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Ring<WORDS> {
    /// How far below the greatest a counter may be: all but the word of slack. The kernel and wireguard-go take
    /// the distance itself too (`receive.c`, `counter_validate`).
    const REACH: u64 = {
        assert!(WORDS.is_power_of_two() && WORDS >= 2);
        (Self::LEN - 1) * WORD
    };

    const LEN: u64 = WORDS as u64;

    /// Nothing received yet.
    pub(crate) const fn new() -> Self {
        Self { greatest: 0, words: [0; WORDS] }
    }

    /// Whether [`Ring::accept`] would take `counter`: a cheap check before the decryption, which decides nothing.
    pub(crate) fn would_accept(&self, counter: u64) -> bool {
        if counter > self.greatest {
            return true;
        }
        self.reaches(counter) && self.words.get(Self::place(counter)).is_some_and(|word| word & Self::bit(counter) == 0)
    }

    /// Takes `counter` if it is new; to be called only once its packet is authenticated.
    ///
    /// The limit of 2^64 - 2^13 - 1 packets is the caller's.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        if counter > self.greatest {
            self.advance(counter);
        } else if !self.reaches(counter) {
            return false;
        }
        let Some(word) = self.words.get_mut(Self::place(counter)) else { return false };
        let new = *word & Self::bit(counter) == 0;
        *word |= Self::bit(counter);
        new
    }

    /// Clears the words between the greatest counter so far and `counter`, at most the whole ring once.
    fn advance(&mut self, counter: u64) {
        let current = self.greatest / WORD;
        let words = (counter / WORD).saturating_sub(current).min(Self::LEN);
        for ahead in 1..=words {
            if let Some(word) = self.words.get_mut(Self::place_of_word(current.saturating_add(ahead))) {
                *word = 0;
            }
        }
        self.greatest = counter;
    }

    /// Whether `counter`, not above the greatest, is young enough to have its bit in the ring.
    const fn reaches(&self, counter: u64) -> bool {
        self.greatest.saturating_sub(counter) <= Self::REACH
    }

    fn place(counter: u64) -> usize {
        Self::place_of_word(counter / WORD)
    }

    fn place_of_word(word: u64) -> usize {
        usize::try_from(word & (Self::LEN - 1)).unwrap_or(0)
    }

    const fn bit(counter: u64) -> u64 {
        1 << (counter % WORD)
    }
}
