//! What people and programs get to see, against files that were read by a person once.

use super::*;
use kerntun_uapi::{AllowedIp, DeviceState, DiagnosticEntry, InterfaceName, PeerState, PublicKey, SecretKey, Section};
use std::net::IpAddr;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn prefix(address: &str, prefix: u8) -> AllowedIp {
    AllowedIp { address: address.parse::<IpAddr>().unwrap(), prefix }
}

fn entry(section: Section, name: &str, value: &str) -> DiagnosticEntry {
    DiagnosticEntry { section, name: name.to_owned(), value: value.to_owned() }
}

fn office() -> Snapshot {
    let (busy, quiet, lost) = (PublicKey([1; 32]), PublicKey([2; 32]), PublicKey([3; 32]));
    let peers = vec![
        PeerState {
            persistent_keepalive_interval: 25,
            preshared_key: Some(SecretKey::new(&[9; 32])),
            ..PeerState::new(quiet)
        },
        PeerState {
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            last_handshake: Some(NOW - Duration::from_secs(63)),
            rx_bytes: 1_536,
            tx_bytes: 5 << 20,
            allowed_ips: vec![prefix("10.0.0.0", 24), prefix("fd00::", 64)],
            ..PeerState::new(busy)
        },
        PeerState {
            endpoint: Some("203.0.113.9:7".parse().unwrap()),
            last_handshake: Some(NOW - Duration::from_secs(90_000)),
            tx_bytes: 148,
            persistent_keepalive_interval: 65,
            allowed_ips: vec![prefix("0.0.0.0", 0)],
            ..PeerState::new(lost)
        },
    ];
    Snapshot {
        name: InterfaceName::new("wg0").unwrap(),
        kind: Kind::Kerntun,
        state: DeviceState { private_key: Some(SecretKey::new(&[7; 32])), listen_port: 51820, fwmark: 0xca6c, peers },
        entries: vec![
            entry(Section::Device, "mtu", "1420"),
            entry(Section::Device, "drop.bad-mac1", "3"),
            entry(Section::Device, "drop.wrong-source", "5"),
            entry(Section::Device, "drop.no-route", "0"),
            entry(Section::Device, "drop.from-the-future", "1"),
            entry(Section::Peer(busy), "drop.wrong-source", "5"),
            entry(Section::Peer(lost), "drop.handshake-timeout", "12"),
        ],
    }
}

fn strangers() -> Snapshot {
    Snapshot {
        name: InterfaceName::new("utun9").unwrap(),
        kind: Kind::Other,
        state: DeviceState { peers: vec![PeerState::new(PublicKey([4; 32]))], ..DeviceState::default() },
        entries: Vec::new(),
    }
}

fn text(secrets: bool, paint: Paint) -> String {
    let mut out = String::new();
    text::write(&mut out, &[office(), strangers()], &text::Style { now: NOW, secrets, paint });
    out
}

fn json(secrets: bool) -> String {
    let mut out = String::new();
    let failures = [(InterfaceName::new("gone").unwrap(), Failure::new("its daemon hangs").help("kill it"))];
    json::write(&mut out, &[office(), strangers()], &failures, secrets);
    out
}

#[test]
fn for_people() {
    assert_eq!(text(false, Paint::PLAIN), include_str!("../../tests/show/people.txt"));
}

#[test]
fn for_programs() {
    assert_eq!(json(false), include_str!("../../tests/show/programs.json"));
}

#[test]
fn secrets_are_shown_to_who_asks_for_them_only() {
    let (private, preshared) = (SecretKey::new(&[7; 32]), SecretKey::new(&[9; 32]));
    for key in [private, preshared] {
        let key = kerntun_config::Key::from_bytes(*key.as_bytes()).to_base64();
        assert!(!text(false, Paint::PLAIN).contains(key.as_str()) && !json(false).contains(key.as_str()));
        assert!(text(true, Paint::PLAIN).contains(key.as_str()) && json(true).contains(key.as_str()));
    }
}

#[test]
fn colours_change_nothing_else() {
    let mut plain = String::new();
    let mut in_escape = false;
    for c in text(false, Paint::COLOURED).chars() {
        in_escape |= c == '\x1b';
        if !in_escape {
            plain.push(c);
        }
        in_escape &= c != 'm';
    }
    assert_eq!(plain, text(false, Paint::PLAIN));
    assert_ne!(plain, text(false, Paint::COLOURED));
}

#[test]
fn a_clock_that_was_set_back_and_a_handshake_of_this_second() {
    for (ahead, expected) in [(0, "latest handshake: Now\n"), (5, "latest handshake: (in the future")] {
        let mut office = office();
        office.state.peers[1].last_handshake = Some(NOW + Duration::from_secs(ahead));
        let mut out = String::new();
        text::write(&mut out, &[office], &text::Style { now: NOW, secrets: false, paint: Paint::PLAIN });
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn nothing_is_nothing() {
    let mut out = String::new();
    text::write(&mut out, &[], &text::Style { now: NOW, secrets: false, paint: Paint::PLAIN });
    assert_eq!(out, "");
    json::write(&mut out, &[], &[], false);
    assert_eq!(out, "{\n  \"schema\": 1,\n  \"interfaces\": [],\n  \"errors\": []\n}\n");
}
