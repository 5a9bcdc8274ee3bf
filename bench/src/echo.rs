//! Round trips: a datagram there and back.

use kerntun_lab::{Site, Trouble};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of a datagram.
const SIZE: usize = 64;
/// After this a datagram counts as lost.
const LOST: Duration = Duration::from_millis(500);

/// Round trips in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trips {
    /// In order of size.
    pub(crate) microseconds: Vec<f64>,
    /// Datagrams without an answer.
    pub(crate) lost: u64,
}

/// Answers everything until it is dropped.
struct Echo {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Sends a datagram every `pause` for as long as `window`, each after the answer to the one before.
pub(crate) fn trips(sites: &[Site; 2], address: Ipv4Addr, pause: Duration, window: Duration) -> Result<Trips, Trouble> {
    let echo = Echo::start(&sites[1], address)?;
    let at = echo.at;
    sites[0].run(move || {
        let socket = connected(at)?;
        let mut trips = Trips::default();
        let (begin, mut number) = (Instant::now(), 0);
        while begin.elapsed() < window {
            number += 1;
            match trip(&socket, number).map_err(fail)? {
                Some(time) => trips.microseconds.push(time.as_secs_f64() * 1e6),
                None => trips.lost += 1,
            }
            thread::sleep(pause);
        }
        trips.microseconds.sort_by(f64::total_cmp);
        Ok(trips)
    })
}

/// Sends until there is an answer.
pub(crate) fn reach(sites: &[Site; 2], address: Ipv4Addr, patience: Duration) -> Result<(), Trouble> {
    let begin = Instant::now();
    // The address may be missing yet.
    let echo = loop {
        match Echo::start(&sites[1], address) {
            Err(_) if begin.elapsed() < patience => thread::sleep(Duration::from_millis(20)),
            outcome => break outcome?,
        }
    };
    let at = echo.at;
    sites[0].run(move || {
        let mut number = 0;
        while begin.elapsed() < patience {
            number += 1;
            // A route may be missing yet.
            if connected(at).is_ok_and(|socket| matches!(trip(&socket, number), Ok(Some(_)))) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Trouble::new(format!("no packet came through to {address} and back within {} s", patience.as_secs())))
    })
}

fn connected(at: SocketAddr) -> Result<UdpSocket, Trouble> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(fail)?;
    socket.set_read_timeout(Some(LOST)).map_err(fail)?;
    socket.connect(at).map_err(fail)?;
    Ok(socket)
}

/// One round trip; none if the answer does not come.
fn trip(socket: &UdpSocket, number: u64) -> io::Result<Option<Duration>> {
    let (mut request, mut answer) = ([0; SIZE], [0; SIZE]);
    request[..8].copy_from_slice(&number.to_be_bytes());
    let begin = Instant::now();
    socket.send(&request)?;
    loop {
        match socket.recv(&mut answer) {
            Ok(_) if answer == request => return Ok(Some(begin.elapsed())),
            // The answer to one that was given up.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error),
        }
        if begin.elapsed() > LOST {
            return Ok(None);
        }
    }
}

impl Echo {
    fn start(site: &Site, address: Ipv4Addr) -> Result<Self, Trouble> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        site.run(move || {
            let socket = UdpSocket::bind((address, 0)).map_err(fail)?;
            socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(fail)?;
            let at = socket.local_addr().map_err(fail)?;
            let answer = move || {
                let mut datagram = [0; SIZE];
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok((len, from)) = socket.recv_from(&mut datagram) {
                        let _ = socket.send_to(&datagram[..len], from);
                    }
                }
            };
            let thread = thread::Builder::new().name("echo".to_owned()).spawn(answer).map_err(fail)?;
            Ok(Self { at, stop, thread: Some(thread) })
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn fail(error: io::Error) -> Trouble {
    Trouble::new(format!("cannot measure round trips: {error}"))
}
