//! A look at what passes on the interfaces of a site: a packet socket (packet(7)).

use crate::failure::Failure;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of Ethernet, IPv4 and UDP headers before a WireGuard message on the wire.
const HEADERS: usize = 14 + 20 + 8;

/// Listens on all interfaces of the network namespace of the thread that made it.
pub(super) struct Tap {
    socket: OwnedFd,
}

/// What passed on one interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Frames.
    pub(super) frames: u64,
    /// Frames in which the text that was looked for stands readable.
    pub(super) readable: u64,
    /// Sizes of WireGuard messages in bytes by type: 1 start, 2 response, 3 cookie, 4 data. Only for Ethernet.
    pub(super) messages: Vec<(u8, usize)>,
}

impl Tap {
    pub(super) fn new() -> Result<Self, Failure> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, RcvBuf, &(4 << 20))?;
            nix::Result::Ok(socket)
        };
        let socket = open().map_err(|error| Failure::new(format!("cannot look at the wire: {}", error.desc())))?;
        Ok(Self { socket })
    }

    /// All that passed since the last time, by the number of the interface.
    pub(super) fn drain(&self, text: &[u8]) -> Result<HashMap<usize, Seen>, Failure> {
        let mut seen: HashMap<usize, Seen> = HashMap::new();
        let mut frame = vec![0; 65_536 + HEADERS];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
                Ok((length, from)) => {
                    let bytes = frame.get(..length).unwrap_or_default();
                    let interface = from.map_or(0, |from| from.ifindex());
                    seen.entry(interface).or_default().count(bytes, text);
                }
                Err(nix::Error::EAGAIN) => return Ok(seen),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(Failure::new(format!("cannot look at the wire: {}", error.desc()))),
            }
        }
    }
}

impl Seen {
    fn count(&mut self, frame: &[u8], text: &[u8]) {
        self.frames += 1;
        self.readable += u64::from(frame.windows(text.len().max(1)).any(|window| window == text));
        // Ethernet type IPv4, protocol UDP, then type and three reserved zeros.
        let is_udp = frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&17);
        if let Some([kind @ 1..=4, 0, 0, 0, ..]) = frame.get(HEADERS..).filter(|_| is_udp) {
            self.messages.push((*kind, frame.len() - HEADERS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_text_and_tells_messages() {
        let mut seen = Seen::default();
        seen.count(b"nothing", b"secret");
        seen.count(b"a secret!", b"secret");
        let mut frame = vec![0; HEADERS + 148];
        (frame[12], frame[13], frame[23], frame[HEADERS]) = (8, 0, 17, 1);
        seen.count(&frame, b"secret");
        frame[HEADERS + 1] = 1;
        seen.count(&frame, b"secret");
        assert_eq!(seen, Seen { frames: 4, readable: 1, messages: vec![(1, 148)] });
    }
}
