//! Devices, their network and their operators, and time going by.

use crate::agenda::{Agenda, Event};
use crate::attacker::Attacker;
use crate::checks::{Check, Violation};
use crate::faults::{LONGEST_HOLD, MOST_BACK, inner_addresses};
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::memory;
use crate::network::{Network, address};
use crate::node::Node;
use crate::random::Random;
use crate::scenario::{Fault, Scenario};
use crate::shared::{Origin, Shared};
use crate::view::View;
use kerntun_engine::reason::{Direction, Reason};
use kerntun_engine::secret::PublicKey;
use kerntun_engine::time::Tai64n;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Jobs held back and datagrams delayed from before the faults stopped are through after this: two steps of a job, or
/// five seconds of reordering behind a full handshake queue.
const GRACE: u64 = 2 * LONGEST_HOLD + 8 * SECOND;
/// How often both sides may start at the same moment and spoil each other's handshake. Their delays are random below
/// 334 ms, and they meet within the 10.5 ms of one way: one in 16 times; eight times in a row once in 4 · 10^9.
const COLLISIONS: u64 = 8;
/// Once faults have stopped a pair with traffic every second is connected after at most: that second, 15 s of silence
/// (Keepalive-Timeout + Rekey-Timeout) until a dead session is doubted, 5 s (Rekey-Timeout) since the last handshake
/// message, as much again for each collision, each with up to 334 ms of jitter, and what clocks were set back.
const RECONNECTED: u64 =
    SECOND + 15_334 * MILLISECOND + (1 + COLLISIONS) * 5_334 * MILLISECOND + MOST_BACK as u64 + 100 * MILLISECOND;
/// After the last packet: 16 s until a session is doubted, 19 initiations in 102 s, and keys live 540 s longer.
const FORGOTTEN: u64 = 700 * SECOND;

/// A whole simulation.
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) shared: Shared,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) attacker: Attacker,
    links: Vec<(usize, usize)>,
    /// Nodes behind NAT; at least one end of each link stays where it is.
    pub(crate) mobile: Vec<bool>,
    pub(crate) private: Vec<[u8; 32]>,
    pub(crate) preshared: HashMap<(usize, usize), [u8; 32]>,
    /// The key by which a node knows another.
    pub(crate) known: HashMap<(usize, usize), PublicKey>,
    pub(crate) keepalives: HashSet<(usize, usize)>,
    pub(crate) floor: Vec<Tai64n>,
    /// How far wall clocks were ahead at most.
    pub(crate) wall_most: Vec<i64>,
    /// How far they may go back: not at all where a restart forgot the timestamps sent.
    pub(crate) wall_least: Vec<i64>,
    pub(crate) stepped: Vec<i64>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Faulty,
    Healed,
    Silent,
}

/// What a simulation that went well has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Inner packets made.
    pub sent: usize,
    /// Inner packets delivered.
    pub delivered: usize,
    /// How long it took to reconnect everybody, in nanoseconds.
    pub reconnected: u64,
    /// A digest of all that was counted: the same for the same scenario.
    pub digest: u64,
}

