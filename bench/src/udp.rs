//! UDP datagrams with numbers: how many arrive, how many are lost, and whether they keep their order.
//!
//! The generator gives 64 datagrams to the kernel with one call, which is cheap, and the kernel cuts them apart before the
//! TUN device ([`Stage::one_by_one`](crate::stage::Stage::one_by_one)), so that every datagram comes out of it by itself, as
//! small packets of real traffic do. The sink looks twice a millisecond and takes up to 32 with one call: sleeping until a
//! packet wakes it would make whoever delivers packets pay for waking it.

use kerntun_lab::{Site, Trouble};
use kerntun_linux::{RecvBatch, Route, SendQueue, Sockets, UdpConfig, UdpOffload, bind, boottime};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Datagrams given to the kernel at once.
const TOGETHER: usize = 64;
/// How long what is on its way may take to arrive.
const DRAIN: Duration = Duration::from_millis(250);
/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);
/// How often a generator with a rate sends what is due.
const TICK: Duration = Duration::from_micros(250);

/// How often the sink looks. At a million a second some 500 wait for it, of the 10,000 that its socket holds.
const LOOK: Duration = Duration::from_micros(500);

/// A flow of datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// Bytes of payload, at least 8.
    pub(crate) size: usize,
    /// Datagrams per second; as many as possible if none.
    pub(crate) rate: Option<u64>,
    /// How long.
    pub(crate) window: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Sent in all.
    pub(crate) sent: u64,
    /// Arrived of those.
    pub(crate) received: u64,
    /// Arrived after one with a higher number, or twice.
    pub(crate) disordered: u64,
    /// Sent per second.
    pub(crate) offered_per_second: f64,
    /// Arrived per second once the flow was running.
    pub(crate) delivered_per_second: f64,
}

impl Outcome {
    /// Share of the datagrams sent that did not arrive, in percent.
    pub(crate) fn loss_percent(&self) -> f64 {
        100.0 * (self.sent.saturating_sub(self.received)) as f64 / (self.sent.max(1)) as f64
    }
}

/// Counts of the sink, read while it works.
#[derive(Default)]
struct Counts {
    received: AtomicU64,
    disordered: AtomicU64,
    stop: AtomicBool,
}

