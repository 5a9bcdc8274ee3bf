//! Life, events and time of a device.

use crate::abi::{self, Due, NEVER, instant};
use crate::home::{Kernel, KernelDevice};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr;
use kerntun_engine::reason::Reason;

#[unsafe(no_mangle)]
extern "C" fn kt_device_new() -> *mut KernelDevice {
    let layout = Layout::new::<KernelDevice>();
    // SAFETY: a device is larger than nothing.
    let place: *mut KernelDevice = unsafe { alloc(layout) }.cast();
    if place.is_null() {
        return place;
    }
    let Ok(device) = KernelDevice::new(Kernel) else {
        // SAFETY: it was just taken with this layout.
        unsafe { dealloc(place.cast(), layout) };
        return ptr::null_mut();
    };
    device.configure(|configuration| configuration.down());
    // SAFETY: memory of that layout, ours.
    unsafe { place.write(device) };
    place
}

/// # Safety
/// `device` came from [`kt_device_new`], and nobody uses it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_device_free(device: *mut KernelDevice) {
    // SAFETY: the caller says so.
    unsafe {
        ptr::drop_in_place(device);
        dealloc(device.cast(), Layout::new::<KernelDevice>());
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_device_up(device: &KernelDevice, now: u64) -> bool {
    device.configure(|configuration| configuration.up(instant(now)))
}

#[unsafe(no_mangle)]
extern "C" fn kt_device_down(device: &KernelDevice) {
    device.configure(|configuration| configuration.down());
}

#[unsafe(no_mangle)]
extern "C" fn kt_forget_sessions(device: &KernelDevice) {
    device.configure(|configuration| configuration.forget_sessions());
}

#[unsafe(no_mangle)]
extern "C" fn kt_forget_sources(device: &KernelDevice) {
    device.configure(|configuration| configuration.forget_sources());
}

#[unsafe(no_mangle)]
extern "C" fn kt_forget_source(device: &KernelDevice, peer: u64) {
    if let Some(peer) = abi::peer(peer) {
        device.forget_source(peer);
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_count_drop(device: &KernelDevice, peer: u64, reason: u8, packets: u32) {
    if let Some(reason) = Reason::ALL.get(usize::from(reason)) {
        device.count_drop(abi::peer(peer), *reason, packets);
    }
}

#[unsafe(no_mangle)]
extern "C" fn kt_next_deadline(device: &KernelDevice) -> u64 {
    device.next_deadline().map_or(NEVER, |deadline| deadline.at.as_nanos())
}

#[unsafe(no_mangle)]
extern "C" fn kt_expire(device: &KernelDevice, now: u64, due: &mut Due) -> bool {
    let Some(expired) = device.expire(instant(now)) else { return false };
    *due = Due {
        peer: expired.peer.to_bits(),
        initiate: expired.initiate.into(),
        keepalive: expired.keepalive.into(),
        reserved: [0; 6],
    };
    true
}
