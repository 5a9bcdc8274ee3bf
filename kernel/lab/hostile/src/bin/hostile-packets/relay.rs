//! The cable: carries frames between the two interfaces and remembers some of them.

use crate::mirror::Mirror;
use crate::outer::Outer;
use kerntun_hostile::packet::{Datagram, Offload, Tap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;

/// Datagrams that are remembered.
const REMEMBERED: usize = 64;

pub(crate) struct Relay {
    pub(crate) a: Tap,
    b: Tap,
    pub(crate) mirror: Mirror,
    buffer: Vec<u8>,
    /// Datagrams on their way to a, the oldest first.
    pub(crate) seen: VecDeque<Datagram>,
}

impl Relay {
    pub(crate) fn new(a: Tap, b: Tap, mirror: Tap) -> Self {
        Self { a, b, mirror: Mirror::new(mirror), buffer: vec![0; 70_000], seen: VecDeque::new() }
    }

    /// Carries what there is, after waiting for it for some milliseconds; on the way to a in odd shapes if somebody gives them.
    pub(crate) fn carry(&mut self, milliseconds: u16, mut shapes: Option<&mut Outer>) {
        self.wait(milliseconds);
        // An interface that is down takes nothing; a cable does not care.
        while let Ok(Some(frame)) = self.a.read(&mut self.buffer) {
            let _ = self.b.write(Offload::default(), &frame);
        }
        while let Ok(Some(frame)) = self.b.read(&mut self.buffer) {
            match (Datagram::parse(&frame), &mut shapes) {
                (Some(datagram), Some(shapes)) => {
                    shapes.reshape(&self.a, &datagram);
                    self.remember(datagram);
                }
                (datagram, _) => {
                    let _ = self.a.write(Offload::default(), &frame);
                    self.mirror.hand(frame);
                    datagram.into_iter().for_each(|datagram| self.remember(datagram));
                }
            }
        }
    }

    /// Carries honestly from here on, and looks at what the mirror shows of it.
    pub(crate) fn be_honest(&mut self, until: impl Fn() -> bool) {
        self.mirror.begin(&mut self.buffer);
        while !until() {
            self.carry(50, None);
            self.wait(50);
            self.mirror.look(&mut self.buffer);
        }
    }

    fn wait(&self, milliseconds: u16) {
        let queues = [self.a.queues(), self.b.queues()].concat();
        let mut waiting: Vec<_> = queues.iter().map(|queue| PollFd::new(*queue, PollFlags::POLLIN)).collect();
        let _ = poll(&mut waiting, PollTimeout::from(milliseconds));
    }

    fn remember(&mut self, datagram: Datagram) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(datagram);
    }
}
