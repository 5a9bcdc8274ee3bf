//! A data worker: batches from the TUN device to the network and back, each run to completion.

use crate::control::Ending;
use crate::device::{Shared, now};
use crate::incoming::{Broken, Receiver};
use crate::outgoing::Outgoing;
use crate::sender::Sender;
use kerntun_linux::{Bound, Poller, Sockets, TunQueue};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

const TUN: u64 = 0;
const V4: u64 = 1;
const V6: u64 = 2;

/// One worker: its queue, its sockets, its buffers.
pub(crate) struct Worker<'d> {
    shared: &'d Shared,
    number: usize,
    tun: &'d TunQueue,
    poller: Poller,
    sockets: Option<Arc<Bound>>,
    generation: u64,
    outgoing: Outgoing,
    receiver: Receiver,
    sender: Sender<'d>,
}

impl<'d> Worker<'d> {
    /// A worker on `tun`, which it reads only if `reads`: others may share the queue to write.
    pub(crate) fn new(
        shared: &'d Shared,
        number: usize,
        tun: &'d TunQueue,
        reads: bool,
        poller: Poller,
    ) -> io::Result<Self> {
        if reads {
            poller.add(tun.as_fd(), TUN)?;
        }
        Ok(Self {
            shared,
            number,
            tun,
            poller,
            sockets: None,
            generation: 0,
            outgoing: Outgoing::new(),
            receiver: Receiver::new(tun),
            sender: Sender::new(shared, number),
        })
    }

    /// Carries packets until the daemon ends. Whatever makes that impossible ends the daemon.
    pub(crate) fn run(mut self) {
        if let Err(ending) = self.carry() {
            self.shared.ends.end(ending);
        }
    }

    fn carry(&mut self) -> Result<(), Ending> {
        loop {
            let ready = self.poller.wait(None).map_err(|error| Ending::failed("wait for packets", error))?;
            if self.shared.is_ending() {
                return Ok(());
            }
            if self.generation != self.shared.ports.generation() {
                self.change_sockets().map_err(|error| Ending::failed("wait on the new sockets", error))?;
                // What was ready may have been an old socket.
                continue;
            }
            if ready.has(TUN) {
                self.outgoing.turn(now(), self.shared, self.tun, &mut self.sender).map_err(Ending::from_tun)?;
                // Before anything else is looked at: nothing waits for a batch to fill.
                self.sender.flush();
            }
            if let Some(set) = &self.sockets
                && let Some(Sockets { v4, v6 }) = set.workers.get(self.number)
            {
                let sockets = [(V4, Some(v4)), (V6, v6.as_ref())];
                for socket in sockets.into_iter().filter_map(|(token, socket)| socket.filter(|_| ready.has(token))) {
                    let turned = self.receiver.turn(now(), self.shared, socket, self.tun, &mut self.sender);
                    turned.map_err(|broken| match broken {
                        Broken::Tun(error) => Ending::from_tun(error),
                        Broken::Socket(error) => Ending::failed("receive from a UDP socket", error),
                    })?;
                }
            }
            let (received, delivered) = (self.receiver.received(), self.receiver.delivered());
            self.shared.status.worker(self.number, self.sender.stats(), received, delivered);
        }
    }

    /// Lets go of the sockets in use and takes those that replaced them.
    fn change_sockets(&mut self) -> io::Result<()> {
        self.sender.flush();
        if let Some(old) = self.sockets.take() {
            self.sender.use_sockets(None);
            for socket in old.workers.get(self.number).iter().flat_map(|pair| std::iter::once(&pair.v4).chain(&pair.v6))
            {
                self.poller.remove(socket.as_fd())?;
            }
        }
        self.generation = self.shared.ports.generation();
        self.sockets = self.shared.ports.current();
        if let Some(pair) = self.sockets.as_ref().and_then(|set| set.workers.get(self.number)) {
            self.poller.add(pair.v4.as_fd(), V4)?;
            if let Some(v6) = &pair.v6 {
                self.poller.add(v6.as_fd(), V6)?;
            }
        }
        self.sender.use_sockets(self.sockets.clone());
        Ok(())
    }
}
