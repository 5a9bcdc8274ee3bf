//! Handshake messages, in and out. They compute Diffie-Hellman, so they belong on a thread of their own; every
//! computation is made outside the locks, and what it was based on is checked again before anything changes.

use crate::cookie;
use crate::device::{Device, Followup};
use crate::host::{Entropy, Host, Lock, Table};
use crate::message::{CookieReply, Initiation, Kind, Response};
use crate::noise::{self, Identity};
use crate::peer::{Endpoint, Peer, PeerRef};
use crate::ratelimiter;
use crate::reason::Reason;
use crate::secret::{PublicKey, Secret};
use crate::session::{Retired, SessionBlock};
use crate::time::{Instant, MILLISECOND, SECOND, Tai64n, Wall};

/// The whole traffic class octet of handshake messages: AF41, not ECN capable (the kernel's choice).
const HANDSHAKE_TOS: u8 = 0x88;

/// Initiations of one peer are accepted this far apart: at most 50 a second.
const INITIATION_INTERVAL: u64 = 20 * MILLISECOND;
/// What the messages count for in the peer's statistics.
const INITIATION_BYTES: u64 = Initiation::LEN as u64;
const RESPONSE_BYTES: u64 = Response::LEN as u64;
/// A queue of handshakes this full is load: an eighth of it …
const LOAD_FRACTION: usize = 8;
/// … and counts as load for this long after it emptied.
const LOAD_HOLD: u64 = SECOND;

/// How full the host's queue of received handshake messages is.
///
/// A `depth` of an eighth of `capacity` is load, and so is the second after it: then initiations and responses have to carry a
/// cookie, and each source address has a limited share. Below a capacity of 8 one message that waits is enough; an empty queue is never load by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Messages waiting.
    pub depth: usize,
    /// Messages it can hold.
    pub capacity: usize,
}

/// A handshake message or cookie reply to send.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Outgoing {
    bytes: [u8; Initiation::LEN],
    len: usize,
    /// The whole traffic class octet: 0x88 (AF41, not ECN capable), or 0 for a cookie reply, which whoever asks for it
    /// shall not get before other traffic (as in Linux `drivers/net/wireguard/socket.c`).
    pub tos: u8,
    /// Where it goes, and from where.
    pub endpoint: Endpoint,
    /// What to do next.
    pub followup: Followup,
}

impl Outgoing {
    fn new<const N: usize>(message: &[u8; N], endpoint: Endpoint, rearm: bool) -> Self {
        let mut bytes = [0; Initiation::LEN];
        for (to, from) in bytes.iter_mut().zip(message) {
            *to = *from;
        }
        let tos = if N == CookieReply::LEN { 0 } else { HANDSHAKE_TOS };
        Self { bytes, len: N.min(Initiation::LEN), tos, endpoint, followup: Followup { rearm, flush: None } }
    }

    /// The datagram's payload: 148, 92 or 64 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What came of a received handshake message.
#[derive(Clone, Copy, Debug)]
#[must_use]
#[allow(clippy::large_enum_variant, reason = "it lives for one call, on the stack; a box would take memory per packet")]
pub enum Handled {
    /// Dropped for this reason, already counted.
    Dropped(Reason),
    /// To be sent back: a response, or a cookie reply (the message itself is then counted as dropped).
    Reply(Outgoing),
    /// The response to our initiation: there is a session. Confirm it at once, with the staged packets
    /// ([`Device::reserve_staged`]) or, if there are none, a keepalive ([`Device::reserve_keepalive`]).
    Connected(PeerRef, Followup),
    /// A cookie for the next initiation; nothing to do.
    CookieStored,
}

impl<H: Host> Device<H> {
    /// Whether a datagram that [`Kind::of`] takes for an initiation, a response or a cookie reply is worth a place in the
    /// host's queue: what anybody can send who does not know our public key, or not what we have sent, is not. If not, it
    /// is counted as dropped. [`Device::receive_handshake`] looks at all of it again; this is for the thread that fills
    /// the queue, and costs it one short mac.
    pub fn screen_handshake(&self, datagram: &[u8]) -> bool {
        self.screen(datagram).map_err(|reason| self.count_drop(None, reason, 1)).is_ok()
    }

