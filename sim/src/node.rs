//! A device and its host: what a host does with the engine, in every order that it may.

use crate::agenda::Event;
use crate::checks::Check;
use crate::journal::{Chance, Journal, Primitives, Watched};
use crate::ledger::ecn_of;
use crate::model::Model;
use crate::receive::{Arrival, Opening};
use crate::shared::{Datagram, Shared};
use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::egress::{NotReserved, SealJob, SealedJob};
use kerntun_engine::inner::padded_len;
use kerntun_engine::peer::PeerRef;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{Held, UserHost};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

/// A home whose crypto is watched, whose randomness repeats, and whose staged packets are [`Parcel`]s.
pub type Home = UserHost<Watched, Chance, Parcel>;
/// Inner packets that travel together, with their numbers in the ledger.
pub type Parcel = Vec<(u64, Vec<u8>)>;

/// MTU of all tunnels.
const MTU: usize = 1420;
/// Every device's monotonic clock starts here.
const START: i64 = 100_000_000_000_000;
/// Every device's wall clock starts here, in seconds.
const WALL: i64 = 1_800_000_000;
/// How long a handshake message takes, in nanoseconds.
pub const SERVICE: u64 = 500_000;

/// A device with everything its host holds.
pub struct Node {
    /// Which node; stays across restarts.
    pub id: usize,
    /// How often it was started.
    pub life: u32,
    /// The device.
    pub device: Device<Home>,
    /// Its address on the network.
    pub address: SocketAddr,
    /// How far its monotonic clock is ahead of virtual time, in nanoseconds.
    pub skew: i64,
    /// How far its wall clock is, in nanoseconds.
    pub wall_skew: i64,
    /// What it was told.
    pub model: Model,
    /// For how long its host holds jobs back at most, in nanoseconds.
    pub hold: u64,
    /// How long its host takes for a handshake message, in nanoseconds.
    pub service: u64,
    /// What went in and out.
    pub tally: Tally,
    pub(crate) inbox: Vec<Arrival>,
    pub(crate) opening: VecDeque<Opening>,
    pub(crate) handshakes: VecDeque<Datagram>,
    pub(crate) block: Option<SessionBlock>,
    /// Until when there may be load, by its clock.
    pub(crate) loaded_until: Instant,
    sealing: VecDeque<Sealing>,
    /// Until when the host sleeps, by the device's clock; it is told of earlier deadlines, or ought to be.
    sleeper: Option<Instant>,
    /// The last packet to each peer that was sealed.
    last_sealed: HashMap<PublicKey, u64>,
}

/// Packets in and out of one life of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Inner packets given to the device.
    pub inner: u64,
    /// Those that were sealed and sent.
    pub sealed: u64,
    /// Keepalives whose session ended before they were sent; they count as drops and are no inner packets.
    pub stale_keepalives: u64,
    /// Datagrams given to the device.
    pub datagrams: u64,
    /// Those that gave an inner packet.
    pub delivered: u64,
    /// Those that were keepalives.
    pub keepalives: u64,
    /// Initiations that could not be made; they count as drops and are no datagrams.
    pub failed_initiations: u64,
    /// Handshake messages and cookie replies that were accepted.
    pub handled: u64,
}

/// How far a run has come.
#[derive(Debug)]
enum Job {
    Reserved(SealJob),
    Sealed(SealedJob),
    Stale,
}

/// A run between `reserve` and `commit_sealed`.
#[derive(Debug)]
struct Sealing {
    peer: PeerRef,
    job: Job,
    key: PublicKey,
    packets: Parcel,
    keepalive: bool,
    /// To be told when it is through: it came from the staged packets.
    flush: bool,
    buffer: Vec<u8>,
    spans: Vec<Span>,
    made: Instant,
    seal_at: u64,
    commit_at: u64,
}

impl Node {
    /// A device without peers.
    #[must_use]
    pub fn new(
        id: usize,
        life: u32,
        entropy: u64,
        address: SocketAddr,
        primitives: Primitives,
        journal: &Rc<RefCell<Journal>>,
    ) -> Self {
        let crypto = Watched { primitives, device: id << 16 | life as usize, journal: Rc::clone(journal) };
        let host = UserHost::with_entropy(crypto, Chance::new(entropy)).holding();
        Self {
            id,
            life,
            device: Device::new(host).expect("this host never refuses memory"),
            address,
            skew: 0,
            wall_skew: 0,
            model: Model::default(),
            hold: 0,
            service: SERVICE,
            tally: Tally::default(),
            inbox: Vec::new(),
            opening: VecDeque::new(),
            handshakes: VecDeque::new(),
            block: None,
            loaded_until: Instant::ZERO,
            sealing: VecDeque::new(),
            sleeper: None,
            last_sealed: HashMap::new(),
        }
    }

