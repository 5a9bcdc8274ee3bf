//! Collects what is found wrong, and shows it in the order of the file.

use crate::diagnostic::{Diagnostic, Severity, Span};

/// How many diagnostics of each severity are shown. A file of another kind would otherwise give one for each of its lines.
const SHOWN: usize = 50;

/// Something wrong, not rendered yet: secrets are known only when the whole file is read.
struct Finding {
    severity: Severity,
    span: Option<Span>,
    message: String,
    help: Option<String>,
    /// Whether the part meant is a public key, to be shown as it is.
    unmasked: bool,
}

/// All that was found.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

/// A finding just added, to be completed.
pub(crate) struct Added<'a>(Option<&'a mut Finding>);

impl Added<'_> {
    /// Whether this will be shown, so that finding out what to say about it is worth the time.
    pub(crate) const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Says what would be right.
    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        if let Some(finding) = self.0 {
            finding.help = Some(text.into());
            return Self(Some(finding));
        }
        self
    }

    /// Shows the part meant without masking it.
    pub(crate) fn unmasked(self) {
        if let Some(finding) = self.0 {
            finding.unmasked = true;
        }
    }
}

impl Findings {
    pub(crate) fn error(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> Added<'_> {
        self.errors += 1;
        let count = self.errors;
        self.add(Severity::Error, count, span.into(), message.into())
    }

    pub(crate) fn warning(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> Added<'_> {
        self.warnings += 1;
        let count = self.warnings;
        self.add(Severity::Warning, count, span.into(), message.into())
    }

    pub(crate) const fn errors(&self) -> usize {
        self.errors
    }

    fn add(&mut self, severity: Severity, count: usize, span: Option<Span>, message: String) -> Added<'_> {
        if count > SHOWN {
            return Added(None);
        }
        self.list.push(Finding { severity, span, message, help: None, unmasked: false });
        Added(self.list.last_mut())
    }

    /// Renders everything, in the order of the file; what concerns the whole file comes last.
    pub(crate) fn finish(mut self, file: &str, text: &[u8]) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| (finding.span.is_none(), finding.span));
        let whole_file = |severity, message: String| Diagnostic {
            severity,
            message,
            file: file.to_owned(),
            snippet: None,
            help: None,
        };
        let mut shown: Vec<Diagnostic> = self
            .list
            .into_iter()
            .map(|finding| Diagnostic {
                snippet: finding.span.map(|span| span.snippet(text, finding.unmasked)),
                help: finding.help,
                ..whole_file(finding.severity, finding.message)
            })
            .collect();
        for (severity, count) in [(Severity::Warning, self.warnings), (Severity::Error, self.errors)] {
            if let Some(more @ 1..) = count.checked_sub(SHOWN) {
                let s = if more == 1 { "" } else { "s" };
                shown.push(whole_file(severity, format!("{more} more {severity}{s} of this file not shown")));
            }
        }
        shown
    }
}
