//! Requests out of a byte stream.
//!
//! A request is an operation line (`get=1`, `set=1`, or our `get_diagnostics=1`), lines `key=value`, and an empty line.
//! Several follow each other on a connection. Empty lines between requests are skipped.
//!
//! **All or nothing.** Lines become typed changes as they arrive, so no text is collected; but nothing is handed out
//! before the empty line has come and all of it was valid. (wireguard-go applies line by line and keeps what it did
//! before the mistake.)
//!
//! **After an error** the rest of that request is read and thrown away up to its empty line, then the error is
//! returned; the connection stays usable. (wireguard-go answers at once and loses its place in the stream. `wg(8)` and
//! everybody else closes the connection after an error, so both are compatible with them.) The exception is a request
//! that exceeds [`MAX_REQUEST`]: it is refused at once and the connection has to be closed.
//!
//! **Error numbers** are those observed from wireguard-go: `EPROTO` for a line without `=`, `EINVAL` for anything wrong
//! with a key or value. An unknown operation, on which wireguard-go hangs up, is `EOPNOTSUPP` here.
//!
//! **Stricter than wireguard-go**, to catch mistakes instead of guessing: a key given twice for the device or within
//! one peer's section, `replace_allowed_ips` after an `allowed_ip` that it would undo, and an endpoint with port 0 are
//! errors. The same `public_key` may open several sections, because `wg(8)` sends it so.

use crate::change::{AllowedIpChange, KeyChange, PeerChange, SetRequest};
use crate::errno::Errno;
use crate::line::{Line, LineBuffer};
use crate::value;
use std::fmt;

/// Longest line taken, in bytes without the newline. The longest sensible one, an endpoint with a scope name, has 76.
pub const MAX_LINE: usize = 256;

/// Most bytes in one request. A peer with all its keys and two prefixes takes about 400 bytes, so this is good for
/// 160,000 of them. In memory, a request takes at most about six times its size as text, and that while a list grows.
pub const MAX_REQUEST: u64 = 64 << 20;

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `get=1`: the standard state.
    Get,
    /// `set=1`, as a whole.
    Set(Box<SetRequest>),
    /// `get_diagnostics=1`: counters, deadlines and so on; an extension of ours.
    Diagnostics,
}

/// Why a request was refused. The one who sent it is at fault, except for [`Errno::ENOMEM`].
///
/// Its text is fit for logs: it never contains the value of a key, nor anything that could be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// What to answer.
    pub errno: Errno,
    /// The line within the request, its operation line being 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub sentence: String,
    /// Whether it was a `set`, which decides the sign of the number in the answer.
    pub in_set: bool,
    /// Whether the place in the stream is lost, so that the connection must be closed after the answer.
    pub fatal: bool,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration request refused, line {}: {}", self.line, self.sentence)
    }
}

impl std::error::Error for RequestError {}

/// Turns bytes into requests. `S` resolves the name of an IPv6 scope to its interface index.
pub struct Parser<S> {
    lines: LineBuffer<MAX_LINE>,
    progress: Progress,
    scope: S,
    line: u64,
    bytes: u64,
}

enum Progress {
    /// Between requests.
    Idle,
    /// Within a request that takes no keys.
    Bare(Request),
    /// Within a `set`.
    Set(Box<SetRequest>),
    /// Within a request that has already failed.
    Failed(RequestError),
    /// After a fatal error.
    Dead,
}

type Fault = (Errno, String);

impl<S: Fn(&str) -> Option<u32>> Parser<S> {
    /// A parser at the beginning of a connection.
    pub fn new(scope: S) -> Self {
        Self { lines: LineBuffer::new(), progress: Progress::Idle, scope, line: 0, bytes: 0 }
    }

    /// Takes bytes from the front of `input` until a request is complete; `None` when all were taken before that.
    ///
    /// Call again with the same `input` while it returns `Some`. After a fatal error all further input is swallowed.
    pub fn feed(&mut self, input: &mut &[u8]) -> Option<Result<Request, RequestError>> {
        loop {
            if matches!(self.progress, Progress::Dead) {
                *input = &[];
                return None;
            }
            let before = input.len();
            let line = self.lines.next(input);
            let taken = u64::try_from(before.saturating_sub(input.len())).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(taken);
            if self.bytes > MAX_REQUEST {
                let sentence = "the request exceeds 64 MiB: split it into several without replace_peers".to_owned();
                let in_set = self.progress.is_set();
                self.progress = Progress::Dead;
                self.lines.wipe();
                let line = self.line.saturating_add(1);
                return Some(Err(RequestError { errno: Errno::E2BIG, line, sentence, in_set, fatal: true }));
            }
            let line = line?;
            self.line = self.line.saturating_add(1);
            let result = self.progress.line(&line, self.line, &self.scope);
            if matches!(self.progress, Progress::Idle) {
                (self.line, self.bytes) = (0, 0);
                self.lines.wipe();
            }
            if result.is_some() {
                return result;
            }
        }
    }

