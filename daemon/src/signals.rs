//! Signals that end the daemon, as something to wait for beside other things.

use crate::error::{Error, system};
use rustix::process::Signal;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Those that ask for a good end, with their names.
const ENDING: [(Signal, &str); 3] = [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP")];

/// They no longer end the process while this lives, nor after it.
pub(crate) struct Signals(Vec<(UnixStream, Signal, &'static str)>);

impl Signals {
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |(signal, name): (Signal, _)| {
            let (pipe, end) = UnixStream::pair()?;
            pipe.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal.as_raw(), end)?;
            Ok((pipe, signal, name))
        };
        ENDING.into_iter().map(listen).collect::<io::Result<_>>().map(Self).map_err(system("listen to signals"))
    }

    /// What becomes readable when one comes.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(pipe, _, _)| pipe.as_fd())
    }

    /// One that came.
    pub(crate) fn take(&self) -> Option<(Signal, &'static str)> {
        // The signal's handler writes a byte; that it is there says all.
        let came = |pipe: &UnixStream| matches!((&*pipe).read(&mut [0; 16]), Ok(1..));
        self.0.iter().find(|(pipe, _, _)| came(pipe)).map(|(_, signal, name)| (*signal, *name))
    }
}
