#![forbid(unsafe_code)]
//! What the fuzzers call: one function per kind of input. Each panics if something does not hold that must for any input,
//! so that libFuzzer, which looks for new ways through the code, and the ordinary tests, which replay what it found, see the
//! same.

mod aead;
mod device;
mod offload;

pub use aead::aead;
pub use device::device;
pub use offload::offload;

use kerntun_config::{Key, Parser, PublicKey};
use kerntun_engine::message::{CookieReply, DataHeader, Initiation, Kind, Macs, Response};
use kerntun_engine::packet::Incoming;
use kerntun_linux::netlink_watch::LinkState;
use kerntun_netlink::drops::Drops;
use kerntun_netlink::{Answer, wireguard};
use kerntun_uapi::answer::AnswerParser;
use kerntun_uapi::{DeviceState, Request, RequestError};
use netlink_packet_generic::GenlMessage;

/// A function for any input.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 8] = [
    ("aead", aead),
    ("configuration", configuration),
    ("device", device),
    ("kernel", kernel),
    ("messages", messages),
    ("netlink", netlink),
    ("offload", offload),
    ("uapi", uapi),
];

/// A datagram: what is read of it is written as it was, and only one kind of message claims it.
pub fn messages(input: &[u8]) {
    let kind = input.first_chunk().and_then(|prefix| Kind::of(*prefix, input.len()));
    // Restated from the paper, section 5.4.2 to 5.4.6.
    let expected = match (input, input.len()) {
        ([1, 0, 0, 0, ..], 148) => Some(Kind::Initiation),
        ([2, 0, 0, 0, ..], 92) => Some(Kind::Response),
        ([3, 0, 0, 0, ..], 64) => Some(Kind::CookieReply),
        ([4, 0, 0, 0, ..], 32..) => Some(Kind::Data),
        _ => None,
    };
    assert_eq!(kind, expected);
    let macs = Macs::of(input);
    assert_eq!(macs.is_some(), input.len() >= 32);
    if let Some(message) = input.first_chunk().and_then(Initiation::parse) {
        assert_eq!(message.to_bytes()[..116], input[..116]);
    }
    if let Some(message) = input.first_chunk().and_then(Response::parse) {
        assert_eq!(message.to_bytes()[..60], input[..60]);
    }
    if let Some(message) = input.first_chunk().and_then(CookieReply::parse) {
        assert_eq!(message.to_bytes(), input[..64]);
    }
    let header = input.first_chunk();
    let packet = header.and_then(|header| Incoming::new(header, input.len(), 0));
    assert_eq!(packet.is_some(), kind == Some(Kind::Data));
    if let Some(header) = header.and_then(DataHeader::parse) {
        assert_eq!(header.to_bytes(), input[..16]);
    }
}

/// A connection of the configuration protocol: requests are the same however the bytes are cut, and so are answers.
pub fn uapi(input: &[u8]) {
    fn requests(chunks: &[&[u8]]) -> Vec<Result<Request, RequestError>> {
        let mut parser = kerntun_uapi::Parser::new(|name: &str| (name == "eth0").then_some(2));
        let mut all = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(result) = parser.feed(&mut rest) {
                all.push(result);
            }
            assert!(rest.is_empty());
        }
        all
    }
    let whole = requests(&[input]);
    for error in whole.iter().filter_map(|result| result.as_ref().err()) {
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
    }
    let (front, back) = input.split_at(input.len() / 2);
    assert_eq!(format!("{:?}", requests(&[front, back])), format!("{whole:?}"));
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(format!("{:?}", requests(&bytes)), format!("{whole:?}"));
    let mut answers = AnswerParser::<DeviceState>::default();
    let mut rest = input;
    while let Ok(Some(_)) = answers.feed(&mut rest) {}
}

/// A configuration file: what is accepted reads back as itself, what is refused is told in few clean lines.
pub fn configuration(input: &[u8]) {
    let own = |_: &Key| PublicKey::from_bytes([7; 32]);
    let parsed = Parser::new("wg0.conf").public_key_of(&own).parse(input);
    assert_eq!(parsed.config.is_none(), parsed.diagnostics.iter().any(|diagnostic| diagnostic.is_error()));
    for diagnostic in &parsed.diagnostics {
        let shown = diagnostic.to_string();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.lines().count() <= 6, "{shown}");
    }
    if let Some(config) = parsed.config {
        let again = Parser::new("wg0.conf").parse(config.to_text().as_bytes()).config;
        assert_eq!(again, Some(config));
    }
}

/// A datagram of the kernel's answer about its own WireGuard or our module's drops: it ends, and what is told of it can be shown.
pub fn kernel(input: &[u8]) {
    // Every input is of the exchange at hand: bytes 8 to 12 of a message are its number.
    let sequence = input.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let mut answer = Answer::<GenlMessage<wireguard::Message>>::default();
    let result = answer.read(input, sequence);
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
    assert!(answer.messages.len() <= input.len() / 16);
    let mut state = DeviceState::default();
    for message in answer.messages {
        message.into_parts().1.0.attributes.into_iter().for_each(|attribute| wireguard::take(&mut state, attribute));
    }
    // The same as an answer of our module about drops.
    let mut answer = Answer::<GenlMessage<Drops>>::default();
    let _ = answer.read(input, sequence);
    let entries = answer.messages.into_iter().flat_map(|message| message.into_parts().1.into_entries());
    assert!(entries.count() <= input.len() / 12);
    let prefixes = || state.peers.iter().flat_map(|peer| &peer.allowed_ips);
    assert!(state.peers.len() + prefixes().count() <= input.len() / 4);
    assert!(prefixes().all(|each| each.prefix <= if each.address.is_ipv4() { 32 } else { 128 }));
}

/// A datagram of link and route events: it ends, and what was reported once is not reported again.
pub fn netlink(input: &[u8]) {
    let mut state = LinkState::default();
    let mut events = 0_usize;
    state.parse(input, 7, &mut |_| events += 1);
    assert!(events <= 1 + input.len() / 4, "{events} events in {} bytes", input.len());
}
