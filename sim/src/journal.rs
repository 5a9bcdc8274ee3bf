//! What the devices do with keys, seen from inside the crypto that is lent to them.

use crate::checks::{Check, Violation};
use crate::random::Random;
use kerntun_crypto::{InsecureFake, Portable, Slices};
use kerntun_engine::host::{Crypto, Entropy};
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Keys are kept under this mask, so that the memory scan finds the engine's copies and not ours.
const MASK: u8 = 0x5c;
/// Keys are not used from this age on (paper, section 6.1).
const REJECT_AFTER: u64 = 180_000_000_000;

/// Every use of every key by all devices of a simulation.
#[derive(Debug, Default)]
pub struct Journal {
    sealed: HashMap<[u8; 32], HashSet<u64>>,
    first_used: HashMap<([u8; 32], usize), u64>,
    /// What the clock of a node had shown before it was set back.
    latest: HashMap<usize, u64>,
    statics: HashSet<[u8; 32]>,
    secrets: HashSet<[u8; 32]>,
    /// When the job at hand was made, by the clock of the device at hand.
    pub job_made: u64,
    /// What went wrong first.
    pub violation: Option<Violation>,
}

/// Hidden from a scan of memory; its own inverse.
#[must_use]
pub fn masked(secret: &[u8; 32]) -> [u8; 32] {
    secret.map(|byte| byte ^ MASK)
}

impl Journal {
    /// The monotonic clock of a node is about to be set back; it shows `clock` nanoseconds.
    pub fn steps_back(&mut self, node: usize, clock: u64) {
        let latest = self.latest.entry(node).or_default();
        *latest = clock.max(*latest);
    }

    /// A key that a device keeps for as long as it is configured.
    pub fn keeps(&mut self, secret: &[u8; 32]) {
        let secret = masked(secret);
        self.statics.insert(secret);
        self.secrets.remove(&secret);
    }

    /// Secrets of sessions and handshakes seen so far, masked.
    #[must_use]
    pub const fn secrets(&self) -> &HashSet<[u8; 32]> {
        &self.secrets
    }

    fn note_secret(&mut self, secret: &[u8; 32]) {
        let secret = masked(secret);
        if !self.statics.contains(&secret) {
            self.secrets.insert(secret);
        }
    }

    fn sealed(&mut self, key: &[u8; 32], counter: u64) {
        self.note_secret(key);
        if !self.sealed.entry(masked(key)).or_default().insert(counter) {
            self.fail(Check::CountersUsedOnce, format!("counter {counter} sealed twice under one key"));
        }
    }

    fn used(&mut self, key: &[u8; 32], device: usize) {
        // The session may have been made before the clock was set back and used afterwards, so by its own clock before it
        // was made.
        let latest = self.latest.get(&(device >> 16)).copied().unwrap_or_default();
        let first = *self.first_used.entry((masked(key), device)).or_insert_with(|| self.job_made.max(latest));
        let age = self.job_made.saturating_sub(first);
        if age >= REJECT_AFTER {
            self.fail(
                Check::KeysAgeOut,
                format!("device {device} uses a key {} ms after its first use", age / 1_000_000),
            );
        }
    }

    fn fail(&mut self, check: Check, detail: String) {
        self.violation.get_or_insert(Violation { check, detail, at: 0 });
    }
}

/// Which primitives a simulation runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitives {
    /// Same algebra, no strength, a hundredth of the cost.
    Fake,
    /// The real ones.
    Real,
}

/// Primitives that write down what is done with keys.
#[derive(Debug)]
pub struct Watched {
    /// Which primitives.
    pub primitives: Primitives,
    /// Whose.
    pub device: usize,
    /// Where it is written.
    pub journal: Rc<RefCell<Journal>>,
}

macro_rules! with {
    ($self:ident, $crypto:ident => $call:expr) => {
        match $self.primitives {
            Primitives::Fake => {
                let $crypto = InsecureFake;
                $call
            }
            Primitives::Real => {
                let $crypto = Portable;
                $call
            }
        }
    };
}

impl Crypto for Watched {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        run.spans.len()
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        let mut journal = self.journal.borrow_mut();
        for at in 0..run.spans.len() as u64 {
            journal.sealed(key.expose(), first_counter + at);
        }
        journal.used(key.expose(), self.device);
        with!(self, crypto => crypto.seal_run(key, first_counter, run));
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        let mut journal = self.journal.borrow_mut();
        journal.note_secret(key.expose());
        journal.used(key.expose(), self.device);
        with!(self, crypto => crypto.open_run(key, packets, run));
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        let result = with!(self, crypto => crypto.x25519(out, private, public));
        let mut journal = self.journal.borrow_mut();
        // Without identity the engine probes public keys with a constant.
        if !journal.statics.contains(&masked(private.expose())) && *private.expose() != [0x40; 32] {
            journal.note_secret(private.expose());
            journal.note_secret(out.expose());
        }
        result
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        with!(self, crypto => crypto.public_key(private))
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        with!(self, crypto => crypto.hash(out, parts));
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        with!(self, crypto => crypto.mac(out, key, parts));
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.journal.borrow_mut().sealed(key.expose(), counter);
        with!(self, crypto => crypto.seal(key, counter, additional, text))
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let passed = with!(self, crypto => crypto.open(key, counter, additional, text, tag));
        if passed {
            self.journal.borrow_mut().note_secret(key.expose());
        }
        passed
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        with!(self, crypto => crypto.xseal(key, nonce, additional, text))
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        with!(self, crypto => crypto.xopen(key, nonce, additional, text, tag))
    }
}

/// Randomness of one life of one device: the same for the same seed, and no output is kept, unlike in a generator that
/// makes them by the block.
#[derive(Debug)]
pub struct Chance {
    state: RefCell<Random>,
    dry: Cell<bool>,
}

impl Chance {
    /// The source that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: RefCell::new(Random::new(seed)), dry: Cell::new(false) }
    }

    /// Makes the source fail, as before it is seeded, or work again.
    pub fn set_dry(&self, dry: bool) {
        self.dry.set(dry);
    }
}

impl Entropy for Chance {
    fn fill(&self, out: &mut [u8]) -> bool {
        let mut state = self.state.borrow_mut();
        out.fill_with(|| state.word() as u8);
        !self.dry.get()
    }
}
