//! How fast a daemon takes one peer's packets, the sender and the receiving program taken away.
//!
//! The daemon is stopped while the queue of its sockets, made large for this, is filled with one session's packets; then the
//! time it takes to empty it is measured. What it delivers is for an address that nobody has: the stack drops it at its first
//! look. So nothing is at work but the daemon, with as many workers as it has been given.

use crate::daemon::{Daemon, identity, peer, public_key};
use crate::hub;
use crate::noise;
use crate::run;
use crate::stage::{self, INNER_MTU, NAMES, PORTS};
use crate::statistics::quantile;
use crate::subject::{self, Program, Subject};
use kerntun_lab::Trouble;
use kerntun_linux::checksum::Sum;
use kerntun_linux::{SendQueue, Sockets, UdpConfig, UdpOffload, bind, boottime};
use kerntun_uapi::{Section, SetRequest};
use rustix::net::{getsockname, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Room for datagrams in each of the daemon's sockets, in bytes.
const QUEUE: usize = 512 << 20;
/// Bytes of datagrams to put there: with what the kernel adds it fits.
const BYTES: usize = 300 << 20;
/// How often the interface's counter is looked at. Each look takes some 20 µs from the daemon.
const LOOK: Duration = Duration::from_millis(2);
/// It is empty if nothing was delivered for so long.
const EMPTY: Duration = Duration::from_millis(100);
/// Where the packets go: into the network of the interface, where nobody has it, and nobody forwards.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// A round takes less.
const ROUND: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Numbers of workers, for example: 1,2
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<u32>,

    /// Rounds, in each of which every number of workers has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,

    /// Bytes of an inner packet
    #[arg(long, default_value_t = INNER_MTU, value_parser = clap::value_parser!(u32).range(64..=i64::from(INNER_MTU)))]
    size: u32,

    /// The process inside the namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Trouble> {
    if !args.inside {
        run::prepare()?;
        let turns = args.rounds.saturating_mul(u32::try_from(args.workers.len()).unwrap_or(u32::MAX));
        return run::keep(ROUND * turns + Duration::from_secs(60));
    }
    run::settle()?;
    let subject = subject::find()?.0.into_iter().find(|subject| subject.program == Program::Kerntun);
    let subject = subject.ok_or_else(|| Trouble::new("there is no kerntun beside this program"))?;
    let mut all = vec![Vec::new(); args.workers.len()];
    for round in 1..=args.rounds {
        for (workers, measured) in args.workers.iter().zip(&mut all) {
            let gbit_per_second = drain(&subject, *workers, args.size as usize)?;
            println!("round {round}, {workers} workers: {gbit_per_second:.2} Gb/s");
            measured.push(gbit_per_second);
        }
    }
    for (workers, measured) in args.workers.iter().zip(&mut all) {
        measured.sort_by(f64::total_cmp);
        let [low, middle, high] = [0.0, 0.5, 1.0].map(|at| quantile(measured, at));
        println!("{workers} workers: median {middle:.2} Gb/s, from {low:.2} to {high:.2}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Gigabits of inner packets in a second.
fn drain(subject: &Subject, workers: u32, size: usize) -> Result<f64, Trouble> {
    let sites = stage::wired(1500)?;
    hub::join_outside(&sites)?;
    let mut command = subject.command(NAMES[0]);
    command.env("KERNTUN_WORKERS", workers.to_string());
    let mut daemon = Daemon::start(&sites[0], NAMES[0], command)?;
    daemon.wait_until_it_serves()?;
    let peers = vec![peer(hub::public(0), hub::inner(0).into())];
    let request = SetRequest { listen_port: Some(PORTS[0]), peers, ..identity(crate::daemon::key(0)) };
    daemon.set(&request)?;
    stage::run(&sites[0], "ip", &["addr", "add", "10.255.255.254/8", "dev", NAMES[0]])?;
    stage::run(&sites[0], "sysctl", &["-q", "-w", "net.ipv4.ip_forward=0"])?;
    stage::run(&sites[0], "ip", &["link", "set", NAMES[0], "mtu", &INNER_MTU.to_string(), "up"])?;
    let socket = sites[1].run(open)?;
    let far = noise::Daemon::new(public_key(crate::daemon::key(0)));
    let (clients, _) = hub::connect(&socket, hub::prepared(&far, 0..1)?)?;
    let session = &clients.first().ok_or_else(|| Trouble::new("there was no handshake"))?.transport;

    let sealed = size.next_multiple_of(16).min(INNER_MTU as usize) + 32;
    let mut datagrams = vec![0; BYTES / sealed * sealed];
    let mut text = vec![0; sealed - 32];
    for (number, datagram) in (0..).zip(datagrams.chunks_mut(sealed)) {
        segment(&mut text[..size], number);
        session.seal(u64::from(number), &text, datagram)?;
    }
    let server = server(daemon.process())?;
    enlarge(server)?;
    kill_process(server, Signal::STOP).map_err(fail)?;
    let mut out = SendQueue::new();
    for datagram in datagrams.chunks(sealed) {
        hub::queue(&mut out, &socket, 0, datagram);
    }
    out.flush(&socket, boottime());
    let begin = Instant::now();
    kill_process(server, Signal::CONT).map_err(fail)?;
    let time = sites[0].run(move || until_empty(begin))?;
    daemon.check()?;
    let entries = daemon.client()?.diagnostics().ok().flatten().unwrap_or_default();
    let entry = |name| {
        let found = entries.iter().find(|entry| entry.section == Section::Device && entry.name == name);
        found.map_or_else(|| "?".to_owned(), |entry| entry.value.clone())
    };
    let sent = datagrams.len() / sealed;
    if entry("deliver.packets") != sent.to_string() {
        return Err(Trouble::new(format!("{} of {sent} packets were delivered", entry("deliver.packets"))));
    }
    Ok((sent * size * 8) as f64 / time.as_secs_f64() / 1e9)
}

/// A socket that sends as much at once as it can.
fn open() -> Result<Sockets, Trouble> {
    let offload = UdpOffload { gso: true, gro: false };
    let config = UdpConfig { port: PORTS[1], mark: 0, workers: 1, offload, ipv6: false };
    let mut bound = bind(&config).map_err(|error| Trouble::new(format!("cannot open a UDP socket: {error}")))?;
    bound.workers.pop().ok_or_else(|| Trouble::new("no UDP socket was opened"))
}

/// The process that serves is the child of the one that was started.
fn server(keeper: u32) -> Result<Pid, Trouble> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).map_err(fail)?;
    let child = children.split_whitespace().next().and_then(|child| Pid::from_raw(child.parse().ok()?));
    child.ok_or_else(|| Trouble::new("the daemon has no process that serves"))
}

/// Gives the daemon's sockets more room than anybody else could.
fn enlarge(server: Pid) -> Result<(), Trouble> {
    let process = pidfd_open(server, PidfdFlags::empty()).map_err(fail)?;
    let mut found = false;
    for entry in fs::read_dir(format!("/proc/{}/fd", server.as_raw_nonzero())).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that was closed meanwhile is none of them.
        let Ok(fd) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        let address = getsockname(&fd).ok().and_then(|address| SocketAddr::try_from(address).ok());
        if address == Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORTS[0]))) {
            sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE).map_err(fail)?;
            found = true;
        }
    }
    if found { Ok(()) } else { Err(Trouble::new("the daemon has no UDP socket")) }
}

