//! TCP streams that carry as much as they can, for a while.

use crate::cpu::Machine;
use kerntun_lab::{Site, Trouble};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of one read or write.
const BLOCK: usize = 128 << 10;
/// Length of what is sent over and over: a prime, so that no packet begins where another one did.
const PATTERN: usize = 65_521;
/// Time for the windows of TCP to open, before anything is counted.
const WARM_UP: Duration = Duration::from_millis(400);
/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Streams at work. They end when this is dropped.
pub(crate) struct Streams {
    received: Arc<AtomicU64>,
    damaged: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), Trouble>>>,
}

/// What was moved in a window of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Of all processors.
    pub(crate) cpu: Machine,
}

impl Streams {
    /// Opens `count` connections from one site to an address of the other and begins to send. With `verify` every byte that
    /// arrives is compared with what was sent there, which takes time of its own.
    pub(crate) fn start(
        from: &Site,
        to: &Site,
        address: Ipv4Addr,
        count: usize,
        verify: bool,
    ) -> Result<Self, Trouble> {
        let mut streams = Self {
            received: Arc::default(),
            damaged: Arc::default(),
            stop: Arc::default(),
            threads: Vec::with_capacity(2 * count),
        };
        let listener = to.run(move || TcpListener::bind((address, 0)).map_err(fail("listen")))?;
        let at = listener.local_addr().map_err(fail("listen"))?;
        for _ in 0..count {
            let sender = from.run(move || connect(at))?;
            let (receiver, _) = listener.accept().map_err(fail("accept"))?;
            receiver.set_read_timeout(Some(PATIENCE)).map_err(fail("accept"))?;
            let stop = Arc::clone(&streams.stop);
            streams.threads.push(thread::spawn(move || send(sender, &stop)));
            let (received, damaged) = (Arc::clone(&streams.received), Arc::clone(&streams.damaged));
            streams.threads.push(thread::spawn(move || receive(receiver, verify, &received, &damaged)));
        }
        Ok(streams)
    }

    /// What moves from now on for as long as `window`.
    pub(crate) fn watch(&self, window: Duration) -> Result<Moved, Trouble> {
        thread::sleep(WARM_UP);
        let (before, cpu, begin) = (self.received.load(Ordering::Relaxed), Machine::now()?, Instant::now());
        thread::sleep(window);
        let bytes = self.received.load(Ordering::Relaxed) - before;
        Ok(Moved { bytes, seconds: begin.elapsed().as_secs_f64(), cpu: Machine::now()?.since(cpu) })
    }

    /// Ends the streams and says whether all went well.
    pub(crate) fn finish(mut self) -> Result<(), Trouble> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| Trouble::new("a TCP thread ended unexpectedly"))??;
        }
        if self.damaged.load(Ordering::Relaxed) {
            return Err(Trouble::new("what arrived over TCP is not what was sent: the tunnel damaged what it carried"));
        }
        Ok(())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn connect(at: SocketAddr) -> Result<TcpStream, Trouble> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(fail("connect"))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail("connect"))?;
    Ok(stream)
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> Result<(), Trouble> {
    let pattern = pattern();
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&pattern[at..at + BLOCK]) {
            Ok(sent) => at = (at + sent) % PATTERN,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(fail("send")(error)),
        }
    }
    Ok(())
}

fn receive(mut stream: TcpStream, verify: bool, received: &AtomicU64, damaged: &AtomicBool) -> Result<(), Trouble> {
    let (pattern, mut block) = (pattern(), vec![0; BLOCK]);
    let mut at = 0;
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                if verify && block[..len] != pattern[at..at + len] {
                    damaged.store(true, Ordering::Relaxed);
                }
                at = (at + len) % PATTERN;
                received.fetch_add(len as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What was on its way when the sender was dropped.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(fail("receive")(error)),
        }
    }
}

/// The pattern, repeated until a block fits in behind any place of its first copy.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let once = (0..PATTERN).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let once: Vec<u8> = once.collect();
    once.iter().copied().cycle().take(PATTERN + BLOCK).collect()
}

fn fail(doing: &'static str) -> impl Fn(std::io::Error) -> Trouble {
    move |error| Trouble::new(format!("cannot {doing} over TCP: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends some bytes and says whether the receiver takes them for the pattern.
    fn arrives(change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let mut bytes = [pattern()[..PATTERN].to_vec(), pattern()[..1000].to_vec()].concat();
        change(&mut bytes);
        sender.write_all(&bytes).unwrap();
        drop(sender);
        let (received, damaged) = (AtomicU64::new(0), AtomicBool::new(false));
        receive(receiver, true, &received, &damaged).unwrap();
        assert_eq!(received.into_inner(), bytes.len() as u64);
        !damaged.into_inner()
    }

    #[test]
    fn damage_is_noticed() {
        assert!(arrives(|_| ()));
        assert!(!arrives(|bytes| bytes[70_000 - 4000] ^= 1));
        assert!(!arrives(|bytes| bytes.swap(5, 6)));
    }
}
