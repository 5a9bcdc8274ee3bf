//! Waiting for what other processes do, never for ever.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a handshake whose first message was lost (its retry comes after 5 s), on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Long enough for a peer that restarted without a word: the other side starts anew 15 s after data that stayed without an answer
/// (KEEPALIVE_TIMEOUT and REKEY_TIMEOUT), and its first attempt has to succeed.
pub const ONE_RETRY: Duration = Duration::from_secs(60);

/// Looks again and again until `look` gives something.
///
/// # Panics
/// If it does not within `limit`, saying that `what` did not happen.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// As [`wait_for`], for a condition.
///
/// # Panics
/// If it does not become true within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || holds().then_some(()));
}
