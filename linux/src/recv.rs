//! Datagrams in: many messages per system call, many datagrams per message.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use crate::address::{Control, RawAddress, Source, read_control};
use crate::sys;
use crate::udp::UdpSocket;

/// Bytes of one message buffer: the longest UDP payload there is, and the most the kernel joins.
pub const RECV_BUFFER: usize = 65_536;

/// Most messages a batch may have.
pub const MAX_MESSAGES: usize = 64;

/// Messages asked for at once as long as they are long, and of a new batch.
const LONG_MESSAGES: usize = 8;

/// Bytes that one call should bring at most: more would no longer be in the cache when they are opened.
const CALL_BYTES: usize = LONG_MESSAGES * RECV_BUFFER;

/// Buffers for one worker, allocated once: `messages` × 64 KiB with [`RecvBatch::new`], and some 300 bytes each.
///
/// How many messages one call asks for is learnt from what the last ones brought: a few of joined datagrams, many where
/// the kernel joins none. Buffers that were never asked for cost address space and no memory.
pub struct RecvBatch {
    buffers: Box<[u8]>,
    /// Bytes per message.
    size: usize,
    slots: Box<[Slot]>,
    /// Messages to ask for next time.
    wanted: usize,
    filled: usize,
    stats: RecvStats,
}

/// One message: datagrams from one source, one behind the other.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who sent them. Link-local addresses carry their scope id.
    pub source: SocketAddr,
    /// Which of our addresses they came to.
    pub local: Option<Source>,
    /// The TOS or traffic class byte of all of them; ECN is its lower two bits.
    pub tos: u8,
    /// Length of each datagram but the last, which may be shorter. Never zero.
    pub stride: usize,
    /// The datagrams. Not empty.
    pub data: &'a mut [u8],
}

/// A message by its place in the memory of the whole batch; otherwise as [`Received`].
#[derive(Clone, Debug)]
pub struct Placed {
    /// Who sent it.
    pub source: SocketAddr,
    /// Which of our addresses it came to.
    pub local: Option<Source>,
    /// The TOS or traffic class byte.
    pub tos: u8,
    /// Length of each datagram but the last.
    pub stride: usize,
    /// Where the datagrams are. Not empty.
    pub range: Range<usize>,
}

/// What was received and what was not. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvStats {
    /// System calls that returned something.
    pub calls: u64,
    /// Messages passed on.
    pub messages: u64,
    /// Dropped: longer than the buffer, or with control messages cut off.
    pub truncated: u64,
    /// Dropped: no bytes.
    pub empty: u64,
    /// Dropped: source address of a family never asked for.
    pub unknown_source: u64,
    /// Errors that came instead of a datagram (`ECONNREFUSED`, `ENETDOWN`, `ENOBUFS`, ...).
    pub errors: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    name: RawAddress,
    control: Control,
    /// Set by the last receive; `None` for a message that was dropped.
    message: Option<Message>,
}

#[derive(Clone, Copy)]
struct Message {
    source: SocketAddr,
    local: Option<Source>,
    tos: u8,
    stride: usize,
    length: usize,
}

impl RecvBatch {
    /// A batch of 1 to [`MAX_MESSAGES`] messages (others are brought into that range) of [`RECV_BUFFER`] bytes.
    #[must_use]
    pub fn new(messages: usize) -> Self {
        Self::with_buffers(messages, RECV_BUFFER)
    }

    /// As [`RecvBatch::new`], with messages of 1 to [`RECV_BUFFER`] bytes: saves memory on sockets without GRO. Longer
    /// messages are dropped and counted.
    #[must_use]
    pub fn with_buffers(messages: usize, bytes: usize) -> Self {
        let size = bytes.clamp(1, RECV_BUFFER);
        let messages = messages.clamp(1, MAX_MESSAGES);
        let slot = Slot { name: RawAddress::empty(), control: Control::EMPTY, message: None };
        Self {
            buffers: vec![0; messages * size].into_boxed_slice(),
            size,
            slots: vec![slot; messages].into_boxed_slice(),
            wanted: messages.min(LONG_MESSAGES),
            filled: 0,
            stats: RecvStats::default(),
        }
    }

