//! The kernel as a home of the engine: crypto and randomness by way of the glue.

use crate::abi::BLAKE2S_STATE_LEN;
use crate::host;
use crate::lock::{KernelLock, KernelTable};
use crate::staged::Queue;
use core::ffi::c_void;
use kerntun_engine::device::Device;
use kerntun_engine::host::{Crypto, Entropy, Host};
use kerntun_engine::message::DataHeader;
use kerntun_engine::packet::{HEAD_LEN, Incoming};
use kerntun_engine::secret::Secret;

/// The engine in this home.
pub(crate) type KernelDevice = Device<Kernel>;

/// The kernel.
pub(crate) struct Kernel;

impl Host for Kernel {
    type Crypto = Self;
    type Entropy = Self;
    type Lock<T: Send> = KernelLock<T>;
    type Table<T: Send + Sync> = KernelTable<T>;
    type Staged = Queue;

    fn crypto(&self) -> &Self {
        self
    }

    fn entropy(&self) -> &Self {
        self
    }
}

impl Entropy for Kernel {
    fn fill(&self, out: &mut [u8]) -> bool {
        // SAFETY: `out` is as long as that.
        unsafe { host::kt_host_random(out.as_mut_ptr(), out.len()) }
    }
}

/// A run of the glue's packets.
pub(crate) enum Run<'a> {
    /// To be sealed: the first packet, how many follow from it, and the index that all their headers carry.
    Out { first: *mut c_void, count: u32, receiver: u32 },
    /// To be opened: packet by packet what the entries beside them speak of.
    In(&'a [*mut c_void]),
}

impl Crypto for Kernel {
    type Run<'a> = Run<'a>;

    fn run_len(&self, run: &Run<'_>) -> usize {
        match run {
            Run::Out { count, .. } => *count as usize,
            Run::In(packets) => packets.len(),
        }
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Run<'_>) {
        let Run::Out { first, count, receiver } = *run else { return };
        let mut packet = first;
        for at in 0..u64::from(count) {
            let counter = first_counter.wrapping_add(at);
            let header = DataHeader { receiver, counter }.to_bytes();
            // SAFETY: the caller of `kt_seal` vouches for `count` packets.
            packet = unsafe { host::kt_host_seal(packet, key.expose(), counter, &header) };
        }
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Run<'_>) {
        let Run::In(buffers) = run else { return };
        for (incoming, packet) in packets.iter_mut().zip(buffers.iter()) {
            if !incoming.is_wanted() {
                continue;
            }
            let mut head = [0; HEAD_LEN];
            // SAFETY: the caller of `kt_open` vouches for the packet.
            let len = unsafe { host::kt_host_open(*packet, key.expose(), incoming.counter(), &mut head) };
            if let Some(plaintext) = usize::try_from(len).ok().and_then(|len| head.get(..len)) {
                incoming.authenticated(plaintext);
            }
        }
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        // SAFETY: all three have 32 bytes.
        unsafe { host::kt_host_x25519(out.expose_mut(), private.expose(), public) }
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        let mut out = [0; 32];
        // SAFETY: both have 32 bytes.
        unsafe { host::kt_host_public_key(&mut out, private.expose()) }
        out
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        blake2s(out, &[], parts);
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        blake2s(out, key, parts);
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        let (more, len) = (additional.as_ptr(), additional.len());
        // SAFETY: pointers and lengths belong together.
        unsafe { host::kt_host_aead_seal(key.expose(), counter, more, len, text.as_mut_ptr(), text.len(), &mut tag) }
        tag
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let (more, len) = (additional.as_ptr(), additional.len());
        // SAFETY: pointers and lengths belong together.
        unsafe { host::kt_host_aead_open(key.expose(), counter, more, len, text.as_mut_ptr(), text.len(), tag) }
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        let (more, len) = (additional.as_ptr(), additional.len());
        // SAFETY: pointers and lengths belong together.
        unsafe { host::kt_host_xaead_seal(key.expose(), nonce, more, len, text.as_mut_ptr(), text.len(), &mut tag) }
        tag
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let (more, len) = (additional.as_ptr(), additional.len());
        // SAFETY: pointers and lengths belong together.
        unsafe { host::kt_host_xaead_open(key.expose(), nonce, more, len, text.as_mut_ptr(), text.len(), tag) }
    }
}

/// Room for the kernel's state, which holds secrets.
#[repr(C, align(16))]
struct State([u64; BLAKE2S_STATE_LEN / 8]);

fn blake2s<const N: usize>(out: &mut [u8; N], key: &[u8], parts: &[&[u8]]) {
    let mut state = State([0; BLAKE2S_STATE_LEN / 8]);
    let place: *mut c_void = (&raw mut state).cast();
    // SAFETY: the glue asserts that its state fits; pointers and lengths belong together. The kernel wipes the state at
    // the end.
    unsafe {
        host::kt_host_blake2s_init(place, N, key.as_ptr(), key.len());
        for part in parts {
            host::kt_host_blake2s_update(place, part.as_ptr(), part.len());
        }
        host::kt_host_blake2s_final(place, out.as_mut_ptr());
    }
}
