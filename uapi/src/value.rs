//! Values of single keys, as both sides read them.

use crate::key::{PublicKey, SecretKey};
use crate::state::AllowedIp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What is wrong with a value, to be put after the name of its key. Never contains the value of a key.
pub(crate) type Wrong = &'static str;

pub(crate) fn public_key(value: &[u8]) -> Result<PublicKey, Wrong> {
    PublicKey::from_hex(value).ok_or("must be 64 hexadecimal digits")
}

pub(crate) fn secret_key(value: &[u8]) -> Result<SecretKey, Wrong> {
    SecretKey::from_hex(value).ok_or("must be 64 hexadecimal digits")
}

/// Flags can only be set; leaving the line out is how one says no.
pub(crate) fn only_true(value: &[u8]) -> Result<bool, Wrong> {
    if value == b"true" { Ok(true) } else { Err("must be \"true\", or the line be left out") }
}

pub(crate) fn u16(value: &[u8]) -> Result<u16, Wrong> {
    number(value).ok_or("must be a decimal number from 0 to 65535")
}

pub(crate) fn u32(value: &[u8]) -> Result<u32, Wrong> {
    number(value).ok_or("must be a decimal number from 0 to 4294967295")
}

pub(crate) fn u64(value: &[u8]) -> Result<u64, Wrong> {
    number(value).ok_or("must be a decimal number from 0 to 18446744073709551615")
}

/// `a.b.c.d:port`, `[v6]:port` or `[v6%scope]:port`; names of scopes are left to `scope`.
pub(crate) fn endpoint(value: &[u8], scope: &dyn Fn(&str) -> Option<u32>) -> Result<SocketAddr, Wrong> {
    const FORM: Wrong = "must be address:port with the address as numbers, an IPv6 address in brackets";
    let value = std::str::from_utf8(value).map_err(|_| FORM)?;
    let (host, port) = value.rsplit_once(':').ok_or(FORM)?;
    let port: u16 = number(port.as_bytes()).ok_or("must end in a port from 1 to 65535")?;
    let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        let address: Ipv4Addr = host.parse().map_err(|_| FORM)?;
        return Ok(SocketAddr::V4(SocketAddrV4::new(address, port)));
    };
    let (address, scope_id) = match inside.split_once('%') {
        None => (inside, 0),
        Some((address, text)) => {
            let id = number(text.as_bytes()).or_else(|| scope(text));
            (address, id.ok_or("has a scope that is neither a number nor an interface of this machine")?)
        }
    };
    let address: Ipv6Addr = address.parse().map_err(|_| FORM)?;
    Ok(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope_id)))
}

/// `address/length`; host bits are cleared.
pub(crate) fn prefix(value: &[u8]) -> Result<AllowedIp, Wrong> {
    const FORM: Wrong = "must be a network like 10.0.0.0/8 or fd00::/8";
    let value = std::str::from_utf8(value).map_err(|_| FORM)?;
    let (address, length) = value.split_once('/').ok_or(FORM)?;
    let address: IpAddr = address.parse().map_err(|_| FORM)?;
    let length: u8 = number(length.as_bytes()).ok_or("has a prefix length that is not a number")?;
    masked(address, length).ok_or("has a prefix length that is more than its address has bits")
}

fn masked(address: IpAddr, prefix: u8) -> Option<AllowedIp> {
    let address = match address {
        IpAddr::V4(v4) => {
            let host_bits = 32_u32.checked_sub(u32::from(prefix))?;
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)))
        }
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.checked_sub(u32::from(prefix))?;
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)))
        }
    };
    Some(AllowedIp { address, prefix })
}

/// Decimal digits only: the standard library would take a plus sign, which neither `wg` nor wireguard-go do.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_as_by_the_slow_way() {
        let v6: Ipv6Addr = "fedc:ba98:7654:3210:fedc:ba98:7654:3210".parse().unwrap();
        for length in 0..=128_u8 {
            let mut octets = v6.octets();
            for bit in usize::from(length)..128 {
                octets[bit / 8] &= !(0x80 >> (bit % 8));
            }
            let expected = AllowedIp { address: IpAddr::from(octets), prefix: length };
            assert_eq!(prefix(format!("{v6}/{length}").as_bytes()), Ok(expected));
        }
        for length in 0..=32_u8 {
            let mut octets = [203, 0, 113, 255];
            for bit in usize::from(length)..32 {
                octets[bit / 8] &= !(0x80 >> (bit % 8));
            }
            let expected = AllowedIp { address: IpAddr::from(octets), prefix: length };
            assert_eq!(prefix(format!("203.0.113.255/{length}").as_bytes()), Ok(expected));
        }
        assert!(prefix(b"10.0.0.0/33").is_err() && prefix(b"::/129").is_err() && prefix(b"::/256").is_err());
    }
}
