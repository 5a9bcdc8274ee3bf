//! Forged and damaged WireGuard messages.

use crate::keys::Keys;
use crate::random::Random;

/// Makes messages to one victim that it must not answer, and some that it may answer with a cookie.
pub struct Forger {
    random: Random,
    victim: Keys,
    /// Real messages of all types, as they were on the wire.
    recorded: Vec<Vec<u8>>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Forged {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// The sender index in it, if it looks like one that starts a handshake or answers one, and its mac1 is right.
    pub valid: Option<u32>,
}

impl Forger {
    /// The messages that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64, victim: Keys, recorded: Vec<Vec<u8>>) -> Self {
        Self { random: Random::new(seed), victim, recorded }
    }

    /// The next one.
    pub fn forge(&mut self) -> Forged {
        let bytes = match self.random.below(10) {
            0 => self.noise(),
            1 => self.typed_noise(),
            2..=4 => self.damaged(),
            5 => self.resized(),
            6 => self.reserved(),
            7 => self.random.pick(&self.recorded).clone(),
            _ => self.authentic_garbage(),
        };
        self.judged(bytes)
    }

    /// The beginning of a handshake with a right mac1 and nothing else right.
    pub fn start(&mut self) -> Forged {
        let mut bytes = self.random.bytes(148);
        bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
        self.victim.put_mac1(&mut bytes);
        self.judged(bytes)
    }

    fn judged(&self, bytes: Vec<u8>) -> Forged {
        let looks_right = matches!((bytes.get(..4), bytes.len()), (Some([1, 0, 0, 0]), 148) | (Some([2, 0, 0, 0]), 92));
        let valid = looks_right && self.victim.has_mac1(&bytes);
        let index = valid.then(|| u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
        Forged { bytes, valid: index }
    }

    /// Any bytes of any length.
    fn noise(&mut self) -> Vec<u8> {
        let len = if self.random.below(10) == 0 { self.random.below(9000) } else { self.random.below(200) };
        self.random.bytes(len)
    }

    /// The head of a message and of the right length, or nearly so.
    fn typed_noise(&mut self) -> Vec<u8> {
        let kind = 1 + self.random.below(4);
        let len = [148, 92, 64, 32 + 16 * self.random.below(90)][kind - 1] + self.random.below(2);
        let mut bytes = self.random.bytes(len);
        bytes[..4].copy_from_slice(&[kind as u8, 0, 0, 0]);
        bytes
    }

    /// A real message with some bits flipped, and sometimes a mac1 that fits again.
    fn damaged(&mut self) -> Vec<u8> {
        let mut bytes = self.random.pick(&self.recorded).clone();
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(bytes.len());
            bytes[at] ^= 1 << self.random.below(8);
        }
        if self.random.below(2) == 0 {
            self.mend(&mut bytes);
        }
        bytes
    }

    /// A real message with something cut off or added.
    fn resized(&mut self) -> Vec<u8> {
        let mut bytes = self.random.pick(&self.recorded).clone();
        if self.random.below(2) == 0 {
            bytes.truncate(self.random.below(bytes.len()));
        } else {
            let more = 1 + self.random.below(64);
            bytes.extend(self.random.bytes(more));
            self.mend(&mut bytes);
        }
        bytes
    }

    /// A real message but for the three bytes that have to be zero.
    fn reserved(&mut self) -> Vec<u8> {
        let mut bytes = self.random.pick(&self.recorded).clone();
        let at = 1 + self.random.below(3);
        bytes[at] = 1 + self.random.below(255) as u8;
        self.mend(&mut bytes);
        bytes
    }

    /// A handshake message whose mac1 is right, around a real or a random key and nothing else that fits.
    fn authentic_garbage(&mut self) -> Vec<u8> {
        let (kind, len) = *self.random.pick(&[(1, 148), (2, 92)]);
        let mut bytes = self.random.bytes(len);
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        match self.random.below(4) {
            // Points of low order as the ephemeral key: 0 and 1 (RFC 7748, section 7).
            0 => bytes[12..44].fill(0),
            1 => {
                bytes[8..40].fill(0);
                bytes[8] = self.random.below(2) as u8;
            }
            _ => {}
        }
        self.mend(&mut bytes);
        bytes
    }

