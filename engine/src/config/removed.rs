//! Which peers a change has removed up to some point, and may make again.

use crate::memory::{OutOfMemory, push, vec_of};
use crate::secret::PublicKey;
use alloc::vec::Vec;

/// Some bits of their keys, in a table with 64 bits for each peer of the change. It may be wrong about one in 64 others,
/// which costs a draft that is not used.
pub(super) struct Removed(Vec<u64>);

impl Removed {
    pub(super) fn with_room_for(peers: usize) -> Result<Self, OutOfMemory> {
        let mut words = vec_of(peers)?;
        for _ in 0..peers {
            push(&mut words, 0)?;
        }
        Ok(Self(words))
    }

    pub(super) fn add(&mut self, key: &PublicKey) {
        let (word, bit) = self.place(key);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn may_have(&self, key: &PublicKey) -> bool {
        let (word, bit) = self.place(key);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(&self, key: &PublicKey) -> (usize, u64) {
        let [a, b, c, d, e, ..] = key.0;
        let word = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(0);
        (word.checked_rem(self.0.len()).unwrap_or(0), 1_u64.wrapping_shl(u32::from(e)))
    }
}
