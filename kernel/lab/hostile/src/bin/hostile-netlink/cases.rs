//! Requests that are wrong in one place each.

use crate::baseline::{FIRST, INTERFACE, OWN, THIRD, range4, range6, with_allowed_ip, with_peer};
use kerntun_hostile::netlink::wireguard::{GET_DEVICE, SET_DEVICE, allowed_ip, device, header, name, peer};
use kerntun_hostile::netlink::{ACK, Attributes, DUMP, NESTED};

/// A request, complete but for the header of netlink.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) flags: u16,
    pub(crate) bytes: Vec<u8>,
}

/// All requests that need nothing but themselves. `own` is the interface's public key, `other` that of the private key [`OTHER`].
///
/// [`OTHER`]: crate::baseline::OTHER
pub(crate) fn all(own: &[u8], other: &[u8], index_of_loopback: u32) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    names(&mut cases, index_of_loopback);
    commands(&mut cases);
    for field in fields() {
        lengths(&mut cases, &field);
    }
    for (level, around) in levels() {
        structure(&mut cases, level, around);
    }
    interface(&mut cases, other);
    peers(&mut cases, own);
    endpoints(&mut cases);
    allowed_ips(&mut cases);
    halves(&mut cases);
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: impl Into<String>, flags: u16, bytes: &Attributes) {
        self.0.push(Case { name: name.into(), flags, bytes: bytes.bytes().to_vec() });
    }

    /// A change of the interface.
    fn set(&mut self, case: impl Into<String>, attributes: &Attributes) {
        self.add(case, ACK, &header(SET_DEVICE).with(&name(INTERFACE)).with(attributes));
    }
}

/// How an attribute of one level becomes a request's.
type Around = fn(&Attributes) -> Attributes;

