//! Two devices and a wire between them, in virtual time: what a host does, in the plainest form.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, ConfigError, PeerChange};
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::egress::{NotReserved, SealJob};
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Host, Staged};
use kerntun_engine::inner::padded_len;
use kerntun_engine::message::Kind;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::reason::Reason;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{Held, SeededEntropy, UserHost};
use std::net::SocketAddr;

/// What the tests compute with. In Miri, which is a thousand times slower, what is as if it were cryptography.
#[cfg(miri)]
pub use kerntun_crypto::InsecureFake as Primitives;
#[cfg(not(miri))]
pub use kerntun_crypto::Portable as Primitives;

pub type Home = UserHost<Primitives, SeededEntropy>;

pub const MTU: usize = 1420;
/// Virtual time starts here, well away from zero.
pub const START: Instant = Instant::from_nanos(1_000 * 1_000_000_000);
/// The wall clock at that moment.
pub const WALL: u64 = 1_800_000_000;

pub fn seconds(seconds: u64) -> Instant {
    millis(seconds * 1000)
}

pub fn millis(millis: u64) -> Instant {
    START.after(millis * 1_000_000)
}

/// A datagram on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub ecn: u8,
}

impl Datagram {
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }
}

/// A device, its address, and what came out of it.
pub struct Node {
    pub device: Device<Home>,
    pub address: SocketAddr,
    pub now: Instant,
    /// The wall clock is the virtual one plus this many seconds.
    pub wall_offset: i64,
    pub sent: Vec<Datagram>,
    pub delivered: Vec<Vec<u8>>,
    /// Results of the last received handshake messages.
    pub handled: Vec<&'static str>,
    pub load: Load,
    pub block: Option<SessionBlock>,
}

impl Node {
    pub fn new(seed: u64, address: &str) -> Self {
        let host = UserHost::with_entropy(Primitives, SeededEntropy::new(seed));
        let node = Self {
            device: Device::new(host).unwrap(),
            address: address.parse().unwrap(),
            now: START,
            wall_offset: 0,
            sent: Vec::new(),
            delivered: Vec::new(),
            handled: Vec::new(),
            load: Load { depth: 0, capacity: 1024 },
            block: None,
        };
        node.set(Change { private_key: Some(private_key(seed)), ..Change::default() });
        node
    }

    pub fn public(&self) -> PublicKey {
        self.device.public_key().unwrap()
    }

    pub fn try_set(&self, change: Change<'_>) -> Result<bool, ConfigError> {
        self.device.configure(|configuration| {
            let prepared = configuration.prepare(change)?;
            Ok(prepared.apply(self.now))
        })
    }

    pub fn set(&self, change: Change<'_>) {
        self.try_set(change).unwrap();
    }

    pub fn set_peer(&self, peer: PeerChange<'_>) {
        self.set(Change { peers: &[peer], ..Change::default() });
    }

    /// Makes `other` a peer with one allowed IP, reached at its address if `reach`.
    pub fn add(&self, other: &Self, allowed: &str, reach: bool) -> PeerRef {
        let allowed_ips = [AllowedIpChange::Add(prefix(allowed))];
        self.set_peer(PeerChange {
            endpoint: reach.then_some(other.address),
            allowed_ips: &allowed_ips,
            ..PeerChange::new(other.public())
        });
        self.device.find(&other.public()).unwrap()
    }

    pub fn peer(&self, other: &Self) -> PeerRef {
        self.device.find(&other.public()).unwrap()
    }

    pub fn wall(&self) -> Wall {
        let nanos = self.now.since(START);
        let seconds = (WALL + nanos / 1_000_000_000).checked_add_signed(self.wall_offset).unwrap();
        Wall { seconds, nanos: (nanos % 1_000_000_000) as u32 }
    }

