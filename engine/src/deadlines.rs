//! The device's queue of deadlines: which peer has to be looked at next, and when.

use crate::memory::OutOfMemory;
use crate::pages::{Page, Pages};
use crate::time::Instant;

/// Children of a node of the heap. Four keep the path half as long as two would and cost no more comparisons.
const WIDTH: u32 = 4;
/// "Not queued", as a position.
const NOWHERE: u32 = u32::MAX;

/// At most one deadline per slot, the earliest at hand.
///
/// A heap: with n deadlines queued a change follows one path of at most log4(n) + 1 nodes, 13 for the greatest
/// array and 10 for a million peers, and compares one deadline per node on the way up and four on the way down.
#[derive(Debug)]
pub(crate) struct Deadlines {
    cells: Pages<Cell>,
    len: u32,
}

/// Two arrays in one, because both have an item per slot: position `i` of the heap, and where slot `i` is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    queued: Queued,
    position: u32,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    at: Instant,
    slot: u32,
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self { cells: Pages::new(), len: 0 }
    }

    /// The length of the next page, while there is no room for `slots` slots.
    pub(crate) fn short_of(&self, slots: u32) -> Option<u32> {
        self.cells.short_of(slots)
    }

    /// A page to install; call it outside every lock.
    pub(crate) fn make_page(len: u32) -> Result<Page<Cell>, OutOfMemory> {
        let empty = Cell { queued: Queued { at: Instant::NEVER, slot: NOWHERE }, position: NOWHERE };
        Pages::make(len, || Ok(empty))
    }

    /// Adds a page; one of another length than [`Deadlines::short_of`] says now is handed back.
    pub(crate) fn install(&mut self, page: Page<Cell>) -> Option<Page<Cell>> {
        self.cells.install(page)
    }

    /// Queues the slot for `at`, unless it is queued for no later than that already. True if it became the earliest
    /// of all, so that the host has to be told. [`Instant::NEVER`] and a slot without room are not queued.
    pub(crate) fn lower(&mut self, slot: u32, at: Instant) -> bool {
        let Some(cell) = self.cells.get(slot) else { return false };
        let position = if cell.position == NOWHERE { self.len } else { cell.position };
        let queued = if cell.position == NOWHERE { Instant::NEVER } else { self.at(position) };
        if at >= queued {
            return false;
        }
        if cell.position == NOWHERE {
            self.len = self.len.saturating_add(1);
        }
        self.rise(position, Queued { at, slot }) == 0
    }

    /// The earliest deadline of all.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.queued(0).map(|queued| queued.at)
    }

    /// Takes out the slot with the earliest deadline if that is `now` or past.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let due = self.queued(0).filter(|queued| queued.at <= now)?;
        self.remove(due.slot);
        Some(due.slot)
    }

    /// Takes the slot out, if it is queued.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(cell) = self.cells.get_mut(slot) else { return };
        let position = cell.position;
        if position == NOWHERE {
            return;
        }
        cell.position = NOWHERE;
        let end = self.len.saturating_sub(1);
        let last = self.queued(end);
        self.len = end;
        if let Some(last) = last.filter(|_| position != end) {
            // The last one fills the gap; it may belong higher than where it comes from, in another branch.
            let position = self.rise(position, last);
            self.sink(position, last);
        }
    }

    /// Puts `queued` at the free `position` or as far above as it belongs, and says where.
    fn rise(&mut self, mut position: u32, queued: Queued) -> u32 {
        while position != 0 {
            let parent = position.saturating_sub(1) / WIDTH;
            match self.queued(parent) {
                Some(above) if above.at > queued.at => self.put(position, above),
                _ => break,
            }
            position = parent;
        }
        self.put(position, queued);
        position
    }

    /// Moves `queued` from `position` as far down as it belongs.
    fn sink(&mut self, mut position: u32, queued: Queued) {
        loop {
            let first = position.saturating_mul(WIDTH).saturating_add(1);
            let children = first..first.saturating_add(WIDTH).min(self.len);
            let Some(child) = children.min_by_key(|child| self.at(*child)) else { break };
            match self.queued(child) {
                Some(below) if below.at < queued.at => self.put(position, below),
                _ => break,
            }
            position = child;
        }
        self.put(position, queued);
    }

    fn put(&mut self, position: u32, queued: Queued) {
        if let Some(cell) = self.cells.get_mut(position) {
            cell.queued = queued;
        }
        if let Some(cell) = self.cells.get_mut(queued.slot) {
            cell.position = position;
        }
    }

    fn at(&self, position: u32) -> Instant {
        self.queued(position).map_or(Instant::NEVER, |queued| queued.at)
    }

    fn queued(&self, position: u32) -> Option<Queued> {
        if position < self.len { self.cells.get(position).map(|cell| cell.queued) } else { None }
    }
}