/// The levels of a request. Each is complete but for what is put into it.
fn levels() -> [(&'static str, Around); 3] {
    let of_peer: Around = |inside| with_peer(&Attributes::new().put(peer::PUBLIC_KEY, &THIRD).with(inside));
    let of_range: Around = |inside| with_allowed_ip(&range4([10, 3, 0, 0], 16).with(inside));
    [("interface", Attributes::clone), ("peer", of_peer), ("allowed-ip", of_range)]
}

/// An attribute with a size of its own.
struct Field {
    name: &'static str,
    around: Around,
    kind: u16,
    valid: Vec<u8>,
}

fn fields() -> Vec<Field> {
    let [(_, interface), (_, peer), _] = levels();
    let bare_peer: Around = with_peer;
    let field = |name, around, kind, valid: &[u8]| Field { name, around, kind, valid: valid.to_vec() };
    vec![
        field("interface/private-key", interface, device::PRIVATE_KEY, &OWN),
        field("interface/public-key", interface, device::PUBLIC_KEY, &FIRST),
        field("interface/flags", interface, device::FLAGS, &0_u32.to_ne_bytes()),
        field("interface/port", interface, device::LISTEN_PORT, &4712_u16.to_ne_bytes()),
        field("interface/mark", interface, device::FWMARK, &8_u32.to_ne_bytes()),
        field("peer/public-key", bare_peer, peer::PUBLIC_KEY, &THIRD),
        field("peer/preshared-key", peer, peer::PRESHARED_KEY, &[0x55; 32]),
        field("peer/flags", peer, peer::FLAGS, &0_u32.to_ne_bytes()),
        field("peer/endpoint", peer, peer::ENDPOINT, &endpoint4([192, 0, 2, 3], 3)),
        field("peer/keepalive", peer, peer::KEEPALIVE, &30_u16.to_ne_bytes()),
        field("peer/last-handshake", peer, peer::LAST_HANDSHAKE, &[0; 16]),
        field("peer/rx-bytes", peer, peer::RX_BYTES, &[1; 8]),
        field("peer/tx-bytes", peer, peer::TX_BYTES, &[1; 8]),
        field("peer/protocol-version", peer, peer::PROTOCOL_VERSION, &1_u32.to_ne_bytes()),
        field(
            "allowed-ip/family",
            |inside| with_allowed_ip(&without(allowed_ip::FAMILY).with(inside)),
            allowed_ip::FAMILY,
            &V4,
        ),
        field(
            "allowed-ip/address",
            |inside| with_allowed_ip(&without(allowed_ip::ADDRESS).with(inside)),
            allowed_ip::ADDRESS,
            &[10, 3, 0, 0],
        ),
        field(
            "allowed-ip/prefix-len",
            |inside| with_allowed_ip(&without(allowed_ip::PREFIX_LEN).with(inside)),
            allowed_ip::PREFIX_LEN,
            &[16],
        ),
    ]
}

const V4: [u8; 2] = 2_u16.to_ne_bytes();
const V6: [u8; 2] = 10_u16.to_ne_bytes();

/// 10.3.0.0/16 but for one of its attributes.
fn without(kind: u16) -> Attributes {
    let all = [(allowed_ip::FAMILY, &V4[..]), (allowed_ip::ADDRESS, &[10, 3, 0, 0]), (allowed_ip::PREFIX_LEN, &[16])];
    all.into_iter().filter(|(one, _)| *one != kind).fold(Attributes::new(), |all, (kind, value)| all.put(kind, value))
}

fn lengths(cases: &mut Cases, field: &Field) {
    let Field { name, around, kind, valid } = field;
    let mut add = |what: &str, inside: Attributes| cases.set(format!("{name}/{what}"), &around(&inside));
    let one = || Attributes::new();
    let mut long = valid.clone();
    long.push(0);
    add("valid", one().put(*kind, valid));
    add("none", one());
    add("empty", one().put(*kind, &[]));
    add("a-byte-short", one().put(*kind, &valid[..valid.len() - 1]));
    add("a-byte-long", one().put(*kind, &long));
    add("a-thousand-bytes", one().put(*kind, &[1; 1000]));
    add("twice", one().put(*kind, &vec![0; valid.len()]).put(*kind, valid));
    add("first-wrong-then-right", one().put(*kind, &[]).put(*kind, valid));
    add("marked-as-nested", one().put(*kind | NESTED, valid));
    add("marked-as-big-endian", one().put(*kind | 1 << 14, valid));
}

/// What is wrong with attributes as such, at each level.
fn structure(cases: &mut Cases, level: &str, around: Around) {
    let mut add = |what: &str, inside: Attributes| cases.set(format!("{level}/{what}"), &around(&inside));
    add("attribute-0", Attributes::new().put(0, &[1, 2, 3, 4]));
    add("attribute-99", Attributes::new().put(99, &[1, 2, 3, 4]));
    add("attribute-16383", Attributes::new().put(16383, &[]));
    add("attribute-shorter-than-its-header", Attributes::new().put_with_len(5, 3, &[0; 4]));
    add("attribute-of-no-length", Attributes::new().put_with_len(5, 0, &[0; 4]));
    add("attribute-longer-than-all", Attributes::new().put_with_len(5, 400, &[0; 4]));
    add("trailing-byte", Attributes::new().raw(&[0]));
    add("trailing-bytes", Attributes::new().raw(&[0xff; 3]));
}

/// Ways to name an interface.
fn ways_to_name(index_of_loopback: u32) -> [(&'static str, Attributes); 17] {
    let index = |index: u32| Attributes::new().put(device::IFINDEX, &index.to_ne_bytes());
    let text = |text: &[u8]| Attributes::new().put(device::IFNAME, text);
    [
        ("neither", Attributes::new()),
        ("both", name(INTERFACE).with(&index(1))),
        ("unknown-name", name("nothing")),
        ("unknown-index", index(123_456)),
        ("index-0", index(0)),
        ("index-of-all-ones", index(u32::MAX)),
        ("index-short", Attributes::new().put(device::IFINDEX, &[1, 0, 0])),
        ("index-long", Attributes::new().put(device::IFINDEX, &[1, 0, 0, 0, 0])),
        ("another-kind-by-name", name("lo")),
        ("another-kind-by-index", index(index_of_loopback)),
        ("name-empty", text(&[])),
        ("name-of-nothing", text(&[0])),
        ("name-unterminated", text(b"wg0")),
        ("name-of-15", text(b"a23456789012345\0")),
        ("name-of-16", text(b"a234567890123456\0")),
        ("name-of-16-unterminated", text(b"a234567890123456")),
        ("name-with-more-behind", text(b"wg0\0wg1\0")),
    ]
}

fn names(cases: &mut Cases, index_of_loopback: u32) {
    for (what, name) in ways_to_name(index_of_loopback) {
        let change = Attributes::new().put(device::FWMARK, &9_u32.to_ne_bytes());
        cases.add(format!("set/{what}"), ACK, &header(SET_DEVICE).with(&name).with(&change));
        cases.add(format!("get/{what}"), DUMP, &header(GET_DEVICE).with(&name));
    }
}

/// Requests to the family `kerntun`, which names interfaces in the same way and has one command.
pub(crate) fn of_drops(index_of_loopback: u32) -> Vec<Case> {
    const GET_DROPS: u8 = 1;
    let mut cases = Cases(Vec::new());
    for (what, name) in ways_to_name(index_of_loopback) {
        cases.add(format!("drops/{what}"), DUMP, &header(GET_DROPS).with(&name));
    }
    cases.add("drops/without-dump", ACK, &header(GET_DROPS).with(&name(INTERFACE)));
    cases.add("drops/unknown-command", DUMP, &header(2).with(&name(INTERFACE)));
    cases.add("drops/unknown-attribute", DUMP, &header(GET_DROPS).with(&name(INTERFACE)).put(3, &[0; 32]));
    cases.0
}

fn commands(cases: &mut Cases) {
    let named = name(INTERFACE);
    let mark = Attributes::new().put(device::FWMARK, &9_u32.to_ne_bytes());
    cases.add("message/empty", ACK, &Attributes::new());
    cases.add("message/half-a-header", ACK, &Attributes::new().raw(&[SET_DEVICE, 1]));
    cases.add("message/no-attributes", ACK, &header(SET_DEVICE));
    cases.add("message/unknown-command", ACK, &header(7).with(&named));
    cases.add("message/unknown-command-listed", DUMP, &header(200).with(&named));
    cases.add("message/get-without-dump", ACK, &header(GET_DEVICE).with(&named));
    cases.add("message/set-with-dump", DUMP, &header(SET_DEVICE).with(&named));
    cases.add("message/version-0", ACK, &Attributes::new().raw(&[SET_DEVICE, 0, 0, 0]).with(&named).with(&mark));
    cases.add("message/version-255", ACK, &Attributes::new().raw(&[SET_DEVICE, 255, 0, 0]).with(&named).with(&mark));
    cases.add("message/reserved-bytes", ACK, &Attributes::new().raw(&[SET_DEVICE, 1, 1, 1]).with(&named).with(&mark));
    cases.add("message/get-with-unknown-attribute", DUMP, &header(GET_DEVICE).with(&named).put(99, &[]));
    cases.add("message/get-with-peers", DUMP, &header(GET_DEVICE).with(&named).put(device::PEERS, &[1]));
}

fn interface(cases: &mut Cases, other: &[u8]) {
    let flags = |flags: u32| Attributes::new().put(device::FLAGS, &flags.to_ne_bytes());
    let key = |key: &[u8]| Attributes::new().put(device::PRIVATE_KEY, key);
    cases.set("interface/nothing-to-change", &Attributes::new());
    cases.set("interface/flag-2", &flags(2));
    cases.set("interface/all-flags", &flags(u32::MAX));
    cases.set("interface/unknown-flag-beside-a-change", &flags(0x8000_0001).put(device::FWMARK, &9_u32.to_ne_bytes()));
    cases.set("interface/replace-peers-by-none", &flags(device::REPLACE_PEERS));
    cases.set("interface/private-key-of-zeros", &key(&[0; 32]));
    cases.set("interface/private-key-of-ones", &key(&[0xff; 32]));
    cases.set("interface/same-private-key", &key(&OWN));
    let becomes_own = Attributes::new().nest(0, &Attributes::new().put(peer::PUBLIC_KEY, other));
    let both = key(&crate::baseline::OTHER).nest(device::PEERS, &becomes_own);
    cases.set("interface/private-key-and-its-own-public-key-as-a-peer", &both);
    cases.set("interface/port-0", &Attributes::new().put(device::LISTEN_PORT, &[0, 0]));
    cases
        .set("interface/peers-not-marked-as-nested", &Attributes::new().put(device::PEERS, with_peer_inside().bytes()));
    cases.set("interface/peers-empty", &Attributes::new().nest(device::PEERS, &Attributes::new()));
    cases.set("interface/peers-of-three-bytes", &Attributes::new().put(device::PEERS | NESTED, &[1, 2, 3]));
    cases.set("interface/peers-of-noise", &Attributes::new().put(device::PEERS | NESTED, &[0xa5; 64]));
    let twice = Attributes::new().nest(device::PEERS, &with_peer_inside()).nest(device::PEERS, &Attributes::new());
    cases.set("interface/peers-twice", &twice);
}

/// A list of one well-formed peer.
fn with_peer_inside() -> Attributes {
    Attributes::new().nest(0, &Attributes::new().put(peer::PUBLIC_KEY, &THIRD))
}

fn peers(cases: &mut Cases, own: &[u8]) {
    let peer_of = |key: &[u8]| Attributes::new().put(peer::PUBLIC_KEY, key);
    let flags = |key: &[u8], flags: u32| peer_of(key).put(peer::FLAGS, &flags.to_ne_bytes());
    let range = || Attributes::new().nest(peer::ALLOWED_IPS, &Attributes::new().nest(0, &range4([10, 9, 0, 0], 16)));
    let mut add = |what: &str, inside: Attributes| cases.set(format!("peer/{what}"), &with_peer(&inside));
    add("nothing-in-it", Attributes::new());
    add("own-key", peer_of(own).with(&range()));
    add("own-key-to-remove", flags(own, peer::REMOVE));
    add("key-of-zeros", peer_of(&[0; 32]));
    add("key-of-zeros-with-a-range", peer_of(&[0; 32]).with(&range()));
    add("key-of-ones", peer_of(&[0xff; 32]));
    add("flag-8", flags(&THIRD, 8));
    add("all-flags", flags(&FIRST, u32::MAX));
    add("remove-an-unknown-one", flags(&THIRD, peer::REMOVE));
    add("remove-a-known-one", flags(&FIRST, peer::REMOVE));
    add("remove-and-set", flags(&FIRST, peer::REMOVE).put(peer::KEEPALIVE, &1_u16.to_ne_bytes()).with(&range()));
    add("remove-with-a-bad-range", flags(&FIRST, peer::REMOVE).nest(peer::ALLOWED_IPS, &bad_range()));
    add("update-only-an-unknown-one", flags(&THIRD, peer::UPDATE_ONLY).with(&range()));
    add("update-only-a-known-one", flags(&FIRST, peer::UPDATE_ONLY).with(&range()));
    add("update-only-and-remove", flags(&FIRST, peer::UPDATE_ONLY | peer::REMOVE));
    add(
        "update-only-an-unknown-one-with-a-bad-range",
        flags(&THIRD, peer::UPDATE_ONLY).nest(peer::ALLOWED_IPS, &bad_range()),
    );
    add("replace-allowed-ips-by-none", flags(&FIRST, peer::REPLACE_ALLOWED_IPS));
    add("preshared-key-of-zeros", peer_of(&FIRST).put(peer::PRESHARED_KEY, &[0; 32]));
    add("version-0", peer_of(&THIRD).put(peer::PROTOCOL_VERSION, &0_u32.to_ne_bytes()));
    add("version-2", peer_of(&THIRD).put(peer::PROTOCOL_VERSION, &2_u32.to_ne_bytes()));
    add("version-2-of-a-known-one", peer_of(&FIRST).put(peer::PROTOCOL_VERSION, &2_u32.to_ne_bytes()));
    add("keepalive-of-65535", peer_of(&FIRST).put(peer::KEEPALIVE, &[0xff; 2]));
    add(
        "allowed-ips-not-marked-as-nested",
        peer_of(&THIRD).put(peer::ALLOWED_IPS, Attributes::new().nest(0, &range4([10, 9, 0, 0], 16)).bytes()),
    );
    add("allowed-ips-empty", peer_of(&THIRD).nest(peer::ALLOWED_IPS, &Attributes::new()));
    add("allowed-ips-of-three-bytes", peer_of(&THIRD).put(peer::ALLOWED_IPS | NESTED, &[1, 2, 3]));
    add("allowed-ips-of-noise", peer_of(&THIRD).put(peer::ALLOWED_IPS | NESTED, &[0xa5; 64]));
    let twice = Attributes::new()
        .nest(0, &peer_of(&THIRD).put(peer::KEEPALIVE, &[1, 0]))
        .nest(0, &peer_of(&THIRD).put(peer::KEEPALIVE, &[2, 0]));
    cases.set("peer/the-same-twice", &Attributes::new().nest(device::PEERS, &twice));
    let gone = Attributes::new().nest(0, &peer_of(&THIRD)).nest(0, &flags(&THIRD, peer::REMOVE));
    cases.set("peer/made-and-removed", &Attributes::new().nest(device::PEERS, &gone));
}

fn bad_range() -> Attributes {
    Attributes::new().nest(0, &range4([10, 9, 0, 0], 33))
}

fn endpoint4(address: [u8; 4], port: u16) -> Vec<u8> {
    [&V4[..], &port.to_be_bytes(), &address, &[0; 8]].concat()
}

fn endpoint6(address: [u8; 16], port: u16, scope: u32) -> Vec<u8> {
    [&V6[..], &port.to_be_bytes(), &[0; 4], &address, &scope.to_ne_bytes()].concat()
}

fn endpoints(cases: &mut Cases) {
    let mut add = |what: &str, endpoint: &[u8]| {
        let inside = Attributes::new().put(peer::PUBLIC_KEY, &FIRST).put(peer::ENDPOINT, endpoint);
        cases.set(format!("endpoint/{what}"), &with_peer(&inside));
    };
    let with_family = |family: u16, mut endpoint: Vec<u8>| {
        endpoint[..2].copy_from_slice(&family.to_ne_bytes());
        endpoint
    };
    let v4 = || endpoint4([192, 0, 2, 3], 3);
    let v6 = || endpoint6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], 3, 0);
    add("v4", &v4());
    add("v6", &v6());
    add("family-0", &with_family(0, v4()));
    add("family-of-unix", &with_family(1, v4()));
    add("family-65535", &with_family(u16::MAX, v6()));
    add("family-of-v6-in-16-bytes", &with_family(10, v4()));
    add("family-of-v4-in-28-bytes", &with_family(2, v6()));
    add("v6-of-24-bytes", &v6()[..24]);
    add("v6-of-27-bytes", &v6()[..27]);
    add("of-128-bytes", &with_family(10, vec![0; 128]));
    add("port-0", &endpoint4([192, 0, 2, 3], 0));
    add("address-0", &endpoint4([0; 4], 3));
    add("broadcast", &endpoint4([255; 4], 3));
    add("multicast", &endpoint4([224, 0, 0, 1], 3));
    add("v6-address-0", &endpoint6([0; 16], 3, 0));
    add("v6-multicast", &endpoint6([0xff; 16], 3, 0));
    add("v6-scope-unknown", &endpoint6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 3, 123_456));
    add("v4-in-v6", &endpoint6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 3], 3, 0));
}

