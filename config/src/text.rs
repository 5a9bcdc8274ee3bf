//! Texts a configuration may contain: each type holds only what can be written to a file and read back unchanged.

use crate::mask::mask_line;
use crate::name::InterfaceName;
use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv6Addr};

/// A DNS name is at most this long (RFC 1035, 2.3.4, without the final dot).
const HOST_NAME_MAX: usize = 253;

/// Why a text cannot stand where it was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextError(&'static str);

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for TextError {}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes the text when it fits.
            ///
            /// # Errors
            /// [`TextError`] says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, TextError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            /// Masks what may be a secret: commands have been seen to contain keys.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&mask_line(&self.0)).finish()
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::new(text)
            }
        }
    };
}

text_type! {
    /// A shell command of PreUp, PostUp, PreDown or PostDown: one line, not empty, without `#` (which starts a comment
    /// and which wg-quick gives no way to escape).
    Hook, check_hook
}

text_type! {
    /// The name of a host in `Endpoint`, as a resolver takes it. Never an address.
    HostName, check_host_name
}

text_type! {
    /// The zone of a link-local IPv6 address, the part after `%`: an interface's name or number (RFC 4007, 11).
    Scope, check_scope
}

text_type! {
    /// A search domain in `DNS`: anything there that is not an address.
    SearchDomain, check_search_domain
}

text_type! {
    /// The name of a routing table, as `ip route` knows it (`main`, or a line of `rt_tables`).
    TableName, check_table_name
}

impl Hook {
    /// The command with every `%i` replaced by the interface's name.
    pub fn command(&self, interface: &InterfaceName) -> String {
        self.0.replace("%i", interface.as_str())
    }
}

/// Whitespace as both wg and wg-quick see it: the C locale's `isspace`.
pub(crate) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

fn check_hook(text: &str) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError("is empty"));
    }
    if text.contains(['\n', '\0']) {
        return Err(TextError("is more than one line"));
    }
    if text.contains('#') {
        return Err(TextError("contains '#', which starts a comment and cannot be escaped"));
    }
    if text.starts_with(is_space) || text.ends_with(is_space) {
        return Err(TextError("starts or ends with white space"));
    }
    Ok(())
}

fn check_host_name(text: &str) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError("is empty"));
    }
    if text.len() > HOST_NAME_MAX {
        return Err(TextError("is longer than 253 characters"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(TextError("is an address, not a name"));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(TextError("is not an IPv4 address: four numbers from 0 to 255, without leading zeros"));
    }
    if text.contains(':') {
        return Err(TextError("is not an IPv6 address"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(TextError("is not a host name: letters, digits, '-', '_' and '.' only"));
    }
    Ok(())
}

fn check_scope(text: &str) -> Result<(), TextError> {
    let forbidden = |c: char| !c.is_ascii_graphic() || matches!(c, '#' | ',' | '[' | ']' | ':' | '/' | '%');
    if text.is_empty() || text.len() > 15 || text.contains(forbidden) {
        return Err(TextError("is not the name or number of an interface"));
    }
    Ok(())
}

fn check_search_domain(text: &str) -> Result<(), TextError> {
    if text.is_empty() || text.len() > HOST_NAME_MAX {
        return Err(TextError("must have 1 to 253 characters"));
    }
    if text.contains(':') || text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(TextError("is neither an IPv4 nor an IPv6 address"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~')) {
        return Err(TextError("is neither an address nor a domain"));
    }
    Ok(())
}

fn check_table_name(text: &str) -> Result<(), TextError> {
    if text.eq_ignore_ascii_case("auto") || text.eq_ignore_ascii_case("off") {
        return Err(TextError("is a word with its own meaning, which wg-quick knows in lower case only"));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(TextError("is not a table number from 0 to 4294967295"));
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(TextError("is neither 'auto', 'off', a number nor the name of a routing table"));
    }
    Ok(())
}

/// An address that may carry a zone, as in `fe80::1%eth0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScopedIp {
    /// The address.
    pub ip: IpAddr,
    /// The zone. Only IPv6 addresses have one.
    pub scope: Option<Scope>,
}

impl From<IpAddr> for ScopedIp {
    fn from(ip: IpAddr) -> Self {
        Self { ip, scope: None }
    }
}

impl FromStr for ScopedIp {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let not_an_address = TextError("is neither an IPv4 nor an IPv6 address");
        match text.split_once('%') {
            None => text.parse().map(|ip| Self { ip, scope: None }).map_err(|_| not_an_address),
            Some((ip, scope)) => {
                let ip: Ipv6Addr = ip.parse().map_err(|_| not_an_address)?;
                Ok(Self { ip: ip.into(), scope: Some(Scope::new(scope)?) })
            }
        }
    }
}

impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            // A zone on an IPv4 address cannot be read back; the type is open, so drop it here.
            Some(scope) if self.ip.is_ipv6() => write!(f, "{}%{scope}", self.ip),
            _ => write!(f, "{}", self.ip),
        }
    }
}
