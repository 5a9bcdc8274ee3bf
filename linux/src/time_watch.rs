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

/// Nobody sleeps for less than this.
const LEAST: Duration = Duration::from_millis(50);

/// Becomes readable when the calendar jumped, which it also does when the machine wakes up. Non-blocking.
#[derive(Debug)]
pub struct TimeWatch {
    timer: OwnedFd,
    slept: Slept,
}

/// How much of the time since boot was slept, at most: between the readings of two clocks any time may pass.
#[derive(Clone, Copy, Debug)]
pub struct Slept {
    at_most: Duration,
}

/// `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`, and the first one again, read in this order, in nanoseconds.
pub type Reading = [u64; 3];

impl TimeWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn open() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointers.
        let timer = sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, flags) })?;
        let watch = Self { timer, slept: Slept::until(reading()) };
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
        Ok(self.slept.advance(reading()))
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

fn reading() -> Reading {
    [monotonic(), boottime(), monotonic()]
}

impl Slept {
    /// What a reading says.
    #[must_use]
    pub fn until([before, boottime, _]: Reading) -> Self {
        Self { at_most: Duration::from_nanos(boottime.saturating_sub(before)) }
    }

    /// Goes on to another reading, and gives what was certainly slept in between, if that is a sleep.
    pub fn advance(&mut self, reading: Reading) -> Option<Duration> {
        let [_, boottime, after] = reading;
        let at_least = Duration::from_nanos(boottime.saturating_sub(after));
        let slept = at_least.checked_sub(self.at_most).filter(|slept| *slept >= LEAST);
        // The narrowest bound there is, unless the machine slept since.
        let now = Self::until(reading);
        self.at_most = if slept.is_some() { now.at_most } else { self.at_most.min(now.at_most) };
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn sleep_is_what_only_one_clock_counts() {
        let at = |boottime: u64, monotonic: u64| [monotonic, boottime, monotonic];
        let mut slept = Slept::until(at(100 * SECOND, 90 * SECOND));
        assert_eq!(slept.advance(at(200 * SECOND, 190 * SECOND)), None, "awake all the time");
        assert_eq!(slept.advance(at(300 * SECOND, 230 * SECOND)), Some(Duration::from_secs(60)));
        assert_eq!(slept.advance(at(301 * SECOND, 231 * SECOND)), None, "told once");
        assert_eq!(slept.advance(at(311 * SECOND, 240 * SECOND)), Some(Duration::from_secs(1)));
        assert_eq!(slept.advance([0, SECOND, 0]), None);
    }

    #[test]
    fn being_kept_from_the_processor_is_no_sleep() {
        // Up to ten seconds pass between any two readings.
        let mut slept = Slept::until([90 * SECOND, 110 * SECOND, 110 * SECOND]);
        assert_eq!(slept.advance([200 * SECOND, 210 * SECOND, 200 * SECOND]), None);
        assert_eq!(slept.advance([200 * SECOND, 210 * SECOND, 210 * SECOND]), None);
        assert_eq!(slept.advance([210 * SECOND, 220 * SECOND, 210 * SECOND]), None);
        // A sleep within a reading is seen by the next one.
        assert_eq!(slept.advance([220 * SECOND, 290 * SECOND, 280 * SECOND]), None);
        let mut slept = Slept::until([220 * SECOND, 230 * SECOND, 220 * SECOND]);
        assert_eq!(slept.advance([221 * SECOND, 232 * SECOND, 222 * SECOND]), None);
        assert_eq!(slept.advance([223 * SECOND, 293 * SECOND, 223 * SECOND]), Some(Duration::from_secs(60)));
    }

    #[test]
    fn awake() {
        let mut watch = TimeWatch::open().unwrap();
        assert_eq!(watch.read().unwrap(), None);
        // If the date jumped just now, it is quiet after that was read.
        assert_eq!(watch.read().unwrap(), None);
        let nothing = sys::read(watch.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(nothing.raw_os_error(), Some(libc::EAGAIN));
    }
}
