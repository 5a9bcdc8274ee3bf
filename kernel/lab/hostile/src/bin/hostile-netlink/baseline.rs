//! What the interface is set to before each request.

use kerntun_hostile::netlink::Attributes;
use kerntun_hostile::netlink::wireguard::{allowed_ip, device, name, peer};

/// The interface.
pub(crate) const INTERFACE: &str = "wg0";
/// The port that it is bound to.
pub(crate) const PORT: u16 = 4711;
/// Its private key.
pub(crate) const OWN: [u8; 32] = [0x48; 32];
/// Another private key.
pub(crate) const OTHER: [u8; 32] = [0x50; 32];
/// The peer with everything.
pub(crate) const FIRST: [u8; 32] = [0x21; 32];
/// The peer with a range only.
pub(crate) const SECOND: [u8; 32] = [0x22; 32];
/// A peer that is not there.
pub(crate) const THIRD: [u8; 32] = [0x23; 32];

/// The change that makes it so.
pub(crate) fn baseline() -> Attributes {
    let endpoint = [&2_u16.to_ne_bytes()[..], &1_u16.to_be_bytes(), &[192, 0, 2, 1], &[0; 8]].concat();
    let ranges = Attributes::new().nest(0, &range4([10, 0, 0, 0], 8)).nest(0, &range6([0xfd; 16], 8));
    let first = Attributes::new()
        .put(peer::PUBLIC_KEY, &FIRST)
        .put(peer::PRESHARED_KEY, &[0x77; 32])
        .put(peer::ENDPOINT, &endpoint)
        .put(peer::KEEPALIVE, &25_u16.to_ne_bytes())
        .nest(peer::ALLOWED_IPS, &ranges);
    let second = Attributes::new()
        .put(peer::PUBLIC_KEY, &SECOND)
        .nest(peer::ALLOWED_IPS, &Attributes::new().nest(0, &range4([10, 1, 0, 0], 16)));
    name(INTERFACE)
        .put(device::FLAGS, &device::REPLACE_PEERS.to_ne_bytes())
        .put(device::PRIVATE_KEY, &OWN)
        .put(device::LISTEN_PORT, &PORT.to_ne_bytes())
        .put(device::FWMARK, &7_u32.to_ne_bytes())
        .nest(device::PEERS, &Attributes::new().nest(0, &first).nest(0, &second))
}

/// A list of one peer.
pub(crate) fn with_peer(inside: &Attributes) -> Attributes {
    Attributes::new().nest(device::PEERS, &Attributes::new().nest(0, inside))
}

/// A list of the peer that is not there, with one range.
pub(crate) fn with_allowed_ip(inside: &Attributes) -> Attributes {
    let ranges = Attributes::new().nest(0, inside);
    with_peer(&Attributes::new().put(peer::PUBLIC_KEY, &THIRD).nest(peer::ALLOWED_IPS, &ranges))
}

/// The attributes of a range of IPv4 addresses.
pub(crate) fn range4(address: [u8; 4], len: u8) -> Attributes {
    range(2, &address, len)
}

/// The attributes of a range of IPv6 addresses.
pub(crate) fn range6(address: [u8; 16], len: u8) -> Attributes {
    range(10, &address, len)
}

fn range(family: u16, address: &[u8], len: u8) -> Attributes {
    let family = Attributes::new().put(allowed_ip::FAMILY, &family.to_ne_bytes());
    family.put(allowed_ip::ADDRESS, address).put(allowed_ip::PREFIX_LEN, &[len])
}
