//! What will happen, in order.

use crate::faults::Repair;
use crate::shared::Datagram;
use kerntun_engine::peer::PeerRef;
use std::collections::BTreeMap;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A datagram arrives at an address.
    Arrive(Datagram),
    /// A device's sleeper wakes up: node, life.
    Wake(usize, u32),
    /// A host goes on with jobs it held back: node, life.
    Pump(usize, u32),
    /// A host's handshake thread is ready for the next message: node, life.
    Serve(usize, u32),
    /// A host gets round to sending staged packets: node, life, peer.
    Flush(usize, u32, PeerRef),
    /// A node has packets for another: from, to.
    Talk(usize, usize),
    /// Something goes wrong.
    Fault,
    /// Somebody does something evil.
    Attack,
    /// Something is put right.
    Repair(Repair),
}

/// Events by time, and in the order they were added within one moment.
#[derive(Debug, Default)]
pub struct Agenda {
    events: BTreeMap<(u64, u64), Event>,
    added: u64,
}

impl Agenda {
    /// Adds an event.
    pub fn add(&mut self, at: u64, event: Event) {
        self.added += 1;
        self.events.insert((at, self.added), event);
    }

    /// Takes the next event that happens no later than `end`.
    pub fn next(&mut self, end: u64) -> Option<(u64, Event)> {
        let first = self.events.first_entry().filter(|entry| entry.key().0 <= end)?;
        let ((at, _), event) = first.remove_entry();
        Some((at, event))
    }
}
