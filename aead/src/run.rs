//! From runs of packets to batches: which go together, and how many at once.

use crate::batch::Batch;
use crate::memory::{LONGEST, Memory, Text};
use crate::{Packet, State};

/// Packets that are looked at together.
const WINDOW: usize = 64;

/// See [`Vectors::seal`](crate::Vectors::seal).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(crate) fn seal(key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next() {
            match group.size {
                16 => group.batch::<16, 8>(&memory, window).seal(key),
                8 => group.batch::<8, 4>(&memory, window).seal(key),
                4 => group.batch::<4, 2>(&memory, window).seal(key),
                2 => group.batch::<2, 1>(&memory, window).seal(key),
                _ => group.batch::<1, 1>(&memory, window).seal(key),
            }
            group.conclude(window, u16::MAX);
        }
    }
}

/// See [`Vectors::open`](crate::Vectors::open).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(crate) fn open(key: &[u8; 32], buffer: &mut [u8], packets: &mut [Packet]) {
    let memory = Memory::new(buffer);
    for window in packets.chunks_mut(WINDOW) {
        let mut pending = Pending::new(&memory, window);
        while let Some(group) = pending.next() {
            let passed = match group.size {
                16 => group.batch::<16, 8>(&memory, window).open(key),
                8 => group.batch::<8, 4>(&memory, window).open(key),
                4 => group.batch::<4, 2>(&memory, window).open(key),
                2 => group.batch::<2, 1>(&memory, window).open(key),
                _ => group.batch::<1, 1>(&memory, window).open(key),
            };
            group.conclude(window, passed);
        }
    }
}

/// The packets of a window that wait and can be done.
struct Pending {
    /// Blocks of each packet, the one for the one-time key included. At most 1,025.
    blocks: [u16; WINDOW],
    /// A bit for each packet that is to be looked at yet.
    waiting: u64,
}

/// Packets that go together.
struct Group {
    /// Places in the window, `used` of them.
    places: [u8; 16],
    used: usize,
    /// Packets of the batch they go into, nothings included.
    size: usize,
}

impl Pending {
    fn new(memory: &Memory<'_>, window: &[Packet]) -> Self {
        let mut pending = Self { blocks: [0; WINDOW], waiting: 0 };
        for (i, (packet, blocks)) in window.iter().zip(&mut pending.blocks).enumerate() {
            if packet.state == State::Waiting && memory.text(packet.start, packet.len).is_some() {
                *blocks = (1 + packet.len.min(LONGEST).div_ceil(64)) as u16;
                pending.waiting |= 1 << i;
            }
        }
        pending
    }

    /// The next packets that gain by going together.
    fn next(&mut self) -> Option<Group> {
        while self.waiting != 0 {
            let blocks = self.blocks[self.waiting.trailing_zeros() as usize % WINDOW];
            let mut same = 0;
            for (i, other) in self.blocks.iter().enumerate() {
                same |= u64::from(*other == blocks) << i;
            }
            same &= self.waiting;
            let size = size(same.count_ones() as usize, blocks.into());
            let mut group = Group { places: [0; 16], used: 0, size };
            for place in group.places.iter_mut().take(size.max(1)) {
                if same != 0 {
                    *place = same.trailing_zeros() as u8;
                    same &= same - 1;
                    self.waiting &= !(1 << *place);
                    group.used += 1;
                }
            }
            if size > 0 {
                return Some(group);
            }
        }
        None
    }
}

impl Group {
    fn batch<'a, const PACKETS: usize, const PAIRS: usize>(
        &self,
        memory: &Memory<'a>,
        window: &[Packet],
    ) -> Batch<'a, PACKETS, PAIRS> {
        let mut texts = [Text::NOTHING; PACKETS];
        let mut counters = [0; PACKETS];
        let places = self.places.iter().take(self.used);
        for ((text, counter), place) in texts.iter_mut().zip(&mut counters).zip(places) {
            let packet = &window[usize::from(*place)];
            *text = memory.text(packet.start, packet.len).unwrap_or(Text::NOTHING);
            *counter = packet.counter;
        }
        Batch::new(texts, counters, self.used)
    }

    fn conclude(&self, window: &mut [Packet], passed: u16) {
        for (i, place) in self.places.iter().enumerate().take(self.used) {
            let passed = passed & 1 << i != 0;
            window[usize::from(*place)].state = if passed { State::Done } else { State::Forged };
        }
    }
}

/// How many packets of a batch to do next when there are `count` with that many blocks; none if the library is faster.
fn size(count: usize, blocks: usize) -> usize {
    match count {
        16.. => 16,
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}
