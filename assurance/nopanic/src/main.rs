//! The whole packet-time and configuration interface of the engine in one program without standard library, whose
//! panic handler calls a function that does not exist: the program links if and only if the optimiser proved that no
//! panic is reachable.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::net::SocketAddr;
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::egress::SealJob;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Entropy, Host, Lock, Rank, Staged, StagedPacket, Table};
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::memory::{Block, OutOfMemory};
use kerntun_engine::packet::Incoming;
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::reason::Reason;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Tai64n, Wall};

unsafe extern "C" {
    /// Does not exist. Whoever finds it missing has found a panic path.
    fn the_engine_can_panic() -> !;
    /// Exists as an address only; the program is linked, never run.
    fn host_takes_memory(size: usize, align: usize) -> *mut u8;
    fn host_frees_memory(memory: *mut u8);
    fn host_fills(out: *mut u8, len: usize) -> u8;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never called; if the linker finds this call, the build has failed.
    unsafe { the_engine_can_panic() }
}

struct Memory;

// SAFETY: the program is never run; the functions stand for a kernel's.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { host_takes_memory(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: as above.
        unsafe { host_frees_memory(memory) }
    }
}

#[global_allocator]
static MEMORY: Memory = Memory;

/// Something the optimiser knows nothing about.
fn fill(out: &mut [u8]) -> bool {
    // SAFETY: as above.
    unsafe { host_fills(out.as_mut_ptr(), out.len()) != 0 }
}

struct Home;

impl Host for Home {
    type Crypto = Self;
    type Entropy = Self;
    type Lock<T: Send> = SpinLock<T>;
    type Table<T: Send + Sync> = SpinTable<T>;
    type Staged = Queue;

    fn crypto(&self) -> &Self {
        self
    }

    fn entropy(&self) -> &Self {
        self
    }
}

impl Entropy for Home {
    fn fill(&self, out: &mut [u8]) -> bool {
        fill(out)
    }
}

impl Crypto for Home {
    type Run<'a> = &'a mut [u8];

    fn run_len(&self, run: &Self::Run<'_>) -> usize {
        run.len()
    }

    fn seal_run(&self, key: &Secret, _: u64, run: &mut Self::Run<'_>) {
        black_box(key.expose());
        fill(run);
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Self::Run<'_>) {
        black_box(key.expose());
        for packet in packets {
            if fill(run) {
                packet.authenticated(run);
            }
        }
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        black_box((private.expose(), public));
        fill(out.expose_mut())
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        *black_box(private.expose())
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        black_box(parts);
        fill(out);
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        black_box((key, parts));
        fill(out);
    }

    fn seal(&self, key: &Secret, _: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        black_box((key.expose(), additional));
        fill(text);
        black_box([0; 16])
    }

    fn open(&self, key: &Secret, _: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        black_box((key.expose(), additional, tag));
        fill(text)
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        black_box(nonce);
        self.seal(key, 0, additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        black_box(nonce);
        self.open(key, 0, additional, text, tag)
    }
}

struct SpinLock<T>(spin::Mutex<T>);

impl<T: Send> Lock<T> for SpinLock<T> {
    fn new(_: Rank, value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(spin::Mutex::new(value)))
    }

    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        section(&mut self.0.lock())
    }
}

/// A mutex here too: the read lock of this crate has a panic of its own, for two thousand million readers.
struct SpinTable<T>(spin::Mutex<T>);

impl<T: Send + Sync> Table<T> for SpinTable<T> {
    fn new(value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(spin::Mutex::new(value)))
    }

    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R {
        section(&self.0.lock())
    }

    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        section(&mut self.0.lock())
    }
}

/// A queue of one, which is enough to link.
#[derive(Default)]
struct Queue(Option<Packet>);

struct Packet(u32);

impl StagedPacket for Packet {
    fn datagrams(&self) -> u32 {
        black_box(self.0)
    }

    fn bytes(&self) -> usize {
        black_box(1500)
    }
}

impl Staged for Queue {
    type Packet = Packet;

    fn push(&mut self, packet: Packet) {
        self.0 = Some(black_box(packet));
    }

    fn pop(&mut self) -> Option<Packet> {
        black_box(self.0.take())
    }
}

type Dev = Device<Home>;

/// Every entry point, each kept as a function of its own so that nothing is optimised for constant arguments.
#[unsafe(no_mangle)]
pub fn make(place: &mut Option<Block<Dev>>) -> bool {
    *place = Dev::new(Home).and_then(Block::new).ok();
    place.is_some()
}

