//! A hub: one daemon with thousands of peers at work at once, and with a hundred thousand that are not.
//!
//! The peers are no daemons but prepared messages from one socket, each peer's from an address of its own, so that what the
//! machine does is the hub's work, the generator's sending and nothing else. Every handshake is checked; packets are sealed
//! beforehand with the keys that it gave, by an implementation that is not ours, and sent in turns, one of each peer, which is
//! the worst order for whoever likes runs. What arrives is counted by the hub's interface, and what it forwards by the socket.

use crate::cpu;
use crate::daemon::{Daemon, identity, key, peer, public_key};
use crate::noise::{self, RESPONSE, Transport, Waiting};
use crate::results::Values;
use crate::stage::{self, INNER_MTU, NAMES, OUTER, PORTS};
use crate::statistics::quantile;
use crate::subject::{Program, Subject};
use kerntun_lab::{Site, Trouble};
use kerntun_linux::{RecvBatch, Route, SendQueue, Sockets, Source, UdpConfig, UdpOffload, bind, boottime};
use kerntun_uapi::SetRequest;
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the peers are, a block for benchmarks (RFC 2544).
const OUTSIDE: &str = "198.18.0.0/15";
/// Peers at work.
const ACTIVE: usize = 10_000;
/// Peers in all, at the end.
const IDLE: usize = 100_000;
/// Peers in one request of configuration.
const TOGETHER: usize = 1_000;
/// Handshakes on their way at once.
const ON_THE_WAY: usize = 32;
/// How long all handshakes may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever takes longer to configure the idle peers is not asked for the rest of them.
const SLOW: Duration = Duration::from_secs(10);
/// Packets of each peer, for each way.
const EACH: usize = 40;
/// Bytes of an inner packet: 64 of UDP payload.
const PACKET: usize = 92;
/// The same, padded and sealed.
const SEALED: usize = 96 + 32;
/// Handshakes of which the time to the answer is taken.
const FIRST: usize = 100;
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_secs(3);
/// What is on its way is waited for.
const DRAIN: Duration = Duration::from_millis(300);

/// Measures a daemon by itself.
pub(crate) fn measure(subject: &Subject) -> Result<Values, Trouble> {
    let sites = stage::wired(1500)?;
    join_outside(&sites)?;
    let mut command = subject.command(NAMES[0]);
    if subject.program == Program::Boringtun {
        // A socket for each peer would need more descriptors than a process may have.
        command.arg("--disable-connected-udp");
    }
    let mut daemon = Daemon::start(&sites[0], NAMES[0], command)?;
    daemon.wait_until_it_serves()?;
    daemon.set(&SetRequest { listen_port: Some(PORTS[0]), ..identity(key(0)) })?;
    let mut values = Values::new();
    let empty = cpu::resident(daemon.process())?;
    configure(&daemon, 0..ACTIVE, public)?;
    stage::run(&sites[0], "ip", &["addr", "add", "10.255.255.254/8", "dev", NAMES[0]])?;
    stage::run(&sites[0], "ip", &["link", "set", NAMES[0], "mtu", &INNER_MTU.to_string(), "up"])?;

    let far = noise::Daemon::new(public_key(key(0)));
    let initiations = prepared(&far, 0..ACTIVE)?;
    let socket = sites[1].run(open)?;
    let (clients, time) = connect(&socket, initiations)?;
    values.insert("all_connected_seconds".to_owned(), time.as_secs_f64());
    let resident = cpu::resident(daemon.process())?;
    values.insert("kib_per_active_peer".to_owned(), resident.saturating_sub(empty) as f64 / ACTIVE as f64);

    let delivered = flood(&sites[0], &daemon, &socket, &sealed(&clients, 0, |_| Ipv4Addr::new(10, 255, 0, 1))?, false)?;
    daemon.check()?;
    values.insert("in_per_second".to_owned(), delivered.per_second);
    values.insert("in_cpu_us".to_owned(), delivered.cpu_us);
    stage::run(&sites[0], "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"])?;
    let other = |number| inner((number + 1) % ACTIVE);
    let forwarded = flood(&sites[0], &daemon, &socket, &sealed(&clients, EACH as u64, other)?, true)?;
    daemon.check()?;
    values.insert("through_per_second".to_owned(), forwarded.per_second);
    values.insert("through_cpu_us".to_owned(), forwarded.cpu_us);

    values.insert("first_answer_us_10k".to_owned(), first_answer(&daemon, &far, &socket, ACTIVE)?);
    let begin = Instant::now();
    let mut count = ACTIVE + FIRST;
    while count < IDLE && (count < IDLE / 5 || begin.elapsed() < SLOW) {
        let many = count..(count + TOGETHER).min(IDLE);
        count = many.end;
        // Whoever takes no more peers says so.
        if configure(&daemon, many, idle).is_err() {
            return Ok(values);
        }
    }
    if count == IDLE {
        values.insert("first_answer_us_100k".to_owned(), first_answer(&daemon, &far, &socket, IDLE)?);
    }
    daemon.check()?;
    Ok(values)
}

