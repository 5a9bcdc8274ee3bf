//! The keys of `[Peer]`.

use super::{Piece, Reader, Seen};
use crate::address::AllowedIp;
use crate::diagnostic::Span;
use crate::endpoint::{self, Endpoint, EndpointError};
use crate::key::{Key, PublicKey};
use crate::keyword::Keyword;
use crate::mask::quote;
use crate::model::Peer;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Peers one interface can have (`MAX_PEERS_PER_DEVICE` of the kernel is 2^20).
const PEERS_MAX: usize = 1 << 20;

/// A `[Peer]` section being read.
pub(super) struct PeerDraft {
    header: Span,
    public_key: Option<(PublicKey, Span)>,
    preshared_key: Option<Key>,
    allowed_ips: Vec<AllowedIp>,
    endpoint: Option<Endpoint>,
    persistent_keepalive: Option<u16>,
    pub(super) seen: Seen,
}

impl PeerDraft {
    pub(super) fn new(header: Span) -> Self {
        Self {
            header,
            public_key: None,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
            seen: Seen::default(),
        }
    }
}

/// What belongs to which peer so far. The keys come from the file's author, so the tables are keyed (std's SipHash).
#[derive(Default)]
pub(super) struct Owners {
    /// The line of each public key.
    public_keys: HashMap<PublicKey, usize>,
    /// The number of the peer that has each prefix, and the line that says so.
    networks: HashMap<AllowedIp, (usize, usize)>,
}

impl Reader {
    /// Completes the peer being read, when there is one.
    pub(super) fn end_peer(&mut self) {
        let Some(draft) = self.peer.take() else { return };
        let Some((public_key, span)) = draft.public_key else {
            if draft.seen.get(Keyword::PublicKey).is_none() {
                self.findings
                    .error(draft.header, "this peer has no PublicKey")
                    .help("add 'PublicKey = ...' with the key that 'wg pubkey' prints on the peer's machine");
            }
            return;
        };
        match self.owners.public_keys.entry(public_key) {
            Entry::Occupied(first) => self
                .findings
                .warning(span, format!("the peer with this PublicKey occurs already in line {}", first.get()))
                .help("the two count as one peer, with the AllowedIPs of the later section only: join the sections")
                .unmasked(),
            Entry::Vacant(slot) => {
                slot.insert(span.line);
            }
        }
        if self.config.peers.len() == PEERS_MAX {
            self.findings
                .error(draft.header, "this is one peer too many: an interface has at most 1048576")
                .help("use a second interface");
            return;
        }
        self.public_key_spans.push(span);
        self.config.peers.push(Peer {
            public_key,
            preshared_key: draft.preshared_key,
            allowed_ips: draft.allowed_ips,
            endpoint: draft.endpoint,
            persistent_keepalive: draft.persistent_keepalive,
        });
    }

    pub(super) fn peer_key(&mut self, keyword: Keyword, value: Piece<'_>) {
        match keyword {
            Keyword::PublicKey => {
                let key = self.public_key(value).map(|key| (key, value.span));
                self.draft(|peer| peer.public_key = key);
            }
            Keyword::PresharedKey => {
                let key = self.secret(keyword, value);
                self.draft(|peer| peer.preshared_key = key);
            }
            Keyword::AllowedIps => self.allowed_ips(value),
            Keyword::Endpoint => {
                let endpoint = self.endpoint(value);
                self.draft(|peer| peer.endpoint = endpoint);
            }
            Keyword::PersistentKeepalive => {
                let help = "write seconds from 1 to 65535, or 'off'; 25 keeps a NAT open";
                let seconds = if value.compact().eq_ignore_ascii_case("off") {
                    Some(0)
                } else {
                    self.number(value, u16::MAX.into(), "PersistentKeepalive", help)
                };
                let seconds = seconds.and_then(|seconds| u16::try_from(seconds).ok());
                self.draft(|peer| peer.persistent_keepalive = seconds);
            }
            // The caller sends other keys elsewhere.
            _ => {}
        }
    }

    fn draft(&mut self, change: impl FnOnce(&mut PeerDraft)) {
        if let Some(peer) = &mut self.peer {
            change(peer);
        }
    }

