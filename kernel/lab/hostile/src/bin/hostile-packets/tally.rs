//! How often each kind of hostility was offered, and how often the kernel took it.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io;

#[derive(Default)]
pub(crate) struct Tally {
    name: &'static str,
    kinds: BTreeMap<&'static str, (u64, u64)>,
}

impl Tally {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn count(&mut self, kind: &'static str, result: &io::Result<()>) {
        let (taken, refused) = self.kinds.entry(kind).or_default();
        *if result.is_ok() { taken } else { refused } += 1;
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (taken, refused)) in &self.kinds {
            writeln!(f, "{}  {kind:<34} {taken:>6} taken {refused:>6} refused by the kernel", self.name)?;
        }
        Ok(())
    }
}
