//! Answers out of a byte stream: the client's counterpart of [`response`](crate::response).

use crate::errno::Errno;
use crate::key::PublicKey;
use crate::line::{Line, LineBuffer};
use crate::state::{DeviceState, DiagnosticEntry, PeerState, Section};
use crate::value::{self, Wrong};
use std::fmt;
use std::time::Duration;

/// Longest line taken, in bytes without the newline. Diagnostic values are at most 1,024.
pub const MAX_LINE: usize = 4096;

/// Most bytes in one answer. A peer takes about 500 bytes, so this is good for half a million of them.
pub const MAX_ANSWER: u64 = 256 << 20;

/// An answer that does not follow the protocol. The daemon is at fault, or it is no WireGuard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerError {
    /// The line of the answer, counted from 1.
    pub line: u64,
    /// What is wrong with it. Contains no values.
    pub sentence: String,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the answer {}", self.line, self.sentence)
    }
}

impl std::error::Error for AnswerError {}

/// What an answer is collected into.
pub trait Collect: Default {
    /// Takes one `name=value` line that is not `errno`.
    ///
    /// # Errors
    /// When a known name has a value that cannot be. The text follows the name in a sentence.
    fn line(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str>;
}

/// Reads one answer, from its first line to the empty line.
pub struct AnswerParser<C> {
    lines: LineBuffer<MAX_LINE>,
    collected: C,
    errno: Option<Result<(), Errno>>,
    line: u64,
    bytes: u64,
}

impl<C: Collect> Default for AnswerParser<C> {
    fn default() -> Self {
        Self { lines: LineBuffer::new(), collected: C::default(), errno: None, line: 0, bytes: 0 }
    }
}

impl<C: Collect> AnswerParser<C> {
    /// Takes bytes from the front of `input` until the answer is complete; `None` when all were taken before that.
    /// The inner error is the one the daemon answered.
    ///
    /// # Errors
    /// When the answer is not of the protocol's form; the connection is then of no further use.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Result<C, Errno>>, AnswerError> {
        loop {
            let before = input.len();
            let line = self.lines.next(input);
            let taken = u64::try_from(before.saturating_sub(input.len())).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(taken);
            let number = self.line.saturating_add(1);
            let fail = |sentence: &str| Err(AnswerError { line: number, sentence: sentence.to_owned() });
            if self.bytes > MAX_ANSWER {
                return fail("comes after more than 256 MiB, which is not plausible");
            }
            let Some(line) = line else { return Ok(None) };
            self.line = number;
            let Line::Text(text) = line else { return fail("is longer than 4096 bytes") };
            if text.is_empty() {
                let Some(errno) = self.errno.take() else { return fail("is empty, but no errno came before it") };
                return Ok(Some(errno.map(|()| std::mem::take(&mut self.collected))));
            }
            let Some(at) = text.iter().position(|&byte| byte == b'=') else {
                return fail("is not of the form key=value");
            };
            let name = text.get(..at).unwrap_or_default();
            let value = text.get(at.saturating_add(1)..).unwrap_or_default();
            if name == b"errno" {
                let digits = value.strip_prefix(b"-").unwrap_or(value);
                let Some(errno) = value::u32(digits).ok().and_then(|n| i32::try_from(n).ok()) else {
                    return fail("has an errno that is not a number");
                };
                self.errno = Some(Errno::new(errno).map_or(Ok(()), Err));
            } else if let Err(wrong) = self.collected.line(name, value) {
                return fail(&format!("is wrong: {} {wrong}", String::from_utf8_lossy(name)));
            }
        }
    }

    /// Whether nothing has arrived at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// An answer of which only the error number matters: that to a `set`.
impl Collect for () {
    fn line(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), Wrong> {
        Ok(())
    }
}

/// Names that are not known are skipped, as `wg(8)` does.
impl Collect for DeviceState {
    fn line(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        if name == b"public_key" {
            let key = value::public_key(value)?;
            self.peers.try_reserve(1).map_err(|_| "does not fit into memory")?;
            self.peers.push(PeerState::new(key));
            return Ok(());
        }
        if let Some(peer) = self.peers.last_mut() {
            return peer_line(peer, name, value);
        }
        match name {
            b"private_key" => self.private_key = Some(value::secret_key(value)?).filter(|key| !key.is_zero()),
            b"listen_port" => self.listen_port = value::u16(value)?,
            b"fwmark" => self.fwmark = value::u32(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn peer_line(peer: &mut PeerState, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
    match name {
        b"preshared_key" => peer.preshared_key = Some(value::secret_key(value)?).filter(|key| !key.is_zero()),
        b"endpoint" => peer.endpoint = Some(value::endpoint(value, &crate::server::interface_index)?),
        b"last_handshake_time_sec" => {
            let old = peer.last_handshake.unwrap_or_default();
            peer.last_handshake = at(value::u64(value)?, old.subsec_nanos());
        }
        b"last_handshake_time_nsec" => {
            let nanoseconds = value::u32(value)?;
            if nanoseconds > 999_999_999 {
                return Err("is a whole second or more");
            }
            peer.last_handshake = at(peer.last_handshake.unwrap_or_default().as_secs(), nanoseconds);
        }
        b"tx_bytes" => peer.tx_bytes = value::u64(value)?,
        b"rx_bytes" => peer.rx_bytes = value::u64(value)?,
        b"persistent_keepalive_interval" => peer.persistent_keepalive_interval = value::u16(value)?,
        b"allowed_ip" => {
            let prefix = value::prefix(value)?;
            peer.allowed_ips.try_reserve(1).map_err(|_| "does not fit into memory")?;
            peer.allowed_ips.push(prefix);
        }
        _ => {}
    }
    Ok(())
}

fn at(seconds: u64, nanoseconds: u32) -> Option<Duration> {
    Some(Duration::new(seconds, nanoseconds)).filter(|time| !time.is_zero())
}

/// Diagnostics, in the order of the answer.
#[derive(Debug, Default)]
pub struct Diagnostics {
    peer: Option<PublicKey>,
    /// The entries.
    pub entries: Vec<DiagnosticEntry>,
}

impl Collect for Diagnostics {
    fn line(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        if name == b"public_key" {
            self.peer = Some(value::public_key(value)?);
            return Ok(());
        }
        let section = self.peer.map_or(Section::Device, Section::Peer);
        let text = |bytes| String::from_utf8_lossy(bytes).replace(char::is_control, " ");
        self.entries.try_reserve(1).map_err(|_| "does not fit into memory")?;
        self.entries.push(DiagnosticEntry { section, name: text(name), value: text(value) });
        Ok(())
    }
}
