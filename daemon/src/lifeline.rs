//! What keeper and server tell each other: a pair of sockets, whose end is also how either learns of the other's.

use kerntun_linux::LinkEvent;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message. An error of the server's is a sentence.
const LONGEST: usize = 1024;

const READY: u8 = b'R';
const FAILED: u8 = b'F';

/// Something that happened to the system, told to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Of the interface, or of routes.
    Link(LinkEvent),
    /// The machine slept.
    Slept,
    /// This virtual machine is a copy of one that may run elsewhere.
    Copied,
    /// The configuration socket's file is gone.
    SocketRemoved,
}

/// Something that the server tells its keeper.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It serves.
    Ready,
    /// Why it ends.
    Failed(String),
}

/// One end. Nothing here ever blocks.
pub(crate) struct Lifeline(OwnedFd);

impl Lifeline {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The server's end, as it was handed over.
    pub(crate) fn take(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Tells the server; `false` if it has not read what it was told before.
    pub(crate) fn notify(&self, notice: Notice) -> io::Result<bool> {
        let (kind, value) = match notice {
            Notice::Link(LinkEvent::Mtu(mtu)) => (b'm', mtu),
            Notice::Link(LinkEvent::Up) => (b'u', 0),
            Notice::Link(LinkEvent::Down) => (b'd', 0),
            Notice::Link(LinkEvent::Deleted) => (b'x', 0),
            Notice::Link(LinkEvent::Moved) => (b'v', 0),
            // One that is not known here changes nothing there.
            Notice::Link(_) => (b'r', 0),
            Notice::Slept => (b's', 0),
            Notice::Copied => (b'c', 0),
            Notice::SocketRemoved => (b'f', 0),
        };
        let [a, b, c, d] = value.to_ne_bytes();
        match send(&self.0, &[kind, a, b, c, d], SendFlags::NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the keeper said: `Ok(None)` for nothing yet, an error at its end.
    pub(crate) fn notice(&self) -> io::Result<Option<Notice>> {
        let mut message = [0; 5];
        let Some(len) = self.receive(&mut message)? else { return Ok(None) };
        let [kind, value @ ..] = message;
        let link = |event| Ok(Some(Notice::Link(event)));
        match (kind, len) {
            (b'm', 5) => link(LinkEvent::Mtu(u32::from_ne_bytes(value))),
            (b'u', 5) => link(LinkEvent::Up),
            (b'd', 5) => link(LinkEvent::Down),
            (b'x', 5) => link(LinkEvent::Deleted),
            (b'v', 5) => link(LinkEvent::Moved),
            (b'r', 5) => link(LinkEvent::RoutesChanged),
            (b's', 5) => Ok(Some(Notice::Slept)),
            (b'c', 5) => Ok(Some(Notice::Copied)),
            (b'f', 5) => Ok(Some(Notice::SocketRemoved)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Tells the keeper. If nobody listens any more, nobody wants to know.
    pub(crate) fn say(&self, word: &Word) {
        let message = match word {
            Word::Ready => vec![READY],
            Word::Failed(why) => std::iter::once(FAILED).chain(why.bytes()).take(LONGEST).collect(),
        };
        let _ = send(&self.0, &message, SendFlags::NOSIGNAL);
    }

    /// What the server said: `Ok(None)` for nothing yet, an error at its end. It may be in the hands of an attacker, so nothing
    /// that a terminal would obey comes through.
    pub(crate) fn word(&self) -> io::Result<Option<Word>> {
        let mut message = [0; LONGEST];
        let Some(len) = self.receive(&mut message)? else { return Ok(None) };
        match message.get(..len) {
            Some([READY]) => Ok(Some(Word::Ready)),
            Some([FAILED, why @ ..]) => {
                let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
                Ok(Some(Word::Failed(String::from_utf8_lossy(why).chars().map(printable).collect())))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn receive(&self, message: &mut [u8]) -> io::Result<Option<usize>> {
        let received = match recv(&self.0, &mut *message, RecvFlags::empty()) {
            // Told once when the other end was closed with something unread, before what it had said.
            Err(Errno::CONNRESET) => recv(&self.0, &mut *message, RecvFlags::empty()),
            received => received,
        };
        match received {
            Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, len)) => Ok(Some(len)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_as_it_was_told() {
        let (keeper, server) = Lifeline::pair().unwrap();
        let notices = [
            Notice::Link(LinkEvent::Mtu(1420)),
            Notice::Link(LinkEvent::Mtu(u32::MAX)),
            Notice::Link(LinkEvent::Up),
            Notice::Link(LinkEvent::Down),
            Notice::Link(LinkEvent::Deleted),
            Notice::Link(LinkEvent::Moved),
            Notice::Link(LinkEvent::RoutesChanged),
            Notice::Slept,
            Notice::Copied,
            Notice::SocketRemoved,
        ];
        for notice in notices {
            assert!(keeper.notify(notice).unwrap());
        }
        for notice in notices {
            assert_eq!(server.notice().unwrap(), Some(notice));
        }
        assert_eq!(server.notice().unwrap(), None);
        assert_eq!(keeper.word().unwrap(), None);
        server.say(&Word::Ready);
        server.say(&Word::Failed("a \x1b[31mred\n lie".to_owned()));
        assert_eq!(keeper.word().unwrap(), Some(Word::Ready));
        assert_eq!(keeper.word().unwrap(), Some(Word::Failed("a  [31mred  lie".to_owned())));
        server.say(&Word::Failed("x".repeat(5000)));
        assert_eq!(keeper.word().unwrap(), Some(Word::Failed("x".repeat(1023))));
        drop(server);
        assert!(keeper.word().is_err() && keeper.notify(Notice::Slept).is_err());
    }

    #[test]
    fn a_server_that_does_not_listen_holds_nobody_up() {
        let (keeper, server) = Lifeline::pair().unwrap();
        let told = (0..100_000).take_while(|_| keeper.notify(Notice::Slept).unwrap()).count();
        assert!((1..100_000).contains(&told));
        for _ in 0..told {
            assert_eq!(server.notice().unwrap(), Some(Notice::Slept));
        }
        drop(keeper);
        assert!(server.notice().is_err());
    }

    #[test]
    fn last_words_are_heard_whatever_was_left_unread() {
        let (keeper, server) = Lifeline::pair().unwrap();
        keeper.notify(Notice::Slept).unwrap();
        server.say(&Word::Failed("why".to_owned()));
        drop(server);
        assert_eq!(keeper.word().unwrap(), Some(Word::Failed("why".to_owned())));
        assert!(keeper.word().is_err());
    }

    #[test]
    fn nonsense_is_the_end() {
        let (keeper, server) = Lifeline::pair().unwrap();
        for message in [&b"?"[..], b"RR", b"m", b"\0\0\0\0\0"] {
            send(&keeper.0, message, SendFlags::NOSIGNAL).unwrap();
            assert!(server.notice().is_err());
            send(&server.0, message, SendFlags::NOSIGNAL).unwrap();
            assert!(keeper.word().is_err());
        }
    }
}
