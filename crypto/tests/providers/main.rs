//! One suite for every implementation of the engine's `Crypto` trait.
//!
//! Real ones must give the numbers of the standards and of each other; all, the fake one too, must keep the contract of
//! the trait. Run it against another implementation by adding a line to [`each_real`].

mod blake2s;
mod contract;
mod published;
mod random;
mod runs;
mod vectors;

#[cfg(feature = "fast")]
use kerntun_crypto::Fast;
use kerntun_crypto::{InsecureFake, Portable, Slices};
use kerntun_engine::host::Crypto;

/// A provider whose runs lie in contiguous memory.
trait Provider: for<'a> Crypto<Run<'a> = Slices<'a>> + Sync {}

impl<C: for<'a> Crypto<Run<'a> = Slices<'a>> + Sync> Provider for C {}

/// What a test does with every provider; a generic method because a closure cannot be generic.
trait Check {
    fn check<C: Provider>(&self, name: &str, crypto: &C);
}

fn each_real(check: &impl Check) {
    check.check("Portable", &Portable);
    #[cfg(feature = "fast")]
    check.check("Fast", &Fast::new());
}

fn each(check: &impl Check) {
    each_real(check);
    check.check("InsecureFake", &InsecureFake);
}

/// Bytes from hexadecimal digits; white space is for the eyes.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// An array from hexadecimal digits.
fn array<const N: usize>(digits: &str) -> [u8; N] {
    hex(digits).try_into().unwrap()
}
