//! The content of a `set` request: typed, and its text form.

use crate::key::{self, PublicKey, SecretKey};
use crate::state::AllowedIp;
use crate::wiping::Wiping;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Everything one `set=1` asks for. What is `None`, `false` or empty stays as it is on the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetRequest {
    /// A new private key, or the wish to have none.
    pub private_key: Option<KeyChange>,
    /// The UDP port to listen on; 0 lets the system choose.
    pub listen_port: Option<u16>,
    /// The mark for outgoing packets; 0 switches it off.
    pub fwmark: Option<u32>,
    /// Remove all peers before applying [`Self::peers`].
    pub replace_peers: bool,
    /// Changes to peers, to be applied in this order. A peer may occur more than once: `wg(8)` sends a peer once for
    /// each time it is named on its command line or in a file.
    pub peers: Vec<PeerChange>,
}

/// Sets a key or takes it away. On the wire, an all-zero key takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// Use this key, which is not all zeros when it was parsed.
    Set(SecretKey),
    /// Have none.
    Clear,
}

impl From<SecretKey> for KeyChange {
    fn from(key: SecretKey) -> Self {
        if key.is_zero() { Self::Clear } else { Self::Set(key) }
    }
}

/// The changes to one peer. What is `None`, `false` or empty stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerChange {
    /// Which peer.
    pub public_key: PublicKey,
    /// Remove the peer; everything else said about it here is then without effect. Removing an unknown peer is no
    /// error.
    pub remove: bool,
    /// Do nothing if the peer is unknown, instead of adding it.
    pub update_only: bool,
    /// A new preshared key, or the wish to have none.
    pub preshared_key: Option<KeyChange>,
    /// Where to send to. The port is never 0.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 switches them off.
    pub persistent_keepalive_interval: Option<u16>,
    /// Remove all allowed ips of the peer before applying [`Self::allowed_ips`].
    pub replace_allowed_ips: bool,
    /// Prefixes to add and to remove, in order. Adding moves a prefix here from whichever peer had it.
    pub allowed_ips: Vec<AllowedIpChange>,
    /// The protocol version the requester insists on; only 1 exists.
    pub protocol_version: Option<u32>,
}

/// Adds a prefix to a peer or removes it from that peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedIpChange {
    /// Remove it (a leading `-` on the wire). Removing what the peer does not have is no error.
    pub remove: bool,
    /// The prefix, its host bits cleared.
    pub prefix: AllowedIp,
}

impl PeerChange {
    /// A change of this peer that changes nothing yet (beyond adding the peer).
    #[must_use]
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive_interval: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
            protocol_version: None,
        }
    }
}

impl SetRequest {
    /// Writes the request as text, from `set=1` to the empty line. The memory used for it is wiped.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Wiping::new(out);
        out.write_all(b"set=1\n")?;
        write_key(&mut out, "private_key", self.private_key.as_ref())?;
        if let Some(port) = self.listen_port {
            writeln!(out, "listen_port={port}")?;
        }
        if let Some(mark) = self.fwmark {
            writeln!(out, "fwmark={mark}")?;
        }
        if self.replace_peers {
            out.write_all(b"replace_peers=true\n")?;
        }
        for peer in &self.peers {
            peer.write_to(&mut out)?;
        }
        out.write_all(b"\n")?;
        out.flush()
    }
}

impl PeerChange {
    fn write_to(&self, out: &mut Wiping<'_>) -> io::Result<()> {
        writeln!(out, "public_key={}", self.public_key)?;
        if let Some(version) = self.protocol_version {
            writeln!(out, "protocol_version={version}")?;
        }
        if self.remove {
            out.write_all(b"remove=true\n")?;
        }
        if self.update_only {
            out.write_all(b"update_only=true\n")?;
        }
        write_key(out, "preshared_key", self.preshared_key.as_ref())?;
        if let Some(endpoint) = self.endpoint {
            writeln!(out, "endpoint={endpoint}")?;
        }
        if let Some(seconds) = self.persistent_keepalive_interval {
            writeln!(out, "persistent_keepalive_interval={seconds}")?;
        }
        if self.replace_allowed_ips {
            out.write_all(b"replace_allowed_ips=true\n")?;
        }
        for AllowedIpChange { remove, prefix } in &self.allowed_ips {
            let sign = if *remove { "-" } else { "" };
            writeln!(out, "allowed_ip={sign}{}/{}", prefix.address, prefix.prefix)?;
        }
        Ok(())
    }
}

fn write_key(out: &mut Wiping<'_>, name: &str, change: Option<&KeyChange>) -> io::Result<()> {
    let digits = match change {
        None => return Ok(()),
        Some(KeyChange::Clear) => key::encode(&[0; 32]),
        Some(KeyChange::Set(secret)) => key::encode(secret.as_bytes()),
    };
    write!(out, "{name}=")?;
    out.write_all(digits.as_slice())?;
    out.write_all(b"\n")
}
