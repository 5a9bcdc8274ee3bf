#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]
//! The WireGuard protocol and cryptokey routing as a mechanism: a packet comes in, is verified, is forwarded or dropped.
//!
//! The engine has no socket, clock, thread, randomness or log of its own. Time is an argument, and everything else a
//! [`Host`](host::Host) lends to it. That is why the same code runs in a daemon, inside an application and inside a kernel, and why
//! the same inputs always give the same outputs.
//!
//! - No packet makes it panic, block, or take memory (one lent [session block](session::SessionBlock) per completed
//!   handshake apart).
//! - The work for a packet is bounded by a constant, the state by the configuration, whatever strangers send.
//! - Every packet ends in one action or one counted [`Reason`](reason::Reason).
//! - Nothing unauthenticated changes a peer, or gets an answer other than a cookie reply under load.
//!
//! Needs: `alloc`, word-sized atomics with compare-and-swap, about 150 KiB for a device, 1.1 KiB for a session.
//!
//! # A packet between two devices
//!
//! Three calls carry data each way, and two make a handshake. [`Device`](device::Device) documents them all.
//!
//! ```
//! use kerntun_crypto::{Portable, Slices, Span};
//! use kerntun_engine::{config::*, device::Device, egress::NotReserved, handshake::*, packet::*, peer::Endpoint};
//! use kerntun_engine::{inner::padded_len, routes::AllowedIp, secret::*, session::SessionBlock, time::*};
//! use kerntun_host::{Held, UserHost};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (alice, bob) = (Device::new(UserHost::new(Portable))?, Device::new(UserHost::new(Portable))?);
//! let (now, wall) = (Instant::from_nanos(1), Wall { seconds: 1_800_000_000, nanos: 0 });
//! let endpoint = |text: &str| Endpoint { remote: text.parse().unwrap(), source: None };
//! let (at_alice, at_bob) = (endpoint("192.0.2.1:51820"), endpoint("192.0.2.2:51820"));
//!
//! // Each gets a private key; then each makes the other a peer with one allowed IP.
//! for (device, key) in [(&alice, 1), (&bob, 2)] {
//!     let change = Change { private_key: Some(Secret::new([key << 4; 32])), ..Change::default() };
//!     device.configure(|c| c.prepare(change).map(|prepared| prepared.apply(now)))?;
//! }
//! for (device, other, ip, at) in [(&alice, &bob, [10, 0, 0, 2], at_bob), (&bob, &alice, [10, 0, 0, 1], at_alice)] {
//!     let allowed_ips = [AllowedIpChange::Add(AllowedIp::new(ip.into(), 32).unwrap())];
//!     let key = other.public_key().unwrap();
//!     let peer = PeerChange { endpoint: Some(at.remote), allowed_ips: &allowed_ips, ..PeerChange::new(key) };
//!     let change = Change { peers: &[peer], ..Change::default() };
//!     device.configure(|c| c.prepare(change).map(|prepared| prepared.apply(now)))?;
//! }
//!
//! // Alice has an IPv4 packet for 10.0.0.2 and no session yet: it is staged, and a handshake falls due.
//! let packet = [69, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! let peer = alice.route(&packet, packet.len()).unwrap();
//! assert_eq!(alice.reserve(now, peer, 1).unwrap_err(), NotReserved::Stage);
//! assert!(alice.stage(now, peer, Held::from_bytes(packet.to_vec(), 1)).followup.rearm);
//! let due = alice.expire(now).unwrap();
//! let initiation = alice.initiate(now, wall, due.peer).unwrap();
//!
//! // Bob answers. No queue of waiting handshakes is no load, so no cookies.
//! let (load, mut block) = (Load { depth: 0, capacity: 8 }, SessionBlock::new().ok());
//! let Handled::Reply(response) = bob.receive_handshake(now, initiation.bytes(), &at_alice, load, &mut block) else { panic!() };
//! let mut block = SessionBlock::new().ok();
//! let Handled::Connected(peer, _) = alice.receive_handshake(now, response.bytes(), &at_bob, load, &mut block) else { panic!() };
//!
//! // The staged packet gets its number and is sealed in place: header, padded packet, tag.
//! let (_staged, job) = alice.reserve_staged(now, peer).unwrap();
//! let mut datagram = [&job.header(0)[..], &packet].concat();
//! datagram.resize(16 + padded_len(packet.len(), 1420) + 16, 0);
//! let spans = [Span { start: 0, len: datagram.len() }];
//! let sealed = alice.seal(job, &mut Slices { buffer: &mut datagram, spans: &spans }).unwrap();
//! assert_eq!(alice.commit_sealed(now, sealed, datagram.len(), true).unwrap().endpoint.remote, at_bob.remote);
//! // It has been sent: newer packets need not queue up behind it any more.
//! let _ = alice.flushed(now, peer);
//!
//! // Bob finds the session, opens the packet, and learns what to do with it.
//! let mut entries = [Incoming::new(datagram.first_chunk().unwrap(), datagram.len(), 0).unwrap()];
//! let job = bob.admit(now, &mut entries).unwrap();
//! bob.open(&job, &mut entries, &mut Slices { buffer: &mut datagram, spans: &spans });
//! let _ = bob.commit_opened(now, job, &mut entries, &at_alice);
//! assert_eq!(entries[0].verdict(), Verdict::Deliver { len: 20, rewritten: false });
//! assert_eq!(datagram[16..36], packet);
//! # Ok(())
//! # }
//! ```
//!
//! # Stability
//!
//! Semantic versioning; before 1.0 a minor version may change the interface. The oldest supported Rust is the
//! `rust-version` of the manifest, and raising it is a minor version too. Names of [drop reasons](reason::Reason) and
//! [timers](timers::Timer) do not change their meaning.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
mod cookie;
mod deadlines;
pub mod device;
pub mod egress;
pub mod handshake;
pub mod host;
mod indices;
pub mod ingress;
pub mod inner;
pub mod listing;
pub mod memory;
pub mod message;
mod noise;
pub mod packet;
mod pages;
pub mod peer;
mod ratelimiter;
pub mod reason;
mod replay;
pub mod routes;
pub mod secret;
pub mod session;
#[cfg(test)]
mod testing;
pub mod time;
pub mod timers;
