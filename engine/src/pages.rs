//! An array that grows without moving: pages of 64, 64, 128, 256, … items.
//!
//! A page is made outside every lock and installed under it by one move, so growing never holds packets up.

use crate::memory::{OutOfMemory, push, vec_of};
use alloc::vec::Vec;

const FIRST: u32 = 64;
const PAGES: usize = 20;
/// Items of the last page: half of the array at its greatest size.
const GREATEST: u32 = FIRST << (PAGES - 2);

/// Items `0..capacity`, each initialised when its page was made.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: [Vec<T>; PAGES],
    installed: usize,
}

/// A page ready to be installed.
#[derive(Debug)]
pub(crate) struct Page<T>(Vec<T>);

impl<T> Pages<T> {
    pub(crate) const fn new() -> Self {
        Self { pages: [const { Vec::new() }; PAGES], installed: 0 }
    }

    pub(crate) fn capacity(&self) -> u32 {
        if self.installed == 0 { 0 } else { Self::capacity_with(self.installed) }
    }

    /// The number of items of the next page, and `None` when the array has its greatest size.
    pub(crate) fn next_len(&self) -> Option<u32> {
        let next = self.installed.checked_add(1).filter(|next| *next <= PAGES)?;
        Some(Self::capacity_with(next).saturating_sub(self.capacity()))
    }

    /// A page with `len` items made by `item`; call it outside every lock.
    pub(crate) fn make(len: u32, mut item: impl FnMut() -> Result<T, OutOfMemory>) -> Result<Page<T>, OutOfMemory> {
        if len > GREATEST {
            return Err(OutOfMemory);
        }
        let mut page = vec_of(usize::try_from(len).map_err(|_| OutOfMemory)?)?;
        for _ in 0..len {
            push(&mut page, item()?)?;
        }
        Ok(Page(page))
    }

    /// The length of the next page while there are fewer than `needed` items; one that [`Pages::make`] refuses if
    /// the array has its greatest size.
    pub(crate) fn short_of(&self, needed: u32) -> Option<u32> {
        if self.capacity() >= needed { None } else { Some(self.next_len().unwrap_or(u32::MAX)) }
    }

    /// Adds a page made for [`Pages::next_len`]; a page of another length is handed back.
    pub(crate) fn install(&mut self, page: Page<T>) -> Option<Page<T>> {
        let fits = self.next_len().and_then(|len| usize::try_from(len).ok()) == Some(page.0.len());
        match self.pages.get_mut(self.installed) {
            Some(place) if fits => {
                *place = page.0;
                self.installed = self.installed.saturating_add(1);
                None
            }
            _ => Some(page),
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (page, at) = Self::locate(index);
        self.pages.get(page)?.get(at)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (page, at) = Self::locate(index);
        self.pages.get_mut(page)?.get_mut(at)
    }

    fn capacity_with(pages: usize) -> u32 {
        let doublings = u32::try_from(pages.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST.checked_shl(doublings).unwrap_or(u32::MAX)
    }

    /// Page 0 holds items 0 to 63; page p holds those from 64 · 2^(p-1) on.
    fn locate(index: u32) -> (usize, usize) {
        let page = u32::BITS.saturating_sub((index / FIRST).leading_zeros());
        let start = if page == 0 { 0 } else { FIRST.wrapping_shl(page.saturating_sub(1)) };
        let widen = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        (widen(page), widen(index.wrapping_sub(start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_a_place_of_its_own_and_stays_there() {
        let mut pages = Pages::new();
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
        assert_eq!(made, 8192);
    }

    #[test]
    fn growth_ends_with_an_error_to_whoever_configures() {
        // 64 * 2^19 items of no size: the greatest array.
        let mut pages: Pages<()> = Pages::new();
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
    fn a_page_of_the_wrong_length_is_handed_back() {
        let mut pages = Pages::new();
        assert!(pages.install(Pages::make(63, || Ok(0)).unwrap()).is_some());
        assert_eq!(pages.capacity(), 0);
    }
}
