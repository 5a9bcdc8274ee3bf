//! What a home of the engine lends to it: crypto, locks, randomness, and its own kind of packet.
//!
//! The engine calls these; it never asks the host for anything else, and never calls the host while holding a
//! lock except to move packets in and out of a [`Staged`] queue.

use crate::memory::OutOfMemory;
use crate::packet::Incoming;
use crate::secret::Secret;

/// A home of the engine.
pub trait Host {
    /// The primitives.
    type Crypto: Crypto;
    /// The source of randomness.
    type Entropy: Entropy;
    /// A lock around a value.
    type Lock<T: Send>: Lock<T>;
    /// A lock with a cheap read section around the tables every packet looks into.
    type Table<T: Send + Sync>: Table<T>;
    /// A queue of packets that wait for a session.
    type Staged: Staged + Send;

    /// The primitives.
    fn crypto(&self) -> &Self::Crypto;

    /// The source of randomness.
    fn entropy(&self) -> &Self::Entropy;
}

/// The cryptographic primitives of the protocol (paper, section 5.4), and the bulk cipher in runs.
///
/// All calls are made outside every lock of the engine. None may keep a copy of a key.
pub trait Crypto {
    /// A run of packets as the host holds them: contiguous memory in user space, scatterlists in a kernel.
    /// Packet `i` of a run is the one that entry `i` of the job beside it speaks of.
    type Run<'a>;

    /// How many packets are in `run`.
    fn run_len(&self, run: &Self::Run<'_>) -> usize;

    /// Encrypts every packet of `run` in place with ChaCha20-Poly1305, no additional data, packet `i` under
    /// nonce `first_counter + i`: the padded plaintext behind the 16 bytes of header becomes ciphertext, followed
    /// by its tag of 16 bytes.
    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Self::Run<'_>);

    /// Decrypts in place every packet of `run` whose entry in `packets` [is wanted](Incoming::is_wanted), under
    /// that entry's counter, and reports each that passes with [`Incoming::authenticated`]. Plaintext of a packet
    /// that does not pass must not stay readable.
    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Self::Run<'_>);

    /// X25519 (RFC 7748): `out` = `private` · `public`. False if the result is all zeros, which every honest key
    /// avoids; `out` is not to be used then.
    #[must_use]
    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool;

    /// The public key of `private`: X25519 with the base point.
    fn public_key(&self, private: &Secret) -> [u8; 32];

    /// BLAKE2s with 32 bytes of output over the concatenation of `parts` (RFC 7693).
    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]);

    /// KDFn (HKDF, RFC 5869, with HMAC-BLAKE2s): (chaining, others) = (τ1, …, τn), where τ0 = HMAC(chaining, input),
    /// τ1 = HMAC(τ0, 1) and τi = HMAC(τ0, τi-1 ‖ i). Who can go on from half a hash does not begin anew with τ0 each time,
    /// as this does with [`Crypto::hash`].
    fn derive(&self, chaining: &mut Secret, input: &[u8], others: &mut [&mut Secret]) {
        // Secrets are written where they belong, as a move may leave a copy behind.
        let mut extract = Secret::ZERO;
        hmac(self, &mut extract, chaining, input, &[]);
        hmac(self, chaining, &extract, &[], &[1]);
        let mut previous = &*chaining;
        for (number, output) in (2_u8..).zip(others) {
            hmac(self, output, &extract, previous.expose(), &[number]);
            previous = output;
        }
    }

    /// Keyed BLAKE2s with 16 bytes of output over the concatenation of `parts`; `key` has 16 or 32 bytes.
    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]);

    /// ChaCha20-Poly1305 (RFC 8439) in place over `text`, nonce four zero bytes and `counter` in little endian.
    /// Gives the tag.
    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16];

    /// The reverse of [`Crypto::seal`]; false, and `text` not readable, if `tag` is wrong.
    #[must_use]
    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool;

    /// XChaCha20-Poly1305 in place, for cookie replies. Gives the tag.
    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16];

    /// The reverse of [`Crypto::xseal`]; false, and `text` not readable, if `tag` is wrong.
    #[must_use]
    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool;
}

/// HMAC-BLAKE2s (RFC 2104) over `data` and `more` with a key of 32 bytes, half a block.
fn hmac<C: Crypto + ?Sized>(crypto: &C, out: &mut Secret, key: &Secret, data: &[u8], more: &[u8]) {
    const INNER: u8 = 0x36;
    const OUTER: u8 = 0x5c;
    let (mut padded, mut inner) = (Secret::ZERO, Secret::ZERO);
    let pad = |padded: &mut Secret, with| {
        for (place, byte) in padded.expose_mut().iter_mut().zip(key.expose()) {
            *place = *byte ^ with;
        }
    };
    pad(&mut padded, INNER);
    crypto.hash(inner.expose_mut(), &[padded.expose(), &[INNER; 32], data, more]);
    pad(&mut padded, OUTER);
    crypto.hash(out.expose_mut(), &[padded.expose(), &[OUTER; 32], inner.expose()]);
}

/// A cryptographically secure source of random bytes that never blocks.
pub trait Entropy {
    /// Fills `out`. False if the source is not seeded yet; `out` is not to be used then, and the engine drops the
    /// handshake at hand with [`Reason::NotSeeded`](crate::reason::Reason::NotSeeded).
    #[must_use]
    fn fill(&self, out: &mut [u8]) -> bool;
}

/// The order in which locks may be taken: only ever downwards. A host gives each rank a lock class of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// One configuration change at a time; the only lock under which the host may sleep.
    Configuration,
    /// Routes, receiver indices and the peers' places.
    Tables,
    /// One peer; never two at once.
    Peer,
    /// Small state of the device, below everything: deadlines, admission of handshakes, timestamps.
    Device,
}

/// A mutual exclusion lock around a value, without poisoning.
pub trait Lock<T>: Sized + Send + Sync {
    /// A lock of that rank around `value`.
    ///
    /// # Errors
    /// [`OutOfMemory`] if the host cannot make one.
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory>;

    /// Runs `section` with the value while nobody else does.
    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R;
}

/// A lock whose read section many packets share, around values that change only by configuration and handshakes.
///
/// Read sections are never nested.
pub trait Table<T>: Sized + Send + Sync {
    /// A lock around `value`, of rank [`Rank::Tables`].
    ///
    /// # Errors
    /// [`OutOfMemory`] if the host cannot make one.
    fn new(value: T) -> Result<Self, OutOfMemory>;

    /// Runs `section` while nobody writes.
    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R;

    /// Runs `section` while nobody reads or writes.
    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R;
}

/// A first-in, first-out queue of the host's packets. No call takes memory: packets are linked through themselves.
pub trait Staged: Default {
    /// An owned packet of the host; it may be a super-packet that becomes several datagrams.
    type Packet: StagedPacket;

    /// Appends the newest packet.
    fn push(&mut self, packet: Self::Packet);

    /// Removes the oldest packet.
    fn pop(&mut self) -> Option<Self::Packet>;
}

/// What the engine has to know of a packet that it holds for a while.
pub trait StagedPacket {
    /// How many datagrams it becomes, each with a counter of its own; at least one.
    fn datagrams(&self) -> u32;

    /// How much of the host's memory it occupies, in bytes.
    fn bytes(&self) -> usize;
}
