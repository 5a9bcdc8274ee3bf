//! Asking for the facts. What cannot be had is left out: a diagnosis from less is better than none.

mod defaults;

use super::facts::{Counters, Facts, FileFacts, FilePeer, Ipv6, LinkFacts, Named, PeerFacts, Way};
use crate::firewall;
use crate::netlink::link::Link;
use crate::netlink::{Netlink, address, route};
use crate::show::{Kind, Snapshot, base64, since_epoch};
use crate::sysctl;
use kerntun_config::{AllowedIp, ConfigPath, Endpoint, Host, InterfaceName, Parser, Table, load};
use kerntun_uapi::{PeerState, Section};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Where the kernel keeps its switches of IPv6, those of each interface under its name.
const IPV6: &str = "net/ipv6/conf";

/// Everything about one interface.
pub(crate) fn gather(snapshot: &Snapshot) -> Facts {
    let name = snapshot.name.as_str();
    let mut netlink = Netlink::route().ok();
    let own = netlink.as_mut().and_then(|netlink| Link::find(netlink, name).ok().flatten());
    let index = own.as_ref().map(|link| link.index);
    let peers = snapshot.peers().into_iter().map(|state| peer(snapshot, state, netlink.as_mut(), index));
    let mut peers: Vec<PeerFacts> = peers.collect();
    let has_default = peers.iter().flat_map(|peer| &peer.allowed_ips).any(|prefix| prefix.prefix() == 0);
    let walled = InterfaceName::new(name).ok().filter(|_| has_default).map(|name| firewall::marks(&name));
    let walled = walled.unwrap_or_default();
    let file = file(name);
    let mut link = None;
    if let Some((netlink, own)) = netlink.as_mut().zip(own) {
        link = Some(link_facts(netlink, name, &own));
        let is_auto = file.as_ref().and_then(|file| file.table_is_auto);
        let tunnel = defaults::Tunnel { link: &own, fwmark: snapshot.state.fwmark, walled: &walled, is_auto };
        defaults::look(netlink, &tunnel, &mut peers);
    }
    Facts {
        peers,
        interface: name.to_owned(),
        counted: matches!(snapshot.kind, Kind::Kerntun | Kind::Module),
        now: since_epoch().as_secs(),
        public_key: snapshot.public_key().map(|key| key.to_string()),
        listen_port: snapshot.state.listen_port,
        fwmark: snapshot.state.fwmark,
        leading_mark: walled.first().map(|(_, mark)| *mark),
        link,
        counters: counters(snapshot, Section::Device),
        file,
    }
}

fn link_facts(netlink: &mut Netlink, name: &str, link: &Link) -> LinkFacts {
    let addresses = address::list(netlink, link.index).unwrap_or_default();
    let up = is_up(netlink, link.index);
    LinkFacts { up, mtu: link.mtu, has_address: !addresses.is_empty(), ipv6: ipv6(name) }
}

/// An interface without its switch has no IPv6 either, for example because its MTU is too small for it.
fn ipv6(name: &str) -> Ipv6 {
    let is_off = |name: &str| sysctl::get(&format!("{IPV6}/{name}/disable_ipv6")).map_or(true, |value| value != "0");
    let is_other = |other: &String| !["all", "default", "lo", name].contains(&other.as_str());
    match is_off(name) {
        false => Ipv6::On,
        true if sysctl::list(IPV6).iter().filter(|other| is_other(other)).all(|other| is_off(other)) => Ipv6::Off,
        true => Ipv6::OffHere,
    }
}

fn is_up(netlink: &mut Netlink, index: u32) -> bool {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let answer = netlink.get(RouteNetlinkMessage::GetLink(message));
    matches!(answer, Ok(Some(RouteNetlinkMessage::NewLink(link))) if link.header.flags.contains(LinkFlags::Up))
}

fn peer(snapshot: &Snapshot, state: &PeerState, mut netlink: Option<&mut Netlink>, index: Option<u32>) -> PeerFacts {
    let prefixes = state.allowed_ips.iter().filter_map(|one| AllowedIp::new(one.address, one.prefix));
    let allowed_ips: Vec<AllowedIp> = prefixes.collect();
    let way = state.endpoint.and_then(|endpoint| way(netlink.as_deref_mut()?, endpoint.ip()));
    let astray = netlink.zip(index).map(|(netlink, index)| astray(netlink, index, &allowed_ips)).unwrap_or_default();
    PeerFacts {
        key: base64(&state.public_key),
        endpoint: state.endpoint,
        last_handshake: state.last_handshake.map(|at| at.as_secs()),
        received: state.rx_bytes,
        sent: state.tx_bytes,
        has_preshared_key: state.preshared_key.is_some(),
        allowed_ips,
        counters: counters(snapshot, Section::Peer(state.public_key)),
        way,
        astray,
        undone: Vec::new(),
    }
}

