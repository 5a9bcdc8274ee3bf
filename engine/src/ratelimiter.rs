//! How many handshake messages one source address may have processed while we are under load.

use crate::memory::{OutOfMemory, push, vec_of};
use crate::time::{Instant, SECOND};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Time that buys one message: 20 messages a second (kernel, `ratelimiter.c`).
const COST: u64 = SECOND / 20;
/// The most a source can save up: 5 messages at once (kernel, `ratelimiter.c`).
const SAVED: u64 = 5 * COST;
/// An entry nobody used for so long may be given to another source; it has been full for 750 ms of that.
const UNUSED: u64 = SECOND;
/// Places where a source's entry may be.
const WAYS: usize = 8;
/// Largest table: 2^24 entries.
const GREATEST: u32 = 1 << 24;

/// A token bucket per source in a table of fixed size. When all places of a source are taken it is refused, so a
/// flood from many addresses takes no memory and pushes nobody out who is being served.
#[derive(Debug)]
pub(crate) struct Buckets(Vec<[Option<Bucket>; WAYS]>);

/// Who shares one bucket: an IPv4 address, or an IPv6 network of 64 bits (kernel, `ratelimiter.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    source: Source,
    last: Instant,
    tokens: u64,
}

impl Source {
    pub(crate) fn of(address: &SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// What the caller hashes, under a key of its own that no stranger knows.
    pub(crate) const fn to_bytes(self) -> [u8; 9] {
        match self {
            Self::V4([a, b, c, d]) => [4, a, b, c, d, 0, 0, 0, 0],
            Self::V6([a, b, c, d, e, f, g, h]) => [6, a, b, c, d, e, f, g, h],
        }
    }
}

impl Buckets {
    /// A table of at least `entries` entries: the next power of two from 8 on, 2^24 at most.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no room for them, 40 bytes each.
    pub(crate) fn new(entries: u32) -> Result<Self, OutOfMemory> {
        let entries = usize::try_from(entries.min(GREATEST)).map_err(|_| OutOfMemory)?;
        let sets = entries.div_ceil(WAYS).max(1).checked_next_power_of_two().ok_or(OutOfMemory)?;
        let mut table = vec_of(sets)?;
        for _ in 0..sets {
            push(&mut table, [None; WAYS])?;
        }
        Ok(Self(table))
    }

    /// Spends the price of one message of `source`, whose bytes have that keyed `hash`. False if it cannot pay, or
    /// if all its places are taken by others.
    pub(crate) fn allow(&mut self, now: Instant, hash: u64, source: Source) -> bool {
        // The length is a power of two; its low 32 bits are plenty.
        let mask = self.0.len().saturating_sub(1);
        let set = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask;
        let Some(set) = self.0.get_mut(set) else { return false };
        if let Some(bucket) = set.iter_mut().flatten().find(|bucket| bucket.source == source) {
            return bucket.spend(now);
        }
        match set.iter_mut().find(|place| place.is_none_or(|bucket| bucket.is_unused(now))) {
            Some(place) => place.insert(Bucket { source, last: now, tokens: SAVED }).spend(now),
            None => false,
        }
    }
}

impl Bucket {
    fn spend(&mut self, now: Instant) -> bool {
        if self.is_unused(now) {
            *self = Self { last: now, tokens: SAVED, ..*self };
        }
        self.tokens = self.tokens.saturating_add(now.since(self.last)).min(SAVED);
        // Packets may come with slightly older times than the last one; that earns nothing twice.
        self.last = self.last.max(now);
        match self.tokens.checked_sub(COST) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// An entry from more than a second in the future was made before the clock was set back: it means nothing.
    const fn is_unused(&self, now: Instant) -> bool {
        now.since(self.last) >= UNUSED || self.last.since(now) >= UNUSED
    }
}
