//! What the daemon knows of itself, and its answer to `get_diagnostics=1`.
//!
//! Entries of the device:
//!
//! | name | value |
//! |---|---|
//! | `version`, `workers`, `queues`, `mtu`, `peers` | text and numbers |
//! | `up` | `yes` or `no` |
//! | `sandbox` | the layers in place: words |
//! | `sandbox.missing.LAYER` | why a layer is missing |
//! | `listen_port`, `fwmark` | 0 for none |
//! | `families` | `ipv4 ipv6`, `ipv4`, or nothing while no port is bound |
//! | `no_ipv6` | why there is no IPv6 socket, if so |
//! | `offload.tun`, `offload.udp` | what is in use: words, `none` |
//! | `offload.gso_refused`, `offload.tun_step_downs` | how often the system refused after all |
//! | `clock.now`, `clock.greatest_stamp` | seconds since the Unix epoch; the second is 0 if none was sent |
//! | `deadline.timer`, `deadline.ms` | the earliest deadline of all peers |
//! | `handshakes.queued`, `handshakes.capacity` | received handshake messages that wait |
//! | `drop.REASON` | packets dropped for it, if there were any; names of the engine's `Reason` |
//! | `send.datagrams`, `.too_big`, `.no_room`, `.unreachable`, `.forbidden`, `.other`, `.source_lost` | UDP out |
//! | `send.error` | the last one: destination and what the system said |
//! | `receive.datagrams_or_runs`, `receive.truncated`, `receive.errors` | UDP in |
//! | `deliver.packets`, `.interface_down`, `.no_room`, `.refused` | TUN in |
//!
//! Entries of a peer: `drop.REASON`, `deadline.TIMER` (milliseconds from now, negative if overdue, for those that are
//! armed), `handshake.retries`, `handshake.pending`, `staged.packets`, `staged.bytes`, `source` (our address), and with a
//! session `session.age_ms` and `session.packets`.

use crate::device::{Shared, now, wall};
use crate::handshakes::CAPACITY;
use crate::sandbox::Sandbox;
use kerntun_engine::reason::Reason;
use kerntun_engine::time::{Instant, MILLISECOND};
use kerntun_engine::timers::Timer;
use kerntun_linux::{DeliveryReport, RecvStats, SendStats, TunOffload};
use kerntun_uapi::{DiagnosticsWriter, PublicKey};
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;

/// Counters of the threads, copied here after each batch.
pub(crate) struct Status {
    offload: TunOffload,
    queues: usize,
    sandbox: Sandbox,
    workers: Vec<Mutex<Counters>>,
    handshakes: Mutex<SendStats>,
    send_error: Mutex<Option<String>>,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    sent: SendStats,
    received: RecvStats,
    delivered: DeliveryReport,
}

impl Status {
    pub(crate) fn new(offload: TunOffload, queues: usize, workers: usize, sandbox: Sandbox) -> Self {
        Self {
            offload,
            queues,
            sandbox,
            workers: std::iter::repeat_with(Mutex::default).take(workers).collect(),
            handshakes: Mutex::default(),
            send_error: Mutex::default(),
        }
    }

    /// A worker's counters. Leaves them out if somebody is just reading: the next batch brings them again.
    pub(crate) fn worker(&self, number: usize, sent: SendStats, received: RecvStats, delivered: DeliveryReport) {
        if let Some(mut counters) = self.workers.get(number).and_then(Mutex::try_lock) {
            *counters = Counters { sent, received, delivered };
        }
    }

    pub(crate) fn handshake_thread(&self, sent: SendStats) {
        *self.handshakes.lock() = sent;
    }

    /// Something could not be sent.
    pub(crate) fn send_failed(&self, destination: SocketAddr, error: &io::Error) {
        if let Some(mut last) = self.send_error.try_lock() {
            *last = Some(format!("{destination}: {error}"));
        }
    }

    fn counters(&self) -> Counters {
        let mut total = Counters { sent: *self.handshakes.lock(), ..Counters::default() };
        for worker in &self.workers {
            let Counters { sent, received, delivered } = *worker.lock();
            total.sent.datagrams += sent.datagrams;
            total.sent.too_big += sent.too_big;
            total.sent.no_room += sent.no_room;
            total.sent.unreachable += sent.unreachable;
            total.sent.forbidden += sent.forbidden;
            total.sent.other += sent.other;
            total.sent.gso_refused += sent.gso_refused;
            total.sent.source_lost += sent.source_lost;
            total.received.messages += received.messages;
            total.received.truncated += received.truncated;
            total.received.errors += received.errors;
            total.delivered.packets += delivered.packets;
            total.delivered.interface_down += delivered.interface_down;
            total.delivered.no_room += delivered.no_room;
            total.delivered.refused += delivered.refused;
            total.delivered.step_downs += delivered.step_downs;
        }
        total
    }
}