fn counters(snapshot: &Snapshot, section: Section) -> Counters {
    let entries = snapshot.entries.iter().filter(|entry| entry.section == section);
    Counters(entries.map(|entry| (entry.name.clone(), entry.value.clone())).collect())
}

fn way(netlink: &mut Netlink, to: IpAddr) -> Option<Way> {
    let Some(route) = route::to(netlink, to).ok()? else { return Some(Way::None) };
    let link = Link::of_index(netlink, route.interface?).ok()??;
    let interface = name_of(link.index)?;
    Some(Way::Through { interface, mtu: route.mtu.filter(|mtu| *mtu > 0).unwrap_or(link.mtu) })
}

/// Which prefixes this machine does not send through the interface. A prefix is judged by its first address that can be
/// a host's.
fn astray(netlink: &mut Netlink, index: u32, prefixes: &[AllowedIp]) -> Vec<(AllowedIp, Option<String>)> {
    let mut astray = Vec::new();
    for prefix in prefixes {
        // A default route has rules of its own, and no single address stands for it.
        if prefix.prefix() == 0 {
            continue;
        }
        let Ok(found) = route::to(netlink, sample(*prefix)) else { continue };
        let through = found.and_then(|route| route.interface);
        if through != Some(index) {
            astray.push((*prefix, through.and_then(name_of)));
        }
    }
    astray
}

fn sample(prefix: AllowedIp) -> IpAddr {
    let hosts = match prefix.ip() {
        IpAddr::V4(_) => prefix.prefix() < 31,
        IpAddr::V6(_) => prefix.prefix() < 127,
    };
    match prefix.ip() {
        IpAddr::V4(ip) if hosts => IpAddr::V4((u32::from(ip) | 1).into()),
        IpAddr::V6(ip) if hosts => IpAddr::V6((u128::from(ip) | 1).into()),
        ip => ip,
    }
}

fn name_of(index: u32) -> Option<String> {
    let interfaces = nix::net::if_::if_nameindex().ok()?;
    let found = interfaces.iter().find(|interface| interface.index() == index)?;
    Some(found.name().to_string_lossy().into_owned())
}

/// What `/etc/wireguard/NAME.conf` says, if it is there and may be read.
fn file(name: &str) -> Option<FileFacts> {
    let location = ConfigPath::locate(name).ok()?;
    let text = load(&location.path).ok()?;
    let path = location.path.display().to_string();
    let parsed = Parser::new(&path).public_key_of(&crate::keys::public_key_of).parse(&text);
    let errors = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let mut facts = FileFacts { path: path.clone(), errors, ..FileFacts::default() };
    let Some(config) = parsed.config else { return Some(facts) };
    facts.table_is_auto = Some(config.interface.table == Table::Auto);
    facts.public_key = config.interface.private_key.as_ref().map(|key| crate::keys::public_key_of(key).to_string());
    let peers = config.peers.into_iter().map(|peer| FilePeer {
        key: peer.public_key.to_string(),
        allowed_ips: peer.allowed_ips,
        name: peer.endpoint.as_ref().and_then(named),
    });
    facts.peers = peers.collect();
    Some(facts)
}

fn named(endpoint: &Endpoint) -> Option<Named> {
    let Host::Name(name) = &endpoint.host else { return None };
    let addresses = (name.as_str(), endpoint.port).to_socket_addrs();
    let addresses = addresses.map(Iterator::collect::<Vec<SocketAddr>>).map_err(|error| {
        let text = error.to_string();
        text.rsplit(": ").next().unwrap_or(&text).to_owned()
    });
    Some(Named { endpoint: endpoint.to_string(), addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_stands_for_a_prefix() {
        for (ip, prefix, expected) in [
            ("10.0.0.0", 8, "10.0.0.1"),
            ("10.0.0.4", 31, "10.0.0.4"),
            ("10.0.0.4", 32, "10.0.0.4"),
            ("fd00::", 64, "fd00::1"),
            ("fd00::", 128, "fd00::"),
        ] {
            let prefix = AllowedIp::new(ip.parse().unwrap(), prefix).unwrap();
            assert_eq!(sample(prefix), expected.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn names_that_resolve_and_names_that_do_not() {
        let named = |text: &str| named(&text.parse().unwrap());
        assert!(named("192.0.2.1:1").is_none());
        assert!(named("localhost:7").unwrap().addresses.unwrap().iter().all(|address| address.port() == 7));
        assert!(named("no-such-host.invalid:7").unwrap().addresses.is_err());
    }
}
