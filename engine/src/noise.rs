//! The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (paper, section 5.4.1 to 5.4.5).
//!
//! Functions of their arguments only: nothing is remembered here, and nothing is changed when they fail. Each step
//! consumes what the step before it gave, so that a handshake cannot be taken out of order:
//!
//! ```text
//! initiator                          responder
//! initiate ─────── initiation ─────▶ open_initiation      names the initiator; cheap enough for strangers
//!                                    Opened::read_timestamp   proves it
//! Initiating::finish ◀─ response ─── Answering::respond
//! SessionKeys                        SessionKeys
//! ```
//!
//! The macs at the end of both messages are not part of Noise: see [`crate::cookie`].

use crate::cookie;
use crate::host::Crypto;
use crate::message::{Initiation, Response, Sealed};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Tai64n;

/// HASH(CONSTRUCTION), the chaining key that every handshake begins with: no need to compute it for each.
const FIRST_CHAINING: [u8; 32] = *b"\x60\xe2\x6d\xae\xf3\x27\xef\xc0\x2e\xc3\x35\xe2\xa0\x25\xd2\xd0\
    \x16\xeb\x42\x06\xf8\x72\x77\xf5\x2d\x38\xd1\x98\x8b\x78\xcd\x36";
/// HASH(HASH(CONSTRUCTION) ‖ IDENTIFIER), the hash that every handshake begins with.
const FIRST_HASH: [u8; 32] = *b"\x22\x11\xb3\x61\x08\x1a\xc5\x66\x69\x12\x43\xdb\x45\x8a\xd5\x32\
    \x2d\x9c\x6c\x66\x22\x93\xe8\xb7\x0e\xe1\x9c\x65\xba\x07\x9e\xf3";

/// Our own static key, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// To be shown to those who may configure.
    pub(crate) private: Secret,
    pub(crate) public: [u8; 32],
    /// Key of mac1 in what is sent to us.
    pub(crate) mac1_key: [u8; 32],
    /// Key of the cookie replies we send.
    pub(crate) cookie_key: Secret,
}

impl Identity {
    /// The identity of `private`, which is kept as it is: X25519 clamps it at every use.
    pub(crate) fn new(crypto: &impl Crypto, private: Secret) -> Self {
        let public = crypto.public_key(&private);
        let mac1_key = cookie::mac1_key(crypto, &public);
        let cookie_key = cookie::cookie_key(crypto, &public);
        Self { private, public, mac1_key, cookie_key }
    }

    /// DH of our static key with a peer's, computed once when either is configured. Zero if the peer's key is of low
    /// order, and so nobody's: no handshake with it gets past that (kernel `noise.c`, `wg_noise_precompute_static_static`).
    pub(crate) fn static_static(&self, crypto: &impl Crypto, peer: &[u8; 32]) -> Secret {
        let mut shared = Secret::ZERO;
        if crypto.x25519(&mut shared, &self.private, peer) { shared } else { Secret::ZERO }
    }
}

/// What a handshake needs of a peer, copied out of its lock.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// The peer's static public key.
    pub(crate) static_key: [u8; 32],
    /// [`Identity::static_static`] with it; zero, if the key is of low order, makes every handshake fail.
    pub(crate) static_static: Secret,
    /// The preshared key, [`Secret::ZERO`] if there is none.
    pub(crate) preshared: Secret,
}

/// A handshake that waits for its response: what the initiator has to remember.
#[derive(Clone, Debug)]
pub(crate) struct Initiating {
    transcript: Transcript,
    ephemeral: Secret,
    /// Our index: the receiver in the response.
    pub(crate) index: u32,
}

/// An initiation whose sender has said who it is, without proof yet.
#[derive(Debug)]
pub(crate) struct Opened {
    unproven: Answering,
    /// The static public key of whoever sent it, if it does not lie.
    pub(crate) remote_static: [u8; 32],
}

/// An initiation that is authentic, though it may be replayed.
#[derive(Debug)]
pub(crate) struct Answering {
    transcript: Transcript,
    remote_ephemeral: [u8; 32],
    remote_index: u32,
}

/// What a handshake is for.
#[derive(Debug)]
pub(crate) struct SessionKeys {
    /// Key of the data we send.
    pub(crate) send: Secret,
    /// Key of the data we receive.
    pub(crate) receive: Secret,
    /// Our index: the receiver in what is sent to us.
    pub(crate) local_index: u32,
    /// The other side's index: the receiver in what we send.
    pub(crate) remote_index: u32,
}

