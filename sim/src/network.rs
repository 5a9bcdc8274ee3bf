//! The network between the devices, good or bad.

use crate::agenda::Event;
use crate::attacker::HOME;
use crate::random::Random;
use crate::scenario::{Fault, Faults};
use crate::shared::{Datagram, Shared};
use std::net::SocketAddr;

const MS: u64 = 1_000_000;
/// One way through a good network, in nanoseconds.
const GOOD: u64 = 10 * MS;
/// Datagrams an eavesdropper keeps.
const KEPT: usize = 400;

/// What happens to datagrams between sender and receiver.
#[derive(Debug)]
pub struct Network {
    faults: Faults,
    latency: u64,
    loss: u64,
    duplication: u64,
    reordering: u64,
    damage: u64,
    marks: u64,
    /// Two sides of a partition, by bits of an address's number.
    split: Option<u64>,
    /// What an eavesdropper has kept.
    pub seen: Vec<Datagram>,
}

impl Network {
    /// A network with some of `faults`.
    pub fn new(random: &mut Random, faults: Faults) -> Self {
        let mut rate = |fault, most| if faults.has(fault) { random.between(1, most) } else { 0 };
        let loss = rate(Fault::Loss, 300);
        let duplication = rate(Fault::Duplication, 200);
        let reordering = rate(Fault::Reordering, 300);
        let damage = rate(Fault::Corruption, 60).max(rate(Fault::Truncation, 60));
        let marks = rate(Fault::Marks, 200);
        let latency = random.between(1, 120) * MS;
        Self { faults, latency, loss, duplication, reordering, damage, marks, split: None, seen: Vec::new() }
    }

    /// From now on everything arrives, once, as it was sent, after 10 ms.
    pub fn heal(&mut self) {
        *self = Self {
            faults: Faults(0),
            latency: GOOD,
            loss: 0,
            duplication: 0,
            reordering: 0,
            damage: 0,
            marks: 0,
            split: None,
            seen: std::mem::take(&mut self.seen),
        };
    }

    /// Divides the devices in two, or joins them again.
    pub fn divide(&mut self, sides: Option<u64>) {
        self.split = sides;
    }

    /// Carries everything on the wire.
    pub fn carry(&mut self, shared: &mut Shared) {
        for datagram in std::mem::take(&mut shared.wire) {
            self.keep(shared, &datagram);
            self.race(shared, &datagram);
            if self.is_divided(&datagram) || shared.random.permille(self.loss) {
                continue;
            }
            let copies = 1 + u64::from(shared.random.permille(self.duplication));
            for _ in 0..copies {
                let mut delay = self.latency;
                if shared.random.permille(self.reordering) {
                    let most = if shared.random.permille(50) { 5000 * MS } else { 200 * MS };
                    delay += shared.random.below(most);
                }
                let datagram = self.damaged(shared, datagram.clone());
                shared.later(delay, Event::Arrive(datagram));
            }
        }
    }

    fn keep(&mut self, shared: &mut Shared, datagram: &Datagram) {
        if !self.faults.has(Fault::Attack) {
            return;
        }
        if self.seen.len() < KEPT {
            self.seen.push(datagram.clone());
        } else {
            let at = shared.random.index(KEPT);
            self.seen[at] = datagram.clone();
        }
    }

    /// Somebody nearer sends the same from elsewhere, and is there first; of cookie replies half.
    fn race(&self, shared: &mut Shared, datagram: &Datagram) {
        let often = if datagram.bytes.first() == Some(&3) { 500 } else { 10 };
        if self.faults.has(Fault::Attack) && shared.random.permille(often) {
            let delay = shared.random.below(self.latency);
            shared.later(delay, Event::Arrive(Datagram { from: HOME, ..datagram.clone() }));
        }
    }

    fn damaged(&self, shared: &mut Shared, mut datagram: Datagram) -> Datagram {
        if shared.random.permille(self.marks) {
            datagram.ecn = shared.random.below(4) as u8;
        }
        if !shared.random.permille(self.damage) {
            return datagram;
        }
        let at = shared.random.index(datagram.bytes.len());
        if self.faults.has(Fault::Truncation) && (!self.faults.has(Fault::Corruption) || shared.random.permille(500)) {
            datagram.bytes.truncate(at);
        } else {
            datagram.bytes[at] ^= 1 << shared.random.below(8);
        }
        datagram
    }

    fn is_divided(&self, datagram: &Datagram) -> bool {
        let side = |address: SocketAddr| self.split.unwrap_or(0) >> (number(address) % 64) & 1;
        side(datagram.from) != side(datagram.to)
    }
}

/// The address of node `id`, the `turn`th it has.
#[must_use]
pub fn address(id: usize, turn: u16) -> SocketAddr {
    let (id, port) = (id as u8, 10_000 + turn);
    if id % 3 == 2 {
        SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(id)].into(), port)
    } else {
        SocketAddr::new([198, 18, 0, id].into(), port)
    }
}

/// The node whose address this is, or was, if any's.
fn number(address: SocketAddr) -> u8 {
    match address {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(v6) => v6.ip().octets()[15],
    }
}
