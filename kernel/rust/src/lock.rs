//! The engine's locks: the kernel's own, made by the glue, which alone knows their size. The glue gives each lock together with
//! room for the value behind it, so that a lock and what it guards are one allocation and usually one cache line.

use crate::host;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use kerntun_engine::host::{Lock, Rank, Table};
use kerntun_engine::memory::OutOfMemory;

/// A mutex for the rank of configuration, otherwise a spinlock with bottom halves off.
pub(crate) struct KernelLock<T>(Place<T>);

// SAFETY: the value is reached only between the lock and the unlock of `with`.
unsafe impl<T: Send> Sync for KernelLock<T> {}
// SAFETY: it owns the value, which may be sent.
unsafe impl<T: Send> Send for KernelLock<T> {}

impl<T: Send> Lock<T> for KernelLock<T> {
    #[inline]
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory> {
        Place::new(rank, value).map(Self)
    }

    #[inline]
    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let lock = self.0.lock();
        let sleeps = matches!(self.0.rank, Rank::Configuration);
        // SAFETY: the lock lives as long as its place.
        unsafe { if sleeps { host::kt_host_mutex_lock(lock) } else { host::kt_host_spin_lock(lock) } };
        // SAFETY: nobody else has the lock. The section does not unwind: there are no panics.
        let result = section(unsafe { &mut *self.0.value.as_ptr() });
        // SAFETY: it is held.
        unsafe { if sleeps { host::kt_host_mutex_unlock(lock) } else { host::kt_host_spin_unlock(lock) } };
        result
    }
}

/// A lock of readers and writers, with bottom halves off.
pub(crate) struct KernelTable<T>(Place<T>);

// SAFETY: the value is shared between readers, and given to one writer at a time.
unsafe impl<T: Send + Sync> Sync for KernelTable<T> {}
// SAFETY: it owns the value, which may be sent.
unsafe impl<T: Send> Send for KernelTable<T> {}

impl<T: Send + Sync> Table<T> for KernelTable<T> {
    #[inline]
    fn new(value: T) -> Result<Self, OutOfMemory> {
        Place::new(Rank::Tables, value).map(Self)
    }

    #[inline]
    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R {
        let lock = self.0.lock();
        // SAFETY: the lock lives as long as its place.
        unsafe { host::kt_host_read_lock(lock) };
        // SAFETY: nobody writes meanwhile.
        let result = section(unsafe { self.0.value.as_ref() });
        // SAFETY: it is held.
        unsafe { host::kt_host_read_unlock(lock) };
        result
    }

    #[inline]
    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let lock = self.0.lock();
        // SAFETY: the lock lives as long as its place.
        unsafe { host::kt_host_write_lock(lock) };
        // SAFETY: nobody else reads or writes meanwhile.
        let result = section(unsafe { &mut *self.0.value.as_ptr() });
        // SAFETY: it is held.
        unsafe { host::kt_host_write_unlock(lock) };
        result
    }
}

/// Owns a value and the glue's lock in front of it; the value's address names the lock.
struct Place<T> {
    value: NonNull<T>,
    rank: Rank,
}

impl<T> Place<T> {
    #[inline]
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory> {
        const { assert!(align_of::<T>() <= 16) };
        // SAFETY: a rank of `enum kt_rank`.
        let place = unsafe { host::kt_host_lock_new(rank as u8, size_of::<T>()) };
        let place: NonNull<T> = NonNull::new(place.cast()).ok_or(OutOfMemory)?;
        // SAFETY: it is as large and aligned as that, and ours.
        unsafe { place.write(value) };
        Ok(Self { value: place, rank })
    }

    #[inline]
    fn lock(&self) -> *mut c_void {
        self.value.as_ptr().cast()
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        // SAFETY: the value is ours and goes, and nobody holds its lock. It came from `kt_host_lock_new` with this rank.
        unsafe {
            ptr::drop_in_place(self.value.as_ptr());
            host::kt_host_lock_free(self.lock(), self.rank as u8, size_of::<T>());
        }
    }
}

const _: () = {
    assert!(Rank::Configuration as u8 == 0 && Rank::Tables as u8 == 1);
    assert!(Rank::Peer as u8 == 2 && Rank::Device as u8 == 3);
};
