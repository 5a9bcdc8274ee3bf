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

    /// Forgets everything, in place.
    pub(crate) fn clear(&mut self) {
        self.greatest = 0;
        self.words.fill(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::collections::BTreeSet;

    /// Everything that was ever accepted.
    struct Model {
        seen: BTreeSet<u64>,
        reach: u128,
    }

    impl Model {
        fn new(reach: u128) -> Self {
            Self { seen: BTreeSet::new(), reach }
        }

        fn accept(&mut self, counter: u64) -> bool {
            let greatest = self.seen.last().copied().unwrap_or(0);
            u128::from(counter) + self.reach >= u128::from(greatest) && self.seen.insert(counter)
        }
    }

    fn check<const WORDS: usize>(window: &mut Ring<WORDS>, counter: u64, expected: bool) {
        assert_eq!(window.would_accept(counter), expected, "would accept {counter}");
        assert_eq!(window.accept(counter), expected, "accept {counter}");
        assert!(!window.would_accept(counter), "{counter} again");
    }

    #[test]
    fn the_window_has_8192_bits_and_reaches_back_8128() {
        assert_eq!(size_of::<Window>(), 8192 / 8 + 8);
        let mut window = Window::new();
        check(&mut window, 0, true);
        check(&mut window, 0, false);
        check(&mut window, 1, true);
        check(&mut window, 9, true);
        check(&mut window, 8, true);
        check(&mut window, 9, false);
        check(&mut window, 8130, true);
        check(&mut window, 2, true);
        check(&mut window, 1, false);
        check(&mut window, 8131, true);
        check(&mut window, 3, true);
        check(&mut window, 8140, true);
        check(&mut window, 11, false);
        check(&mut window, 12, true);
        // Four windows further, everything between is open.
        check(&mut window, 40_000, true);
        check(&mut window, 40_000 - 8129, false);
        check(&mut window, 40_000 - 8128, true);
        check(&mut window, 40_000 - 8127, true);
        check(&mut window, 40_000 - 8128, false);
    }

    #[test]
    fn every_counter_once_upwards_and_downwards() {
        let mut window = Window::new();
        for counter in 0..20_000 {
            check(&mut window, counter, true);
        }
        for counter in (0..20_000).rev() {
            check(&mut window, counter, false);
        }
        let mut window = Window::new();
        check(&mut window, 8128, true);
        for counter in (0..8128).rev() {
            check(&mut window, counter, true);
        }
    }

    #[test]
    fn the_last_counters_of_all_do_not_overflow() {
        let mut window = Window::new();
        check(&mut window, u64::MAX - 1, true);
        check(&mut window, u64::MAX, true);
        check(&mut window, u64::MAX, false);
        check(&mut window, u64::MAX - 8128, true);
        check(&mut window, u64::MAX - 8129, false);
        check(&mut window, 0, false);
        for counter in u64::MAX - 8127..u64::MAX - 1 {
            check(&mut window, counter, true);
        }
    }

    #[test]
    fn random_counters_are_judged_as_by_a_set() {
        let mut random = Random::new(3);
        for start in [0, 1 << 32, u64::MAX - 200_000] {
            let mut window = Window::new();
            let mut model = Model::new(8128);
            let mut around = start;
            for _ in 0..if cfg!(miri) { 300 } else { 60_000 } {
                let counter = match random.below(16) {
                    0 => around.saturating_add(random.below(20_000)),
                    1..5 => around.saturating_sub(8100 + random.below(64)),
                    5..10 => around.saturating_add(random.below(64)),
                    _ => around.saturating_sub(random.below(8300)),
                };
                let expected = model.accept(counter);
                check(&mut window, counter, expected);
                around = around.max(counter.min(start.saturating_add(190_000)));
            }
        }
    }

    /// Where a ring of two words, 128 bits reaching back 64, could go wrong: the ends of words, of the ring, of its reach
    /// and of numbers.
    const EDGES: [u64; 21] =
        [0, 1, 2, 62, 63, 64, 65, 66, 126, 127, 128, 129, 190, 191, 192, 193, 255, 256, 320, u64::MAX - 64, u64::MAX];

    /// What was accepted is a set of edges here, by number, so that a step back costs nothing. Gives how many sequences
    /// there were.
    fn every_sequence(window: &Ring<2>, seen: u32, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let greatest = seen.checked_ilog2().map_or(0, |at| EDGES[at as usize]);
        let mut sequences = 0;
        for (at, counter) in EDGES.into_iter().enumerate() {
            let expected = u128::from(counter) + 64 >= u128::from(greatest) && seen & 1 << at == 0;
            let mut window = Ring { greatest: window.greatest, words: window.words };
            assert_eq!(window.would_accept(counter), expected, "{counter} after {seen:b}");
            assert_eq!(window.accept(counter), expected, "{counter} after {seen:b}");
            sequences += every_sequence(&window, seen | u32::from(expected) << at, depth - 1);
        }
        sequences
    }

    #[test]
    fn every_sequence_of_five_edges() {
        // Miri is a thousand times slower.
        let depth = if cfg!(miri) { 3 } else { 5 };
        assert_eq!(every_sequence(&Ring::new(), 0, depth), 21_usize.pow(depth as u32));
    }

    #[test]
    #[ignore = "a minute with optimisation: scripts/assurance sequences"]
    fn every_sequence_of_seven_edges() {
        assert_eq!(every_sequence(&Ring::new(), 0, 7), 21_usize.pow(7));
    }
}