    fn public_key(&mut self, value: Piece<'_>) -> Option<PublicKey> {
        match PublicKey::from_base64(&value.compact()) {
            Ok(key) => {
                if key.is_low_order() {
                    let what = if key.is_zero() { "is all zeros" } else { "is a point of low order on the curve" };
                    self.findings
                        .warning(value.span, format!("this PublicKey {what}: no peer can have it"))
                        .help("'wg pubkey' prints the right one on the peer's machine")
                        .unmasked();
                }
                Some(key)
            }
            Err(cause) => {
                self.bad_key(
                    Keyword::PublicKey,
                    value,
                    cause,
                    "'wg pubkey' prints the right one on the peer's machine",
                );
                None
            }
        }
    }

    fn allowed_ips(&mut self, value: Piece<'_>) {
        if value.text.is_empty() {
            self.findings
                .warning(value.span, "this AllowedIPs is empty, which wg and wg-quick refuse")
                .help("remove the line: a peer without it has none");
            return;
        }
        // The number this peer will have, once it is complete.
        let owner = self.config.peers.len();
        let mut found = Vec::new();
        for item in value.split(|c| c == ',').map(Piece::trim) {
            let text = item.compact();
            if text.is_empty() {
                let span = Span { end: item.span.start + 1, ..item.span };
                self.findings
                    .error(span, "an address is missing before or after a comma")
                    .help("wg takes no empty entry in a list; remove the comma");
                continue;
            }
            if text.starts_with(['+', '-']) {
                self.findings
                    .error(item.span, format!("'{}' is a change to a list, which only 'wg set' makes", quote(&text)))
                    .help("write the whole list, without '+' and '-'");
                continue;
            }
            match AllowedIp::parse(&text) {
                Err(cause) => self.bad_address(item, cause, "10.0.0.2/32", "fd00::2/128"),
                Ok((network, host_bits)) => {
                    if host_bits {
                        self.findings
                            .warning(item.span, format!("'{}' has bits set after its prefix", quote(&text)))
                            .help(format!("it counts as {network}"));
                    }
                    self.own(network, owner, item.span);
                    found.push(network);
                }
            }
        }
        self.draft(|peer| peer.allowed_ips.append(&mut found));
    }

    /// Notes that a peer has a prefix, and warns when it takes that from another one.
    fn own(&mut self, network: AllowedIp, owner: usize, span: Span) {
        let before = self.owners.networks.insert(network, (owner, span.line));
        if let Some((_, line)) = before.filter(|(loser, _)| *loser != owner) {
            self.findings
                .warning(span, format!("{network} belongs already to the peer of line {line}"))
                .help("only the later peer gets it: a prefix leads to one peer");
        }
    }

    fn endpoint(&mut self, value: Piece<'_>) -> Option<Endpoint> {
        let text = value.compact();
        let (endpoint, bare_v6) = match endpoint::parse(&text) {
            Ok(read) => read,
            Err(cause) => {
                self.bad_endpoint(value, &text, cause);
                return None;
            }
        };
        if bare_v6 {
            self.findings
                .warning(value.span, "this IPv6 address has no brackets, so what follows its last ':' is the port")
                .help(format!("write {endpoint}"));
        }
        Some(endpoint)
    }

    fn bad_endpoint(&mut self, value: Piece<'_>, text: &str, cause: EndpointError) {
        let port_start = value.text.rfind(':').map_or(value.span.start, |colon| value.span.start + colon + 1);
        let port = Span { start: port_start, ..value.span };
        let (span, help) = match cause {
            EndpointError::Empty => (value.span, "remove the line if the peer calls us".into()),
            EndpointError::NoClosingBracket => (value.span, "write it like [2001:db8::1]:51820".into()),
            EndpointError::NoPort => {
                let host = quote(text.trim_end_matches(':'));
                (value.span, format!("add the peer's ListenPort, as in {host}:51820"))
            }
            EndpointError::BareV6 => {
                (value.span, format!("write the address in brackets, then the port: [{}]:51820", quote(text)))
            }
            EndpointError::PortNotANumber | EndpointError::PortTooLarge | EndpointError::PortZero => {
                (port, "a port is a number from 1 to 65535; the peer's ListenPort is meant".into())
            }
            EndpointError::Url => (value.span, "write only host and port, as in vpn.example.com:51820".into()),
            EndpointError::Host(_) => {
                let examples = "write it like vpn.example.com:51820, 192.0.2.1:51820 or [2001:db8::1]:51820";
                (value.span, examples.to_owned())
            }
        };
        self.findings.error(span, format!("this Endpoint {cause}")).help(help);
    }
}
