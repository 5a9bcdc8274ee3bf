//! Addresses with a prefix length: those of the interface keep their host bits, those a peer may use do not.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the interface with the length of its network's prefix, as in `10.0.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    ip: IpAddr,
    prefix: u8,
}

impl Address {
    /// Puts the two together; `None` when the prefix is longer than the address (32 bits or 128).
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(ip)).then_some(Self { ip, prefix })
    }

    /// The address, host bits included.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Length of the prefix in bits.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads what `ip address add` takes: without a prefix length the address stands alone (/32, /128), and an IPv4
    /// network mask may stand for the length.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (ip, prefix) = split(text)?;
        let prefix = match (ip, prefix) {
            (IpAddr::V4(_), Some(mask)) if mask.contains('.') => mask_length(mask)?,
            _ => length(ip, prefix)?,
        };
        Ok(Self { ip, prefix })
    }
}

/// A network a peer may send from and receives what is sent to, with all host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllowedIp {
    ip: IpAddr,
    prefix: u8,
}

impl AllowedIp {
    /// Takes the network of that prefix length which contains `ip`; `None` when the prefix is longer than the address.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(ip)).then(|| Self { ip: mask(ip, prefix), prefix })
    }

    /// The network's first address.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Length of the prefix in bits.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Reads one entry of `AllowedIPs` as `wg setconf` does, and tells whether host bits were set (and are now zero).
    pub(crate) fn parse(text: &str) -> Result<(Self, bool), AddressError> {
        let (ip, prefix) = split(text)?;
        let prefix = length(ip, prefix)?;
        let masked = mask(ip, prefix);
        Ok((Self { ip: masked, prefix }, masked != ip))
    }
}

impl fmt::Display for AllowedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for AllowedIp {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text).map(|(network, _)| network)
    }
}

/// Why a text is no address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// What should be an address is none.
    Ip,
    /// An address with a zone (`%eth0`), which cannot stand here.
    Scope,
    /// Nothing follows the slash, or no number.
    Prefix,
    /// The prefix is longer than the address.
    PrefixTooLong {
        /// Bits an address of this family has.
        bits: u8,
    },
    /// A dotted mask whose ones are not all on the left.
    Mask,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("is neither an IPv4 nor an IPv6 address"),
            Self::Scope => f.write_str("has a zone ('%'), which cannot stand here"),
            Self::Prefix => f.write_str("has no number of bits after the '/'"),
            Self::PrefixTooLong { bits: 32 } => f.write_str("has a prefix longer than the 32 bits of an IPv4 address"),
            Self::PrefixTooLong { bits } => {
                write!(f, "has a prefix longer than the {bits} bits of an IPv6 address")
            }
            Self::Mask => f.write_str("has a mask that is no network mask"),
        }
    }
}

impl core::error::Error for AddressError {}

/// Bits of an address.
const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with everything after the prefix set to zero. A prefix of 0 shifts by the whole width, hence the checks.
fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let ones = u32::MAX.checked_shl(32u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & ones).into()
        }
        IpAddr::V6(ip) => {
            let ones = u128::MAX.checked_shl(128u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & ones).into()
        }
    }
}

fn split(text: &str) -> Result<(IpAddr, Option<&str>), AddressError> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text, None),
    };
    if ip.contains('%') {
        return Err(AddressError::Scope);
    }
    Ok((ip.parse().map_err(|_| AddressError::Ip)?, prefix))
}

fn length(ip: IpAddr, prefix: Option<&str>) -> Result<u8, AddressError> {
    let Some(prefix) = prefix else { return Ok(bits(ip)) };
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::Prefix);
    }
    // All digits, so the only way to fail is being too large.
    let too_long = AddressError::PrefixTooLong { bits: bits(ip) };
    prefix.parse().ok().filter(|length| *length <= bits(ip)).ok_or(too_long)
}

fn mask_length(mask: &str) -> Result<u8, AddressError> {
    let mask: Ipv4Addr = mask.parse().map_err(|_| AddressError::Prefix)?;
    let ones = mask.to_bits().leading_ones();
    if mask.to_bits().count_ones() != ones {
        return Err(AddressError::Mask);
    }
    u8::try_from(ones).map_err(|_| AddressError::Mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_against_a_bitwise_model() {
        for prefix in 0..=32u8 {
            let ip: Ipv4Addr = "203.0.113.255".parse().unwrap();
            let model =
                (0..32).filter(|bit| bit < &u32::from(prefix)).map(|bit| ip.to_bits() & (1 << (31 - bit))).sum();
            assert_eq!(AllowedIp::new(ip.into(), prefix).unwrap().ip(), Ipv4Addr::from_bits(model));
        }
        for prefix in 0..=128u8 {
            let ip: Ipv6Addr = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
            let model =
                (0..128).filter(|bit| bit < &u32::from(prefix)).map(|bit| ip.to_bits() & (1 << (127 - bit))).sum();
            assert_eq!(AllowedIp::new(ip.into(), prefix).unwrap().ip(), Ipv6Addr::from_bits(model));
        }
        assert_eq!(AllowedIp::new("1.2.3.4".parse().unwrap(), 33), None);
        assert_eq!(Address::new("::1".parse().unwrap(), 129), None);
    }

    #[test]
    fn forms() {
        let address = |text: &str| text.parse::<Address>().map(|a| a.to_string());
        let network = |text: &str| AllowedIp::parse(text).map(|(n, host_bits)| (n.to_string(), host_bits));
        assert_eq!(address("10.0.0.1"), Ok("10.0.0.1/32".into()));
        assert_eq!(address("fd00::1"), Ok("fd00::1/128".into()));
        assert_eq!(address("10.0.0.1/255.255.255.0"), Ok("10.0.0.1/24".into()));
        assert_eq!(address("10.0.0.1/255.0.255.0"), Err(AddressError::Mask));
        assert_eq!(address("10.0.0.1/0.0.0.0"), Ok("10.0.0.1/0".into()));
        assert_eq!(address("fe80::1%eth0/64"), Err(AddressError::Scope));
        assert_eq!(network("10.1.2.3/8"), Ok(("10.0.0.0/8".into(), true)));
        assert_eq!(network("10.0.0.0/08"), Ok(("10.0.0.0/8".into(), false)));
        assert_eq!(network("0.0.0.0/0"), Ok(("0.0.0.0/0".into(), false)));
        assert_eq!(network("10.0.0.0/33"), Err(AddressError::PrefixTooLong { bits: 32 }));
        assert_eq!(network("::/129"), Err(AddressError::PrefixTooLong { bits: 128 }));
        assert_eq!(network("::/999999999999"), Err(AddressError::PrefixTooLong { bits: 128 }));
        assert_eq!(network("10.0.0.0/"), Err(AddressError::Prefix));
        assert_eq!(network("10.0.0.0/+8"), Err(AddressError::Prefix));
        assert_eq!(network("10.0.0.0/255.0.0.0"), Err(AddressError::Prefix));
        assert_eq!(network("1.2.3.4/24/5"), Err(AddressError::Prefix));
        assert_eq!(network("010.0.0.0/8"), Err(AddressError::Ip));
        assert_eq!(network(""), Err(AddressError::Ip));
    }
}
