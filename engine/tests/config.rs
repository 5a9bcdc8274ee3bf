//! Configuration: prepared as a whole, applied without failing, seen in the listing.

mod common;
use common::*;
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::peer::PeerRef;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::PublicKey;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn allowed_ips(node: &Node, peer: PeerRef) -> Vec<String> {
    let (mut list, mut at) = (Vec::new(), None);
    while let Some((prefix, cursor)) = node.device.next_allowed_ip(peer, at) {
        list.push(prefix.to_string());
        at = Some(cursor);
    }
    list
}

fn peers(node: &Node) -> Vec<PublicKey> {
    let (mut list, mut at) = (Vec::new(), None);
    while let Some(peer) = node.device.next_peer(at) {
        list.push(node.device.peer_info(peer).unwrap().public_key);
        at = Some(peer);
    }
    list
}

fn key(number: u64) -> PublicKey {
    public_key(&private_key(1000 + number))
}

#[test]
fn an_allowed_ip_belongs_to_who_got_it_last() {
    let node = Node::new(1, "192.0.2.1:1");
    let add = |number, list: &[&str]| {
        let list: Vec<_> = list.iter().map(|text| AllowedIpChange::Add(prefix(text))).collect();
        node.set_peer(PeerChange { allowed_ips: &list, ..PeerChange::new(key(number)) });
        node.device.find(&key(number)).unwrap()
    };
    let one = add(1, &["10.1.2.3/8", "fd00::/8", "0.0.0.0/0"]);
    assert_eq!(allowed_ips(&node, one), ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"]);
    let two = add(2, &["10.0.0.0/8", "10.0.0.0/16"]);
    assert_eq!(allowed_ips(&node, one), ["fd00::/8", "0.0.0.0/0"]);
    assert_eq!(allowed_ips(&node, two), ["10.0.0.0/8", "10.0.0.0/16"]);
    let route = |address| node.device.route(&ipv4(A, address, b""), 20).ok();
    assert_eq!(route([10, 9, 9, 9]), Some(two));
    assert_eq!(route([11, 0, 0, 1]), Some(one));
    // Taken away with a minus: the wider prefix shows through.
    let list = [AllowedIpChange::Remove(prefix("10.0.0.0/8")), AllowedIpChange::Remove(prefix("fd00::/8"))];
    node.set_peer(PeerChange { allowed_ips: &list, ..PeerChange::new(key(2)) });
    assert_eq!(route([10, 9, 9, 9]), Some(one));
    assert_eq!(allowed_ips(&node, one), ["fd00::/8", "0.0.0.0/0"], "it was not the other's to take away");
    let list = [AllowedIpChange::Add(prefix("192.0.2.0/24"))];
    node.set_peer(PeerChange { replace_allowed_ips: true, allowed_ips: &list, ..PeerChange::new(key(1)) });
    assert_eq!(allowed_ips(&node, one), ["192.0.2.0/24"]);
    assert_eq!(route([10, 9, 9, 9]), None);
}

#[test]
fn peers_are_made_updated_replaced_and_removed() {
    let node = Node::new(1, "192.0.2.1:1");
    for number in 0..200 {
        node.set_peer(PeerChange::new(key(number)));
    }
    assert_eq!(node.device.peer_count(), 200);
    assert_eq!(peers(&node).len(), 200);
    node.set_peer(PeerChange { update_only: true, ..PeerChange::new(key(999)) });
    node.set_peer(PeerChange { remove: true, ..PeerChange::new(key(998)) });
    assert_eq!(node.device.peer_count(), 200);
    node.set_peer(PeerChange { remove: true, ..PeerChange::new(key(7)) });
    assert!(node.device.find(&key(7)).is_none() && !peers(&node).contains(&key(7)));
    let kept = [PeerChange::new(key(5)), PeerChange::new(key(6)), PeerChange::new(key(5))];
    node.set(Change { replace_peers: true, peers: &kept, ..Change::default() });
    let mut listed = peers(&node);
    listed.sort();
    let mut wanted = [key(5), key(6)];
    wanted.sort();
    assert_eq!(listed, wanted);
    // Removed and made again within one change.
    let again = [PeerChange { remove: true, ..PeerChange::new(key(5)) }, PeerChange::new(key(5))];
    node.set(Change { peers: &again, ..Change::default() });
    assert_eq!(node.device.peer_count(), 2);
}

#[test]
fn a_name_of_a_removed_peer_finds_nothing() {
    let mut pair = Pair::connected();
    let peer = pair.a.peer(&pair.b);
    pair.b.send(&ipv4(B, A, b"under way")).unwrap();
    let under_way = pair.b.sent.remove(0);
    pair.a.set_peer(PeerChange { remove: true, ..PeerChange::new(pair.b.public()) });
    assert!(pair.a.device.peer_info(peer).is_none());
    assert!(pair.a.device.next_deadline().is_none());
    pair.a.receive(&under_way);
    assert!(pair.a.delivered.is_empty());
    assert_eq!(drops(&pair.a, Reason::UnknownIndex), 1);
    assert_eq!(pair.a.send(&ipv4(A, B, b"")), Err(Reason::NoRoute));
    // Its place goes to another; the old name still finds nothing.
    pair.a.set_peer(PeerChange::new(key(1)));
    assert!(pair.a.device.peer_info(peer).is_none());
    assert!(pair.a.device.initiate(START, pair.a.wall(), peer).is_none());
    assert_eq!(
        pair.a.device.reserve(START, peer, 1).unwrap_err(),
        kerntun_engine::egress::NotReserved::Drop(Reason::NoRoute)
    );
}

#[test]
fn ourselves_as_a_peer_is_ignored() {
    let node = Node::new(1, "192.0.2.1:1");
    node.set_peer(PeerChange::new(node.public()));
    assert_eq!(node.device.peer_count(), 0);
    // And a peer that we become is removed.
    node.set_peer(PeerChange::new(public_key(&private_key(5))));
    node.set_peer(PeerChange::new(key(1)));
    node.set(Change { private_key: Some(private_key(5)), ..Change::default() });
    assert_eq!(peers(&node), [key(1)]);
}

#[test]
fn a_listing_can_tell_that_it_was_interrupted() {
    let node = Node::new(1, "192.0.2.1:1");
    let before = node.device.generation();
    assert_eq!(node.device.generation(), before);
    node.set_peer(PeerChange::new(key(1)));
    assert_ne!(node.device.generation(), before);
}

#[test]
fn many_peers_come_and_go() {
    let node = Node::new(1, "192.0.2.1:1");
    let numbers = 0..3_000_u64;
    let lists: Vec<[AllowedIpChange; 2]> = numbers
        .clone()
        .map(|number| {
            let [.., a, b] = number.to_be_bytes();
            [
                AllowedIpChange::Add(prefix(&format!("10.7.{a}.{b}/32"))),
                AllowedIpChange::Add(prefix(&format!("fd00:{number:x}::/64"))),
            ]
        })
        .collect();
    let keys: Vec<_> = numbers.clone().map(key).collect();
    let changes: Vec<_> = keys
        .iter()
        .zip(&lists)
        .map(|(key, list)| PeerChange { allowed_ips: list, persistent_keepalive: Some(25), ..PeerChange::new(*key) })
        .collect();
    for _ in 0..3 {
        node.set(Change { replace_peers: true, peers: &changes, ..Change::default() });
        assert_eq!(node.device.peer_count(), 3_000);
        for number in numbers.clone().step_by(97) {
            let peer = node.device.find(&keys[number as usize]).unwrap();
            let [.., a, b] = number.to_be_bytes();
            assert_eq!(node.device.route(&ipv4(A, [10, 7, a, b], b""), 20), Ok(peer));
            assert_eq!(allowed_ips(&node, peer).len(), 2);
        }
        node.set(Change { replace_peers: true, ..Change::default() });
        assert_eq!(node.device.peer_count(), 0);
        assert!(node.device.next_deadline().is_none());
        assert_eq!(node.device.route(&ipv4(A, [10, 7, 0, 1], b""), 20), Err(Reason::NoRoute));
    }
}
