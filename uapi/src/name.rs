//! Names of interfaces.

use std::fmt;

/// The name of a network interface, valid for the kernel and as part of a file name.
///
/// At most 15 bytes (`IFNAMSIZ` less its final zero), not `.` or `..`, and without slash, colon, white space or
/// control characters (the kernel's `dev_valid_name` in `net/core/dev.c`, and no control characters on top).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// Why a text is no interface name. Whoever typed it has to choose another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing was given.
    Empty,
    /// More than 15 bytes.
    TooLong,
    /// `.`, `..`, or a character that the kernel does not allow in a name.
    BadCharacter,
}

impl InterfaceName {
    /// Checks a name.
    ///
    /// # Errors
    /// When the kernel would not accept it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > 15 {
            return Err(NameError::TooLong);
        }
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name == "." || name == ".." || name.chars().any(bad) {
            return Err(NameError::BadCharacter);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its socket file: `NAME.sock`.
    #[must_use]
    pub fn socket_file(&self) -> String {
        format!("{}.sock", self.0)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an interface name must not be empty",
            Self::TooLong => "an interface name has at most 15 bytes: choose a shorter one",
            Self::BadCharacter => "an interface name has no slash, colon, space or control character and is not a dot",
        })
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["wg0", "a", "123456789012345", "w-g_0.1", "...", "tün"] {
            assert_eq!(InterfaceName::new(good).map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
        assert_eq!(InterfaceName::new(""), Err(NameError::Empty));
        assert_eq!(InterfaceName::new("1234567890123456"), Err(NameError::TooLong));
        for bad in [".", "..", "a/b", "a b", "a\n", "a:1", "\0", "\u{7f}"] {
            assert_eq!(InterfaceName::new(bad), Err(NameError::BadCharacter), "{bad:?}");
        }
    }
}
