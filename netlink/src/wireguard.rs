//! The attributes of the generic netlink family "wireguard" (<linux/wireguard.h>).

use kerntun_uapi::{
    AllowedIp, AllowedIpChange, DeviceState, KeyChange, PeerChange, PeerState, PublicKey, SecretKey, SetRequest,
};
use netlink_packet_core::{DecodeError, Emitable, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags, WireguardAttribute,
    WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroize;

/// Allowed IPs in one message at most. One takes 44 bytes, and lengths of nested attributes have 16 bits.
const PREFIXES_PER_MESSAGE: usize = 512;

/// `WGDEVICE_A_PEERS`, `WGPEER_A_ALLOWEDIPS` and `WGALLOWEDIP_A_CIDR_MASK` of <linux/wireguard.h>.
const PEERS: u16 = 8;
const ALLOWED_IPS: u16 = 9;
const LENGTH: u16 = 3;

/// A message of the family. The library reads and writes it, but takes for granted that the length of a prefix is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(pub WireguardMessage);

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        WireguardMessage::family_name()
    }

    fn command(&self) -> u8 {
        self.0.command()
    }

    fn version(&self) -> u8 {
        self.0.version()
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(buffer: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        if is_empty_at(buffer, &[Some(PEERS), None, Some(ALLOWED_IPS), None, Some(LENGTH)]) {
            return Err("a prefix whose length is not there".to_owned().into());
        }
        WireguardMessage::parse_with_param(buffer, header).map(Self)
    }
}

/// Whether there is nothing in an attribute at the end of a way through nested ones, each of a kind or of any.
fn is_empty_at(buffer: &[u8], way: &[Option<u16>]) -> bool {
    let Some((kind, rest)) = way.split_first() else { return buffer.is_empty() };
    let attributes = NlasIterator::new(buffer).map_while(Result::ok);
    let mut on_the_way = attributes.filter(|attribute| kind.is_none_or(|kind| attribute.kind() == kind));
    on_the_way.any(|attribute| is_empty_at(attribute.value(), rest))
}

/// A request of changes to the interface `name`, cut into messages: the device, then each peer on its own, one with many
/// prefixes in several parts. Keys are in the attributes as they are: whoever sends them wipes the bytes.
#[must_use]
pub fn messages(name: &str, request: &SetRequest) -> Vec<Vec<WireguardAttribute>> {
    let addressed = || vec![WireguardAttribute::IfName(name.to_string())];
    let mut device = addressed();
    device.extend(request.private_key.as_ref().map(|key| WireguardAttribute::PrivateKey(key_bytes(key))));
    device.extend(request.listen_port.map(WireguardAttribute::ListenPort));
    device.extend(request.fwmark.map(WireguardAttribute::Fwmark));
    if request.replace_peers {
        device.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
    }
    let mut messages = vec![device];
    for change in &request.peers {
        for peer in peers(change) {
            let mut attributes = addressed();
            attributes.push(WireguardAttribute::Peers(vec![peer]));
            messages.push(attributes);
        }
    }
    messages
}

/// One change of a peer as one or, with many prefixes, several.
fn peers(change: &PeerChange) -> Vec<WireguardPeer> {
    let public_key = || WireguardPeerAttribute::PublicKey(change.public_key.0);
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::RemoveMe, change.remove);
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, change.replace_allowed_ips);
    flags.set(WireguardPeerFlags::UpdateOnly, change.update_only);
    let mut first = vec![public_key(), WireguardPeerAttribute::Flags(flags)];
    first.extend(change.preshared_key.as_ref().map(|key| WireguardPeerAttribute::PresharedKey(key_bytes(key))));
    first.extend(change.endpoint.map(WireguardPeerAttribute::Endpoint));
    first.extend(change.persistent_keepalive_interval.map(WireguardPeerAttribute::PersistentKeepalive));
    first.extend(change.protocol_version.map(WireguardPeerAttribute::ProtocolVersion));
    let mut parts = change.allowed_ips.chunks(PREFIXES_PER_MESSAGE).map(|part| part.iter().map(prefix).collect());
    if let Some(prefixes) = parts.next() {
        first.push(WireguardPeerAttribute::AllowedIps(prefixes));
    }
    let rest = parts.map(|prefixes| {
        let flags = WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly);
        WireguardPeer(vec![public_key(), flags, WireguardPeerAttribute::AllowedIps(prefixes)])
    });
    std::iter::once(WireguardPeer(first)).chain(rest).collect()
}

fn prefix(change: &AllowedIpChange) -> WireguardAllowedIp {
    let AllowedIp { address, prefix } = change.prefix;
    let family = match address {
        IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
        IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
    };
    let mut attributes = vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(address),
        WireguardAllowedIpAttr::Cidr(prefix),
    ];
    if change.remove {
        attributes.push(WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
    }
    WireguardAllowedIp(attributes)
}

/// Adds what one attribute of an answer tells. A peer with many prefixes comes in several parts that follow each other.
/// What cannot be (a prefix that is longer than its address) is left out, and so is what is not known.
pub fn take(state: &mut DeviceState, attribute: WireguardAttribute) {
    match attribute {
        WireguardAttribute::PrivateKey(mut bytes) => {
            state.private_key = Some(SecretKey::new(&bytes)).filter(|key| !key.is_zero());
            bytes.zeroize();
        }
        WireguardAttribute::ListenPort(port) => state.listen_port = port,
        WireguardAttribute::Fwmark(mark) => state.fwmark = mark,
        WireguardAttribute::Peers(peers) => {
            for WireguardPeer(attributes) in peers {
                let peer = read_peer(attributes);
                match state.peers.last_mut() {
                    Some(last) if last.public_key == peer.public_key => last.allowed_ips.extend(peer.allowed_ips),
                    _ => state.peers.push(peer),
                }
            }
        }
        _ => {}
    }
}

