//! Listing.

#![allow(clippy::indexing_slicing, reason = "tables of names, made when the object is built")]

use crate::abi::{self, AllowedIp, FIRST, NEVER, NO_PEER, PeerInfo};
use crate::home::KernelDevice;
use core::ffi::c_char;
use core::ptr;
use kerntun_engine::peer::PeerRef;
use kerntun_engine::reason::{Direction, Reason};
use kerntun_engine::secret::PublicKey;
use kerntun_engine::timers::Timer;

#[unsafe(no_mangle)]
extern "C" fn kt_generation(device: &KernelDevice) -> u32 {
    device.generation()
}

#[unsafe(no_mangle)]
extern "C" fn kt_peer_count(device: &KernelDevice) -> u32 {
    device.peer_count()
}

#[unsafe(no_mangle)]
extern "C" fn kt_private_key(device: &KernelDevice, out: &mut [u8; 32]) -> bool {
    let Some(key) = device.private_key() else { return false };
    *out = *key.expose();
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_public_key(device: &KernelDevice, out: &mut [u8; 32]) -> bool {
    let Some(key) = device.public_key() else { return false };
    *out = key.0;
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_find(device: &KernelDevice, public_key: &[u8; 32]) -> u64 {
    device.find(&PublicKey(*public_key)).map_or(NO_PEER, PeerRef::to_bits)
}

#[unsafe(no_mangle)]
extern "C" fn kt_next_peer(device: &KernelDevice, after: u64) -> u64 {
    device.next_peer(abi::peer(after)).map_or(NO_PEER, PeerRef::to_bits)
}

#[unsafe(no_mangle)]
extern "C" fn kt_peer_info(device: &KernelDevice, peer: u64, out: &mut PeerInfo) -> bool {
    let Some(info) = device.peer_info(PeerRef::from_bits(peer)) else { return false };
    *out = PeerInfo {
        public_key: info.public_key.0,
        preshared_key: *info.preshared_key.expose(),
        endpoint: info.endpoint.into(),
        persistent_keepalive: info.persistent_keepalive,
        handshake_retries: info.handshake_retries,
        handshake_pending: info.handshake_pending.into(),
        last_handshake: info.last_handshake.map_or(NEVER, |at| at.as_nanos()),
        rx_bytes: info.rx_bytes,
        tx_bytes: info.tx_bytes,
        session_since: info.session_since.map_or(NEVER, |at| at.as_nanos()),
        session_packets: info.session_packets,
        staged_bytes: info.staged.1.into(),
        staged_datagrams: info.staged.0,
        drops: info.drops,
        deadlines: info.deadlines.map(|at| at.as_nanos()),
    };
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_next_allowed_ip(device: &KernelDevice, peer: u64, cursor: &mut u32, out: &mut AllowedIp) -> bool {
    let after = (*cursor != FIRST).then_some(*cursor);
    let Some((range, at)) = device.next_allowed_ip(PeerRef::from_bits(peer), after) else { return false };
    let (family, address) = abi::bytes(range.address());
    *cursor = at;
    *out = AllowedIp { address, family, prefix_len: range.prefix_len(), remove: 0, reserved: 0 };
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_drops(device: &KernelDevice, reason: u8) -> u64 {
    let count = Reason::ALL.get(usize::from(reason)).map_or(0, |reason| device.drops(*reason));
    u64::try_from(count).unwrap_or(NEVER)
}

#[unsafe(no_mangle)]
extern "C" fn kt_reason_name(reason: u8) -> *const c_char {
    static NAMES: [Name; abi::REASONS] = {
        let mut names = [NO_NAME; abi::REASONS];
        let mut at = 0;
        while at < names.len() {
            names[at] = terminated(Reason::ALL[at].name());
            at += 1;
        }
        names
    };
    NAMES.get(usize::from(reason)).map_or(ptr::null(), |name| name.as_ptr().cast())
}

#[unsafe(no_mangle)]
extern "C" fn kt_timer_name(timer: u8) -> *const c_char {
    static NAMES: [Name; abi::TIMERS] = {
        let mut names = [NO_NAME; abi::TIMERS];
        let mut at = 0;
        while at < names.len() {
            names[at] = terminated(Timer::ALL[at].name());
            at += 1;
        }
        names
    };
    NAMES.get(usize::from(timer)).map_or(ptr::null(), |name| name.as_ptr().cast())
}

#[unsafe(no_mangle)]
extern "C" fn kt_reason_is_outgoing(reason: u8) -> bool {
    Reason::ALL.get(usize::from(reason)).is_some_and(|reason| reason.direction() == Direction::Out)
}

/// A name as C wants it, zeros behind it.
type Name = [u8; 32];
const NO_NAME: Name = [0; 32];

/// Evaluated when the object is built: one too long fails there.
const fn terminated(name: &str) -> Name {
    let mut out = NO_NAME;
    let name = name.as_bytes();
    assert!(name.len() < out.len());
    let mut at = 0;
    while at < name.len() {
        out[at] = name[at];
        at += 1;
    }
    out
}
