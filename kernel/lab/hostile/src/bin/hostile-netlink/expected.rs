//! What is expected, and whether it came so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How the names of listings begin.
const LISTINGS: [&str; 2] = ["get/", "drops/"];

/// What came of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// The request's name.
    pub(crate) case: String,
    /// The error's name, or `0`.
    pub(crate) error: String,
    /// What changed, or `-`.
    pub(crate) change: String,
    /// The sentence.
    pub(crate) words: String,
}

impl Outcome {
    /// As in a file.
    pub(crate) fn line(&self, who: &str) -> String {
        let words = if who == "intree" { "" } else { &self.words };
        let line = [who, &self.case, &self.error, &self.change, words].join("\t");
        line.trim_end().to_owned()
    }

    fn parse(line: &str) -> Option<(&str, Self)> {
        let mut fields = line.split('\t');
        let who = fields.next().filter(|who| ["both", "ours", "intree"].contains(who))?;
        let mut field = || fields.next().unwrap_or_default().to_owned();
        Some((who, Self { case: field(), error: field(), change: field(), words: field() }))
    }
}

/// What one of the drivers is expected to do.
pub(crate) struct Expected {
    outcomes: BTreeMap<String, Outcome>,
    with_words: bool,
}

impl Expected {
    /// The lines of a file that are about `who`.
    pub(crate) fn parse(file: &str, who: &str) -> Self {
        let mine = file.lines().filter_map(Outcome::parse).filter(|(whose, _)| *whose == who || *whose == "both");
        Self { outcomes: mine.map(|(_, outcome)| (outcome.case.clone(), outcome)).collect(), with_words: who == "ours" }
    }

    /// A line for everything that is not as expected.
    pub(crate) fn differences(&self, found: &[Outcome]) -> Vec<String> {
        let mut left = self.outcomes.clone();
        let mut differences = Vec::new();
        for outcome in found {
            let Some(mut expected) = left.remove(&outcome.case) else {
                differences.push(format!("{}: nothing is expected, found {outcome:?}", outcome.case));
                continue;
            };
            // Listings could not give a sentence on older kernels, such as 6.1.
            let speechless = outcome.words.is_empty() && LISTINGS.iter().any(|kind| outcome.case.starts_with(kind));
            if !self.with_words || speechless {
                expected.words.clone_from(&outcome.words);
            }
            if expected != *outcome {
                differences.push(format!("{}:\n    expected {expected:?}\n    found    {outcome:?}", outcome.case));
            }
        }
        differences.extend(left.into_keys().map(|case| format!("{case}: expected, but not asked")));
        differences
    }
}

/// One file of two records: a line for both where they agree in error and change.
pub(crate) fn merge(intree: &str, ours: &str) -> String {
    let intree: Vec<Outcome> = intree.lines().filter_map(Outcome::parse).map(|(_, outcome)| outcome).collect();
    let ours: Vec<Outcome> = ours.lines().filter_map(Outcome::parse).map(|(_, outcome)| outcome).collect();
    let mut merged = String::new();
    for outcome in &ours {
        match intree.iter().find(|theirs| theirs.case == outcome.case) {
            Some(theirs) if (&theirs.error, &theirs.change) == (&outcome.error, &outcome.change) => {
                let _ = writeln!(merged, "{}", outcome.line("both"));
            }
            theirs => {
                if let Some(theirs) = theirs {
                    let _ = writeln!(merged, "{}", theirs.line("intree"));
                }
                let _ = writeln!(merged, "{}", outcome.line("ours"));
            }
        }
    }
    for theirs in intree.iter().filter(|theirs| ours.iter().all(|outcome| outcome.case != theirs.case)) {
        let _ = writeln!(merged, "{}", theirs.line("intree"));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(case: &str, error: &str, words: &str) -> Outcome {
        Outcome { case: case.to_owned(), error: error.to_owned(), change: "-".to_owned(), words: words.to_owned() }
    }

    #[test]
    fn what_differs_is_told_and_the_sentences_of_the_kernels_own_driver_are_not_looked_at() {
        let file = "# a comment\nboth\ta\tEINVAL\t-\tno\nintree\tb\t0\t-\nours\tb\tEINVAL\t-\tnever\n";
        let ours = Expected::parse(file, "ours");
        assert!(ours.differences(&[outcome("a", "EINVAL", "no"), outcome("b", "EINVAL", "never")]).is_empty());
        assert_eq!(ours.differences(&[outcome("a", "EINVAL", "other"), outcome("b", "EINVAL", "never")]).len(), 1);
        assert_eq!(ours.differences(&[outcome("a", "EINVAL", "no")]).len(), 1);
        assert_eq!(ours.differences(&[outcome("a", "EINVAL", "no"), outcome("b", "0", "never")]).len(), 1);
        assert_eq!(ours.differences(&[outcome("a", "EINVAL", ""), outcome("b", "EINVAL", "never")]).len(), 1);
        assert!(
            Expected::parse("both\tget/a\tEBADR\t-\tno\n", "ours")
                .differences(&[outcome("get/a", "EBADR", "")])
                .is_empty()
        );
        let intree = Expected::parse(file, "intree");
        assert!(intree.differences(&[outcome("a", "EINVAL", "anything"), outcome("b", "0", "")]).is_empty());
        assert_eq!(intree.differences(&[outcome("a", "0", ""), outcome("b", "0", ""), outcome("c", "0", "")]).len(), 2);
    }

    #[test]
    fn a_merged_file_says_what_both_records_said() {
        let (intree, ours) = (
            "intree\ta\tEINVAL\t-\nintree\tb\t0\t-\n",
            "ours\ta\tEINVAL\t-\tno\nours\tb\tEINVAL\t-\tnever\nours\tc\t0\t-\n",
        );
        let merged = merge(intree, ours);
        assert_eq!(merged, "both\ta\tEINVAL\t-\tno\nintree\tb\t0\t-\nours\tb\tEINVAL\t-\tnever\nours\tc\t0\t-\n");
    }
}
