//! What operators and machines do to devices, and how it is put right.

use crate::agenda::Event;
use crate::network::address;
use crate::node::{Node, SERVICE};
use crate::scenario::Fault;
use crate::world::World;
use kerntun_engine::config::{AllowedIpChange, PeerChange};
use kerntun_engine::host::Host;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use std::net::IpAddr;

const SECOND: u64 = 1_000_000_000;
/// Prefixes that move about.
const FLOATING: u8 = 4;
/// The longest that a host holds a job back at each step, in nanoseconds.
pub const LONGEST_HOLD: u64 = 3 * SECOND;
/// The most that a monotonic clock is set back altogether, in nanoseconds.
pub const MOST_BACK: i64 = 2_000_000_000;

/// Something that is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The first node has the second as a peer, with the right keys and allowed IPs.
    Peer(usize, usize),
    /// The interface comes up.
    Up(usize),
    /// Its host has randomness, is quick, and holds nothing back.
    Host(usize),
    /// Everybody reaches everybody.
    Network,
}

impl World {
    /// One of the faults happens to somebody.
    pub fn fault(&mut self) {
        let fault = Fault::ALL[self.shared.random.index(Fault::ALL.len())];
        let at = self.shared.random.index(self.nodes.len());
        let neighbours = self.neighbours(at);
        let other = neighbours[self.shared.random.index(neighbours.len())];
        if !self.scenario.faults.has(fault) {
            return;
        }
        self.shared.tell(|| format!("fault {} at node {at}", fault.name()));
        let soon = self.shared.random.below(15 * SECOND);
        match fault {
            Fault::Partition => {
                self.network.divide(Some(self.shared.random.word()));
                self.shared.later(soon * 3, Event::Repair(Repair::Network));
            }
            Fault::Rebinding if self.mobile[at] => {
                self.nodes[at].address = address(at, self.shared.random.below(50_000) as u16);
            }
            Fault::WallStep => {
                let seconds = self.shared.random.below(200_000) as i64 - 100_000;
                let skew = (self.nodes[at].wall_skew + seconds * SECOND as i64).max(self.wall_least[at]);
                self.nodes[at].wall_skew = skew;
                self.wall_most[at] = self.wall_most[at].max(skew);
            }
            Fault::StepBack => {
                let back = self.shared.random.below(500_000_000) as i64;
                if self.stepped[at] + back <= MOST_BACK {
                    self.stepped[at] += back;
                    let clock = self.nodes[at].clock(&self.shared).as_nanos();
                    self.shared.journal.borrow_mut().steps_back(at, clock);
                    self.nodes[at].skew -= back;
                    self.nodes[at].arm(&mut self.shared);
                }
            }
            Fault::Suspend => {
                self.nodes[at].skew += self.shared.random.below(700 * SECOND) as i64;
                if self.shared.random.permille(500) {
                    self.nodes[at].device.configure(|configuration| configuration.forget_sessions());
                }
                self.nodes[at].arm(&mut self.shared);
            }
            Fault::Restart => self.restart(at),
            Fault::KeyChange => self.change_key(at),
            Fault::PskChange => {
                let pair = (at.min(other), at.max(other));
                let key = if self.shared.random.permille(200) { [0; 32] } else { self.shared.random.bytes() };
                self.preshared.insert(pair, key);
                self.repair(Repair::Peer(at, other));
                self.shared.later(soon, Event::Repair(Repair::Peer(other, at)));
            }
            Fault::Removal => {
                self.remove_peer(at, other);
                self.shared.later(soon, Event::Repair(Repair::Peer(at, other)));
            }
            Fault::Routes => self.move_prefix(at, other),
            Fault::Down => {
                self.nodes[at].device.configure(|configuration| configuration.down());
                self.nodes[at].arm(&mut self.shared);
                self.shared.later(soon, Event::Repair(Repair::Up(at)));
            }
            Fault::Holding => {
                let most = [0, SECOND / 100, SECOND / 5, LONGEST_HOLD][self.shared.random.index(4)];
                self.nodes[at].hold = most;
            }
            Fault::Dry => {
                self.nodes[at].device.host().entropy().set_dry(true);
                self.shared.later(soon, Event::Repair(Repair::Host(at)));
            }
            Fault::Slow => {
                self.nodes[at].service = self.shared.random.between(1, 100) * SECOND / 1000;
                self.shared.later(soon, Event::Repair(Repair::Host(at)));
            }
            Fault::Flood => {
                let target = (self.public(at), self.nodes[at].address);
                let now = self.shared.now;
                self.attacker.flood(&mut self.shared, now, target);
            }
            // The network's and the attacker's, all the time.
            _ => {}
        }
    }

