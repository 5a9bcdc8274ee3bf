//! Two real devices, the network between them, and what the paper says of what they may do.

use kerntun_crypto::InsecureFake;
use kerntun_engine::packet::Incoming;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use kerntun_models::{End, Out};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

const SECOND: u64 = 1_000_000_000;
/// A packet gets through after at most: 15.334 s until a session is doubted that the other side does not have, 5.334 s
/// since the last initiation, as much again if that has the timestamp of one before a restart, and a second between packets.
const RECOVERED: u64 = 28;
/// Datagrams under way at one time; the network loses what is more.
const CAPACITY: usize = 4;

/// Something that happens, to the device numbered or to the datagram at that place of those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The local machine has a packet.
    Send(usize),
    /// A datagram arrives.
    Deliver(usize),
    /// A datagram arrives, and may again later.
    DeliverTwice(usize),
    /// A datagram is lost.
    Lose(usize),
    /// Time passes until the next deadline.
    Wait,
    /// So many seconds pass, with all deadlines in them.
    Pause(u64),
    /// The device starts anew, without memory.
    Restart(usize),
}

/// What of each may still happen.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Packets of each local machine.
    pub sends: [u32; 2],
    /// Datagrams that arrive again.
    pub duplicates: u32,
    /// Lost datagrams.
    pub losses: u32,
    /// Waits for the next deadline.
    pub waits: u32,
    /// Longer pauses.
    pub pauses: u32,
    /// New starts of either device.
    pub restarts: u32,
}

/// A session as the wire shows it.
#[derive(Clone, Copy)]
struct Session {
    end: usize,
    local: u32,
    remote: u32,
    born: Instant,
    confirmed: bool,
}

pub struct World {
    ends: [End<UserHost<InsecureFake, SeededEntropy>>; 2],
    lives: u64,
    now: Instant,
    flight: Vec<(usize, Vec<u8>)>,
    left: Budget,
    /// All that ever happened to each device. What it does next follows from this alone.
    histories: [u64; 2],
    marks: u32,
    sessions: Vec<Session>,
    counters: BTreeSet<(usize, u32, u64)>,
    delivered: BTreeSet<Vec<u8>>,
    offered: BTreeSet<Vec<u8>>,
    answered: [BTreeSet<Vec<u8>>; 2],
    initiated: [Option<Instant>; 2],
    keepalive_owed: [Option<Instant>; 2],
    /// The first sentence of the paper that did not hold.
    pub broken: Option<&'static str>,
    /// Packets that came through, and handshakes that were completed.
    pub achieved: [usize; 2],
}

fn device(number: usize, life: u64, now: Instant) -> End<UserHost<InsecureFake, SeededEntropy>> {
    let entropy = SeededEntropy::new(life * 2 + number as u64);
    End::new(UserHost::with_entropy(InsecureFake, entropy), number as u8 + 1, now)
}

