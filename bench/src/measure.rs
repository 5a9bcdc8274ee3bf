//! One measurement of one subject.

use crate::cpu;
use crate::daemon::Daemon;
use crate::echo;
use crate::handshake;
use crate::hub;
use crate::memory;
use crate::results::Values;
use crate::stage::Stage;
use crate::statistics::quantile;
use crate::subject::{Program, Subject};
use crate::tcp::{Moved, Streams};
use crate::udp::{self, Flow};
use kerntun_lab::Trouble;
use std::thread;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One TCP stream from west to east.
    Tcp1,
    /// One back.
    Tcp1Back,
    /// One each way at the same time.
    TcpBoth,
    /// Four streams.
    Tcp4,
    /// Four back.
    Tcp4Back,
    /// One stream over a wire that cannot segment UDP, so that its datagrams cross it one by one.
    Tcp1Plain,
    /// As many datagrams of 64 bytes as the generator can make.
    Udp64,
    /// Of 576 bytes.
    Udp576,
    /// Of 1,372 bytes: 1,400 with their headers.
    Udp1372,
    /// The highest rate of 64-byte datagrams of which at most 1 % are lost.
    Udp64Rate,
    /// Round trips while nothing else happens.
    Idle,
    /// Round trips beside one TCP stream.
    Loaded,
    /// How often the daemons wake up while nothing happens.
    WakeUps,
    /// One stream while both daemons have 100,000 other peers, which say nothing.
    Crowd,
    /// Handshakes of a daemon by itself.
    Handshakes,
    /// Memory of a daemon by itself, with many peers.
    Memory,
    /// A daemon by itself, with many peers at work.
    Hub,
}

/// How carefully.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Care {
    /// The time in which something is counted.
    pub(crate) window: Duration,
    /// Whether every byte over TCP is compared; costs some speed.
    pub(crate) verify: bool,
}

/// Rates at which loss is looked for, in datagrams per second.
const RATES: [u64; 16] = [
    10_000, 25_000, 50_000, 75_000, 100_000, 125_000, 150_000, 175_000, 200_000, 225_000, 250_000, 300_000, 350_000,
    400_000, 500_000, 600_000,
];

impl Measure {
    /// In the order of a round: what changes the wire comes last.
    pub(crate) const ALL: [Self; 17] = [
        Self::Tcp1,
        Self::Tcp1Back,
        Self::TcpBoth,
        Self::Tcp4,
        Self::Tcp4Back,
        Self::Udp64,
        Self::Udp576,
        Self::Udp1372,
        Self::Udp64Rate,
        Self::Idle,
        Self::Loaded,
        Self::WakeUps,
        Self::Tcp1Plain,
        Self::Crowd,
        Self::Handshakes,
        Self::Memory,
        Self::Hub,
    ];