/// Answers `get_diagnostics=1`.
pub(crate) fn diagnostics(shared: &Shared, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
    let now = now();
    device(shared, now, answer)?;
    counters(shared, answer)?;
    let mut at = None;
    while let Some(peer) = shared.engine.next_peer(at) {
        at = Some(peer);
        let Some(info) = shared.engine.peer_info(peer) else { continue };
        answer.peer(&PublicKey(info.public_key.0))?;
        for (reason, count) in Reason::ALL.iter().zip(info.drops).filter(|(_, count)| *count > 0) {
            answer.entry(&format!("drop.{}", reason.name()), &count)?;
        }
        for (timer, at) in Timer::ALL.iter().zip(info.deadlines).filter(|(_, at)| *at != Instant::NEVER) {
            answer.entry(&format!("deadline.{}", timer.name()), &milliseconds(now, at))?;
        }
        answer.entry("handshake.retries", &info.handshake_retries)?;
        answer.entry("handshake.pending", &yes(info.handshake_pending))?;
        answer.entry("staged.packets", &info.staged.0)?;
        answer.entry("staged.bytes", &info.staged.1)?;
        if let Some(source) = info.endpoint.and_then(|endpoint| endpoint.source) {
            answer.entry("source", &source.address)?;
        }
        if let Some(since) = info.session_since {
            answer.entry("session.age_ms", &(now.since(since) / MILLISECOND))?;
            answer.entry("session.packets", &info.session_packets)?;
        }
    }
    Ok(())
}

fn device(shared: &Shared, now: Instant, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
    let (engine, status) = (&shared.engine, &shared.status);
    answer.entry("version", &env!("CARGO_PKG_VERSION"))?;
    answer.entry("up", &yes(engine.is_up()))?;
    answer.entry("sandbox", &status.sandbox.layers())?;
    for (layer, reason) in status.sandbox.missing() {
        answer.entry(&format!("sandbox.missing.{layer}"), reason)?;
    }
    answer.entry("mtu", &shared.mtu())?;
    answer.entry("workers", &status.workers.len())?;
    answer.entry("queues", &status.queues)?;
    answer.entry("peers", &engine.peer_count())?;
    answer.entry("fwmark", &shared.ports.mark())?;
    let ports = shared.ports.current();
    answer.entry("listen_port", &ports.as_ref().map_or(0, |ports| ports.port))?;
    let sockets = ports.as_ref().and_then(|ports| ports.workers.first());
    let families = sockets.map_or("", |pair| if pair.v6.is_some() { "ipv4 ipv6" } else { "ipv4" });
    answer.entry("families", &families)?;
    if let Some(error) = ports.as_ref().and_then(|ports| ports.no_ipv6.as_ref()) {
        answer.entry("no_ipv6", error)?;
    }
    let TunOffload { checksum, tso4, tso6, uso } = status.offload;
    let tun = [(checksum, "checksum"), (tso4, "tso4"), (tso6, "tso6"), (uso, "uso")];
    answer.entry("offload.tun", &words(&tun))?;
    if let Some(pair) = sockets {
        // A datagram of the usual MTU stands for all.
        let segments = pair.v4.segments(1452) > 1;
        answer.entry("offload.udp", &words(&[(segments, "segment"), (pair.v4.gro(), "gro")]))?;
    }
    answer.entry("clock.now", &wall().seconds)?;
    answer.entry("clock.greatest_stamp", &engine.greatest_stamp_sent().to_wall().seconds)?;
    if let Some(deadline) = engine.next_deadline() {
        answer.entry("deadline.timer", &deadline.timer.name())?;
        answer.entry("deadline.ms", &milliseconds(now, deadline.at))?;
    }
    answer.entry("handshakes.queued", &shared.inbox.depth())?;
    answer.entry("handshakes.capacity", &CAPACITY)?;
    for reason in Reason::ALL {
        let count = engine.drops(*reason);
        if count > 0 {
            answer.entry(&format!("drop.{}", reason.name()), &count)?;
        }
    }
    Ok(())
}

fn counters(shared: &Shared, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
    let Counters { sent, received, delivered } = shared.status.counters();
    let entries = [
        ("offload.gso_refused", sent.gso_refused),
        ("offload.tun_step_downs", delivered.step_downs),
        ("send.datagrams", sent.datagrams),
        ("send.too_big", sent.too_big),
        ("send.no_room", sent.no_room),
        ("send.unreachable", sent.unreachable),
        ("send.forbidden", sent.forbidden),
        ("send.other", sent.other),
        ("send.source_lost", sent.source_lost),
        ("receive.datagrams_or_runs", received.messages),
        ("receive.truncated", received.truncated),
        ("receive.errors", received.errors),
        ("deliver.packets", delivered.packets),
        ("deliver.interface_down", delivered.interface_down),
        ("deliver.no_room", delivered.no_room),
        ("deliver.refused", delivered.refused),
    ];
    for (name, count) in entries {
        answer.entry(name, &count)?;
    }
    let error = shared.status.send_error.lock().clone();
    error.map_or(Ok(()), |error| answer.entry("send.error", &error))
}

/// Milliseconds until `at`, negative if it has passed.
fn milliseconds(now: Instant, at: Instant) -> i128 {
    (i128::from(at.as_nanos()) - i128::from(now.as_nanos())) / i128::from(MILLISECOND)
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn words(words: &[(bool, &str)]) -> String {
    let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}
