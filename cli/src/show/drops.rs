//! A sentence for each drop reason, short enough for a line.

/// What a drop reason of the engine means, as the end of a sentence that begins with a number of packets. `None` for a
/// name this version does not know: a newer daemon's.
pub(crate) fn meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "malformed" => "no WireGuard messages by their type or length",
        "down" => "received while the interface was down",
        "bad-mac1" => "handshake messages made for another public key than ours",
        "no-identity" => "received before a private key was set",
        "cookie-required" => "handshake messages answered with a cookie because of load",
        "rate-limited" => "handshake messages beyond 20 a second from one address, under load",
        "handshake-queue-full" => "handshake messages that came faster than they could be worked on",
        "not-seeded" => "handshake messages before the system had random numbers",
        "bad-handshake" => "handshake messages that do not decrypt: preshared keys differ, or forged",
        "weak-key" => "handshake messages with a degenerate public key: in them, or the peer's own",
        "unknown-peer" => "handshake starts from a public key that no peer here has",
        "old-timestamp" => "handshake starts older than one already seen: a clock went back, or a replay",
        "initiation-flood" => "handshake starts beyond 50 a second from one peer",
        "unknown-index" => "messages for a session or handshake that is not known here (any more)",
        "bad-cookie" => "cookie replies that answer nothing we sent",
        "handshake-lost" => "handshake messages overtaken by another handshake",
        "session-expired" => "data under a session older than 3 minutes",
        "replayed" => "data received twice, or too late",
        "bad-tag" => "data that does not authenticate: damaged or forged",
        "stale-in" => "data whose session ended while it was being opened",
        "inner-malformed" => "decrypted packets that are not valid IP",
        "wrong-source" => "decrypted packets whose source is not in the peer's allowed ips",
        "ecn-illegal" => "packets marked as congested that cannot say so inside",
        "truncated" => "datagrams larger than any packet can be",
        "delivery-failed" => "decrypted packets that the system would not take",
        "not-ip" => "packets to send that are not IP",
        "no-route" => "packets to send whose destination is in no peer's allowed ips",
        "no-endpoint" => "packets to send to a peer whose endpoint is not known",
        "staged-overflow" => "packets to send that did not fit the queue while waiting for a handshake",
        "handshake-timeout" => "packets to send that waited 90 seconds for a handshake",
        "staged-purged" => "packets to send that waited when the interface went down or the peer was removed",
        "stale-out" => "packets to send whose session ended before they were sealed",
        "send-failed" => "datagrams that the system would not send",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerntun_engine::reason::Reason;

    #[test]
    fn every_reason_of_the_engine_has_a_sentence_that_fits_a_line() {
        for reason in Reason::ALL {
            let text = meaning(reason.name()).unwrap_or_else(|| panic!("{} has no sentence", reason.name()));
            assert!(text.len() <= 90, "{text}");
        }
        assert_eq!(meaning("from-the-future"), None);
    }
}
