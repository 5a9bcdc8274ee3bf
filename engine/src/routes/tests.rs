//! The trees against a list of everything that is searched from one end to the other.

use super::*;
use crate::testing::Random;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

fn prefix(text: &str) -> AllowedIp {
    let (address, len) = text.split_once('/').unwrap();
    AllowedIp::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn with_room(nodes: u32, slots: u32) -> Routes {
    let mut routes = Routes::new().unwrap();
    while let Some(len) = routes.slots.short_of(slots) {
        assert!(routes.slots.install(Pages::make(len, || Ok(Ends::new())).unwrap()).is_none());
    }
    make_room(&mut routes, nodes / 2);
    routes
}

fn make_room(routes: &mut Routes, prefixes: u32) {
    while let Some(len) = routes.nodes.short_of(routes.nodes_needed(false, prefixes)) {
        assert!(routes.nodes.install(Pages::make(len, || Ok(Node::EMPTY)).unwrap()).is_none());
    }
}

fn prefixes(routes: &Routes, slot: u32) -> Vec<AllowedIp> {
    let mut all = Vec::new();
    let mut cursor = routes.first(slot);
    while let Some(at) = cursor {
        all.push(routes.prefix_of(at, slot).unwrap());
        cursor = routes.next(at);
    }
    all
}

/// Whether the address is in the range, bit by bit.
fn contains(prefix: AllowedIp, address: IpAddr) -> bool {
    let same = |a: &[u8], b: &[u8]| {
        (0..usize::from(prefix.prefix_len)).all(|bit| (a[bit / 8] ^ b[bit / 8]) & (128 >> (bit % 8)) == 0)
    };
    match (prefix.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets()),
        _ => false,
    }
}

/// Everything in the order it was inserted.
#[derive(Default)]
struct Model {
    prefixes: Vec<(AllowedIp, u32)>,
    keys: BTreeMap<u128, u32>,
}

impl Model {
    fn insert(&mut self, prefix: AllowedIp, slot: u32) -> Option<u32> {
        let before = self.prefixes.iter().position(|(other, _)| *other == prefix);
        let loser = before.map(|at| self.prefixes.remove(at).1);
        self.prefixes.push((prefix, slot));
        loser.filter(|loser| *loser != slot)
    }

    fn remove(&mut self, prefix: AllowedIp, slot: u32) -> bool {
        let at = self.prefixes.iter().position(|entry| *entry == (prefix, slot));
        at.map(|at| self.prefixes.remove(at)).is_some()
    }

    fn remove_some(&mut self, slot: u32, limit: usize) -> bool {
        let mut left = limit;
        self.prefixes.retain(|(_, owner)| {
            let removed = *owner == slot && left > 0;
            left -= usize::from(removed);
            !removed
        });
        self.prefixes.iter().any(|(_, owner)| *owner == slot)
    }

    fn lookup(&self, address: IpAddr) -> Option<u32> {
        let hits = self.prefixes.iter().filter(|(prefix, _)| contains(*prefix, address));
        hits.max_by_key(|(prefix, _)| prefix.prefix_len).map(|(_, slot)| *slot)
    }

    fn prefixes(&self, slot: u32) -> Vec<AllowedIp> {
        self.prefixes.iter().filter(|(_, owner)| *owner == slot).map(|(prefix, _)| *prefix).collect()
    }
}

/// Walks all three trees: every node is counted, longer than the one above it and of its range, and has a slot or
/// two children, and there are as many with a slot as the model has. No node is lost.
fn check_shape(routes: &Routes, model: &Model) {
    let mut count = 0;
    let mut with_slot = 0;
    let roots = [Tree::V4, Tree::V6, Tree::Peers].map(|tree| (routes.follow(Link::Root(tree)), tree));
    let mut todo = Vec::from(roots.map(|(root, tree)| (root, None, tree)));
    while let Some((at, above, tree)) = todo.pop() {
        if at == NONE {
            continue;
        }
        let node = routes.nodes.get(at).unwrap();
        assert_eq!(node.tree, tree);
        if let Some((key, bits, bit)) = above {
            assert!(node.bits > bits && node.key.common(key) >= bits && node.key.bit(bits) == bit);
        }
        assert!(node.slot != NONE || !node.children.contains(&NONE), "a node for nothing");
        assert!(node.key == node.key.masked(node.bits));
        count += 1;
        with_slot += u32::from(node.slot != NONE);
        todo.push((node.child(false), Some((node.key, node.bits, false)), tree));
        todo.push((node.child(true), Some((node.key, node.bits, true)), tree));
    }
    assert_eq!(count, routes.in_use);
    assert_eq!(with_slot as usize, model.prefixes.len() + model.keys.len());
    let mut released = 0;
    let mut at = routes.released;
    while at != NONE {
        released += 1;
        at = routes.nodes.get(at).unwrap().next;
    }
    assert_eq!(released + count, routes.fresh, "a node was lost");
}