/// Puts all peers at the far end of the wire, where each address in that block is one of ours (ip-route(8), `local`).
pub(crate) fn join_outside(sites: &[Site; 2]) -> Result<(), Trouble> {
    let gateway = OUTER[1].to_string();
    stage::run(&sites[0], "ip", &["route", "add", OUTSIDE, "via", &gateway])?;
    stage::run(&sites[1], "ip", &["route", "add", "local", OUTSIDE, "dev", "lo"])
}

/// Adds the peers of these numbers.
fn configure(
    daemon: &Daemon,
    numbers: std::ops::Range<usize>,
    public: impl Fn(usize) -> [u8; 32],
) -> Result<(), Trouble> {
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks(TOGETHER) {
        let peers = numbers.iter().map(|number| peer(public(*number), inner(*number).into()));
        daemon.set(&SetRequest { peers: peers.collect(), ..SetRequest::default() })?;
    }
    Ok(())
}

/// A handshake and who begins it.
pub(crate) type Begun = (usize, Waiting);

/// Computes initiations on two processors.
pub(crate) fn prepared(far: &noise::Daemon, numbers: std::ops::Range<usize>) -> Result<Vec<Begun>, Trouble> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let one = move |number: usize| {
        let index = u32::try_from(number).unwrap_or_default();
        far.initiate(&private(number), seconds, index).map(|waiting| (number, waiting))
    };
    let middle = numbers.start + numbers.len() / 2;
    thread::scope(|scope| {
        let second = scope.spawn(move || (middle..numbers.end).map(one).collect::<Result<Vec<_>, _>>());
        let mut first = (numbers.start..middle).map(one).collect::<Result<Vec<_>, _>>()?;
        first.extend(second.join().map_err(|_| Trouble::new("preparing handshakes ended unexpectedly"))??);
        Ok(first)
    })
}

fn open() -> Result<Sockets, Trouble> {
    let config = UdpConfig { port: PORTS[1], mark: 0, workers: 1, offload: UdpOffload::NONE, ipv6: false };
    let mut bound = bind(&config).map_err(|error| Trouble::new(format!("cannot open a UDP socket: {error}")))?;
    bound.workers.pop().ok_or_else(|| Trouble::new("no UDP socket was opened"))
}

/// Where a peer's messages go, and where they come from.
fn route(number: usize) -> Route {
    let source = Source { address: IpAddr::V4(outer(number)), interface: 0 };
    Route { destination: SocketAddr::from((OUTER[0], PORTS[0])), source: Some(source), tos: 0 }
}

pub(crate) fn queue(queue: &mut SendQueue, sockets: &Sockets, number: usize, message: &[u8]) {
    if queue.reserve(message.len()).is_none() {
        queue.flush(sockets, boottime());
    }
    if let Some(room) = queue.reserve(message.len()) {
        room.copy_from_slice(message);
        queue.commit(message.len(), message.len(), route(number));
    }
}

