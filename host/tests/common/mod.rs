//! Engines at home as in the daemon, many peers for them, and packets between two of them, in virtual time.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use kerntun_crypto::{InsecureFake, Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::Crypto;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::Endpoint;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The daemon's kind of device; what crypto it uses does not show in its memory or its locks.
pub type Engine = Device<UserHost<InsecureFake, SeededEntropy, Box<[u8]>>>;

pub const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: Wall = Wall { seconds: 1_800_000_000, nanos: 0 };
const IDLE: Load = Load { depth: 0, capacity: 4096 };

/// Engine `number`, which peers know by that number.
pub fn engine(number: u32) -> Engine {
    let host = UserHost::with_entropy(InsecureFake, SeededEntropy::new(u64::from(number))).holding();
    let engine = Device::new(host).unwrap();
    set(&engine, Change { private_key: Some(private_key(number)), ..Change::default() });
    engine
}

pub fn set(engine: &Engine, change: Change<'_>) {
    engine.configure(|configuration| {
        let prepared = configuration.prepare(change).unwrap();
        prepared.apply(NOW)
    });
}

/// Peer `number`, with keys, an endpoint and an allowed IP.
pub struct Peer {
    pub number: u32,
    allowed_ips: [AllowedIpChange; 1],
}

pub fn peer(number: u32) -> Peer {
    let prefix = AllowedIp::new(inner(number).into(), 32).unwrap();
    Peer { number, allowed_ips: [AllowedIpChange::Add(prefix)] }
}

impl Peer {
    pub fn change(&self) -> PeerChange<'_> {
        PeerChange {
            preshared_key: Some(Secret::new([0x5a; 32])),
            endpoint: Some(outer(self.number)),
            allowed_ips: &self.allowed_ips,
            ..PeerChange::new(public_key(self.number))
        }
    }
}

pub fn private_key(number: u32) -> Secret {
    let mut bytes = [0x41; 32];
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes[12..16].copy_from_slice(&number.to_be_bytes());
    Secret::new(bytes)
}

pub fn public_key(number: u32) -> PublicKey {
    PublicKey(InsecureFake.public_key(&private_key(number)))
}

fn inner(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn outer(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)).into(), 51820)
}

/// `client` begins a handshake with `hub`, its peer 0, which answers: from then on `hub` has a session with it.
pub fn begin(client: &Engine, number: u32, hub: &Engine) -> Handled {
    let initiation = client.initiate(NOW, WALL, client.find(&public_key(0)).unwrap()).unwrap();
    let from = Endpoint { remote: outer(number), source: None };
    let mut block = SessionBlock::new().ok();
    let handled = hub.receive_handshake(NOW, initiation.bytes(), &from, IDLE, &mut block);
    assert!(matches!(handled, Handled::Reply(_)) && block.is_none(), "{handled:?}");
    handled
}

/// A handshake from beginning to end.
pub fn connect(client: &Engine, number: u32, hub: &Engine) {
    let Handled::Reply(response) = begin(client, number, hub) else { panic!("no response") };
    let from = Endpoint { remote: outer(0), source: None };
    let handled = client.receive_handshake(NOW, response.bytes(), &from, IDLE, &mut SessionBlock::new().ok());
    assert!(matches!(handled, Handled::Connected(..)), "{handled:?}");
    carry(client, number, hub, 0);
}

/// A packet from engine `from` through the tunnel to engine `to`: it arrives.
pub fn carry(sender: &Engine, from: u32, receiver: &Engine, to: u32) {
    let mut packet = [0_u8; 64];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 64]);
    packet[12..16].copy_from_slice(&inner(from).octets());
    packet[16..20].copy_from_slice(&inner(to).octets());
    let peer = sender.route(&packet[..40], packet.len()).expect("it has a route");
    let job = sender.reserve(NOW, peer, 1).expect("there is a session");
    let mut datagram = [0; 96];
    datagram[..16].copy_from_slice(&job.header(0));
    datagram[16..80].copy_from_slice(&packet);
    let spans = [Span { start: 0, len: datagram.len() }];
    let sealed = sender.seal(job, &mut Slices { buffer: &mut datagram, spans: &spans }).expect("as many as numbered");
    let departure = sender.commit_sealed(NOW, sealed, datagram.len(), true).expect("the session is still there");
    assert_eq!(departure.endpoint.remote, outer(to));
    let mut entries = [Incoming::new(datagram.first_chunk().unwrap(), datagram.len(), 0).unwrap()];
    let job = receiver.admit(NOW, &mut entries).expect("the session is found");
    receiver.open(&job, &mut entries, &mut Slices { buffer: &mut datagram, spans: &spans });
    let _ = receiver.commit_opened(NOW, job, &mut entries, &Endpoint { remote: outer(from), source: None });
    assert_eq!(entries[0].verdict(), Verdict::Deliver { len: packet.len(), rewritten: false });
    assert_eq!(datagram[16..80], packet);
}
