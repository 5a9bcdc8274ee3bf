//! What was done, so that a failure half-way can undo it in reverse order.

use crate::failure::Failure;
use crate::say::say;

/// A stack of deeds and how to undo them. Whoever holds one ends with [`Undo::unwind`] or [`Undo::keep`].
#[must_use]
#[derive(Default)]
pub(crate) struct Undo<'a> {
    deeds: Vec<Deed<'a>>,
}

struct Deed<'a> {
    what: String,
    undo: Box<dyn FnOnce() -> Result<(), Failure> + 'a>,
}

impl<'a> Undo<'a> {
    /// Remembers how to undo what was just done. `what` says in a few words what undoing does.
    pub(crate) fn push(&mut self, what: impl Into<String>, undo: impl FnOnce() -> Result<(), Failure> + 'a) {
        self.deeds.push(Deed { what: what.into(), undo: Box::new(undo) });
    }

    /// Undoes everything, the last first. What cannot be undone is returned, and stops nothing.
    pub(crate) fn unwind(mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        while let Some(deed) = self.deeds.pop() {
            say!("[-] {}", deed.what);
            if let Err(failure) = (deed.undo)() {
                failures.push(failure.context(format!("could not {}", deed.what)));
            }
        }
        failures
    }

    /// All went well: nothing is to be undone.
    pub(crate) fn keep(self) {
        drop(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn undoes_in_reverse_and_goes_on_after_failures() {
        let seen = RefCell::new(Vec::new());
        let note = |number: i32, fails: bool| {
            let seen = &seen;
            move || {
                seen.borrow_mut().push(number);
                if fails { Err(Failure::new("stuck")) } else { Ok(()) }
            }
        };
        let mut undo = Undo::default();
        undo.push("undo one", note(1, false));
        undo.push("undo two", note(2, true));
        undo.push("undo three", note(3, false));
        let failures = undo.unwind();
        assert_eq!(*seen.borrow(), [3, 2, 1]);
        assert_eq!(failures, [Failure::new("could not undo two: stuck")]);
    }

    #[test]
    fn keeping_undoes_nothing() {
        let mut undo = Undo::default();
        undo.push("never", || unreachable!());
        undo.keep();
    }
}
