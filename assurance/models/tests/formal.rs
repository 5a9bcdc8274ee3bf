//! The symbolic model of the handshake is a program: run with real primitives and the keys of two engines, it must come to
//! their messages, byte for byte. So the model that Verifpal looks at is the handshake that is spoken.

use kerntun_crypto::Portable;
use kerntun_engine::host::{Crypto, Entropy};
use kerntun_engine::message::{DataHeader, Initiation, Response};
use kerntun_engine::secret::Secret;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use kerntun_models::{End, Out, private_key};
use std::collections::BTreeMap;
use std::sync::Mutex;

const MODEL: &str = include_str!("../../../formal/handshake.vp");

/// Randomness that is remembered.
struct Recorded(SeededEntropy, Mutex<Vec<Vec<u8>>>);

impl Entropy for Recorded {
    fn fill(&self, out: &mut [u8]) -> bool {
        let filled = self.0.fill(out);
        self.1.lock().unwrap().push(out.to_vec());
        filled
    }
}

type Real = End<UserHost<Portable, Recorded>>;

fn device(number: u8, now: Instant) -> Real {
    End::new(
        UserHost::with_entropy(Portable, Recorded(SeededEntropy::new(number.into()), Mutex::default())),
        number,
        now,
    )
}

/// The ephemeral private key whose public key is `public`.
fn ephemeral(end: &Real, public: &[u8]) -> Vec<u8> {
    let drawn = end.device.host().entropy().1.lock().unwrap();
    let keys = drawn.iter().filter_map(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
    keys.into_iter().find(|key| Portable.public_key(&Secret::new(*key)) == public).expect("it was drawn").to_vec()
}

use kerntun_engine::host::Host;

/// What the engines say to each other: initiation, response, a packet each way.
struct Conversation {
    ends: [Real; 2],
    messages: [Vec<u8>; 4],
    texts: [Vec<u8>; 2],
}

fn converse(preshared: Option<[u8; 32]>) -> Conversation {
    let (now, wall) = (Instant::from_nanos(1), Wall { seconds: 1_800_000_000, nanos: 0 });
    let ends = [device(1, now), device(2, now)];
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        end.meet(now, other.device.public_key().unwrap(), preshared.map(Secret::new));
    }
    let texts = [ends[0].packet(1), ends[1].packet(2)];
    let step = |end: &Real, datagram: Option<&[u8]>, text: Option<&Vec<u8>>| -> Vec<u8> {
        let mut out = Out::default();
        if let Some(datagram) = datagram {
            end.receive(now, datagram, &mut out);
        }
        if let Some(text) = text {
            end.send(now, text.clone(), &mut out);
        }
        end.expire(now, wall, &mut out);
        out.sent.pop().expect("a message")
    };
    let initiation = step(&ends[0], None, Some(&texts[0]));
    let response = step(&ends[1], Some(&initiation), None);
    let first = step(&ends[0], Some(&response), None);
    let second = step(&ends[1], Some(&first), Some(&texts[1]));
    let mut out = Out::default();
    ends[0].receive(now, &second, &mut out);
    assert_eq!(out.delivered, [texts[1].clone()]);
    Conversation { ends, messages: [initiation, response, first, second], texts }
}

#[test]
fn the_model_says_what_the_engine_says() {
    for preshared in [None, Some([0x77; 32])] {
        let said = converse(preshared);
        let mut values = BTreeMap::<String, Vec<u8>>::new();
        let mut set = |name: &str, value: &[u8]| values.insert(name.into(), value.to_vec());
        set("construction", b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
        set("identifier", b"WireGuard v1 zx2c4 Jason@zx2c4.com");
        set("nothing", &[]);
        set("zero", &[0; 8]);
        set("by_hand", &[1; 32]);
        set("envelope", &[0; 8]);
        set("psk", &preshared.unwrap_or_default());
        set("si", private_key(1).expose());
        set("sr", private_key(2).expose());
        // TAI64N of the wall clock: 2^62 + 10 s ahead of the Unix epoch, big endian, and no nanoseconds.
        set("time", &[&((1_u64 << 62) + 10 + 1_800_000_000).to_be_bytes()[..], &[0; 4]].concat());
        set("ei", &ephemeral(&said.ends[0], &said.messages[0][8..40]));
        set("er", &ephemeral(&said.ends[1], &said.messages[1][12..44]));
        set("text_i", &said.texts[0]);
        set("text_r", &said.texts[1]);
        run(&mut values);
        assert_eq!(values["stamp"], values["time"]);
        assert_eq!((&values["got_i"], &values["got_r"]), (&said.texts[0], &said.texts[1]));

        let layouts: Vec<_> = MODEL.lines().filter_map(|line| line.strip_prefix("// wire: ")).collect();
        assert_eq!(layouts.len(), 4);
        let fixed = [Some(Initiation::LEN), Some(Response::LEN), None, None];
        for ((layout, message), fixed) in layouts.iter().zip(&said.messages).zip(fixed) {
            let mut at = 0;
            let mut compared = 0;
            for field in layout.split(' ') {
                let (name, len) = field.split_once('/').unwrap();
                let value = values.get(name);
                let len = len.parse().unwrap_or_else(|_| value.expect("a field of variable length").len());
                if let Some(value) = value {
                    assert_eq!(message[at..at + len], value[..], "{name}");
                    compared += len;
                }
                at += len;
            }
            assert_eq!(at, message.len(), "{layout}");
            assert!(compared >= 48, "{layout}");
            if let Some(fixed) = fixed {
                assert_eq!(at, fixed, "{layout}");
            }
        }
        assert_eq!(said.messages[2].len(), DataHeader::OVERHEAD + said.texts[0].len());
    }
}

/// What is sent in the model is what the layouts name.
#[test]
fn every_field_that_is_sent_has_its_place() {
    let (_, handshake) = MODEL.split_once("//@ handshake").unwrap();
    let layouts = handshake.lines().filter_map(|line| line.strip_prefix("// wire: "));
    let sent = handshake.lines().filter(|line| line.contains(" -> "));
    let mut pairs = 0;
    for (layout, sent) in layouts.zip(sent) {
        let (_, names) = sent.split_once(": ").unwrap();
        let fields: Vec<_> = layout.split(' ').filter_map(|field| field.split('/').next()).collect();
        let unkeyed = ["type", "sender", "receiver", "counter", "mac1", "mac2"];
        let keyed: Vec<_> = fields.into_iter().filter(|field| !unkeyed.contains(field)).collect();
        assert_eq!(names.split(", ").collect::<Vec<_>>(), keyed);
        pairs += 1;
    }
    assert_eq!(pairs, 4);
}

/// Runs every assignment of the model.
fn run(values: &mut BTreeMap<String, Vec<u8>>) {
    let mut assignments = 0;
    for line in MODEL.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let Some((names, expression)) = line.split_once(" = ") else { continue };
        let names: Vec<_> = names.split(", ").collect();
        let mut rest = expression;
        let results = evaluate(&mut rest, names.len(), values);
        assert!(rest.is_empty() && results.len() == names.len(), "{line}");
        for (name, value) in names.into_iter().zip(results) {
            assert!(values.insert(name.into(), value).is_none(), "{name} is assigned twice");
        }
        assignments += 1;
    }
    assert!(assignments > 40, "{assignments}");
}