    /// An inner packet from the local machine.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Reason> {
        let peer = self.device.route(&packet[..packet.len().min(40)], packet.len())?;
        match self.device.reserve(self.now, peer, 1) {
            Ok(job) => self.seal_and_send(job, &[packet.to_vec()]),
            Err(NotReserved::Stage) => {
                let outcome = self.device.stage(self.now, peer, Held::from_bytes(packet.to_vec(), 1));
                self.follow(outcome.followup);
            }
            Err(NotReserved::Drop(reason)) => return Err(reason),
        }
        Ok(())
    }

    /// A keepalive, if there is a session for it.
    pub fn keepalive(&mut self, peer: PeerRef) {
        let (job, followup) = self.device.reserve_keepalive(self.now, peer);
        if let Some(job) = job {
            self.seal_and_send(job, &[Vec::new()]);
        }
        self.follow(followup);
    }

    pub fn seal_and_send(&mut self, job: SealJob, packets: &[Vec<u8>]) {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for (at, packet) in packets.iter().enumerate() {
            let start = buffer.len();
            buffer.extend_from_slice(&job.header(at as u32));
            buffer.extend_from_slice(packet);
            buffer.resize(start + 16 + padded_len(packet.len(), MTU) + 16, 0);
            spans.push(Span { start, len: buffer.len() - start });
        }
        let sealed = self.device.seal(job, &mut Slices { buffer: &mut buffer, spans: &spans });
        let data = packets.iter().any(|packet| !packet.is_empty());
        let Some(sealed) = sealed else { return };
        if let Ok(departure) = self.device.commit_sealed(self.now, sealed, buffer.len(), data) {
            for span in spans {
                let bytes = buffer[span.start..span.start + span.len].to_vec();
                self.transmit(departure.endpoint.remote, bytes);
            }
            self.follow(departure.followup);
        }
    }

    pub fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.sent.push(Datagram { from: self.address, to, bytes, ecn: 0 });
    }

    pub fn follow(&mut self, followup: Followup) {
        let mut next = followup.flush;
        while let Some(peer) = next.take() {
            let Ok((mut packets, mut job)) = self.device.reserve_staged(self.now, peer) else { return };
            while let Some(packet) = packets.pop() {
                let job = job.take(1);
                self.seal_and_send(job, &[packet.into_payload()]);
            }
            next = self.device.flushed(self.now, peer).flush;
        }
    }

    /// A datagram from the network.
    pub fn receive(&mut self, datagram: &Datagram) {
        let from = Endpoint { remote: datagram.from, source: None };
        match datagram.bytes.first_chunk().and_then(|prefix| Kind::of(*prefix, datagram.bytes.len())) {
            Some(Kind::Data) => drop(self.receive_data(datagram, &from)),
            Some(_) => self.receive_handshake(&datagram.bytes, &from),
            None => self.device.count_drop(None, Reason::Malformed, 1),
        }
    }

    pub fn receive_data(&mut self, datagram: &Datagram, from: &Endpoint) -> Option<Verdict> {
        let mut bytes = datagram.bytes.clone();
        let mut packets = [Incoming::new(bytes.first_chunk()?, bytes.len(), datagram.ecn)?];
        let Some(job) = self.device.admit(self.now, &mut packets) else { return Some(packets[0].verdict()) };
        let spans = [Span { start: 0, len: bytes.len() }];
        self.device.open(&job, &mut packets, &mut Slices { buffer: &mut bytes, spans: &spans });
        let followup = self.device.commit_opened(self.now, job, &mut packets, from);
        let verdict = packets[0].verdict();
        if let Verdict::Deliver { len, rewritten } = verdict {
            let mut packet = bytes[16..16 + len].to_vec();
            if rewritten {
                let head = packet.len().min(40);
                packet[..head].copy_from_slice(&packets[0].head()[..head]);
            }
            self.delivered.push(packet);
        }
        self.follow(followup);
        Some(verdict)
    }

    pub fn receive_handshake(&mut self, bytes: &[u8], from: &Endpoint) {
        if self.block.is_none() {
            self.block = SessionBlock::new().ok();
        }
        let handled = self.device.receive_handshake(self.now, bytes, from, self.load, &mut self.block);
        self.handled.push(match handled {
            Handled::Dropped(reason) => reason.name(),
            Handled::Reply(ref reply) if reply.bytes().len() == 64 => "cookie-reply",
            Handled::Reply(_) => "response",
            Handled::Connected(..) => "connected",
            Handled::CookieStored => "cookie-stored",
        });
        match handled {
            Handled::Reply(reply) => {
                self.transmit(reply.endpoint.remote, reply.bytes().to_vec());
                self.follow(reply.followup);
            }
            Handled::Connected(peer, followup) => {
                if followup.flush.is_some() {
                    self.follow(followup);
                } else {
                    self.keepalive(peer);
                }
            }
            Handled::Dropped(_) | Handled::CookieStored => {}
        }
    }

    /// Handles all that is due.
    pub fn expire(&mut self) {
        while let Some(due) = self.device.expire(self.now) {
            if due.keepalive {
                self.keepalive(due.peer);
            }
            if due.initiate {
                self.initiate(due.peer);
            }
        }
    }

    pub fn initiate(&mut self, peer: PeerRef) {
        if let Some(outgoing) = self.device.initiate(self.now, self.wall(), peer) {
            self.transmit(outgoing.endpoint.remote, outgoing.bytes().to_vec());
            self.follow(outgoing.followup);
        }
    }
}

