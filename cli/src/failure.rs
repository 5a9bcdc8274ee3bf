//! What a command says when it cannot do its job.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed: one sentence of what happened and to whom, and one of what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    help: Vec<String>,
    status: Status,
}

/// What the process ends with. These numbers are part of the interface and stand in `kerntun --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// 1: the command was understood and could not be carried out.
    Failed,
    /// 2: the command line is wrong.
    Usage,
}

impl Failure {
    /// A failure with exit code 1. No full stop at the end of the sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), status: Status::Failed }
    }

    /// A wrong command line, with exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), status: Status::Usage }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds what to do next where that is known.
    #[must_use]
    pub(crate) fn maybe_help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help.extend(help.map(Into::into));
        self
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub(crate) fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The exit code that goes with it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.status {
            Status::Failed => ExitCode::from(1),
            Status::Usage => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "\n  = help: {help}"))
    }
}

impl std::error::Error for Failure {}

impl From<kerntun_lab::Trouble> for Failure {
    fn from(trouble: kerntun_lab::Trouble) -> Self {
        Self { message: trouble.message, help: trouble.help, status: Status::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_and_what_to_do() {
        let failure = Failure::new("no such thing").help("get one").help("or two").context("looking");
        assert_eq!(failure.to_string(), "error: looking: no such thing\n  = help: get one\n  = help: or two");
    }
}
