#![forbid(unsafe_code)]
//! What the models share: a device with one peer, and what a host does with it, in the plainest form.

use kerntun_crypto::{Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::egress::{NotReserved, SealJob};
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Host, Staged};
use kerntun_engine::inner::padded_len;
use kerntun_engine::message::Kind;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::Held;

/// No queue of waiting handshakes: no load.
pub const IDLE: Load = Load { depth: 0, capacity: 1024 };

/// A host whose packets are bytes.
pub trait Home: Host<Staged = kerntun_host::HeldQueue<Vec<u8>>, Crypto: for<'a> Crypto<Run<'a> = Slices<'a>>> {}

impl<H: Host<Staged = kerntun_host::HeldQueue<Vec<u8>>, Crypto: for<'a> Crypto<Run<'a> = Slices<'a>>>> Home for H {}

/// What came out of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// Datagrams for the network.
    pub sent: Vec<Vec<u8>>,
    /// Inner packets for the local machine.
    pub delivered: Vec<Vec<u8>>,
    /// Sessions that a response completed.
    pub connected: usize,
}

/// One of two devices that know each other, numbered 1 and 2: 10.0.0.1 and 10.0.0.2 behind 192.0.2.1 and 192.0.2.2.
pub struct End<H: Home> {
    /// The device.
    pub device: Device<H>,
    /// Which of the two.
    pub number: u8,
}

impl<H: Home> End<H> {
    /// Device `number` without peer.
    #[must_use]
    pub fn new(host: H, number: u8, now: Instant) -> Self {
        let end = Self { device: Device::new(host).expect("memory"), number };
        end.change(now, Change { private_key: Some(private_key(number)), ..Change::default() });
        end
    }

    /// Makes the other device, whose key is `key`, its peer.
    pub fn meet(&self, now: Instant, key: PublicKey, preshared: Option<Secret>) {
        let allowed_ips =
            [AllowedIpChange::Add(AllowedIp::new([10, 0, 0, 3 - self.number].into(), 32).expect("32 bits"))];
        let peer = PeerChange {
            endpoint: Some(self.other().remote),
            allowed_ips: &allowed_ips,
            preshared_key: preshared,
            ..PeerChange::new(key)
        };
        self.change(now, Change { peers: &[peer], ..Change::default() });
    }

    /// Makes a change that cannot fail here.
    pub fn change(&self, now: Instant, change: Change<'_>) {
        self.device
            .configure(|configuration| configuration.prepare(change).map(|prepared| prepared.apply(now)))
            .expect("memory");
    }

    /// Where the other one is.
    #[must_use]
    pub fn other(&self) -> Endpoint {
        Endpoint { remote: ([192, 0, 2, 3 - self.number], 51820).into(), source: None }
    }

