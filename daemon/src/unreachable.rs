//! ICMP messages to local senders whose packets have no peer or no endpoint to go to.
//!
//! As the kernel's implementation answers (`drivers/net/wireguard/device.c`, `wg_xmit`): host unreachable for IPv4, address
//! unreachable for IPv6, for either reason. The kernel sends them from an address of the machine; a message that
//! comes in from the interface cannot claim that, because the system drops what arrives from itself. So it comes from the
//! destination: the one address that is certainly routed to this interface and thus passes every reverse-path filter.
//! Connection tracking matches such messages by the packet they carry, so they find their way back through NAT.
//!
//! Sources: RFC 792, RFC 1122 (3.2.2), RFC 1812 (4.3.2), RFC 4443 (2.4, 3.1).

use kerntun_engine::time::{Instant, SECOND};
use kerntun_linux::checksum::{Sum, pseudo_header};
use kerntun_linux::{TunError, TunQueue};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Messages per second and worker in the long run, and at once.
const RATE: u64 = 100;
const BURST: u64 = 50;

/// Longest message: an IPv4 datagram that every host takes, the least MTU of IPv6.
const MAX_V4: usize = 576;
const MAX_V6: usize = 1280;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Traffic class of routing and error messages, as Linux sends them (`PREC_INTERNETCONTROL`).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// What one worker tells senders, and how often it did.
pub(crate) struct Unreachables {
    /// When the bucket would be full again.
    full_at: Instant,
    buffer: [u8; MAX_V6],
}

impl Unreachables {
    pub(crate) fn new() -> Self {
        Self { full_at: Instant::ZERO, buffer: [0; MAX_V6] }
    }

    /// Tells the sender of `packet`, unless the rules forbid it or there were too many messages of late.
    ///
    /// # Errors
    /// [`TunError::Gone`] only; a message that cannot be delivered otherwise is lost.
    pub(crate) fn tell(&mut self, now: Instant, tun: &TunQueue, packet: &[u8]) -> Result<(), TunError> {
        let Some(len) = answer(packet, &mut self.buffer) else { return Ok(()) };
        if !self.may_tell(now) {
            return Ok(());
        }
        match tun.send(self.buffer.get(..len).unwrap_or_default()) {
            Err(TunError::Gone) => Err(TunError::Gone),
            _ => Ok(()),
        }
    }

    /// A token bucket, kept as the time at which it will be full.
    fn may_tell(&mut self, now: Instant) -> bool {
        let after = self.full_at.max(now).after(SECOND / RATE);
        let allowed = after.since(now) <= BURST * (SECOND / RATE);
        if allowed {
            self.full_at = after;
        }
        allowed
    }
}

/// Writes the message about `packet` to `out` and gives its length; `None` if there must not be one.
fn answer(packet: &[u8], out: &mut [u8; MAX_V6]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => answer_v4(packet, out),
        6 => answer_v6(packet, out),
        _ => None,
    }
}

fn answer_v4(packet: &[u8], out: &mut [u8; MAX_V6]) -> Option<usize> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let [first, _, _, _, _, _, fragment_high, fragment_low, _, protocol, _, _, addresses @ ..] = *header;
    let [a, b, c, d, e, f, g, h] = addresses;
    let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    let header_len = usize::from(first & 0xf) * 4;
    let later_fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x1fff != 0;
    let error = protocol == ICMP && !matches!(packet.get(header_len)?, 0 | 8 | 13..=18);
    let group = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast();
    let nobody = source.is_unspecified() || source.is_loopback() || group(source);
    if later_fragment || error || nobody || group(destination) {
        return None;
    }
    let quoted = packet.get(..packet.len().min(MAX_V4 - 28))?;
    let len = 28 + quoted.len();
    let (ip, rest) = out.split_first_chunk_mut::<20>()?;
    let [len_high, len_low] = u16::try_from(len).ok()?.to_be_bytes();
    // Not to be fragmented, so it needs no identification (RFC 6864).
    *ip = [0x45, INTERNETWORK_CONTROL, len_high, len_low, 0, 0, 0x40, 0, 64, ICMP, 0, 0, e, f, g, h, a, b, c, d];
    let sum = Sum::ZERO.add_bytes(ip).checksum().to_be_bytes();
    ip.get_mut(10..12)?.copy_from_slice(&sum);
    write_icmp(rest.get_mut(..8 + quoted.len())?, [3, 1], quoted, Sum::ZERO)?;
    Some(len)
}

fn answer_v6(packet: &[u8], out: &mut [u8; MAX_V6]) -> Option<usize> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let source = Ipv6Addr::from(*header.get(8..24)?.first_chunk::<16>()?);
    let destination = Ipv6Addr::from(*header.get(24..)?.first_chunk::<16>()?);
    if source.is_unspecified() || source.is_multicast() || source.is_loopback() || destination.is_multicast() {
        return None;
    }
    if is_error_or_fragment(packet)? {
        return None;
    }
    let quoted = packet.get(..packet.len().min(MAX_V6 - 48))?;
    let payload = u16::try_from(8 + quoted.len()).ok()?;
    let (ip, rest) = out.split_first_chunk_mut::<40>()?;
    ip.fill(0);
    let (front, addresses) = ip.split_first_chunk_mut::<8>()?;
    let [len_high, len_low] = payload.to_be_bytes();
    *front = [0x60, 0, 0, 0, len_high, len_low, ICMPV6, 64];
    addresses.get_mut(..16)?.copy_from_slice(&destination.octets());
    addresses.get_mut(16..)?.copy_from_slice(&source.octets());
    let pseudo = pseudo_header(addresses, ICMPV6, payload);
    write_icmp(rest.get_mut(..usize::from(payload))?, [1, 3], quoted, pseudo)?;
    Some(40 + usize::from(payload))
}

/// Whether an IPv6 packet is an ICMPv6 error or redirect, or a fragment but the first; `None` if it ends before that can
/// be told.
fn is_error_or_fragment(packet: &[u8]) -> Option<bool> {
    const FRAGMENT: u8 = 44;
    const REDIRECT: u8 = 137;
    let (mut next, mut at) = (*packet.get(6)?, 40);
    // No more extension headers than a sane packet has.
    for _ in 0..8 {
        match next {
            // Hop-by-hop options, routing, destination options: length in the second byte (RFC 8200, section 4).
            0 | 43 | 60 => {
                let len = (usize::from(*packet.get(at + 1)?) + 1) * 8;
                next = *packet.get(at)?;
                at += len;
            }
            FRAGMENT => {
                let [following, _, offset_high, offset_low, ..] = *packet.get(at..)?.first_chunk::<8>()?;
                if u16::from_be_bytes([offset_high, offset_low]) & !7 != 0 {
                    return Some(true);
                }
                next = following;
                at += 8;
            }
            ICMPV6 => return packet.get(at).map(|kind| *kind < 128 || *kind == REDIRECT),
            _ => return Some(false),
        }
    }
    Some(true)
}

/// Fills `out`, as long as header and quotation, with type and code, the quotation, and the checksum over them and what
/// `pseudo` has summed.
fn write_icmp(out: &mut [u8], [kind, code]: [u8; 2], quoted: &[u8], pseudo: Sum) -> Option<()> {
    let (header, body) = out.split_first_chunk_mut::<8>()?;
    *header = [kind, code, 0, 0, 0, 0, 0, 0];
    body.copy_from_slice(quoted);
    let [high, low] = pseudo.add_bytes(header).add_bytes(body).checksum().to_be_bytes();
    *header = [kind, code, high, low, 0, 0, 0, 0];
    Some(())
}

#[cfg(test)]
mod tests;