/// Shakes hands with all of them. Gives the sessions, and how long it took until the last answer.
pub(crate) fn connect(socket: &Sockets, begun: Vec<Begun>) -> Result<(Vec<Client>, Duration), Trouble> {
    let count = begun.len();
    let (mut out, mut batch) = (SendQueue::with_buffer(1 << 16), RecvBatch::with_buffers(64, 2048));
    let mut waiting: HashMap<usize, Waiting> = HashMap::with_capacity(count);
    let mut answers = Vec::with_capacity(count);
    let mut begun = begun.into_iter();
    let begin = Instant::now();
    let mut last = begin;
    while answers.len() < count {
        while waiting.len() - answers.len() < ON_THE_WAY
            && let Some((number, handshake)) = begun.next()
        {
            queue(&mut out, socket, number, &handshake.message);
            waiting.insert(number, handshake);
        }
        out.flush(socket, boottime());
        if batch.recv(&socket.v4).map_err(fail)? == 0 {
            if last.elapsed() > LOST || begin.elapsed() > PATIENCE {
                let got = answers.len();
                return Err(Trouble::new(format!("{got} of {count} peers got an answer to their first message")));
            }
            thread::sleep(Duration::from_micros(50));
            continue;
        }
        for message in batch.messages() {
            if let Some(answer) = message.data.first_chunk::<RESPONSE>().filter(|answer| answer[0] == 2) {
                answers.push(*answer);
                last = Instant::now();
            }
        }
    }
    let time = last - begin;
    let mut pairs = Vec::with_capacity(count);
    for answer in answers {
        let number = u32::from_le_bytes([answer[8], answer[9], answer[10], answer[11]]) as usize;
        let handshake = waiting.remove(&number).ok_or_else(|| Trouble::new("an answer is to nobody"))?;
        pairs.push((number, handshake, answer));
    }
    let finish = |(number, handshake, answer): (usize, Waiting, [u8; RESPONSE])| {
        let transport = handshake.finish(&answer);
        let transport =
            transport.ok_or_else(|| Trouble::new(format!("the answer to peer {number} is not authentic")))?;
        Ok(Client { number, transport })
    };
    let second = pairs.split_off(count / 2);
    let mut clients = thread::scope(|scope| {
        let second = scope.spawn(move || second.into_iter().map(finish).collect::<Result<Vec<_>, Trouble>>());
        let mut first = pairs.into_iter().map(finish).collect::<Result<Vec<_>, Trouble>>()?;
        first.extend(second.join().map_err(|_| Trouble::new("checking answers ended unexpectedly"))??);
        Ok::<_, Trouble>(first)
    })?;
    clients.sort_by_key(|client| client.number);
    Ok((clients, time))
}

/// A peer with a session.
pub(crate) struct Client {
    number: usize,
    pub(crate) transport: Transport,
}

/// Datagrams of all clients in turns, with counters from `first` on, to the address that `to` names.
fn sealed(clients: &[Client], first: u64, to: impl Fn(usize) -> Ipv4Addr) -> Result<Vec<u8>, Trouble> {
    let mut datagrams = vec![0; clients.len() * EACH * SEALED];
    let turns = (first..).zip(datagrams.chunks_mut(clients.len() * SEALED));
    for (counter, turn) in turns {
        for (client, datagram) in clients.iter().zip(turn.chunks_mut(SEALED)) {
            let mut text = [0; SEALED - 32];
            text[..PACKET].copy_from_slice(&packet(inner(client.number), to(client.number)));
            client.transport.seal(counter, &text, datagram)?;
        }
    }
    Ok(datagrams)
}

/// What became of a flood.
struct Flood {
    /// Packets that came to where they belong.
    per_second: f64,
    /// Microseconds of the daemon for each.
    cpu_us: f64,
}

