//! The WireGuard cross-platform configuration protocol ("UAPI"): both sides.
//!
//! A user-space WireGuard is configured by text over the unix socket `/var/run/wireguard/NAME.sock`. The protocol is
//! described at <https://www.wireguard.com/xplatform/>; where that page is silent, this crate does what `wg(8)` 1.0 and
//! wireguard-go were observed to do, and says so at the spot.
//!
//! | module | what | does I/O |
//! |---|---|---|
//! | [`request`] | bytes → [`Request`]: incremental, bounded, all or nothing | no |
//! | [`change`] | the typed content of a `set` and its text form | no |
//! | [`response`] | the writers of answers, in bounded memory however many peers there are | into a `Write` |
//! | [`answer`] | bytes of an answer → [`DeviceState`], diagnostics, or an errno | no |
//! | [`server`] | the socket file, its guards, and the connection loop | yes |
//! | [`client`] | what a tool needs: get, set, diagnostics, list of interfaces | yes |
//!
//! # One request of our own
//!
//! `get=1` is answered with the standard keys only. Counters, deadlines and the clock state are answered to a
//! separate request, `get_diagnostics=1`. Other implementations answer it with an error or hang up; the client takes
//! both for "not available".
//!
//! ```
//! use kerntun_uapi::{Parser, Request};
//!
//! let mut parser = Parser::new(|_scope: &str| None);
//! let mut input: &[u8] = b"set=1\nlisten_port=51820\nfwmark=0\n\nget=1\n\n";
//! match parser.feed(&mut input) {
//!     Some(Ok(Request::Set(set))) => assert_eq!((set.listen_port, set.fwmark), (Some(51820), Some(0))),
//!     other => panic!("unexpected: {other:?}"),
//! }
//! assert!(matches!(parser.feed(&mut input), Some(Ok(Request::Get))));
//! assert!(parser.feed(&mut input).is_none());
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub mod answer;
pub mod change;
pub mod client;
mod errno;
mod key;
mod line;
mod name;
pub mod request;
pub mod response;
pub mod server;
mod state;
mod value;
mod wiping;

pub use change::{AllowedIpChange, KeyChange, PeerChange, SetRequest};
pub use client::{Client, ClientError};
pub use errno::Errno;
pub use key::{PublicKey, SecretKey};
pub use name::{InterfaceName, NameError};
pub use request::{Parser, Request, RequestError};
pub use response::{DiagnosticsWriter, GetWriter};
pub use server::{BindError, Handler, Server, UapiSocket};
pub use state::{AllowedIp, DeviceState, DiagnosticEntry, PeerState, Section};

/// Where the sockets live: the place `wg(8)` looks in on Linux.
pub const SOCKET_DIRECTORY: &str = "/var/run/wireguard";