    /// The device's monotonic clock.
    #[must_use]
    pub fn clock(&self, shared: &Shared) -> Instant {
        Instant::from_nanos((START + shared.now as i64 + self.skew) as u64)
    }

    /// The device's wall clock.
    #[must_use]
    pub fn wall(&self, shared: &Shared) -> Wall {
        let nanos = (WALL * 1_000_000_000).saturating_add(shared.now as i64).saturating_add(self.wall_skew).max(0);
        Wall { seconds: nanos as u64 / 1_000_000_000, nanos: (nanos % 1_000_000_000) as u32 }
    }

    /// Changes the device's configuration; false if its randomness is not seeded.
    pub fn configure(&mut self, shared: &mut Shared, change: Change<'_>) -> bool {
        let now = self.clock(shared);
        let changed = self.device.configure(|configuration| {
            let prepared = configuration.prepare(change)?;
            Ok::<_, kerntun_engine::config::ConfigError>(prepared.apply(now))
        });
        self.follow(shared, Followup { rearm: changed == Ok(true), flush: None });
        changed.is_ok()
    }

    /// Changes one peer.
    pub fn configure_peer(&mut self, shared: &mut Shared, change: PeerChange<'_>) -> bool {
        self.configure(shared, Change { peers: &[change], ..Change::default() })
    }

    /// Gives the device a private key.
    pub fn set_private_key(&mut self, shared: &mut Shared, private: [u8; 32]) -> PublicKey {
        shared.journal.borrow_mut().keeps(&private);
        while !self.configure(shared, Change { private_key: Some(Secret::new(private)), ..Change::default() }) {
            kerntun_engine::host::Host::entropy(self.device.host()).set_dry(false);
        }
        let public = self.device.public_key().expect("it was just set");
        shared.owners.insert(public, self.id);
        public
    }

    /// Inner packets from the local machine, with one destination; as one super-packet should they have to wait.
    pub fn send(&mut self, shared: &mut Shared, packets: Parcel) {
        let now = self.clock(shared);
        let Some((_, first)) = packets.first() else { return };
        self.tally.inner += 1;
        let routed = self.device.route(&first[..first.len().min(40)], first.len());
        let expected = destination_of(first).and_then(|address| self.model.owner(address));
        let key = routed.ok().and_then(|peer| self.device.peer_info(peer)).map(|info| info.public_key);
        shared.require(key == expected, Check::RoutedByTheTable, || {
            format!("node {} routes to {key:?}, the table says {expected:?}", self.id)
        });
        let (Ok(peer), Some(key)) = (routed, key) else { return };
        self.tally.inner += packets.len() as u64 - 1;
        for (number, _) in &packets {
            shared.ledger.routed(*number, shared.owners.get(&key).copied());
        }
        match self.device.reserve(now, peer, packets.len() as u32) {
            Ok(job) => self.begin_seal(shared, job, key, packets, false),
            Err(NotReserved::Stage) => {
                let (count, bytes) = (packets.len() as u32, packets.iter().map(|(_, bytes)| bytes.len()).sum());
                let outcome = self.device.stage(now, peer, Held::new(packets, count, bytes));
                self.follow(shared, outcome.followup);
            }
            Err(NotReserved::Drop(_)) => {}
        }
    }

    /// A keepalive, if there is a session for it.
    pub fn keepalive(&mut self, shared: &mut Shared, peer: PeerRef) {
        let (job, followup) = self.device.reserve_keepalive(self.clock(shared), peer);
        if let (Some(job), Some(info)) = (job, self.device.peer_info(peer)) {
            self.begin_seal(shared, job, info.public_key, vec![(u64::MAX, Vec::new())], false);
        }
        self.follow(shared, followup);
    }

    /// Does what a call left to be done.
    pub fn follow(&mut self, shared: &mut Shared, followup: Followup) {
        if followup.rearm {
            self.arm(shared);
        }
        let Some(peer) = followup.flush else { return };
        // Another thread may be the one that does it.
        match shared.random.below(self.hold + 1) {
            0 => self.flush(shared, peer),
            delay => shared.later(delay, Event::Flush(self.id, self.life, peer)),
        }
    }

