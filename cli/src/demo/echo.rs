//! Ping: ICMP echo (RFC 792) over a raw socket.

use crate::failure::Failure;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Sends pings in the network namespace of the thread that made it.
pub(super) struct Pinger {
    socket: OwnedFd,
    identifier: u16,
    sequence: u16,
}

impl Pinger {
    pub(super) fn new() -> Result<Self, Failure> {
        let open = || {
            let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(200))?;
            nix::Result::Ok(socket)
        };
        let socket =
            open().map_err(|error| Failure::new(format!("cannot open a socket for pings: {}", error.desc())))?;
        Ok(Self { socket, identifier: 0x6b74, sequence: 0 })
    }

    /// Sends one and waits for its answer: the time between.
    pub(super) fn ping(&mut self, to: Ipv4Addr, payload: &[u8]) -> Result<Duration, Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message(ECHO_REQUEST, self.identifier, self.sequence, payload);
        let answer = message(ECHO_REPLY, self.identifier, self.sequence, payload);
        let begin = Instant::now();
        let fail = |error: nix::Error| Failure::new(format!("ping {to}: {}", error.desc()));
        sendto(self.socket.as_raw_fd(), &request, &SockaddrIn::from(SocketAddrV4::new(to, 0)), MsgFlags::empty())
            .map_err(fail)?;
        let mut packet = vec![0; 65_536];
        while begin.elapsed() < PATIENCE {
            match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                // The IPv4 header is part of what a raw socket gives; its length stands in its first byte.
                Ok(length) => {
                    let header = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
                    if packet.get(header..length) == Some(answer.as_slice()) {
                        return Ok(begin.elapsed());
                    }
                }
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Err(Failure::new(format!("ping {to}: no answer in {} s", PATIENCE.as_secs())))
    }
}

fn message(kind: u8, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    let with = |[x, y]: [u8; 2]| [&[kind, 0, x, y, a, b, c, d], payload].concat();
    with(checksum(&with([0, 0])).to_be_bytes())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let mut sum = pairs.iter().fold(last, |sum, pair| sum + u64::from(u16::from_be_bytes(*pair)));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        // Section 3: the sum of these bytes is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_message_sums_to_zero() {
        for payload in [&b""[..], b"odd", b"even"] {
            assert_eq!(checksum(&message(8, 0x1234, 7, payload)), 0);
        }
    }
}
