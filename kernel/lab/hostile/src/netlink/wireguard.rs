//! The generic netlink family `wireguard`, as linux/wireguard.h describes it, and what an interface is set to.

use super::{ACK, Answer, Attributes, DUMP, REQUEST, Socket, number, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

/// Generic netlink.
pub const GENERIC: isize = 16;

/// Lists an interface.
pub const GET_DEVICE: u8 = 0;
/// Changes an interface.
pub const SET_DEVICE: u8 = 1;

/// Attributes of an interface, in their order.
pub mod device {
    #![allow(missing_docs, reason = "named as in linux/wireguard.h")]
    pub const IFINDEX: u16 = 1;
    pub const IFNAME: u16 = 2;
    pub const PRIVATE_KEY: u16 = 3;
    pub const PUBLIC_KEY: u16 = 4;
    pub const FLAGS: u16 = 5;
    pub const LISTEN_PORT: u16 = 6;
    pub const FWMARK: u16 = 7;
    pub const PEERS: u16 = 8;
    pub const REPLACE_PEERS: u32 = 1;
}

/// Attributes of a peer, in their order.
pub mod peer {
    #![allow(missing_docs, reason = "named as in linux/wireguard.h")]
    pub const PUBLIC_KEY: u16 = 1;
    pub const PRESHARED_KEY: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const ENDPOINT: u16 = 4;
    pub const KEEPALIVE: u16 = 5;
    pub const LAST_HANDSHAKE: u16 = 6;
    pub const RX_BYTES: u16 = 7;
    pub const TX_BYTES: u16 = 8;
    pub const ALLOWED_IPS: u16 = 9;
    pub const PROTOCOL_VERSION: u16 = 10;
    pub const REMOVE: u32 = 1;
    pub const REPLACE_ALLOWED_IPS: u32 = 2;
    pub const UPDATE_ONLY: u32 = 4;
}

/// Attributes of an allowed IP, in their order.
pub mod allowed_ip {
    #![allow(missing_docs, reason = "named as in linux/wireguard.h")]
    pub const FAMILY: u16 = 1;
    pub const ADDRESS: u16 = 2;
    pub const PREFIX_LEN: u16 = 3;
    pub const FLAGS: u16 = 4;
}

/// A conversation with the family.
pub struct Family {
    socket: Socket,
    id: u16,
}

impl Family {
    /// Looks the family up.
    ///
    /// # Panics
    /// If no driver has registered it.
    #[must_use]
    pub fn new() -> Self {
        Self::with_parts(65536)
    }

    /// As [`Self::new`], but listings come in parts of `part_len` bytes.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_parts(part_len: usize) -> Self {
        Self::named("wireguard", part_len).expect("a driver of the kind wireguard")
    }

    /// Another family, if there is one of that name.
    #[must_use]
    pub fn named(family: &str, part_len: usize) -> Option<Self> {
        // The controller's own number, its command, and the two attributes of use.
        const CONTROLLER: u16 = 16;
        const GET_FAMILY: u8 = 3;
        const FAMILY_ID: u16 = 1;
        const FAMILY_NAME: u16 = 2;
        let mut asking = Socket::new(GENERIC);
        let request = header(GET_FAMILY).with(&Attributes::new().put(FAMILY_NAME, format!("{family}\0").as_bytes()));
        let answer = asking.ask(CONTROLLER, REQUEST | ACK, request.bytes());
        let message = answer.messages.first()?;
        let id = parse(&message[4..]).find(|(kind, _)| *kind == FAMILY_ID).map(|(_, id)| number(id) as u16);
        Some(Self { socket: Socket::with_parts(GENERIC, part_len), id: id? })
    }

    /// A request that changes an interface.
    pub fn set(&mut self, attributes: &Attributes) -> Answer {
        self.command(SET_DEVICE, ACK, attributes)
    }

    /// A request that lists an interface.
    pub fn get(&mut self, attributes: &Attributes) -> Answer {
        self.command(GET_DEVICE, DUMP, attributes)
    }

    /// Any request to the family.
    pub fn command(&mut self, command: u8, flags: u16, attributes: &Attributes) -> Answer {
        self.bytes(flags, header(command).with(attributes).bytes())
    }

    /// Any message to the family.
    pub fn bytes(&mut self, flags: u16, bytes: &[u8]) -> Answer {
        self.socket.ask(self.id, REQUEST | flags, bytes)
    }

    /// Begins a listing, of which [`Self::part`] reads one part after the other.
    pub fn begin_listing(&mut self, attributes: &Attributes) {
        self.socket.send(self.id, REQUEST | DUMP, header(GET_DEVICE).with(attributes).bytes());
    }

    /// One more part of a listing; true if it was the last.
    pub fn part(&mut self, answer: &mut Answer) -> bool {
        self.socket.part(answer)
    }

    /// What an interface is set to: one line for each fact, sorted. What traffic changes is left out.
    ///
    /// # Panics
    /// If the interface is not there.
    pub fn state(&mut self, interface: &str) -> BTreeSet<String> {
        let answer = self.get(&name(interface));
        assert_eq!(answer.error, 0, "{interface} cannot be listed: {}", answer.name());
        let mut lines = BTreeSet::new();
        for message in &answer.messages {
            describe(&message[4..], &mut lines);
        }
        for line in bound_ports() {
            lines.insert(line);
        }
        lines
    }
}