    /// Sends the staged packets of a peer, if there still is reason to.
    pub fn flush(&mut self, shared: &mut Shared, peer: PeerRef) {
        let Some(info) = self.device.peer_info(peer) else { return };
        let (mut staged, job) = match self.device.reserve_staged(self.clock(shared), peer) {
            Ok(reserved) => reserved,
            Err(followup) => return self.follow(shared, followup),
        };
        let mut packets = Parcel::new();
        while let Some(held) = kerntun_engine::host::Staged::pop(&mut staged) {
            packets.extend(held.into_payload());
        }
        shared.require(packets.len() == job.count() as usize, Check::AccountsOut, || {
            format!("node {}: {} staged packets, {} counters", self.id, packets.len(), job.count())
        });
        self.begin_seal(shared, job, info.public_key, packets, true);
    }

    /// Handles what is due, if the sleeper should have woken up by now.
    pub fn wake(&mut self, shared: &mut Shared) {
        let now = self.clock(shared);
        if self.sleeper.is_none_or(|at| at > now) {
            return;
        }
        self.sleeper = None;
        for _ in 0..1000 {
            while let Some(due) = self.device.expire(now) {
                if due.keepalive {
                    self.keepalive(shared, due.peer);
                }
                if due.initiate {
                    self.initiate(shared, due.peer);
                }
            }
            if self.device.next_deadline().is_none_or(|next| next.at > now) {
                return self.arm(shared);
            }
        }
        shared.fail(Check::IdleIsSilent, format!("node {}: a deadline that has passed stays", self.id));
    }

    /// Goes on with jobs whose time has come: each step of each when it may, commits in order.
    pub fn pump(&mut self, shared: &mut Shared) {
        self.pump_incoming(shared);
        for at in 0..self.sealing.len() {
            if self.sealing[at].seal_at <= shared.now {
                self.seal(shared, at);
            }
        }
        while self.sealing.front().is_some_and(|front| front.commit_at <= shared.now) {
            self.seal(shared, 0);
            let Some(job) = self.sealing.pop_front() else { break };
            self.commit_sealed(shared, job);
        }
    }

    /// Sends a datagram, meant for node `to`.
    pub fn transmit(&self, shared: &mut Shared, to: SocketAddr, bytes: Vec<u8>, ecn: u8, node: Option<usize>) {
        if let Some(node) = node {
            shared.origin.sent(&bytes, self.id, node);
        }
        shared.wire.push(Datagram { from: self.address, to, bytes, ecn });
    }

    /// Inner packets in the host's hands.
    #[must_use]
    pub fn being_sealed(&self) -> u64 {
        self.sealing
            .iter()
            .filter(|job| !job.keepalive && !matches!(job.job, Job::Stale))
            .map(|job| job.packets.len() as u64)
            .sum()
    }

    /// The sleeper must not sleep longer than the device wants.
    pub fn check_sleeper(&self, shared: &mut Shared) {
        if let Some(next) = self.device.next_deadline() {
            shared.require(self.sleeper.is_some_and(|at| at <= next.at), Check::SleeperKnows, || {
                format!("node {} sleeps until {:?} over {next:?}", self.id, self.sleeper)
            });
        }
    }

    /// Sleeps until the device's next deadline.
    pub fn arm(&mut self, shared: &mut Shared) {
        self.sleeper = self.device.next_deadline().map(|next| next.at);
        if let Some(at) = self.sleeper {
            shared.later(at.since(self.clock(shared)), Event::Wake(self.id, self.life));
        }
    }

    fn initiate(&mut self, shared: &mut Shared, peer: PeerRef) {
        let (now, wall) = (self.clock(shared), self.wall(shared));
        let info = self.device.peer_info(peer);
        let before = self.failed_initiations();
        let made = self.device.initiate(now, wall, peer);
        self.tally.failed_initiations += self.failed_initiations() - before;
        if let Some(outgoing) = made {
            let node = info.and_then(|info| shared.owners.get(&info.public_key).copied());
            shared.tell(|| format!("node {} initiates with node {node:?}", self.id));
            self.transmit(shared, outgoing.endpoint.remote, outgoing.bytes().to_vec(), 0, node);
            self.follow(shared, outgoing.followup);
        } else {
            // Nothing is due, or the reason for it stands and has a deadline again.
            self.arm(shared);
        }
    }

