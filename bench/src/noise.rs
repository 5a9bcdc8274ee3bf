//! The far end of a handshake, as `snow` understands it: messages to and from a daemon that is measured.
//!
//! Source: the WireGuard paper, sections 5.4.2 to 5.4.7.

use kerntun_crypto::Fast;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;
use kerntun_lab::Trouble;
use snow::{Builder, HandshakeState, StatelessTransportState};

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const NO_PSK: [u8; 32] = [0; 32];

/// Bytes of the messages.
pub(crate) const INITIATION: usize = 148;
pub(crate) const RESPONSE: usize = 92;
pub(crate) const COOKIE: usize = 64;

/// The daemon, as everybody knows it.
#[derive(Clone, Copy)]
pub(crate) struct Daemon {
    public: [u8; 32],
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
}

/// A handshake that waits for its response.
pub(crate) struct Waiting {
    state: HandshakeState,
    /// The message to send.
    pub(crate) message: [u8; INITIATION],
}

impl Daemon {
    pub(crate) fn new(public: [u8; 32]) -> Self {
        let key = |label: &[u8]| {
            let mut key = [0; 32];
            Fast::new().hash(&mut key, &[label, &public]);
            key
        };
        Self { public, mac1_key: key(b"mac1----"), cookie_key: key(b"cookie--") }
    }

    /// Begins a handshake as the owner of `private`, at this second since 1970, with `index` as its receiver index.
    pub(crate) fn initiate(&self, private: &[u8; 32], seconds: u64, index: u32) -> Result<Waiting, Trouble> {
        let builder = builder(private)?.remote_public_key(&self.public).map_err(fail)?;
        let mut state = builder.build_initiator().map_err(fail)?;
        // TAI64N without leap seconds, as WireGuard has it.
        let mut stamp = [0; 12];
        stamp[..8].copy_from_slice(&(0x4000_0000_0000_000a + seconds).to_be_bytes());
        let mut message = [0; INITIATION];
        message[0] = 1;
        message[4..8].copy_from_slice(&index.to_le_bytes());
        state.write_message(&stamp, &mut message[8..116]).map_err(fail)?;
        self.sign(&mut message);
        Ok(Waiting { state, message })
    }

    /// Answers a handshake as the owner of `private`.
    pub(crate) fn respond(&self, private: &[u8; 32], initiation: &[u8; INITIATION]) -> Result<[u8; RESPONSE], Trouble> {
        let mut state = builder(private)?.build_responder().map_err(fail)?;
        state.read_message(&initiation[8..116], &mut [0; 64]).map_err(fail)?;
        let mut message = [0; RESPONSE];
        message[0] = 2;
        message[4..8].copy_from_slice(&1_u32.to_le_bytes());
        message[8..12].copy_from_slice(&initiation[4..8]);
        state.write_message(&[], &mut message[12..60]).map_err(fail)?;
        self.sign(&mut message);
        Ok(message)
    }

    /// The cookie in a reply to `message`, if it is one.
    pub(crate) fn cookie(&self, reply: &[u8; COOKIE], message: &[u8]) -> Option<[u8; 16]> {
        let (nonce, sealed) = (reply[8..32].first_chunk()?, &reply[32..]);
        let (mut cookie, tag) = (*sealed.first_chunk()?, sealed[16..].first_chunk()?);
        let (_, macs) = message.split_last_chunk::<32>()?;
        let mac1 = &macs[..16];
        Fast::new().xopen(&Secret::new(self.cookie_key), nonce, mac1, &mut cookie, tag).then_some(cookie)
    }

    fn sign(&self, message: &mut [u8]) {
        let end = message.len() - 32;
        let mut mac = [0; 16];
        Fast::new().mac(&mut mac, &self.mac1_key, &[&message[..end]]);
        message[end..end + 16].copy_from_slice(&mac);
    }
}

/// Adds the second mac to a message, which a daemon under load wants to see.
pub(crate) fn put_cookie(message: &mut [u8], cookie: &[u8; 16]) {
    if let Some((signed, mac2)) = message.split_last_chunk_mut::<16>() {
        Fast::new().mac(mac2, cookie, &[signed]);
    }
}