/// The little endian number at `at`.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl World {
    pub fn new(left: Budget) -> Self {
        let now = Instant::from_nanos(1_000 * SECOND);
        let ends = [device(0, 0, now), device(1, 0, now)];
        for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            end.meet(now, other.device.public_key().expect("it has one"), None);
        }
        Self {
            ends,
            lives: 0,
            now,
            flight: Vec::new(),
            left,
            histories: [0; 2],
            marks: 0,
            sessions: Vec::new(),
            counters: BTreeSet::new(),
            delivered: BTreeSet::new(),
            offered: BTreeSet::new(),
            answered: [BTreeSet::new(), BTreeSet::new()],
            initiated: [None; 2],
            keepalive_owed: [None; 2],
            broken: None,
            achieved: [0; 2],
        }
    }

    /// What may happen now.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        actions.extend((0..2).filter(|end| self.left.sends[*end] > 0).map(Action::Send));
        for at in 0..self.flight.len() {
            actions.push(Action::Deliver(at));
            actions.extend((self.left.duplicates > 0).then_some(Action::DeliverTwice(at)));
            actions.extend((self.left.losses > 0).then_some(Action::Lose(at)));
        }
        let waits = self.left.waits > 0 && self.next_deadline().is_some();
        actions.extend(waits.then_some(Action::Wait));
        if self.left.pauses > 0 {
            actions.extend([130, 185, 700].map(Action::Pause));
        }
        if self.left.restarts > 0 {
            actions.extend([0, 1].map(Action::Restart));
        }
        actions
    }

    /// Two worlds with the same identity have the same future: each device has seen the same at the same times, and the
    /// same is under way.
    pub fn identity(&self) -> u64 {
        let left = &self.left;
        let mut hasher = DefaultHasher::new();
        let mut flight = self.flight.clone();
        flight.sort();
        let budget = (left.duplicates, left.losses, left.waits, left.pauses, left.restarts);
        (self.now, self.histories, flight, budget, self.broken).hash(&mut hasher);
        hasher.finish()
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Send(end) => {
                self.left.sends[end] -= 1;
                self.send(end);
            }
            Action::Deliver(at) => {
                let (end, bytes) = self.flight.remove(at);
                self.receive(end, &bytes);
            }
            Action::DeliverTwice(at) => {
                self.left.duplicates -= 1;
                let (end, bytes) = self.flight[at].clone();
                self.receive(end, &bytes);
            }
            Action::Lose(at) => {
                self.left.losses -= 1;
                self.flight.remove(at);
            }
            Action::Wait => {
                self.left.waits -= 1;
                if let Some(next) = self.next_deadline() {
                    self.now = self.now.max(next);
                    self.expire();
                }
            }
            Action::Pause(seconds) => {
                self.left.pauses -= 1;
                self.run_until(self.now.after(seconds * SECOND));
                if seconds >= 700 {
                    self.look_for_keys();
                }
            }
            Action::Restart(end) => {
                self.left.restarts -= 1;
                self.restart(end);
            }
        }
        // Whoever sleeps until the next deadline is awake if that is now.
        self.expire();
    }

    /// Whether the devices find each other again if nothing more goes wrong.
    pub fn recovers(mut self) -> bool {
        let end = self.now.after(RECOVERED * SECOND);
        while self.now <= end {
            let before = self.achieved[0];
            self.send(0);
            self.send(1);
            self.settle();
            if self.achieved[0] == before + 2 || self.broken.is_some() {
                return self.broken.is_none();
            }
            let next = self.now.after(SECOND);
            while let Some(at) = self.next_deadline().filter(|at| *at <= next) {
                self.now = self.now.max(at);
                self.expire();
                self.settle();
            }
            self.now = next;
        }
        false
    }

    fn settle(&mut self) {
        self.expire();
        while !self.flight.is_empty() {
            let (end, bytes) = self.flight.remove(0);
            self.receive(end, &bytes);
        }
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.expire();
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.ends.iter().filter_map(|end| end.device.next_deadline()).map(|next| next.at).min()
    }

    fn send(&mut self, end: usize) {
        self.marks += 1;
        let packet = self.ends[end].packet(self.marks);
        self.offered.insert(packet.clone());
        self.remember(end, &packet);
        let mut out = Out::default();
        self.ends[end].send(self.now, packet, &mut out);
        self.came_out(end, out);
    }

    fn receive(&mut self, end: usize, bytes: &[u8]) {
        self.remember(end, bytes);
        let mut out = Out::default();
        self.ends[end].receive(self.now, bytes, &mut out);
        if bytes[0] == 2 && out.connected > 0 {
            let (remote, local) = (number(bytes, 4), number(bytes, 8));
            self.sessions.push(Session { end, local, remote, born: self.now, confirmed: true });
            self.achieved[1] += 1;
        }
        if bytes[0] == 4 {
            let receiver = number(bytes, 4);
            for session in self.sessions.iter_mut().filter(|s| s.end == end && s.local == receiver) {
                session.confirmed = true;
            }
        }
        if bytes[0] == 1
            && out.sent.iter().any(|datagram| datagram[0] == 2)
            && !self.answered[end].insert(bytes.to_vec())
        {
            self.broken.get_or_insert("5.1: an initiation is answered once");
        }
        self.came_out(end, out);
    }

    fn expire(&mut self) {
        let wall = Wall { seconds: 1_800_000_000 + self.now.as_nanos() / SECOND, nanos: 0 };
        for end in 0..2 {
            if self.ends[end].device.next_deadline().is_some_and(|next| next.at <= self.now) {
                self.remember(end, b"expire");
                let mut out = Out::default();
                self.ends[end].expire(self.now, wall, &mut out);
                self.came_out(end, out);
            }
            let can_send = self.can_send(end);
            if self.keepalive_owed[end].is_some_and(|at| at <= self.now) && can_send {
                self.broken.get_or_insert("6.5: received data is answered within ten seconds");
            }
        }
    }

    fn restart(&mut self, end: usize) {
        self.lives += 1;
        self.remember(end, &self.lives.to_le_bytes());
        self.ends[end] = device(end, self.lives, self.now);
        let key = self.ends[1 - end].device.public_key().expect("it has one");
        self.ends[end].meet(self.now, key, None);
        self.answered[end].clear();
        self.initiated[end] = None;
        self.keepalive_owed[end] = None;
        self.sessions.retain(|session| session.end != end);
    }

    fn remember(&mut self, end: usize, what: &[u8]) {
        let mut hasher = DefaultHasher::new();
        (self.histories[end], self.now, what).hash(&mut hasher);
        self.histories[end] = hasher.finish();
    }

    fn can_send(&self, end: usize) -> bool {
        let device = &self.ends[end].device;
        let info = device.next_peer(None).and_then(|peer| device.peer_info(peer));
        info.and_then(|info| info.session_since).is_some_and(|born| !born.has_passed(180 * SECOND, self.now))
    }

    /// 16 s until a silent session is doubted, 20 initiations in 102 s, nine minutes more: nothing is left.
    fn look_for_keys(&mut self) {
        for end in &self.ends {
            let info = end.device.next_peer(None).and_then(|peer| end.device.peer_info(peer)).expect("it has a peer");
            if info.session_since.is_some() || info.handshake_pending || info.staged.0 > 0 {
                self.broken.get_or_insert("6.3: everything is forgotten after Reject-After-Time × 3");
            }
        }
    }

    fn came_out(&mut self, end: usize, out: Out) {
        for packet in out.delivered {
            if !self.offered.contains(&packet) {
                self.broken.get_or_insert("5.4.6: only what was sent is delivered");
            }
            if !self.delivered.insert(packet) {
                self.broken.get_or_insert("5.4.6: a packet is delivered once");
            }
            self.achieved[0] += 1;
            self.keepalive_owed[end].get_or_insert_with(|| self.now.after(10 * SECOND));
        }
        for datagram in out.sent {
            self.went_out(end, &datagram);
            if self.flight.len() < CAPACITY {
                self.flight.push((1 - end, datagram));
            }
        }
    }

    fn went_out(&mut self, end: usize, datagram: &[u8]) {
        self.keepalive_owed[end] = None;
        match datagram[0] {
            1 => {
                let before = self.initiated[end].replace(self.now);
                if before.is_some_and(|before| self.now.since(before) < 5 * SECOND) {
                    self.broken.get_or_insert("6.1: initiations are Rekey-Timeout apart");
                }
            }
            2 => {
                let (local, remote) = (number(datagram, 4), number(datagram, 8));
                self.sessions.push(Session { end, local, remote, born: self.now, confirmed: false });
            }
            _ => {
                let header = datagram.first_chunk().and_then(|header| Incoming::new(header, datagram.len(), 0));
                let header = header.expect("a data message");
                if !self.counters.insert((end, header.receiver(), header.counter())) {
                    self.broken.get_or_insert("5.4.6: a counter is used once under a key");
                }
                let of_this = |session: &&Session| session.end == end && session.remote == header.receiver();
                match self.sessions.iter().find(of_this) {
                    None => self.broken.get_or_insert("5.4.6: data is sent under a session only"),
                    Some(session) if !session.confirmed => {
                        self.broken.get_or_insert("5.4.5: a responder sends no data before the initiator has")
                    }
                    Some(session) if self.now.since(session.born) >= 180 * SECOND => {
                        self.broken.get_or_insert("6.1: no data is sent under keys of Reject-After-Time")
                    }
                    Some(_) => "",
                };
            }
        }
    }
}
