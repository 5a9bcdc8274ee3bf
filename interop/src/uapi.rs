//! Talking to a configuration socket byte by byte: what `wg` would never say.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to a configuration socket.
pub struct Connection(UnixStream);

impl Connection {
    /// Opens one. No answer may take longer than ten seconds.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(Self(stream))
    }

    /// Sends bytes and reads until the empty line that ends an answer, or the end.
    ///
    /// # Errors
    /// When the other side hangs up while we write, or is silent.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<String> {
        self.0.write_all(request)?;
        self.answer()
    }

    /// Sends bytes, says that nothing follows, and gives all answers.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn ask_last(mut self, request: &[u8]) -> io::Result<String> {
        self.0.write_all(request)?;
        self.0.shutdown(Shutdown::Write)?;
        let mut answers = String::new();
        self.0.read_to_string(&mut answers)?;
        Ok(answers)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"\n\n") {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => answer.extend(&piece[..len]),
                // Sockets with a time limit say so even where nobody handles a signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        String::from_utf8(answer).map_err(io::Error::other)
    }
}

/// The number behind `errno=` at the end of an answer.
#[must_use]
pub fn errno(answer: &str) -> Option<i32> {
    answer.strip_suffix("\n\n")?.rsplit_once("errno=")?.1.parse().ok()
}

/// An answer to `get=1` without the lines that change by themselves.
#[must_use]
pub fn lasting(answer: &str) -> String {
    let changes = |line: &&str| !["tx_bytes", "rx_bytes", "last_handshake"].iter().any(|key| line.starts_with(key));
    answer.lines().filter(changes).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}
