//! Noticing that the machine slept.
//!
//! While it sleeps, `CLOCK_BOOTTIME` goes on and `CLOCK_MONOTONIC` does not, so their difference is the time slept. To look at
//! it just when there is something to see, a timer on `CLOCK_REALTIME` is armed that the kernel cancels whenever that clock
//! jumps, as it does on every resume (`timerfd_resume` in Linux `fs/timerfd.c`; Linux 5.15). It never fires otherwise.
//!
//! Source: timerfd_create(2), clock_gettime(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use crate::clock::{boottime, monotonic};
use crate::sys;

/// Less than this is the time between the reading of two clocks, not a sleep.
const LEAST: Duration = Duration::from_millis(50);

/// Becomes readable when the calendar jumped, which it also does when the machine wakes up. Non-blocking.
#[derive(Debug)]
pub struct TimeWatch {
    timer: OwnedFd,
    slept: Slept,
}

/// How much of the time since boot was slept.
#[derive(Clone, Copy, Debug)]
pub struct Slept(Duration);

impl TimeWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn open() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointers.
        let timer = sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, flags) })?;
        let watch = Self { timer, slept: Slept::until(boottime(), monotonic()) };
        watch.arm()?;
        Ok(watch)
    }

    /// Takes what there is to read, and says for how long the machine slept since the last call; `None` if it did not.
    ///
    /// # Errors
    /// Those of a broken descriptor.
    pub fn read(&mut self) -> io::Result<Option<Duration>> {
        match sys::read(self.timer.as_fd(), &mut [0; 8]) {
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => self.arm()?,
            // The end of time, perhaps: a timer that has fired stays silent.
            Ok(_) => self.arm()?,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        Ok(self.slept.advance(boottime(), monotonic()))
    }

    fn arm(&self) -> io::Result<()> {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // The year 2038 does for 32-bit time as well; a fire then is a jump more.
        let at = libc::timespec { tv_sec: i32::MAX as _, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: zero, it_value: at };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: the pointer is to a live structure; null means that the old value is not wanted.
        sys::check(unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), flags, &raw const spec, ptr::null_mut()) })
            .map(drop)
    }
}

impl AsFd for TimeWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Slept {
    /// From both clocks, in nanoseconds.
    #[must_use]
    pub fn until(boottime: u64, monotonic: u64) -> Self {
        Self(Duration::from_nanos(boottime.saturating_sub(monotonic)))
    }

    /// Goes on to what both clocks say, and gives the difference if it is a sleep.
    pub fn advance(&mut self, boottime: u64, monotonic: u64) -> Option<Duration> {
        let Self(now) = Self::until(boottime, monotonic);
        let more = now.saturating_sub(self.0);
        if more < LEAST {
            return None;
        }
        self.0 = now;
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn sleep_is_what_only_one_clock_counts() {
        let mut slept = Slept::until(100 * SECOND, 90 * SECOND);
        assert_eq!(slept.advance(200 * SECOND, 190 * SECOND), None, "awake all the time");
        assert_eq!(slept.advance(200 * SECOND + 1_000_000, 190 * SECOND), None, "two readings are never simultaneous");
        assert_eq!(slept.advance(300 * SECOND, 230 * SECOND), Some(Duration::from_secs(60)));
        assert_eq!(slept.advance(301 * SECOND, 231 * SECOND), None, "told once");
        assert_eq!(slept.advance(0, SECOND), None);
    }

    #[test]
    fn awake() {
        let mut watch = TimeWatch::open().unwrap();
        assert_eq!(watch.read().unwrap(), None);
        // If the date jumped just now, it is quiet after that was read.
        assert_eq!(watch.read().unwrap(), None);
        assert!(!sys::poll_one(watch.as_fd(), libc::POLLIN, Duration::ZERO).unwrap());
    }
}
