#![forbid(unsafe_code)]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a simulation are small")]
//! Many kerntun engines in one process, on a virtual network, in virtual time, with everything going wrong, all from one
//! seed: the main test of the engine.
//!
//! A [`Scenario`] follows from its seed. [`World::run`] lets things go wrong for a
//! while, then puts everything right and watches that everybody is connected again, then is silent until all keys must be
//! gone. What must hold all the while is listed in [`Check`]. The same scenario gives the same run, so
//! whatever fails can be repeated, and [made smaller](shrink::shrink).

pub mod agenda;
pub mod attacker;
pub mod checks;
pub mod faults;
pub mod journal;
pub mod ledger;
pub mod memory;
pub mod model;
pub mod network;
pub mod node;
pub mod random;
pub mod receive;
pub mod scenario;
pub mod shared;
pub mod shrink;
pub mod view;
pub mod world;

use checks::{Check, Violation};
use scenario::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Outcome, World};

/// Runs a scenario; a panic breaks an invariant like any other.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(scenario: &Scenario, trace: bool, scan: bool) -> Result<Outcome, Violation> {
    catch_unwind(AssertUnwindSafe(|| World::new(scenario, trace).run(scan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { check: Check::NoPanic, detail: text.unwrap_or_default(), at: 0 })
    })
}