    /// Whether a request has begun but not ended; if the connection ends now, it was cut off and nothing happened.
    pub fn is_within_request(&self) -> bool {
        !matches!(self.progress, Progress::Idle | Progress::Dead) || self.lines.is_partial()
    }
}

impl Progress {
    fn line(
        &mut self,
        line: &Line<'_>,
        number: u64,
        scope: &dyn Fn(&str) -> Option<u32>,
    ) -> Option<Result<Request, RequestError>> {
        if let Line::Text(b"" | b"\r") = line
            && (*line == Line::Text(b"") || matches!(self, Self::Failed(_)))
        {
            return match std::mem::replace(self, Self::Idle) {
                Self::Idle | Self::Dead => None,
                Self::Bare(request) => Some(Ok(request)),
                Self::Set(set) => Some(Ok(Request::Set(set))),
                Self::Failed(error) => Some(Err(error)),
            };
        }
        if let Err((errno, sentence)) = self.content(line, scope) {
            // Replacing the state drops, and so wipes, what was gathered.
            let in_set = self.is_set();
            *self = Self::Failed(RequestError { errno, line: number, sentence, in_set, fatal: false });
        }
        None
    }

    fn is_set(&self) -> bool {
        matches!(self, Self::Set(_) | Self::Failed(RequestError { in_set: true, .. }))
    }

    fn content(&mut self, line: &Line<'_>, scope: &dyn Fn(&str) -> Option<u32>) -> Result<(), Fault> {
        if matches!(self, Self::Failed(_) | Self::Dead) {
            return Ok(());
        }
        let Line::Text(text) = line else {
            return Err((Errno::EINVAL, format!("the line is longer than {MAX_LINE} bytes, which none has to be")));
        };
        if text.ends_with(b"\r") {
            return Err((Errno::EPROTO, "the line ends in a carriage return; lines end in a newline alone".to_owned()));
        }
        let Some(at) = text.iter().position(|&byte| byte == b'=') else {
            return Err((Errno::EPROTO, "the line is not of the form key=value".to_owned()));
        };
        let (name, value) = (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(1)..).unwrap_or_default());
        match self {
            Self::Set(set) => set_line(set, name, value, scope),
            Self::Idle => {
                *self = match (name, value) {
                    (b"get", b"1") => Self::Bare(Request::Get),
                    (b"get_diagnostics", b"1") => Self::Bare(Request::Diagnostics),
                    (b"set", b"1") => Self::Set(Box::default()),
                    (b"get" | b"set" | b"get_diagnostics", _) => {
                        return Err((Errno::EOPNOTSUPP, "only version 1 of the protocol exists: say =1".to_owned()));
                    }
                    _ => {
                        let sentence = format!("a request begins with get=1 or set=1, not with {}", quoted(name));
                        return Err((Errno::EOPNOTSUPP, sentence));
                    }
                };
                Ok(())
            }
            _ => Err((Errno::EINVAL, format!("a get takes no keys, but there is {}", quoted(name)))),
        }
    }
}

fn set_line(set: &mut SetRequest, name: &[u8], value: &[u8], scope: &dyn Fn(&str) -> Option<u32>) -> Result<(), Fault> {
    let wrong = |wrong: value::Wrong| (Errno::EINVAL, format!("{} {wrong}", quoted(name)));
    if name == b"public_key" {
        let public_key = value::public_key(value).map_err(wrong)?;
        set.peers.try_reserve(1).map_err(|_| no_memory())?;
        set.peers.push(PeerChange::new(public_key));
        return Ok(());
    }
    let is_device_key = matches!(name, b"private_key" | b"listen_port" | b"fwmark" | b"replace_peers");
    match set.peers.last_mut() {
        Some(_) if is_device_key => {
            let sentence =
                format!("{} is a key of the device and has to come before the first public_key", quoted(name));
            Err((Errno::EINVAL, sentence))
        }
        Some(peer) => peer_line(peer, name, value, scope),
        None if is_device_key => device_line(set, name, value),
        None if is_peer_key(name) => {
            Err((Errno::EINVAL, format!("{} is a key of a peer and has to come after its public_key", quoted(name))))
        }
        None => Err(unknown(name)),
    }
}