/// Few different bits, so that prefixes nest, part and are stolen.
fn some_address(random: &mut Random) -> IpAddr {
    let pick = random.next();
    let spread = random.next() & random.next() & random.next();
    if pick & 1 == 0 {
        Ipv4Addr::from((0x0a00_0000_u32) ^ (spread as u32 & 0xf803_0f07)).into()
    } else {
        let high = 0x2001_0db8_0000_0000_u64 ^ (spread & 0xf800_0000_0003_0001);
        let low = random.next() & random.next() & 0xc000_0000_0000_0107;
        Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
    }
}

fn some_prefix(random: &mut Random) -> AllowedIp {
    let address = some_address(random);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let len = match random.below(4) {
        0 => bits,
        1 => bits - random.below(8),
        // Rarely so short that nearly everything is in it.
        _ => random.below(bits + 1).max(8 * random.below(1000).min(1)),
    };
    AllowedIp::new(address, len as u8).unwrap()
}

#[test]
fn routes_and_keys_are_those_of_a_plain_list() {
    const SLOTS: u32 = 8;
    let mut random = Random::new(1);
    let mut routes = with_room(0, SLOTS);
    let mut model = Model::default();
    let (mut hits, mut misses, mut again, mut most) = (0, 0, 0, 0);
    for step in 0..300_000 {
        let slot = random.below(u64::from(SLOTS)) as u32;
        // Some hashes differ in their last bits only.
        let hash = u128::from(random.below(16)) | u128::from(random.below(4)) << 126;
        match random.below(64) {
            0..12 => {
                make_room(&mut routes, 1);
                let prefix = some_prefix(&mut random);
                let (has_node, before) = (routes.has_node(&prefix), routes.in_use);
                assert_eq!(routes.insert(prefix, slot), Ok(model.insert(prefix, slot)));
                assert_eq!(routes.in_use == before, has_node, "{prefix}");
                assert!(routes.has_node(&prefix));
            }
            12..19 => {
                let prefix = some_prefix(&mut random);
                assert_eq!(routes.remove(&prefix, slot), model.remove(prefix, slot));
            }
            19..24 => {
                if let Some((prefix, owner)) = model.prefixes.get(random.below(100) as usize).copied() {
                    assert!(routes.remove(&prefix, owner) && model.remove(prefix, owner));
                    assert!(!routes.remove(&prefix, owner));
                }
            }
            24 => {
                let limit = random.below(8) as u32;
                assert_eq!(routes.remove_some(slot, limit), model.remove_some(slot, limit as usize));
            }
            25..28 => {
                make_room(&mut routes, 1);
                let loser = model.keys.insert(hash, slot).filter(|loser| *loser != slot);
                assert_eq!(routes.insert_key(hash, slot), Ok(loser));
            }
            28..31 => assert_eq!(routes.remove_key(hash), model.keys.remove(&hash)),
            31..36 => assert_eq!(routes.by_key(hash), model.keys.get(&hash).copied()),
            36 => assert_eq!(prefixes(&routes, slot), model.prefixes(slot)),
            _ => {
                let address = some_address(&mut random);
                let found = routes.lookup(address);
                assert_eq!(found, model.lookup(address), "step {step}: {address}");
                // Among others, for slots whose last address was there before the routes changed.
                let seen = |slot| routes.slots.get(slot).map_or(NONE, |ends| ends.seen.load(Ordering::Relaxed));
                for slot in 0..=SLOTS {
                    let before = seen(slot);
                    let owns = routes.owns(slot, address);
                    assert_eq!(owns, found == Some(slot), "step {step}: {address}");
                    again += u32::from(owns && seen(slot) == before);
                }
                if found.is_some() { hits += 1 } else { misses += 1 }
            }
        }
        most = most.max(model.prefixes.len());
        if step % 1000 == 0 {
            check_shape(&routes, &model);
        }
    }
    assert!(hits > 5000 && misses > 5000, "{hits} hits, {misses} misses, {most} prefixes at once");
    assert!(again > 1000 && most > 64, "{again} found where one was found before");
    for slot in 0..SLOTS {
        assert_eq!(prefixes(&routes, slot), model.prefixes(slot));
        while routes.remove_some(slot, 64) {}
    }
    for hash in model.keys.keys() {
        assert!(routes.remove_key(*hash).is_some());
    }
    check_shape(&routes, &Model::default());
    assert_eq!(routes.in_use, 0);
}