    /// The packet number `mark` for the other one: 32 bytes.
    #[must_use]
    pub fn packet(&self, mark: u32) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, self.number, 10, 0, 0, 3 - self.number];
        packet.extend(mark.to_be_bytes());
        packet.resize(32, 0);
        packet
    }

    /// A packet of the local machine.
    pub fn send(&self, now: Instant, packet: Vec<u8>, out: &mut Out) {
        let Ok(peer) = self.device.route(&packet, packet.len()) else { return };
        match self.device.reserve(now, peer, 1) {
            Ok(job) => self.seal(now, job, &[packet], out),
            Err(NotReserved::Stage) => {
                let outcome = self.device.stage(now, peer, Held::from_bytes(packet, 1));
                self.follow(now, outcome.followup, out);
            }
            Err(NotReserved::Drop(_)) => {}
        }
    }

    /// A datagram of the other one.
    pub fn receive(&self, now: Instant, datagram: &[u8], out: &mut Out) {
        let kind = datagram.first_chunk().and_then(|prefix| Kind::of(*prefix, datagram.len()));
        match kind {
            Some(Kind::Data) => self.receive_data(now, datagram, out),
            Some(_) => self.receive_handshake(now, datagram, out),
            None => {}
        }
    }

    /// What is due.
    pub fn expire(&self, now: Instant, wall: Wall, out: &mut Out) {
        while let Some(due) = self.device.expire(now) {
            if due.keepalive {
                self.keepalive(now, due.peer, out);
            }
            if due.initiate
                && let Some(outgoing) = self.device.initiate(now, wall, due.peer)
            {
                out.sent.push(outgoing.bytes().to_vec());
                self.follow(now, outgoing.followup, out);
            }
        }
    }

    /// A keepalive, if there is a session for it.
    pub fn keepalive(&self, now: Instant, peer: PeerRef, out: &mut Out) {
        let (job, followup) = self.device.reserve_keepalive(now, peer);
        if let Some(job) = job {
            self.seal(now, job, &[Vec::new()], out);
        }
        self.follow(now, followup, out);
    }

    /// The staged packets, if their time has come.
    pub fn follow(&self, now: Instant, followup: Followup, out: &mut Out) {
        let mut next = followup.flush;
        while let Some(peer) = next.take() {
            let Ok((mut staged, job)) = self.device.reserve_staged(now, peer) else { return };
            let packets: Vec<_> = std::iter::from_fn(|| staged.pop()).map(Held::into_payload).collect();
            self.seal(now, job, &packets, out);
            next = self.device.flushed(now, peer).flush;
        }
    }

    fn seal(&self, now: Instant, job: SealJob, packets: &[Vec<u8>], out: &mut Out) {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for (at, packet) in (0..).zip(packets) {
            let start = buffer.len();
            buffer.extend_from_slice(&job.header(at));
            buffer.extend_from_slice(packet);
            buffer.resize(start + 32 + padded_len(packet.len(), 1420), 0);
            spans.push(Span { start, len: buffer.len() - start });
        }
        let data = packets.iter().any(|packet| !packet.is_empty());
        let Some(sealed) = self.device.seal(job, &mut Slices { buffer: &mut buffer, spans: &spans }) else { return };
        if let Ok(departure) = self.device.commit_sealed(now, sealed, buffer.len(), data) {
            out.sent.extend(spans.iter().map(|span| buffer[span.start..][..span.len].to_vec()));
            self.follow(now, departure.followup, out);
        }
    }

    fn receive_data(&self, now: Instant, datagram: &[u8], out: &mut Out) {
        let mut bytes = datagram.to_vec();
        let entry = bytes.first_chunk().and_then(|header| Incoming::new(header, bytes.len(), 0));
        let mut packets = [entry.expect("the kind was looked at")];
        let Some(job) = self.device.admit(now, &mut packets) else { return };
        let spans = [Span { start: 0, len: bytes.len() }];
        self.device.open(&job, &mut packets, &mut Slices { buffer: &mut bytes, spans: &spans });
        let followup = self.device.commit_opened(now, job, &mut packets, &self.other());
        if let Verdict::Deliver { len, .. } = packets[0].verdict() {
            out.delivered.push(bytes[16..16 + len].to_vec());
        }
        self.follow(now, followup, out);
    }

    fn receive_handshake(&self, now: Instant, datagram: &[u8], out: &mut Out) {
        let mut block = SessionBlock::new().ok();
        match self.device.receive_handshake(now, datagram, &self.other(), IDLE, &mut block) {
            Handled::Reply(reply) => {
                out.sent.push(reply.bytes().to_vec());
                self.follow(now, reply.followup, out);
            }
            Handled::Connected(peer, followup) => {
                out.connected += 1;
                if followup.flush.is_some() {
                    self.follow(now, followup, out);
                } else {
                    self.keepalive(now, peer, out);
                }
            }
            Handled::Dropped(_) | Handled::CookieStored => {}
        }
    }
}

/// The private key of device `number`.
#[must_use]
pub fn private_key(number: u8) -> Secret {
    Secret::new([number << 4; 32])
}