    /// The checks that need neither a peer's lock nor Diffie-Hellman.
    fn screen(&self, datagram: &[u8]) -> Result<Kind, Reason> {
        let kind = datagram.first_chunk().and_then(|prefix| Kind::of(*prefix, datagram.len()));
        match kind.ok_or(Reason::Malformed)? {
            _ if !self.is_up() => Err(Reason::Down),
            kind @ (Kind::Initiation | Kind::Response) => {
                let key = self.tables.read(|tables| tables.identity.as_ref().map(|identity| identity.mac1_key));
                let valid = cookie::has_valid_mac1(self.host.crypto(), &key.ok_or(Reason::NoIdentity)?, datagram);
                if valid { Ok(kind) } else { Err(Reason::BadMac1) }
            }
            Kind::CookieReply => {
                let reply = datagram.first_chunk().and_then(CookieReply::parse).ok_or(Reason::Malformed)?;
                let peer = self.tables.read(|tables| tables.by_index(reply.receiver));
                peer.map(|_| Kind::CookieReply).ok_or(Reason::UnknownIndex)
            }
            Kind::Data => Err(Reason::Malformed),
        }
    }

    /// Handles a datagram that [`Kind::of`] takes for an initiation, a response or a cookie reply.
    ///
    /// `block` is memory for the session that the message may complete. It is taken if it does; lend a new one for the
    /// next call.
    pub fn receive_handshake(
        &self,
        now: Instant,
        datagram: &[u8],
        from: &Endpoint,
        load: Load,
        block: &mut Option<SessionBlock>,
    ) -> Handled {
        self.receive(now, datagram, from, load, block).unwrap_or_else(|Refusal { peer, reason }| {
            self.count_drop(peer, reason, 1);
            Handled::Dropped(reason)
        })
    }

    fn receive(
        &self,
        now: Instant,
        datagram: &[u8],
        from: &Endpoint,
        load: Load,
        block: &mut Option<SessionBlock>,
    ) -> Result<Handled, Refusal> {
        let kind = self.screen(datagram)?;
        if kind == Kind::CookieReply {
            return self.receive_cookie_reply(now, datagram);
        }
        let identity = self.identity().ok_or(Reason::NoIdentity)?;
        if let Some(reply) = self.demand_cookie(now, datagram, &identity, from, load)? {
            return Ok(Handled::Reply(reply));
        }
        if kind == Kind::Initiation {
            self.receive_initiation(now, datagram, &identity, from, block)
        } else {
            self.receive_response(now, datagram, &identity, from, block)
        }
    }

