//! The handshake against `snow`, which knows nothing of WireGuard, and against forgers.

use super::*;
use crate::cookie::{has_valid_mac1, sign};
use crate::message::Kind;
use crate::testing::Random;
use crate::testing::crypto::TestCrypto;
use crate::time::Wall;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use std::vec;
use std::vec::Vec;

const C: &TestCrypto = &TestCrypto;
const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Two sides that know each other, and the keys of one handshake between them.
struct Pair {
    initiator: Identity,
    responder: Identity,
    preshared: Secret,
    initiator_ephemeral: Secret,
    responder_ephemeral: Secret,
}

impl Pair {
    fn new(seed: u64, preshared: bool) -> Self {
        let mut random = Random::new(seed);
        Self {
            initiator: Identity::new(C, Secret::new(random.bytes())),
            responder: Identity::new(C, Secret::new(random.bytes())),
            preshared: if preshared { Secret::new(random.bytes()) } else { Secret::ZERO },
            initiator_ephemeral: Secret::new(random.bytes()),
            responder_ephemeral: Secret::new(random.bytes()),
        }
    }

    fn initiate(&self) -> (Initiating, [u8; 148]) {
        let remote = remote(&self.initiator, &self.responder.public, &self.preshared);
        initiate(C, &self.initiator, &remote, self.initiator_ephemeral.clone(), 0x0403_0201, stamp()).unwrap()
    }

    /// The initiation as the responder reads it, and its answer.
    fn answer(&self, initiation: &[u8; 148]) -> Result<(SessionKeys, [u8; 92]), Reason> {
        let message = Initiation::parse(initiation).unwrap();
        let opened = open_initiation(C, &self.responder, &message)?;
        assert_eq!(opened.remote_static, self.initiator.public);
        let remote = remote(&self.responder, &opened.remote_static, &self.preshared);
        let (answering, read) = opened.read_timestamp(C, &remote.static_static, &message)?;
        assert_eq!(read, stamp());
        answering.respond(C, &remote, self.responder_ephemeral.clone(), 0x0807_0605)
    }

    fn finish(&self, initiating: &Initiating, response: &[u8; 92]) -> Result<SessionKeys, Reason> {
        initiating.finish(C, &self.initiator, &self.preshared, &Response::parse(response).unwrap())
    }

    fn snow_initiator(&self) -> HandshakeState {
        let builder = self.snow(&self.initiator, &self.initiator_ephemeral);
        builder.remote_public_key(&self.responder.public).unwrap().build_initiator().unwrap()
    }

    fn snow_responder(&self) -> HandshakeState {
        self.snow(&self.responder, &self.responder_ephemeral).build_responder().unwrap()
    }

    fn snow<'a>(&'a self, identity: &'a Identity, ephemeral: &'a Secret) -> Builder<'a> {
        let builder = Builder::new(PATTERN.parse::<NoiseParams>().unwrap()).prologue(PROLOGUE).unwrap();
        let builder = builder.psk(2, self.preshared.expose()).unwrap();
        let builder = builder.local_private_key(identity.private.expose()).unwrap();
        builder.fixed_ephemeral_key_for_testing_only(ephemeral.expose())
    }
}

fn remote(identity: &Identity, peer: &[u8; 32], preshared: &Secret) -> Remote {
    Remote { static_key: *peer, static_static: identity.static_static(C, peer), preshared: preshared.clone() }
}

fn stamp() -> Tai64n {
    Tai64n::from_wall(Wall { seconds: 1_700_000_000, nanos: 123_456_789 })
}

/// What `snow` writes next.
fn written(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 200];
    let len = state.write_message(payload, &mut message).unwrap();
    message.truncate(len);
    message
}

/// The payload of what `snow` reads.
fn read(state: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 200];
    let len = state.read_message(message, &mut payload).unwrap();
    payload.truncate(len);
    payload
}

/// `snow` at the other end of the session reads what is sealed with `keys`, and the other way round.
fn assert_understood(keys: &SessionKeys, other_end: HandshakeState) {
    let snow = other_end.into_stateless_transport_mode().unwrap();
    for counter in [0, 1, u64::from(u32::MAX) + 7] {
        let mut text = *b"from here to there";
        let tag = C.seal(&keys.send, counter, &[], &mut text);
        let mut plain = [0; 18];
        assert_eq!(snow.read_message(counter, &[&text[..], &tag].concat(), &mut plain).unwrap(), 18);
        assert_eq!(&plain, b"from here to there");

        let mut sealed = [0; 34];
        assert_eq!(snow.write_message(counter, b"from there to here", &mut sealed).unwrap(), 34);
        let mut text: [u8; 18] = sealed[..18].try_into().unwrap();
        assert!(C.open(&keys.receive, counter, &[], &mut text, sealed[18..].try_into().unwrap()));
        assert_eq!(&text, b"from there to here");
    }
}

