//! Handshakes.

use crate::abi::{self, BlockRoom, Endpoint, Followup, Outgoing, instant};
use crate::home::KernelDevice;
use core::ptr;
use kerntun_engine::handshake::{Handled, Load, Outgoing as EngineOutgoing};
use kerntun_engine::message::Kind;
use kerntun_engine::peer::PeerRef;
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::Wall;

const DROPPED: u8 = 0;
const REPLY: u8 = 1;
const CONNECTED: u8 = 2;
const COOKIE: u8 = 3;

type Block = Option<SessionBlock>;

#[unsafe(no_mangle)]
extern "C" fn kt_is_handshake(prefix: &[u8; 4], len: u32) -> bool {
    !matches!(Kind::of(*prefix, len as usize), None | Some(Kind::Data))
}

/// # Safety
/// `message` has `len` bytes; `block` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_receive_handshake(
    device: &KernelDevice,
    now: u64,
    message: *const u8,
    len: u32,
    from: &Endpoint,
    depth: u32,
    capacity: u32,
    block: &mut BlockRoom,
    peer: &mut u64,
    outgoing: &mut Outgoing,
) -> u8 {
    // SAFETY: the caller says so.
    let (message, block) = unsafe { (abi::slice(message, len), &mut *(&raw mut *block).cast::<Block>()) };
    outgoing.followup = Followup::NONE;
    let Some(from) = from.to_engine() else { return DROPPED };
    if block.is_none() {
        *block = SessionBlock::new().ok();
    }
    let load = Load { depth: depth as usize, capacity: capacity as usize };
    match device.receive_handshake(instant(now), message, &from, load, block) {
        Handled::Dropped(_) => DROPPED,
        Handled::Reply(reply) => {
            outgoing.put(&reply);
            REPLY
        }
        Handled::Connected(who, followup) => {
            *peer = who.to_bits();
            outgoing.followup = followup.into();
            CONNECTED
        }
        Handled::CookieStored => COOKIE,
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_session_block_init(block: &mut BlockRoom) {
    // SAFETY: the room is as large and aligned as that.
    unsafe { (&raw mut *block).cast::<Block>().write(None) }
}

/// # Safety
/// `block` is initialised; it is not any more after this.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_session_block_free(block: &mut BlockRoom) {
    // SAFETY: the caller says so.
    unsafe { ptr::drop_in_place((&raw mut *block).cast::<Block>()) }
}

#[unsafe(no_mangle)]
extern "C" fn kt_initiate(
    device: &KernelDevice,
    now: u64,
    wall_seconds: u64,
    wall_nanos: u32,
    peer: u64,
    outgoing: &mut Outgoing,
) -> bool {
    let wall = Wall { seconds: wall_seconds, nanos: wall_nanos };
    let Some(initiation) = device.initiate(instant(now), wall, PeerRef::from_bits(peer)) else { return false };
    outgoing.put(&initiation);
    true
}

impl Outgoing {
    fn put(&mut self, outgoing: &EngineOutgoing) {
        self.endpoint = outgoing.endpoint.into();
        self.message = [0; 148];
        for (place, byte) in self.message.iter_mut().zip(outgoing.bytes()) {
            *place = *byte;
        }
        self.len = u32::try_from(outgoing.bytes().len()).unwrap_or(0);
        self.tos = outgoing.tos;
        self.followup = outgoing.followup.into();
    }
}
