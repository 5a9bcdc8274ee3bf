//! What all devices of a simulation share: time, chance, the wire, and what is known about everything that was sent.

use crate::agenda::{Agenda, Event};
use crate::checks::{Check, Violation};
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::random::Random;
use kerntun_engine::secret::PublicKey;
use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::rc::Rc;

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its source address, true or not.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
    /// ECN bits of its outer header.
    pub ecn: u8,
}

/// The world around the devices.
#[derive(Debug)]
pub struct Shared {
    /// Virtual time in nanoseconds.
    pub now: u64,
    /// All chance.
    pub random: Random,
    /// Inner packets.
    pub ledger: Ledger,
    /// Keys.
    pub journal: Rc<RefCell<Journal>>,
    /// Who sent what to whom.
    pub origin: Origin,
    /// Which node a public key is, or was.
    pub owners: HashMap<PublicKey, usize>,
    /// What was sent and is not yet on the network.
    pub wire: Vec<Datagram>,
    /// What will happen.
    pub agenda: Agenda,
    /// What went wrong first.
    pub violation: Option<Violation>,
    /// Whether somebody redirects packets from one session to another, where their counters may be used up.
    pub attacked: bool,
    /// Whether to tell what happens.
    pub trace: bool,
}

impl Shared {
    /// An invariant does not hold.
    pub fn fail(&mut self, check: Check, detail: impl Into<String>) {
        let at = self.now;
        self.violation.get_or_insert_with(|| Violation { check, detail: detail.into(), at });
    }

    /// Fails unless `holds`.
    pub fn require(&mut self, holds: bool, check: Check, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(check, detail());
        }
    }

    /// Something happens `delay` nanoseconds from now.
    pub fn later(&mut self, delay: u64, event: Event) {
        self.agenda.add(self.now + delay, event);
    }

    /// Tells what happens, if somebody wants to know.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>11.6} {}", self.now as f64 / 1e9, what());
        }
    }
}

/// Who sent which datagram to whom, and who has taken it for authentic since.
#[derive(Debug, Default)]
pub struct Origin {
    sent: HashMap<u64, (usize, usize)>,
    taken: HashMap<(usize, usize), HashSet<u64>>,
}

impl Origin {
    /// Node `from` sent this to node `to`.
    pub fn sent(&mut self, bytes: &[u8], from: usize, to: usize) {
        self.sent.insert(fingerprint(bytes), (from, to));
    }

    /// Who sent this, to anybody.
    #[must_use]
    pub fn sender(&self, bytes: &[u8]) -> Option<usize> {
        self.sent.get(&fingerprint(bytes)).map(|(from, _)| *from)
    }

    /// The sender, if this was sent to node `at` and has not been taken by it before: anything else is a stranger's.
    #[must_use]
    pub fn fresh(&self, at: usize, bytes: &[u8]) -> Option<usize> {
        let print = fingerprint(bytes);
        let (from, to) = *self.sent.get(&print)?;
        let taken = self.taken.get(&(at, from)).is_some_and(|taken| taken.contains(&print));
        (to == at && !taken).then_some(from)
    }

    /// Node `at` took this from node `from`.
    pub fn take(&mut self, at: usize, from: usize, bytes: &[u8]) {
        self.taken.entry((at, from)).or_default().insert(fingerprint(bytes));
    }

    /// Node `at` forgot what it knew of node `from`: replay protection lives as long as a peer's entry.
    pub fn forget(&mut self, at: usize, from: usize) {
        self.taken.remove(&(at, from));
    }
}

/// All that is authenticated of a datagram. No message's cipher covers the indices in its header; of handshake messages
/// mac1 does, but anybody can make that, and mac2 is not looked at without load (paper, section 5.4.2 to 5.4.7).
fn fingerprint(bytes: &[u8]) -> u64 {
    let authentic = match (bytes.first(), bytes.len()) {
        (Some(1), 148) => 8..116,
        (Some(2), 92) => 12..60,
        (Some(3 | 4), length) if length >= 32 => 8..length,
        (_, length) => 0..length,
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes[..bytes.len().min(4)]);
    hasher.write(&bytes[authentic]);
    hasher.finish()
}