/// The first message: `→ e, es, s, ss, {timestamp}` (paper, section 5.4.2). `ephemeral` is fresh from the host's
/// entropy. The macs of the message are still zero.
///
/// # Errors
/// [`Reason::WeakKey`] if the peer's static key is of low order.
pub(crate) fn initiate(
    crypto: &impl Crypto,
    identity: &Identity,
    remote: &Remote,
    ephemeral: Secret,
    index: u32,
    stamp: Tai64n,
) -> Result<(Initiating, [u8; Initiation::LEN]), Reason> {
    let mut transcript = Transcript::new(crypto, &remote.static_key);
    let mut key = Secret::ZERO;
    let public = crypto.public_key(&ephemeral);
    transcript.mix_ephemeral(crypto, &public);
    transcript.mix_dh(crypto, &ephemeral, &remote.static_key, &mut [&mut key])?;
    let encrypted_static = transcript.seal(crypto, &key, identity.public);
    transcript.mix_static_static(crypto, &remote.static_static, &mut key)?;
    let encrypted_timestamp = transcript.seal(crypto, &key, *stamp.as_bytes());
    let message = Initiation { sender: index, ephemeral: public, encrypted_static, encrypted_timestamp };
    Ok((Initiating { transcript, ephemeral, index }, message.to_bytes()))
}

/// Reads the first message as far as it names the initiator: `e, es, s`.
///
/// # Errors
/// [`Reason::WeakKey`] if the ephemeral key is of low order, [`Reason::BadHandshake`] if the static key does not
/// decrypt.
pub(crate) fn open_initiation(
    crypto: &impl Crypto,
    identity: &Identity,
    message: &Initiation,
) -> Result<Opened, Reason> {
    let mut transcript = Transcript::new(crypto, &identity.public);
    let mut key = Secret::ZERO;
    transcript.mix_ephemeral(crypto, &message.ephemeral);
    transcript.mix_dh(crypto, &identity.private, &message.ephemeral, &mut [&mut key])?;
    let remote_static = transcript.open(crypto, &key, &message.encrypted_static)?;
    let unproven = Answering { transcript, remote_ephemeral: message.ephemeral, remote_index: message.sender };
    Ok(Opened { unproven, remote_static })
}

impl Opened {
    /// Reads the rest, `ss, {timestamp}`, which proves the static key. `static_static` is the
    /// [precomputed one](Identity::static_static) with `remote_static`, `message` the one that was opened.
    ///
    /// # Errors
    /// [`Reason::WeakKey`] if `static_static` is zero, [`Reason::BadHandshake`] if the timestamp does not decrypt.
    pub(crate) fn read_timestamp(
        self,
        crypto: &impl Crypto,
        static_static: &Secret,
        message: &Initiation,
    ) -> Result<(Answering, Tai64n), Reason> {
        let Self { unproven: mut proven, .. } = self;
        let mut key = Secret::ZERO;
        proven.transcript.mix_static_static(crypto, static_static, &mut key)?;
        let stamp = proven.transcript.open(crypto, &key, &message.encrypted_timestamp)?;
        Ok((proven, Tai64n::from_bytes(stamp)))
    }
}

impl Answering {
    /// The second message, `← e, ee, se, psk, {}` (paper, section 5.4.3), and the session. `ephemeral` is fresh from
    /// the host's entropy. The macs of the message are still zero.
    ///
    /// The responder may not send under the session before a data packet has arrived under it.
    ///
    /// # Errors
    /// [`Reason::WeakKey`] if the initiator's ephemeral or static key is of low order.
    pub(crate) fn respond(
        self,
        crypto: &impl Crypto,
        remote: &Remote,
        ephemeral: Secret,
        index: u32,
    ) -> Result<(SessionKeys, [u8; Response::LEN]), Reason> {
        let Self { mut transcript, remote_ephemeral, remote_index } = self;
        let public = crypto.public_key(&ephemeral);
        transcript.mix_ephemeral(crypto, &public);
        transcript.mix_dh(crypto, &ephemeral, &remote_ephemeral, &mut [])?;
        transcript.mix_dh(crypto, &ephemeral, &remote.static_key, &mut [])?;
        let mut key = Secret::ZERO;
        transcript.mix_preshared(crypto, &remote.preshared, &mut key);
        let encrypted_nothing = transcript.seal(crypto, &key, []);
        let message = Response { sender: index, receiver: remote_index, ephemeral: public, encrypted_nothing };
        let (receive, send) = transcript.split(crypto);
        Ok((SessionKeys { send, receive, local_index: index, remote_index }, message.to_bytes()))
    }
}

