//! A TAP device whose packets look like those of network cards: in fragments, with unfinished checksums, as trains.

use super::{Offload, sys};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

const IFF_TAP: i32 = 0x2;
const IFF_NAPI: i32 = 0x10;
const IFF_NAPI_FRAGS: i32 = 0x20;
const IFF_MULTI_QUEUE: i32 = 0x100;
const IFF_NO_PI: i32 = 0x1000;
const IFF_VNET_HDR: i32 = 0x4000;

/// Parts that a packet in fragments may have, and bytes in each.
const MAX_PARTS: usize = 17;
const MAX_PART_LEN: usize = 4096;

/// One end of a cable whose other end is a network interface. It has two queues: one takes packets in one piece, the other in fragments.
#[derive(Debug)]
pub struct Tap {
    plain: File,
    fragments: File,
}

impl Tap {
    /// A new interface in this network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(name: &str) -> io::Result<Self> {
        let open = |more| {
            let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
            sys::attach(file.as_fd(), name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | more)?;
            Ok::<_, io::Error>(file)
        };
        Ok(Self { plain: open(0)?, fragments: open(IFF_NAPI | IFF_NAPI_FRAGS)? })
    }

    /// Both queues, to wait for something to read.
    #[must_use]
    pub fn queues(&self) -> [BorrowedFd<'_>; 2] {
        [self.plain.as_fd(), self.fragments.as_fd()]
    }

    /// One frame that the kernel sends, if there is one, read by way of `buffer`, which is longer than any. It is complete: no offload was asked for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        for mut queue in [&self.plain, &self.fragments] {
            match queue.read(buffer) {
                Ok(len) => return Ok(Some(buffer[Offload::LEN.min(len)..len].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Hands the kernel a frame in one piece.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, offload: Offload, frame: &[u8]) -> io::Result<()> {
        (&self.plain).write_vectored(&[IoSlice::new(&offload.bytes()), IoSlice::new(frame)]).map(drop)
    }

    /// Hands the kernel a frame of which the first `first` bytes are in the packet's head and the rest in fragments that end at `ends` or
    /// where they become too long.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write_in_fragments(&self, offload: Offload, frame: &[u8], first: usize, ends: &[usize]) -> io::Result<()> {
        let header = offload.bytes();
        let (mut parts, mut rest, mut at) = (vec![IoSlice::new(&header)], frame, 0);
        let mut ends = ends.iter().copied().filter(|end| *end > first);
        let mut end = first.clamp(1, frame.len().max(1));
        while !rest.is_empty() && parts.len() <= MAX_PARTS {
            let len = (end - at).clamp(1, MAX_PART_LEN).min(rest.len());
            let (part, behind) = rest.split_at(len);
            parts.push(IoSlice::new(part));
            (rest, at) = (behind, at + len);
            while end <= at {
                end = ends.next().unwrap_or(usize::MAX);
            }
        }
        (&self.fragments).write_vectored(&parts).map(drop)
    }
}
