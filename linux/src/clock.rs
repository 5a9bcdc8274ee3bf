//! The clocks: one for durations that counts sleep, one that does not, one for the date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since boot, time asleep included (`CLOCK_BOOTTIME`), so that sessions age while a laptop is closed.
///
/// Falls back to `CLOCK_MONOTONIC` where the kernel refuses the first one; zero if it refuses both, which no Linux does.
#[must_use]
pub fn boottime() -> u64 {
    [libc::CLOCK_BOOTTIME, libc::CLOCK_MONOTONIC].into_iter().find_map(read_clock).unwrap_or(0)
}

/// Nanoseconds since boot, time asleep not included (`CLOCK_MONOTONIC`); zero if the kernel refuses, which no Linux does.
#[must_use]
pub fn monotonic() -> u64 {
    read_clock(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// The date, as time since 1970-01-01 UTC; zero if the clock stands before that.
#[must_use]
pub fn realtime() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn read_clock(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}
