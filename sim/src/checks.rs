//! What must hold: every invariant of the simulation, by name.

use std::fmt;

macro_rules! checks {
    ($($(#[$meta:meta])* $variant:ident = $name:literal;)*) => {
        /// An invariant. Its name is what a failing run, a mutation and the documentation call it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check { $($(#[$meta])* $variant,)* }

        impl Check {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name, in `kebab-case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

checks! {
    /// The engine does not panic, and takes its locks in order.
    NoPanic = "no-panic";
    /// An inner packet is delivered only if it was sent.
    DeliveredIfSent = "delivered-if-sent";
    /// … at most once.
    DeliveredOnce = "delivered-once";
    /// … unchanged, but for a mark of congestion as RFC 6040 has it.
    DeliveredUnchanged = "delivered-unchanged";
    /// … to the peer whose allowed IPs held its destination when it was sent, as coming from the peer that sent it.
    DeliveredToThePeer = "delivered-to-the-peer";
    /// Routes of both directions are the longest prefixes of a slow table.
    RoutedByTheTable = "routed-by-the-table";
    /// Packets to one peer leave in the order they came.
    OrderKept = "order-kept";
    /// No two texts are sealed under one key and counter, by anybody, ever.
    CountersUsedOnce = "counters-used-once";
    /// Nothing goes out that was not sealed.
    NothingGoesOutUnsealed = "nothing-goes-out-unsealed";
    /// Forged, changed and replayed datagrams, and whatever is dropped, change no peer, session, endpoint or timer.
    StrangersChangeNothing = "strangers-change-nothing";
    /// They get no answer but a cookie reply, and that only under load.
    StrangersGetNoAnswer = "strangers-get-no-answer";
    /// A cookie reply changes no peer, session, endpoint or timer either, even a genuine one.
    CookiesChangeNothing = "cookies-change-nothing";
    /// A message of one peer changes no other peer.
    PeersAreApart = "peers-are-apart";
    /// A responder does not seal under a session that the initiator has not confirmed.
    UnconfirmedStaysUnused = "unconfirmed-stays-unused";
    /// Keys seal and open for 180 s.
    KeysAgeOut = "keys-age-out";
    /// Nine minutes after the last session was made there is no session, handshake or secret of one left.
    KeysAreForgotten = "keys-are-forgotten";
    /// Once faults have stopped, every pair with traffic is connected within the bound.
    Reconnects = "reconnects";
    /// Whoever sleeps until the deadline it was told of misses none.
    SleeperKnows = "sleeper-knows";
    /// A device with nothing to do has no deadline, and none spins.
    IdleIsSilent = "idle-is-silent";
    /// No table exceeds its bound.
    TablesBounded = "tables-bounded";
    /// Staged packets go out or are dropped in the end.
    StagedIsResolved = "staged-is-resolved";
    /// Inner packets in = sealed + dropped + staged + in the host's hands.
    AccountsOut = "accounts-out";
    /// Datagrams in = delivered + keepalives + handshake messages handled + dropped + in the host's hands.
    AccountsIn = "accounts-in";
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// What was seen.
    pub detail: String,
    /// Virtual time, in nanoseconds since the start.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {:.3} s: {}", self.check, self.at as f64 / 1e9, self.detail)
    }
}