#[test]
fn both_messages_and_sessions_are_those_of_snow() {
    for (seed, preshared) in (1..6).flat_map(|seed| [(seed, false), (seed, true)]) {
        let pair = Pair::new(seed, preshared);
        let (initiating, initiation) = pair.initiate();
        let (mut snow_initiator, mut snow_responder) = (pair.snow_initiator(), pair.snow_responder());

        let snow_initiation = written(&mut snow_initiator, stamp().as_bytes());
        assert_eq!(initiation[..8], [1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(initiation[8..116], snow_initiation);
        assert_eq!(initiation[116..], [0; 32]);
        assert_eq!(read(&mut snow_responder, &initiation[8..116]), stamp().as_bytes());

        let (responder_keys, response) = pair.answer(&initiation).unwrap();
        let snow_response = written(&mut snow_responder, &[]);
        assert_eq!(response[..12], [2, 0, 0, 0, 5, 6, 7, 8, 1, 2, 3, 4]);
        assert_eq!(response[12..60], snow_response);
        assert_eq!(response[60..], [0; 32]);
        assert!(read(&mut snow_initiator, &response[12..60]).is_empty());

        let initiator_keys = pair.finish(&initiating, &response).unwrap();
        assert_eq!((initiator_keys.local_index, initiator_keys.remote_index), (0x0403_0201, 0x0807_0605));
        assert_eq!((responder_keys.local_index, responder_keys.remote_index), (0x0807_0605, 0x0403_0201));
        assert_understood(&initiator_keys, snow_responder);
        assert_understood(&responder_keys, snow_initiator);
        assert_eq!(initiator_keys.send, responder_keys.receive);
        assert_eq!(initiator_keys.receive, responder_keys.send);
        assert!(initiator_keys.send != initiator_keys.receive);
    }
}

#[test]
fn derived_keys_are_those_of_hkdf() {
    // HKDF-BLAKE2s written out from RFC 2104 and RFC 5869, over one block of 64 bytes.
    fn hash(parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        C.hash(&mut out, &[&parts.concat()]);
        out
    }
    fn slow_hmac(key: [u8; 32], data: &[u8]) -> [u8; 32] {
        let mut block = [0_u8; 64];
        block[..32].copy_from_slice(&key);
        let inner = hash(&[&block.map(|byte| byte ^ 0x36), data]);
        hash(&[&block.map(|byte| byte ^ 0x5c), &inner])
    }
    let mut random = Random::new(11);
    let (chaining, input) = (random.bytes::<32>(), random.bytes::<32>());
    let (mut first, mut second, mut third) = (Secret::new(chaining), Secret::ZERO, Secret::ZERO);
    C.derive(&mut first, &input, &mut [&mut second, &mut third]);

    let extract = slow_hmac(chaining, &input);
    let one = slow_hmac(extract, &[1]);
    let two = slow_hmac(extract, &[&one[..], &[2]].concat());
    let three = slow_hmac(extract, &[&two[..], &[3]].concat());
    assert_eq!((first.expose(), second.expose(), third.expose()), (&one, &two, &three));
}

#[test]
fn every_flipped_bit_of_an_initiation_is_noticed() {
    let pair = Pair::new(20, true);
    let (_, mut initiation) = pair.initiate();
    sign(C, &mut initiation, &pair.responder.public, None);
    // mac2, the last 16 bytes, is empty as long as no cookie is held; cookie.rs has its tests.
    for bit in 0..132 * 8 {
        let mut forged = initiation;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!has_valid_mac1(C, &pair.responder.mac1_key, &forged), "bit {bit}");
        if bit < 4 * 8 {
            assert_eq!(Kind::of(forged[..4].try_into().unwrap(), 148), None);
            assert_eq!(Initiation::parse(&forged), None);
            continue;
        }
        // A stranger who knows our public key makes a new mac1: all but the index is still noticed.
        sign(C, &mut forged, &pair.responder.public, None);
        assert!(has_valid_mac1(C, &pair.responder.mac1_key, &forged));
        let result = pair.answer(&forged).map(|(keys, _)| keys.remote_index);
        match bit / 8 {
            4..8 => assert_eq!(result, Ok(0x0403_0201 ^ (1 << (bit - 32)))),
            // X25519 ignores the highest bit of a public key, the transcript does not.
            8..116 => assert_eq!(result, Err(Reason::BadHandshake), "bit {bit}"),
            _ => assert!(result.is_ok(), "mac1 is written anew"),
        }
    }
}

#[test]
fn every_flipped_bit_of_a_response_is_noticed() {
    let pair = Pair::new(21, true);
    let (initiating, initiation) = pair.initiate();
    let (_, mut response) = pair.answer(&initiation).unwrap();
    sign(C, &mut response, &pair.initiator.public, None);
    for bit in 0..76 * 8 {
        let mut forged = response;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!has_valid_mac1(C, &pair.initiator.mac1_key, &forged), "bit {bit}");
        if bit < 4 * 8 {
            assert_eq!(Kind::of(forged[..4].try_into().unwrap(), 92), None);
            assert_eq!(Response::parse(&forged), None);
            continue;
        }
        let result = pair.finish(&initiating, &forged).map(|keys| keys.remote_index);
        match bit / 8 {
            4..8 => assert_eq!(result, Ok(0x0807_0605 ^ (1 << (bit - 32)))),
            8..12 => assert_eq!(result, Err(Reason::UnknownIndex)),
            12..60 => assert_eq!(result, Err(Reason::BadHandshake), "bit {bit}"),
            _ => assert!(result.is_ok()),
        }
    }
    assert!(pair.finish(&initiating, &response).is_ok(), "forged responses end nothing");
}