/// Two nodes that know each other.
pub struct Pair {
    pub a: Node,
    pub b: Node,
    /// Every datagram that was ever sent, in order.
    pub wire: Vec<Datagram>,
}

impl Pair {
    /// `a` is 10.0.0.1 and fd00::1, `b` is 10.0.0.2 and fd00::2; both know the other's endpoint.
    pub fn new() -> Self {
        let (a, b) = (Node::new(1, "192.0.2.1:1001"), Node::new(2, "192.0.2.2:1002"));
        a.add(&b, "10.0.0.2/32", true);
        a.add(&b, "fd00::2/128", true);
        b.add(&a, "10.0.0.1/32", true);
        b.add(&a, "fd00::1/128", true);
        Self { a, b, wire: Vec::new() }
    }

    /// A pair with a session that `a` initiated and `b` confirmed.
    pub fn connected() -> Self {
        let mut pair = Self::new();
        pair.a.send(&ipv4([10, 0, 0, 1], [10, 0, 0, 2], b"hello")).unwrap();
        pair.settle();
        assert_eq!(pair.b.delivered.len(), 1);
        pair.b.delivered.clear();
        pair.wire.clear();
        pair
    }

    /// Handles what is due now and carries datagrams until nothing moves.
    pub fn settle(&mut self) {
        self.settle_with(|_| true);
    }

    /// As [`Pair::settle`], losing datagrams for which `keep` is false.
    pub fn settle_with(&mut self, mut keep: impl FnMut(&Datagram) -> bool) {
        loop {
            self.a.expire();
            self.b.expire();
            let moving: Vec<_> = self.a.sent.drain(..).chain(self.b.sent.drain(..)).collect();
            if moving.is_empty() {
                return;
            }
            for datagram in moving {
                self.wire.push(datagram.clone());
                if keep(&datagram) {
                    let node = if datagram.to == self.a.address { &mut self.a } else { &mut self.b };
                    if node.address == datagram.to {
                        node.receive(&datagram);
                    }
                }
            }
        }
    }

    pub fn set_now(&mut self, now: Instant) {
        self.a.now = now;
        self.b.now = now;
    }

    /// Lets time pass until `end`, stopping at every deadline on the way.
    pub fn run_until(&mut self, end: Instant) {
        self.run_until_with(end, |_| true);
    }

    pub fn run_until_with(&mut self, end: Instant, mut keep: impl FnMut(&Datagram) -> bool) {
        loop {
            self.settle_with(&mut keep);
            let next =
                [&self.a, &self.b].into_iter().filter_map(|node| node.device.next_deadline()).map(|next| next.at).min();
            match next {
                Some(at) if at <= end => self.set_now(at.max(self.a.now)),
                _ => break,
            }
        }
        self.set_now(end);
        self.settle_with(&mut keep);
    }
}

pub fn private_key(seed: u64) -> Secret {
    let mut bytes = [0x42; 32];
    // Behind the bits that X25519 overrides.
    bytes[8..16].copy_from_slice(&seed.to_le_bytes());
    Secret::new(bytes)
}

pub fn public_key(private: &Secret) -> PublicKey {
    PublicKey(Primitives.public_key(private))
}

pub fn prefix(text: &str) -> AllowedIp {
    let (address, len) = text.split_once('/').unwrap();
    AllowedIp::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

/// An IPv4 packet of protocol 253 (for experiments).
pub fn ipv4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0];
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet.extend(source);
    packet.extend(destination);
    let sum = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet without next header.
pub fn ipv6(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 59, 64];
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend(source.parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend(destination.parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

pub fn drops(node: &Node, reason: Reason) -> usize {
    node.device.drops(reason)
}

/// Keeps the type of a host's queue nameable in tests.
pub type Queue = <Home as Host>::Staged;
