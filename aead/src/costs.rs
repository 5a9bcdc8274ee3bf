//! What is done how fast, to choose between batches and the library.

/// A model of what a batch takes at a level and what the library takes, in a unit that is the same within one model. All
/// measured; see the README.
#[derive(Debug)]
pub(crate) struct Costs {
    /// Blocks of ChaCha20 in a turn, as a power of two.
    lanes: u32,
    /// Packets of the smallest and the largest batch, powers of two.
    smallest: usize,
    largest: usize,
    /// A turn of the cipher and hash with it, alone and as one of a pair.
    turn: usize,
    two_turns: usize,
    /// Everything else, for a batch and for each packet in it.
    batch: usize,
    packet: usize,
    /// For a batch of one packet, whose powers take a longer way.
    single: usize,
    /// One packet by the library at its best, for nothing is to become slower, and each block of it.
    library: usize,
    block: usize,
}

impl Costs {
    /// AVX-512 on processors that need two cycles for a vector of 512 bits, or that have but two units for them.
    pub(crate) const AVX512: Self = Self {
        lanes: 4,
        smallest: 1,
        largest: 16,
        turn: 80,
        two_turns: 160,
        batch: 10,
        packet: 10,
        single: 10,
        library: 41,
        block: 6,
    };

    /// AVX-512 with four units of 512 bits, which the four chains of one turn do not keep busy.
    pub(crate) const WIDE_AVX512: Self = Self {
        lanes: 4,
        smallest: 1,
        largest: 16,
        turn: 165,
        two_turns: 254,
        batch: 135,
        packet: 22,
        single: 0,
        library: 155,
        block: 23,
    };

    /// AVX2, measured while another thread had its share of the processor's core, as it has when everything is busy. A core to
    /// itself gains more.
    pub(crate) const AVX2_SEAL: Self = Self {
        lanes: 3,
        smallest: 4,
        largest: 8,
        turn: 340,
        two_turns: 680,
        batch: 130,
        packet: 30,
        single: 0,
        library: 145,
        block: 39,
    };

    /// The same for opening, which the library does faster than sealing.
    pub(crate) const AVX2_OPEN: Self = Self { library: 130, block: 37, ..Self::AVX2_SEAL };

    /// With a library that is slower than everything.
    pub(crate) const fn eager(&self) -> &'static Self {
        const NEVER: usize = 1 << 40;
        match self.lanes {
            3 => &const { Self { library: NEVER, ..Self::AVX2_SEAL } },
            _ => &const { Self { library: NEVER, ..Self::AVX512 } },
        }
    }

    /// How many packets the next batch is to have when there are `count` with that many blocks: a few lanes may stay empty
    /// if that saves a batch. None if a packet is left that the library does faster.
    pub(crate) fn size(&self, count: usize, blocks: usize) -> usize {
        if count == 1 {
            return usize::from(self.smallest == 1 && self.gains(1, blocks));
        }
        if count >= self.largest {
            return if self.gains(self.largest, blocks) { self.largest } else { 0 };
        }
        let [down, up] = [1 << count.ilog2(), count.next_power_of_two()];
        if up >= self.smallest && self.batch(up, blocks) <= self.cheapest(count, blocks) {
            up
        } else if down >= self.smallest && self.gains(down, blocks) {
            down
        } else {
            0
        }
    }

    /// What the best way takes without empty lanes: the bits of `count` are the batches.
    fn cheapest(&self, count: usize, blocks: usize) -> usize {
        let parts = [8, 4, 2, 1].into_iter().filter(|size| count & size != 0);
        let costs = parts.map(|size| match size * self.library(blocks) {
            library if size < self.smallest => library,
            library => library.min(self.batch(size, blocks)),
        });
        costs.sum()
    }

    /// Whether a batch of `size` is at least as fast as the library.
    fn gains(&self, size: usize, blocks: usize) -> bool {
        self.batch(size, blocks) <= size * self.library(blocks)
    }

    fn batch(&self, size: usize, blocks: usize) -> usize {
        let turns = ((size * blocks) + (1 << self.lanes) - 1) >> self.lanes;
        let single = if size == 1 { self.single } else { 0 };
        turns / 2 * self.two_turns + turns % 2 * self.turn + self.batch + size * self.packet + single
    }

    fn library(&self, blocks: usize) -> usize {
        self.library + blocks * self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All packets of a run with one length come to their turn, and only single ones are left to the library.
    #[test]
    fn sizes_cover_every_count() {
        for costs in [Costs::AVX512, Costs::WIDE_AVX512] {
            for blocks in 1..=1_025 {
                for count in 1..=64 {
                    let (mut rest, mut left) = (count, 0);
                    while rest > 0 {
                        let size = costs.size(rest, blocks);
                        assert!([0, 1, 2, 4, 8, 16].contains(&size), "{size}");
                        left += usize::from(size == 0);
                        rest -= size.clamp(1, rest);
                    }
                    assert!(left <= 3, "{left} of {count} left with {blocks} blocks");
                }
            }
            assert_eq!(costs.size(1, 2), 0, "short and alone");
            assert_eq!(costs.size(3, 2), 4, "an empty lane is cheaper than another batch");
            assert_eq!(costs.size(12, 24), 8, "but not a quarter of the work");
        }
        for costs in [Costs::AVX2_SEAL, Costs::AVX2_OPEN] {
            assert_eq!(costs.size(3, 2), 4, "half of the lanes is better than none");
            assert_eq!([1, 2].map(|count| costs.size(count, 2)), [0, 0], "a quarter is not");
        }
        assert_eq!(
            [2, 14, 24].map(|blocks| Costs::AVX2_OPEN.size(64, blocks)),
            [8, 8, 0],
            "long ones are for the library"
        );
        assert_eq!([2, 24, 140].map(|blocks| Costs::AVX2_SEAL.size(64, blocks)), [8, 8, 0], "and longer ones to seal");
        assert_eq!(Costs::AVX512.size(1, 24), 0, "a full packet alone, where vectors are narrow");
        assert_eq!(Costs::WIDE_AVX512.size(1, 24), 1, "and where they are wide");
    }
}
