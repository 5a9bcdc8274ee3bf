//! What the tests share: a seeded generator, a slow obvious packet builder, and network namespaces of their own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::net::{SocketAddrV6, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// SplitMix64: enough to shake things, and the same every time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// RFC 1071 by the letter: 16-bit words, end-around carry after each.
pub fn naive_sum(data: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in data.chunks(2) {
        let low = if pair.len() == 2 { pair[1] } else { 0 };
        sum += u32::from(pair[0]) << 8 | u32::from(low);
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// A TCP or UDP packet, field by field.
#[derive(Clone, Debug)]
pub struct Inner {
    pub v6: bool,
    pub tcp: bool,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub addresses: [u8; 32],
    pub ports: [u8; 4],
    pub sequence: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Inner {
    pub fn random(random: &mut Random, payload: usize) -> Self {
        let options = if random.chance(50) { random.below(11) * 4 } else { 12 };
        Self {
            v6: random.chance(50),
            tcp: random.chance(60),
            tos: random.next() as u8,
            ttl: random.next() as u8,
            id: random.next() as u16,
            dont_fragment: random.chance(50),
            addresses: random.bytes(32).try_into().unwrap(),
            ports: random.bytes(4).try_into().unwrap(),
            sequence: random.next() as u32,
            ack: random.next() as u32,
            flags: 0x10,
            window: random.next() as u16,
            options: random.bytes(options),
            payload: random.bytes(payload),
        }
    }

    pub fn addresses(&self) -> &[u8] {
        if self.v6 { &self.addresses } else { &self.addresses[..8] }
    }

    pub fn ip_len(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    pub fn head_len(&self) -> usize {
        self.ip_len() + if self.tcp { 20 + self.options.len() } else { 8 }
    }

    /// Position of the transport checksum from the start of the packet.
    pub fn checksum_at(&self) -> usize {
        self.ip_len() + if self.tcp { 16 } else { 6 }
    }

    pub fn pseudo(&self, transport_len: usize) -> Vec<u8> {
        let mut pseudo = self.addresses().to_vec();
        pseudo.extend((transport_len as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, if self.tcp { 6 } else { 17 }]);
        pseudo
    }

    /// The packet with all checksums right.
    pub fn build(&self) -> Vec<u8> {
        let mut transport = self.ports.to_vec();
        if self.tcp {
            transport.extend(self.sequence.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.extend([((5 + self.options.len() / 4) << 4) as u8, self.flags]);
            transport.extend(self.window.to_be_bytes());
            transport.extend([0, 0, 0, 0]);
            transport.extend(&self.options);
        } else {
            transport.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(&self.payload);
        let mut all = self.pseudo(transport.len());
        all.extend(&transport);
        let mut sum = !naive_sum(&all);
        if sum == 0 && !self.tcp {
            sum = 0xffff;
        }
        let mut packet = self.ip_header(transport.len());
        packet.extend(transport);
        packet[self.checksum_at()..][..2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn ip_header(&self, behind: usize) -> Vec<u8> {
        let protocol = if self.tcp { 6 } else { 17 };
        if self.v6 {
            let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
            header.extend((behind as u16).to_be_bytes());
            header.extend([protocol, self.ttl]);
            header.extend(self.addresses());
            return header;
        }
        let mut header = vec![0x45, self.tos];
        header.extend(((20 + behind) as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
        header.extend(self.addresses());
        let sum = !naive_sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// The packet as the kernel hands it out when the checksum is left to us: only the pseudo header summed.
    pub fn build_partial(&self) -> Vec<u8> {
        let mut packet = self.build();
        let sum = naive_sum(&self.pseudo(packet.len() - self.ip_len()));
        packet[self.checksum_at()..][..2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// What segmentation into pieces of `size` has to give.
    pub fn split(&self, size: usize) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(size).max(1);
        let mut pieces = Vec::new();
        for index in 0..count {
            let mut piece = self.clone();
            let end = (index * size + size).min(self.payload.len());
            piece.payload = self.payload[index * size..end].to_vec();
            piece.id = self.id.wrapping_add(index as u16);
            piece.sequence = self.sequence.wrapping_add((index * size) as u32);
            if index + 1 < count {
                piece.flags &= !0x09;
            }
            if index > 0 {
                piece.flags &= !0x80;
            }
            pieces.push(piece.build());
        }
        pieces
    }
}

/// Moves the calling thread into a fresh network namespace with loopback up, or says why the test cannot run.
#[must_use]
pub fn enter_namespace() -> bool {
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: needs root for network namespaces");
        return false;
    }
    new_namespace();
    true
}

/// As [`enter_namespace`], knowing that it is possible. The namespace lives as long as this thread stays in it or a socket
/// made in it is open.
pub fn new_namespace() {
    // SAFETY: no pointers; affects only the calling thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "unshare: {}", std::io::Error::last_os_error());
    ip("link set lo up");
}

/// Runs `ip` in the namespace of the calling thread.
pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Adds an IPv6 address and waits until it works: the kernel finishes that in the background.
pub fn add_ipv6(address: &str, prefix: u8, device: &str) {
    ip(&format!("addr add {address}/{prefix} dev {device} nodad"));
    let scope = kerntun_linux::interface::index_of(device).unwrap();
    let to = SocketAddrV6::new(address.parse().unwrap(), 9999, 0, scope);
    for _ in 0..1000 {
        if let Ok(socket) = UdpSocket::bind(to) {
            socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            if socket.send_to(b"x", to).is_ok() && socket.recv(&mut [0; 1]).is_ok() {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{address} on {device} does not come to life");
}

pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes a sysctl of the calling thread's network namespace.
pub fn sysctl(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}
