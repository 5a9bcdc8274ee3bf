//! Receiver indices: what the header of a received message names, and which peer's place that is.

use crate::memory::OutOfMemory;
use crate::pages::Pages;

/// Entries of a bucket. Three sessions and one handshake make four indices a peer, and there is a bucket a peer or
/// more: half full at worst.
const ENTRIES: usize = 8;
/// Splits of one call of [`Indices::grow`]: 64 entries' work.
const SPLITS: u32 = 8;
/// The slot of an entry that is empty; every index, 0 as well, is a valid one.
const EMPTY: u32 = u32::MAX;

/// From receiver index to the slot of a peer, by linear hashing: a look-up reads one bucket, growing splits one bucket at
/// a time, and a split never overflows because it only spreads eight entries over two buckets.
///
/// We draw the indices ourselves, at random, so they are their own hash and nobody else can aim at a bucket.
///
/// An index may name a slot that has changed hands while a handshake for the peer before was computed. That peer's
/// handshakes and sessions went with it, so whoever comes by the index finds none that has it.
#[derive(Debug)]
pub(crate) struct Indices {
    /// To be filled with [`Bucket::EMPTY`], at least one and one for each peer. Call [`Indices::grow`] afterwards until
    /// they are in use.
    pub(crate) buckets: Pages<Bucket>,
    /// Buckets in use, of those installed.
    len: u32,
}

#[derive(Debug)]
pub(crate) struct Bucket([Entry; ENTRIES]);

#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u32,
    slot: u32,
}

/// As much as is fetched from memory at once.
const _: () = assert!(size_of::<Bucket>() == 64);

impl Indices {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { buckets: Pages::new()?, len: 0 })
    }

    /// Spreads the entries over some more of the installed buckets, 64 entries' work; true if there is more to do.
    pub(crate) fn grow(&mut self) -> bool {
        for _ in 0..SPLITS {
            if self.len < self.buckets.capacity() {
                self.split();
            }
        }
        self.len < self.buckets.capacity()
    }

    /// The slot that `index` belongs to.
    pub(crate) fn get(&self, index: u32) -> Option<u32> {
        let bucket = self.buckets.get(self.place(index)?)?;
        bucket.0.iter().find(|entry| entry.is(index)).map(|entry| entry.slot)
    }

    /// Gives `index`, drawn at random, to `slot`. False if it is taken or its bucket is full: draw again. At the
    /// greatest load, four indices a bucket, one draw in twenty fails, so 16 in a row never do.
    pub(crate) fn insert(&mut self, index: u32, slot: u32) -> bool {
        if slot == EMPTY || self.get(index).is_some() {
            return false;
        }
        let free = self
            .place(index)
            .and_then(|place| self.buckets.get_mut(place))
            .and_then(|bucket| bucket.0.iter_mut().find(|entry| entry.is_empty()));
        match free {
            Some(entry) => {
                *entry = Entry { index, slot };
                true
            }
            None => false,
        }
    }

    /// Frees `index`, and says whose it was.
    pub(crate) fn remove(&mut self, index: u32) -> Option<u32> {
        let bucket = self.buckets.get_mut(self.place(index)?)?;
        let entry = bucket.0.iter_mut().find(|entry| entry.is(index))?;
        let slot = entry.slot;
        *entry = Entry::EMPTY;
        Some(slot)
    }

    /// Adds one bucket and moves into it those entries of its buddy that belong there now.
    fn split(&mut self) {
        let new = self.len;
        self.len = new.saturating_add(1);
        let buddy = new ^ top_bit(new);
        if buddy == new {
            return;
        }
        let Some(old) = self.buckets.get_mut(buddy) else { return };
        let mut moved = [Entry::EMPTY; ENTRIES];
        for (to, from) in moved.iter_mut().zip(&mut old.0) {
            // Empty ones stay: their index is 0.
            if place(from.index, self.len) == Some(new) {
                core::mem::swap(to, from);
            }
        }
        if let Some(bucket) = self.buckets.get_mut(new) {
            bucket.0 = moved;
        }
    }

    fn place(&self, index: u32) -> Option<u32> {
        place(index, self.len)
    }
}

/// The bucket of `index` among `len` buckets: as many low bits as number the greatest bucket, and one fewer if they
/// name a bucket that does not exist yet.
fn place(index: u32, len: u32) -> Option<u32> {
    let greatest = len.checked_sub(1)?;
    let bucket = index & u32::MAX.checked_shr(greatest.leading_zeros()).unwrap_or(0);
    Some(if bucket < len { bucket } else { bucket ^ top_bit(greatest) })
}