    /// Receives what is there, without waiting, in place of what was in the batch. Returns the number of messages from
    /// the kernel; zero when there were none (ask again after `poll`).
    ///
    /// Errors that belong to the network (an ICMP message, an interface going down, no memory) are counted and
    /// otherwise ignored: they never end the loop of a worker.
    ///
    /// # Errors
    /// Only those that mean a bug here or a closed descriptor: `EBADF`, `ENOTSOCK`, `EINVAL`, `EFAULT`.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        /// Errors in a row before giving the rest of the worker its turn.
        const PATIENCE: usize = 8;
        self.filled = 0;
        for _ in 0..PATIENCE {
            match self.recv_once(socket) {
                Ok(count) => {
                    self.stats.calls += 1;
                    self.filled = count;
                    self.learn();
                    return Ok(count);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(0),
                    Some(libc::EINTR) => {}
                    Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT) => return Err(error),
                    _ => self.stats.errors += 1,
                },
            }
        }
        Ok(0)
    }

    /// The messages of the last [`RecvBatch::recv`], in the order they came. All may be held at once.
    pub fn messages(&mut self) -> impl Iterator<Item = Received<'_>> {
        self.buffers.chunks_exact_mut(self.size).zip(&self.slots).take(self.filled).filter_map(|(buffer, slot)| {
            let Message { source, local, tos, stride, length } = slot.message?;
            Some(Received { source, local, tos, stride, data: buffer.get_mut(..length)? })
        })
    }

    /// All memory of the batch, and where in it the messages of the last [`RecvBatch::recv`] are, in the order they came:
    /// for who works on several of them at once.
    pub fn placed(&mut self) -> (&mut [u8], impl Iterator<Item = Placed>) {
        let size = self.size;
        let messages = (0..).zip(&self.slots).take(self.filled).filter_map(move |(number, slot)| {
            let Message { source, local, tos, stride, length } = slot.message?;
            let start = size * number;
            Some(Placed { source, local, tos, stride, range: start..start + length })
        });
        (&mut self.buffers, messages)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> RecvStats {
        self.stats
    }

    /// Asks for more messages next time if all were there and they were short, for fewer if they were long.
    fn learn(&mut self) {
        let messages = self.slots.iter().take(self.filled).filter_map(|slot| slot.message);
        let bytes = messages.map(|message| message.length).sum::<usize>();
        if bytes > CALL_BYTES {
            self.wanted = (self.wanted / 2).max(1);
        } else if self.filled == self.wanted && bytes <= CALL_BYTES / 2 {
            self.wanted = (self.wanted * 2).min(self.slots.len());
        } else if self.filled < self.wanted / 4 {
            self.wanted = (self.wanted / 2).max(LONG_MESSAGES.min(self.slots.len()));
        }
    }

    fn recv_once(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: integers and null pointers.
        let mut headers: [libc::mmsghdr; MAX_MESSAGES] = unsafe { sys::zeroed() };
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MAX_MESSAGES];
        let parts =
            self.buffers.chunks_exact_mut(self.size).zip(&mut self.slots).zip(headers.iter_mut().zip(&mut vectors));
        for ((buffer, slot), (header, vector)) in parts.take(self.wanted) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = slot.name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = RawAddress::empty().len();
            header.msg_hdr.msg_control = slot.control.as_mut_ptr();
            header.msg_hdr.msg_controllen = Control::LEN as _;
        }
        let count = self.wanted.min(MAX_MESSAGES) as libc::c_uint;
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the first `count` headers point to live buffers of the lengths given, all of which outlive the call.
        let received = sys::check(unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, ptr::null_mut())
        })?;
        let received = usize::try_from(received).unwrap_or(0);
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(received) {
            slot.message = None;
            let length = header.msg_len as usize;
            let flags = header.msg_hdr.msg_flags;
            // Without the control message with the stride, joined datagrams could not be told apart.
            if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
                self.stats.truncated += 1;
            } else if length == 0 {
                self.stats.empty += 1;
            } else if let Some(source) = slot.name.decode(header.msg_hdr.msg_namelen) {
                // SAFETY: filled by recvmmsg just now, with control memory in `slot`, which is alive.
                let ancillary = unsafe { read_control(&header.msg_hdr) };
                let stride = ancillary.stride.unwrap_or(length).min(length);
                let (local, tos) = (ancillary.local, ancillary.tos);
                slot.message = Some(Message { source, local, tos, stride, length });
                self.stats.messages += 1;
            } else {
                self.stats.unknown_source += 1;
            }
        }
        Ok(received)
    }
}

impl<'a> Received<'a> {
    /// The datagrams one by one, to be opened in place.
    pub fn datagrams(self) -> std::slice::ChunksMut<'a, u8> {
        self.data.chunks_mut(self.stride.max(1))
    }
}