    /// Makes an initiation for `peer`, to be sent at once. `None` if none is due: there is no endpoint or no identity,
    /// randomness is not seeded, or the last handshake message is less than five seconds old (then it is due later: ask
    /// [`Device::next_deadline`] again).
    pub fn initiate(&self, now: Instant, wall: Wall, peer: PeerRef) -> Option<Outgoing> {
        let due = self.with_timers(peer, |peer| {
            peer.endpoint.filter(|_| self.is_up())?;
            if !peer.timers.may_initiate(now) {
                // Our last message is too young, but the reason for this one stands: it is due when it is not.
                peer.timers.want_initiation(now, false);
                return None;
            }
            Some((peer.remote(), peer.cookies.fresh(now), peer.last_stamp_sent))
        });
        let Some((Some((remote, cookie, last_stamp)), _)) = due else { return None };
        // In this order: an identity changes before what follows from it in the peers does, which ends this handshake.
        let identity = self.identity()?;
        let stamp = self.next_stamp(wall, last_stamp);
        let made = self.random_secret().ok_or(Reason::NotSeeded).and_then(|ephemeral| {
            let index = self.new_index(peer).ok_or(Reason::HandshakeLost)?;
            noise::initiate(self.host.crypto(), &identity, &remote, ephemeral, index, stamp)
                .inspect_err(|_| self.forget_indices(Some(index), &Retired::default()))
        });
        let (handshake, mut message) = match made {
            Ok(made) => made,
            Err(reason) => {
                self.with_timers(peer, |peer| {
                    if self.is_up() {
                        peer.timers.handshake_initiated(now);
                    }
                });
                self.count_drop(Some(peer), reason, 1);
                return None;
            }
        };
        let index = handshake.index;
        let mac1 = cookie::sign(self.host.crypto(), &mut message, &remote.static_key, cookie);
        let committed = self.with_timers(peer, |peer| {
            let endpoint = peer.endpoint.filter(|_| self.is_up())?;
            if !peer.timers.may_initiate(now) || peer.static_static != remote.static_static {
                // Somebody was faster, or we are somebody else now.
                peer.timers.want_initiation(now, false);
                return None;
            }
            let ended = peer.end_handshake();
            peer.handshake = Some(handshake);
            peer.cookies.sent(mac1);
            peer.last_stamp_sent = stamp;
            peer.timers.handshake_initiated(now);
            peer.timers.any_authenticated_sent(now);
            peer.tx_bytes = peer.tx_bytes.saturating_add(INITIATION_BYTES);
            Some((endpoint, ended))
        });
        let Some((Some((endpoint, ended)), rearm)) = committed else {
            self.forget_indices(Some(index), &Retired::default());
            return None;
        };
        self.forget_indices(ended, &Retired::default());
        Some(Outgoing::new(&message, endpoint, rearm))
    }

    /// The checks that come before any Diffie-Hellman of a message that was [screened](Self::screen): under load mac2 and
    /// the source's share. Gives the reply that is sent instead if mac2 is missing.
    // A frame of its own, like those below: a kernel's stack is small, and only one of them is on it at a time.
    #[inline(never)]
    fn demand_cookie(
        &self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
        from: &Endpoint,
        load: Load,
    ) -> Result<Option<Outgoing>, Reason> {
        if !self.is_loaded(now, load) {
            return Ok(None);
        }
        let crypto = self.host.crypto();
        let secret = self.cookie_secret(now).ok_or(Reason::NotSeeded)?;
        let cookie = cookie::cookie_for(crypto, &secret, &from.remote);
        if cookie::has_valid_mac2(crypto, &cookie, datagram) {
            return if self.is_within_share(now, from) { Ok(None) } else { Err(Reason::RateLimited) };
        }
        let mut nonce = [0; 24];
        if !self.host.entropy().fill(&mut nonce) {
            return Err(Reason::NotSeeded);
        }
        let reply = cookie::reply(crypto, identity, &nonce, &cookie, datagram).ok_or(Reason::Malformed)?;
        self.count_drop(None, Reason::CookieRequired, 1);
        Ok(Some(Outgoing::new(&reply, *from, false)))
    }

