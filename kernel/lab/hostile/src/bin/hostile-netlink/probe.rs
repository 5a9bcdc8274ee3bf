//! One request after the other, each from the same state.

use crate::baseline::{self, INTERFACE};
use crate::cases;
use crate::expected::Outcome;
use kerntun_hostile::netlink::wireguard::{Family, device, name};
use kerntun_hostile::netlink::{Answer, parse};
use std::collections::BTreeSet;

/// A conversation about the interface.
pub(crate) struct Probe {
    pub(crate) family: Family,
    at_first: BTreeSet<String>,
    own: Vec<u8>,
    other: Vec<u8>,
}

impl Probe {
    /// Sets the interface up.
    pub(crate) fn new() -> Self {
        let mut family = Family::new();
        let own = baseline::baseline();
        let answer = family.set(&own.clone().put(device::PRIVATE_KEY, &baseline::OTHER));
        assert_eq!(answer.error, 0, "the first change: {} {}", answer.name(), answer.words);
        let other = public_key(&mut family);
        assert_eq!(family.set(&own).error, 0);
        let own = public_key(&mut family);
        let at_first = family.state(INTERFACE);
        Self { family, at_first, own, other }
    }

    /// All requests that need nothing but themselves.
    pub(crate) fn all_cases(&mut self) -> Vec<Outcome> {
        let all = cases::all(&self.own, &self.other, 1);
        all.into_iter()
            .map(|case| {
                let answer = self.family.bytes(case.flags, &case.bytes);
                self.outcome(case.name, &answer)
            })
            .collect()
    }

    /// Requests to the family `kerntun`, if there is one.
    pub(crate) fn drops(&mut self) -> Vec<Outcome> {
        let Some(mut family) = Family::named("kerntun", 65536) else { return Vec::new() };
        let ask = |case: cases::Case| {
            let answer = family.bytes(case.flags, &case.bytes);
            self.outcome(case.name, &answer)
        };
        cases::of_drops(1).into_iter().map(ask).collect()
    }

    /// What came of a request, after which the interface is as it was before.
    pub(crate) fn outcome(&mut self, case: impl Into<String>, answer: &Answer) -> Outcome {
        let change = self.undo();
        Outcome { case: case.into(), error: answer.name(), change, words: answer.words.clone() }
    }

    /// What is not as it was at first. It is afterwards.
    pub(crate) fn undo(&mut self) -> String {
        let after = self.family.state(INTERFACE);
        if after == self.at_first {
            return "-".to_owned();
        }
        let gone = self.at_first.difference(&after).map(|line| format!("-{line}"));
        let come = after.difference(&self.at_first).map(|line| format!("+{line}"));
        let change: Vec<String> = gone.chain(come).collect();
        self.restore();
        change.join("; ")
    }

    /// Makes the interface what it was at first.
    pub(crate) fn restore(&mut self) {
        let answer = self.family.set(&baseline::baseline());
        assert_eq!(answer.error, 0, "cannot be set back: {} {}", answer.name(), answer.words);
        assert_eq!(self.family.state(INTERFACE), self.at_first, "is not what it was set back to");
    }
}

fn public_key(family: &mut Family) -> Vec<u8> {
    let answer: Answer = family.get(&name(INTERFACE));
    let attributes = &answer.messages.first().expect("an interface")[4..];
    let key = parse(attributes).find(|(kind, _)| *kind == device::PUBLIC_KEY).expect("a public key");
    key.1.to_vec()
}