    /// What it is called on the command line and in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp-1",
            Self::Tcp1Back => "tcp-1-back",
            Self::TcpBoth => "tcp-both",
            Self::Tcp4 => "tcp-4",
            Self::Tcp4Back => "tcp-4-back",
            Self::Tcp1Plain => "tcp-1-plain",
            Self::Udp64 => "udp-64",
            Self::Udp576 => "udp-576",
            Self::Udp1372 => "udp-1372",
            Self::Udp64Rate => "udp-64-rate",
            Self::Idle => "idle",
            Self::Loaded => "loaded",
            Self::WakeUps => "wake-ups",
            Self::Crowd => "crowd",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory",
            Self::Hub => "hub",
        }
    }

    /// In words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tcp1 => "one TCP stream",
            Self::Tcp1Back => "one TCP stream, other direction",
            Self::TcpBoth => "one TCP stream each way at once",
            Self::Tcp4 => "four TCP streams",
            Self::Tcp4Back => "four TCP streams, other direction",
            Self::Tcp1Plain => "one TCP stream, path without UDP segmentation offload",
            Self::Udp64 => "64-byte datagrams, overload",
            Self::Udp576 => "576-byte datagrams, overload",
            Self::Udp1372 => "1,372-byte datagrams, overload",
            Self::Udp64Rate => "highest rate of 64-byte datagrams with at most 1 % lost",
            Self::Idle => "round trip, idle",
            Self::Loaded => "round trip beside one TCP stream",
            Self::WakeUps => "wake-ups of both daemons, idle",
            Self::Crowd => "one TCP stream beside 100,000 idle peers",
            Self::Handshakes => "handshakes: how many, and what each costs",
            Self::Hub => "a hub: 10,000 peers at work, and 100,000 configured",
            Self::Memory => "memory for up to 100,000 peers, and time to set and list them",
        }
    }

    /// Whether the wanted ratios need it.
    fn is_judged(self) -> bool {
        matches!(
            self,
            Self::Tcp1 | Self::Tcp4 | Self::Tcp1Plain | Self::Udp64 | Self::Udp64Rate | Self::Idle | Self::Loaded
        )
    }

    /// Whether it can be done with this subject.
    pub(crate) fn applies_to(self, program: Program) -> bool {
        match self {
            Self::WakeUps => program.is_tunnel(),
            Self::Crowd | Self::Handshakes | Self::Memory | Self::Hub => program.is_wireguard(),
            _ => true,
        }
    }

    /// About how long it takes.
    pub(crate) fn takes(self, care: Care) -> Duration {
        let (window, ms) = (care.window, Duration::from_millis);
        match self {
            Self::Udp64 | Self::Udp576 | Self::Udp1372 => window + ms(500),
            Self::Udp64Rate => (probe(window) + ms(500)) * 4,
            Self::Idle => idle_window(window),
            Self::Loaded => window + ms(900),
            Self::WakeUps => window * 2 + ms(500),
            Self::Crowd => (window + ms(500)) * 3 + ms(15_000),
            Self::Handshakes => ms(4500),
            Self::Memory => ms(15_000),
            Self::Hub => ms(20_000),
            _ => window + ms(500),
        }
    }

    /// In how many rounds it is done, of those there are. What the wanted ratios need is done in all; memory does not
    /// move with the hour.
    pub(crate) fn rounds(self) -> u32 {
        match self {
            Self::Memory | Self::Hub => 1,
            Self::Crowd | Self::Handshakes | Self::WakeUps => 3,
            _ if self.is_judged() => u32::MAX,
            _ => 3,
        }
    }

    /// Whether it is done with one daemon by itself, not on a stage.
    pub(crate) fn is_alone(self) -> bool {
        matches!(self, Self::Handshakes | Self::Memory | Self::Hub)
    }

    /// Does it with one daemon by itself.
    pub(crate) fn run_alone(self, subject: &Subject) -> Result<Values, Trouble> {
        match self {
            Self::Memory => memory::measure(subject),
            Self::Hub => hub::measure(subject),
            _ => handshake::measure(subject),
        }
    }

    /// Does it on a stage.
    pub(crate) fn run(self, stage: &Stage, care: Care) -> Result<Values, Trouble> {
        let [west, east] = &stage.sites;
        let there = |count| moved(Streams::start(west, east, stage.addresses[1], count, care.verify)?, care);
        let back = |count| moved(Streams::start(east, west, stage.addresses[0], count, care.verify)?, care);
        match self {
            Self::Tcp1 => Ok(throughput(&[there(1)?])),
            Self::Tcp4 => Ok(throughput(&[there(4)?])),
            Self::Tcp1Back => Ok(throughput(&[back(1)?])),
            Self::Tcp4Back => Ok(throughput(&[back(4)?])),
            Self::TcpBoth => both_ways(stage, care),
            Self::Tcp1Plain => {
                let moved = stage.plainly(|| there(1))?;
                Ok(throughput(&[moved]))
            }
            Self::Udp64 => overload(stage, 64, care.window),
            Self::Udp576 => overload(stage, 576, care.window),
            Self::Udp1372 => overload(stage, 1372, care.window),
            Self::Udp64Rate => highest_rate(stage, 64, care.window),
            Self::Idle => round_trips(stage, Duration::from_millis(1), idle_window(care.window)),
            Self::Loaded => {
                let streams = Streams::start(west, east, stage.addresses[1], 1, care.verify)?;
                thread::sleep(Duration::from_millis(500));
                let values = round_trips(stage, Duration::from_millis(1), care.window);
                streams.finish()?;
                values
            }
            Self::WakeUps => wake_ups(&stage.daemons, care.window * 2),
            Self::Crowd => crowd(stage, || there(1)),
            Self::Handshakes | Self::Memory | Self::Hub => Ok(Values::new()),
        }
    }
}

fn moved(streams: Streams, care: Care) -> Result<Moved, Trouble> {
    let moved = streams.watch(care.window)?;
    streams.finish()?;
    Ok(moved)
}

/// Of flows that were watched at the same time: the processors' time is that of the first.
fn throughput(flows: &[Moved]) -> Values {
    let bytes: u64 = flows.iter().map(|moved| moved.bytes).sum();
    let gigabit = flows.iter().map(|moved| moved.bytes as f64 * 8e-9 / moved.seconds).sum();
    let mut values = Values::from([("gbit_per_second".to_owned(), gigabit)]);
    if let Some(first) = flows.first().filter(|_| bytes > 0) {
        values.insert("cpu_seconds_per_gb".to_owned(), first.cpu.busy / (bytes as f64 / 1e9));
    }
    values
}

