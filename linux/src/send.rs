//! Datagrams out: runs of equal size sealed in one buffer, many runs per system call.
//!
//! A worker calls [`SendQueue::reserve`], writes and seals datagrams there one behind the other, and calls
//! [`SendQueue::commit`]; any number of times, to any destinations of either family. [`SendQueue::flush`] hands
//! everything to the kernel in as few calls as it allows. When the kernel refuses to segment, the same bytes are sent
//! again datagram by datagram at once, and the queue remembers for a minute.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::{io, ptr};

use crate::address::{Control, RawAddress, Source, write_control};
use crate::lessons::Lessons;
use crate::sys;
use crate::udp::{Sockets, UdpSocket};

/// Bytes of the buffer of a [`SendQueue`]: sixteen full super-packets.
pub const SEND_BUFFER: usize = 1 << 20;

/// Messages per `sendmmsg`.
const BATCH: usize = 32;

/// Events kept per flush; the counters are exact in any case.
const MAX_EVENTS: usize = 32;

/// Where datagrams go, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The endpoint. Link-local addresses need their scope id.
    pub destination: SocketAddr,
    /// The address to send from; `None` lets the kernel choose.
    pub source: Option<Source>,
    /// The whole TOS or traffic class byte of the outer header.
    pub tos: u8,
}

/// Something the daemon may want to act upon or tell a person about. Happens rarely; everything is counted besides.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendEvent {
    /// The kernel does not segment datagrams of `stride` bytes towards this address (with `EIO`: of any size towards this
    /// family); they go one by one for a minute. Nothing was lost. Told at most once a minute, whoever is concerned.
    GsoRefused {
        /// Towards whom it was noticed.
        destination: SocketAddr,
        /// The size refused.
        stride: usize,
        /// `EIO`: the device cannot do it. `EINVAL`, `EMSGSIZE`: larger than the path's MTU.
        error: io::Error,
    },
    /// The source address does not work any more; sent from whichever the kernel chose. Forget the cached source.
    SourceLost {
        /// The endpoint it was cached for.
        destination: SocketAddr,
        /// The source that failed.
        source: Source,
    },
    /// Datagrams were dropped.
    Dropped {
        /// The endpoint they were for.
        destination: SocketAddr,
        /// How many.
        datagrams: usize,
        /// Why.
        error: io::Error,
    },
}

/// What was sent and what was not, in datagrams where not said otherwise. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStats {
    /// Taken by the kernel.
    pub datagrams: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// System calls.
    pub calls: u64,
    /// Dropped: longer than the path takes (`EMSGSIZE`).
    pub too_big: u64,
    /// Dropped: no room in the socket buffer, or no memory (`EAGAIN`, `ENOBUFS`, `ENOMEM`).
    pub no_room: u64,
    /// Dropped: no way to the destination (`ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`, no socket of its family, ...).
    pub unreachable: u64,
    /// Dropped: forbidden by a local firewall or policy (`EPERM`, `EACCES`).
    pub forbidden: u64,
    /// Dropped for any other error.
    pub other: u64,
    /// Times segmentation was refused and the data sent one by one.
    pub gso_refused: u64,
    /// Times a source address no longer worked and was left out.
    pub source_lost: u64,
}

/// A buffer of datagrams to send, and the list of what is in it.
pub struct SendQueue {
    buffer: Box<[u8]>,
    used: usize,
    runs: Vec<Span>,
    messages: Vec<Span>,
    events: Vec<SendEvent>,
    stats: SendStats,
    lessons: Lessons,
}