/// How long it took from `begin` until nothing more was delivered.
fn until_empty(begin: Instant) -> Result<Duration, Trouble> {
    let (mut seen, mut last) = (hub::delivered()?, begin);
    while last.elapsed() < EMPTY && begin.elapsed() < ROUND {
        thread::sleep(LOOK);
        let now = hub::delivered()?;
        if now != seen {
            (seen, last) = (now, Instant::now());
        }
    }
    Ok(last - begin)
}

/// Makes `packet` the segment of this number of one TCP stream, to an address that nobody has: IPv4, all its bytes good.
fn segment(packet: &mut [u8], number: u32) {
    let len = packet.len();
    let payload = len - 40;
    let (from, to) = (hub::inner(0).octets(), NOBODY.octets());
    packet[..4].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8]);
    // Not to be fragmented; 64 hops; TCP.
    packet[4..12].copy_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    let sum = Sum::ZERO.add_bytes(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..24].copy_from_slice(&[0x30, 0x39, 0x30, 0x3a]);
    packet[24..28].copy_from_slice(&number.wrapping_mul(payload as u32).to_be_bytes());
    packet[28..32].copy_from_slice(&[0, 0, 0, 1]);
    // ACK.
    packet[32..40].copy_from_slice(&[0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    let behind = (len - 20) as u16;
    let pseudo = Sum::ZERO.add_bytes(&from).add_bytes(&to).add_u16(6).add_u16(behind);
    let sum = pseudo.add_bytes(&packet[20..]).checksum();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

fn fail(error: impl std::fmt::Display) -> Trouble {
    Trouble::new(format!("a daemon cannot be drained: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerntun_linux::TunOffload;
    use kerntun_linux::coalesce::{ChecksumPolicy, Coalescer};

    #[test]
    fn segments_are_good_enough_to_be_merged() {
        let segments = [0, 1, 2].map(|number| {
            let mut packet = vec![0; 1420];
            segment(&mut packet, number);
            packet
        });
        let coalescer = Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify);
        assert_eq!(coalescer.next_run(&segments).count(), 3);
    }
}