impl Initiating {
    /// Reads the second message and derives the session (paper, section 5.4.3 and 5.4.5). What is remembered stays
    /// as it is, so that a forged response does not end the handshake.
    ///
    /// # Errors
    /// [`Reason::UnknownIndex`] if the response answers another initiation, [`Reason::WeakKey`] if its ephemeral key
    /// is of low order, [`Reason::BadHandshake`] if it does not authenticate.
    pub(crate) fn finish(
        &self,
        crypto: &impl Crypto,
        identity: &Identity,
        preshared: &Secret,
        message: &Response,
    ) -> Result<SessionKeys, Reason> {
        if message.receiver != self.index {
            return Err(Reason::UnknownIndex);
        }
        let mut transcript = self.transcript.clone();
        transcript.mix_ephemeral(crypto, &message.ephemeral);
        transcript.mix_dh(crypto, &self.ephemeral, &message.ephemeral, &mut [])?;
        transcript.mix_dh(crypto, &identity.private, &message.ephemeral, &mut [])?;
        let mut key = Secret::ZERO;
        transcript.mix_preshared(crypto, preshared, &mut key);
        let [] = transcript.open(crypto, &key, &message.encrypted_nothing)?;
        let (send, receive) = transcript.split(crypto);
        Ok(SessionKeys { send, receive, local_index: self.index, remote_index: message.sender })
    }
}

/// What both sides have agreed on so far: H and C of the paper. Each change is one line of section 5.4.2 or 5.4.3.
///
/// H is no secret: Noise allows to publish it (revision 34, section 11.2).
#[derive(Clone, Debug)]
struct Transcript {
    hash: [u8; 32],
    chaining: Secret,
}

impl Transcript {
    /// C = HASH(CONSTRUCTION), H = HASH(HASH(C ‖ IDENTIFIER) ‖ S_r).
    fn new(crypto: &impl Crypto, responder: &[u8; 32]) -> Self {
        let mut start = Self { hash: FIRST_HASH, chaining: Secret::new(FIRST_CHAINING) };
        start.mix_hash(crypto, responder, &[]);
        start
    }

    /// H = HASH(H ‖ E), C = KDF1(C, E).
    fn mix_ephemeral(&mut self, crypto: &impl Crypto, public: &[u8; 32]) {
        self.mix_hash(crypto, public, &[]);
        crypto.derive(&mut self.chaining, public, &mut []);
    }

    /// (C, keys) = KDFn(C, DH(private, public)).
    fn mix_dh(
        &mut self,
        crypto: &impl Crypto,
        private: &Secret,
        public: &[u8; 32],
        keys: &mut [&mut Secret],
    ) -> Result<(), Reason> {
        let mut shared = Secret::ZERO;
        if !crypto.x25519(&mut shared, private, public) {
            return Err(Reason::WeakKey);
        }
        crypto.derive(&mut self.chaining, shared.expose(), keys);
        Ok(())
    }

    /// (C, key) = KDF2(C, DH(S_i, S_r)), that DH computed before.
    fn mix_static_static(&mut self, crypto: &impl Crypto, shared: &Secret, key: &mut Secret) -> Result<(), Reason> {
        if shared.is_zero() {
            return Err(Reason::WeakKey);
        }
        crypto.derive(&mut self.chaining, shared.expose(), &mut [key]);
        Ok(())
    }

    /// (C, τ, key) = KDF3(C, Q), H = HASH(H ‖ τ).
    fn mix_preshared(&mut self, crypto: &impl Crypto, preshared: &Secret, key: &mut Secret) {
        let mut tau = Secret::ZERO;
        crypto.derive(&mut self.chaining, preshared.expose(), &mut [&mut tau, key]);
        self.mix_hash(crypto, tau.expose(), &[]);
    }

    /// msg = AEAD(key, 0, text, H), H = HASH(H ‖ msg).
    fn seal<const N: usize>(&mut self, crypto: &impl Crypto, key: &Secret, mut text: [u8; N]) -> Sealed<N> {
        let tag = crypto.seal(key, 0, &self.hash, &mut text);
        self.mix_hash(crypto, &text, &tag);
        Sealed { text, tag }
    }

    /// The reverse of [`Transcript::seal`].
    fn open<const N: usize>(
        &mut self,
        crypto: &impl Crypto,
        key: &Secret,
        sealed: &Sealed<N>,
    ) -> Result<[u8; N], Reason> {
        let mut text = sealed.text;
        if !crypto.open(key, 0, &self.hash, &mut text, &sealed.tag) {
            return Err(Reason::BadHandshake);
        }
        self.mix_hash(crypto, &sealed.text, &sealed.tag);
        Ok(text)
    }

    /// (T_i→r, T_r→i) = KDF2(C, ε): the initiator's sending key first.
    fn split(mut self, crypto: &impl Crypto) -> (Secret, Secret) {
        let mut second = Secret::ZERO;
        crypto.derive(&mut self.chaining, &[], &mut [&mut second]);
        (self.chaining, second)
    }

    /// H = HASH(H ‖ data ‖ more).
    fn mix_hash(&mut self, crypto: &impl Crypto, data: &[u8], more: &[u8]) {
        let before = self.hash;
        crypto.hash(&mut self.hash, &[&before, data, more]);
    }
}

#[cfg(test)]
mod tests;
