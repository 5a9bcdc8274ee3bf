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

/// Whether `message`, a whole initiation or response, was made for the public key that `key` is the [`mac1_key`] of. The
/// first check of all, before any look-up and any Diffie-Hellman.
pub(crate) fn has_valid_mac1(crypto: &impl Crypto, key: &[u8; 32], message: &[u8]) -> bool {
    let Some(macs) = Macs::of(message) else { return false };
    let mut expected = [0; 16];
    crypto.mac(&mut expected, key, &[macs.covered]);
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
    let tag = crypto.xseal(&identity.cookie_key, nonce, mac1, &mut text);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::crypto::TestCrypto;
    use crate::testing::{Random, unhex};
    use std::vec::Vec;

    const C: &TestCrypto = &TestCrypto;
    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * SECOND)
    }

    fn identity() -> Identity {
        Identity::new(C, Secret::new([3; 32]))
    }

    /// A message of `N` bytes with valid macs, as far as anyone can see from outside.
    fn signed<const N: usize>(kind: u8, cookie: Option<[u8; 16]>) -> ([u8; N], [u8; 16]) {
        let mut message = Random::new(u64::from(kind)).bytes::<N>();
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        let mac1 = sign(C, &mut message, &identity().public, cookie);
        (message, mac1)
    }

    #[test]
    fn the_bytes_are_those_of_another_implementation() {
        // Made with Python: hashlib's BLAKE2s, XChaCha20-Poly1305 written out and checked with RFC 8439, 2.8.2.
        let public: [u8; 32] = core::array::from_fn(|at| at as u8);
        let mut message: [u8; 148] = core::array::from_fn(|at| if at < 116 { at as u8 } else { 0xff });
        message[..4].copy_from_slice(&[1, 0, 0, 0]);
        let secret = Secret::new(core::array::from_fn(|at| 100 + at as u8));
        let nonce = core::array::from_fn(|at| 200 + at as u8);

        let v4 = cookie_for(C, &secret, &"192.0.2.7:51820".parse().unwrap());
        assert_eq!(v4, unhex("9d893379e247d4c3f0975531ae51e207"));
        let v6 = cookie_for(C, &secret, &"[2001:db8::7]:51820".parse().unwrap());
        assert_eq!(v6, unhex("d2065def141de5de148e2de8a50898d1"));

        let mac1 = sign(C, &mut message, &public, Some(v4));
        assert_eq!(mac1, unhex("44a5276c0c75b37d5cfede7eaeb9cf59"));
        assert_eq!(message[116..132], mac1);
        assert_eq!(message[132..], unhex::<16>("d9cd90a09667442d436997d5579f3f94"));

        let reply = CookieReply::parse(&unhex(concat!(
            "0300000004050607c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
            "e856289180b096bfeb2434c6d7aa1134f8bcf6737bc065cb11cbbde39675c591"
        )));
        assert_eq!(reply.unwrap().nonce, nonce);
        assert_eq!(open_reply(C, &public, &reply.unwrap(), &mac1), Some(v4));
    }

    #[test]
    fn every_flipped_bit_breaks_both_macs() {
        fn check<const N: usize>(kind: u8) {
            let cookie = [0x5a; 16];
            let (message, mac1) = signed::<N>(kind, Some(cookie));
            assert_eq!(message[N - 32..N - 16], mac1);
            assert!(has_valid_mac1(C, &identity().mac1_key, &message));
            assert!(has_valid_mac2(C, &cookie, &message));
            for bit in 0..N * 8 {
                let mut forged = message;
                forged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(has_valid_mac1(C, &identity().mac1_key, &forged), bit / 8 >= N - 16, "bit {bit}");
                assert!(!has_valid_mac2(C, &cookie, &forged), "bit {bit}");
            }
        }
        check::<148>(1);
        check::<92>(2);
    }

    #[test]
    fn without_a_cookie_mac2_is_zero_and_invalid() {
        let (message, _) = signed::<148>(1, None);
        assert_eq!(message[132..], [0; 16]);
        assert!(has_valid_mac1(C, &identity().mac1_key, &message));
        assert!(!has_valid_mac2(C, &[0; 16], &message));
    }

    #[test]
    fn mac1_is_for_one_public_key() {
        let (message, _) = signed::<148>(1, None);
        assert!(!has_valid_mac1(C, &Identity::new(C, Secret::new([4; 32])).mac1_key, &message));
    }

    #[test]
    fn messages_too_short_for_macs_are_invalid_and_stay_as_they_are() {
        for len in 0..32 {
            let mut message = Vec::from_iter(std::iter::repeat_n(0x77, len));
            assert!(!has_valid_mac1(C, &identity().mac1_key, &message));
            assert!(!has_valid_mac2(C, &[1; 16], &message));
            assert_eq!(reply(C, &identity(), &[0; 24], &[1; 16], &message), None);
            sign(C, &mut message, &identity().public, Some([1; 16]));
            assert!(message.iter().all(|byte| *byte == 0x77));
        }
    }

    #[test]
    fn a_cookie_goes_to_the_one_who_asked_and_comes_back_as_mac2() {
        fn check<const N: usize>(kind: u8) {
            let responder = identity();
            let source = "[2001:db8::1]:1000".parse().unwrap();
            let secret = Secret::new([7; 32]);
            let cookie = cookie_for(C, &secret, &source);
            let (message, mac1) = signed::<N>(kind, None);
            let bytes = reply(C, &responder, &[9; 24], &cookie, &message).unwrap();

            assert_eq!(bytes[..4], [3, 0, 0, 0]);
            assert_eq!(bytes[4..8], message[4..8], "its receiver is the sender of the message");
            let parsed = CookieReply::parse(&bytes).unwrap();
            let opened = open_reply(C, &responder.public, &parsed, &mac1).unwrap();
            assert_eq!(opened, cookie);
            let (message, _) = signed::<N>(kind, Some(opened));
            assert!(has_valid_mac2(C, &cookie_for(C, &secret, &source), &message));
            for elsewhere in ["[2001:db8::1]:1001", "[2001:db8::2]:1000", "32.1.13.184:1000"] {
                let other = cookie_for(C, &secret, &elsewhere.parse().unwrap());
                assert!(!has_valid_mac2(C, &other, &message), "{elsewhere}");
            }
            let other = cookie_for(C, &Secret::new([8; 32]), &source);
            assert!(!has_valid_mac2(C, &other, &message), "another secret");

            assert_eq!(open_reply(C, &responder.public, &parsed, &[0; 16]), None, "another message");
            assert_eq!(open_reply(C, &[4; 32], &parsed, &mac1), None, "another peer");
            for bit in 8 * 8..64 * 8 {
                let mut forged = bytes;
                forged[bit / 8] ^= 1 << (bit % 8);
                let forged = CookieReply::parse(&forged).unwrap();
                assert_eq!(open_reply(C, &responder.public, &forged, &mac1), None, "bit {bit}");
            }
        }
        check::<148>(1);
        check::<92>(2);
    }

    #[test]
    fn the_address_of_a_v4_source_is_told_from_its_port() {
        // 1.2.3.4 port 0x0506 and 3.4.5.6 share bytes, not their order.
        let cookies: Vec<_> = ["1.2.3.4:1286", "1.2.3.4:1541", "3.4.5.6:258"]
            .map(|source| cookie_for(C, &Secret::ZERO, &source.parse().unwrap()))
            .into();
        assert!(cookies[0] != cookies[1] && cookies[0] != cookies[2] && cookies[1] != cookies[2]);
    }

    #[test]
    fn the_secret_rotates_at_120_seconds() {
        let mut secret = CookieSecret::new();
        let (first, second) = (Secret::new([1; 32]), Secret::new([2; 32]));
        assert_eq!(secret.current(at(0)), None);
        assert_eq!(secret.renew(at(50), first.clone()), first);
        assert_eq!(secret.current(at(50)), Some(first.clone()));
        let last = Instant::from_nanos(170 * SECOND - 1);
        assert_eq!(secret.current(last), Some(first.clone()));
        assert_eq!(secret.renew(last, second.clone()), first, "somebody was faster");
        assert_eq!(secret.current(at(170)), None);
        assert_eq!(secret.current(at(10)), Some(first), "the clock stepped back");
        assert_eq!(secret.renew(at(170), second.clone()), second);
        assert_eq!(secret.current(at(289)), Some(second));
        assert_eq!(secret.current(at(290)), None);
    }

    #[test]
    fn a_cookie_is_used_for_115_seconds() {
        let mut jar = CookieJar::new();
        assert_eq!(jar.fresh(at(0)), None);
        jar.sent([1; 16]);
        assert!(jar.accept(at(1000), &[1; 16], [2; 16]));
        assert_eq!(jar.fresh(at(1000)), Some([2; 16]));
        assert_eq!(jar.fresh(Instant::from_nanos(1115 * SECOND - 1)), Some([2; 16]));
        assert_eq!(jar.fresh(at(1115)), None);
    }

    #[test]
    fn one_reply_is_accepted_for_each_mac1_sent() {
        let mut jar = CookieJar::new();
        assert_eq!(jar.expecting(), None);
        assert!(!jar.accept(at(1), &[0; 16], [9; 16]), "nothing was sent");
        jar.sent([1; 16]);
        assert_eq!(jar.expecting(), Some([1; 16]));
        assert!(!jar.accept(at(1), &[2; 16], [9; 16]), "another message");
        assert_eq!((jar.fresh(at(1)), jar.expecting()), (None, Some([1; 16])), "nothing has changed");
        assert!(jar.accept(at(1), &[1; 16], [3; 16]));
        assert_eq!(jar.expecting(), None);
        assert!(!jar.accept(at(2), &[1; 16], [9; 16]), "answered already");
        jar.sent([4; 16]);
        jar.sent([5; 16]);
        assert!(!jar.accept(at(2), &[4; 16], [9; 16]), "overtaken");
        assert_eq!(jar.fresh(at(2)), Some([3; 16]), "the old one is kept meanwhile");
        assert!(jar.accept(at(2), &[5; 16], [6; 16]));
        assert_eq!(jar.fresh(at(2)), Some([6; 16]));
    }
}