fn read_peer(attributes: Vec<WireguardPeerAttribute>) -> PeerState {
    let mut peer = PeerState::new(PublicKey([0; 32]));
    for attribute in attributes {
        match attribute {
            WireguardPeerAttribute::PublicKey(bytes) => peer.public_key = PublicKey(bytes),
            WireguardPeerAttribute::PresharedKey(mut bytes) => {
                peer.preshared_key = Some(SecretKey::new(&bytes)).filter(|key| !key.is_zero());
                bytes.zeroize();
            }
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => peer.persistent_keepalive_interval = seconds,
            WireguardPeerAttribute::LastHandshake(time) => {
                let seconds = u64::try_from(time.seconds).unwrap_or(0);
                let nanoseconds = u32::try_from(time.nano_seconds).unwrap_or(0);
                peer.last_handshake = Some(Duration::new(seconds, nanoseconds)).filter(|time| !time.is_zero());
            }
            WireguardPeerAttribute::RxBytes(bytes) => peer.rx_bytes = bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.tx_bytes = bytes,
            WireguardPeerAttribute::AllowedIps(prefixes) => {
                peer.allowed_ips.extend(prefixes.into_iter().filter_map(|WireguardAllowedIp(attributes)| {
                    let (mut address, mut prefix) = (None, None);
                    for attribute in attributes {
                        match attribute {
                            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(ip),
                            WireguardAllowedIpAttr::Cidr(length) => prefix = Some(length),
                            _ => {}
                        }
                    }
                    let (address, prefix): (IpAddr, u8) = (address?, prefix?);
                    let longest = if address.is_ipv4() { 32 } else { 128 };
                    (prefix <= longest).then_some(AllowedIp { address, prefix })
                }));
            }
            _ => {}
        }
    }
    peer
}

fn key_bytes(key: &KeyChange) -> [u8; 32] {
    match key {
        KeyChange::Set(key) => *key.as_bytes(),
        KeyChange::Clear => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(prefixes: u16) -> PeerChange {
        let mut change = PeerChange::new(PublicKey([7; 32]));
        change.replace_allowed_ips = true;
        change.endpoint = "192.0.2.1:51820".parse().ok();
        change.persistent_keepalive_interval = Some(25);
        change.preshared_key = Some(KeyChange::Set(SecretKey::new(&[9; 32])));
        let address = |n: u16| IpAddr::from([10, (n >> 8) as u8, n as u8, 0]);
        let add = |n| AllowedIpChange { remove: false, prefix: AllowedIp { address: address(n), prefix: 32 } };
        change.allowed_ips = (0..prefixes).map(add).collect();
        change
    }

    /// What was sent, read as if the kernel had answered it: both directions use the same attributes.
    fn read_back(request: &SetRequest) -> DeviceState {
        let mut state = DeviceState::default();
        for attributes in messages("wg0", request) {
            attributes.into_iter().for_each(|attribute| take(&mut state, attribute));
        }
        state
    }

    #[test]
    fn peers_with_many_prefixes_come_in_parts() {
        for count in [0, 1, 512, 513, 1500] {
            let parts = peers(&change(count));
            assert_eq!(parts.len(), (count as usize).div_ceil(512).max(1), "{count}");
            for part in &parts {
                // The length of an attribute has 16 bits.
                let prefixes = part.0.iter().map(|attribute| match attribute {
                    WireguardPeerAttribute::AllowedIps(prefixes) => prefixes.len() * 44,
                    _ => 0,
                });
                assert!(prefixes.sum::<usize>() < 65_000);
            }
            // Only the first part may empty the list of prefixes, and only it may make the peer.
            let flags = |part: &WireguardPeer| {
                part.0.iter().find_map(|attribute| match attribute {
                    WireguardPeerAttribute::Flags(flags) => Some(flags.bits()),
                    _ => None,
                })
            };
            assert_eq!(flags(&parts[0]), Some(2));
            assert!(parts[1..].iter().all(|part| flags(part) == Some(4)));
        }
    }

    #[test]
    fn what_is_sent_can_be_read() {
        let mut request = SetRequest { listen_port: Some(7), fwmark: Some(9), ..SetRequest::default() };
        request.private_key = Some(KeyChange::Set(SecretKey::new(&[1; 32])));
        request.peers = vec![change(1500)];
        let state = read_back(&request);
        assert_eq!((state.listen_port, state.fwmark), (7, 9));
        assert_eq!(state.private_key, Some(SecretKey::new(&[1; 32])));
        let [peer] = state.peers.as_slice() else { panic!("{} peers", state.peers.len()) };
        assert_eq!(peer.allowed_ips.len(), 1500);
        assert_eq!(peer.allowed_ips[1499].address, IpAddr::from([10, 5, 219, 0]));
        assert_eq!(peer.endpoint, "192.0.2.1:51820".parse().ok());
        assert_eq!(peer.persistent_keepalive_interval, 25);
        assert_eq!(peer.preshared_key, Some(SecretKey::new(&[9; 32])));
    }
}
