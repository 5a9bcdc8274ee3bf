//! What the tests share: a seeded generator, a slow obvious packet builder, and network namespaces of their own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod udp;

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
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

/// How often something random is tried. In Miri, which is a thousand times slower, now and then.
pub fn rounds(all: usize) -> usize {
    if cfg!(miri) { (all / 300).max(4) } else { all }
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

/// Says why a test, or part of one, is left out. Not through `println!`, which the test harness swallows.
pub fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Moves the calling thread into a fresh network namespace with loopback up, or says why the test cannot run.
#[must_use]
pub fn enter_namespace() -> bool {
    // SAFETY: no pointers; affects only the calling thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        skipped(&format!("no network namespace ({}): needs root", std::io::Error::last_os_error()));
        return false;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        skipped("needs the program 'ip' (iproute2)");
        return false;
    }
    ip("link set lo up");
    true
}

/// As [`enter_namespace`], knowing that it is possible. The namespace lives as long as this thread stays in it or a socket
/// made in it is open.
pub fn new_namespace() {
    assert!(enter_namespace());
}

/// As [`enter_namespace`], for tests that need a TUN device too.
#[must_use]
pub fn enter_namespace_with_tun() -> bool {
    if !std::fs::exists("/dev/net/tun").unwrap() {
        skipped("no /dev/net/tun");
        return false;
    }
    enter_namespace()
}

/// The namespace of the calling thread, to come back to.
pub fn this_namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// Goes back into a namespace.
pub fn enter(namespace: &File) {
    // SAFETY: no pointers; affects only the calling thread.
    assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
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

/// Runs a program that not every system has, or a kernel feature; `false` and a line when it does not work.
#[must_use]
pub fn try_run(program: &str, arguments: &str) -> bool {
    let works = Command::new(program).args(arguments.split_whitespace()).output().is_ok_and(|out| out.status.success());
    if !works {
        skipped(&format!("'{program} {arguments}' does not work here"));
    }
    works
}

pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes a sysctl of the calling thread's network namespace.
pub fn sysctl(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}

/// From now on the kernel refuses this thread `call` with `errno` when the argument (0 to 5) is greater than `limit`: a
/// stand-in for kernels that lack something.
pub fn refuse_calls(call: libc::c_long, argument: u32, limit: u32, errno: i32) {
    let step = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let (load, equal, greater, answer) = (0x20, 0x15, 0x25, 0x06);
    let mut program = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, call as u32),
        // The lower half of the argument, on little-endian machines.
        step(load, 0, 0, 16 + 8 * argument),
        step(greater, 0, 1, limit),
        step(answer, 0, 0, 0x0005_0000 | errno as u32),
        step(answer, 0, 0, 0x7fff_0000),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is alive during the call; it applies to this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

/// Waits for something that others finish, and fails if they do not.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("did not happen: {what}");
}
