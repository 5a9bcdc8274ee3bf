//! How long locks are held, and the limits that take too many peers to reach one by one.

use super::*;
use crate::peer::PeerRef;
use crate::testing::crypto::x25519_calls;
use crate::testing::host::{TestHost, most_touched};
use crate::time::SECOND;
use core::net::Ipv4Addr;
use std::vec::Vec;

type TestDevice = Device<TestHost>;

const NOW: Instant = Instant::from_nanos(1000 * SECOND);

fn device() -> TestDevice {
    Device::new(TestHost).unwrap()
}

/// A key that is nobody's, which is all the same here.
fn key(number: u32) -> PublicKey {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    PublicKey(key)
}

fn host(number: u32) -> AllowedIp {
    AllowedIp::new(Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 32).unwrap()
}

fn set(device: &TestDevice, change: Change<'_>) {
    device.configure(|configuration| {
        let prepared = configuration.prepare(change).unwrap();
        prepared.apply(NOW)
    });
}

/// Peers with one allowed IP each, and one with as many as there are others, all in one change.
fn set_peers(device: &TestDevice, count: u32, replace_peers: bool) {
    let lists: Vec<_> = (0..count).map(|number| [AllowedIpChange::Add(host(number))]).collect();
    let many: Vec<_> = (0..count).map(|number| AllowedIpChange::Add(host(1 << 20 | number))).collect();
    let last = PeerChange { allowed_ips: &many, replace_allowed_ips: true, ..PeerChange::new(key(count)) };
    let peers: Vec<_> = (0..count)
        .zip(&lists)
        .map(|(number, list)| PeerChange {
            allowed_ips: list,
            persistent_keepalive: Some(1 + (number % 1000) as u16),
            ..PeerChange::new(key(number))
        })
        .chain([last])
        .collect();
    set(device, Change { replace_peers, peers: &peers, ..Change::default() });
}

fn list(device: &TestDevice) -> usize {
    let (mut peer, mut prefixes) = (None, 0);
    while let Some(at) = device.next_peer(peer) {
        peer = Some(at);
        let _ = device.peer_info(at).unwrap();
        let mut cursor = None;
        while let Some((_, next)) = device.next_allowed_ip(at, cursor) {
            (cursor, prefixes) = (Some(next), prefixes + 1);
        }
    }
    prefixes
}

/// Every way to change or read many peers, and the most that was touched under one hold of locks.
fn churn(count: u32) -> u32 {
    let device = device();
    let mut most = 0;
    let mut step = |name: &str, act: &dyn Fn()| {
        most_touched();
        act();
        let touched = most_touched();
        std::println!("{count} peers, {name}: {touched} entries touched under a lock");
        most = most.max(touched);
    };
    step("set", &|| set_peers(&device, count, false));
    step("set again", &|| set_peers(&device, count, false));
    step("listed", &|| assert_eq!(list(&device), 2 * count as usize));
    step("identity", &|| set(&device, Change { private_key: Some(Secret::new([7; 32])), ..Change::default() }));
    step("down and up", &|| {
        device.configure(|configuration| {
            configuration.down();
            configuration.up(NOW);
            configuration.forget_sessions();
            configuration.forget_sources();
        });
    });
    step("expired", &|| while device.expire(NOW.after(SECOND * 1000)).is_some() {});
    step("replaced", &|| set_peers(&device, count, true));
    let removed: Vec<_> =
        (0..count).map(|number| PeerChange { remove: true, ..PeerChange::new(key(number)) }).collect();
    step("removed", &|| set(&device, Change { peers: &removed, ..Change::default() }));
    step("listed when nearly empty", &|| assert_eq!(list(&device), count as usize));
    step("emptied", &|| set(&device, Change { replace_peers: true, ..Change::default() }));
    assert_eq!(device.peer_count(), 0);
    most
}

/// 64 entries' work is the most of one hold. For a prefix that is a path down the tree, twice, and its neighbours; for a
/// place, little; a hold for one peer touches less. It does not depend on how many there are.
#[test]
fn no_lock_is_held_for_more_than_64_entries() {
    let (few, many) = (churn(200), churn(2000));
    assert!(many <= 64 * 60, "{many} touched");
    assert!(many <= few + 64 * 8, "{few} touched with few, {many} with many");
}

