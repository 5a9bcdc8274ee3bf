//! Colours, for terminals only.

use std::fmt::Display;
use std::io::IsTerminal;

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// No colours.
    pub(crate) const PLAIN: Self = Self(false);
    /// Colours.
    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self(true);

    /// What suits standard output: colours on a terminal unless `NO_COLOR` is set (<https://no-color.org>); the
    /// `WG_COLOR_MODE` of wg(8) decides before either.
    pub(crate) fn stdout() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self(match set("WG_COLOR_MODE") {
            Some(mode) if mode == "always" => true,
            Some(mode) if mode == "never" => false,
            _ => set("NO_COLOR").is_none() && std::io::stdout().is_terminal(),
        })
    }

    /// A label.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    /// An interface, and what is well.
    pub(crate) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    /// A peer, and what deserves a look.
    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.with("33", text)
    }

    /// What is broken.
    pub(crate) fn red(self, text: impl Display) -> String {
        self.with("31", text)
    }

    /// A unit.
    pub(crate) fn cyan(self, text: impl Display) -> String {
        self.with("36", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
