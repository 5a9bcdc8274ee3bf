//! Hostile packets for the tunnel's interface.

use crate::tally::Tally;
use kerntun_hostile::packet::{Datagram, Offload, PacketSocket, Tap, checksum};
use kerntun_interop::random::Random;
use std::io;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HERE: [u8; 4] = [10, 77, 0, 1];
const THERE: [u8; 4] = [10, 77, 0, 2];

pub(crate) struct Inner {
    random: Random,
    socket: PacketSocket,
    hole: Tap,
    pub(crate) tally: Tally,
    /// The next length to which a good packet is cut.
    cut: usize,
}

impl Inner {
    /// `hole` is an interface whose packets go straight to the tunnel's.
    pub(crate) fn new(random: Random, socket: PacketSocket, hole: Tap) -> Self {
        Self { random, socket, hole, tally: Tally::new("out"), cut: 0 }
    }

    /// Sends one hostile packet.
    pub(crate) fn inject(&mut self) {
        let (kind, result) = self.one();
        self.tally.count(kind, &result);
    }

    /// Sends a good packet of IPv4 of which the sender says no protocol, and which has its header outside its linear part.
    pub(crate) fn no_protocol(&mut self) -> io::Result<()> {
        let len = 4096 + self.random.below(4000);
        let packet = self.good4(UDP, len);
        // From a page on, what is said to be header is all that is linear.
        self.socket.send(Offload { header_len: 1, ..Offload::default() }, 0, &packet)
    }

    fn one(&mut self) -> (&'static str, io::Result<()>) {
        let none = Offload::default();
        match self.random.below(11) {
            0 => {
                let len = self.random.below(1500);
                let noise = self.random.bytes(len);
                let protocol = *self.random.pick(&[IPV4, IPV6, 0, 0x0806, 0xffff]);
                ("noise", self.send(none, protocol, &noise))
            }
            1 | 2 => {
                let (protocol, mut packet) = self.good(100);
                self.cut += 1;
                packet.truncate(self.cut % 101);
                ("cut short", self.send(none, protocol, &packet))
            }
            3 => {
                let (protocol, mut packet) = self.good(200);
                packet[0] = self.random.bits() as u8;
                ("any version and header length", self.send(none, protocol, &packet))
            }
            4 => {
                let (protocol, mut packet) = self.good(200);
                let at = if protocol == IPV4 { 2 } else { 4 };
                let len = self.random.bytes(2);
                packet[at..at + 2].copy_from_slice(&len);
                ("any length field", self.send(none, protocol, &packet))
            }
            5 => {
                let (protocol, packet) = self.good(100);
                ("another protocol than it has", self.send(none, if protocol == IPV4 { IPV6 } else { IPV4 }, &packet))
            }
            6 => {
                let len = 1400 + self.random.below(64_000);
                let (protocol, packet) = self.good(len);
                ("longer than the interface's", self.send(none, protocol, &packet))
            }
            7 => {
                let (protocol, packet) = self.good(300);
                let offload = Offload {
                    flags: 1,
                    checksum_start: self.random.below(packet.len() + 10) as u16,
                    checksum_offset: *self.random.pick(&[6, 16, 0, 300, 65535]),
                    ..Offload::default()
                };
                ("unfinished checksum anywhere", self.send(offload, protocol, &packet))
            }
            8 => {
                let len = 1 + self.random.below(65_000);
                let (protocol, packet) = self.good(len);
                ("super-packets of nonsense", self.nonsense(protocol, &packet))
            }
            9 => ("no protocol, no linear header", self.no_protocol()),
            _ => ("super-packets of tiny segments", self.tiny_segments()),
        }
    }

