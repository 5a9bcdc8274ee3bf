//! The device's queue of deadlines: which peer has to be looked at next, and when.

use crate::memory::OutOfMemory;
use crate::pages::Pages;
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
    /// To be filled with [`Cell::EMPTY`], one for each slot.
    pub(crate) cells: Pages<Cell>,
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

impl Cell {
    pub(crate) const EMPTY: Self = Self { queued: Queued { at: Instant::NEVER, slot: NOWHERE }, position: NOWHERE };
}

impl Deadlines {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { cells: Pages::new()?, len: 0 })
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

    /// The earliest deadline of all, and whose it is.
    pub(crate) fn earliest(&self) -> Option<(Instant, u32)> {
        self.queued(0).map(|queued| (queued.at, queued.slot))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::vec;
    use std::vec::Vec;

    fn with_room(slots: u32) -> Deadlines {
        let mut deadlines = Deadlines::new().unwrap();
        while let Some(len) = deadlines.cells.short_of(slots) {
            assert!(deadlines.cells.install(Pages::make(len, || Ok(Cell::EMPTY)).unwrap()).is_none());
        }
        deadlines
    }

    fn check_shape(deadlines: &Deadlines) {
        for position in 0..deadlines.len {
            let queued = deadlines.queued(position).unwrap();
            assert_eq!(deadlines.cells.get(queued.slot).unwrap().position, position);
            assert!(position == 0 || deadlines.at((position - 1) / 4) <= queued.at);
        }
        let queued =
            (0..deadlines.cells.capacity()).filter(|slot| deadlines.cells.get(*slot).unwrap().position != NOWHERE);
        assert_eq!(queued.count(), deadlines.len as usize);
    }

    #[test]
    fn the_queue_is_a_list_with_the_smallest_taken_out() {
        let mut random = Random::new(4);
        for slots in [1, 7, 300] {
            let mut deadlines = with_room(slots);
            let mut model: Vec<u64> = vec![u64::MAX; slots as usize];
            let mut now = 0;
            let mut popped = 0;
            for step in 0..70_000 {
                let slot = random.below(u64::from(slots)) as u32;
                let earliest = *model.iter().min().unwrap();
                match random.below(8) {
                    0..5 => {
                        // Few different times, so that many are equal.
                        let at = now + random.below(50);
                        let lowers = at < model[slot as usize];
                        assert_eq!(deadlines.lower(slot, Instant::from_nanos(at)), at < earliest);
                        if lowers {
                            model[slot as usize] = at;
                        }
                    }
                    5 => {
                        deadlines.remove(slot);
                        model[slot as usize] = u64::MAX;
                    }
                    _ => {
                        now += random.below(4);
                        match deadlines.pop_due(Instant::from_nanos(now)) {
                            Some(slot) => {
                                assert_eq!(model[slot as usize], earliest);
                                assert!(earliest <= now);
                                model[slot as usize] = u64::MAX;
                                popped += 1;
                            }
                            None => assert!(earliest > now),
                        }
                    }
                }
                let earliest = model.iter().min().copied().filter(|at| *at != u64::MAX);
                assert_eq!(deadlines.earliest().map(|(at, _)| at.as_nanos()), earliest);
                if step % 64 == 0 {
                    check_shape(&deadlines);
                }
            }
            assert!(popped > 1000);
        }
    }

    #[test]
    fn a_later_deadline_changes_nothing_and_never_is_none() {
        let mut deadlines = with_room(64);
        let at = Instant::from_nanos;
        assert!(!deadlines.lower(3, Instant::NEVER));
        assert_eq!(deadlines.earliest(), None);
        assert!(deadlines.lower(3, at(10)));
        assert!(!deadlines.lower(3, at(11)));
        assert!(!deadlines.lower(3, at(10)));
        assert!(!deadlines.lower(4, at(10)), "not earlier than the earliest");
        assert!(deadlines.lower(4, at(9)));
        assert_eq!(deadlines.pop_due(at(8)), None);
        assert_eq!(deadlines.pop_due(at(9)), Some(4));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert!(!deadlines.lower(64, at(1)), "a slot there is no room for");
        deadlines.remove(64);
        deadlines.remove(u32::MAX);
        assert_eq!(deadlines.earliest(), Some((at(10), 3)));
    }
}