fn both_ways(stage: &Stage, care: Care) -> Result<Values, Trouble> {
    let [west, east] = &stage.sites;
    let there = Streams::start(west, east, stage.addresses[1], 1, care.verify)?;
    let back = Streams::start(east, west, stage.addresses[0], 1, care.verify)?;
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| back.watch(care.window));
        (there.watch(care.window), other.join())
    });
    let other = other.map_err(|_| Trouble::new("a thread that watched ended unexpectedly"))?;
    there.finish()?;
    back.finish()?;
    Ok(throughput(&[one?, other?]))
}

/// A stream before, beside and after the idle peers: what the hour does to the machine it does to all three.
fn crowd(stage: &Stage, stream: impl Fn() -> Result<Moved, Trouble>) -> Result<Values, Trouble> {
    let gigabit = |moved: Moved| moved.bytes as f64 * 8e-9 / moved.seconds;
    let before = gigabit(stream()?);
    // Whoever takes no so many peers says so.
    if stage.daemons.iter().any(|daemon| memory::fill(daemon, 100_000).is_err()) {
        return Ok(Values::new());
    }
    let beside = gigabit(stream()?);
    stage.configure()?;
    let after = gigabit(stream()?);
    Ok(Values::from([
        ("gbit_per_second".to_owned(), beside),
        ("share_of_alone".to_owned(), 2.0 * beside / (before + after)),
    ]))
}

fn overload(stage: &Stage, size: usize, window: Duration) -> Result<Values, Trouble> {
    let [west, east] = &stage.sites;
    let flow = Flow { size, rate: None, window };
    let outcome = stage.one_by_one(|| udp::send(west, east, stage.addresses[1], flow))?;
    Ok(Values::from([
        ("delivered_per_second".to_owned(), outcome.delivered_per_second),
        ("offered_per_second".to_owned(), outcome.offered_per_second),
        ("disordered".to_owned(), outcome.disordered as f64),
        ("loss_percent".to_owned(), outcome.loss_percent()),
    ]))
}

/// Looks for the highest of [`RATES`] that passes, by halves.
fn highest_rate(stage: &Stage, size: usize, window: Duration) -> Result<Values, Trouble> {
    let [west, east] = &stage.sites;
    let (mut best, mut disordered) = (0.0, 0);
    let (mut low, mut high) = (0, RATES.len());
    while low < high {
        let middle = (low + high) / 2;
        let flow = Flow { size, rate: Some(RATES[middle]), window: probe(window) };
        let outcome = stage.one_by_one(|| udp::send(west, east, stage.addresses[1], flow))?;
        disordered += outcome.disordered;
        // A generator that cannot keep up offers less; that rate was not tried then.
        let tried = outcome.offered_per_second > 0.97 * RATES[middle] as f64;
        if tried && outcome.loss_percent() <= 1.0 {
            best = outcome.offered_per_second;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(Values::from([
        ("packets_per_second".to_owned(), best),
        ("disordered".to_owned(), f64::from(u32::try_from(disordered).unwrap_or(u32::MAX))),
    ]))
}

fn probe(window: Duration) -> Duration {
    (window / 3).max(Duration::from_millis(400))
}

fn idle_window(window: Duration) -> Duration {
    window.min(Duration::from_millis(1200))
}

fn round_trips(stage: &Stage, pause: Duration, window: Duration) -> Result<Values, Trouble> {
    let trips = echo::trips(&stage.sites, stage.addresses[1], pause, window)?;
    if trips.microseconds.is_empty() {
        return Err(Trouble::new("not one round trip was completed"));
    }
    Ok(Values::from([
        ("p50_us".to_owned(), quantile(&trips.microseconds, 0.5)),
        ("p99_us".to_owned(), quantile(&trips.microseconds, 0.99)),
        ("lost".to_owned(), trips.lost as f64),
        ("trips".to_owned(), trips.microseconds.len() as f64),
    ]))
}

fn wake_ups(daemons: &[Daemon], window: Duration) -> Result<Values, Trouble> {
    // What the measurement before has left in motion comes to rest.
    thread::sleep(Duration::from_millis(500));
    let sum = || daemons.iter().map(|daemon| cpu::sleeps(daemon.process())).sum::<Result<u64, _>>();
    let before = sum()?;
    thread::sleep(window);
    let count = sum()?.saturating_sub(before);
    Ok(Values::from([("per_second".to_owned(), count as f64 / window.as_secs_f64())]))
}
