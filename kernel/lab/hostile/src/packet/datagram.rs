//! A UDP datagram in an IP packet in an Ethernet frame, taken apart and put together again.

use super::checksum;

const ETHERNET_LEN: usize = 14;
const UDP: u8 = 17;

/// A frame's headers and what is in the datagram. IP has no options.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Destination, source and type.
    pub ethernet: [u8; ETHERNET_LEN],
    /// The IP header.
    pub ip: Vec<u8>,
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// None if it is something else, or a fragment.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_first_chunk::<ETHERNET_LEN>()?;
        let (v6, ip_len) = match ethernet[12..] {
            [0x08, 0x00] if packet.first() == Some(&0x45) && packet.get(6)? & 0x3f == 0 && *packet.get(9)? == UDP => {
                (false, 20)
            }
            [0x86, 0xdd] if *packet.get(6)? == UDP => (true, 40),
            _ => return None,
        };
        let (ip, behind) = packet.split_at_checked(ip_len)?;
        let (udp, payload) = behind.split_first_chunk::<8>()?;
        let number = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let payload = payload.get(..usize::from(number(4)).checked_sub(8)?)?.to_vec();
        Some(Self {
            v6,
            ethernet: *ethernet,
            ip: ip.to_vec(),
            source_port: number(0),
            destination_port: number(2),
            payload,
        })
    }

    /// The frame, with all lengths and checksums right as far as their fields hold them.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        [&self.ethernet[..], &self.packet()].concat()
    }

    /// The IP packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let udp = self.udp();
        [&self.ip_for(udp.len())[..], &udp].concat()
    }

    /// The IP header for that many bytes behind it.
    #[must_use]
    pub fn ip_for(&self, len: usize) -> Vec<u8> {
        let mut ip = self.ip.clone();
        if self.v6 {
            ip[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        } else {
            let all = (len + ip.len()) as u16;
            ip[2..4].copy_from_slice(&all.to_be_bytes());
            ip[10..12].fill(0);
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        ip
    }

    /// UDP header and payload.
    #[must_use]
    pub fn udp(&self) -> Vec<u8> {
        let len = self.payload.len() + 8;
        let mut udp =
            [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes(), (len as u16).to_be_bytes(), [0; 2]]
                .concat();
        udp.extend(&self.payload);
        let addresses = if self.v6 { &self.ip[8..40] } else { &self.ip[12..20] };
        let sum = checksum(&[addresses, &[0, UDP], &(len as u32).to_be_bytes(), &udp]);
        udp[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
        udp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_apart_and_together_with_its_checksums() {
        let ip = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2].to_vec();
        let mut ethernet = [2; ETHERNET_LEN];
        ethernet[12..].copy_from_slice(&[8, 0]);
        let datagram = Datagram { v6: false, ethernet, ip, source_port: 1, destination_port: 2, payload: vec![7; 33] };
        let frame = datagram.frame();
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        assert_eq!(checksum(&[&frame[26..34], &[0, UDP, 0, 41], &frame[34..]]), 0);
        let again = Datagram::parse(&frame).expect("a datagram");
        assert_eq!((again.source_port, again.destination_port, &again.payload), (1, 2, &vec![7; 33]));
        assert_eq!(again.frame(), frame);
        assert!(Datagram::parse(&frame[..50]).is_none());
    }
}