    fn mend(&self, bytes: &mut [u8]) {
        if matches!(bytes.first(), Some(1 | 2)) && bytes.len() > 36 {
            self.victim.put_mac1(bytes);
        }
    }
}

/// Damaged requests to a configuration socket.
pub struct Garbler {
    random: Random,
    /// Requests that are right, each with the empty line at its end.
    right: Vec<String>,
}

impl Garbler {
    /// The requests that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64, right: Vec<String>) -> Self {
        Self { random: Random::new(seed), right }
    }

    /// The next one. It always ends with an empty line, so that there is always an answer.
    pub fn garble(&mut self) -> Vec<u8> {
        let mut request = self.random.pick(&self.right).clone().into_bytes();
        for _ in 0..=self.random.below(3) {
            request = match self.random.below(8) {
                0 => self.flipped(request),
                1 => self.cut(request),
                2 => self.noise(request),
                3 => self.swapped_values(&request),
                4 => self.repeated_line(&request),
                5 => self.odd_number(&request),
                6 => self.missing_line(&request),
                _ => self.moved_line(&request),
            };
        }
        while request.ends_with(b"\n") {
            request.pop();
        }
        request.extend(b"\n\n");
        request
    }

    fn flipped(&mut self, mut request: Vec<u8>) -> Vec<u8> {
        if !request.is_empty() {
            let at = self.random.below(request.len());
            request[at] ^= 1 << self.random.below(8);
        }
        request
    }

    fn cut(&mut self, mut request: Vec<u8>) -> Vec<u8> {
        request.truncate(self.random.below(request.len() + 1));
        request
    }

    fn noise(&mut self, mut request: Vec<u8>) -> Vec<u8> {
        let at = self.random.below(request.len() + 1);
        let len = 1 << self.random.below(10);
        let noise = self.random.bytes(len);
        request.splice(at..at, noise);
        request
    }

    fn swapped_values(&mut self, request: &[u8]) -> Vec<u8> {
        let mut lines = lines(request);
        let (one, other) = (self.random.below(lines.len()), self.random.below(lines.len()));
        let value = |line: &[u8]| line.iter().position(|byte| *byte == b'=').map(|at| line[at..].to_vec());
        if let (Some(at), Some(value)) = (lines[one].iter().position(|byte| *byte == b'='), value(&lines[other])) {
            lines[one].splice(at.., value);
        }
        lines.join(&b'\n')
    }

    fn repeated_line(&mut self, request: &[u8]) -> Vec<u8> {
        let mut lines = lines(request);
        let line = self.random.pick(&lines).clone();
        lines.insert(self.random.below(lines.len() + 1), line);
        lines.join(&b'\n')
    }

    fn odd_number(&mut self, request: &[u8]) -> Vec<u8> {
        const ODD: [&[u8]; 12] = [
            b"",
            b"0",
            b"-1",
            b"65535",
            b"65536",
            b"4294967296",
            b"18446744073709551616",
            b"0x10",
            b"true",
            b"+1",
            b" 1",
            b"00000000000000000000000000000000000000000000000000000000000000001",
        ];
        let mut lines = lines(request);
        let at = self.random.below(lines.len());
        if let Some(equals) = lines[at].iter().position(|byte| *byte == b'=') {
            lines[at].splice(equals + 1.., self.random.pick(&ODD).to_vec());
        }
        lines.join(&b'\n')
    }

    fn missing_line(&mut self, request: &[u8]) -> Vec<u8> {
        let mut lines = lines(request);
        lines.remove(self.random.below(lines.len()));
        lines.join(&b'\n')
    }

    fn moved_line(&mut self, request: &[u8]) -> Vec<u8> {
        let mut lines = lines(request);
        let line = lines.remove(self.random.below(lines.len()));
        lines.insert(self.random.below(lines.len() + 1), line);
        lines.join(&b'\n')
    }
}

/// Never none.
fn lines(request: &[u8]) -> Vec<Vec<u8>> {
    request.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}
