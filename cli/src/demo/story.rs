//! The first process inside the namespaces: the steps, one after the other.

use super::node::{Node, Other, random_key};
use super::report::{Report, Results, milliseconds, short};
use super::tap::{Seen, Tap};
use super::{Args, bulk, echo::Pinger, wire};
use crate::failure::Failure;
use crate::show::{Paint, bytes};
use kerntun_lab::Site;
use kerntun_uapi::{DeviceState, SOCKET_DIRECTORY};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The wire has addresses that documents use (RFC 5737), the tunnel private ones.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 213, 0, 1), Ipv4Addr::new(10, 213, 0, 2)];
const PORTS: [u16; 2] = [51_820, 51_821];
const NAMES: [&str; 2] = ["west", "east"];
const OUTER_MTU: u32 = 1500;
const INNER_MTU: u32 = 1420;

/// Does it all.
pub(super) fn tell(args: &Args) -> Result<ExitCode, Failure> {
    kerntun_lab::settle()?;
    let begin = Instant::now();
    let mut report = Report::new(args.json);
    let mut results = Results { schema: 1, ..Results::default() };

    report.step("Two machines, that is, two network namespaces with a wire between them")?;
    kerntun_lab::hide(Path::new(SOCKET_DIRECTORY))?;
    let [west, east] = [Site::new("west")?, Site::new("east")?];
    wire::lay(&west, &east)?;
    for (site, outer) in [&west, &east].into_iter().zip(OUTER) {
        wire::bring_up(site, wire::NAME, IpAddr::V4(outer), 24, OUTER_MTU)?;
    }
    report.fact(format_args!("west {} ── wire ── {} east", OUTER[0], OUTER[1]))?;

    report.step("A daemon and a tunnel interface on each")?;
    let mut nodes = [Node::start(&west, NAMES[0])?, Node::start(&east, NAMES[1])?];
    configure(&nodes, [&west, &east], &report, &mut results)?;

    report.step("Pings through the tunnel; the first one has to wait for the handshake")?;
    let marker = marker()?;
    let (tap, indices) = west.run(|| Ok::<_, Failure>((Tap::new()?, indices()?)))?;
    ping(&west, marker.clone(), &report, &mut results)?;
    nodes.iter_mut().try_for_each(Node::check)?;
    let seen = tap.drain(marker.as_bytes())?;
    handshake(&nodes, of(&seen, &indices, wire::NAME), &report, &mut results)?;

    report.step("What a stranger on the wire sees")?;
    let (outer, inner) = (of(&seen, &indices, wire::NAME), of(&seen, &indices, NAMES[0]));
    compare(&outer, &inner, &marker, &report, &mut results)?;
    drop(tap);

    report.step("A mass transfer over TCP, hashed at both ends")?;
    let limit = Duration::from_secs(args.seconds);
    let transfer = bulk::transfer(&west, &east, INNER[1], args.bytes, limit)?;
    nodes.iter_mut().try_for_each(Node::check)?;
    results.transfer_bytes = transfer.bytes;
    results.transfer_seconds = transfer.time.as_secs_f64();
    results.transfer_mbit_per_second = transfer.bytes as f64 * 8.0 / 1e6 / transfer.time.as_secs_f64();
    let amount = bytes(transfer.bytes, Paint::PLAIN);
    let speed = results.transfer_mbit_per_second;
    report.fact(format_args!("{amount} in {:.2} s: {speed:.0} Mbit/s", results.transfer_seconds))?;
    report.fact(format_args!("BLAKE2b of what was sent and of what arrived: {}, the same", short(&transfer.hash)))?;
    report.fact("(sender, receiver, both daemons and the hashing share this machine)")?;
    results.blake2b = transfer.hash;

    report.step("Cleaning up")?;
    for (node, name) in nodes.into_iter().zip(NAMES) {
        let status = node.stop()?;
        if !status.success() {
            return Err(Failure::new(format!("the daemon of '{name}' did not end well: {status}")));
        }
    }
    report.fact(format_args!(
        "both daemons ended; namespaces and interfaces end with this process, after {:.1} s",
        begin.elapsed().as_secs_f64()
    ))?;
    report.end(&results)?;
    Ok(ExitCode::SUCCESS)
}

