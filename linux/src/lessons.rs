//! What a thread that sends has learnt about segmentation: to whom, and up to which size, the kernel does it.
//!
//! A size is refused because of the MTU of the route to one address, which anybody may lower who can forge an ICMP
//! message: so it concerns that address alone. A device that cannot do it at all concerns its whole family. Both are
//! forgotten after a minute. Belongs to one thread, so that there is nothing to share.

use std::net::IpAddr;

/// How long a lesson lasts, in nanoseconds.
const LASTS: u64 = 60_000_000_000;

/// Addresses remembered; one more takes the place of the one refused longest ago.
const ADDRESSES: usize = 16;

/// Below the least MTU of IPv6 it is not the size that is refused.
const LEAST_MTU: usize = 1280;

/// What was refused lately.
#[derive(Debug)]
pub(crate) struct Lessons {
    sizes: [Option<Size>; ADDRESSES],
    /// Until when no size works towards IPv4 and IPv6.
    no_device: [u64; 2],
    /// From then on nothing of all this is in force: then most look-ups end at once.
    over: u64,
    /// When somebody may be told of the next one.
    quiet_until: u64,
}

/// What an address takes.
#[derive(Clone, Copy, Debug)]
struct Size {
    to: IpAddr,
    /// The longest datagram that may be part of a segmented message.
    limit: usize,
    until: u64,
}

impl Lessons {
    pub(crate) const fn new() -> Self {
        Self { sizes: [None; ADDRESSES], no_device: [0; 2], over: 0, quiet_until: 0 }
    }

    /// Whether datagrams of `stride` bytes to this address may be given to the kernel as one message.
    pub(crate) fn allow(&self, to: IpAddr, stride: usize, now: u64) -> bool {
        if now >= self.over {
            return true;
        }
        let [v4, v6] = self.no_device;
        now >= if to.is_ipv6() { v6 } else { v4 }
            && self.sizes.iter().flatten().all(|size| size.to != to || now >= size.until || stride <= size.limit)
    }

    /// Notes that the kernel refused to cut datagrams of this size to this address, with this error. `true` if somebody is
    /// to be told: once a minute, whoever is concerned, as there may be more addresses than there is room for.
    pub(crate) fn refused(&mut self, to: IpAddr, stride: usize, errno: i32, now: u64) -> bool {
        let until = now.saturating_add(LASTS);
        self.over = until;
        if errno == libc::EIO {
            // It cannot make checksums.
            let [v4, v6] = &mut self.no_device;
            *(if to.is_ipv6() { v6 } else { v4 }) = until;
        } else {
            // Smaller ones may still do.
            let limit = if stride < LEAST_MTU { 0 } else { stride - 1 };
            self.remember(Size { to, limit, until }, now);
        }
        let tell = now >= self.quiet_until;
        if tell {
            self.quiet_until = until;
        }
        tell
    }

    fn remember(&mut self, mut size: Size, now: u64) {
        // That of the address, or else an empty one, or else the oldest.
        let rank =
            |place: &Option<Size>| place.map_or((1, 0), |old| if old.to == size.to { (0, 0) } else { (2, old.until) });
        let Some(place) = self.sizes.iter_mut().min_by_key(|place| rank(place)) else { return };
        if let Some(old) = place.filter(|old| old.to == size.to && now < old.until) {
            size.limit = size.limit.min(old.limit);
        }
        *place = Some(size);
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
    fn the_last_sixteen_addresses_are_remembered() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 33) % below
        };
        for round in 0..if cfg!(miri) { 3 } else { 300 } {
            let (mut lessons, mut all, mut now) = (Lessons::new(), Vec::<(IpAddr, usize, i32, u64)>::new(), 0);
            let mut told = Vec::new();
            // Some rounds have more addresses than there is room for.
            let addresses = 10 + round % 3 * 8;
            for _ in 0..200 {
                // At different times, so that it is clear who is the oldest.
                now += 1 + next(5 * SECOND);
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

    fn slow(all: &[(IpAddr, usize, i32, u64)], to: IpAddr, stride: usize, now: u64) -> bool {
        let fresh = |at: u64| at + 60 * SECOND > now;
        if all.iter().any(|(other, _, errno, at)| *errno == libc::EIO && fresh(*at) && other.is_ipv4() == to.is_ipv4())
        {
            return false;
        }
        // The history of an address begins anew when it was forgotten: after a minute, or for sixteen others.
        let mut limit = usize::MAX;
        let mut last = None;
        for (number, (other, stride, errno, at)) in all.iter().enumerate() {
            if *errno == libc::EIO {
                continue;
            }
            if other != &to {
                continue;
            }
            if let Some((before, then)) = last {
                let mut between: Vec<_> =
                    all[before..number].iter().filter(|one| one.2 != libc::EIO).map(|one| one.0).collect();
                between.sort();
                between.dedup();
                if then + 60 * SECOND <= *at || between.len() > 16 {
                    limit = usize::MAX;
                }
            }
            limit = limit.min(if *stride < 1280 { 0 } else { stride - 1 });
            last = Some((number, *at));
        }
        let Some((before, then)) = last else { return true };
        let mut since: Vec<_> = all[before..].iter().filter(|one| one.2 != libc::EIO).map(|one| one.0).collect();
        since.sort();
        since.dedup();
        !fresh(then) || since.len() > 16 || stride <= limit
    }
}