#[test]
fn full_random_addresses_and_keys_are_found_again() {
    let mut random = Random::new(2);
    let mut routes = with_room(8192, 2);
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        let hash = u128::from(random.next()) << 64 | u128::from(random.next());
        assert!(seen.insert(hash));
        assert_eq!(routes.insert_key(hash, 1), Ok(None));
        let host = AllowedIp::new(Ipv6Addr::from(hash).into(), 128).unwrap();
        assert_eq!(routes.insert(host, 1), Ok(None));
        assert_eq!(routes.by_key(hash ^ 1), None);
    }
    for hash in seen {
        assert_eq!(routes.by_key(hash), Some(1));
        assert_eq!(routes.lookup(Ipv6Addr::from(hash).into()), Some(1));
        assert_eq!(routes.remove_key(hash), Some(1));
    }
    // The keys' tree is empty; the addresses of the same bits are another tree.
    assert_eq!(routes.in_use, 2 * 2000 - 1);
}

#[test]
fn the_longest_path_has_a_node_per_bit() {
    let mut routes = with_room(512, 129);
    for len in 0..=128 {
        routes.insert(AllowedIp::new(Ipv6Addr::UNSPECIFIED.into(), len).unwrap(), u32::from(len)).unwrap();
    }
    for len in 0..=32 {
        routes.insert(AllowedIp::new(Ipv4Addr::BROADCAST.into(), len).unwrap(), u32::from(len)).unwrap();
    }
    assert_eq!(routes.in_use, 129 + 33);
    for len in 0..128 {
        let first_difference = Ipv6Addr::from(1_u128 << (127 - len));
        assert_eq!(routes.lookup(first_difference.into()), Some(len));
    }
    assert_eq!(routes.lookup(Ipv6Addr::UNSPECIFIED.into()), Some(128));
    assert_eq!(routes.lookup(Ipv4Addr::BROADCAST.into()), Some(32));
    assert_eq!(routes.lookup(Ipv4Addr::new(255, 255, 255, 254).into()), Some(31));
    assert_eq!(routes.lookup(Ipv4Addr::UNSPECIFIED.into()), Some(0));
}

#[test]
fn a_stolen_prefix_leaves_the_losers_list() {
    let mut routes = with_room(64, 2);
    for text in ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"] {
        assert_eq!(routes.insert(prefix(text), 0), Ok(None));
    }
    assert_eq!(routes.insert(prefix("10.1.2.3/16"), 1), Ok(Some(0)));
    assert_eq!(prefixes(&routes, 0), [prefix("10.0.0.0/8"), prefix("fd00::/8")]);
    assert_eq!(prefixes(&routes, 1), [prefix("10.1.0.0/16")]);
    assert_eq!(routes.lookup(Ipv4Addr::new(10, 1, 9, 9).into()), Some(1));
    assert!(!routes.remove(&prefix("10.1.0.0/16"), 0), "it is not this slot's any more");
    // Given again to the one that has it: now its last.
    assert_eq!(routes.insert(prefix("10.0.0.0/8"), 0), Ok(None));
    assert_eq!(prefixes(&routes, 0), [prefix("fd00::/8"), prefix("10.0.0.0/8")]);
}

