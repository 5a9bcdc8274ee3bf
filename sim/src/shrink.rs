//! Makes a failing scenario smaller.

use crate::checks::Check;
use crate::run;
use crate::scenario::{Fault, Scenario};

/// The smallest scenario found that breaks the same invariant: fewer devices, less time, fewer faults.
#[must_use]
pub fn shrink(scenario: &Scenario, check: Check) -> Scenario {
    let mut best = scenario.clone();
    let mut smaller = true;
    while smaller {
        smaller = false;
        for candidate in candidates(&best) {
            if run(&candidate, false, false).is_err_and(|violation| violation.check == check) {
                best = candidate;
                smaller = true;
                break;
            }
        }
    }
    best
}

fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    for nodes in [2, from.nodes / 2, from.nodes - 1] {
        if (2..from.nodes).contains(&nodes) {
            candidates.push(Scenario { nodes, ..from.clone() });
        }
    }
    for seconds in [from.seconds / 4, from.seconds / 2, from.seconds * 4 / 5] {
        if (1..from.seconds).contains(&seconds) {
            candidates.push(Scenario { seconds, ..from.clone() });
        }
    }
    for fault in Fault::ALL.iter().filter(|fault| from.faults.has(**fault)) {
        candidates.push(Scenario { faults: from.faults.without(*fault), ..from.clone() });
    }
    candidates
}