#[unsafe(no_mangle)]
pub fn outgoing(device: &Dev, now: Instant, head: &[u8], len: usize, count: u32) -> Option<Followup> {
    let peer = device.route(head, len).ok()?;
    let mut job: SealJob = device.reserve(now, peer, count).ok()?;
    black_box(job.header(count));
    let front = job.take(count / 2);
    let mut buffer = [0_u8; 64];
    let sealed = device.seal(front, &mut &mut buffer[..])?;
    Some(device.commit_sealed(now, sealed, len, true).ok()?.followup)
}

#[unsafe(no_mangle)]
pub fn staged(device: &Dev, now: Instant, peer: PeerRef, count: u32) -> Option<Followup> {
    let _ = black_box(device.stage(now, peer, Packet(count)).followup);
    let _ = black_box(device.reserve_keepalive(now, peer));
    let _ = black_box(device.reserve_staged(now, peer).ok()?.1);
    Some(device.flushed(now, peer))
}

#[unsafe(no_mangle)]
pub fn incoming(device: &Dev, now: Instant, packets: &mut [Incoming], from: &Endpoint) -> Option<Followup> {
    let job: OpenJob = device.admit(now, packets)?;
    let mut buffer = [0_u8; 64];
    device.open(&job, packets, &mut &mut buffer[..]);
    Some(device.commit_opened(now, job, packets, from))
}

#[unsafe(no_mangle)]
pub fn parse_incoming(header: &[u8; 16], len: usize, ecn: u8) -> Option<Incoming> {
    Incoming::new(header, len, ecn)
}

#[unsafe(no_mangle)]
pub fn handshake(device: &Dev, now: Instant, datagram: &[u8], from: &Endpoint, load: Load) -> Handled {
    let mut block = SessionBlock::new().ok();
    device.receive_handshake(now, datagram, from, load, &mut block)
}

#[unsafe(no_mangle)]
pub fn deadlines(device: &Dev, now: Instant) -> bool {
    black_box(device.next_deadline());
    device.expire(now).is_some_and(|due| due.initiate)
}

#[unsafe(no_mangle)]
pub fn initiate(device: &Dev, now: Instant, wall: Wall, peer: PeerRef) -> usize {
    device.initiate(now, wall, peer).map_or(0, |outgoing| outgoing.bytes().len())
}

#[unsafe(no_mangle)]
pub fn configure(device: &Dev, now: Instant, key: Secret, peers: &[PeerChange<'_>], floor: Tai64n) -> bool {
    device.configure(|configuration| {
        let change = Change { private_key: Some(key), replace_peers: black_box(true), peers };
        configuration.set_stamp_floor(floor);
        configuration.forget_sessions();
        configuration.forget_sources();
        configuration.down();
        let rearm = configuration.up(now);
        let Ok(prepared) = configuration.prepare(change) else { return rearm };
        rearm | prepared.apply(now)
    })
}

#[unsafe(no_mangle)]
pub fn list(device: &Dev, key: &PublicKey, address: SocketAddr, bits: u8) -> u64 {
    black_box(AllowedIp::new(address.ip(), bits));
    black_box((device.private_key(), device.public_key(), device.generation(), device.peer_count(), device.is_up()));
    black_box(device.greatest_stamp_sent());
    device.count_drop(device.find(key), Reason::SendFailed, 3);
    let Some(peer) = device.next_peer(None) else { return 0 };
    black_box(device.next_allowed_ip(peer, device.next_allowed_ip(peer, None).map(|(_, cursor)| cursor)));
    let Some(info) = device.peer_info(peer) else { return 1 };
    black_box(&info);
    device.drops(Reason::SendFailed) as u64 + info.rx_bytes
}

#[cfg(feature = "deliberate")]
#[unsafe(no_mangle)]
pub fn deliberate(bytes: &[u8], at: usize) -> u8 {
    bytes[at]
}

/// A packet-time call that takes more of the stack than it may.
#[cfg(feature = "deliberate-frame")]
#[unsafe(no_mangle)]
pub fn deliberate_frame(device: &Dev, now: Instant, packets: &mut [Incoming], from: &Endpoint) -> Option<Followup> {
    black_box(&mut [0_u8; 1025]);
    incoming(device, now, packets, from)
}
