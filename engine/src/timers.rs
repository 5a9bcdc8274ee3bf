//! A peer's timers: deadlines as data, written by events, read when the earliest comes due.
//!
//! Events are named as in the kernel's `timers.c`; the times are the paper's, section 6. Nothing here waits or calls
//! anything: whoever writes a deadline has the device's queue told if the earliest moved.

use crate::time::{Instant, MILLISECOND, SECOND};

/// Least time between handshake messages to one peer, and time to wait for a response (Rekey-Timeout).
pub(crate) const REKEY_TIMEOUT: u64 = 5 * SECOND;
/// Silence after received data that a keepalive breaks (Keepalive-Timeout).
const KEEPALIVE_TIMEOUT: u64 = 10 * SECOND;
/// Silence after sent data that asks for a new handshake: Keepalive-Timeout + Rekey-Timeout.
const NO_REPLY_TIMEOUT: u64 = 15 * SECOND;
/// With more repetitions than this behind it, an initiation was the last: Rekey-Attempt-Time (90 s) / Rekey-Timeout. So
/// twenty are sent (kernel `timers.c`, `wg_expired_retransmit_handshake`).
const MAX_RETRIES: u8 = 18;
/// Keys are wiped this long after the last session was made: three times Reject-After-Time.
const WIPE_AFTER: u64 = 540 * SECOND;
/// Random delays are below this, so that two sides that start together do not stay together.
const MAX_JITTER: u64 = 334 * MILLISECOND;

/// Why a peer has a deadline.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// An initiation is wanted: there is something to send and no session, or the session grows old.
    Initiation,
    /// No response came to the last initiation.
    Retransmit,
    /// Data was received and nothing was sent since: a keepalive tells the other side that it arrived.
    Keepalive,
    /// Data was sent and nothing was received since: the session may be dead.
    NewHandshake,
    /// No new session was made for nine minutes: forget all keys.
    WipeKeys,
    /// The configured persistent keepalive.
    PersistentKeepalive,
}

impl Timer {
    /// Every timer, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Initiation,
        Self::Retransmit,
        Self::Keepalive,
        Self::NewHandshake,
        Self::WipeKeys,
        Self::PersistentKeepalive,
    ];
    const COUNT: usize = 6;

    /// Stable short name, in `kebab-case`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initiation => "initiation-wanted",
            Self::Retransmit => "no-response-to-initiation",
            Self::Keepalive => "keepalive-owed",
            Self::NewHandshake => "no-reply-to-data",
            Self::WipeKeys => "wipe-keys",
            Self::PersistentKeepalive => "persistent-keepalive",
        }
    }
}

/// What the peer has to do because of deadlines that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) initiate: bool,
    pub(crate) keepalive: bool,
    /// The path may be at fault: forget which local address the peer was reached from.
    pub(crate) clear_source: bool,
    /// The handshake did not come about: drop what was staged for it.
    pub(crate) give_up: bool,
    pub(crate) wipe_keys: bool,
}

/// Deadlines of one peer. Protected by the peer's lock.
#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: [Instant; Timer::COUNT],
    /// What the device's queue believes is this peer's earliest deadline; never later than the truth.
    pub(crate) queued: Instant,
    last_handshake_sent: Option<Instant>,
    /// Initiations sent since the user last had something new to send.
    retries: u8,
    /// Data came in while a keepalive was already owed: owe another when that one is sent.
    owes_another: bool,
    persistent_keepalive: u16,
    jitter: u32,
}

impl Timers {
    /// No deadlines. `seed` starts the sequence of random delays.
    pub(crate) const fn new(seed: u32) -> Self {
        Self {
            deadlines: [Instant::NEVER; Timer::COUNT],
            queued: Instant::NEVER,
            last_handshake_sent: None,
            retries: 0,
            owes_another: false,
            persistent_keepalive: 0,
            // Zero is the one state a xorshift never leaves.
            jitter: seed | 1,
        }
    }

    /// A packet with content was sent.
    pub(crate) fn data_sent(&mut self, now: Instant) {
        if self.get(Timer::NewHandshake) == Instant::NEVER {
            let jitter = self.jitter();
            self.set(Timer::NewHandshake, now.after(NO_REPLY_TIMEOUT).after(jitter));
        }
    }

    /// A packet with content was received.
    pub(crate) fn data_received(&mut self, now: Instant) {
        if self.get(Timer::Keepalive) == Instant::NEVER {
            self.set(Timer::Keepalive, now.after(KEEPALIVE_TIMEOUT));
        } else {
            self.owes_another = true;
        }
    }

