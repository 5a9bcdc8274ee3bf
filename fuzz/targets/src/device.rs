//! Two devices, and an input that is a list of what happens to them.

use kerntun_crypto::InsecureFake;
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::packet::Incoming;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::Secret;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};
use kerntun_models::{End, Out};
use std::collections::BTreeSet;

/// Datagrams under way at one time.
const CAPACITY: usize = 16;

type Device = End<UserHost<InsecureFake, SeededEntropy>>;

struct World {
    ends: [Device; 2],
    now: Instant,
    wall: u64,
    lives: u64,
    marks: u32,
    flight: Vec<(usize, Vec<u8>)>,
    counters: BTreeSet<(usize, u64, u32, u64)>,
}

/// Bytes of the input, as numbers.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let (front, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        front.to_vec()
    }
}

/// A schedule of calls with datagrams lost, repeated, changed and made up: nothing panics, locks keep their order, no datagram
/// is both delivered and dropped, and no counter is used twice under a session.
pub fn device(input: &[u8]) {
    let now = Instant::from_nanos(1_000_000_000_000);
    let ends = [end(0, 0, now), end(1, 0, now)];
    let (wall, flight, counters) = (1_800_000_000, Vec::new(), BTreeSet::new());
    let mut world = World { ends, now, wall, lives: 0, marks: 0, flight, counters };
    world.introduce(0);
    world.introduce(1);
    let mut script = Script(input);
    for _ in 0..400 {
        if world.step(&mut script).is_none() {
            break;
        }
    }
}

fn end(number: u8, life: u64, now: Instant) -> Device {
    End::new(UserHost::with_entropy(InsecureFake, SeededEntropy::new(life * 2 + u64::from(number))), number + 1, now)
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let what = script.byte()?;
        let end = what & 1;
        match what >> 1 & 0xf {
            0 | 1 => {
                self.marks += 1;
                let packet = self.ends[end].packet(self.marks);
                self.call(end, |device, now, out| device.send(now, packet, out));
            }
            2..=4 => {
                if let Some(at) = self.choose(script)? {
                    let (end, bytes) = self.flight.remove(at);
                    self.receive(end, &bytes);
                }
            }
            5 => {
                if let Some(at) = self.choose(script)? {
                    let (end, bytes) = self.flight[at].clone();
                    self.receive(end, &bytes);
                }
            }
            6 => {
                if let Some(at) = self.choose(script)? {
                    self.flight.remove(at);
                }
            }
            7 => {
                let (at, bit) = (script.byte()?, script.byte()?);
                if let Some((_, bytes)) = self.flight.last_mut() {
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << (bit & 7);
                }
            }
            8 => {
                let bytes = script.take(what >> 1);
                self.receive(end, &bytes);
            }
            9 => {
                if let Some(next) = self.ends[end].device.next_deadline() {
                    self.now = self.now.max(next.at);
                }
                self.expire();
            }
            10 => {
                self.now = self.now.after(script.byte()? as u64 * 1_000_000_000);
                self.expire();
            }
            11 => self.wall = self.wall.saturating_add_signed(script.byte()? as i64 * 10 - 1280),
            12 => {
                self.lives += 1;
                self.ends[end] = self::end(end as u8, self.lives, self.now);
                self.introduce(end);
            }
            13 => {
                let key = self.ends[1 - end].device.public_key()?;
                let change = PeerChange { remove: true, ..PeerChange::new(key) };
                self.ends[end].change(self.now, Change { peers: &[change], ..Change::default() });
            }
            14 => self.introduce(end),
            _ => match script.byte()? % 4 {
                0 => self.ends[end].device.configure(|configuration| configuration.down()),
                1 => drop(self.ends[end].device.configure(|configuration| configuration.up(self.now))),
                2 => self.ends[end].device.configure(|configuration| configuration.forget_sessions()),
                _ => {
                    let key = self.ends[1 - end].device.public_key()?;
                    let preshared = Secret::new([script.byte()? as u8 & 1; 32]);
                    let change = PeerChange { preshared_key: Some(preshared), ..PeerChange::new(key) };
                    self.ends[end].change(self.now, Change { peers: &[change], ..Change::default() });
                }
            },
        }
        Some(())
    }

    /// One of the datagrams under way; the inner `None` if there is none.
    fn choose(&self, script: &mut Script<'_>) -> Option<Option<usize>> {
        let at = script.byte()?;
        Some(at.checked_rem(self.flight.len()))
    }

    fn introduce(&self, end: usize) {
        if let Some(key) = self.ends[1 - end].device.public_key() {
            self.ends[end].meet(self.now, key, None);
        }
    }

    fn expire(&mut self) {
        let wall = Wall { seconds: self.wall, nanos: 0 };
        for end in 0..2 {
            self.call(end, |device, now, out| device.expire(now, wall, out));
        }
    }

    fn receive(&mut self, end: usize, bytes: &[u8]) {
        let before = self.drops(end);
        let delivered = self.call(end, |device, now, out| device.receive(now, bytes, out));
        let dropped = self.drops(end) - before;
        assert!(delivered + dropped <= 1, "one datagram is delivered {delivered} times and dropped {dropped} times");
    }

    fn drops(&self, end: usize) -> usize {
        Reason::ALL.iter().map(|reason| self.ends[end].device.drops(*reason)).sum()
    }

    /// Makes a call, takes up what came out, and gives how many packets were delivered.
    fn call(&mut self, end: usize, call: impl FnOnce(&Device, Instant, &mut Out)) -> usize {
        let mut out = Out::default();
        call(&self.ends[end], self.now, &mut out);
        for datagram in out.sent {
            let header = datagram.first_chunk().and_then(|header| Incoming::new(header, datagram.len(), 0));
            if let Some(header) = header {
                let of = (end, self.lives, header.receiver(), header.counter());
                assert!(self.counters.insert(of), "counter {} is used twice", header.counter());
            }
            if self.flight.len() < CAPACITY {
                self.flight.push((1 - end, datagram));
            }
        }
        out.delivered.len()
    }
}
