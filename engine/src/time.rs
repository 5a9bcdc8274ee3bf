//! Time as an argument: the engine has no clock.

use core::num::NonZeroU64;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// A point on the host's monotonic clock, in nanoseconds since an origin of the host's choice.
///
/// The clock must count the time the machine sleeps (`CLOCK_BOOTTIME` on Linux), or keys outlive
/// their limit across a suspend. It may jump forward; all arithmetic saturates, so that a clock that steps back
/// delays an event and never breaks one. Times from 2^64 - 2 ns on, in 584 years, are [`Instant::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the nanoseconds, so that an optional instant takes no more memory: each peer has several.
    NonZeroU64,
);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// Later than every event: "never", as a deadline.
    pub const NEVER: Self = Self(NonZeroU64::MAX);

    /// The instant `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get().saturating_sub(1)
    }

    /// The instant `nanos` nanoseconds later, or [`Instant::NEVER`] past the end of time.
    #[must_use]
    pub const fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to `self`, zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// Whether at least `nanos` nanoseconds have passed between `self` and `now`.
    #[must_use]
    pub const fn has_passed(self, nanos: u64, now: Self) -> bool {
        now.0.get() >= self.0.saturating_add(nanos).get()
    }
}

/// The calendar time of the host: seconds and nanoseconds since the Unix epoch, UTC.
///
/// Used for the timestamp of initiations and for what people read as "latest handshake"; no limit depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: u64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

/// A TAI64N label as initiations carry it: eight bytes of seconds, four of nanoseconds, big endian, so that
/// comparing the bytes compares the times (paper, section 5.1 and 5.4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tai64n([u8; 12]);

impl Tai64n {
    /// Smaller than every label a peer can send.
    pub const ZERO: Self = Self([0; 12]);

    /// Label of second zero of the Unix epoch; TAI was 10 s ahead of UTC then. The kernel and wireguard-go use
    /// this base; a peer that counts leap seconds (+37) is ahead of it by 27 s.
    const EPOCH: u64 = (1 << 62) + 10;

    /// Initiations say no more about the clock than steps of 2^24 ns (16.8 ms), like the kernel
    /// (`noise.c`, `tai64n_now`).
    const WHITENING: u32 = (1 << 24) - 1;

    /// The label of `wall`, whitened. More nanoseconds than a second has are the last ones of it.
    #[must_use]
    pub fn from_wall(wall: Wall) -> Self {
        Self::from_parts(Self::EPOCH.saturating_add(wall.seconds), wall.nanos.min(999_999_999) & !Self::WHITENING)
    }

    /// A label from its twelve bytes on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The twelve bytes on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// The smallest whitened label greater than `self`.
    #[must_use]
    pub fn next(self) -> Self {
        let (seconds, nanos) = self.parts();
        match (nanos & !Self::WHITENING).checked_add(Self::WHITENING + 1) {
            Some(nanos) if nanos < 1_000_000_000 => Self::from_parts(seconds, nanos),
            _ => Self::from_parts(seconds.saturating_add(1), 0),
        }
    }

    /// The Unix time of the label, as far as it has one.
    #[must_use]
    pub fn to_wall(self) -> Wall {
        let (seconds, nanos) = self.parts();
        Wall { seconds: seconds.saturating_sub(Self::EPOCH), nanos }
    }

    fn from_parts(seconds: u64, nanos: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = seconds.to_be_bytes();
        let [i, j, k, l] = nanos.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    fn parts(self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_known_time() {
        // 2^62 + 10 + 1,700,000,000 seconds; 999,999,999 ns whitened to a multiple of 16,777,216.
        let label = Tai64n::from_wall(Wall { seconds: 1_700_000_000, nanos: 999_999_999 });
        assert_eq!(label.as_bytes()[..8], 4_611_686_020_127_387_914_u64.to_be_bytes());
        assert_eq!(label.as_bytes()[8..], 989_855_744_u32.to_be_bytes());
        assert_eq!(Tai64n::from_wall(Wall { seconds: 1_700_000_000, nanos: u32::MAX }), label);
    }

    #[test]
    fn the_next_label_is_greater_and_whitened() {
        let mut label = Tai64n::from_wall(Wall { seconds: 5, nanos: 0 });
        for _ in 0..200 {
            let next = label.next();
            assert!(next > label);
            assert_eq!(next.parts().1 % 16_777_216, 0);
            assert!(next.parts().1 < 1_000_000_000);
            label = next;
        }
        assert!(label.to_wall().seconds >= 8);
    }

    #[test]
    fn instants_saturate() {
        assert_eq!(Instant::NEVER.after(1), Instant::NEVER);
        assert_eq!(Instant::ZERO.since(Instant::from_nanos(5)), 0);
        assert!(!Instant::NEVER.has_passed(1, Instant::from_nanos(u64::MAX - 2)));
        assert_eq!(Instant::from_nanos(u64::MAX - 2).as_nanos(), u64::MAX - 2);
        assert_eq!(Instant::from_nanos(u64::MAX - 1), Instant::NEVER);
        assert_eq!(Instant::ZERO.as_nanos(), 0);
    }
}