/// Sends a flow from one site to an address of the other.
pub(crate) fn send(from: &Site, to: &Site, address: Ipv4Addr, flow: Flow) -> Result<Outcome, Trouble> {
    let counts = Arc::new(Counts::default());
    let (port, sink) = {
        let counts = Arc::clone(&counts);
        to.run(move || {
            let (port, sockets) = open(UdpOffload::NONE)?;
            let sink = thread::Builder::new().name("sink".to_owned()).spawn(move || sink(&sockets, &counts));
            Ok::<_, Trouble>((port, sink.map_err(fail("start a thread"))?))
        })?
    };
    let generator = from.run(move || {
        let (_, sockets) = open(UdpOffload { gso: true, gro: false })?;
        let to = SocketAddr::from((address, port));
        thread::Builder::new()
            .name("generator".to_owned())
            .spawn(move || generate(&sockets, to, flow))
            .map_err(fail("start a thread"))
    })?;
    thread::sleep(WARM_UP);
    let (before, begin) = (counts.received.load(Ordering::Relaxed), Instant::now());
    thread::sleep(flow.window);
    let delivered = (counts.received.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64();
    let generated = generator.join().map_err(|_| Trouble::new("the UDP generator ended unexpectedly"));
    thread::sleep(DRAIN);
    counts.stop.store(true, Ordering::Relaxed);
    sink.join().map_err(|_| Trouble::new("the UDP sink ended unexpectedly"))??;
    let (sent, seconds) = generated?;
    Ok(Outcome {
        sent,
        received: counts.received.load(Ordering::Relaxed),
        disordered: counts.disordered.load(Ordering::Relaxed),
        offered_per_second: sent as f64 / seconds,
        delivered_per_second: delivered,
    })
}

/// One socket on any port.
fn open(offload: UdpOffload) -> Result<(u16, Sockets), Trouble> {
    let config = UdpConfig { port: 0, mark: 0, workers: 1, offload, ipv6: false };
    let mut bound = bind(&config).map_err(|error| Trouble::new(format!("cannot open a UDP socket: {error}")))?;
    let sockets = bound.workers.pop().ok_or_else(|| Trouble::new("no UDP socket was opened"))?;
    Ok((bound.port, sockets))
}

/// Sends until the time is over. Gives how many, and the seconds it took.
fn generate(sockets: &Sockets, to: SocketAddr, flow: Flow) -> (u64, f64) {
    let route = Route { destination: to, source: None, tos: 0 };
    let mut queue = SendQueue::new();
    let mut pace = flow.rate.map(Pace::new);
    let (mut number, begin) = (0_u64, Instant::now());
    let end = WARM_UP + flow.window;
    while begin.elapsed() < end {
        let due = pace.as_mut().map_or(TOGETHER, |pace| pace.due(begin.elapsed()));
        if due == 0 {
            thread::sleep(TICK);
            continue;
        }
        let len = due * flow.size;
        if let Some(room) = queue.reserve(len) {
            for datagram in room.chunks_mut(flow.size) {
                if let Some(head) = datagram.first_chunk_mut() {
                    *head = number.to_be_bytes();
                }
                number += 1;
            }
            queue.commit(len, flow.size, route);
            queue.flush(sockets, boottime());
        }
    }
    (number, begin.elapsed().as_secs_f64())
}

/// What is due when, at a rate. A generator that was not scheduled in time does not make up for it with a burst, which
/// no queue could take: it sends less, and says so.
struct Pace {
    rate: f64,
    done: f64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate: rate as f64, done: 0.0 }
    }

    /// Datagrams to send at this time, at most what goes out together.
    fn due(&mut self, now: Duration) -> usize {
        let planned = self.rate * now.as_secs_f64();
        let most_behind = (self.rate * 4.0 * TICK.as_secs_f64()).max(TOGETHER as f64);
        self.done = self.done.max(planned - most_behind);
        let due = ((planned - self.done) as usize).min(TOGETHER);
        self.done += due as f64;
        due
    }
}

fn sink(sockets: &Sockets, counts: &Counts) -> Result<(), Trouble> {
    let mut batch = RecvBatch::with_buffers(32, 2048);
    let mut order = Order::default();
    while !counts.stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        while batch.recv(&sockets.v4).map_err(fail("receive"))? > 0 {
            for message in batch.messages() {
                if let Some(number) = message.data.first_chunk() {
                    order.arrived(u64::from_be_bytes(*number));
                }
            }
            counts.received.store(order.received, Ordering::Relaxed);
            counts.disordered.store(order.disordered, Ordering::Relaxed);
            if counts.stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Order {
    received: u64,
    disordered: u64,
    expected: u64,
}

impl Order {
    fn arrived(&mut self, number: u64) {
        self.received += 1;
        self.disordered += u64::from(number < self.expected);
        self.expected = self.expected.max(number.saturating_add(1));
    }
}

fn fail(doing: &'static str) -> impl Fn(std::io::Error) -> Trouble {
    move |error| Trouble::new(format!("cannot {doing} for UDP: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disorder_and_doubles_are_counted() {
        let mut order = Order::default();
        [0, 1, 5, 3, 4, 6, 6, 7].into_iter().for_each(|number| order.arrived(number));
        assert_eq!((order.received, order.disordered), (8, 3));
    }

    #[test]
    fn the_pace_is_kept_and_lost_time_stays_lost() {
        let mut pace = Pace::new(100_000);
        let mut sent = 0;
        for tick in 1..=400 {
            sent += pace.due(TICK * tick);
        }
        assert_eq!(sent, 10_000);
        // A whole second without a turn: at most a millisecond's worth is made up for.
        let late = Duration::from_millis(1100);
        let burst: usize = std::iter::from_fn(|| Some(pace.due(late)).filter(|due| *due > 0)).sum();
        assert_eq!(burst, 100);
    }
}