    #[inline(never)]
    fn receive_initiation(
        &self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
        from: &Endpoint,
        block: &mut Option<SessionBlock>,
    ) -> Result<Handled, Refusal> {
        let crypto = self.host.crypto();
        let message = &datagram.first_chunk().and_then(Initiation::parse).ok_or(Reason::Malformed)?;
        let opened = noise::open_initiation(crypto, identity, message)?;
        let peer = self.find(&PublicKey(opened.remote_static)).ok_or(Reason::UnknownPeer)?;
        let refuse = |reason| Refusal { peer: Some(peer), reason };
        let remote = self.with_peer(peer, |peer| peer.remote()).ok_or(Reason::UnknownPeer)?;
        let read = opened.read_timestamp(crypto, &remote.static_static, message);
        let (answering, stamp) = read.map_err(refuse)?;
        self.with_peer(peer, |peer| may_accept(peer, stamp, now)).ok_or(Reason::UnknownPeer)?.map_err(refuse)?;

        let ephemeral = self.random_secret().ok_or_else(|| refuse(Reason::NotSeeded))?;
        let index = self.new_index(peer).ok_or_else(|| refuse(Reason::HandshakeLost))?;
        let committed = answering.respond(crypto, &remote, ephemeral, index).and_then(|(keys, mut response)| {
            let cookie = self.with_peer(peer, |peer| peer.cookies.fresh(now)).flatten();
            let mac1 = cookie::sign(crypto, &mut response, &remote.static_key, cookie);
            let committed = self.with_timers(peer, |peer| {
                // Another initiation, or a change of keys, may have come first.
                may_accept(peer, stamp, now)?;
                if !self.is_up() {
                    return Err(Reason::Down);
                }
                if peer.preshared != remote.preshared || peer.static_static != remote.static_static {
                    return Err(Reason::HandshakeLost);
                }
                let block = block.take().ok_or(Reason::HandshakeLost)?;
                peer.greatest_stamp = stamp;
                peer.last_initiation_received = Some(now);
                let ended = peer.end_handshake();
                let retired = peer.keypairs.insert(block, keys, false, now);
                peer.endpoint = Some(*from);
                peer.cookies.sent(mac1);
                peer.timers.session_derived(now);
                peer.timers.handshake_answered(now);
                peer.timers.any_authenticated_received(now);
                peer.timers.any_authenticated_sent(now);
                peer.rx_bytes = peer.rx_bytes.saturating_add(INITIATION_BYTES);
                peer.tx_bytes = peer.tx_bytes.saturating_add(RESPONSE_BYTES);
                Ok((ended, retired))
            });
            let (done, rearm) = committed.ok_or(Reason::HandshakeLost)?;
            done.map(|(ended, retired)| (ended, retired, response, rearm))
        });
        match committed {
            Ok((ended, retired, response, rearm)) => {
                self.forget_indices(ended, &retired);
                Ok(Handled::Reply(Outgoing::new(&response, *from, rearm)))
            }
            Err(reason) => {
                self.forget_indices(Some(index), &Retired::default());
                Err(refuse(reason))
            }
        }
    }

    #[inline(never)]
    fn receive_response(
        &self,
        now: Instant,
        datagram: &[u8],
        identity: &Identity,
        from: &Endpoint,
        block: &mut Option<SessionBlock>,
    ) -> Result<Handled, Refusal> {
        let message = &datagram.first_chunk().and_then(Response::parse).ok_or(Reason::Malformed)?;
        let peer = self.tables.read(|tables| tables.by_index(message.receiver)).ok_or(Reason::UnknownIndex)?;
        let pending =
            self.with_peer(peer, |peer| Some((peer.initiating(message.receiver)?.clone(), peer.preshared.clone())));
        let (handshake, preshared) = pending.flatten().ok_or(Reason::UnknownIndex)?;
        let refuse = |reason| Refusal { peer: Some(peer), reason };
        let keys = handshake.finish(self.host.crypto(), identity, &preshared, message).map_err(refuse)?;
        let committed = self.with_timers(peer, |peer| {
            if peer.initiating(message.receiver).is_none() || peer.preshared != preshared {
                return None;
            }
            let block = block.take()?;
            peer.handshake = None;
            let retired = peer.keypairs.insert(block, keys, true, now);
            peer.endpoint = Some(*from);
            peer.last_handshake = Some(now);
            peer.timers.session_derived(now);
            peer.timers.handshake_complete();
            peer.timers.any_authenticated_received(now);
            peer.rx_bytes = peer.rx_bytes.saturating_add(RESPONSE_BYTES);
            Some((retired, peer.staged().0 > 0))
        });
        let Some((Some((retired, waiting)), rearm)) = committed else {
            return Err(refuse(Reason::HandshakeLost));
        };
        self.forget_indices(None, &retired);
        Ok(Handled::Connected(peer, Followup { rearm, flush: waiting.then_some(peer) }))
    }

