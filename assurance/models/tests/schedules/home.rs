//! A host whose locks give way to the scheduler at every step and know their ranks, and whose crypto remembers every counter
//! that it sealed under.

use kerntun_crypto::{InsecureFake, Slices};
use kerntun_engine::host::{Crypto, Host, Lock, Rank, Table};
use kerntun_engine::memory::OutOfMemory;
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;
use kerntun_host::{HeldQueue, SeededEntropy};
use std::cell::Cell;
use std::collections::BTreeSet;

shuttle::thread_local! {
    /// The lowest rank that this thread holds.
    static LOWEST: Cell<Option<Rank>> = Cell::new(None);
}

/// Runs `section` as one that holds `rank`.
fn holding<R>(rank: Rank, section: impl FnOnce() -> R) -> R {
    let above = LOWEST.with(Cell::get);
    assert!(above < Some(rank), "a lock of rank {rank:?} is taken while one of rank {above:?} is held");
    LOWEST.with(|lowest| lowest.set(Some(rank)));
    let result = section();
    LOWEST.with(|lowest| lowest.set(above));
    result
}

pub struct ScheduledLock<T>(Rank, shuttle::sync::Mutex<T>);

impl<T: Send> Lock<T> for ScheduledLock<T> {
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(rank, shuttle::sync::Mutex::new(value)))
    }

    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        holding(self.0, || section(&mut self.1.lock().expect("no thread panicked")))
    }
}

pub struct ScheduledTable<T>(shuttle::sync::RwLock<T>);

impl<T: Send + Sync> Table<T> for ScheduledTable<T> {
    fn new(value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(shuttle::sync::RwLock::new(value)))
    }

    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R {
        holding(Rank::Tables, || section(&self.0.read().expect("no thread panicked")))
    }

    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        holding(Rank::Tables, || section(&mut self.0.write().expect("no thread panicked")))
    }
}

/// The fake primitives. Also says when somebody computes under a lock, which nobody may.
#[derive(Default)]
pub struct Watched {
    /// Keys and counters; of the standard library, so that looking is no step of a schedule.
    sealed: std::sync::Mutex<BTreeSet<([u8; 32], u64)>>,
}

impl Watched {
    fn no_lock_is_held(&self) {
        let held = LOWEST.with(Cell::get);
        assert!(held.is_none_or(|rank| rank == Rank::Configuration), "crypto is called under a lock of rank {held:?}");
    }
}

impl Crypto for Watched {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        InsecureFake.run_len(run)
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        self.no_lock_is_held();
        let mut sealed = self.sealed.lock().expect("no thread panicked");
        for counter in (first_counter..).take(run.spans.len()) {
            assert!(sealed.insert((*key.expose(), counter)), "counter {counter} is given twice");
        }
        InsecureFake.seal_run(key, first_counter, run);
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        self.no_lock_is_held();
        InsecureFake.open_run(key, packets, run);
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        self.no_lock_is_held();
        InsecureFake.x25519(out, private, public)
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        InsecureFake.public_key(private)
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        InsecureFake.hash(out, parts);
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        InsecureFake.mac(out, key, parts);
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        InsecureFake.seal(key, counter, additional, text)
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        InsecureFake.open(key, counter, additional, text, tag)
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        InsecureFake.xseal(key, nonce, additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        InsecureFake.xopen(key, nonce, additional, text, tag)
    }
}

pub struct ScheduledHost(Watched, SeededEntropy);

impl ScheduledHost {
    pub fn new(seed: u64) -> Self {
        Self(Watched::default(), SeededEntropy::new(seed))
    }
}

impl Host for ScheduledHost {
    type Crypto = Watched;
    type Entropy = SeededEntropy;
    type Lock<T: Send> = ScheduledLock<T>;
    type Table<T: Send + Sync> = ScheduledTable<T>;
    type Staged = HeldQueue<Vec<u8>>;

    fn crypto(&self) -> &Watched {
        &self.0
    }

    fn entropy(&self) -> &SeededEntropy {
        &self.1
    }
}
