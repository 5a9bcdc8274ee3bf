//! Configuration.

use crate::abi::{self, AllowedIp, Change, PeerChange, instant};
use crate::home::KernelDevice;
use alloc::vec::Vec;
use kerntun_engine::config::{self, AllowedIpChange, ConfigError};
use kerntun_engine::routes;
use kerntun_engine::secret::{PublicKey, Secret};

const CONFIGURED: u8 = 0;
const OUT_OF_MEMORY: u8 = 1;
const TOO_MANY_PEERS: u8 = 2;
const NOT_SEEDED: u8 = 3;
const INVALID: u8 = 4;

const DEVICE_HAS_PRIVATE_KEY: u32 = 1 << 0;
const DEVICE_REPLACE_PEERS: u32 = 1 << 1;
const PEER_REMOVE: u32 = 1 << 0;
const PEER_UPDATE_ONLY: u32 = 1 << 1;
const PEER_REPLACE_ALLOWED_IPS: u32 = 1 << 2;
const PEER_HAS_PRESHARED_KEY: u32 = 1 << 3;
const PEER_HAS_KEEPALIVE: u32 = 1 << 4;
const PEER_HAS_ENDPOINT: u32 = 1 << 5;

/// # Safety
/// `change` and what it points to are complete.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_configure(device: &KernelDevice, now: u64, change: &Change, rearm: &mut bool) -> u8 {
    *rearm = false;
    // SAFETY: the caller says so.
    match unsafe { configure(device, now, change) } {
        Ok(earlier) => {
            *rearm = earlier;
            CONFIGURED
        }
        Err(Refusal::Invalid) => INVALID,
        Err(Refusal::Engine(ConfigError::OutOfMemory)) => OUT_OF_MEMORY,
        Err(Refusal::Engine(ConfigError::TooManyPeers)) => TOO_MANY_PEERS,
        Err(Refusal::Engine(ConfigError::NotSeeded)) => NOT_SEEDED,
    }
}

/// Why a change was not made.
enum Refusal {
    Engine(ConfigError),
    Invalid,
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Engine(error)
    }
}

/// # Safety
/// As for [`kt_configure`].
unsafe fn configure(device: &KernelDevice, now: u64, change: &Change) -> Result<bool, Refusal> {
    // SAFETY: the caller says so.
    let raw_peers = unsafe { abi::slice(change.peers, change.peers_count) };
    // SAFETY: the caller says so.
    let lists = unsafe { collect(raw_peers, |peer| allowed_ips(peer)) }?;
    let mut peers = with_room(raw_peers.len())?;
    for (peer, allowed_ips) in raw_peers.iter().zip(&lists) {
        push(&mut peers, peer_change(peer, allowed_ips)?)?;
    }
    let change = config::Change {
        private_key: (change.flags & DEVICE_HAS_PRIVATE_KEY != 0).then(|| Secret::new(change.private_key)),
        replace_peers: change.flags & DEVICE_REPLACE_PEERS != 0,
        peers: &peers,
    };
    let rearm = device.configure(|configuration| {
        let prepared = configuration.prepare(change)?;
        Ok::<_, ConfigError>(prepared.apply(instant(now)))
    })?;
    Ok(rearm)
}

fn peer_change<'a>(peer: &PeerChange, allowed_ips: &'a [AllowedIpChange]) -> Result<config::PeerChange<'a>, Refusal> {
    let has = |flag| peer.flags & flag != 0;
    let endpoint = match peer.endpoint.to_engine() {
        Some(endpoint) if has(PEER_HAS_ENDPOINT) => Some(endpoint.remote),
        None if has(PEER_HAS_ENDPOINT) => return Err(Refusal::Invalid),
        _ => None,
    };
    Ok(config::PeerChange {
        public_key: PublicKey(peer.public_key),
        remove: has(PEER_REMOVE),
        update_only: has(PEER_UPDATE_ONLY),
        preshared_key: has(PEER_HAS_PRESHARED_KEY).then(|| Secret::new(peer.preshared_key)),
        endpoint,
        persistent_keepalive: has(PEER_HAS_KEEPALIVE).then_some(peer.persistent_keepalive),
        replace_allowed_ips: has(PEER_REPLACE_ALLOWED_IPS),
        allowed_ips,
    })
}

/// # Safety
/// The peer's list of allowed IPs is complete.
unsafe fn allowed_ips(peer: &PeerChange) -> Result<Vec<AllowedIpChange>, Refusal> {
    // SAFETY: the caller says so.
    collect(unsafe { abi::slice(peer.allowed_ips, peer.allowed_ips_count) }, allowed_ip)
}

fn allowed_ip(change: &AllowedIp) -> Result<AllowedIpChange, Refusal> {
    let address = abi::address(change.family, change.address).ok_or(Refusal::Invalid)?;
    let range = routes::AllowedIp::new(address, change.prefix_len).ok_or(Refusal::Invalid)?;
    Ok(if change.remove == 0 { AllowedIpChange::Add(range) } else { AllowedIpChange::Remove(range) })
}

fn collect<T, U>(items: &[T], mut convert: impl FnMut(&T) -> Result<U, Refusal>) -> Result<Vec<U>, Refusal> {
    let mut all = with_room(items.len())?;
    for item in items {
        push(&mut all, convert(item)?)?;
    }
    Ok(all)
}

fn with_room<T>(count: usize) -> Result<Vec<T>, Refusal> {
    let mut items = Vec::new();
    items.try_reserve_exact(count).map_err(|_| ConfigError::OutOfMemory)?;
    Ok(items)
}

/// The visible check keeps the panic path of a plain push out of the object.
fn push<T>(items: &mut Vec<T>, item: T) -> Result<(), Refusal> {
    if items.len() == items.capacity() {
        return Err(ConfigError::OutOfMemory.into());
    }
    items.push(item);
    Ok(())
}