/// The highest bit of `number`, 0 if it has none.
fn top_bit(number: u32) -> u32 {
    0x8000_0000_u32.checked_shr(number.leading_zeros()).unwrap_or(0)
}

impl Bucket {
    pub(crate) const EMPTY: Self = Self([Entry::EMPTY; ENTRIES]);
}

impl Entry {
    const EMPTY: Self = Self { index: 0, slot: EMPTY };

    const fn is_empty(&self) -> bool {
        self.slot == EMPTY
    }

    const fn is(&self, index: u32) -> bool {
        self.index == index && !self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn make_room(indices: &mut Indices, peers: u32) {
        while let Some(len) = indices.buckets.short_of(peers) {
            assert!(indices.buckets.install(Pages::make(len, || Ok(Bucket::EMPTY)).unwrap()).is_none());
        }
    }

    fn check_all(indices: &Indices, model: &BTreeMap<u32, u32>) {
        for (index, slot) in model {
            assert_eq!(indices.get(*index), Some(*slot));
        }
        let places = 0..indices.buckets.capacity();
        let entries = places.flat_map(|place| indices.buckets.get(place).unwrap().0).filter(|entry| !entry.is_empty());
        assert_eq!(entries.count(), model.len());
    }

    #[test]
    fn the_table_is_a_map_before_while_and_after_it_grows() {
        let mut random = Random::new(5);
        let mut indices = Indices::new().unwrap();
        let mut model = BTreeMap::new();
        let mut known: Vec<u32> = Vec::new();
        let mut calls = 0;
        for step in 0..300_000_u32 {
            if step % 20_000 == 0 {
                // Peers are added, but their indices come while the growth is still going on.
                make_room(&mut indices, 64 + step / 100);
            }
            if step % 50 == 0 {
                calls += u32::from(indices.grow());
            }
            let index = match known.get(random.below(4000) as usize) {
                Some(index) if random.below(2) == 0 => *index,
                _ => random.next() as u32,
            };
            match random.below(8) {
                0..4 => {
                    let slot = random.below(1000) as u32;
                    let taken = model.contains_key(&index);
                    if indices.insert(index, slot) {
                        assert!(!taken);
                        model.insert(index, slot);
                        known.push(index);
                    }
                }
                4..7 => assert_eq!(indices.remove(index), model.remove(&index)),
                _ => assert_eq!(indices.get(index), model.get(&index).copied()),
            }
            if step % 5000 == 0 {
                check_all(&indices, &model);
            }
        }
        while indices.grow() {
            calls += 1;
            check_all(&indices, &model);
        }
        assert!(calls > 350 && model.len() > 1000, "{calls} calls, {} entries", model.len());
    }

    #[test]
    fn four_indices_a_peer_are_always_found() {
        let mut random = Random::new(6);
        for peers in [1, 2, 64, 100, 128, 5000, 16_384] {
            let mut indices = Indices::new().unwrap();
            make_room(&mut indices, peers);
            while indices.grow() {}
            let (mut draws, mut most) = (0, 0);
            for number in 0..peers * 4 {
                let took = (1..).find(|_| indices.insert(random.next() as u32, number / 4)).unwrap();
                draws += took;
                most = most.max(took);
            }
            assert!(most <= 8, "{most} draws");
            assert!(draws - peers * 4 <= peers * 4 / 20, "{draws} draws for {peers} peers");
        }
    }

    #[test]
    fn a_split_moves_a_full_bucket_without_losing_an_entry() {
        let mut indices = Indices::new().unwrap();
        make_room(&mut indices, 64);
        indices.split();
        for number in 0..8 {
            assert!(indices.insert(number * 8, number));
        }
        assert!(!indices.insert(64, 0), "the bucket is full");
        while indices.grow() {
            assert!((0..8).all(|number| indices.get(number * 8) == Some(number)));
        }
        assert_eq!(indices.len, 64);
        assert!(indices.insert(64, 0));
    }

    #[test]
    fn without_room_there_is_nothing_to_find() {
        let mut indices = Indices::new().unwrap();
        assert!(!indices.grow());
        assert_eq!((indices.get(0), indices.remove(0)), (None, None));
        assert!(!indices.insert(0, 7));
        make_room(&mut indices, 1);
        while indices.grow() {}
        assert_eq!(indices.get(0), None);
        assert!(indices.insert(0, 7), "zero is an index like any other");
        assert!(!indices.insert(0, 1), "taken");
        assert!(!indices.insert(1, u32::MAX));
        assert_eq!(indices.remove(0), Some(7));
        assert_eq!(indices.get(0), None);
    }
}