fn configure(nodes: &[Node; 2], sites: [&Site; 2], report: &Report, results: &mut Results) -> Result<(), Failure> {
    let [west, east] = nodes;
    let preshared = random_key()?;
    // East is not told where west is: it learns that from the first authentic message.
    let endpoint = SocketAddr::from((OUTER[1], PORTS[1]));
    let others = [
        Other { key: east.key(), preshared: preshared.clone(), endpoint: Some(endpoint), inner: INNER[1].into() },
        Other { key: west.key(), preshared, endpoint: None, inner: INNER[0].into() },
    ];
    for ((node, other), port) in nodes.iter().zip(&others).zip(PORTS) {
        node.configure(port, other)?;
    }
    for ((site, name), inner) in sites.into_iter().zip(NAMES).zip(INNER) {
        wire::bring_up(site, name, inner.into(), 24, INNER_MTU)?;
    }
    nodes.iter().for_each(Node::wait_until_up);
    for ((node, name), (inner, port)) in nodes.iter().zip(NAMES).zip(INNER.into_iter().zip(PORTS)) {
        let key = short(node.key());
        report.fact(format_args!("{name}: address {inner} in the tunnel, UDP port {port}, public key {key}"))?;
    }
    results.public_keys = [west.key().to_string(), east.key().to_string()];
    report.fact(format_args!("west knows that east is at {endpoint}; east knows only west's key"))
}

/// A text that nothing else contains.
fn marker() -> Result<String, Failure> {
    let number = getrandom::u64().map_err(|error| Failure::new(format!("no random numbers: {error}")))?;
    Ok(format!("readable to everybody: {number:016x}"))
}

fn ping(site: &Site, marker: String, report: &Report, results: &mut Results) -> Result<(), Failure> {
    let times = site.run(move || {
        let mut pinger = Pinger::new()?;
        (0..5).map(|_| pinger.ping(INNER[1], marker.as_bytes())).collect::<Result<Vec<_>, _>>()
    })?;
    let mut times = times.into_iter().map(milliseconds);
    results.first_ping_ms = times.next().unwrap_or_default();
    results.ping_ms = times.collect();
    let later = results.ping_ms.iter().map(|time| format!("{time:.2}")).collect::<Vec<_>>().join(", ");
    report.fact(format_args!("{} → {}: {:.2} ms, then {later} ms", INNER[0], INNER[1], results.first_ping_ms))
}

fn handshake(nodes: &[Node; 2], outer: Seen, report: &Report, results: &mut Results) -> Result<(), Failure> {
    for (node, name) in nodes.iter().zip(NAMES) {
        if peer(&node.state()?).is_none_or(|(handshake, _)| handshake.is_none()) {
            return Err(Failure::new(format!(
                "pings were answered, but {name} knows of no handshake: a fault of kerntun"
            )));
        }
    }
    let sizes = |wanted: u8| outer.messages.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, size)| *size);
    let (start, response) = (sizes(1).next(), sizes(2).next());
    let [Some(start), Some(response)] = [start, response] else {
        return Err(Failure::new("no handshake was seen on the wire, although there must have been one"));
    };
    results.handshake_message_bytes = vec![start, response];
    let [west, east] = nodes;
    let (west, east) = (short(west.key()), short(east.key()));
    report.fact(format_args!("west {west} → east {east}: handshake start, {start} bytes"))?;
    report.fact(format_args!("east {east} → west {west}: response, {response} bytes; both have new keys now"))?;
    match peer(&nodes[1].state()?) {
        Some((_, Some(endpoint))) => report.fact(format_args!("east has learnt that west is at {endpoint}")),
        _ => Err(Failure::new("east did not learn where west is: a fault of kerntun")),
    }
}

/// Time of the handshake and place of the only peer.
fn peer(state: &DeviceState) -> Option<(Option<Duration>, Option<SocketAddr>)> {
    state.peers.first().map(|peer| (peer.last_handshake, peer.endpoint))
}

fn compare(outer: &Seen, inner: &Seen, marker: &str, report: &Report, results: &mut Results) -> Result<(), Failure> {
    let data = outer.messages.iter().filter(|(kind, _)| *kind == 4).count();
    (results.outer_frames, results.outer_readable) = (outer.frames, outer.readable);
    results.inner_readable = inner.readable;
    report.fact(format_args!("each ping carries the text '{marker}'"))?;
    report.fact(format_args!("inside the tunnel: {} of {} packets show it", inner.readable, inner.frames))?;
    report.fact(format_args!(
        "on the wire: {} of {} frames show it ({data} of them are encrypted data)",
        outer.readable, outer.frames
    ))?;
    if outer.readable > 0 || data == 0 {
        return Err(Failure::new("the wire shows what the tunnel should hide: a fault of kerntun"));
    }
    if inner.readable == 0 {
        return Err(Failure::new("the text was not even found inside the tunnel: the comparison is worth nothing"));
    }
    Ok(())
}

/// The numbers of the interfaces of this thread's network namespace.
fn indices() -> Result<HashMap<String, usize>, Failure> {
    let interfaces = nix::net::if_::if_nameindex()
        .map_err(|error| Failure::new(format!("cannot list the interfaces: {}", error.desc())))?;
    let named = interfaces.iter().map(|one| (one.name().to_string_lossy().into_owned(), one.index() as usize));
    Ok(named.collect())
}

fn of(seen: &HashMap<usize, Seen>, indices: &HashMap<String, usize>, name: &str) -> Seen {
    indices.get(name).and_then(|index| seen.get(index)).cloned().unwrap_or_default()
}