impl World {
    /// The world of `scenario`, before anything happens.
    #[must_use]
    pub fn new(scenario: &Scenario, trace: bool) -> Self {
        let mut random = Random::new(scenario.seed);
        let journal = Rc::new(RefCell::new(Journal::default()));
        let count = scenario.nodes.clamp(2, 50);
        let network = Network::new(&mut random, scenario.faults);
        let mobile: Vec<_> = (0..count).map(|at| at > 0 && random.permille(400)).collect();
        let links = links(&mut random, &mobile);
        let attacker = Attacker::new(random.word(), scenario.primitives);
        let entropy: Vec<_> = (0..count).map(|_| random.word()).collect();
        let private: Vec<_> = (0..count).map(|_| random.bytes()).collect();
        let shared = Shared {
            now: 0,
            random,
            ledger: Ledger::default(),
            journal,
            origin: Origin::default(),
            owners: HashMap::new(),
            wire: Vec::new(),
            agenda: Agenda::default(),
            violation: None,
            attacked: scenario.faults.has(Fault::Attack),
            trace,
        };
        let mut world = Self {
            scenario: scenario.clone(),
            shared,
            nodes: Vec::new(),
            network,
            attacker,
            links,
            mobile,
            private,
            preshared: HashMap::new(),
            known: HashMap::new(),
            keepalives: HashSet::new(),
            floor: vec![Tai64n::ZERO; count],
            wall_most: vec![0; count],
            wall_least: vec![i64::MIN; count],
            stepped: vec![0; count],
            phase: Phase::Faulty,
        };
        for (at, entropy) in entropy.into_iter().enumerate() {
            let journal = Rc::clone(&world.shared.journal);
            let mut node = Node::new(at, 0, entropy, address(at, 0), scenario.primitives, &journal);
            node.set_private_key(&mut world.shared, world.private[at]);
            world.nodes.push(node);
        }
        world.begin();
        world
    }

    /// Lets it all happen. With `scan`, looks for forgotten secrets in the memory of the process at the end.
    ///
    /// # Errors
    /// The first invariant that did not hold.
    pub fn run(mut self, scan: bool) -> Result<Outcome, Violation> {
        self.run_until(self.scenario.seconds * SECOND)?;
        self.phase = Phase::Healed;
        self.shared.tell(|| "no more faults".to_owned());
        self.heal();
        let mark = self.shared.now + GRACE;
        self.run_until(mark)?;
        // Whoever was given a new peer meanwhile has it now.
        self.heal();
        self.shared.ledger.mark = Some(mark);
        for (one, other) in self.links.clone() {
            self.shared.later(0, Event::Talk(one, other));
            self.shared.later(0, Event::Talk(other, one));
        }
        while self.waiting().is_some() && self.shared.now < mark + RECONNECTED {
            self.run_until(self.shared.now + SECOND)?;
        }
        let reconnected = self.shared.now - mark;
        if let Some((from, to)) = self.waiting() {
            self.shared.fail(
                Check::Reconnects,
                format!("nothing from node {from} to node {to} for {} s", reconnected / SECOND),
            );
        }
        self.phase = Phase::Silent;
        for (one, other) in self.links.clone() {
            self.configure_peer(one, other, false);
            self.configure_peer(other, one, false);
        }
        self.last_word();
        self.run_until(self.shared.now + FORGOTTEN)?;
        for at in 0..self.nodes.len() {
            self.check_end(at);
        }
        if scan {
            let found = memory::find(self.shared.journal.borrow().secrets());
            self.shared.require(found.is_empty(), Check::KeysAreForgotten, || {
                format!("{} in memory: {found:x?}", found.len())
            });
        }
        self.result(())?;
        let (sent, delivered) = self.shared.ledger.counts();
        Ok(Outcome { sent, delivered, reconnected, digest: self.shared.random.word() })
    }

    /// Everybody says one thing more, for which most of them need new sessions. Nothing that is sent later takes it along.
    fn last_word(&mut self) {
        for at in 0..self.nodes.len() {
            if self.shared.random.permille(700) {
                self.nodes[at].device.configure(|configuration| configuration.forget_sessions());
                self.nodes[at].arm(&mut self.shared);
            }
        }
        for (one, other) in self.links.clone() {
            for (from, to) in [(one, other), (other, one)] {
                self.send(from, (inner_addresses(from)[0], inner_addresses(to)[0]), 1);
            }
        }
    }

    /// The nodes that a node has a link to.
    #[must_use]
    pub fn neighbours(&self, at: usize) -> Vec<usize> {
        let ends = self.links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        ends.filter(|(one, _)| *one == at).map(|(_, other)| other).collect()
    }

