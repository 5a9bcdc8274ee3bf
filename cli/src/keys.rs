//! Making keys: `kerntun genkey`, `pubkey` and `genpsk`.

use crate::failure::Failure;
use crate::say::say;
use kerntun_config::{Key, PublicKey};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use zeroize::{Zeroize, Zeroizing};

/// More than any key, so that a file that is no key is recognised without being read whole.
const INPUT_MAX: u16 = 4096;

/// Prints a new private key.
///
/// # Errors
/// When the system gives no random numbers, or the key cannot be written.
pub(crate) fn genkey() -> Result<ExitCode, Failure> {
    let mut bytes = random()?;
    clamp(&mut bytes);
    print_secret(&Key::from_bytes(*bytes))
}

/// Prints a new preshared key.
///
/// # Errors
/// As [`genkey`].
pub(crate) fn genpsk() -> Result<ExitCode, Failure> {
    print_secret(&Key::from_bytes(*random()?))
}

/// Prints the public key of the private key on standard input.
///
/// # Errors
/// When that is no key. Nothing of it is repeated.
pub(crate) fn pubkey() -> Result<ExitCode, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        say!("Reading a private key from the terminal, where it shows.");
    }
    let private = read_key(stdin.lock())?;
    print_line(public_key_of(&private).to_string().as_bytes())
}

/// The public key of a private key (RFC 7748, 6.1; clamps as it goes).
pub(crate) fn public_key_of(private: &Key) -> PublicKey {
    let secret = x25519_dalek::StaticSecret::from(*private.as_bytes());
    PublicKey::from_bytes(x25519_dalek::PublicKey::from(&secret).to_bytes())
}

/// Reads one key and the white space that may follow it.
fn read_key(input: impl Read) -> Result<Key, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(usize::from(INPUT_MAX) + 1));
    input.take(INPUT_MAX.into()).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Failure::new("standard input is not text, so it is no key"),
        _ => Failure::new(format!("cannot read standard input: {error}")),
    })?;
    let help = "give a key as 'kerntun genkey' prints it, for example: kerntun pubkey < private";
    let line = text.trim_end();
    Key::from_base64(line)
        .map_err(|error| Failure::new(format!("the private key on standard input {error}")).help(help))
}

/// 32 bytes from the kernel, waiting for its generator to be seeded if need be.
fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| Failure::new(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// Brings random bytes into the form of a Curve25519 scalar (RFC 7748, 5), as every tool prints private keys.
fn clamp(bytes: &mut [u8; 32]) {
    let [first, .., last] = bytes;
    *first &= 248;
    *last = (*last & 127) | 64;
}

fn print_secret(key: &Key) -> Result<ExitCode, Failure> {
    if stdout_is_open_to_others() {
        say!("Warning: every user of this machine can read the file this key goes to.");
        say!("         Write it with 'umask 077' set, or run 'chmod 600' on the file.");
    }
    print_line(key.to_base64().as_bytes())
}

fn print_line(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text);
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&line).and_then(|()| stdout.flush());
    line.zeroize();
    written.map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether standard output is a file that others may read, which is when wg(8) warns too.
fn stdout_is_open_to_others() -> bool {
    let Ok(metadata) = std::fs::metadata("/proc/self/fd/1") else { return false };
    metadata.is_file() && metadata.mode() & 0o007 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use x25519_dalek::StaticSecret;

    #[test]
    fn clamping_as_rfc_7748_says() {
        for byte in 0..=255u8 {
            let mut bytes = [byte; 32];
            clamp(&mut bytes);
            assert_eq!(bytes[0] & 7, 0);
            assert_eq!(bytes[31] & 0x80, 0);
            assert_eq!(bytes[31] & 0x40, 0x40);
            assert_eq!(bytes[1..31], [byte; 30]);
        }
    }

    #[test]
    fn public_key_of_rfc_7748() {
        // Section 5.2: the first of the iterated vectors has the base point 9 as both scalar and point.
        let nine = Key::from_hex(&format!("09{}", "00".repeat(31))).unwrap();
        let public = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
        assert_eq!(public_key_of(&nine).to_hex(), public);
    }

    /// The list of points of low order against the curve itself: those next to each of them, and some others, are none.
    #[test]
    fn keys_of_low_order_are_those_that_agree_on_zero_with_everybody() {
        let privates = [[7; 32], [0xf8; 32]].map(StaticSecret::from);
        let agreed = |key: [u8; 32]| privates.each_ref().map(|ours| ours.diffie_hellman(&key.into()).to_bytes());
        let mut weak = 0;
        let mut look = |key: [u8; 32]| {
            let zero = agreed(key) == [[0; 32]; 2];
            assert_eq!(kerntun_config::PublicKey::from_bytes(key).is_low_order(), zero, "{key:02x?}");
            weak += usize::from(zero);
        };
        let eighths = [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ];
        let eighths = eighths.map(|text| *kerntun_config::PublicKey::from_hex(text).unwrap().as_bytes());
        for top in [0, 0x80] {
            // Around 0 and around p, 2^255 - 19; then around both points of order eight.
            for (mut key, last) in
                [([0; 32], 0), ([0xff; 32], 0x7f)].into_iter().chain(eighths.map(|key| (key, key[31])))
            {
                key[31] = last | top;
                for first in 0..=255 {
                    key[0] = first;
                    look(key);
                }
            }
        }
        for seed in 0..200u8 {
            look(std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8).wrapping_mul(73)));
        }
        // 0, 1, p - 1, p, p + 1 and two of order eight, each with the highest bit and without.
        assert_eq!(weak, 14);
    }

    #[test]
    fn what_is_no_key_is_not_repeated() {
        for text in ["secretsecret", "", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "\u{e9}"] {
            let message = read_key(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("on standard input"), "{message}");
            assert!(text.is_empty() || !message.contains(text), "{message}");
        }
        assert!(read_key(&b"\xff\xfe"[..]).unwrap_err().to_string().contains("not text"));
        let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert!(read_key(format!("{good}\n").as_bytes()).is_ok());
        assert!(read_key(format!("{good}{good}").as_bytes()).is_err());
        assert!(read_key(format!("{good}\n{good}").as_bytes()).is_err());
        assert!(read_key(format!(" {good}").as_bytes()).is_err());
    }
}