/// The tables grow to their full size; that the peers before the last one are missing changes nothing there.
#[test]
fn the_last_peer_is_number_1_048_576() {
    let device = device();
    set(&device, Change::default());
    device.tables.write(|tables| (tables.peers, tables.unused) = (1_048_575, 1_048_575));
    let try_set = |change: Change<'_>| {
        device.configure(|configuration| configuration.prepare(change).map(|prepared| prepared.apply(NOW)))
    };
    let [one, two] = [1, 2].map(|number| PeerChange::new(key(number)));
    let both = [one.clone(), two.clone()];
    assert_eq!(try_set(Change { peers: &both, ..Change::default() }), Err(ConfigError::TooManyPeers));
    assert_eq!(device.peer_count(), 1_048_575, "nothing was changed");
    assert_eq!(try_set(Change { peers: std::slice::from_ref(&one), ..Change::default() }), Ok(false));
    assert_eq!(device.find(&key(1)), Some(PeerRef { slot: 1_048_575, generation: 0 }));
    assert_eq!(
        try_set(Change { peers: std::slice::from_ref(&two), ..Change::default() }),
        Err(ConfigError::TooManyPeers)
    );
    assert_eq!(try_set(Change { peers: &[one], ..Change::default() }), Ok(false), "a change of one that is there");
    // One that goes first leaves room for another, one that goes last does not; going twice is going once.
    let gone = PeerChange { remove: true, ..PeerChange::new(key(1)) };
    let swap = [gone.clone(), two.clone()];
    let late = [two.clone(), gone.clone()];
    let twice = [gone.clone(), gone.clone(), two.clone(), PeerChange::new(key(3))];
    for refused in [&late[..], &twice] {
        assert_eq!(try_set(Change { peers: refused, ..Change::default() }), Err(ConfigError::TooManyPeers));
    }
    assert_eq!(try_set(Change { peers: &swap, ..Change::default() }), Ok(false));
    assert_eq!((device.find(&key(1)), device.peer_count()), (None, 1_048_576));
    assert_eq!(device.find(&key(2)), Some(PeerRef { slot: 1_048_575, generation: 1 }));
    // In the place of all others there is room for both. (The others are missing, so their number is made up.)
    device.tables.write(|tables| (tables.peers, tables.unused) = (1_048_576, 0));
    assert_eq!(try_set(Change { replace_peers: true, peers: &both, ..Change::default() }), Ok(false));
    assert_eq!(device.find(&key(1)).map(|peer| peer.slot), Some(0));
}

/// `wg syncconf` sends those that go and all that stay: the latter are not made anew.
#[test]
fn a_peer_that_stays_is_not_prepared_again_because_another_goes() {
    let device = device();
    set_peers(&device, 100, false);
    let mut peers: Vec<_> = (0..100).map(|number| PeerChange::new(key(number))).collect();
    for peer in peers.iter_mut().step_by(10) {
        peer.remove = true;
    }
    // And one that goes and comes back.
    peers.push(PeerChange::new(key(50)));
    let drafts = device.configure(|configuration| {
        let prepared = configuration.prepare(Change { peers: &peers, ..Change::default() }).unwrap();
        let drafts = prepared.drafts.iter().flatten().count();
        prepared.apply(NOW);
        drafts
    });
    assert!((1..8).contains(&drafts), "{drafts} prepared");
    assert!(device.find(&key(50)).is_some() && device.find(&key(60)).is_none());
    assert_eq!(device.peer_count(), 101 - 10 + 1);
}

/// A new key costs one computation for each peer that there will be, and none for those that go with the old one.
#[test]
fn nothing_is_computed_for_peers_that_are_replaced() {
    let device = device();
    set_peers(&device, 20, false);
    let peers = [1, 2, 3].map(|number| PeerChange::new(key(number)));
    x25519_calls();
    let change = Change { private_key: Some(Secret::new([7; 32])), replace_peers: true, peers: &peers };
    device.configure(|configuration| {
        let prepared = configuration.prepare(change).unwrap();
        assert_eq!(x25519_calls(), 3);
        prepared.apply(NOW);
        assert_eq!(x25519_calls(), 0);
    });
    assert_eq!(device.peer_count(), 3);
}

/// Strangers choose keys and addresses, but not where a table keeps them: that is hashed with a secret of the device.
#[test]
fn places_in_tables_depend_on_a_secret_of_the_device() {
    let secrets = || {
        let device = device();
        set_peers(&device, 1, false);
        let from = Endpoint { remote: ([192, 0, 2, 1], 51820).into(), source: None };
        assert!(device.is_within_share(NOW, &from));
        let of_peers = device.tables.read(|tables| tables.key_hash_key.clone());
        [of_peers, device.admission.with(|admission| admission.bucket_key.clone())]
    };
    let [one, other] = [secrets(), secrets()];
    assert!(one.iter().chain(&other).all(|secret| !secret.is_zero()));
    assert!(one[0] != other[0] && one[1] != other[1] && one[0] != one[1]);
}
