//! The wire between the sites: a veth pair.

use crate::failure::Failure;
use crate::netlink::{Netlink, NetlinkError, address, link::Link};
use kerntun_config::Address;
use kerntun_lab::Site;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use nix::errno::Errno;
use std::net::IpAddr;

/// The name of each end.
pub(super) const NAME: &str = "wire";

/// Lays a wire from one site to another.
pub(super) fn lay(from: &Site, to: &Site) -> Result<(), Failure> {
    let there = to.fd();
    from.run(move || {
        let mut far = LinkMessage::default();
        far.attributes = vec![LinkAttribute::IfName(NAME.to_owned()), LinkAttribute::NetNsFd(there)];
        let mut near = LinkMessage::default();
        near.attributes = vec![
            LinkAttribute::IfName(NAME.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
            ]),
        ];
        let made = Netlink::route()
            .and_then(|mut netlink| netlink.change(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL));
        made.map_err(|error| {
            let missing = error.is(Errno::EOPNOTSUPP);
            Failure::new(format!("cannot make a veth pair: {error}"))
                .maybe_help(missing.then_some("load the module: sudo modprobe veth"))
        })
    })
}

/// Switches an interface on and gives it an address.
pub(super) fn bring_up(site: &Site, name: &'static str, ip: IpAddr, prefix: u8, mtu: u32) -> Result<(), Failure> {
    site.run(move || {
        let configure = || -> Result<Option<()>, NetlinkError> {
            let mut netlink = Netlink::route()?;
            let Some(link) = Link::find(&mut netlink, name)? else { return Ok(None) };
            if let Some(address) = Address::new(ip, prefix) {
                address::add(&mut netlink, link.index, address)?;
            }
            link.set_up(&mut netlink, mtu)?;
            Ok(Some(()))
        };
        match configure() {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(Failure::new(format!("there is no interface '{name}' although it was just made"))),
            Err(error) => Err(Failure::new(format!("cannot configure the interface '{name}': {error}"))),
        }
    })
}
