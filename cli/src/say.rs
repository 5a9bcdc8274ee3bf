//! Telling people what happens. Whether anybody listens decides nothing: the terminal may be closed, or the reader of a pipe gone,
//! while a tunnel is half up or half down.

use std::fmt;
use std::io::{self, Write};

/// A line on standard error, as `eprintln!`, which panics where this cannot write.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

pub(crate) use say;

/// Use [`say!`].
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}
