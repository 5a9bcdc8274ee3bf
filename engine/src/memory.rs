//! The only place that takes memory: fallible containers.
//!
//! Called when something is configured, never from a packet. Running out is an error to whoever configures.

use alloc::vec::Vec;
use core::fmt;

/// The host had no memory left for what was asked; nothing was changed. Free some and ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory: the change was not made")
    }
}

impl core::error::Error for OutOfMemory {}

/// One value in memory of its own: a `Box` that can be refused.
///
/// A vector of one, because turning it into a box would keep a panic path (shrinking what cannot shrink). It hands the
/// value out as an option for the same reason; it is never empty.
#[doc(hidden)]
#[derive(Debug)]
pub struct Block<T>(Vec<T>);

impl<T> Block<T> {
    /// Moves `value` into memory of its own.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is none.
    pub fn new(value: T) -> Result<Self, OutOfMemory> {
        let mut items = vec_of(1)?;
        push(&mut items, value)?;
        Ok(Self(items))
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.first()
    }

    /// The value, to be changed.
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.0.first_mut()
    }
}

/// An empty vector with room for exactly `capacity` items.
pub(crate) fn vec_of<T>(capacity: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut items = Vec::new();
    items.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
    Ok(items)
}

/// A vector of `len` items made by `item`.
pub(crate) fn vec_filled<T>(
    len: usize,
    mut item: impl FnMut() -> Result<T, OutOfMemory>,
) -> Result<Vec<T>, OutOfMemory> {
    let mut items = vec_of(len)?;
    for _ in 0..len {
        push(&mut items, item()?)?;
    }
    Ok(items)
}

/// Appends without ever growing: the visible check is what keeps the panic path of a plain push out of the object.
pub(crate) fn push<T>(items: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    if items.len() == items.capacity() {
        return Err(OutOfMemory);
    }
    items.push(item);
    Ok(())
}