    #[inline(never)]
    fn receive_cookie_reply(&self, now: Instant, datagram: &[u8]) -> Result<Handled, Refusal> {
        let message = &datagram.first_chunk().and_then(CookieReply::parse).ok_or(Reason::Malformed)?;
        let peer = self.tables.read(|tables| tables.by_index(message.receiver)).ok_or(Reason::UnknownIndex)?;
        let refuse = |reason| Refusal { peer: Some(peer), reason };
        let expected = self.with_peer(peer, |peer| peer.cookies.expecting().map(|mac1| (mac1, peer.static_key)));
        let (mac1, key) = expected.flatten().ok_or_else(|| refuse(Reason::BadCookie))?;
        let cookie =
            cookie::open_reply(self.host.crypto(), &key.0, message, &mac1).ok_or_else(|| refuse(Reason::BadCookie))?;
        let accepted = self.with_peer(peer, |peer| peer.cookies.accept(now, &mac1, cookie));
        if accepted == Some(true) { Ok(Handled::CookieStored) } else { Err(refuse(Reason::BadCookie)) }
    }

    /// Load is an eighth of the queue, and a second after that (kernel `receive.c`).
    fn is_loaded(&self, now: Instant, load: Load) -> bool {
        let full = load.depth > 0 && load.depth >= load.capacity / LOAD_FRACTION;
        self.admission.with(|admission| {
            if full {
                admission.loaded_until = now.after(LOAD_HOLD);
            }
            full || now < admission.loaded_until
        })
    }

    /// The secret that cookies are made with, renewed every two minutes.
    fn cookie_secret(&self, now: Instant) -> Option<Secret> {
        if let Some(secret) = self.admission.with(|admission| admission.cookies.current(now)) {
            return Some(secret);
        }
        let fresh = self.random_secret()?;
        Some(self.admission.with(|admission| admission.cookies.renew(now, fresh)))
    }

    pub(crate) fn is_within_share(&self, now: Instant, from: &Endpoint) -> bool {
        let source = ratelimiter::Source::of(&from.remote);
        let mut key = self.admission.with(|admission| admission.bucket_key.clone());
        if key.is_zero() {
            let Some(fresh) = self.random_secret() else { return false };
            key = self.admission.with(|admission| {
                if admission.bucket_key.is_zero() {
                    admission.bucket_key = fresh;
                }
                admission.bucket_key.clone()
            });
        }
        let hash = self.keyed_hash(&key, &source.to_bytes());
        let [a, b, c, d, e, f, g, h, ..] = hash.to_le_bytes();
        let hash = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.admission.with(|admission| admission.buckets.allow(now, hash, source))
    }

    /// A timestamp greater than all that `peer` has had from us, in this life of the device or an earlier one.
    fn next_stamp(&self, wall: Wall, last: Tai64n) -> Tai64n {
        let stamp = Tai64n::from_wall(wall).max(last.next());
        self.stamps.with(|stamps| {
            let stamp = stamp.max(stamps.floor);
            stamps.greatest = stamps.greatest.max(stamp);
            stamp
        })
    }

    fn identity(&self) -> Option<Identity> {
        self.tables.read(|tables| tables.identity.clone())
    }
}

/// Why a message was dropped, and whose it was, if that is known.
struct Refusal {
    peer: Option<PeerRef>,
    reason: Reason,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { peer: None, reason }
    }
}

/// Replay and flood protection of initiations. Under the peer's lock, twice: before the expensive half, to save it, and
/// when the handshake is committed, because another one may have come first.
fn may_accept<H: Host>(peer: &Peer<H>, stamp: Tai64n, now: Instant) -> Result<(), Reason> {
    if stamp <= peer.greatest_stamp {
        return Err(Reason::OldTimestamp);
    }
    match peer.last_initiation_received {
        Some(last) if !last.has_passed(INITIATION_INTERVAL, now) => Err(Reason::InitiationFlood),
        _ => Ok(()),
    }
}
