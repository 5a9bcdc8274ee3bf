//! What a worker sleeps on: packets, a wake-up call, a deadline.
//!
//! Sources: epoll(7), eventfd(2), timerfd_create(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use crate::sys;

/// Most descriptors reported by one wait.
const MAX_READY: usize = 16;

const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// Waits for descriptors, a [`Waker`] and a deadline at once.
///
/// The deadline is a timer on `CLOCK_BOOTTIME`, so time asleep counts: after a suspend an expired deadline fires at once.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    timer: Timer,
    armed: Option<u64>,
}

/// Wakes one [`Poller`] from any thread. Several calls before it wakes count as one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

/// Why [`Poller::wait`] returned. None of all this: a signal, ask again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    tokens: [u64; MAX_READY],
    count: usize,
    /// A [`Waker`] called.
    pub woken: bool,
    /// The deadline has passed.
    pub expired: bool,
}

impl Poller {
    /// A poller that waits for nothing yet.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let epoll = sys::owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: no pointers.
        let wake = sys::owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let poller = Self { epoll, wake: Arc::new(wake), timer: Timer::new()?, armed: None };
        // Told of each call and each expiry once, so that neither has to be read away.
        let once = libc::EPOLLIN | libc::EPOLLET;
        poller.control(libc::EPOLL_CTL_ADD, poller.wake.as_fd(), once, WAKE)?;
        poller.control(libc::EPOLL_CTL_ADD, poller.timer.fd.as_fd(), once, TIMER)?;
        Ok(poller)
    }

    /// Waits for `fd` to be readable (or broken, which a read will tell) from now on, level-triggered, under `token`.
    ///
    /// The descriptor must be removed before it is closed. Tokens above `u64::MAX - 2` are taken.
    ///
    /// # Errors
    /// `EEXIST` when it is there already, `EINVAL` for a reserved token.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        if token >= TIMER {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, token)
    }

    /// Stops waiting for `fd`.
    ///
    /// # Errors
    /// `ENOENT` when it is not there.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// A handle to interrupt [`Poller::wait`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Sleeps until something is ready, somebody wakes us, `deadline` passes (nanoseconds of
    /// [`boottime`](crate::clock::boottime); `None` for never), or a signal handler has run. A deadline in the past
    /// does not sleep. There is no polling interval: with nothing to do this sleeps for ever.
    ///
    /// # Errors
    /// None that a correct program sees.
    pub fn wait(&mut self, deadline: Option<u64>) -> io::Result<Ready> {
        // Arming costs a system call, so it is done only when the deadline has changed.
        if self.armed != deadline {
            self.timer.arm(deadline)?;
            self.armed = deadline;
        }
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MAX_READY];
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: pointer and count describe the array.
        let result = sys::check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), MAX_READY as _, -1) });
        let count = match result {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => 0,
            Err(error) => return Err(error),
        };
        let mut ready = Ready::default();
        for event in events.iter().take(count) {
            match event.u64 {
                WAKE => ready.woken = true,
                TIMER => {
                    self.armed = None;
                    ready.expired = true;
                }
                token => ready.push(token),
            }
        }
        Ok(ready)
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, events: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: the pointer is to a live event.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) };
        sys::check(result).map(drop)
    }
}

impl Waker {
    /// Makes the poller's present or next wait return.
    pub fn wake(&self) {
        // Fails only when the counter is full, after 2^64 calls: it is never read.
        let _ = sys::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }
}

impl Ready {
    /// Tokens of the descriptors to read from.
    #[must_use]
    pub fn tokens(&self) -> &[u64] {
        self.tokens.get(..self.count).unwrap_or_default()
    }

    /// Whether the descriptor with this token is ready.
    #[must_use]
    pub fn has(&self, token: u64) -> bool {
        self.tokens().contains(&token)
    }

    fn push(&mut self, token: u64) {
        if let Some(slot) = self.tokens.get_mut(self.count) {
            *slot = token;
            self.count += 1;
        }
    }
}

/// A timerfd with an absolute deadline.
#[derive(Debug)]
struct Timer {
    fd: OwnedFd,
}

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // The same fallback as `boottime`, so that both always mean the same clock.
        // SAFETY: no pointers.
        let fd = sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) })
            // SAFETY: no pointers.
            .or_else(|_| sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) }))?;
        Ok(Self { fd })
    }

    fn arm(&self, deadline: Option<u64>) -> io::Result<()> {
        // Zero would disarm it; the first nanosecond after boot is as much in the past.
        let at = deadline.map_or(0, |deadline| deadline.max(1));
        let spec = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                // Fits the 32-bit form as well: 68 years of uptime.
                tv_sec: (at / 1_000_000_000).min(i32::MAX as u64) as _,
                tv_nsec: (at % 1_000_000_000) as _,
            },
        };
        let (fd, absolute) = (self.fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: the pointer is to a live structure; null means that the old value is not wanted.
        sys::check(unsafe { libc::timerfd_settime(fd, absolute, &raw const spec, ptr::null_mut()) }).map(drop)
    }
}