    /// By the packet socket, or by the hole in one piece or in fragments.
    fn send(&mut self, offload: Offload, protocol: u16, packet: &[u8]) -> io::Result<()> {
        let way = self.random.below(3);
        if way == 0 {
            return self.socket.send(offload, protocol, packet);
        }
        // Addresses of Ethernet do not matter: it is redirected before anybody looks.
        let frame = [&[2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8][..], &protocol.to_be_bytes(), packet].concat();
        let offload = Offload { checksum_start: offload.checksum_start.saturating_add(14), ..offload };
        if way == 1 {
            return self.hole.write(offload, &frame);
        }
        let first = 14 + self.random.below(60);
        let step = 1 + self.random.below(4000);
        let ends: Vec<usize> = (1..12).map(|number| first + number * step).collect();
        self.hole.write_in_fragments(offload, &frame, first, &ends)
    }

    /// A packet of at least a header to the other end, complete, of one of the families and protocols.
    fn good(&mut self, len: usize) -> (u16, Vec<u8>) {
        let protocol = *self.random.pick(&[TCP, UDP]);
        if self.random.below(3) == 0 { (IPV6, self.good6(protocol, len)) } else { (IPV4, self.good4(protocol, len)) }
    }

    fn good4(&mut self, protocol: u8, len: usize) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        ip.extend([HERE, THERE].concat());
        // Now and then to nobody.
        if self.random.below(16) == 0 {
            ip[19] = 99;
        }
        self.packet(false, ip, protocol, len.saturating_sub(20))
    }

    fn good6(&mut self, protocol: u8, len: usize) -> Vec<u8> {
        let mut ip = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        for last in [1, 2] {
            ip.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        self.packet(true, ip, protocol, len.saturating_sub(40))
    }

    fn packet(&mut self, v6: bool, ip: Vec<u8>, protocol: u8, len: usize) -> Vec<u8> {
        let payload = self.random.bytes(len);
        let datagram = Datagram { v6, ethernet: [0; 14], ip, source_port: 9, destination_port: 9, payload };
        if protocol == UDP {
            return datagram.packet();
        }
        let tcp = tcp(&datagram);
        [&datagram.ip_for(tcp.len())[..], &tcp].concat()
    }

    /// A super-packet none of whose numbers need to fit.
    fn nonsense(&mut self, protocol: u16, packet: &[u8]) -> io::Result<()> {
        let header = if protocol == IPV4 { 20 } else { 40 };
        let mut number = |good: usize| if self.random.below(2) == 0 { good as u16 } else { self.random.bits() as u16 };
        let offload = Offload {
            flags: 1,
            header_len: number(header + 20),
            segment_len: number(1000),
            checksum_start: number(header),
            checksum_offset: number(16),
            kind: *self.random.pick(&[1, 3, 4, 5, 0x81, 0x84, 2, 0x7f]),
        };
        self.send(offload, protocol, packet)
    }

    /// TCP whose segments are a few bytes each: thousands of packets at once.
    fn tiny_segments(&mut self) -> io::Result<()> {
        let most = if self.random.below(8) == 0 { 60_000 } else { 8000 };
        let len = 1000 + self.random.below(most);
        let v6 = self.random.below(2) == 0;
        let packet = if v6 { self.good6(TCP, len) } else { self.good4(TCP, len) };
        let header = if v6 { 40 } else { 20 };
        let offload = Offload {
            flags: 1,
            kind: if v6 { 4 } else { 1 },
            header_len: header + 20,
            segment_len: *self.random.pick(&[1, 2, 8, 100, 536, 1400, 9000]),
            checksum_start: header,
            checksum_offset: 16,
        };
        self.send(offload, if v6 { IPV6 } else { IPV4 }, &packet)
    }
}

/// A TCP segment with the datagram's ports, whose checksum is that of the addresses only, as it is when an interface is to finish it.
fn tcp(datagram: &Datagram) -> Vec<u8> {
    let ports = [datagram.source_port.to_be_bytes(), datagram.destination_port.to_be_bytes()].concat();
    let mut tcp = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]].concat();
    tcp.extend(&datagram.payload);
    let addresses = if datagram.v6 { &datagram.ip[8..40] } else { &datagram.ip[12..20] };
    let sum = !checksum(&[addresses, &[0, TCP], &(tcp.len() as u32).to_be_bytes()]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}
