//! Macs and cookies: who may make us compute, and who has to prove its address first (paper, section 5.3, 5.4.4
//! and 5.4.7).
//!
//! mac1 proves that the sender knows our public key. Under load mac2 proves that it receives at its source address:
//! it is keyed with a cookie, which went there in a cookie reply.

use crate::host::Crypto;
use crate::message::{CookieReply, Macs, Sealed, sender_of};
use crate::noise::Identity;
use crate::secret::Secret;
use crate::time::{Instant, SECOND};
use core::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// How long the responder makes cookies with one secret (paper, section 5.4.7).
const SECRET_MAX_AGE: u64 = 120 * SECOND;
/// How long an initiator uses a cookie: five seconds less, so that it does not arrive too old (kernel,
/// `COOKIE_SECRET_LATENCY`).
const COOKIE_MAX_AGE: u64 = SECRET_MAX_AGE - 5 * SECOND;

/// Key of mac1 in messages to the owner of `public`: HASH(LABEL_MAC1 ‖ S).
pub(crate) fn mac1_key(crypto: &impl Crypto, public: &[u8; 32]) -> [u8; 32] {
    let mut key = [0; 32];
    crypto.hash(&mut key, &[LABEL_MAC1, public]);
    key
}

/// Key of cookie replies from the owner of `public`: HASH(LABEL_COOKIE ‖ S). As little a secret as the public key.
pub(crate) fn cookie_key(crypto: &impl Crypto, public: &[u8; 32]) -> Secret {
    let mut key = Secret::ZERO;
    crypto.hash(key.expose_mut(), &[LABEL_COOKIE, public]);
    key
}

/// Whether `message`, a whole initiation or response, was made for our public key. The first check of all, before any
/// look-up and any Diffie-Hellman.
pub(crate) fn has_valid_mac1(crypto: &impl Crypto, identity: &Identity, message: &[u8]) -> bool {
    let Some(macs) = Macs::of(message) else { return false };
    let mut expected = [0; 16];
    crypto.mac(&mut expected, identity.mac1_key(), &[macs.covered]);
    expected.ct_eq(macs.mac1).into()
}

/// Whether the sender of `message`, a whole initiation or response, holds `cookie`: the one
/// [for its source address](cookie_for).
pub(crate) fn has_valid_mac2(crypto: &impl Crypto, cookie: &[u8; 16], message: &[u8]) -> bool {
    let Some(macs) = Macs::of(message) else { return false };
    let mut expected = [0; 16];
    crypto.mac(&mut expected, cookie, &[macs.covered, macs.mac1]);
    expected.ct_eq(macs.mac2).into()
}

/// Writes mac1 of `message`, an initiation or response to the owner of `remote_static`, and mac2 if a cookie of that
/// peer is held (zeros otherwise). Gives mac1, for [`CookieJar::sent`].
///
/// Nothing is written if `message` is shorter than two macs, which no handshake message is.
pub(crate) fn sign(
    crypto: &impl Crypto,
    message: &mut [u8],
    remote_static: &[u8; 32],
    cookie: Option<[u8; 16]>,
) -> [u8; 16] {
    let key = mac1_key(crypto, remote_static);
    let mut mac1 = [0; 16];
    let Some((rest, mac2_place)) = message.split_last_chunk_mut::<16>() else { return mac1 };
    let Some((covered, mac1_place)) = rest.split_last_chunk_mut::<16>() else { return mac1 };
    crypto.mac(&mut mac1, &key, &[covered]);
    *mac1_place = mac1;
    *mac2_place = [0; 16];
    if let Some(cookie) = cookie {
        crypto.mac(mac2_place, &cookie, &[covered, mac1_place]);
    }
    mac1
}

/// The responder's secret of which all cookies are made.
///
/// It lives under a lock of the device, where entropy may not be asked for. So: under the lock
/// [`current`](Self::current); if it has nothing, 32 random bytes outside; under the lock again
/// [`renew`](Self::renew). Without randomness there is no cookie, and the message is dropped as
/// [`Reason::NotSeeded`](crate::reason::Reason::NotSeeded).
#[derive(Debug)]
pub(crate) struct CookieSecret {
    secret: Secret,
    born: Option<Instant>,
}

impl CookieSecret {
    /// No secret yet.
    pub(crate) const fn new() -> Self {
        Self { secret: Secret::ZERO, born: None }
    }

