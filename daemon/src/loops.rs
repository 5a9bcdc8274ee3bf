//! Endpoints that are routed into their own tunnel.
//!
//! A datagram for such an endpoint comes back out of the TUN device, is sealed again, sent again, and so on, growing
//! each time: one packet keeps a worker busy for a thousand rounds. The kernel's implementation leaves it at that (before
//! Linux 5.7 it looked at the route's interface and answered `ELOOP`); here it shows in the packet itself.
//!
//! Addresses and ports alone do not tell: behind a gateway there may be another WireGuard host that has a tunnel to the same
//! server, with the same ports. But what comes back begins with the header of a data message of this very session, whose
//! receiver index the peer drew at random. What was sent in another session, and a handshake message, goes round once more
//! and is known then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// What all data messages of a session have in front: type, three zeros, receiver index.
pub(crate) type Head = [u8; 8];

/// Whether an inner packet is one of our own datagrams to `endpoint`: UDP to there that begins with `head`.
pub(crate) fn is_own_datagram(packet: &[u8], endpoint: &SocketAddr, head: &Head) -> bool {
    let read = || {
        // Of a fragmented datagram only the first piece has all this. It is enough: without it the others are lost.
        let (destination, transport) = match (packet.first()? >> 4, endpoint) {
            (4, SocketAddr::V4(_)) if *packet.get(9)? == UDP => {
                let address = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
                (IpAddr::from(address), usize::from(packet.first()? & 0xf) * 4)
            }
            (6, SocketAddr::V6(_)) => {
                let transport = match *packet.get(6)? {
                    UDP => 40,
                    FRAGMENT if *packet.get(40)? == UDP => 48,
                    _ => return None,
                };
                (IpAddr::from(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?)), transport)
            }
            _ => return None,
        };
        let [_, _, high, low, _, _, _, _, content @ ..] = *packet.get(transport..)?.first_chunk::<16>()?;
        Some(destination == endpoint.ip() && u16::from_be_bytes([high, low]) == endpoint.port() && content == *head)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = [4, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef];

    fn udp(source_port: u16, head: Head) -> Vec<u8> {
        let mut datagram = source_port.to_be_bytes().to_vec();
        datagram.extend([0xca, 0x6c, 0, 40, 0, 0]);
        datagram.extend(head);
        datagram
    }

    #[test]
    fn only_our_own_datagrams_to_that_endpoint() {
        let v4 = |source: [u8; 4], source_port, head| {
            let mut packet = vec![0; 20];
            (packet[0], packet[9]) = (0x45, 17);
            packet[12..16].copy_from_slice(&source);
            packet[16..20].copy_from_slice(&[192, 0, 2, 2]);
            packet.extend(udp(source_port, head));
            packet
        };
        let v6 = |fragment: &[u8], head| {
            let mut packet = vec![0; 24];
            (packet[0], packet[6]) = (0x60, if fragment.is_empty() { 17 } else { 44 });
            packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
            packet.extend(fragment);
            packet.extend(udp(4096, head));
            packet
        };
        let far: SocketAddr = "192.0.2.2:51820".parse().unwrap();
        let far6: SocketAddr = "[2001:db8::1]:51820".parse().unwrap();
        let first = [17, 0, 0, 1, 0, 0, 0, 7];
        let ours = [
            (v4([192, 0, 2, 1], 4096, HEAD), far),
            (v4([10, 0, 0, 7], 4097, HEAD), far),
            (v6(&[], HEAD), far6),
            (v6(&first, HEAD), far6),
        ];
        for (packet, endpoint) in ours {
            assert!(is_own_datagram(&packet, &endpoint, &HEAD));
            for len in 0..packet.len() {
                assert!(!is_own_datagram(&packet[..len], &endpoint, &HEAD), "{len} bytes of {packet:x?}");
            }
            for others in ["192.0.2.2:51821", "192.0.2.3:51820", "[2001:db8::1]:51821", "[2001:db8::2]:51820"] {
                assert!(!is_own_datagram(&packet, &others.parse().unwrap(), &HEAD), "for {others}: {packet:x?}");
            }
            for at in 0..8 {
                let mut other = HEAD;
                other[at] ^= 1;
                assert!(!is_own_datagram(&packet, &endpoint, &other), "of another session or kind: {packet:x?}");
            }
        }
        let mut tcp = v4([192, 0, 2, 1], 4096, HEAD);
        tcp[9] = 6;
        assert!(!is_own_datagram(&tcp, &far, &HEAD));
        assert!(!is_own_datagram(&v6(&[6, 0, 0, 1, 0, 0, 0, 7], HEAD), &far6, &HEAD), "a fragment of TCP");
    }
}
