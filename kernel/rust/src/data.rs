//! Data packets, out and in.

use crate::abi::{self, Departure, Followup, IncomingRoom, OpenRoom, SealRoom, Staged, instant};
use crate::home::{KernelDevice, Run};
use crate::staged::{Packet, Queue};
use core::ffi::c_void;
use core::ptr;
use kerntun_engine::egress::{NotReserved, SealJob, SealedJob};
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::inner;
use kerntun_engine::message::DataHeader;
use kerntun_engine::packet::{HEAD_LEN, Incoming, Verdict};
use kerntun_engine::peer::PeerRef;

const RESERVED: u8 = 0;
const STAGE: u8 = 1;
const NOT_RESERVED: u8 = 2;

const DELIVER: u8 = 0;
const KEEPALIVE: u8 = 1;
const DROP: u8 = 2;

/// # Safety
/// `head` has `head_len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_route(device: &KernelDevice, head: *const u8, head_len: u32, len: u32, reason: &mut u8) -> u64 {
    // SAFETY: the caller says so.
    let head = unsafe { abi::slice(head, head_len) };
    match device.route(head, len as usize) {
        Ok(peer) => peer.to_bits(),
        Err(why) => {
            *reason = why as u8;
            abi::NO_PEER
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_reserve(
    device: &KernelDevice,
    now: u64,
    peer: u64,
    count: u32,
    job: &mut SealRoom,
    reason: &mut u8,
) -> u8 {
    match device.reserve(instant(now), PeerRef::from_bits(peer), count) {
        Ok(numbers) => {
            job.put(numbers);
            RESERVED
        }
        Err(NotReserved::Stage) => STAGE,
        Err(NotReserved::Drop(why)) => {
            *reason = why as u8;
            NOT_RESERVED
        }
    }
}

/// # Safety
/// `packet` lies in a packet that the caller gives away.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_stage(
    device: &KernelDevice,
    now: u64,
    peer: u64,
    packet: *mut Staged,
    followup: &mut Followup,
) {
    // SAFETY: the caller says so.
    let packet = unsafe { Packet::from_raw(packet) };
    *followup = device.stage(instant(now), PeerRef::from_bits(peer), packet).followup.into();
}

#[unsafe(no_mangle)]
extern "C" fn kt_reserve_keepalive(
    device: &KernelDevice,
    now: u64,
    peer: u64,
    job: &mut SealRoom,
    followup: &mut Followup,
) -> bool {
    let (numbers, then) = device.reserve_keepalive(instant(now), PeerRef::from_bits(peer));
    *followup = then.into();
    let Some(numbers) = numbers else { return false };
    job.put(numbers);
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_reserve_staged(
    device: &KernelDevice,
    now: u64,
    peer: u64,
    job: &mut SealRoom,
    followup: &mut Followup,
) -> *mut Staged {
    match device.reserve_staged(instant(now), PeerRef::from_bits(peer)) {
        Ok((packets, numbers)) => {
            *followup = Followup::NONE;
            job.put(numbers);
            Queue::into_raw(packets)
        }
        Err(then) => {
            *followup = then.into();
            ptr::null_mut()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_flushed(device: &KernelDevice, now: u64, peer: u64, followup: &mut Followup) {
    *followup = device.flushed(instant(now), PeerRef::from_bits(peer)).into();
}

/// # Safety
/// `job` holds one that was not sealed yet; `front` holds none.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_job_take(job: &mut SealRoom, count: u32, front: &mut SealRoom) {
    // SAFETY: the caller says so.
    front.put(unsafe { job.unsealed() }.take(count));
}

/// # Safety
/// `job` holds one that was not sealed yet; `packet` and what follows it are `count` packets of the glue.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_seal(device: &KernelDevice, job: &mut SealRoom, packet: *mut c_void, count: u32) -> bool {
    // SAFETY: the caller says so.
    let numbers: SealJob = unsafe { job.take() };
    let Some(DataHeader { receiver, .. }) = DataHeader::parse(&numbers.header(0)) else { return false };
    let mut run = Run::Out { first: packet, count, receiver };
    let Some(sealed) = device.seal(numbers, &mut run) else { return false };
    job.put_sealed(sealed);
    true
}

/// # Safety
/// `job` holds one that was sealed.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_commit_sealed(
    device: &KernelDevice,
    now: u64,
    job: &mut SealRoom,
    bytes: u64,
    data: bool,
    departure: &mut Departure,
) -> bool {
    // SAFETY: the caller says so.
    let sealed: SealedJob = unsafe { job.take_sealed() };
    departure.peer = sealed.peer().to_bits();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let Ok(leaving) = device.commit_sealed(instant(now), sealed, bytes, data) else { return false };
    departure.endpoint = leaving.endpoint.into();
    departure.followup = leaving.followup.into();
    true
}

#[unsafe(no_mangle)]
extern "C" fn kt_padded_len(len: u32, mtu: u32) -> u32 {
    u32::try_from(inner::padded_len(len as usize, mtu as usize)).unwrap_or(len)
}

#[unsafe(no_mangle)]
extern "C" fn kt_encapsulated_tos(inner_tos: u8) -> u8 {
    inner::encapsulated_tos(inner_tos)
}

#[unsafe(no_mangle)]
extern "C" fn kt_incoming_init(incoming: &mut IncomingRoom, header: &[u8; 16], datagram_len: u32, ecn: u8) -> bool {
    let Some(entry) = Incoming::new(header, datagram_len as usize, ecn) else { return false };
    // SAFETY: the room is as large and aligned as that, which the assertions beside it check.
    unsafe { (&raw mut *incoming).cast::<Incoming>().write(entry) };
    true
}

/// # Safety
/// `incoming` is initialised; `plaintext` has at least 40 bytes, or `len`.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_incoming_authentic(incoming: &mut IncomingRoom, plaintext: *const u8, len: u32) {
    // SAFETY: the caller says so.
    let plaintext = unsafe { abi::slice(plaintext, len.min(40)) };
    // SAFETY: the caller says so.
    unsafe { &mut *(&raw mut *incoming).cast::<Incoming>() }.authenticated(plaintext);
}

/// # Safety
/// `incoming` points to `count` initialised entries.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_admit(
    device: &KernelDevice,
    now: u64,
    incoming: *mut Incoming,
    count: u32,
    job: &mut OpenRoom,
    peer: &mut u64,
) -> bool {
    // SAFETY: the caller says so.
    let incoming = unsafe { abi::slice_mut(incoming, count) };
    let Some(admitted) = device.admit(instant(now), incoming) else { return false };
    *peer = admitted.peer().to_bits();
    // SAFETY: the room is as large and aligned as that.
    unsafe { (&raw mut *job).cast::<OpenJob>().write(admitted) };
    true
}

