//! An array that grows without moving, in pages: sixteen of 64 items, eight of 128, eight of 256, and so on.
//!
//! A page is made outside every lock and installed under it by one move, so growing never holds packets up. The eight
//! steps to twice the size leave at most an eighth of a large array unused.

use crate::memory::{OutOfMemory, push, vec_filled, vec_of};
use alloc::vec::Vec;

const FIRST: u32 = 64;
/// Pages of one size, and the binary logarithm of that.
const STEPS: u32 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// 2^25 items in all.
const PAGES: u32 = 136;
/// Items of the last page: a sixteenth of the array at its greatest size.
const GREATEST: u32 = 1 << 21;

/// Items `0..capacity`, each initialised when its page was made.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    /// Has room for [`PAGES`], in memory of its own: a device is made on a stack that may be small.
    pages: Vec<Vec<T>>,
}

/// A page ready to be installed.
#[derive(Debug)]
pub(crate) struct Page<T>(Vec<T>);

impl<T> Pages<T> {
    /// An array without items, which takes about 3 KiB.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { pages: vec_of(widen(PAGES))? })
    }

    pub(crate) fn capacity(&self) -> u32 {
        start_of(self.installed())
    }

    /// The number of items of the next page, and `None` when the array has its greatest size.
    pub(crate) fn next_len(&self) -> Option<u32> {
        let next = self.installed().checked_add(1).filter(|next| *next <= PAGES)?;
        Some(start_of(next).saturating_sub(self.capacity()))
    }

    /// A page with `len` items made by `item`; call it outside every lock.
    pub(crate) fn make(len: u32, item: impl FnMut() -> Result<T, OutOfMemory>) -> Result<Page<T>, OutOfMemory> {
        if len > GREATEST { Err(OutOfMemory) } else { vec_filled(widen(len), item).map(Page) }
    }

    /// The length of the next page while there are fewer than `needed` items; one that [`Pages::make`] refuses if
    /// the array has its greatest size.
    pub(crate) fn short_of(&self, needed: u32) -> Option<u32> {
        if self.capacity() >= needed { None } else { Some(self.next_len().unwrap_or(u32::MAX)) }
    }

    /// Adds a page made for [`Pages::next_len`]; a page of another length is handed back.
    pub(crate) fn install(&mut self, page: Page<T>) -> Option<Page<T>> {
        if self.next_len().map(widen) != Some(page.0.len()) {
            return Some(page);
        }
        // There is room, as there is a next page.
        let _ = push(&mut self.pages, page.0);
        None
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        #[cfg(test)]
        crate::testing::host::touched();
        let (page, at) = locate(index);
        self.pages.get(page)?.get(at)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        #[cfg(test)]
        crate::testing::host::touched();
        let (page, at) = locate(index);
        self.pages.get_mut(page)?.get_mut(at)
    }

    fn installed(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }
}

/// The first item of a page: page `8·s + m`, where m is from 8 to 15, begins at `64 · m · 2^s`, and so do those before,
/// with s = 0.
const fn start_of(page: u32) -> u32 {
    let size = (page / STEPS).saturating_sub(1);
    let at = page.saturating_sub(size.saturating_mul(STEPS));
    at.wrapping_shl(size).saturating_mul(FIRST)
}

/// The page of an item, and its place there.
fn locate(index: u32) -> (usize, usize) {
    let firsts = index / FIRST;
    let size = (u32::BITS - 1).saturating_sub((firsts | STEPS).leading_zeros()).saturating_sub(STEP_BITS);
    let page = size.wrapping_mul(STEPS).wrapping_add(firsts.wrapping_shr(size));
    let at = index & FIRST.wrapping_shl(size).wrapping_sub(1);
    (widen(page), widen(at))
}

fn widen(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_a_place_of_its_own_and_stays_there() {
        let mut pages = Pages::new().unwrap();
        let mut made = 0_u32;
        while pages.capacity() < 5000 {
            let before = made;
            let page = Pages::make(pages.next_len().unwrap(), || {
                made += 1;
                Ok(made - 1)
            });
            assert!(pages.install(page.unwrap()).is_none());
            assert_eq!(pages.capacity(), made);
            assert!(before < made);
        }
        for index in 0..made {
            assert_eq!(pages.get(index), Some(&index));
        }
        assert_eq!(pages.get(made), None);
        assert_eq!(made, 5120);
    }

    #[test]
    fn growth_ends_with_an_error_to_whoever_configures() {
        // 2^25 items of no size: the greatest array.
        let mut pages: Pages<()> = Pages::new().unwrap();
        while let Some(len) = pages.next_len() {
            assert_eq!(pages.short_of(pages.capacity() + 1), Some(len));
            assert!(pages.install(Pages::make(len, || Ok(())).unwrap()).is_none());
            assert_eq!(pages.short_of(pages.capacity()), None);
        }
        assert_eq!(pages.capacity(), 33_554_432);
        assert!(pages.get(33_554_431).is_some());
        let refused = pages.short_of(33_554_433).unwrap();
        assert!(Pages::make(refused, || Ok(())).is_err());
    }

    #[test]
    fn at_most_an_eighth_is_unused() {
        let mut pages: Pages<()> = Pages::new().unwrap();
        let mut before = 0;
        while let Some(len) = pages.next_len() {
            assert!(pages.install(Pages::make(len, || Ok(())).unwrap()).is_none());
            // One item more than fitted before.
            assert!(before < 1024 || pages.capacity() - (before + 1) < (before + 1) / 8, "{before}");
            before = pages.capacity();
        }
    }

    #[test]
    fn a_page_of_the_wrong_length_is_handed_back() {
        let mut pages = Pages::new().unwrap();
        assert!(pages.install(Pages::make(63, || Ok(0)).unwrap()).is_some());
        assert_eq!(pages.capacity(), 0);
    }
}
