//! What a rule has to say.

use serde::Serialize;

/// A sentence of what happened, whose fault it is, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// A stable name for programs, in `kebab-case`.
    pub(crate) cause: &'static str,
    pub(crate) severity: Severity,
    /// The peer it is about, in base64.
    pub(crate) peer: Option<String>,
    pub(crate) what: String,
    /// Whose fault it probably is; empty for nobody's.
    pub(crate) whose: &'static str,
    pub(crate) next: Vec<String>,
}

/// Whether something has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It does not work, or loses packets.
    Problem,
    /// Worth knowing.
    Note,
    /// All is well.
    Healthy,
}

impl Finding {
    pub(crate) fn problem(cause: &'static str, what: impl Into<String>) -> Self {
        Self::new(cause, Severity::Problem, what)
    }

    pub(crate) fn note(cause: &'static str, what: impl Into<String>) -> Self {
        Self::new(cause, Severity::Note, what)
    }

    pub(crate) fn healthy(what: impl Into<String>) -> Self {
        Self::new("healthy", Severity::Healthy, what)
    }

    fn new(cause: &'static str, severity: Severity, what: impl Into<String>) -> Self {
        Self { cause, severity, peer: None, what: what.into(), whose: "", next: Vec::new() }
    }

    /// Whose fault it is.
    #[must_use]
    pub(crate) const fn whose(mut self, whose: &'static str) -> Self {
        self.whose = whose;
        self
    }

    /// What to do next; several in the order in which to try them.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// About which peer it is.
    #[must_use]
    pub(crate) fn about(mut self, peer: &str) -> Self {
        self.peer = Some(peer.to_owned());
        self
    }

    /// A note instead of a problem: where what happened is over (counters stay, also when their cause is gone), does little harm, or
    /// is not certain.
    #[must_use]
    pub(crate) const fn only_noted_if(mut self, minor: bool) -> Self {
        if minor {
            self.severity = Severity::Note;
        }
        self
    }

    pub(crate) fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}