    /// Anything that the other side can authenticate was sent.
    pub(crate) fn any_authenticated_sent(&mut self, now: Instant) {
        self.set(Timer::Keepalive, Instant::NEVER);
        self.any_authenticated_traversal(now);
    }

    /// Anything authentic was received.
    pub(crate) fn any_authenticated_received(&mut self, now: Instant) {
        self.set(Timer::NewHandshake, Instant::NEVER);
        self.any_authenticated_traversal(now);
    }

    /// A handshake message of ours is on its way: no initiation for the next five seconds.
    pub(crate) fn handshake_sent(&mut self, now: Instant) {
        self.last_handshake_sent = Some(now);
    }

    /// An initiation of ours is on its way, or could not be made, which is as good as lost: it is tried as often.
    pub(crate) fn handshake_initiated(&mut self, now: Instant) {
        self.handshake_sent(now);
        self.set(Timer::Initiation, Instant::NEVER);
        let jitter = self.jitter();
        self.set(Timer::Retransmit, now.after(REKEY_TIMEOUT).after(jitter));
    }

    /// An initiation of the other side was answered: one of ours that was wanted waits for what becomes of that.
    pub(crate) fn handshake_answered(&mut self, now: Instant) {
        self.handshake_sent(now);
        if self.get(Timer::Initiation) != Instant::NEVER {
            let jitter = self.jitter();
            self.set(Timer::Initiation, now.after(REKEY_TIMEOUT).after(jitter));
        }
    }

    /// Both sides are known to have the new keys.
    pub(crate) fn handshake_complete(&mut self) {
        self.set(Timer::Retransmit, Instant::NEVER);
        self.set(Timer::Initiation, Instant::NEVER);
        self.retries = 0;
    }

    /// New keys were derived.
    pub(crate) fn session_derived(&mut self, now: Instant) {
        self.set(Timer::WipeKeys, now.after(WIPE_AFTER));
    }

    /// There is a reason for a handshake, as soon as one may be sent. With `user_data`, a new packet is the reason
    /// and attempts are counted afresh.
    pub(crate) fn want_initiation(&mut self, now: Instant, user_data: bool) {
        if user_data {
            self.retries = 0;
        }
        // An initiation is under way: its retransmission comes after the same five seconds, with its jitter.
        if self.wants_handshake() {
            return;
        }
        let jitter = self.jitter();
        let at = match self.last_handshake_sent {
            Some(last) if !last.has_passed(REKEY_TIMEOUT, now) => last.after(REKEY_TIMEOUT).after(jitter),
            _ => now,
        };
        self.set(Timer::Initiation, at);
    }

    /// Whether an initiation is wanted or under way.
    pub(crate) fn wants_handshake(&self) -> bool {
        self.get(Timer::Initiation) != Instant::NEVER || self.get(Timer::Retransmit) != Instant::NEVER
    }

    /// Whether an initiation may be sent now.
    pub(crate) fn may_initiate(&self, now: Instant) -> bool {
        self.last_handshake_sent.is_none_or(|last| last.has_passed(REKEY_TIMEOUT, now))
    }

    /// Lets the next initiation go out at once: our identity changed, or the interface came up again.
    pub(crate) fn forget_last_handshake(&mut self) {
        self.last_handshake_sent = None;
        self.set(Timer::Retransmit, Instant::NEVER);
        self.retries = 0;
    }

    /// Sets the interval of the persistent keepalive in seconds, zero for none. A keepalive is due at once if one
    /// was switched on and the interface is up.
    pub(crate) fn set_persistent_keepalive(&mut self, now: Instant, seconds: u16, up: bool) {
        let was = core::mem::replace(&mut self.persistent_keepalive, seconds);
        if seconds == 0 {
            self.set(Timer::PersistentKeepalive, Instant::NEVER);
        } else if up && was == 0 {
            self.set(Timer::PersistentKeepalive, now);
        } else if up {
            let next = now.after(self.interval()).min(self.get(Timer::PersistentKeepalive));
            self.set(Timer::PersistentKeepalive, next);
        }
    }