fn device_line(set: &mut SetRequest, name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let wrong = |wrong: value::Wrong| (Errno::EINVAL, format!("{} {wrong}", quoted(name)));
    match name {
        b"private_key" => once(&mut set.private_key, name, KeyChange::from(value::secret_key(value).map_err(wrong)?)),
        b"listen_port" => once(&mut set.listen_port, name, value::u16(value).map_err(wrong)?),
        b"fwmark" => once(&mut set.fwmark, name, value::u32(value).map_err(wrong)?),
        b"replace_peers" => flag(&mut set.replace_peers, name, value),
        _ => Err(unknown(name)),
    }
}

fn is_peer_key(name: &[u8]) -> bool {
    matches!(
        name,
        b"remove"
            | b"update_only"
            | b"preshared_key"
            | b"endpoint"
            | b"persistent_keepalive_interval"
            | b"replace_allowed_ips"
            | b"allowed_ip"
            | b"protocol_version"
    )
}

fn peer_line(
    peer: &mut PeerChange,
    name: &[u8],
    value: &[u8],
    scope: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), Fault> {
    let wrong = |wrong: value::Wrong| (Errno::EINVAL, format!("{} {wrong}", quoted(name)));
    match name {
        b"remove" => flag(&mut peer.remove, name, value),
        b"update_only" => flag(&mut peer.update_only, name, value),
        b"preshared_key" => {
            once(&mut peer.preshared_key, name, KeyChange::from(value::secret_key(value).map_err(wrong)?))
        }
        b"endpoint" => {
            let endpoint = value::endpoint(value, scope).map_err(wrong)?;
            if endpoint.port() == 0 {
                return Err(wrong("has port 0, to which nothing can be sent"));
            }
            once(&mut peer.endpoint, name, endpoint)
        }
        b"persistent_keepalive_interval" => {
            once(&mut peer.persistent_keepalive_interval, name, value::u16(value).map_err(wrong)?)
        }
        b"replace_allowed_ips" if !peer.allowed_ips.is_empty() => {
            Err(wrong("would undo an allowed_ip before it: put it first in the peer's section"))
        }
        b"replace_allowed_ips" => flag(&mut peer.replace_allowed_ips, name, value),
        b"allowed_ip" => {
            let (remove, text) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
            let prefix = value::prefix(text).map_err(wrong)?;
            peer.allowed_ips.try_reserve(1).map_err(|_| no_memory())?;
            peer.allowed_ips.push(AllowedIpChange { remove, prefix });
            Ok(())
        }
        b"protocol_version" => match value {
            b"1" => once(&mut peer.protocol_version, name, 1),
            _ => Err(wrong("must be 1, the only version there is")),
        },
        _ => Err(unknown(name)),
    }
}

fn once<T>(place: &mut Option<T>, name: &[u8], value: T) -> Result<(), Fault> {
    if place.is_some() {
        return Err(twice(name));
    }
    *place = Some(value);
    Ok(())
}

fn flag(place: &mut bool, name: &[u8], value: &[u8]) -> Result<(), Fault> {
    if *place {
        return Err(twice(name));
    }
    *place = value::only_true(value).map_err(|wrong| (Errno::EINVAL, format!("{} {wrong}", quoted(name))))?;
    Ok(())
}

fn twice(name: &[u8]) -> Fault {
    (Errno::EINVAL, format!("{} is there twice: only one of them can be meant", quoted(name)))
}

fn unknown(name: &[u8]) -> Fault {
    (Errno::EINVAL, format!("{} is not a key of this protocol", quoted(name)))
}

fn no_memory() -> Fault {
    (Errno::ENOMEM, "not enough memory for the request".to_owned())
}

/// A key's name for a sentence. What does not look like one is not repeated: it may be a secret put in the wrong place
/// (base64 keys end in `=`).
fn quoted(name: &[u8]) -> String {
    let harmless = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() && name.len() <= 32 && name.bytes().all(|byte| harmless(&byte)) => name.to_owned(),
        _ => "something".to_owned(),
    }
}