fn allowed_ips(cases: &mut Cases) {
    let range = |family: u16, address: &[u8], len: u8| {
        let family = Attributes::new().put(allowed_ip::FAMILY, &family.to_ne_bytes());
        family.put(allowed_ip::ADDRESS, address).put(allowed_ip::PREFIX_LEN, &[len])
    };
    let mut add = |what: &str, inside: Attributes| cases.set(format!("allowed-ip/{what}"), &with_allowed_ip(&inside));
    add("nothing-in-it", Attributes::new());
    add("v4-host-bits", range4([10, 3, 4, 5], 16));
    add("v6-host-bits", range6([0xfd, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], 16));
    add("v4-prefix-of-0-with-host-bits", range4([10, 3, 4, 5], 0));
    add("v4-prefix-of-32", range4([10, 3, 4, 5], 32));
    add("v4-prefix-of-33", range4([10, 3, 4, 5], 33));
    add("v4-prefix-of-255", range4([10, 3, 4, 5], 255));
    add("v6-prefix-of-128", range6([0xfd; 16], 128));
    add("v6-prefix-of-129", range6([0xfd; 16], 129));
    add("family-0", range(0, &[10, 3, 0, 0], 16));
    add("family-of-unix", range(1, &[10, 3, 0, 0], 16));
    add("family-65535", range(u16::MAX, &[10, 3, 0, 0], 16));
    add("v4-of-16-bytes", range(2, &[10; 16], 16));
    add("v4-of-5-bytes", range(2, &[10; 5], 16));
    add("v6-of-4-bytes", range(10, &[0xfd; 4], 16));
    add("v6-of-15-bytes", range(10, &[0xfd; 15], 16));
    add("v6-of-17-bytes", range(10, &[0xfd; 17], 16));
    let flags = |flags: u32| range4([10, 3, 0, 0], 16).put(allowed_ip::FLAGS, &flags.to_ne_bytes());
    add("flag-remove-of-one-not-there", flags(1));
    add("flag-2", flags(2));
    add("flags-short", range4([10, 3, 0, 0], 16).put(allowed_ip::FLAGS, &[1]));
    let taken = Attributes::new().put(peer::PUBLIC_KEY, &THIRD);
    let taken = taken.nest(peer::ALLOWED_IPS, &Attributes::new().nest(0, &range4([10, 1, 0, 0], 16)));
    cases.set("allowed-ip/of-another-peer", &with_peer(&taken));
}

