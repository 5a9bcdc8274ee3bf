//! A home for one thread that knows how much of the tables is touched while a lock is held.

use super::crypto::TestCrypto;
use crate::host::{Entropy, Host, Lock, Rank, Staged, StagedPacket, Table};
use crate::memory::OutOfMemory;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, RwLock};
use std::thread_local;

thread_local! {
    static TOUCHED: Cell<u32> = const { Cell::new(0) };
    static HELD: Cell<u32> = const { Cell::new(0) };
    static MOST: Cell<u32> = const { Cell::new(0) };
}

/// An entry of a table is looked at or changed.
pub(crate) fn touched() {
    TOUCHED.set(TOUCHED.get() + 1);
}

/// The most entries that were touched in one go under locks since the last call. The lock of the configuration does not
/// count: packets do not wait for it.
pub(crate) fn most_touched() -> u32 {
    MOST.take()
}

fn hold<R>(section: impl FnOnce() -> R) -> R {
    let (before, outer) = (TOUCHED.get(), HELD.get());
    HELD.set(outer + 1);
    let result = section();
    HELD.set(outer);
    if outer == 0 {
        MOST.set(MOST.get().max(TOUCHED.get() - before));
    }
    result
}

/// The home.
#[derive(Default)]
pub(crate) struct TestHost;

impl Host for TestHost {
    type Crypto = TestCrypto;
    type Entropy = Self;
    type Lock<T: Send> = TestLock<T>;
    type Table<T: Send + Sync> = TestTable<T>;
    type Staged = VecDeque<Packet>;

    fn crypto(&self) -> &TestCrypto {
        &TestCrypto
    }

    fn entropy(&self) -> &Self {
        self
    }
}

impl Entropy for TestHost {
    fn fill(&self, out: &mut [u8]) -> bool {
        thread_local!(static RANDOM: Cell<u64> = const { Cell::new(0) });
        RANDOM.set(RANDOM.get() + 1);
        let mut random = super::Random::new(RANDOM.get());
        out.iter_mut().for_each(|byte| *byte = random.next() as u8);
        true
    }
}

pub(crate) struct TestLock<T>(Rank, Mutex<T>);

impl<T: Send> Lock<T> for TestLock<T> {
    fn new(rank: Rank, value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(rank, Mutex::new(value)))
    }

    fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let section = || section(&mut self.1.try_lock().unwrap());
        if self.0 == Rank::Configuration { section() } else { hold(section) }
    }
}

pub(crate) struct TestTable<T>(RwLock<T>);

impl<T: Send + Sync> Table<T> for TestTable<T> {
    fn new(value: T) -> Result<Self, OutOfMemory> {
        Ok(Self(RwLock::new(value)))
    }

    fn read<R>(&self, section: impl FnOnce(&T) -> R) -> R {
        hold(|| section(&self.0.try_read().unwrap()))
    }

    fn write<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        hold(|| section(&mut self.0.try_write().unwrap()))
    }
}

/// Stands for a packet of one datagram.
pub(crate) struct Packet;

impl StagedPacket for Packet {
    fn datagrams(&self) -> u32 {
        1
    }

    fn bytes(&self) -> usize {
        100
    }
}

impl Staged for VecDeque<Packet> {
    type Packet = Packet;

    fn push(&mut self, packet: Packet) {
        self.push_back(packet);
    }

    fn pop(&mut self) -> Option<Packet> {
        self.pop_front()
    }
}
