//! The order of locks, checked per thread in builds with debug assertions and free of cost in others.
//!
//! Ranks may only go down and no rank is ever held twice, so the lowest rank held says all there is to know. Sections
//! are closures and end in the reverse of their order, so the one below is remembered on the stack.

use core::cell::Cell;
use kerntun_engine::host::Rank;

thread_local! {
    static LOWEST: Cell<Option<Rank>> = const { Cell::new(None) };
}

/// The rank of the innermost lock that this thread holds; always `None` without debug assertions.
///
/// Takes no memory, so that the allocator of a test can ask it whether memory may be taken now.
#[must_use]
pub fn held() -> Option<Rank> {
    LOWEST.get()
}

/// Stands for a lock of some rank being held by this thread, from before it is taken until after it is given back.
#[must_use]
pub(crate) struct Holding {
    above: Option<Rank>,
}

impl Holding {
    /// To be called before the lock is taken: a wrong order is found even when nobody contends for the lock.
    ///
    /// # Panics
    /// With debug assertions, if this thread already holds a lock of this rank or below.
    #[inline]
    pub(crate) fn enter(rank: Rank) -> Self {
        if !cfg!(debug_assertions) {
            return Self { above: None };
        }
        let above = LOWEST.get();
        assert!(above < Some(rank), "a lock of rank {rank:?} taken while one of rank {above:?} is held");
        LOWEST.set(Some(rank));
        Self { above }
    }
}

impl Drop for Holding {
    #[inline]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            LOWEST.set(self.above);
        }
    }
}