#[test]
fn a_different_preshared_key_is_noticed_by_the_initiator() {
    let (with, without) = (Pair::new(30, true), Pair { preshared: Secret::ZERO, ..Pair::new(30, true) });
    let (initiating, initiation) = with.initiate();
    assert_eq!(initiation, without.initiate().1, "it is mixed in only with the response");
    let (_, response) = without.answer(&initiation).unwrap();
    assert_eq!(with.finish(&initiating, &response).unwrap_err(), Reason::BadHandshake);
}

#[test]
fn an_initiation_for_somebody_else_does_not_open() {
    let pair = Pair::new(31, false);
    let (_, initiation) = pair.initiate();
    let stranger = Identity::new(C, Secret::new([9; 32]));
    let message = Initiation::parse(&initiation).unwrap();
    assert_eq!(open_initiation(C, &stranger, &message).unwrap_err(), Reason::BadHandshake);
}

#[test]
fn a_borrowed_static_key_is_not_enough() {
    // Whoever seals another's public key gets past `s`, and no further without the private key.
    let pair = Pair::new(32, false);
    let thief = Identity { public: pair.initiator.public, ..Identity::new(C, Secret::new([9; 32])) };
    let remote = remote(&thief, &pair.responder.public, &Secret::ZERO);
    let (_, initiation) = initiate(C, &thief, &remote, Secret::new([8; 32]), 1, stamp()).unwrap();
    let message = Initiation::parse(&initiation).unwrap();
    let opened = open_initiation(C, &pair.responder, &message).unwrap();
    assert_eq!(opened.remote_static, pair.initiator.public);
    let shared = pair.responder.static_static(C, &pair.initiator.public);
    assert_eq!(opened.read_timestamp(C, &shared, &message).unwrap_err(), Reason::BadHandshake);
}

/// Every encoding of a point whose order divides eight: 0, 1, two of order eight, p - 1, p, p + 1; and all of them
/// with the highest bit set, which X25519 ignores.
fn low_order_points() -> Vec<[u8; 32]> {
    let eighth = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    let other_eighth = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    let small = |number: u8| {
        let mut point = [0; 32];
        point[0] = number;
        point
    };
    // p = 2^255 - 19 ends in 0xed.
    let near_p = |last: u8| {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (last, 0x7f);
        point
    };
    let mut points = vec![small(0), small(1), eighth, other_eighth, near_p(0xec), near_p(0xed), near_p(0xee)];
    for at in 0..points.len() {
        let mut point = points[at];
        point[31] |= 0x80;
        points.push(point);
    }
    points
}

