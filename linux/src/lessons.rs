//! What a thread that sends has learnt about segmentation: to whom, and up to which size, the kernel does it.
//!
//! A size is refused because of the MTU of the route to one address, which anybody may lower who can forge an ICMP
//! message: so it concerns that address alone, as long as there is room for it. A device that cannot do it at all concerns
//! its whole family, and so do small routes to more addresses than there is room for, which are the uplink's then. All is
//! forgotten after a minute. Belongs to one thread, so that there is nothing to share.

use std::net::IpAddr;

/// How long a lesson lasts, in nanoseconds.
const LASTS: u64 = 60_000_000_000;

/// Addresses remembered.
const ADDRESSES: usize = 16;

/// Below the least MTU of IPv6 it is not the size that is refused.
const LEAST_MTU: usize = 1280;

/// What was refused lately.
#[derive(Debug)]
pub(crate) struct Lessons {
    addresses: [Option<(IpAddr, Lesson)>; ADDRESSES],
    /// Of all addresses of IPv4 and of IPv6.
    families: [Lesson; 2],
    /// From then on nothing of all this is in force: then most look-ups end at once.
    over: u64,
    /// When somebody may be told of the next one.
    quiet_until: u64,
}

/// The longest datagram that may be part of a segmented message, and until when that is so.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    limit: usize,
    until: u64,
}

impl Lessons {
    pub(crate) const fn new() -> Self {
        Self { addresses: [None; ADDRESSES], families: [Lesson { limit: 0, until: 0 }; 2], over: 0, quiet_until: 0 }
    }

    /// Whether datagrams of `stride` bytes to this address may be given to the kernel as one message.
    pub(crate) fn allow(&self, to: IpAddr, stride: usize, now: u64) -> bool {
        if now >= self.over {
            return true;
        }
        let [v4, v6] = self.families;
        let own = self.addresses.iter().flatten().filter(|(address, _)| *address == to).map(|(_, lesson)| *lesson);
        own.chain([if to.is_ipv6() { v6 } else { v4 }]).all(|lesson| now >= lesson.until || stride <= lesson.limit)
    }

    /// Notes that the kernel refused to cut datagrams of this size to this address, with this error. `true` if somebody is
    /// to be told: once a minute, whoever is concerned.
    pub(crate) fn refused(&mut self, to: IpAddr, stride: usize, errno: i32, now: u64) -> bool {
        let until = now.saturating_add(LASTS);
        self.over = until;
        // A device that cannot make checksums cuts nothing; else smaller ones may still do.
        let limit = if errno == libc::EIO || stride < LEAST_MTU { 0 } else { stride - 1 };
        let lesson = Lesson { limit, until };
        let place = if errno == libc::EIO { ADDRESSES } else { self.place_of(to, now) };
        match self.addresses.get_mut(place) {
            Some(Some((address, old))) if *address == to => old.learn(lesson, now),
            Some(place) => *place = Some((to, lesson)),
            None => {
                let [v4, v6] = &mut self.families;
                if to.is_ipv6() { v6 } else { v4 }.learn(lesson, now);
            }
        }
        let tell = now >= self.quiet_until;
        if tell {
            self.quiet_until = until;
        }
        tell
    }

    /// Where an address's lesson is or may be: at its place, or in an empty one, or in that of a lesson that is over; past the
    /// end if there is none.
    fn place_of(&self, to: IpAddr, now: u64) -> usize {
        let at = |suits: &dyn Fn(&(IpAddr, Lesson)) -> bool| {
            self.addresses.iter().position(|place| place.as_ref().is_some_and(suits))
        };
        let empty = || self.addresses.iter().position(Option::is_none);
        at(&|held| held.0 == to).or_else(empty).or_else(|| at(&|held| now >= held.1.until)).unwrap_or(ADDRESSES)
    }
}

