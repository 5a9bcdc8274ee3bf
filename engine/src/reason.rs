//! Why a packet was dropped, and how often.

use core::sync::atomic::{AtomicUsize, Ordering};

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $direction:ident;)*) => {
        /// The one reason for which a datagram or an inner packet went no further.
        ///
        /// The names are part of the public interface: tools show them, and their meaning does not change. There may be more.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$meta])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Stable short name, in `kebab-case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Which way the packet was going.
            #[must_use]
            pub const fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)* }
            }
        }
    };
}

/// Which way a dropped packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A datagram from the network.
    In,
    /// An inner packet from the local machine, or a message of the engine's own.
    Out,
}

reasons! {
    /// A datagram whose type, length or reserved bytes fit no message.
    Malformed = "malformed", In;
    /// The interface is down.
    Down = "down", In;
    /// A handshake message whose mac1 was not made for our public key: the other side has a wrong key for us, or
    /// it is a stranger's.
    BadMac1 = "bad-mac1", In;
    /// We have no private key yet.
    NoIdentity = "no-identity", In;
    /// Under load, and the message carried no valid mac2: a cookie reply went back instead.
    CookieRequired = "cookie-required", In;
    /// Under load, and this source address sends more than its share (20 a second, 5 at once).
    RateLimited = "rate-limited", In;
    /// The host's queue of handshake messages was full.
    HandshakeQueueFull = "handshake-queue-full", In;
    /// The host's randomness is not seeded yet.
    NotSeeded = "not-seeded", In;
    /// A handshake message that does not decrypt: the preshared keys differ, or it is forged or damaged.
    BadHandshake = "bad-handshake", In;
    /// A Diffie-Hellman result was all zeros: the message carried a degenerate public key, or the peer's own is one.
    WeakKey = "weak-key", In;
    /// An initiation from a public key that no peer here has.
    UnknownPeer = "unknown-peer", In;
    /// An initiation whose timestamp is not greater than the last one: replayed, or the other side's clock went back.
    OldTimestamp = "old-timestamp", In;
    /// More than 50 initiations a second from one peer.
    InitiationFlood = "initiation-flood", In;
    /// A receiver index that belongs to nothing here (any more): the other side still uses keys we have forgotten.
    UnknownIndex = "unknown-index", In;
    /// A cookie reply that answers nothing we sent, or does not decrypt.
    BadCookie = "bad-cookie", In;
    /// A handshake ended differently while this message was being worked on, or no session memory was left.
    HandshakeLost = "handshake-lost", In;
    /// Data under a session that is older than 180 s or has received 2^64 - 2^13 - 1 packets.
    SessionExpired = "session-expired", In;
    /// A counter that was received before or is too old for the replay window.
    Replayed = "replayed", In;
    /// Data that does not authenticate: forged or damaged.
    BadTag = "bad-tag", In;
    /// The session or the peer was replaced while the packet was being opened.
    StaleIn = "stale-in", In;
    /// The decrypted packet is neither IPv4 nor IPv6, or its length fields do not fit.
    InnerMalformed = "inner-malformed", In;
    /// The inner source address is not among the allowed IPs of the peer that sent it.
    WrongSource = "wrong-source", In;
    /// Marked as congested on a path whose inner packet cannot say so (RFC 6040).
    EcnIllegal = "ecn-illegal", In;
    /// A datagram larger than the host's buffer.
    Truncated = "truncated", In;
    /// The local machine's queue would not take the decrypted packet.
    DeliveryFailed = "delivery-failed", In;
    /// The packet to send is neither IPv4 nor IPv6, or too short to be either.
    NotIp = "not-ip", Out;
    /// No peer has the destination among its allowed IPs.
    NoRoute = "no-route", Out;
    /// The peer's endpoint is not known.
    NoEndpoint = "no-endpoint", Out;
    /// Staged for a session, and pushed out by newer packets (128 packets or 1 MiB a peer).
    StagedOverflow = "staged-overflow", Out;
    /// Staged for a session that did not come about: twenty initiations in about 100 s were not answered.
    HandshakeTimeout = "handshake-timeout", Out;
    /// Staged or to be sent when the interface went down or the peer was removed.
    StagedPurged = "staged-purged", Out;
    /// The session ended between numbering a packet and sealing or sending it.
    StaleOut = "stale-out", Out;
    /// The operating system would not send the datagram.
    SendFailed = "send-failed", Out;
}

impl Reason {
    /// Position in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Drops by reason, counted by any number of threads at once.
///
/// Machine words: on 32-bit targets a count wraps at 2^32.
#[doc(hidden)]
#[derive(Debug)]
pub struct Drops([AtomicUsize; Reason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self([const { AtomicUsize::new(0) }; Reason::COUNT])
    }
}

impl Drops {
    /// Counts `packets` more drops for `reason`.
    pub fn count(&self, reason: Reason, packets: usize) {
        if let Some(count) = self.0.get(reason.index()) {
            count.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// Drops for `reason` so far.
    #[must_use]
    pub fn get(&self, reason: Reason) -> usize {
        self.0.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_numbers_match() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at);
            assert!(Reason::ALL[at + 1..].iter().all(|other| other.name() != reason.name()));
            assert!(reason.name().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }
}