    /// The secret, unless it was never made or has reached 120 s.
    pub(crate) fn current(&self, now: Instant) -> Option<Secret> {
        let born = self.born?;
        (!born.has_passed(SECRET_MAX_AGE, now)).then(|| self.secret.clone())
    }

    /// Puts `fresh` in the place of a secret that is too old, and gives what is current now: another thread's, if
    /// that one was faster.
    pub(crate) fn renew(&mut self, now: Instant, fresh: Secret) -> Secret {
        if let Some(current) = self.current(now) {
            return current;
        }
        self.secret = fresh.clone();
        self.born = Some(now);
        fresh
    }
}

/// The cookie of whoever receives at `source`: MAC(secret, address ‖ port), both in network order, as the kernel does
/// (`cookie.c`, `make_cookie`).
pub(crate) fn cookie_for(crypto: &impl Crypto, secret: &Secret, source: &SocketAddr) -> [u8; 16] {
    let mut cookie = [0; 16];
    let port = source.port().to_be_bytes();
    match source.ip() {
        IpAddr::V4(ip) => crypto.mac(&mut cookie, secret.expose(), &[&ip.octets(), &port]),
        IpAddr::V6(ip) => crypto.mac(&mut cookie, secret.expose(), &[&ip.octets(), &port]),
    }
    cookie
}

/// The cookie reply to `message`, a whole initiation or response whose mac1 is valid. `nonce` is fresh from the host's
/// entropy. `None` if `message` is too short to be either.
pub(crate) fn reply(
    crypto: &impl Crypto,
    identity: &Identity,
    nonce: &[u8; 24],
    cookie: &[u8; 16],
    message: &[u8],
) -> Option<[u8; CookieReply::LEN]> {
    let mac1 = Macs::of(message)?.mac1;
    let mut text = *cookie;
    let tag = crypto.xseal(identity.cookie_key(), nonce, mac1, &mut text);
    let reply = CookieReply { receiver: sender_of(message)?, nonce: *nonce, encrypted_cookie: Sealed { text, tag } };
    Some(reply.to_bytes())
}

/// The cookie in `reply`, which the owner of `remote_static` sent to answer the message with that `mac1`; `None` if it
/// is somebody else's or answers another message.
pub(crate) fn open_reply(
    crypto: &impl Crypto,
    remote_static: &[u8; 32],
    reply: &CookieReply,
    mac1: &[u8; 16],
) -> Option<[u8; 16]> {
    let key = cookie_key(crypto, remote_static);
    let Sealed { mut text, tag } = reply.encrypted_cookie;
    crypto.xopen(&key, &reply.nonce, mac1, &mut text, &tag).then_some(text)
}

/// What one peer holds of cookies: the last it was given, and the mac1 the next one has to answer.
///
/// A reply is opened outside the peer's lock: [`expecting`](Self::expecting) under it, [`open_reply`],
/// [`accept`](Self::accept) under it again.
#[derive(Debug)]
pub(crate) struct CookieJar {
    cookie: Option<([u8; 16], Instant)>,
    expecting: Option<[u8; 16]>,
}

impl CookieJar {
    /// No cookie, nothing sent.
    pub(crate) const fn new() -> Self {
        Self { cookie: None, expecting: None }
    }

    /// The cookie for the message to be sent now, if there is one younger than 115 s.
    pub(crate) fn fresh(&self, now: Instant) -> Option<[u8; 16]> {
        let (cookie, received) = self.cookie?;
        (!received.has_passed(COOKIE_MAX_AGE, now)).then_some(cookie)
    }

    /// A handshake message with that mac1 goes out: one reply to it may come back, and none to earlier ones.
    pub(crate) const fn sent(&mut self, mac1: [u8; 16]) {
        self.expecting = Some(mac1);
    }

    /// The mac1 a cookie reply has to answer; `None` if none is due.
    pub(crate) const fn expecting(&self) -> Option<[u8; 16]> {
        self.expecting
    }

    /// Keeps the cookie of a reply to `mac1`. False, and nothing changes, if that message has been answered or
    /// overtaken meanwhile: each is answered once at most.
    pub(crate) fn accept(&mut self, now: Instant, mac1: &[u8; 16], cookie: [u8; 16]) -> bool {
        if !self.expecting.is_some_and(|expected| expected.ct_eq(mac1).into()) {
            return false;
        }
        self.cookie = Some((cookie, now));
        self.expecting = None;
        true
    }
}
