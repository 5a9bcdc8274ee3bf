//! The wg-quick configuration format, parsed with errors that show the line and say what would be right.
//!
//! ```
//! use kerntun_config::Parser;
//!
//! let text = b"\
//! [Interface]
//! Address = 10.0.0.2/24
//!
//! [Peer]
//! PublicKey = 8h5Rve0gM9ppwCBlmY0ucQxxMYB9Eao7bAzUcfnDTVg=
//! AllowedIP = 10.0.0.0/24
//! ";
//! let parsed = Parser::new("wg0.conf").parse(text);
//! let error = parsed.diagnostics.iter().find(|d| d.is_error()).map(ToString::to_string);
//! assert_eq!(
//!     error.as_deref(),
//!     Some(
//!         "error: 'AllowedIP' is not a key of [Peer]
//!   --> wg0.conf:6:1
//!    |
//!  6 | AllowedIP = 10.0.0.0/24
//!    | ^^^^^^^^^
//!    = help: did you mean 'AllowedIPs'?"
//!     )
//! );
//! ```
//!
//! The way in: [`ConfigPath::locate`] finds the file, [`load`] reads it, [`check_permissions`] warns when others can,
//! [`Parser`] makes a [`Config`] and [`Diagnostic`]s of it. The way out: [`Config::to_text`] and [`Config::strip`].
//!
//! What wg(8) and wg-quick(8) accept is accepted, and means the same. Where they would go on and fail, or do something
//! nobody means, this crate says so at once:
//!
//! - Values that wg-quick hands to ip(8) unseen (`Address`, `MTU`, `Table`, `DNS`) are checked here. Abbreviated IPv4
//!   addresses (`10.1/16`) are not taken.
//! - Ports are numbers up to 65535: neither names of services, nor larger numbers, of which the C library takes the low
//!   16 bits.
//! - Hosts in `Endpoint` are addresses in full or names in ASCII.
//! - An empty `AllowedIPs` is taken with a warning; wg refuses it.
//! - All but comments must be UTF-8; a byte order mark is skipped.
//!
//! Secrets show in no diagnostic and in no `Debug` output, wherever in the file they stand, and are wiped when dropped.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation
    )
)]

mod address;
mod diagnostic;
mod endpoint;
mod file;
mod findings;
mod key;
mod keyword;
mod mask;
mod model;
mod name;
mod parse;
mod text;
mod write;

pub use address::{Address, AddressError, AllowedIp};
pub use diagnostic::{Diagnostic, Severity, Snippet};
pub use endpoint::{Endpoint, EndpointError, Host};
pub use file::{FILE_MAX, LoadError, check_permissions, load};
pub use key::{KEY_BASE64_LEN, KEY_HEX_LEN, KEY_LEN, Key, KeyError, PublicKey};
pub use model::{Config, Interface, Peer, SYSTEM_TABLES, Table};
pub use name::{CONFIG_DIR, ConfigPath, ConfigPathError, INTERFACE_NAME_MAX, InterfaceName, NameError};
pub use parse::{Parsed, Parser, PublicKeyOf};
pub use text::{Hook, HostName, Scope, ScopedIp, SearchDomain, TableName, TextError};
