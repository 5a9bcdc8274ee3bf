//! Which peers a change has removed up to some point, and may make again.

use crate::memory::{OutOfMemory, vec_filled};
use crate::secret::PublicKey;
use alloc::vec::Vec;

/// Some bits of their keys, in a table with 64 bits for each peer of the change. It may be wrong about one in 64 others,
/// which costs a draft that is not used.
pub(super) struct Removed(Vec<u64>);

impl Removed {
    pub(super) fn with_room_for(peers: usize) -> Result<Self, OutOfMemory> {
        vec_filled(peers, || Ok(0)).map(Self)
    }

    /// Whether the peer with that key was removed, and if `remove` it is.
    pub(super) fn has(&mut self, key: &PublicKey, remove: bool) -> bool {
        let [a, b, c, d, e, ..] = key.0;
        let place = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok().and_then(|n| n.checked_rem(self.0.len()));
        let Some(word) = place.and_then(|place| self.0.get_mut(place)) else { return false };
        let bit = 1_u64.wrapping_shl(u32::from(e));
        let had = *word & bit != 0;
        *word |= if remove { bit } else { 0 };
        had
    }
}
