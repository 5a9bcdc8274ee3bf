//! Writers of answers.
//!
//! They stream: memory does not depend on the number of peers. Each keeps a fixed buffer, which is wiped.

use crate::errno::Errno;
use crate::key::{self, PublicKey, SecretKey};
use crate::state::{AllowedIp, DeviceState, PeerState};
use crate::wiping::Wiping;
use std::io::{self, Write};

/// Writes the answer to `get=1`: device keys first, then peers.
///
/// Handed to [`Handler::get`](crate::Handler::get); the server adds `errno=` and the empty line. The order of calls is
/// the order of the answer: device keys, then for each peer [`Self::peer`] and, if its prefixes are not all in
/// [`PeerState::allowed_ips`], any number of [`Self::allowed_ip`].
pub struct GetWriter<'a> {
    out: Wiping<'a>,
    in_peers: bool,
}

impl<'a> GetWriter<'a> {
    /// Begins an answer.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out: Wiping::new(out), in_peers: false }
    }

    /// The private key. Call only if one is set.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` after a peer.
    pub fn private_key(&mut self, key: &SecretKey) -> io::Result<()> {
        self.device_keys()?;
        write_key(&mut self.out, "private_key", key.as_bytes())
    }

    /// The UDP port.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` after a peer.
    pub fn listen_port(&mut self, port: u16) -> io::Result<()> {
        self.device_keys()?;
        writeln!(self.out, "listen_port={port}")
    }

    /// The mark of outgoing packets; nothing is written for 0, which means none.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` after a peer.
    pub fn fwmark(&mut self, mark: u32) -> io::Result<()> {
        self.device_keys()?;
        if mark == 0 { Ok(()) } else { writeln!(self.out, "fwmark={mark}") }
    }

    /// A peer with everything that is in its state.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn peer(&mut self, peer: &PeerState) -> io::Result<()> {
        self.in_peers = true;
        writeln!(self.out, "public_key={}", peer.public_key)?;
        // Zeros stand for "none", as wireguard-go writes it.
        write_key(&mut self.out, "preshared_key", peer.preshared_key.as_ref().map_or(&[0; 32], SecretKey::as_bytes))?;
        self.out.write_all(b"protocol_version=1\n")?;
        if let Some(endpoint) = peer.endpoint {
            writeln!(self.out, "endpoint={endpoint}")?;
        }
        let handshake = peer.last_handshake.unwrap_or_default();
        writeln!(self.out, "last_handshake_time_sec={}", handshake.as_secs())?;
        writeln!(self.out, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
        writeln!(self.out, "tx_bytes={}", peer.tx_bytes)?;
        writeln!(self.out, "rx_bytes={}", peer.rx_bytes)?;
        writeln!(self.out, "persistent_keepalive_interval={}", peer.persistent_keepalive_interval)?;
        peer.allowed_ips.iter().try_for_each(|prefix| self.allowed_ip(*prefix))
    }

    /// A further prefix of the last peer.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` before any peer.
    pub fn allowed_ip(&mut self, prefix: AllowedIp) -> io::Result<()> {
        if !self.in_peers {
            return Err(misuse("an allowed ip was written before any peer"));
        }
        writeln!(self.out, "allowed_ip={}/{}", prefix.address, prefix.prefix)
    }

    /// A whole device.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` after a peer.
    pub fn device(&mut self, device: &DeviceState) -> io::Result<()> {
        if let Some(key) = &device.private_key {
            self.private_key(key)?;
        }
        self.listen_port(device.listen_port)?;
        self.fwmark(device.fwmark)?;
        device.peers.iter().try_for_each(|peer| self.peer(peer))
    }

    /// Ends the answer with its error number, 0 for `Ok`.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn finish(mut self, result: Result<(), Errno>) -> io::Result<()> {
        finish(&mut self.out, result)
    }

    fn device_keys(&self) -> io::Result<()> {
        if self.in_peers { Err(misuse("a device key was written after a peer")) } else { Ok(()) }
    }
}

/// Writes the answer to `get_diagnostics=1`: entries of the device first, then those of the peers.
///
/// On the wire an entry is a line `name=value`, and a line `public_key=` opens a peer, as in the answer to `get=1`.
pub struct DiagnosticsWriter<'a> {
    out: Wiping<'a>,
}

impl<'a> DiagnosticsWriter<'a> {
    /// Begins an answer.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out: Wiping::new(out) }
    }

    /// Opens a peer: the entries that follow are about it.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn peer(&mut self, key: &PublicKey) -> io::Result<()> {
        writeln!(self.out, "public_key={key}")
    }

    /// An entry. Line breaks and other control characters in the value become spaces; it is cut at 1,024 bytes.
    ///
    /// # Errors
    /// Those of the connection; `InvalidInput` if the name is not made of 1 to 64 lower-case letters, digits, `_`, `-`
    /// and `.`, or is `errno` or `public_key`.
    pub fn entry(&mut self, name: &str, value: &dyn std::fmt::Display) -> io::Result<()> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
        let reserved = matches!(name, "errno" | "public_key");
        if name.is_empty() || name.len() > 64 || reserved || !name.bytes().all(allowed) {
            return Err(misuse("the name of a diagnostic entry has a character that is not allowed, or is reserved"));
        }
        let mut value = value.to_string().replace(char::is_control, " ");
        value.truncate(value.floor_char_boundary(1024));
        writeln!(self.out, "{name}={value}")
    }

    /// Ends the answer with its error number, 0 for `Ok`.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn finish(mut self, result: Result<(), Errno>) -> io::Result<()> {
        finish(&mut self.out, result)
    }
}

/// The whole answer to a `set`. The sign differs from that of a `get`: see [`Errno`].
///
/// # Errors
/// Those of the connection.
pub fn answer_set(out: &mut dyn Write, result: Result<(), Errno>) -> io::Result<()> {
    let number = result.err().map_or(0, Errno::get).saturating_neg();
    out.write_all(format!("errno={number}\n\n").as_bytes())?;
    out.flush()
}

/// The whole answer to a request whose operation was not understood, or to a get that was malformed.
///
/// # Errors
/// Those of the connection.
pub fn answer_error(out: &mut dyn Write, errno: Errno) -> io::Result<()> {
    out.write_all(format!("errno={}\n\n", errno.get()).as_bytes())?;
    out.flush()
}

fn finish(out: &mut Wiping<'_>, result: Result<(), Errno>) -> io::Result<()> {
    write!(out, "errno={}\n\n", result.err().map_or(0, Errno::get))?;
    out.flush()
}

fn write_key(out: &mut Wiping<'_>, name: &str, key: &[u8; 32]) -> io::Result<()> {
    write!(out, "{name}=")?;
    out.write_all(key::encode(key).as_slice())?;
    out.write_all(b"\n")
}

fn misuse(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
