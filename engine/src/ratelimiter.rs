//! How many handshake messages one source address may have processed while we are under load.

use crate::memory::{OutOfMemory, vec_filled};
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
        vec_filled(sets, || Ok([None; WAYS])).map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    fn v4(last: u8) -> Source {
        Source::V4([192, 0, 2, last])
    }

    #[test]
    fn five_at_once_then_one_every_50_ms() {
        let mut buckets = Buckets::new(8).unwrap();
        let mut sent = Vec::new();
        for (ms, tries) in [(0, 6), (50, 2), (150, 3), (199, 1), (200, 2), (10_000, 6)] {
            let passed = (0..tries).filter(|_| buckets.allow(at(ms), 7, v4(1))).count();
            sent.push((ms, passed));
        }
        assert_eq!(sent, [(0, 5), (50, 1), (150, 2), (199, 0), (200, 1), (10_000, 5)]);
    }

    /// The same bucket as one number, the time at which all that was sent is paid for: a message may pass while that
    /// is less than 250 ms ahead of now, itself included.
    #[test]
    fn each_source_spends_as_if_it_were_alone() {
        let mut random = Random::new(8);
        let mut buckets = Buckets::new(64).unwrap();
        let mut paid_until: BTreeMap<u8, u64> = BTreeMap::new();
        let (mut now, mut passed) = (0, 0);
        for _ in 0..200_000 {
            now += match random.below(40) {
                0 => random.below(2_000 * MS),
                1..20 => random.below(10 * MS),
                _ => 0,
            };
            let source = random.below(8) as u8;
            // All in one set, which they fill.
            let allowed = buckets.allow(Instant::from_nanos(now), 3, v4(source));
            let paid = paid_until.entry(source).or_default();
            let next = (*paid).max(now) + 50 * MS;
            assert_eq!(allowed, next - now <= 250 * MS);
            if allowed {
                *paid = next;
                passed += 1;
            }
        }
        assert!(passed > 1000 && passed < 190_000, "{passed}");
    }

    /// Waits between two messages: the ends of what a message costs, of what can be saved, and of a silence.
    const WAITS: [u64; 8] = [0, 1, 50 * MS - 1, 50 * MS, 250 * MS - 1, 250 * MS, 1_000 * MS - 1, 1_000 * MS];

    /// The definition of a bucket of five tokens that gains twenty a second: of every two messages that pass, those between,
    /// themselves included, are at most five and one for every 50 ms from the first to the last.
    fn may_pass(passed: &[u64], now: u64) -> bool {
        passed.iter().rev().zip(2..).all(|(first, messages)| messages * 50 * MS <= 250 * MS + (now - first))
    }

    /// Every sequence of messages of two sources whose places are in one set. Gives how many there were.
    fn every_sequence(table: &[Option<Bucket>; WAYS], now: u64, passed: &[Vec<u64>; 2], depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let mut sequences = 0;
        for wait in WAITS {
            for source in [0_u8, 1] {
                let (now, mut passed) = (now + wait, passed.clone());
                let mut buckets = Buckets(Vec::from([*table]));
                let expected = may_pass(&passed[usize::from(source)], now);
                let allowed = buckets.allow(Instant::from_nanos(now), 0, v4(source));
                assert_eq!(allowed, expected, "{source} at {now} after {passed:?}");
                if allowed {
                    passed[usize::from(source)].push(now);
                }
                sequences += every_sequence(&buckets.0[0], now, &passed, depth - 1);
            }
        }
        sequences
    }

    #[test]
    fn every_sequence_of_five_messages() {
        assert_eq!(every_sequence(&[None; WAYS], 0, &Default::default(), 5), 16_usize.pow(5));
    }

    #[test]
    #[ignore = "a minute with optimisation: scripts/assurance sequences"]
    fn every_sequence_of_seven_messages() {
        assert_eq!(every_sequence(&[None; WAYS], 0, &Default::default(), 7), 16_usize.pow(7));
    }

    /// One source alone, as far as the sixth message in a row and the first after it.
    #[test]
    fn every_sequence_of_seven_messages_of_one_source() {
        fn follow(table: &[Option<Bucket>; WAYS], now: u64, passed: &mut Vec<u64>, depth: usize) {
            for now in WAITS.map(|wait| now + wait) {
                let mut buckets = Buckets(Vec::from([*table]));
                let expected = may_pass(passed, now);
                assert_eq!(buckets.allow(Instant::from_nanos(now), 0, v4(1)), expected, "{now} after {passed:?}");
                passed.extend(expected.then_some(now));
                if depth > 1 {
                    follow(&buckets.0[0], now, passed, depth - 1);
                }
                passed.truncate(passed.len() - usize::from(expected));
            }
        }
        follow(&[None; WAYS], 0, &mut Vec::new(), 7);
    }

    #[test]
    fn a_full_set_refuses_until_somebody_was_silent_for_a_second() {
        let mut buckets = Buckets::new(8).unwrap();
        assert!((0..8).all(|source| buckets.allow(at(0), 0, v4(source))));
        assert!(!buckets.allow(at(0), 0, v4(100)));
        assert!(!buckets.allow(at(999), 0, v4(100)));
        // A source keeps its place by asking, refused or not, and keeps its debts with it.
        assert!((0..7).all(|source| buckets.allow(at(999), 0, v4(source))));
        assert!(buckets.allow(at(1000), 0, v4(100)), "the eighth's place");
        assert!(!buckets.allow(at(1000), 0, v4(101)));
        assert!(!buckets.allow(at(1000), 0, v4(7)));
    }

    #[test]
    fn the_hash_chooses_the_set() {
        let mut buckets = Buckets::new(1000).unwrap();
        assert_eq!(buckets.0.len(), 128);
        for set in 0..128 {
            assert!((0..8).all(|source| buckets.allow(at(0), set, v4(source))));
            assert!(!buckets.allow(at(0), set | 0xdead_0000_0000_0000, v4(9)));
        }
        assert_eq!(Buckets::new(0).unwrap().0.len(), 1);
        assert_eq!(Buckets::new(8).unwrap().0.len(), 1);
        assert_eq!(Buckets::new(9).unwrap().0.len(), 2);
    }

    #[test]
    fn a_clock_set_back_neither_locks_out_nor_pays_twice() {
        let mut buckets = Buckets::new(8).unwrap();
        let now = 100_000;
        assert_eq!((0..9).filter(|_| buckets.allow(at(now), 0, v4(1))).count(), 5);
        // A little: times of several CPUs. Nothing is earned until the latest time is passed by 50 ms.
        assert!(!buckets.allow(at(now - 100), 0, v4(1)));
        assert!(!buckets.allow(at(now), 0, v4(1)));
        assert!(!buckets.allow(at(now - 999), 0, v4(1)));
        assert!(!buckets.allow(at(now + 49), 0, v4(1)));
        assert!(buckets.allow(at(now + 50), 0, v4(1)));
        // A lot: what the entries say means nothing any more.
        assert!((2..9).all(|source| buckets.allow(at(now), 0, v4(source))));
        assert!(!buckets.allow(at(now), 0, v4(9)));
        assert_eq!((0..9).filter(|_| buckets.allow(at(5), 0, v4(1))).count(), 5);
        assert!(buckets.allow(at(5), 0, v4(9)));
        assert!(!buckets.allow(at(5), 0, v4(1)));
        // At the ends of time.
        assert!(buckets.allow(Instant::NEVER, 0, v4(1)));
        assert!(buckets.allow(Instant::ZERO, 0, v4(1)));
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let source = |ip: &str, port| Source::of(&SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(source("192.0.2.1", 1), source("192.0.2.1", 2));
        assert_ne!(source("192.0.2.1", 1), source("192.0.2.2", 1));
        assert_eq!(source("2001:db8:1:2::1", 1), source("2001:db8:1:2:ffff::", 2));
        assert_ne!(source("2001:db8:1:2::1", 1), source("2001:db8:1:3::1", 1));
        assert_eq!(source("::ffff:192.0.2.1", 1), source("192.0.2.1", 1), "one address, not one of a network");
        assert_eq!(Source::of(&(Ipv4Addr::new(1, 2, 3, 4), 5).into()).to_bytes(), [4, 1, 2, 3, 4, 0, 0, 0, 0]);
        let v6 = Source::of(&(Ipv6Addr::new(0x0102, 0x0304, 0, 0, 1, 1, 1, 1), 5).into());
        assert_eq!(v6.to_bytes(), [6, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_ne!(Source::of(&(Ipv4Addr::new(1, 2, 3, 4), 5).into()), v6);
    }
}