    /// The interface came up.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.persistent_keepalive > 0 {
            self.set(Timer::PersistentKeepalive, now);
        }
    }

    /// The interface went down: nothing is due any more.
    pub(crate) fn stop(&mut self) {
        self.deadlines = [Instant::NEVER; Timer::COUNT];
        self.owes_another = false;
        self.forget_last_handshake();
    }

    /// Takes the deadlines that have passed off the list and says what follows from them.
    pub(crate) fn expire(&mut self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        if self.take_due(Timer::Retransmit, now) {
            if self.retries > MAX_RETRIES {
                expired.give_up = true;
                self.retries = 0;
                self.set(Timer::Keepalive, Instant::NEVER);
                if self.get(Timer::WipeKeys) == Instant::NEVER {
                    self.set(Timer::WipeKeys, now.after(WIPE_AFTER));
                }
            } else {
                self.retries = self.retries.saturating_add(1);
                expired.clear_source = true;
                expired.initiate = true;
            }
        }
        if self.take_due(Timer::NewHandshake, now) {
            expired.clear_source = true;
            self.want_initiation(now, true);
        }
        if self.take_due(Timer::Keepalive, now) {
            expired.keepalive = true;
            if core::mem::take(&mut self.owes_another) {
                self.set(Timer::Keepalive, now.after(KEEPALIVE_TIMEOUT));
            }
        }
        if self.take_due(Timer::PersistentKeepalive, now) {
            expired.keepalive = true;
            // Sending it moves this on; without an endpoint it stays a quiet wish at the same interval.
            self.set(Timer::PersistentKeepalive, now.after(self.interval()));
        }
        if self.take_due(Timer::WipeKeys, now) {
            expired.wipe_keys = true;
        }
        if self.take_due(Timer::Initiation, now) {
            expired.initiate = true;
        }
        expired
    }

    /// The earliest deadline and what it is for.
    pub(crate) fn earliest(&self) -> (Instant, Timer) {
        Timer::ALL
            .into_iter()
            .map(|timer| (self.get(timer), timer))
            .min_by_key(|(at, _)| *at)
            .unwrap_or((Instant::NEVER, Timer::WipeKeys))
    }

    /// When `timer` is due, [`Instant::NEVER`] if it is not.
    pub(crate) fn get(&self, timer: Timer) -> Instant {
        self.deadlines.get(timer as usize).copied().unwrap_or(Instant::NEVER)
    }

    pub(crate) const fn retries(&self) -> u8 {
        self.retries
    }

    pub(crate) const fn persistent_keepalive(&self) -> u16 {
        self.persistent_keepalive
    }

    fn any_authenticated_traversal(&mut self, now: Instant) {
        if self.persistent_keepalive > 0 {
            self.set(Timer::PersistentKeepalive, now.after(self.interval()));
        }
    }

    fn interval(&self) -> u64 {
        u64::from(self.persistent_keepalive).saturating_mul(SECOND)
    }

    fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(deadline) = self.deadlines.get_mut(timer as usize) {
            *deadline = at;
        }
    }

    fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.get(timer) <= now && now != Instant::NEVER;
        if due {
            self.set(timer, Instant::NEVER);
        }
        due
    }

    /// A random delay below [`MAX_JITTER`]. Not secret, only uneven: a xorshift (Marsaglia 2003) will do.
    fn jitter(&mut self) -> u64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 17;
        self.jitter ^= self.jitter << 5;
        (u64::from(self.jitter).wrapping_mul(MAX_JITTER)) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000 * 1_000_000_000);

    fn at(millis: u64) -> Instant {
        START.after(millis * 1_000_000)
    }

    /// Seconds and jitter: 0 to 333 ms.
    fn assert_jittered(deadline: Instant, seconds: u64) {
        assert!(deadline >= at(seconds * 1000) && deadline < at(seconds * 1000 + 334), "{deadline:?}");
    }

    #[test]
    fn a_keepalive_is_owed_ten_seconds_after_received_data_only() {
        let mut timers = Timers::new(1);
        timers.any_authenticated_received(START);
        assert_eq!(timers.earliest().0, Instant::NEVER);
        timers.data_received(START);
        assert_eq!(timers.earliest(), (at(10_000), Timer::Keepalive));
        timers.data_received(at(3_000));
        assert_eq!(timers.earliest(), (at(10_000), Timer::Keepalive));
        assert_eq!(timers.expire(at(9_999)), Expired::default());
        assert!(timers.expire(at(10_000)).keepalive);
        // Data came in while one was owed: another is, ten seconds on.
        assert_eq!(timers.earliest(), (at(20_000), Timer::Keepalive));
        timers.any_authenticated_sent(at(10_000));
        assert_eq!(timers.earliest().0, Instant::NEVER);
    }

    #[test]
    fn fifteen_seconds_without_a_reply_ask_for_a_handshake() {
        let mut timers = Timers::new(2);
        timers.data_sent(START);
        assert_jittered(timers.get(Timer::NewHandshake), 15);
        let first = timers.get(Timer::NewHandshake);
        timers.data_sent(at(9_000));
        assert_eq!(timers.get(Timer::NewHandshake), first);
        let expired = timers.expire(at(15_334));
        assert!(expired.initiate && expired.clear_source && !expired.keepalive);
        timers.data_sent(at(16_000));
        timers.any_authenticated_received(at(17_000));
        assert_eq!(timers.get(Timer::NewHandshake), Instant::NEVER);
    }

    #[test]
    fn retransmission_every_five_seconds_and_the_end_after_ninety() {
        let mut timers = Timers::new(3);
        let mut now = START;
        timers.want_initiation(now, true);
        assert!(timers.expire(now).initiate);
        timers.handshake_initiated(now);
        let mut sent = 1;
        loop {
            let (due, timer) = timers.earliest();
            assert_eq!(timer, Timer::Retransmit);
            assert!(due >= now.after(5_000_000_000) && due < now.after(5_334_000_000));
            now = due;
            let expired = timers.expire(now);
            if expired.give_up {
                assert!(!expired.initiate);
                break;
            }
            assert!(expired.initiate && expired.clear_source);
            timers.handshake_initiated(now);
            sent += 1;
        }
        assert_eq!(sent, 20);
        assert!(now >= at(100_000) && now < at(100_000 + 20 * 334));
        // Keys of an idle peer go 540 s after it gave up.
        assert_eq!(timers.earliest(), (now.after(540_000_000_000), Timer::WipeKeys));
        assert!(timers.expire(now.after(540_000_000_000)).wipe_keys);
    }

    #[test]
    fn giving_up_ends_the_keepalive_that_is_owed() {
        let mut timers = Timers::new(3);
        timers.handshake_initiated(START);
        loop {
            let now = timers.get(Timer::Retransmit);
            timers.data_received(now);
            assert_ne!(timers.get(Timer::Keepalive), Instant::NEVER);
            if timers.expire(now).give_up {
                break;
            }
            timers.handshake_initiated(now);
        }
        assert_eq!(timers.get(Timer::Keepalive), Instant::NEVER);
    }

    #[test]
    fn new_user_data_starts_the_attempts_afresh_but_sends_nothing_early() {
        let mut timers = Timers::new(4);
        timers.handshake_initiated(START);
        let due = timers.earliest().0;
        assert!(timers.expire(due).initiate);
        timers.handshake_initiated(due);
        assert_eq!(timers.retries(), 1);
        let retransmit = timers.earliest();
        timers.want_initiation(due.after(1), true);
        assert_eq!(timers.retries(), 0);
        assert_eq!(timers.earliest(), retransmit);
    }

    #[test]
    fn no_initiation_within_five_seconds_of_our_own_response() {
        let mut timers = Timers::new(5);
        timers.handshake_sent(START);
        assert!(!timers.may_initiate(at(4_999)) && timers.may_initiate(at(5_000)));
        timers.want_initiation(at(1_000), true);
        assert_jittered(timers.get(Timer::Initiation), 5);
    }

    #[test]
    fn persistent_keepalives_are_sent_at_once_and_pushed_back_by_traffic() {
        let mut timers = Timers::new(6);
        timers.set_persistent_keepalive(START, 25, true);
        assert!(timers.expire(START).keepalive);
        assert_eq!(timers.get(Timer::PersistentKeepalive), at(25_000));
        timers.any_authenticated_sent(at(1_000));
        assert_eq!(timers.get(Timer::PersistentKeepalive), at(26_000));
        timers.any_authenticated_received(at(4_000));
        assert_eq!(timers.get(Timer::PersistentKeepalive), at(29_000));
        timers.set_persistent_keepalive(at(5_000), 0, true);
        assert_eq!(timers.get(Timer::PersistentKeepalive), Instant::NEVER);
    }

    #[test]
    fn a_stopped_interface_has_no_deadlines() {
        let mut timers = Timers::new(7);
        timers.set_persistent_keepalive(START, 25, true);
        timers.data_sent(START);
        timers.data_received(START);
        timers.handshake_initiated(START);
        timers.session_derived(START);
        timers.stop();
        assert_eq!(timers.earliest().0, Instant::NEVER);
        timers.start(START);
        assert_eq!(timers.earliest(), (START, Timer::PersistentKeepalive));
    }

    #[test]
    fn sessions_are_wiped_nine_minutes_after_the_last_was_made() {
        let mut timers = Timers::new(8);
        timers.session_derived(START);
        timers.session_derived(at(100_000));
        assert!(!timers.expire(at(639_999)).wipe_keys);
        assert!(timers.expire(at(640_000)).wipe_keys);
    }

    #[test]
    fn jitter_stays_below_a_third_of_a_second_and_varies() {
        let mut timers = Timers::new(9);
        let (mut least, mut most) = (u64::MAX, 0);
        for _ in 0..10_000 {
            let jitter = timers.jitter();
            least = least.min(jitter);
            most = most.max(jitter);
        }
        assert!(least < 1_000_000 && most > 332_000_000 && most < 334_000_000);
    }
}
