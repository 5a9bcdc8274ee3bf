//! Error numbers as they travel in `errno=`.

use std::fmt;
use std::io;

/// A Linux error number, always positive here; 0 never occurs.
///
/// On the wire the sign differs by request, because `wg(8)` 1.0 reads them differently: it negates the number
/// answered to `get` and refuses a minus sign there, but expects an already negative number answered to `set`
/// (which is what wireguard-go sends). So we write `errno=22` to a get and `errno=-22` to a set, and read both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// Input or output error: used when the cause has no number.
    pub const EIO: Self = Self(5);
    /// The request is larger than the server takes.
    pub const E2BIG: Self = Self(7);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// A key or a value is wrong.
    pub const EINVAL: Self = Self(22);
    /// A line is not of the form `key=value`.
    pub const EPROTO: Self = Self(71);
    /// The operation, or its version, is not known here.
    pub const EOPNOTSUPP: Self = Self(95);
    /// The listening port is taken.
    pub const EADDRINUSE: Self = Self(98);

    /// Takes a number of either sign; `None` for 0, which means success.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        match number.checked_abs() {
            Some(0) | None => None,
            Some(positive) => Some(Self(positive)),
        }
    }

    /// The positive number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        error.raw_os_error().and_then(Self::new).unwrap_or(Self::EIO)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_sign_is_read_and_zero_is_success() {
        assert_eq!(Errno::new(-22), Some(Errno::EINVAL));
        assert_eq!(Errno::new(22).map(Errno::get), Some(22));
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(i32::MIN), None);
    }

    #[test]
    fn errors_without_a_number_become_eio() {
        assert_eq!(Errno::from(&io::Error::other("x")).get(), 5);
        assert_eq!(Errno::from(&io::Error::from_raw_os_error(98)).get(), 98);
        assert!(Errno::EINVAL.to_string().starts_with("Invalid argument"));
    }
}