/// Requests of which the first half is right: nothing of it may remain.
fn halves(cases: &mut Cases) {
    let good = || Attributes::new().put(peer::PUBLIC_KEY, &THIRD).put(peer::KEEPALIVE, &[9, 0]);
    let bad = || Attributes::new().put(peer::PUBLIC_KEY, &THIRD).put(peer::FLAGS, &8_u32.to_ne_bytes());
    let second = || Attributes::new().nest(device::PEERS, &Attributes::new().nest(0, &good()).nest(0, &bad()));
    cases.set("half/second-peer-wrong", &second());
    cases.set("half/mark-and-second-peer-wrong", &Attributes::new().put(device::FWMARK, &[9, 0, 0, 0]).with(&second()));
    cases.set(
        "half/port-and-second-peer-wrong",
        &Attributes::new().put(device::LISTEN_PORT, &4713_u16.to_ne_bytes()).with(&second()),
    );
    cases.set(
        "half/key-and-second-peer-wrong",
        &Attributes::new().put(device::PRIVATE_KEY, &crate::baseline::OTHER).with(&second()),
    );
    cases.set(
        "half/replace-peers-and-second-peer-wrong",
        &Attributes::new().put(device::FLAGS, &[1, 0, 0, 0]).with(&second()),
    );
    let ranges = Attributes::new().nest(0, &range4([10, 3, 0, 0], 16)).nest(0, &range4([10, 4, 0, 0], 33));
    cases.set("half/second-allowed-ip-wrong", &with_peer(&good().nest(peer::ALLOWED_IPS, &ranges)));
    let known =
        Attributes::new().put(peer::PUBLIC_KEY, &FIRST).put(peer::FLAGS, &peer::REPLACE_ALLOWED_IPS.to_ne_bytes());
    cases.set(
        "half/replaced-allowed-ips-of-which-the-second-is-wrong",
        &with_peer(&known.nest(peer::ALLOWED_IPS, &ranges)),
    );
    let endpoint = Attributes::new().put(peer::PUBLIC_KEY, &FIRST).put(peer::ENDPOINT, &endpoint4([192, 0, 2, 9], 9));
    cases.set("half/endpoint-and-an-allowed-ip-wrong", &with_peer(&endpoint.nest(peer::ALLOWED_IPS, &bad_range())));
}
