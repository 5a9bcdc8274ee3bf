//! Locks: exclusion between threads, and the order of ranks.

use kerntun_engine::host::{Lock, Rank, Table};
use kerntun_host::{UserLock, UserTable, held};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

const RANKS: [Rank; 4] = [Rank::Configuration, Rank::Tables, Rank::Peer, Rank::Device];

#[test]
fn threads_exclude_each_other() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 20_000;
    let lock = UserLock::new(Rank::Peer, (0_u64, 0_u64)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    lock.with(|(first, second)| {
                        *first += 1;
                        std::hint::black_box(&mut *first);
                        *second += 1;
                        assert_eq!(first, second);
                    });
                }
            });
        }
    });
    assert_eq!(lock.with(|both| *both), (THREADS * ROUNDS, THREADS * ROUNDS));
}

#[test]
fn readers_see_whole_writes_and_read_together() {
    let table = UserTable::new([0_u64; 16]).unwrap();
    let inside = AtomicUsize::new(0);
    let met = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 1..=5_000 {
                table.write(|all| {
                    for one in all {
                        *one = value;
                    }
                });
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    table.read(|all| assert!(all.iter().all(|one| *one == all[0])));
                }
            });
        }
    });
    // Two read sections at once: each waits inside until the other is inside too.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                table.read(|all| {
                    assert_eq!(all[15], 5_000);
                    inside.fetch_add(1, Ordering::SeqCst);
                    while inside.load(Ordering::SeqCst) < 2 {
                        std::thread::yield_now();
                    }
                    met.fetch_add(1, Ordering::SeqCst);
                });
            });
        }
    });
    assert_eq!(met.load(Ordering::SeqCst), 2);
}

/// Takes a lock of that rank the way the engine would.
fn take(rank: Rank, section: impl FnOnce()) {
    match rank {
        Rank::Tables => UserTable::new(()).unwrap().read(|()| section()),
        rank => UserLock::new(rank, ()).unwrap().with(|()| section()),
    }
}

#[test]
fn all_ranks_may_be_held_from_the_top_down() {
    take(Rank::Configuration, || {
        take(Rank::Tables, || take(Rank::Peer, || take(Rank::Device, || {})));
        take(Rank::Peer, || {});
        take(Rank::Peer, || take(Rank::Device, || {}));
    });
    assert_eq!(held(), None);
}

#[test]
fn the_innermost_rank_is_known() {
    if !cfg!(debug_assertions) {
        println!("SKIPPED: ranks are only kept in builds with debug assertions");
        return;
    }
    assert_eq!(held(), None);
    take(Rank::Tables, || {
        assert_eq!(held(), Some(Rank::Tables));
        take(Rank::Device, || assert_eq!(held(), Some(Rank::Device)));
        assert_eq!(held(), Some(Rank::Tables));
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(held(), None, "each thread has an order of its own"));
        });
    });
    assert_eq!(held(), None);
}

#[test]
fn every_wrong_order_is_found() {
    if !cfg!(debug_assertions) {
        println!("SKIPPED: ranks are only checked in builds with debug assertions");
        return;
    }
    for (outer, upper) in RANKS.iter().enumerate() {
        for (inner, lower) in RANKS.iter().enumerate() {
            let result = catch_unwind(|| take(*upper, || take(*lower, || {})));
            // Twice the same is wrong too: two peers, or one section inside another.
            assert_eq!(result.is_ok(), inner > outer, "{upper:?} then {lower:?}");
            assert_eq!(held(), None, "unwinding gives everything back");
        }
    }
    let table = UserTable::new(()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| table.write(|()| take(Rank::Configuration, || {})))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| table.write(|()| take(Rank::Tables, || {})))).is_err());
}

#[test]
fn a_panic_inside_leaves_the_lock_usable() {
    let lock = UserLock::new(Rank::Peer, 1).unwrap();
    let table = UserTable::new(1).unwrap();
    let stop = || panic!("on purpose");
    assert!(
        catch_unwind(AssertUnwindSafe(|| lock.with(|value| {
            *value = 2;
            stop()
        })))
        .is_err()
    );
    assert!(
        catch_unwind(AssertUnwindSafe(|| table.write(|value| {
            *value = 2;
            stop()
        })))
        .is_err()
    );
    assert_eq!(lock.with(|value| *value), 2);
    assert_eq!(table.read(|value| *value), 2);
}