impl Lesson {
    fn learn(&mut self, new: Self, now: u64) {
        let limit = if now < self.until { self.limit.min(new.limit) } else { new.limit };
        *self = Self { limit, ..new };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const SECOND: u64 = 1_000_000_000;

    fn address(number: u8) -> IpAddr {
        match number % 2 {
            0 => Ipv4Addr::new(192, 0, 2, number).into(),
            _ => Ipv6Addr::from([number; 16]).into(),
        }
    }

    #[test]
    fn sizes_concern_an_address_and_devices_a_family() {
        let mut lessons = Lessons::new();
        let (near, far, v6) = (address(2), address(4), address(3));
        assert!(lessons.refused(near, 1452, libc::EMSGSIZE, SECOND));
        assert!(!lessons.allow(near, 1452, SECOND) && lessons.allow(near, 1451, SECOND));
        assert!(lessons.allow(far, 1452, SECOND) && lessons.allow(v6, 1452, SECOND));
        assert!(!lessons.allow(near, 1452, 61 * SECOND - 1) && lessons.allow(near, 1452, 61 * SECOND));
        // Told of another address only after a minute, and yet remembered.
        assert!(!lessons.refused(far, 100, libc::EINVAL, 60 * SECOND));
        assert!(!lessons.allow(far, 50, 60 * SECOND), "below any MTU it is not the size");
        assert!(lessons.refused(far, 1300, libc::EIO, 61 * SECOND));
        assert!(!lessons.allow(near, 100, 100 * SECOND) && lessons.allow(v6, 1452, 100 * SECOND));
        assert!(lessons.allow(near, 1452, 121 * SECOND));
    }

    /// Against a list of all that was ever refused.
    #[test]
    fn sixteen_addresses_are_remembered_and_more_concern_their_family() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 33) % below
        };
        for round in 0..if cfg!(miri) { 3 } else { 300 } {
            let (mut lessons, mut all, mut now) = (Lessons::new(), Vec::<(IpAddr, usize, i32, u64)>::new(), 0);
            let mut told = Vec::new();
            // Some rounds have more addresses than there is room for, in some much is forgotten.
            let (addresses, pause) = (10 + round % 3 * 8, (1 + round % 5) * SECOND);
            for _ in 0..200 {
                now += next(pause);
                let to = address(next(addresses) as u8);
                if next(2) == 0 {
                    let errno =
                        [libc::EMSGSIZE, libc::EINVAL, libc::EIO][if next(20) == 0 { 2 } else { next(2) as usize }];
                    let stride = 1270 + next(200) as usize;
                    if lessons.refused(to, stride, errno, now) {
                        told.push(now);
                    }
                    all.push((to, stride, errno, now));
                }
                let to = address(next(addresses) as u8);
                let stride = 1270 + next(200) as usize;
                assert_eq!(lessons.allow(to, stride, now), slow(&all, to, stride, now), "{to} {stride} {now} {all:?}");
            }
            assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= 60 * SECOND), "{told:?}");
            assert_eq!(told.first(), all.first().map(|first| &first.3));
        }
    }

    /// Replays the list: who had room, and what holds then.
    fn slow(all: &[(IpAddr, usize, i32, u64)], to: IpAddr, stride: usize, now: u64) -> bool {
        let fresh = |at: u64, now: u64| at + 60 * SECOND > now;
        // Whom each entry concerns: an address, or its family.
        let mut held: Vec<(Result<IpAddr, bool>, usize, u64)> = Vec::new();
        for (address, stride, errno, at) in all {
            held.retain(|one| fresh(one.2, *at));
            let mut addresses: Vec<_> = held.iter().filter_map(|one| one.0.ok()).collect();
            addresses.sort();
            addresses.dedup();
            let has_room = addresses.contains(address) || addresses.len() < 16;
            let whom = if *errno == libc::EIO || !has_room { Err(address.is_ipv4()) } else { Ok(*address) };
            let limit = if *errno == libc::EIO || *stride < 1280 { 0 } else { stride - 1 };
            // What is in force is renewed as a whole.
            for one in held.iter_mut().filter(|one| one.0 == whom) {
                one.2 = *at;
            }
            held.push((whom, limit, *at));
        }
        let concerns = |whom: Result<IpAddr, bool>| whom.map_or_else(|v4| v4 == to.is_ipv4(), |address| address == to);
        held.iter().filter(|one| concerns(one.0) && fresh(one.2, now)).all(|one| stride <= one.1)
    }
}
