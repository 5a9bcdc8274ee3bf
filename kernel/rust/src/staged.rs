//! Packets that wait for a session, linked through a place of their own that the glue gave each of them.

use crate::abi::Staged as Node;
use crate::host;
use core::ptr;
use kerntun_engine::host::{Staged, StagedPacket};

/// A packet of the glue, owned.
pub(crate) struct Packet(*mut Node);

// SAFETY: the glue's packets may be freed on any CPU.
unsafe impl Send for Packet {}

impl Packet {
    /// # Safety
    /// `node` lies in a packet that the caller gives away.
    pub(crate) unsafe fn from_raw(node: *mut Node) -> Self {
        Self(node)
    }
}

impl StagedPacket for Packet {
    fn datagrams(&self) -> u32 {
        // SAFETY: the packet is ours, and the node in it initialised.
        unsafe { (*self.0).datagrams }
    }

    fn bytes(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).bytes as usize }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: it is ours to free.
        unsafe { host::kt_host_free_staged(self.0) }
    }
}

/// First in, first out.
pub(crate) struct Queue {
    first: *mut Node,
    last: *mut Node,
}

// SAFETY: as for its packets.
unsafe impl Send for Queue {}

impl Queue {
    /// All packets, linked, the first of them; null if there is none. They are the caller's.
    pub(crate) fn into_raw(mut self) -> *mut Node {
        core::mem::replace(&mut self.first, ptr::null_mut())
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut() }
    }
}

impl Staged for Queue {
    type Packet = Packet;

    fn push(&mut self, packet: Packet) {
        let node = packet.0;
        core::mem::forget(packet);
        // SAFETY: the new node is ours; so is the last one unless the queue is empty.
        unsafe {
            (*node).next = ptr::null_mut();
            if self.first.is_null() {
                self.first = node;
            } else {
                (*self.last).next = node;
            }
        }
        self.last = node;
    }

    fn pop(&mut self) -> Option<Packet> {
        if self.first.is_null() {
            return None;
        }
        let node = self.first;
        // SAFETY: nodes in the queue are ours.
        self.first = unsafe { (*node).next };
        Some(Packet(node))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