#[test]
fn points_of_low_order_are_weak_wherever_they_appear() {
    let pair = Pair::new(40, false);
    let (initiating, initiation) = pair.initiate();
    let good = remote(&pair.responder, &pair.initiator.public, &Secret::ZERO);
    let ephemeral = || Secret::new([5; 32]);
    let answering = || {
        let message = Initiation::parse(&initiation).unwrap();
        let opened = open_initiation(C, &pair.responder, &message).unwrap();
        opened.read_timestamp(C, &good.static_static, &message).unwrap().0
    };
    for point in low_order_points() {
        // ss, when configured.
        assert!(pair.initiator.static_static(C, &point).is_zero());
        // es, initiator.
        let weak = Remote { static_key: point, ..good.clone() };
        let result = initiate(C, &pair.initiator, &weak, ephemeral(), 1, stamp());
        assert_eq!(result.unwrap_err(), Reason::WeakKey);
        // es, responder.
        let message = Initiation { ephemeral: point, ..Initiation::parse(&initiation).unwrap() };
        assert_eq!(open_initiation(C, &pair.responder, &message).unwrap_err(), Reason::WeakKey);
        // ee and se, responder.
        let forged = Answering { remote_ephemeral: point, ..answering() };
        assert_eq!(forged.respond(C, &good, ephemeral(), 2).unwrap_err(), Reason::WeakKey);
        assert_eq!(answering().respond(C, &weak, ephemeral(), 2).unwrap_err(), Reason::WeakKey);
        // ee, and with it se, initiator.
        let message = Response {
            sender: 2,
            receiver: initiating.index,
            ephemeral: point,
            encrypted_nothing: Sealed { text: [], tag: [0; 16] },
        };
        let result = initiating.finish(C, &pair.initiator, &Secret::ZERO, &message);
        assert_eq!(result.unwrap_err(), Reason::WeakKey);
    }
}

#[test]
fn a_zero_static_static_is_weak() {
    let pair = Pair::new(41, false);
    let remote = Remote { static_key: pair.responder.public, static_static: Secret::ZERO, preshared: Secret::ZERO };
    let result = initiate(C, &pair.initiator, &remote, Secret::new([5; 32]), 1, stamp());
    assert_eq!(result.unwrap_err(), Reason::WeakKey);

    let (_, initiation) = pair.initiate();
    let message = Initiation::parse(&initiation).unwrap();
    let opened = open_initiation(C, &pair.responder, &message).unwrap();
    assert_eq!(opened.read_timestamp(C, &Secret::ZERO, &message).unwrap_err(), Reason::WeakKey);
}

/// Whoever claims to be a peer whose key is of low order needs no private key for that: both DHs with it are known.
#[test]
fn nobody_can_speak_for_a_key_of_low_order() {
    let pair = Pair::new(42, false);
    let (ephemeral, mut key) = (Secret::new([5; 32]), Secret::ZERO);
    let public = C.public_key(&ephemeral);
    for point in low_order_points() {
        let mut transcript = Transcript::new(C, &pair.responder.public);
        transcript.mix_ephemeral(C, &public);
        transcript.mix_dh(C, &ephemeral, &pair.responder.public, &mut [&mut key]).unwrap();
        let encrypted_static = transcript.seal(C, &key, point);
        C.derive(&mut transcript.chaining, &[0; 32], &mut [&mut key]);
        let encrypted_timestamp = transcript.seal(C, &key, *stamp().as_bytes());
        let forged = Initiation { sender: 1, ephemeral: public, encrypted_static, encrypted_timestamp };
        let opened = open_initiation(C, &pair.responder, &forged).unwrap();
        assert_eq!(opened.remote_static, point);
        let shared = pair.responder.static_static(C, &point);
        assert_eq!(opened.read_timestamp(C, &shared, &forged).unwrap_err(), Reason::WeakKey);
    }
}

#[test]
fn an_identity_never_shows_its_private_key() {
    let identity = Identity::new(C, Secret::new([0xab; 32]));
    assert!(std::format!("{identity:?}").starts_with("Identity { private: Secret(…), "));
}

#[test]
fn what_is_remembered_of_a_handshake_is_small() {
    assert!(size_of::<Initiating>() <= 104);
    assert!(size_of::<Answering>() <= 104);
    assert!(size_of::<Opened>() <= 136);
}