/// # Safety
/// `job` holds one; `incoming` points to `count` initialised entries, `packets` to as many packets of the glue.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_open(
    device: &KernelDevice,
    job: &OpenRoom,
    incoming: *mut Incoming,
    packets: *const *mut c_void,
    count: u32,
) {
    // SAFETY: the caller says so.
    let (job, incoming, packets) =
        unsafe { (&*(&raw const *job).cast::<OpenJob>(), abi::slice_mut(incoming, count), abi::slice(packets, count)) };
    device.open(job, incoming, &mut Run::In(packets));
}

/// # Safety
/// `job` holds one; `incoming` points to `count` initialised entries.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_commit_opened(
    device: &KernelDevice,
    now: u64,
    job: &mut OpenRoom,
    incoming: *mut Incoming,
    count: u32,
    from: &abi::Endpoint,
    followup: &mut Followup,
) {
    // SAFETY: the caller says so; the job is gone after this.
    let (job, incoming) = unsafe { ((&raw const *job).cast::<OpenJob>().read(), abi::slice_mut(incoming, count)) };
    *followup = match from.to_engine() {
        Some(from) => device.commit_opened(instant(now), job, incoming, &from).into(),
        None => Followup::NONE,
    };
}

/// # Safety
/// `incoming` is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_verdict(incoming: &IncomingRoom, verdict: &mut abi::Verdict) {
    // SAFETY: the caller says so.
    let incoming = unsafe { &*(&raw const *incoming).cast::<Incoming>() };
    let mut out = abi::Verdict { len: 0, kind: DROP, rewritten: 0, reason: 0, reserved: 0, head: [0; HEAD_LEN] };
    match incoming.verdict() {
        Verdict::Deliver { len, rewritten } => {
            out.kind = DELIVER;
            out.len = u32::try_from(len).unwrap_or(0);
            out.rewritten = rewritten.into();
            out.head = *incoming.head();
        }
        Verdict::Keepalive => out.kind = KEEPALIVE,
        Verdict::Drop(reason) => out.reason = reason as u8,
    }
    *verdict = out;
}

impl SealRoom {
    fn put(&mut self, job: SealJob) {
        // SAFETY: the room is as large and aligned as that; what was in it was moved out or needs no end.
        unsafe { (&raw mut *self).cast::<SealJob>().write(job) }
    }

    fn put_sealed(&mut self, job: SealedJob) {
        // SAFETY: as above.
        unsafe { (&raw mut *self).cast::<SealedJob>().write(job) }
    }

    /// # Safety
    /// A job that was not sealed yet is in it.
    unsafe fn unsealed(&mut self) -> &mut SealJob {
        // SAFETY: the caller says so.
        unsafe { &mut *(&raw mut *self).cast::<SealJob>() }
    }

    /// # Safety
    /// A job that was not sealed yet is in it; it is not any more after this.
    unsafe fn take(&mut self) -> SealJob {
        // SAFETY: the caller says so.
        unsafe { (&raw const *self).cast::<SealJob>().read() }
    }

    /// # Safety
    /// A sealed job is in it; it is not any more after this.
    unsafe fn take_sealed(&mut self) -> SealedJob {
        // SAFETY: the caller says so.
        unsafe { (&raw const *self).cast::<SealedJob>().read() }
    }
}