    /// Reasons for which our own initiations fail; those of others may too.
    fn failed_initiations(&self) -> u64 {
        let reasons = [Reason::NotSeeded, Reason::HandshakeLost, Reason::WeakKey];
        reasons.map(|reason| self.device.drops(reason) as u64).iter().sum()
    }

    fn begin_seal(&mut self, shared: &mut Shared, job: SealJob, key: PublicKey, packets: Parcel, flush: bool) {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for (at, (_, packet)) in packets.iter().enumerate() {
            let start = buffer.len();
            buffer.extend_from_slice(&job.header(at as u32));
            buffer.extend_from_slice(packet);
            buffer.resize(start + 16 + padded_len(packet.len(), MTU) + 16, 0);
            spans.push(Span { start, len: buffer.len() - start });
        }
        let seal_at = shared.now + shared.random.below(self.hold + 1);
        let commit_at = seal_at + shared.random.below(self.hold + 1);
        let keepalive = packets.iter().all(|(_, packet)| packet.is_empty());
        let made = self.clock(shared);
        self.sealing.push_back(Sealing {
            peer: job.peer(),
            job: Job::Reserved(job),
            key,
            packets,
            keepalive,
            flush,
            buffer,
            spans,
            made,
            seal_at,
            commit_at,
        });
        if self.hold == 0 && self.sealing.len() == 1 {
            return self.pump(shared);
        }
        shared.agenda.add(seal_at, Event::Pump(self.id, self.life));
        shared.agenda.add(commit_at, Event::Pump(self.id, self.life));
    }

    fn seal(&mut self, shared: &mut Shared, at: usize) {
        let sealing = &mut self.sealing[at];
        if !matches!(sealing.job, Job::Reserved(_)) {
            return;
        }
        let Job::Reserved(job) = std::mem::replace(&mut sealing.job, Job::Stale) else { return };
        shared.journal.borrow_mut().job_made = sealing.made.as_nanos();
        let plain = sealing.buffer.clone();
        let mut run = Slices { buffer: &mut sealing.buffer, spans: &sealing.spans };
        let Some(sealed) = self.device.seal(job, &mut run) else {
            self.tally.stale_keepalives += u64::from(sealing.keepalive);
            return;
        };
        sealing.job = Job::Sealed(sealed);
        let is_sealed = |span: &Span| {
            sealing.buffer[span.start + 16..][..span.len - 16] != plain[span.start + 16..][..span.len - 16]
        };
        let all = sealing.spans.iter().all(is_sealed);
        shared
            .require(all, Check::NothingGoesOutUnsealed, || format!("node {}: a plain text is called sealed", self.id));
    }

    fn commit_sealed(&mut self, shared: &mut Shared, sealing: Sealing) {
        let now = self.clock(shared);
        if let Job::Sealed(job) = sealing.job {
            match self.device.commit_sealed(now, job, sealing.buffer.len(), !sealing.keepalive) {
                Ok(departure) => {
                    let remote = departure.endpoint.remote;
                    self.send_sealed(shared, remote, sealing.key, &sealing.packets, &sealing.buffer, &sealing.spans);
                    self.follow(shared, departure.followup);
                }
                Err(_) => self.tally.stale_keepalives += u64::from(sealing.keepalive),
            }
        }
        if sealing.flush {
            let followup = self.device.flushed(now, sealing.peer);
            self.follow(shared, followup);
        }
    }

    fn send_sealed(
        &mut self,
        shared: &mut Shared,
        remote: SocketAddr,
        key: PublicKey,
        packets: &Parcel,
        buffer: &[u8],
        spans: &[Span],
    ) {
        let node = shared.owners.get(&key).copied();
        shared.tell(|| format!("node {} sends {} data to node {node:?} at {remote}", self.id, packets.len()));
        for (span, (number, packet)) in spans.iter().zip(packets) {
            let bytes = buffer[span.start..span.start + span.len].to_vec();
            self.transmit(shared, remote, bytes, ecn_of(packet), node);
            if packet.is_empty() {
                continue;
            }
            self.tally.sealed += 1;
            let last = self.last_sealed.insert(key, *number);
            shared.require(last.is_none_or(|last| last < *number), Check::OrderKept, || {
                format!("node {} sends packet {number} to node {node:?} after {last:?}", self.id)
            });
        }
    }
}

fn destination_of(packet: &[u8]) -> Option<std::net::IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?.into()),
        6 => Some(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?.into()),
        _ => None,
    }
}
