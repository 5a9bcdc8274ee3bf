//! Locks without poisoning, of `parking_lot`: one byte or one word beside the value, and no system call unless two
//! threads meet.

use crate::order::Holding;
use kerntun_engine::host::{Lock, Rank, Table};
use kerntun_engine::memory::OutOfMemory;
use parking_lot::{Mutex, RwLock};

/// A mutual exclusion lock. It knows its rank in builds that check the order; in others that would cost eight bytes for
/// every peer.
#[derive(Debug)]
pub struct UserLock<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    value: Mutex<T>,
}

impl<T: Send> Lock<T> for UserLock<T> {
    /// A lock of that rank around `value`; never fails.
    #[cfg_attr(not(debug_assertions), expect(unused_variables))]
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory> {
        Ok(Self {
            #[cfg(debug_assertions)]
            rank,
            value: Mutex::new(value),
        })
    }

    /// Runs `section` with the value while nobody else does.
    ///
    /// # Panics
    /// With debug assertions, if the thread holds a lock of this rank or below. If `section` panics, the lock is given
    /// back with the value as it was left.
    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _holding = Holding::enter(self.rank);
        section(&mut self.value.lock())
    }
}

/// A lock that many readers share.
#[derive(Debug)]
pub struct UserTable<T> {
    value: RwLock<T>,
}

impl<T: Send + Sync> Table<T> for UserTable<T> {
    /// A lock around `value`; never fails.
    fn new(value: T) -> Result<Self, OutOfMemory> {
        Ok(Self { value: RwLock::new(value) })
    }

    /// Runs `section` while nobody writes. A reader waits behind a waiting writer, so that readers cannot starve it.
    ///
    /// # Panics
    /// With debug assertions, if the thread holds a lock of the rank of tables or below.
    #[inline]
    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R {
        let _holding = Holding::enter(Rank::Tables);
        section(&self.value.read())
    }

    /// Runs `section` while nobody reads or writes.
    ///
    /// # Panics
    /// With debug assertions, if the thread holds a lock of the rank of tables or below.
    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let _holding = Holding::enter(Rank::Tables);
        section(&mut self.value.write())
    }
}