    /// Puts something right.
    pub fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Peer(at, other) => self.configure_peer(at, other, true),
            Repair::Up(at) => {
                let now = self.nodes[at].clock(&self.shared);
                self.nodes[at].device.configure(|configuration| configuration.up(now));
                self.nodes[at].arm(&mut self.shared);
            }
            Repair::Host(at) => {
                self.nodes[at].device.host().entropy().set_dry(false);
                self.nodes[at].service = SERVICE;
            }
            Repair::Network => self.network.divide(None),
        }
    }

    /// No more faults: everything is as it was meant to be, and who moves about knows where the others are.
    pub fn heal(&mut self) {
        self.network.heal();
        for at in 0..self.nodes.len() {
            self.repair(Repair::Host(at));
            self.repair(Repair::Up(at));
            self.nodes[at].hold = 0;
            for other in self.neighbours(at) {
                self.configure_peer(at, other, true);
            }
        }
    }

    /// Makes node `other` a peer of node `at` with the current keys and the allowed IPs it is meant to have.
    pub fn configure_peer(&mut self, at: usize, other: usize, keepalive: bool) {
        let key = self.public(other);
        if self.known.get(&(at, other)).is_some_and(|known| *known != key) {
            self.remove_peer(at, other);
        }
        let preshared = self.preshared.get(&(at.min(other), at.max(other))).copied().unwrap_or_default();
        self.shared.journal.borrow_mut().keeps(&preshared);
        let prefixes = base_prefixes(other);
        let allowed_ips: Vec<_> = prefixes.iter().copied().map(AllowedIpChange::Add).collect();
        let seconds = if keepalive && self.keepalives.contains(&(at, other)) { 25 } else { 0 };
        let change = PeerChange {
            preshared_key: Some(Secret::new(preshared)),
            endpoint: (!self.mobile[other]).then_some(self.nodes[other].address),
            persistent_keepalive: Some(seconds),
            allowed_ips: &allowed_ips,
            ..PeerChange::new(key)
        };
        if !self.nodes[at].configure_peer(&mut self.shared, change) {
            // No randomness for a new peer: as the error says, a moment later.
            return self.shared.later(SECOND, Event::Repair(Repair::Peer(at, other)));
        }
        self.known.insert((at, other), key);
        self.nodes[at].model.add_peer(key);
        for prefix in prefixes {
            self.nodes[at].model.add(prefix, key);
        }
    }

    fn remove_peer(&mut self, at: usize, other: usize) {
        let Some(key) = self.known.remove(&(at, other)) else { return };
        let change = PeerChange { remove: true, ..PeerChange::new(key) };
        while !self.nodes[at].configure_peer(&mut self.shared, change.clone()) {
            self.nodes[at].device.host().entropy().set_dry(false);
        }
        self.nodes[at].model.remove_peer(key);
        self.shared.origin.forget(at, other);
    }

    fn move_prefix(&mut self, at: usize, other: usize) {
        let Some(key) = self.known.get(&(at, other)).copied() else { return };
        let neighbours = self.neighbours(at);
        let whose = neighbours[self.shared.random.index(neighbours.len())];
        let base = base_prefixes(whose);
        let prefix = match self.shared.random.below(8) {
            0 => base[self.shared.random.index(base.len())],
            1 => prefix([172, 16, 0, 0].into(), 12),
            2 => prefix([0, 0, 0, 0].into(), 0),
            _ => prefix([172, 16, self.shared.random.below(FLOATING.into()) as u8, 0].into(), 24),
        };
        let allowed_ips = [AllowedIpChange::Add(prefix)];
        let change = PeerChange { allowed_ips: &allowed_ips, update_only: true, ..PeerChange::new(key) };
        if self.nodes[at].configure_peer(&mut self.shared, change) {
            self.nodes[at].model.add(prefix, key);
        }
    }

    fn change_key(&mut self, at: usize) {
        self.private[at] = self.shared.random.bytes();
        self.nodes[at].set_private_key(&mut self.shared, self.private[at]);
        for other in self.neighbours(at) {
            let soon = self.shared.random.below(10 * SECOND);
            self.shared.later(soon, Event::Repair(Repair::Peer(other, at)));
        }
    }

    fn restart(&mut self, at: usize) {
        self.check_accounts(at);
        let old = &self.nodes[at];
        let remembered = self.shared.random.permille(500);
        let stamp = old.device.greatest_stamp_sent().max(self.floor[at]);
        self.floor[at] = stamp;
        let (life, entropy, primitives) = (old.life + 1, self.shared.random.word(), self.scenario.primitives);
        let mut node = Node::new(at, life, entropy, old.address, primitives, &self.shared.journal);
        node.skew = self.shared.random.below(1000 * SECOND) as i64;
        node.hold = old.hold;
        if remembered {
            node.device.configure(|configuration| configuration.set_stamp_floor(stamp));
            self.wall_least[at] = i64::MIN;
            node.wall_skew = old.wall_skew - self.shared.random.below(1_000_000 * SECOND) as i64;
        } else {
            // Without memory of its stamps a device depends on a clock that goes on from where it was.
            self.wall_most[at] += SECOND as i64;
            self.wall_least[at] = self.wall_most[at];
            node.wall_skew = self.wall_most[at];
        }
        self.stepped[at] = 0;
        node.set_private_key(&mut self.shared, self.private[at]);
        self.nodes[at] = node;
        for other in self.neighbours(at) {
            self.known.remove(&(at, other));
            self.shared.origin.forget(at, other);
            self.configure_peer(at, other, true);
        }
    }

    /// The public key of a node.
    pub fn public(&self, at: usize) -> PublicKey {
        self.nodes[at].device.public_key().expect("every node has a key")
    }
}

/// The allowed IPs that node `id` is meant to have at others.
fn base_prefixes(id: usize) -> [AllowedIp; 3] {
    let [v4, v6] = inner_addresses(id);
    [prefix(v4, 32), prefix(v6, 128), prefix([10, 100 + id as u8, 0, 0].into(), 16)]
}

/// The addresses of node `id` inside the tunnels.
#[must_use]
pub fn inner_addresses(id: usize) -> [IpAddr; 2] {
    [[10, 0, 0, id as u8].into(), [0xfd00, 0, 0, 0, 0, 0, 0, id as u16].into()]
}

fn prefix(address: IpAddr, len: u8) -> AllowedIp {
    AllowedIp::new(address, len).expect("a length that fits")
}