/// Takes an expression off the front of `text` and gives its value, or its `outputs` values.
fn evaluate(text: &mut &str, outputs: usize, values: &BTreeMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    *text = rest;
    let Some(mut inner) = rest.strip_prefix('(') else {
        return vec![values.get(name).unwrap_or_else(|| panic!("{name} is not known")).clone()];
    };
    let mut arguments = Vec::new();
    loop {
        arguments.extend(evaluate(&mut inner, 1, values));
        match inner.strip_prefix(", ") {
            Some(more) => inner = more,
            None => break,
        }
    }
    *text = inner.strip_prefix(')').expect("a closing bracket");
    *text = text.strip_prefix('?').unwrap_or(text);
    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    apply(name, outputs, &arguments)
}

/// Verifpal's primitives, made of the protocol's.
fn apply(name: &str, outputs: usize, arguments: &[&[u8]]) -> Vec<Vec<u8>> {
    let secret = |bytes: &[u8]| Secret::new(bytes.try_into().expect("32 bytes"));
    match (name, arguments) {
        ("HASH", parts) => vec![hash(&parts.concat())],
        ("PUBKEY", [private]) => vec![Portable.public_key(&secret(private)).to_vec()],
        ("DH_KEX", [public, private]) => {
            let mut shared = Secret::default();
            assert!(Portable.x25519(&mut shared, &secret(private), (*public).try_into().expect("32 bytes")));
            vec![shared.expose().to_vec()]
        }
        ("HKDF", [salt, input, []]) => hkdf(salt, input, outputs),
        ("AEAD_ENC", [key, nonce, text, additional]) => {
            let counter = u64::from_le_bytes((*nonce).try_into().expect("a counter"));
            let mut sealed = text.to_vec();
            let tag = Portable.seal(&secret(key), counter, additional, &mut sealed);
            sealed.extend(tag);
            vec![sealed]
        }
        ("AEAD_DEC", [key, nonce, sealed, additional]) => {
            let counter = u64::from_le_bytes((*nonce).try_into().expect("a counter"));
            let (text, tag) = sealed.split_last_chunk().expect("a tag");
            let mut text = text.to_vec();
            assert!(Portable.open(&secret(key), counter, additional, &mut text, tag), "it does not open");
            vec![text]
        }
        ("ASSERT", [first, second]) => {
            assert_eq!(first, second);
            vec![first.to_vec()]
        }
        _ => panic!("{name} with {} arguments is not known here", arguments.len()),
    }
}

fn hash(input: &[u8]) -> Vec<u8> {
    let mut out = [0; 32];
    Portable.hash(&mut out, &[input]);
    out.to_vec()
}

/// RFC 2104.
fn hmac(key: &[u8], input: &[u8]) -> Vec<u8> {
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect() };
    hash(&[padded(0x5c), hash(&[&padded(0x36), input].concat())].concat())
}

/// The paper's KDF, RFC 5869 without its info.
fn hkdf(salt: &[u8], input: &[u8], outputs: usize) -> Vec<Vec<u8>> {
    let extracted = hmac(salt, input);
    let mut all = Vec::<Vec<u8>>::new();
    for number in 1..=outputs {
        let before = all.last().map(Vec::as_slice).unwrap_or_default();
        all.push(hmac(&extracted, &[before, &[u8::try_from(number).unwrap()]].concat()));
    }
    all
}
