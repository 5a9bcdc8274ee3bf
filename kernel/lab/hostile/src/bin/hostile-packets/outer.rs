//! Hostile datagrams for the tunnel's port, and odd shapes for honest ones.

use crate::relay::Relay;
use crate::tally::Tally;
use kerntun_hostile::packet::{Datagram, Offload, Tap};
use kerntun_interop::random::Random;
use std::io;

const PORT: u16 = 1111;
const UDP: u8 = 17;
const IP_AT: usize = 14;

pub(crate) struct Outer {
    random: Random,
    pub(crate) tally: Tally,
    pub(crate) reshaped: u64,
    /// The next length to which a remembered datagram is cut.
    cut: usize,
}

impl Outer {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, tally: Tally::new("in "), reshaped: 0, cut: 0 }
    }

    /// Hands over an honest datagram so that it is still what it was: in fragments, with a checksum left to be verified, in two IP fragments.
    pub(crate) fn reshape(&mut self, to: &Tap, datagram: &Datagram) {
        self.reshaped += 1;
        let frame = datagram.frame();
        let _ = match self.random.below(8) {
            0 => to.write(Offload::default(), &frame),
            1 => to.write(Offload { flags: 2, ..Offload::default() }, &frame),
            2 => self.in_ip_fragments(to, datagram, true),
            3 => to.write_in_fragments(Offload::default(), &frame, IP_AT, &[]),
            _ => self.in_fragments(to, Offload::default(), &frame),
        };
    }

    /// Sends one hostile datagram or train of them.
    pub(crate) fn inject(&mut self, relay: &Relay) {
        let Some(newest) = relay.seen.back() else { return };
        // Now and then only the newest will do: its session is the current one.
        let remembered =
            if self.random.below(2) == 0 { newest } else { &relay.seen[self.random.below(relay.seen.len())] };
        let (kind, result) = self.one(&relay.a, remembered.clone());
        self.tally.count(kind, &result);
    }

    fn one(&mut self, to: &Tap, mut datagram: Datagram) -> (&'static str, io::Result<()>) {
        let len = datagram.payload.len();
        let kind = match self.random.below(18) {
            0 => {
                let len = self.random.below(2000);
                datagram.payload = self.random.bytes(len);
                "noise"
            }
            1 | 2 => {
                self.flip(&mut datagram.payload);
                "bits flipped"
            }
            3 | 4 => {
                self.cut += 1;
                datagram.payload.truncate(self.cut % (len + 1));
                "cut short"
            }
            5 => {
                let most = if self.random.below(4) == 0 { 65_000 } else { 3000 };
                let more = self.random.below(most);
                datagram.payload.extend(self.random.bytes(more));
                "lengthened"
            }
            6 => "again",
            7 => {
                let header = self.random.bytes(4);
                let changed = self.random.below(4) + 1;
                datagram.payload.iter_mut().zip(header).take(changed).for_each(|(to, from)| *to = from);
                "type changed"
            }
            8 => {
                // A message of each type and its length, with nothing right behind the type.
                let (kind, len) = *self.random.pick(&[(1, 148), (2, 92), (3, 64), (4, 32), (4, 48), (4, 1452)]);
                datagram.payload = self.random.bytes(len);
                datagram.payload[..4].copy_from_slice(&[kind, 0, 0, 0]);
                "right type and length"
            }
            9 => {
                datagram.payload.clear();
                "empty"
            }
            10 => return ("checksum wrong, or none", self.bad_checksum(to, &datagram)),
            11 => return ("length wrong", self.bad_length(to, &datagram)),
            12 => return ("IP fragments, good and bad", self.in_ip_fragments(to, &datagram, false)),
            13 => return ("IP options, extension headers", self.with_options(to, &datagram)),
            14 => return ("trains", self.train(to, &datagram)),
            15 => return ("unfinished checksum anywhere", self.unfinished(to, &datagram)),
            16 => return ("headers of noise", self.bad_headers(to, &datagram)),
            _ => return ("many at once", self.burst(to, datagram)),
        };
        (kind, self.in_any_shape(to, &datagram.frame()))
    }

    fn in_any_shape(&mut self, to: &Tap, frame: &[u8]) -> io::Result<()> {
        if self.random.below(2) == 0 {
            to.write(Offload::default(), frame)
        } else {
            self.in_fragments(to, Offload::default(), frame)
        }
    }

    fn in_fragments(&mut self, to: &Tap, offload: Offload, frame: &[u8]) -> io::Result<()> {
        let first = IP_AT + self.random.below(100);
        let parts = self.random.below(12);
        let mut ends: Vec<usize> = (0..parts).map(|_| self.random.below(frame.len() + 1)).collect();
        ends.sort_unstable();
        to.write_in_fragments(offload, frame, first, &ends)
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        for _ in 0..=self.random.below(4) {
            // Headers decide most.
            let range = if self.random.below(2) == 0 { bytes.len().min(16) } else { bytes.len() };
            bytes[self.random.below(range)] ^= 1 << self.random.below(8);
        }
    }

    fn bad_checksum(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let mut frame = datagram.frame();
        let at = IP_AT + datagram.ip.len() + 6;
        let sum = if self.random.below(2) == 0 { vec![0; 2] } else { self.random.bytes(2) };
        frame[at..at + 2].copy_from_slice(&sum);
        self.in_any_shape(to, &frame)
    }

    fn bad_length(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let mut frame = datagram.frame();
        let at = if self.random.below(2) == 0 {
            IP_AT + datagram.ip.len() + 4
        } else {
            IP_AT + if datagram.v6 { 4 } else { 2 }
        };
        let len = match self.random.below(3) {
            0 => self.random.below(12),
            1 => self.random.below(frame.len()),
            _ => self.random.below(65536),
        };
        frame[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        let more = self.random.below(40);
        frame.extend(self.random.bytes(more));
        self.in_any_shape(to, &frame)
    }

    /// Two to five fragments; unless they are to be good, some overlap, are missing, or come twice.
    fn in_ip_fragments(&mut self, to: &Tap, datagram: &Datagram, good: bool) -> io::Result<()> {
        let udp = datagram.udp();
        let pieces = 2 + self.random.below(4);
        let size = (udp.len() / pieces).next_multiple_of(8).max(8);
        let id = self.random.bytes(4);
        let mut at = 0;
        while at < udp.len() {
            let end = (at + size).min(udp.len());
            let (begin, mut end, mut last) = (at, end, end == udp.len());
            at = end;
            if !good {
                match self.random.below(10) {
                    0 => continue,
                    1 => last = !last,
                    2 => end = (end + 8 * self.random.below(4)).min(udp.len()),
                    3 => at = begin + (end - begin) / 2 / 8 * 8 + 8,
                    _ => {}
                }
            }
            let frame = fragment(datagram, &udp[begin..end], begin, last, &id);
            self.in_any_shape(to, &frame)?;
        }
        Ok(())
    }

    fn with_options(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let mut extended = datagram.clone();
        let mut between = Vec::new();
        if datagram.v6 {
            // Hop-by-hop options (0), routing (43), fragment (44), destination options (60), nothing behind (59), unknown (253).
            let chain: Vec<u8> =
                (0..=self.random.below(4)).map(|_| *self.random.pick(&[0, 43, 44, 60, 59, 253])).collect();
            extended.ip[6] = chain[0];
            for next in chain.iter().skip(1).chain([&UDP]) {
                let len = self.random.below(3);
                let mut header = self.random.bytes(8 + 8 * len);
                // A jumbogram's option, or padding, or noise.
                match self.random.below(3) {
                    0 => header[2..8].copy_from_slice(&[0xc2, 4, 0, 1, 0, 0]),
                    1 => header[2..8].copy_from_slice(&[1, 4, 0, 0, 0, 0]),
                    _ => {}
                }
                header[..2].copy_from_slice(&[*next, len as u8]);
                between.extend(header);
            }
        } else {
            let words = 1 + self.random.below(10);
            extended.ip[0] = 0x45 + words as u8;
            let fill = *self.random.pick(&[0, 1, 7, 68, 130, 131, 148]);
            extended.ip.extend(vec![fill; words * 4]);
        }
        let udp = datagram.udp();
        let frame = [&extended.ethernet[..], &extended.ip_for(between.len() + udp.len()), &between, &udp].concat();
        self.in_any_shape(to, &frame)
    }

    /// One long datagram that says it is many.
    fn train(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let mut long = datagram.clone();
        let copies = 1 + self.random.below(40);
        long.payload = datagram.payload.repeat(copies);
        long.payload.truncate(65_400);
        let len = match self.random.below(4) {
            0 => self.random.below(65536),
            1 => self.random.below(20),
            _ => datagram.payload.len(),
        };
        let offload = Offload {
            flags: self.random.below(4) as u8,
            kind: *self.random.pick(&[5, 5, 5, 3, 1, 4, 0x85]),
            header_len: *self.random.pick(&[42, 62, 0, 14, 1000]),
            segment_len: len as u16,
            checksum_start: if self.random.below(4) == 0 { self.random.below(200) } else { IP_AT + datagram.ip.len() }
                as u16,
            checksum_offset: 6,
        };
        if self.random.below(2) == 0 {
            to.write(offload, &long.frame())
        } else {
            self.in_fragments(to, offload, &long.frame())
        }
    }

    fn unfinished(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let frame = datagram.frame();
        let range = frame.len() + 20;
        let place = |random: &mut Random| if random.below(2) == 0 { random.below(range) } else { IP_AT + datagram.ip.len() } as u16;
        let offload = Offload {
            flags: 1,
            checksum_start: place(&mut self.random),
            checksum_offset: *self.random.pick(&[6, 6, 0, 16, 1000, 65535]),
            ..Offload::default()
        };
        if self.random.below(2) == 0 { to.write(offload, &frame) } else { self.in_fragments(to, offload, &frame) }
    }

    fn bad_headers(&mut self, to: &Tap, datagram: &Datagram) -> io::Result<()> {
        let mut frame = datagram.frame();
        for _ in 0..=self.random.below(3) {
            // The address stays, so that it gets as far as it can.
            let at = 12 + self.random.below(frame.len().min(70) - 12);
            frame[at] = self.random.bits() as u8;
        }
        frame.truncate(14 + self.random.below(frame.len() - 13));
        self.in_any_shape(to, &frame)
    }

    /// What GRO joins: one flow, one length, one behind the other.
    fn burst(&mut self, to: &Tap, mut datagram: Datagram) -> io::Result<()> {
        datagram.destination_port = PORT;
        for _ in 0..8 + self.random.below(24) {
            if let Some(counter) = datagram.payload.get_mut(8..12) {
                counter.copy_from_slice(&(self.random.bits() as u32).to_le_bytes());
            }
            to.write_in_fragments(Offload::default(), &datagram.frame(), 14 + datagram.ip.len() + 8, &[])?;
        }
        Ok(())
    }
}

/// A frame with a fragment of a datagram that begins at `at`.
fn fragment(datagram: &Datagram, piece: &[u8], at: usize, last: bool, id: &[u8]) -> Vec<u8> {
    let place = (at as u16) & !7;
    let mut whole = datagram.clone();
    if datagram.v6 {
        whole.ip[6] = 44;
        let header = [&[UDP, 0][..], &(place | u16::from(!last)).to_be_bytes(), id].concat();
        return [&whole.ethernet[..], &whole.ip_for(header.len() + piece.len()), &header, piece].concat();
    }
    whole.ip[4..6].copy_from_slice(&id[..2]);
    whole.ip[6..8].copy_from_slice(&((place / 8) | if last { 0 } else { 0x2000 }).to_be_bytes());
    [&whole.ethernet[..], &whole.ip_for(piece.len()), piece].concat()
}
