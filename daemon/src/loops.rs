//! Endpoints that are routed into their own tunnel.
//!
//! A datagram for such an endpoint comes back out of the TUN device, is sealed again, sent again, and so on, growing
//! each time: one packet keeps a worker busy for a thousand rounds. The kernel's implementation leaves it at that (before
//! Linux 5.7 it looked at the route's interface and answered `ELOOP`); here it shows in the packet itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;

/// Whether an inner packet is one of our own datagrams to `endpoint`: UDP from our `port` to there.
pub(crate) fn is_own_datagram(packet: &[u8], endpoint: &SocketAddr, port: u16) -> bool {
    let read = || {
        let (destination, transport) = match (packet.first()? >> 4, endpoint) {
            (4, SocketAddr::V4(_)) if *packet.get(9)? == UDP => {
                let address = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
                // Of a fragmented datagram only the first piece has ports. It is enough: without it the others are lost.
                (IpAddr::from(address), usize::from(packet.first()? & 0xf) * 4)
            }
            (6, SocketAddr::V6(_)) if *packet.get(6)? == UDP => {
                (IpAddr::from(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?)), 40)
            }
            _ => return None,
        };
        let [a, b, c, d] = *packet.get(transport..)?.first_chunk::<4>()?;
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(destination == endpoint.ip() && ports == (port, endpoint.port()))
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_datagrams_to_that_endpoint() {
        let endpoint: SocketAddr = "192.0.2.2:51820".parse().unwrap();
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[16..20].copy_from_slice(&[192, 0, 2, 2]);
        packet.extend([0x10, 0x00, 0xca, 0x6c]);
        assert!(is_own_datagram(&packet, &endpoint, 4096));
        assert!(!is_own_datagram(&packet, &endpoint, 4097), "another program's");
        assert!(!is_own_datagram(&packet, &"192.0.2.2:51821".parse().unwrap(), 4096), "to another port");
        assert!(!is_own_datagram(&packet, &"192.0.2.3:51820".parse().unwrap(), 4096), "to another host");
        assert!(!is_own_datagram(&packet, &"[2001:db8::1]:51820".parse().unwrap(), 4096));
        for len in 0..packet.len() {
            assert!(!is_own_datagram(&packet[..len], &endpoint, 4096));
        }
        packet[9] = 6;
        assert!(!is_own_datagram(&packet, &endpoint, 4096), "TCP");

        let endpoint: SocketAddr = "[2001:db8::1]:51820".parse().unwrap();
        let mut packet = vec![0; 24];
        (packet[0], packet[6]) = (0x60, 17);
        packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend([0x10, 0x00, 0xca, 0x6c]);
        assert!(is_own_datagram(&packet, &endpoint, 4096));
        assert!(!is_own_datagram(&packet, &endpoint, 4097));
    }
}
