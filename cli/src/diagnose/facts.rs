//! What is known of an interface and its surroundings at one moment. No secrets.

use crate::netlink::rule::Rule;
use kerntun_config::AllowedIp;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// An interface.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) interface: String,
    /// Whether our daemon or our module serves it: without them there are no counters. The module counts only drops.
    pub(crate) counted: bool,
    /// Calendar time in seconds since the Unix epoch.
    pub(crate) now: u64,
    /// In base64, if there is a private key.
    pub(crate) public_key: Option<String>,
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
    /// The mark by which everything was led into it, if that is known from its firewall.
    pub(crate) leading_mark: Option<u32>,
    /// The interface in the kernel; `None` if it could not be asked.
    pub(crate) link: Option<LinkFacts>,
    pub(crate) counters: Counters,
    pub(crate) peers: Vec<PeerFacts>,
    /// The configuration file of this interface, if it can be read.
    pub(crate) file: Option<FileFacts>,
}

/// The interface as the kernel has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkFacts {
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) has_address: bool,
    pub(crate) ipv6: Ipv6,
}

/// Whether there is IPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    #[default]
    On,
    /// Off on this interface, but not on all others.
    OffHere,
    /// Off everywhere.
    Off,
}

/// A peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerFacts {
    /// In base64.
    pub(crate) key: String,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Seconds since the Unix epoch.
    pub(crate) last_handshake: Option<u64>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) has_preshared_key: bool,
    pub(crate) allowed_ips: Vec<AllowedIp>,
    pub(crate) counters: Counters,
    /// The way to the endpoint; `None` if there is no endpoint or the kernel could not be asked.
    pub(crate) way: Option<Way>,
    /// Allowed IPs that this machine does not send into the interface, and where it sends them instead, if anywhere.
    pub(crate) astray: Vec<(AllowedIp, Option<String>)>,
    /// Default routes among its allowed IPs of which something is gone.
    pub(crate) undone: Vec<Undone>,
}

/// A default route that `up` led into the tunnel, and what of that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undone {
    pub(crate) prefix: AllowedIp,
    pub(crate) gone: Vec<Gone>,
    /// Whether `up` did so for certain. Otherwise it may be somebody's own order, with nothing gone from it.
    pub(crate) certain: bool,
}

/// A part of what leads everything of a family into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The route, in the table of this number.
    Route(u32),
    /// A policy rule.
    Rule(Rule),
}

/// The way of a packet to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// The kernel has none.
    None,
    /// Through an interface.
    Through {
        /// Its name.
        interface: String,
        /// The largest packet in bytes, by the route or the interface.
        mtu: u32,
    },
}

/// What the configuration file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileFacts {
    pub(crate) path: String,
    /// Errors in it: then nothing else is known of it.
    pub(crate) errors: usize,
    /// Whether it says `Table = auto`, or nothing of a table.
    pub(crate) table_is_auto: Option<bool>,
    /// Of the private key in it.
    pub(crate) public_key: Option<String>,
    pub(crate) peers: Vec<FilePeer>,
}

/// A peer of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilePeer {
    pub(crate) key: String,
    pub(crate) allowed_ips: Vec<AllowedIp>,
    pub(crate) name: Option<Named>,
}

/// An endpoint that is a name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// With its port.
    pub(crate) endpoint: String,
    /// What it means now, or why it means nothing.
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
}

/// The daemon's answer to a request for diagnostics: names and values, see the daemon's module `status`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(pub(crate) BTreeMap<String, String>);

impl Counters {
    /// A number, 0 if there is none of this name.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// How many packets were dropped for a reason.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        self.number(&format!("drop.{reason}"))
    }

    /// Milliseconds until a timer fires, if it is armed; negative if it is late.
    pub(crate) fn deadline(&self, timer: &str) -> Option<i64> {
        self.0.get(&format!("deadline.{timer}"))?.parse().ok()
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl PeerFacts {
    /// Seconds since the last handshake; none if there was none.
    pub(crate) fn handshake_age(&self, now: u64) -> Option<u64> {
        self.last_handshake.map(|at| now.saturating_sub(at))
    }

    /// Whether there is a session that packets can be sent under now.
    pub(crate) fn has_session(&self, now: u64) -> bool {
        self.handshake_age(now).is_some_and(|age| age < 180)
    }

    /// Handshake starts in a row that were not answered.
    pub(crate) fn unanswered(&self) -> u64 {
        let retries = self.counters.number("handshake.retries");
        let waiting = self.counters.deadline("no-response-to-initiation").is_some();
        if waiting || retries > 0 { retries + 1 } else { 0 }
    }
}