    /// Everything that went into a node came out of it, or is in there.
    pub fn check_accounts(&mut self, at: usize) {
        let node = &self.nodes[at];
        let view = View::of(&node.device);
        let drops = |direction| -> u64 {
            let reasons = Reason::ALL.iter().filter(|reason| reason.direction() == direction);
            reasons.map(|reason| node.device.drops(*reason) as u64).sum()
        };
        let tally = node.tally;
        let out = tally.sealed + drops(Direction::Out) - tally.stale_keepalives + view.staged() + node.being_sealed();
        let taken = tally.delivered + tally.keepalives + tally.handled + drops(Direction::In)
            - tally.failed_initiations
            + node.being_received();
        let counts = |device: &kerntun_engine::device::Device<_>| -> String {
            let counted = Reason::ALL.iter().filter(|reason| device.drops(**reason) > 0);
            counted.map(|reason| format!(" {} {}", reason.name(), device.drops(*reason))).collect()
        };
        self.shared.require(out == tally.inner, Check::AccountsOut, || {
            format!("node {at}: {out} accounted for, {tally:?}, {} staged,{}", view.staged(), counts(&node.device))
        });
        self.shared.require(taken == tally.datagrams, Check::AccountsIn, || {
            format!("node {at}: {taken} accounted for, {tally:?},{}", counts(&node.device))
        });
        let peers = (node.device.peer_count() as usize, view.peer_count(), node.model.peer_count());
        self.shared.require(
            view.is_bounded() && peers.0 == peers.1 && peers.1 == peers.2,
            Check::TablesBounded,
            || format!("node {at}: {peers:?} peers, {} staged", view.staged()),
        );
    }

    fn begin(&mut self) {
        for (one, other) in self.links.clone() {
            if self.shared.random.permille(500) {
                let key = self.shared.random.bytes();
                self.preshared.insert((one, other), key);
            }
            for pair in [(one, other), (other, one)] {
                if self.shared.random.permille(250) {
                    self.keepalives.insert(pair);
                }
                self.configure_peer(pair.0, pair.1, true);
                let delay = self.shared.random.below(3 * SECOND);
                self.shared.later(delay, Event::Talk(pair.0, pair.1));
            }
        }
        self.shared.later(SECOND, Event::Fault);
        self.shared.later(SECOND, Event::Attack);
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some((at, event)) = self.shared.agenda.next(end) {
            self.shared.now = at;
            self.happen(event);
            self.network.carry(&mut self.shared);
            self.result(())?;
        }
        self.shared.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        let Self { nodes, shared, .. } = self;
        match event {
            Event::Arrive(datagram) => {
                let Some(node) = nodes.iter_mut().find(|node| node.address == datagram.to) else { return };
                node.receive(shared, datagram);
                node.check_sleeper(shared);
            }
            Event::Wake(at, life) if nodes[at].life == life => nodes[at].wake(shared),
            Event::Pump(at, life) if nodes[at].life == life => nodes[at].pump(shared),
            Event::Serve(at, life) if nodes[at].life == life => nodes[at].serve(shared),
            Event::Flush(at, life, peer) if nodes[at].life == life => nodes[at].flush(shared, peer),
            Event::Wake(..) | Event::Pump(..) | Event::Serve(..) | Event::Flush(..) => return,
            Event::Talk(from, to) => return self.talk(from, to),
            Event::Fault if self.phase == Phase::Faulty => {
                self.fault();
                let at = self.shared.random.index(self.nodes.len());
                self.check_accounts(at);
                let delay = self.shared.random.below(2 * SECOND / (self.nodes.len() as u64).min(8));
                self.shared.later(delay, Event::Fault);
            }
            Event::Attack if self.phase == Phase::Faulty && self.scenario.faults.has(Fault::Attack) => {
                let nodes: Vec<_> = (0..self.nodes.len()).map(|at| (self.public(at), self.nodes[at].address)).collect();
                for _ in 0..self.shared.random.between(1, 4) {
                    self.attacker.strike(&mut self.shared, &self.network.seen, &nodes);
                }
                let delay = self.shared.random.below(300 * MILLISECOND);
                self.shared.later(delay, Event::Attack);
            }
            Event::Fault | Event::Attack => {}
            Event::Repair(repair) => self.repair(repair),
        }
        for node in &self.nodes {
            node.check_sleeper(&mut self.shared);
        }
    }