/// Datagrams of `stride` bytes each (the last may be shorter) in the buffer.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
    stride: usize,
    route: Route,
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl SendQueue {
    /// An empty queue with a buffer of [`SEND_BUFFER`] bytes, for a data worker.
    #[must_use]
    pub fn new() -> Self {
        Self::with_buffer(SEND_BUFFER)
    }

    /// An empty queue with a buffer of this many bytes; a few KiB do for handshakes.
    #[must_use]
    pub fn with_buffer(bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes].into_boxed_slice(),
            used: 0,
            runs: Vec::new(),
            messages: Vec::new(),
            events: Vec::new(),
            stats: SendStats::default(),
            lessons: Lessons::new(),
        }
    }

    /// Whether there is nothing to flush.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The next `len` bytes of the buffer, to be filled with datagrams; their content is left from earlier use. `None`
    /// when there is not that much room: flush first. (In an empty queue there is always room for one super-packet of
    /// the TUN device in segments of 64 bytes or more.)
    ///
    /// Reserving again without a commit gives the same bytes.
    pub fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        self.buffer.get_mut(self.used..)?.get_mut(..len)
    }

    /// Queues the first `len` bytes of what was reserved: datagrams of `stride` bytes, the last perhaps shorter. Any
    /// number of them; the limits of the kernel are kept when flushing. Zero lengths and lengths beyond the buffer queue
    /// nothing.
    pub fn commit(&mut self, len: usize, stride: usize, route: Route) {
        let start = self.used;
        if len == 0 || stride == 0 || len > self.buffer.len() - start {
            return;
        }
        let stride = stride.min(len);
        self.used += len;
        // A run that continues the one before it, or ends it with a shorter datagram, becomes part of it.
        if let Some(last) = self.runs.last_mut() {
            let whole = last.len % last.stride == 0;
            let fits = stride == last.stride || (len == stride && stride < last.stride);
            if whole && fits && last.route == route {
                last.len += len;
                return;
            }
        }
        self.runs.push(Span { start, len, stride, route });
    }

    /// Sends everything and empties the queue. Never waits: a message that finds no room in its socket buffer is dropped
    /// and counted, as a full queue of a network card does it. Who waited would keep packets of other peers, and those of
    /// the other direction. `now` is [`boottime`](crate::clock::boottime).
    ///
    /// Datagrams to one destination leave in the order they were committed. No error ends it: see
    /// [`SendQueue::events`] and [`SendQueue::stats`].
    pub fn flush(&mut self, sockets: &Sockets, now: u64) {
        self.events.clear();
        self.expand(sockets, now);
        let messages = std::mem::take(&mut self.messages);
        let mut rest = messages.as_slice();
        while let Some(first) = rest.first() {
            let v6 = first.route.destination.is_ipv6();
            let same = rest.iter().take(BATCH).take_while(|span| span.route.destination.is_ipv6() == v6).count();
            let (batch, later) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            rest = later;
            match sockets.for_destination(&first.route.destination) {
                Some(socket) => self.send_batch(socket, batch, now),
                None => {
                    for span in batch {
                        self.drop_span(span, io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
                    }
                }
            }
        }
        self.messages = messages;
        self.messages.clear();
        self.runs.clear();
        self.used = 0;
    }

    /// What happened in the last flush besides sending, at most 32 events.
    pub fn events(&mut self) -> impl Iterator<Item = SendEvent> {
        self.events.drain(..)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> SendStats {
        self.stats
    }

    /// Cuts the runs into messages the kernel takes.
    fn expand(&mut self, sockets: &Sockets, now: u64) {
        self.messages.clear();
        for run in &self.runs {
            let to = run.route.destination;
            let singly = run.len <= run.stride || !self.lessons.allow(to.ip(), run.stride, now);
            let socket = sockets.for_destination(&to).filter(|_| !singly);
            let most = run.stride * socket.map_or(1, |socket| socket.segments(run.stride));
            self.messages.extend(run.cut(most));
        }
    }

    fn send_batch(&mut self, socket: &UdpSocket, mut batch: &[Span], now: u64) {
        while let Some((first, others)) = batch.split_first() {
            self.stats.calls += 1;
            match send_spans(socket, &self.buffer, batch) {
                Ok(sent) => {
                    let (done, later) = batch.split_at_checked(sent).unwrap_or((batch, &[]));
                    done.iter().for_each(|span| self.sent(span));
                    batch = later;
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => {
                    self.send_hard(socket, first, error, now);
                    batch = others;
                }
            }
        }
    }

    /// Second tries for a message the kernel has refused: without its source, then datagram by datagram.
    fn send_hard(&mut self, socket: &UdpSocket, span: &Span, error: io::Error, now: u64) {
        let Err(error) = self.send_without_source(socket, span, error) else { return };
        let errno = error.raw_os_error().unwrap_or(0);
        if span.len <= span.stride || !matches!(errno, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP) {
            self.drop_span(span, error);
            return;
        }
        let before = self.stats.datagrams;
        let mut source = span.route.source;
        for mut datagram in span.cut(span.stride) {
            datagram.route.source = source;
            let Err(error) = self.send_alone(socket, &datagram) else { continue };
            match self.send_without_source(socket, &datagram, error) {
                Ok(()) => source = None,
                Err(error) => self.drop_span(&datagram, error),
            }
        }
        // Only if the datagrams pass by themselves was segmentation the trouble.
        if self.stats.datagrams > before {
            self.stats.gso_refused += 1;
            let destination = span.route.destination;
            if self.lessons.refused(destination.ip(), span.stride, errno, now) {
                self.tell(SendEvent::GsoRefused { destination, stride: span.stride, error });
            }
        }
    }

    /// Sends without the source address if `error` may be its fault; gives back what remains wrong.
    fn send_without_source(&mut self, socket: &UdpSocket, span: &Span, error: io::Error) -> io::Result<()> {
        let suspicious = [libc::EINVAL, libc::ENODEV, libc::ENXIO, libc::EADDRNOTAVAIL, libc::ENETUNREACH];
        let Some(source) = span.route.source.filter(|_| suspicious.contains(&error.raw_os_error().unwrap_or(0))) else {
            return Err(error);
        };
        let free = Span { route: Route { source: None, ..span.route }, ..*span };
        self.send_alone(socket, &free)?;
        self.stats.source_lost += 1;
        self.tell(SendEvent::SourceLost { destination: span.route.destination, source });
        Ok(())
    }

    fn send_alone(&mut self, socket: &UdpSocket, span: &Span) -> io::Result<()> {
        loop {
            self.stats.calls += 1;
            match send_spans(socket, &self.buffer, std::slice::from_ref(span)) {
                Ok(_) => {
                    self.sent(span);
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn sent(&mut self, span: &Span) {
        self.stats.datagrams += span.datagrams() as u64;
        self.stats.bytes += span.len as u64;
    }

    fn drop_span(&mut self, span: &Span, error: io::Error) {
        let counter = match error.raw_os_error().unwrap_or(0) {
            libc::EMSGSIZE => &mut self.stats.too_big,
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => &mut self.stats.no_room,
            libc::EPERM | libc::EACCES => &mut self.stats.forbidden,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ENODEV
            | libc::EAFNOSUPPORT
            | libc::EADDRNOTAVAIL => &mut self.stats.unreachable,
            _ => &mut self.stats.other,
        };
        *counter += span.datagrams() as u64;
        let (destination, datagrams) = (span.route.destination, span.datagrams());
        self.tell(SendEvent::Dropped { destination, datagrams, error });
    }

    fn tell(&mut self, event: SendEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }
}

impl Span {
    fn datagrams(&self) -> usize {
        self.len.div_ceil(self.stride.max(1))
    }

    /// Pieces of at most `most` bytes, a multiple of the stride.
    fn cut(self, most: usize) -> impl Iterator<Item = Self> {
        let most = most.max(1);
        (0..self.len.div_ceil(most)).map(move |piece| {
            let offset = piece * most;
            Self { start: self.start + offset, len: most.min(self.len - offset), ..self }
        })
    }
}

/// One `sendmmsg`. Returns how many of the first messages were taken; an error means that the first was not.
fn send_spans(socket: &UdpSocket, buffer: &[u8], spans: &[Span]) -> io::Result<usize> {
    // SAFETY: integers and null pointers.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { sys::zeroed() };
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut names = [RawAddress::empty(); BATCH];
    let mut controls = [Control::EMPTY; BATCH];
    let mut count = 0;
    let parts = headers.iter_mut().zip(&mut vectors).zip(names.iter_mut().zip(&mut controls));
    for (span, ((header, vector), (name, control))) in spans.iter().zip(parts) {
        let data = buffer.get(span.start..).and_then(|rest| rest.get(..span.len)).unwrap_or_default();
        *name = RawAddress::new(&span.route.destination);
        // sendmmsg only reads; the pointer is mutable because recvmsg shares the structure.
        *vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let stride = (span.len > span.stride).then(|| u16::try_from(span.stride).unwrap_or(u16::MAX));
        let control_len = write_control(control, socket.is_ipv6(), span.route.source, span.route.tos, stride);
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name.len();
        header.msg_hdr.msg_control = control.as_mut_ptr();
        header.msg_hdr.msg_controllen = control_len as _;
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the first `count` headers point to live memory of the lengths given, all of which outlives the call.
    let sent = sys::check(unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}
