//! Where a peer is: an address or a name, and a port.

use crate::text::{HostName, ScopedIp, TextError};
use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;

/// Where a peer is to be reached first; later it is wherever its packets come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address or name.
    pub host: Host,
    /// UDP port.
    pub port: u16,
}

/// The host of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address, perhaps with a zone.
    Ip(ScopedIp),
    /// A name to be resolved when the interface comes up.
    Name(HostName),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) if ip.ip.is_ipv6() => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads an endpoint as it stands in a file, without white space.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse(text).map(|(endpoint, _)| endpoint)
    }
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is no text at all.
    Empty,
    /// `[` without `]`.
    NoClosingBracket,
    /// No `:port` at the end.
    NoPort,
    /// An IPv6 address and nothing else.
    BareV6,
    /// Something that is no number where the port should be.
    PortNotANumber,
    /// A port above 65535.
    PortTooLarge,
    /// Port 0, which is none.
    PortZero,
    /// `scheme://host`.
    Url,
    /// What should be an address or a name is neither.
    Host(TextError),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::NoClosingBracket => "has a '[' without a ']'",
            Self::NoPort => "has no port",
            Self::BareV6 => "is an IPv6 address without brackets and port",
            Self::PortNotANumber => "has a port that is not a number",
            Self::PortTooLarge => "has a port larger than 65535",
            Self::PortZero => "has port 0, to which nothing can be sent",
            Self::Url => "is a URL, not a host and a port",
            Self::Host(cause) => return write!(f, "has a host that {cause}"),
        })
    }
}

impl core::error::Error for EndpointError {}

/// An endpoint and whether it was an IPv6 address written without brackets.
pub(crate) type Read = (Endpoint, bool);

/// Reads what `wg setconf` reads: inside brackets up to the first `]`, otherwise up to the last `:`. White space must be
/// gone already. Ports are numbers; names of services are not taken.
pub(crate) fn parse(text: &str) -> Result<Read, EndpointError> {
    if text.is_empty() {
        return Err(EndpointError::Empty);
    }
    if text.contains("://") {
        return Err(EndpointError::Url);
    }
    let (host, port, bracketed) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(EndpointError::NoClosingBracket)?;
        (host, rest.strip_prefix(':').ok_or(EndpointError::NoPort)?, true)
    } else {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        (host, port, false)
    };
    if port.is_empty() {
        return Err(EndpointError::NoPort);
    }
    let host = match host.parse::<ScopedIp>() {
        Ok(ip) => Host::Ip(ip),
        Err(_) if text.parse::<ScopedIp>().is_ok() => return Err(EndpointError::BareV6),
        Err(cause) if host.contains('%') => return Err(EndpointError::Host(cause)),
        Err(_) => Host::Name(HostName::new(host).map_err(EndpointError::Host)?),
    };
    let port = parse_port(port)?;
    let bare_v6 = !bracketed && matches!(&host, Host::Ip(ScopedIp { ip: IpAddr::V6(_), .. }));
    Ok((Endpoint { host, port }, bare_v6))
}

/// A UDP port in decimal.
pub(crate) fn parse_port(text: &str) -> Result<u16, EndpointError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EndpointError::PortNotANumber);
    }
    match text.parse() {
        Ok(0) => Err(EndpointError::PortZero),
        parsed => parsed.map_err(|_| EndpointError::PortTooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let read = |text: &str| parse(text).map(|(endpoint, bare)| (endpoint.to_string(), bare));
        let ok = |text: &str, bare| Ok((text.to_string(), bare));
        assert_eq!(read("192.0.2.1:51820"), ok("192.0.2.1:51820", false));
        assert_eq!(read("vpn.example.com:051"), ok("vpn.example.com:51", false));
        assert_eq!(read("[2001:db8::1]:51820"), ok("[2001:db8::1]:51820", false));
        assert_eq!(read("[fe80::1%eth0]:1"), ok("[fe80::1%eth0]:1", false));
        assert_eq!(read("[192.0.2.1]:1"), ok("192.0.2.1:1", false));
        assert_eq!(read("[name]:1"), ok("name:1", false));
        assert_eq!(read("2001:db8::1:51820"), ok("[2001:db8::1]:51820", true));
        assert_eq!(read("2001:db8::1"), Err(EndpointError::BareV6));
        assert_eq!(read("2001:db8::1:5182"), ok("[2001:db8::1]:5182", true));
        assert_eq!(read("[2001:db8::1]"), Err(EndpointError::NoPort));
        assert_eq!(read("[2001:db8::1]:"), Err(EndpointError::NoPort));
        assert_eq!(read("[2001:db8::1:5"), Err(EndpointError::NoClosingBracket));
        assert_eq!(read("name"), Err(EndpointError::NoPort));
        assert_eq!(read("name:"), Err(EndpointError::NoPort));
        assert_eq!(read("name:http"), Err(EndpointError::PortNotANumber));
        assert_eq!(read("name:65535"), ok("name:65535", false));
        assert_eq!(read("name:65536"), Err(EndpointError::PortTooLarge));
        assert_eq!(read("name:0"), Err(EndpointError::PortZero));
        assert_eq!(read("[2001:db8::1]:00"), Err(EndpointError::PortZero));
        assert_eq!(read("name:99999999999999999999"), Err(EndpointError::PortTooLarge));
        assert_eq!(read(""), Err(EndpointError::Empty));
        assert_eq!(read("udp://name:1"), Err(EndpointError::Url));
        assert_eq!(read("udp://name"), Err(EndpointError::Url));
        for bad in [":1", "[]:1", "1.2.3.400:1", "a b:1", "1.2.3.4%eth0:1", "fe80::1%:1", "x:y:1", "näme:1"] {
            assert!(matches!(read(bad), Err(EndpointError::Host(_))), "{bad}");
        }
    }
}