    /// Node `from` has packets for node `to`, and will have more.
    fn talk(&mut self, from: usize, to: usize) {
        if self.phase == Phase::Silent {
            return;
        }
        let calm = self.phase == Phase::Healed;
        let random = &mut self.shared.random;
        let family = random.index(2);
        let (mut source, mut destination) = (inner_addresses(from)[family], inner_addresses(to)[family]);
        let (mut count, mut delay) = (1, SECOND);
        if !calm {
            count = if random.permille(50) { random.between(1, 60) } else { random.between(1, 4) };
            delay = match random.below(40) {
                0 => random.below(200 * SECOND),
                _ => random.below(3 * SECOND),
            };
            if family == 0 {
                match random.below(20) {
                    0 => source = [10, 100 + random.below(50) as u8, 0, 1].into(),
                    1 => source = inner_addresses(random.index(self.nodes.len()))[0],
                    2 => destination = [172, 16 + random.below(2) as u8, random.below(5) as u8, 1].into(),
                    3 => destination = [203, 0, 113, 1].into(),
                    4..8 => destination = [10, 100 + to as u8, random.word() as u8, 1].into(),
                    _ => {}
                }
            }
        }
        self.shared.later(delay, Event::Talk(from, to));
        self.send(from, (source, destination), count);
    }

    fn send(&mut self, from: usize, addresses: (IpAddr, IpAddr), count: u64) {
        let shared = &mut self.shared;
        let mut left = count;
        while left > 0 {
            let size = if shared.random.permille(300) { left.min(shared.random.between(1, 8)) } else { 1 };
            let now = shared.now;
            let packets = (0..size).map(|_| shared.ledger.make(now, &mut shared.random, from, addresses)).collect();
            self.nodes[from].send(shared, packets);
            left -= size;
        }
        self.nodes[from].check_sleeper(shared);
    }

    /// The first pair that has had no packet through since it was watched.
    fn waiting(&self) -> Option<(usize, usize)> {
        let pairs = self.links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        pairs.into_iter().find(|pair| !self.shared.ledger.through.contains(pair))
    }

    fn check_end(&mut self, at: usize) {
        self.check_accounts(at);
        let view = View::of(&self.nodes[at].device);
        self.shared
            .require(view.staged() == 0, Check::StagedIsResolved, || format!("node {at}: {} staged", view.staged()));
        let left = view.with_keys();
        self.shared.require(left.is_none(), Check::KeysAreForgotten, || format!("node {at}: {left:?}"));
        let next = self.nodes[at].device.next_deadline();
        self.shared.require(next.is_none(), Check::IdleIsSilent, || format!("node {at}: {next:?}"));
    }

    fn result<T>(&mut self, value: T) -> Result<T, Violation> {
        let now = self.shared.now;
        let seen = self.shared.journal.borrow().violation.clone();
        match self.shared.violation.take().or_else(|| seen.map(|violation| Violation { at: now, ..violation })) {
            Some(violation) => Err(violation),
            None => Ok(value),
        }
    }
}

/// A tree, and some links more; one end of each does not move.
fn links(random: &mut Random, mobile: &[bool]) -> Vec<(usize, usize)> {
    let mut links: Vec<(usize, usize)> = Vec::new();
    for at in 1..mobile.len() {
        let fixed: Vec<_> = (0..at).filter(|other| !mobile[*other]).collect();
        links.push((fixed[random.index(fixed.len())], at));
    }
    for _ in 0..mobile.len() / 2 {
        let (one, other) = (random.index(mobile.len()), random.index(mobile.len()));
        let link = (one.min(other), one.max(other));
        if one != other && !(mobile[one] && mobile[other]) && !links.contains(&link) {
            links.push(link);
        }
    }
    links
}