impl Waiting {
    /// Whether a response is the daemon's to this handshake.
    pub(crate) fn is_answered_by(&mut self, response: &[u8; RESPONSE]) -> bool {
        self.state.read_message(&response[12..60], &mut [0; 16]).is_ok()
    }
}

impl Waiting {
    /// The session, if this is the daemon's response to this handshake.
    pub(crate) fn finish(mut self, response: &[u8; RESPONSE]) -> Option<Transport> {
        if !self.is_answered_by(response) {
            return None;
        }
        let receiver = *response[4..8].first_chunk()?;
        Some(Transport { state: self.state.into_stateless_transport_mode().ok()?, receiver })
    }
}

/// A session.
pub(crate) struct Transport {
    state: StatelessTransportState,
    /// The index that the daemon gave it.
    receiver: [u8; 4],
}

impl Transport {
    /// A data message with this counter; `datagram` is 32 bytes longer than the text.
    pub(crate) fn seal(&self, counter: u64, text: &[u8], datagram: &mut [u8]) -> Result<(), Trouble> {
        let (header, body) = datagram.split_at_mut(16);
        header[..4].copy_from_slice(&[4, 0, 0, 0]);
        header[4..8].copy_from_slice(&self.receiver);
        header[8..].copy_from_slice(&counter.to_le_bytes());
        self.state.write_message(counter, text, body).map(drop).map_err(fail)
    }
}

fn builder(private: &[u8; 32]) -> Result<Builder<'_>, Trouble> {
    let pattern = PATTERN.parse().map_err(fail)?;
    let builder = Builder::new(pattern).prologue(PROLOGUE).map_err(fail)?;
    builder.psk(2, &NO_PSK).map_err(fail)?.local_private_key(private).map_err(fail)
}

fn fail(error: snow::Error) -> Trouble {
    Trouble::new(format!("a handshake cannot be computed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::public_key;

    #[test]
    fn both_ends_understand_each_other() {
        let (private, other) = ([0x48; 32], [0x50; 32]);
        let daemon = Daemon::new(public_key(private));
        let mut waiting = daemon.initiate(&other, 1_700_000_000, 7).unwrap();
        let response = Daemon::new(public_key(other)).respond(&private, &waiting.message).unwrap();
        let mut damaged = response;
        damaged[20] ^= 1;
        assert_eq!(response[8..12], [7, 0, 0, 0]);
        assert!(waiting.is_answered_by(&response));
        assert!(!daemon.initiate(&other, 1_700_000_001, 8).unwrap().is_answered_by(&damaged));
    }

    /// The paper, sections 5.4.4 and 5.4.7.
    #[test]
    fn a_cookie_for_either_message_is_read_and_shown() {
        let daemon = Daemon::new(public_key([0x48; 32]));
        let initiation = daemon.initiate(&[0x50; 32], 1_700_000_000, 7).unwrap().message;
        let response = Daemon::new(public_key([0x50; 32])).respond(&[0x48; 32], &initiation).unwrap();
        for message in [&initiation[..], &response] {
            let (cookie, nonce) = ([0x33; 16], [0x44; 24]);
            let mut sealed = cookie;
            let end = message.len();
            let key = Secret::new(daemon.cookie_key);
            let tag = Fast::new().xseal(&key, &nonce, &message[end - 32..end - 16], &mut sealed);
            let mut reply = [0; COOKIE];
            reply[8..32].copy_from_slice(&nonce);
            reply[32..48].copy_from_slice(&sealed);
            reply[48..].copy_from_slice(&tag);
            assert_eq!(daemon.cookie(&reply, message), Some(cookie));
            reply[50] ^= 1;
            assert_eq!(daemon.cookie(&reply, message), None);
            let mut shown = message.to_vec();
            put_cookie(&mut shown, &cookie);
            let mut mac2 = [0; 16];
            Fast::new().mac(&mut mac2, &cookie, &[&message[..end - 16]]);
            assert_eq!((&shown[..end - 16], &shown[end - 16..]), (&message[..end - 16], &mac2[..]));
        }
    }
}
