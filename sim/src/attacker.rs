//! Somebody who sees and sends everything, and has no key.

use crate::agenda::Event;
use crate::journal::Primitives;
use crate::shared::{Datagram, Shared};
use kerntun_crypto::{InsecureFake, Portable};
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use std::fmt;
use std::net::SocketAddr;

/// Where the attacker really is.
pub const HOME: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 66)), 666);

/// The attacker, with a device of its own that nobody knows.
pub struct Attacker {
    primitives: Primitives,
    fake: Device<UserHost<InsecureFake, SeededEntropy>>,
    real: Device<UserHost<Portable, SeededEntropy>>,
}

impl fmt::Debug for Attacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attacker")
    }
}

impl Attacker {
    /// An attacker on a network that uses these primitives.
    #[must_use]
    pub fn new(seed: u64, primitives: Primitives) -> Self {
        let fake = Device::new(UserHost::with_entropy(InsecureFake, SeededEntropy::new(seed)));
        let real = Device::new(UserHost::with_entropy(Portable, SeededEntropy::new(seed)));
        let memory = "this host never refuses memory";
        Self { primitives, fake: fake.expect(memory), real: real.expect(memory) }
    }

    /// Does one evil thing with what was `seen`. `nodes` are the public keys and addresses of all devices.
    pub fn strike(&self, shared: &mut Shared, seen: &[Datagram], nodes: &[(PublicKey, SocketAddr)]) {
        if seen.is_empty() {
            return;
        }
        let random = &mut shared.random;
        let mut datagram = seen[random.index(seen.len())].clone();
        let other = &seen[random.index(seen.len())];
        let bytes = &mut datagram.bytes;
        match random.below(16) {
            0 | 1 => {}
            2 => datagram.from = HOME,
            3 => datagram.to = nodes[random.index(nodes.len())].1,
            4 => (datagram.from, datagram.to) = (datagram.to, datagram.from),
            5..8 => {
                for _ in 0..random.between(1, 3) {
                    let at = random.index(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            8 => bytes.truncate(random.index(bytes.len() + 1)),
            9 => {
                let more = random.between(1, 40) as usize;
                bytes.extend(random.vec(more));
            }
            10 if bytes.len() >= 16 && other.bytes.len() >= 8 => bytes[4..8].copy_from_slice(&other.bytes[4..8]),
            11 if bytes.len() >= 16 && bytes[0] == 4 => {
                let counter = u64::from_le_bytes(core::array::from_fn(|at| bytes[8 + at]));
                let counter = match random.below(4) {
                    0 => u64::MAX - random.below(20_000),
                    1 => random.word(),
                    _ => counter.wrapping_add(random.below(9000)),
                };
                bytes[8..16].copy_from_slice(&counter.to_le_bytes());
            }
            12 => {
                let cut = random.index(bytes.len().min(other.bytes.len()) + 1);
                bytes.truncate(cut);
                bytes.extend_from_slice(&other.bytes[cut..]);
            }
            13 => {
                // Another type, of the right length.
                bytes[0] = random.between(1, 4) as u8;
                let len = match bytes[0] {
                    1 => 148,
                    2 => 92,
                    3 => 64,
                    _ => bytes.len().max(32),
                };
                bytes.resize(len, 0);
            }
            _ => {
                // Changed behind a mac1 that is right: it gets as far as the Diffie-Hellman.
                let at = random.index(bytes.len().saturating_sub(32).max(1));
                bytes[at] ^= 1 << random.below(8);
                let key = nodes.iter().find(|node| node.1 == datagram.to).map_or(nodes[0].0, |node| node.0);
                self.sign(&key, bytes);
            }
        }
        let delay = random.below(50_000_000);
        shared.tell(|| format!("attacker sends {} bytes of type {:?}", datagram.bytes.len(), datagram.bytes.first()));
        shared.later(delay, Event::Arrive(datagram));
    }

    /// Many messages at once from everywhere to one node: junk, and handshakes that are more and more right.
    pub fn flood(&self, shared: &mut Shared, now: u64, (key, to): (PublicKey, SocketAddr)) {
        let count = shared.random.between(10, 150);
        shared.tell(|| format!("flood of {count} to {to}"));
        let initiation = self.initiation(now, key, to);
        for _ in 0..count {
            let random = &mut shared.random;
            let from = SocketAddr::new(random.bytes::<4>().into(), random.word() as u16);
            let from = if random.permille(300) { HOME } else { from };
            let bytes = match random.below(5) {
                0 => {
                    let len = random.index(200);
                    random.vec(len)
                }
                1 => {
                    let mut bytes = random.bytes::<148>();
                    bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
                    bytes.to_vec()
                }
                2 => {
                    let mut bytes = random.bytes::<148>();
                    bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
                    self.sign(&key, &mut bytes);
                    bytes.to_vec()
                }
                3 => {
                    let mut bytes = random.bytes::<92>();
                    bytes[..4].copy_from_slice(&[2, 0, 0, 0]);
                    self.sign(&key, &mut bytes);
                    bytes.to_vec()
                }
                _ => initiation.clone(),
            };
            let delay = random.below(5_000_000);
            shared.later(delay, Event::Arrive(Datagram { from, to, bytes, ecn: 0 }));
        }
    }

    /// A right initiation of somebody who is not a peer.
    fn initiation(&self, now: u64, key: PublicKey, to: SocketAddr) -> Vec<u8> {
        let peer = PeerChange { endpoint: Some(to), ..PeerChange::new(key) };
        let change = Change { private_key: Some(Secret::new([0x77; 32])), replace_peers: true, peers: &[peer] };
        let (now, wall) = (Instant::from_nanos(now + 1), Wall { seconds: 1_900_000_000, nanos: 0 });
        macro_rules! made {
            ($device:expr) => {{
                let prepared = $device.configure(|c| c.prepare(change).map(|prepared| prepared.apply(now)));
                let peer = prepared.ok().and_then(|_| $device.find(&key));
                peer.and_then(|peer| $device.initiate(now, wall, peer)).map(|made| made.bytes().to_vec())
            }};
        }
        match self.primitives {
            Primitives::Fake => made!(self.fake).unwrap_or_default(),
            Primitives::Real => made!(self.real).unwrap_or_default(),
        }
    }

    /// Writes mac1 of a handshake message to the owner of `key`, which everybody who knows that key can.
    fn sign(&self, key: &PublicKey, message: &mut [u8]) {
        let Some(at) = message.len().checked_sub(32) else { return };
        let (mut mac1_key, mut mac1) = ([0; 32], [0; 16]);
        match self.primitives {
            Primitives::Fake => {
                InsecureFake.hash(&mut mac1_key, &[b"mac1----", &key.0]);
                InsecureFake.mac(&mut mac1, &mac1_key, &[&message[..at]]);
            }
            Primitives::Real => {
                Portable.hash(&mut mac1_key, &[b"mac1----", &key.0]);
                Portable.mac(&mut mac1, &mac1_key, &[&message[..at]]);
            }
        }
        message[at..at + 16].copy_from_slice(&mac1);
    }
}
