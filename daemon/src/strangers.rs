//! How much Diffie-Hellman strangers may have for nothing.

use kerntun_engine::reason::Reason;
use kerntun_engine::time::{Instant, MILLISECOND};

/// A thousand a second: a fortieth of a processor.
const COST: u64 = MILLISECOND;
/// A quarter of a second's worth at once.
const SAVED: u64 = 250 * COST;

/// Messages that came to nothing though Diffie-Hellman was computed for them. A processor is busy with twenty thousand of
/// them a second, long before a queue of them fills. Handshakes of peers do not count, however many they are.
pub(crate) struct Strangers {
    /// When all that was computed for them is paid for.
    paid: Instant,
}

impl Strangers {
    /// None so far.
    pub(crate) const fn new() -> Self {
        Self { paid: Instant::ZERO }
    }

    /// A message was dropped.
    pub(crate) fn dropped(&mut self, now: Instant, reason: Reason) {
        use Reason::{BadHandshake, HandshakeLost, InitiationFlood, OldTimestamp, UnknownPeer, WeakKey};
        if matches!(reason, BadHandshake | HandshakeLost | InitiationFlood | OldTimestamp | UnknownPeer | WeakKey) {
            self.paid = self.paid.max(now).after(COST);
        }
    }

    /// Whether they have had more than their share, so that they have to prove their addresses first.
    pub(crate) const fn are_too_many(&self, now: Instant) -> bool {
        self.paid.since(now) > SAVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_thousand_a_second_after_250_at_once() {
        let mut strangers = Strangers::new();
        for _ in 0..250 {
            strangers.dropped(at(5), Reason::UnknownPeer);
        }
        assert!(!strangers.are_too_many(at(5)));
        strangers.dropped(at(5), Reason::BadHandshake);
        assert!(strangers.are_too_many(at(5)) && !strangers.are_too_many(at(6)));
        for millisecond in 6..2000 {
            strangers.dropped(at(millisecond), Reason::OldTimestamp);
            assert!(!strangers.are_too_many(at(millisecond + 1)));
        }
        strangers.dropped(at(10_000), Reason::WeakKey);
        assert!(!strangers.are_too_many(at(10_000)), "what is not used is not saved for ever");
    }

    #[test]
    fn what_costs_nothing_counts_for_nothing() {
        let mut strangers = Strangers::new();
        for _ in 0..10_000 {
            strangers.dropped(at(5), Reason::BadMac1);
            strangers.dropped(at(5), Reason::RateLimited);
        }
        assert!(!strangers.are_too_many(at(5)));
    }
}