/// Sends them all, as fast as it goes, and counts what the hub's interface gets, or what comes back.
fn flood(hub: &Site, daemon: &Daemon, socket: &Sockets, datagrams: &[u8], back: bool) -> Result<Flood, Trouble> {
    let delivered = || hub.run(delivered);
    let turn = ACTIVE * SEALED;
    let (before, cpu, begin) = (delivered()?, cpu::of_process(daemon.process())?, Instant::now());
    let returned = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let mut time = Duration::ZERO;
    let mut arrived = 0;
    thread::scope(|scope| {
        let sink = scope.spawn(|| sink(socket, &returned, &done));
        let mut out = SendQueue::with_buffer(32 * SEALED);
        for (number, datagram) in datagrams.chunks(SEALED).enumerate() {
            queue(&mut out, socket, number % (turn / SEALED), datagram);
        }
        out.flush(socket, boottime());
        time = begin.elapsed();
        arrived = if back { returned.load(Ordering::Relaxed) } else { delivered()? - before };
        thread::sleep(DRAIN);
        done.store(true, Ordering::Relaxed);
        sink.join().map_err(|_| Trouble::new("the sink ended unexpectedly"))?
    })?;
    let cpu = cpu::of_process(daemon.process())?.saturating_sub(cpu);
    let all = if back { returned.into_inner() } else { delivered()? - before };
    if all == 0 {
        return Err(Trouble::new("the hub delivered nothing"));
    }
    Ok(Flood { per_second: arrived as f64 / time.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / all as f64 })
}

/// Counts data messages that come back.
fn sink(socket: &Sockets, returned: &AtomicU64, done: &AtomicBool) -> Result<(), Trouble> {
    let mut batch = RecvBatch::with_buffers(64, 2048);
    while !done.load(Ordering::Relaxed) {
        while batch.recv(&socket.v4).map_err(fail)? > 0 {
            let data = batch.messages().filter(|message| message.data.first() == Some(&4)).count();
            returned.fetch_add(data as u64, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// Packets that the daemon's interface has received, in whose namespace this is.
pub(crate) fn delivered() -> Result<u64, Trouble> {
    fs::read_to_string("/proc/thread-self/net/dev").map_err(fail).map(|text| received(&text))
}

/// Packets that an interface of ours has received, of `/proc/net/dev`.
fn received(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(NAMES[0])?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}

/// Median time from an initiation to its answer, one after the other, of peers that are configured for it in the place
/// behind the first `at`.
fn first_answer(daemon: &Daemon, far: &noise::Daemon, socket: &Sockets, at: usize) -> Result<f64, Trouble> {
    configure(daemon, at..at + FIRST, public)?;
    let mut times = Vec::with_capacity(FIRST);
    for begun in prepared(far, at..at + FIRST)? {
        let (_, time) = connect(socket, vec![begun])?;
        times.push(time.as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(quantile(&times, 0.5))
}

/// An IPv4 and UDP packet without a UDP checksum.
fn packet(from: Ipv4Addr, to: Ipv4Addr) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[..4].copy_from_slice(&[0x45, 0, 0, PACKET as u8]);
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let words = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
    let folded = (words & 0xffff) + (words >> 16);
    packet[10..12].copy_from_slice(&(!(((folded & 0xffff) + (folded >> 16)) as u16)).to_be_bytes());
    packet[20..28].copy_from_slice(&[0x30, 0x39, 0, 9, 0, (PACKET - 20) as u8, 0, 0]);
    packet
}

fn private(number: usize) -> [u8; 32] {
    let mut private = [0x40; 32];
    private[1..9].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    private[0] = 16;
    private
}

pub(crate) fn public(number: usize) -> [u8; 32] {
    public_key(private(number))
}

/// Of a peer that never says anything: any 32 bytes.
fn idle(number: usize) -> [u8; 32] {
    let mut public = [0x12; 32];
    public[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    public[8..16].copy_from_slice(&(number as u64).to_le_bytes());
    public
}

/// Addresses of a peer inside and outside.
pub(crate) fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + number as u32)
}

fn outer(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number as u32)
}

fn fail(error: std::io::Error) -> Trouble {
    Trouble::new(format!("a hub cannot be measured: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_a_good_header() {
        let packet = packet(Ipv4Addr::new(10, 64, 0, 1), Ipv4Addr::new(10, 255, 0, 1));
        let sum = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(packet.len(), 20 + 8 + 64);
    }

    #[test]
    fn the_right_counter_is_read() {
        let text =
            "Inter-|   Receive\n face |bytes    packets errs\n    lo: 1 2 3\n  west:   900  17 0 0\n western: 1 1\n";
        assert_eq!(received(text), 17);
    }
}