impl Default for Family {
    fn default() -> Self {
        Self::new()
    }
}

/// What an interface dropped, by reason, as the family `kerntun` tells it; none if the driver has no such family.
///
/// # Panics
/// If the interface is not there.
#[must_use]
pub fn drops(interface: &str) -> Option<BTreeMap<String, u64>> {
    const GET_DROPS: u8 = 1;
    const DROPS: u16 = 4;
    const NAME: u16 = 1;
    const COUNT: u16 = 2;
    let mut family = Family::named("kerntun", 65536)?;
    let answer = family.command(GET_DROPS, DUMP, &name(interface));
    assert_eq!(answer.error, 0, "{interface} cannot be listed: {}", answer.name());
    // The sums are in the first message; peers follow.
    let (_, reasons) = parse(&answer.messages.first()?[4..]).find(|(kind, _)| *kind == DROPS)?;
    let reason = |fields: &[u8]| {
        let field = |wanted| parse(fields).find(|(kind, _)| *kind == wanted).map_or(&[][..], |(_, payload)| payload);
        (String::from_utf8_lossy(field(NAME)).trim_end_matches('\0').to_owned(), number(field(COUNT)))
    };
    Some(parse(reasons).map(|(_, fields)| reason(fields)).collect())
}

/// The attribute that names an interface.
#[must_use]
pub fn name(interface: &str) -> Attributes {
    Attributes::new().put(device::IFNAME, format!("{interface}\0").as_bytes())
}

/// The header of generic netlink: command, version, two bytes that have to be zero.
#[must_use]
pub fn header(command: u8) -> Attributes {
    Attributes::new().raw(&[command, 1, 0, 0])
}

fn describe(attributes: &[u8], lines: &mut BTreeSet<String>) {
    for (kind, payload) in parse(attributes) {
        match kind {
            device::PRIVATE_KEY => _ = lines.insert(format!("private-key {}", short(payload))),
            device::LISTEN_PORT => _ = lines.insert(format!("port {}", port(number(payload)))),
            device::FWMARK => _ = lines.insert(format!("mark {}", number(payload))),
            device::PEERS => parse(payload).for_each(|(_, peer)| describe_peer(peer, lines)),
            _ => {}
        }
    }
}

fn describe_peer(attributes: &[u8], lines: &mut BTreeSet<String>) {
    let all: Vec<_> = parse(attributes).collect();
    let of = |wanted| all.iter().find(|(kind, _)| *kind == wanted).map(|(_, payload)| *payload);
    let key = short(of(peer::PUBLIC_KEY).unwrap_or(&[]));
    lines.insert(format!("peer {key}"));
    if let Some(shared) = of(peer::PRESHARED_KEY).filter(|key| key.iter().any(|byte| *byte != 0)) {
        lines.insert(format!("peer {key} preshared-key {}", short(shared)));
    }
    if let Some(seconds) = of(peer::KEEPALIVE).map(number).filter(|seconds| *seconds != 0) {
        lines.insert(format!("peer {key} keepalive {seconds}"));
    }
    if let Some(endpoint) = of(peer::ENDPOINT) {
        lines.insert(format!("peer {key} endpoint {}", hex(endpoint)));
    }
    for (_, range) in parse(of(peer::ALLOWED_IPS).unwrap_or(&[])) {
        let field = |wanted| parse(range).find(|(kind, _)| *kind == wanted).map_or(&[][..], |(_, payload)| payload);
        let (address, len) = (hex(field(allowed_ip::ADDRESS)), number(field(allowed_ip::PREFIX_LEN)));
        lines.insert(format!("peer {key} allowed {address}/{len}"));
    }
}

/// The ports of all UDP sockets of this network namespace, with how many sockets each has.
fn bound_ports() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for table in ["udp", "udp6"] {
        for line in fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default().lines().skip(1) {
            let port = line.split_whitespace().nth(1).and_then(|local| local.rsplit(':').next());
            if let Some(port) = port.and_then(|port| u16::from_str_radix(port, 16).ok()) {
                lines.insert(format!("{table} socket {}", self::port(port.into())));
            }
        }
    }
    lines
}

/// Ports that the kernel chooses are others each time.
fn port(number: u64) -> String {
    if number < 32768 { number.to_string() } else { "chosen".to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Enough of a key to tell it from others.
fn short(key: &[u8]) -> String {
    hex(&key[key.len().saturating_sub(2)..])
}