#[test]
fn without_room_nothing_changes() {
    let mut routes = with_room(64, 1);
    for host in 0..32 {
        routes.insert(AllowedIp::new(Ipv4Addr::new(10, 0, 0, host).into(), 32).unwrap(), 0).unwrap();
    }
    // 32 hosts and the 31 places where their paths part: one node is left, and 11.0.0.0/8 needs two.
    assert_eq!(routes.in_use, 63);
    let before = prefixes(&routes, 0);
    assert_eq!(routes.insert(prefix("11.0.0.0/8"), 0), Err(OutOfMemory));
    assert_eq!((routes.nodes_needed(false, 1), routes.nodes_needed(true, 1)), (65, 2));
    assert_eq!(routes.in_use, 63);
    assert_eq!(routes.insert(prefix("10.0.0.0/8"), 0), Ok(None));
    assert_eq!(routes.insert_key(5, 0), Err(OutOfMemory));
    assert_eq!(routes.insert(prefix("10.0.0.1/32"), 64), Err(OutOfMemory), "there is no slot 64");
    assert_eq!(routes.insert(prefix("10.0.0.1/32"), u32::MAX), Err(OutOfMemory));
    assert_eq!(prefixes(&routes, 0)[..32], before);
    assert_eq!(routes.lookup(Ipv4Addr::new(11, 0, 0, 0).into()), None);
}

#[test]
fn a_stale_cursor_leads_nowhere_or_elsewhere() {
    let mut routes = with_room(64, 2);
    routes.insert(prefix("10.0.0.0/8"), 0).unwrap();
    let cursor = routes.first(0).unwrap();
    assert!(routes.remove(&prefix("10.0.0.0/8"), 0));
    assert_eq!((routes.prefix_of(cursor, 0), routes.next(cursor)), (None, None));
    routes.insert_key(1, 0).unwrap();
    assert_eq!((routes.prefix_of(cursor, 0), routes.next(cursor)), (None, None), "a key is no prefix");
    routes.remove_key(1);
    routes.insert(prefix("192.168.0.0/16"), 1).unwrap();
    assert_eq!(routes.prefix_of(cursor, 1), Some(prefix("192.168.0.0/16")));
    assert_eq!(routes.prefix_of(cursor, 0), None);
    assert_eq!((routes.prefix_of(u32::MAX, u32::MAX), routes.next(12_345), routes.first(u32::MAX)), (None, None, None));
}

#[test]
fn a_removal_of_many_does_64_a_call() {
    let mut routes = with_room(512, 1);
    for host in 0..200 {
        routes.insert(AllowedIp::new(Ipv4Addr::new(10, 0, 0, host).into(), 32).unwrap(), 0).unwrap();
    }
    assert!(routes.remove_some(0, u32::MAX));
    assert_eq!(prefixes(&routes, 0).len(), 136);
    assert!(routes.remove_some(0, 64) && routes.remove_some(0, 64));
    assert!(!routes.remove_some(0, 8));
    assert!(!routes.remove_some(0, 8) && !routes.remove_some(77, 8));
    assert_eq!(routes.in_use, 0);
}

#[test]
fn an_allowed_ip_is_masked_ordered_and_printed() {
    assert_eq!(format!("{}", prefix("10.255.3.4/9")), "10.128.0.0/9");
    assert_eq!(format!("{}", prefix("ffff::1/0")), "::/0");
    assert_eq!(format!("{}", prefix("2001:db8::ffff:ffff/127")), "2001:db8::ffff:fffe/127");
    assert_eq!(format!("{}", prefix("2001:db8:1:2:3::/64")), "2001:db8:1:2::/64");
    assert_eq!(prefix("1.2.3.4/32").prefix_len(), 32);
    assert_eq!(prefix("::ffff:1.2.3.4/128").address(), "::ffff:1.2.3.4".parse::<IpAddr>().unwrap());
    assert_eq!(AllowedIp::new(Ipv4Addr::LOCALHOST.into(), 33), None);
    assert_eq!(AllowedIp::new(Ipv6Addr::LOCALHOST.into(), 129), None);
    assert!(prefix("10.0.0.0/8") < prefix("10.0.0.0/9"));
    assert!(prefix("255.0.0.0/8") < prefix("::/0"));
}
