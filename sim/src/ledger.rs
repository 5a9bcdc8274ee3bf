//! Inner packets: made with a number in them, and looked up by it when they come out somewhere.

use crate::checks::Check;
use crate::random::Random;
use std::collections::HashSet;
use std::net::IpAddr;

/// Everything that was ever given to a device to send.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// Pairs (from, to) that have had a packet through that was sent at or after [`Ledger::mark`].
    pub through: HashSet<(usize, usize)>,
    /// From when on packets count for `through`; not yet if `None`.
    pub mark: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    from: usize,
    /// The node that was to get it: the owner of the peer it was routed to.
    to: Option<usize>,
    packet: Vec<u8>,
    sent: u64,
    delivered: bool,
}

impl Ledger {
    /// A packet of node `from`, sent at virtual time `now`. Gives its number and its bytes.
    pub fn make(
        &mut self,
        now: u64,
        random: &mut Random,
        from: usize,
        (source, destination): (IpAddr, IpAddr),
    ) -> (u64, Vec<u8>) {
        let number = self.entries.len() as u64;
        let length = match random.below(8) {
            0 => 0,
            1 => random.between(1, 40),
            2 => 1392 - random.below(40),
            _ => random.below(200),
        };
        let payload = [&number.to_le_bytes()[..], &random.vec(length as usize)].concat();
        let tos = random.word() as u8;
        let packet = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut packet = vec![0x45, tos, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0];
                packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
                packet.extend(source.octets());
                packet.extend(destination.octets());
                write_checksum(&mut packet);
                packet
            }
            (source, destination) => {
                let octets = |address| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                let mut packet = vec![0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, 59, 64];
                packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
                packet.extend(octets(source));
                packet.extend(octets(destination));
                packet
            }
        };
        let packet = [packet, payload].concat();
        self.entries.push(Entry { from, to: None, packet: packet.clone(), sent: now, delivered: false });
        (number, packet)
    }

    /// The packet was routed to the peer that node `to` is.
    pub fn routed(&mut self, number: u64, to: Option<usize>) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.to = to;
        }
    }

    /// `packet` came out at node `at`, from the peer that node `from` is, in a datagram with these ECN bits.
    ///
    /// # Errors
    /// The invariant that this breaks, and how.
    pub fn deliver(&mut self, at: usize, from: Option<usize>, packet: &[u8], ecn: u8) -> Result<(), (Check, String)> {
        let entry = number_of(packet).and_then(|number| self.entries.get_mut(number as usize));
        let Some(entry) = entry else {
            return Err((Check::DeliveredIfSent, format!("node {at} got {} bytes nobody sent", packet.len())));
        };
        if marked(&entry.packet, ecn).as_deref() != Some(packet) {
            return Err((Check::DeliveredUnchanged, format!("node {at} got a packet of node {} changed", entry.from)));
        }
        if entry.to != Some(at) || Some(entry.from) != from {
            let detail = format!("node {at} got from {from:?} what {} sent to {:?}", entry.from, entry.to);
            return Err((Check::DeliveredToThePeer, detail));
        }
        if core::mem::replace(&mut entry.delivered, true) {
            return Err((Check::DeliveredOnce, format!("node {at} got a packet of node {} twice", entry.from)));
        }
        if self.mark.is_some_and(|mark| entry.sent >= mark) {
            self.through.insert((entry.from, at));
        }
        Ok(())
    }

    /// How many packets there were, and how many of them arrived.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.iter().filter(|entry| entry.delivered).count())
    }
}

/// The source address of an inner packet that has been delivered.
#[must_use]
pub fn source_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?)),
    }
}

/// ECN bits of an inner packet.
#[must_use]
pub fn ecn_of(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second & 3,
        [_, second, ..] => second >> 4 & 3,
        _ => 0,
    }
}

fn number_of(packet: &[u8]) -> Option<u64> {
    let at = if packet.first()? >> 4 == 4 { 20 } else { 40 };
    Some(u64::from_le_bytes(packet.get(at..at + 8)?.try_into().ok()?))
}

/// What of `packet` leaves a tunnel in which its datagram was marked with `outer` (RFC 6040, figure 4).
fn marked(packet: &[u8], outer: u8) -> Option<Vec<u8>> {
    let ecn = match (ecn_of(packet), outer) {
        (0, 3) => return None,
        (1 | 2, 3) => 3,
        (2, 1) => 1,
        (inner, _) => inner,
    };
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[1] = packet[1] & 0xfc | ecn;
        write_checksum(&mut packet);
    } else {
        packet[1] = packet[1] & 0xcf | ecn << 4;
    }
    Some(packet)
}

/// The checksum of an IPv4 header of 20 bytes (RFC 791).
fn write_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum: u32 = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    packet[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
}
