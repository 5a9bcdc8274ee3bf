//! What is wrong with a configuration, shown the way a good compiler shows it.

use crate::mask::{mask_line, visible};
use core::fmt;
use unicode_width::UnicodeWidthChar;

/// Columns a tab is shown as. Rendering it as spaces keeps the caret under what it means on every terminal.
const TAB_COLUMNS: usize = 4;

/// Columns of a line that are shown at most, and how many of them stand before the caret when a line is cut.
const SHOWN_COLUMNS: usize = 160;
const SHOWN_BEFORE: usize = 40;

/// Bytes looked at on either side of the caret: enough for the columns shown, and a bound on the work for long lines.
const CONTEXT_BYTES: usize = 4096;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file works, though perhaps not as meant.
    Warning,
    /// The file cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is wrong, where it is, and what would be right.
///
/// `Display` renders it over several lines without a final newline. Secrets are masked when it is made, so it may be
/// logged. Control characters of the file are replaced, so it may be printed on a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The file, as the caller named it.
    pub file: String,
    /// The line; none when the whole file is meant.
    pub snippet: Option<Snippet>,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Whether this makes the file unusable.
    pub const fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Error)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let number = self.snippet.as_ref().map_or_else(String::new, |snippet| snippet.line.to_string());
        let gutter = number.len().max(1) + 1;
        write!(f, "{:gutter$}--> {}", "", self.file.chars().map(visible).collect::<String>())?;
        if let Some(snippet) = &self.snippet {
            writeln!(f, ":{}:{}", snippet.line, snippet.column)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{}", format!(" {number} | {}", snippet.text).trim_end())?;
            let carets = "^".repeat(snippet.caret_columns);
            write!(f, "{:gutter$} | {:before$}{carets}", "", "", before = snippet.caret_start)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostic {}

/// A line of the file as it may be shown, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Line, counted from 1.
    pub line: usize,
    /// Character in the line where the part begins, counted from 1; a tab is one character.
    pub column: usize,
    /// The line: secrets masked, tabs expanded, cut when very long.
    pub text: String,
    /// Columns of `text` before the caret.
    pub caret_start: usize,
    /// Columns the carets take, at least 1.
    pub caret_columns: usize,
}

/// Where in the text something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Byte where the line begins.
    pub(crate) line_start: usize,
    /// Bytes from here...
    pub(crate) start: usize,
    /// ... to here are meant.
    pub(crate) end: usize,
}

impl Span {
    /// Shows this part of `text`. With `unmasked` the meant part is shown as it is.
    pub(crate) fn snippet(self, text: &[u8], unmasked: bool) -> Snippet {
        let line = text.get(self.line_start..).unwrap_or_default();
        let end_of_line = line.iter().position(|b| *b == b'\n').unwrap_or(line.len());
        let line = line.get(..end_of_line).unwrap_or(line).trim_ascii_end();
        let start = self.start.saturating_sub(self.line_start).min(line.len());
        let end = self.end.saturating_sub(self.line_start).clamp(start, line.len());

        let head = line.get(..start).unwrap_or_default();
        let column = 1 + String::from_utf8_lossy(head).chars().count();
        let masked = mask_around(line, start, end);
        let cut = masked.cut;
        let before = String::from_utf8_lossy(line.get(cut..start).unwrap_or_default()).chars().count();
        let meant: Vec<char> = String::from_utf8_lossy(line.get(start..end).unwrap_or_default()).chars().collect();
        let mut characters = masked.characters;
        if unmasked {
            for (shown, original) in characters.iter_mut().skip(before).zip(&meant) {
                *shown = *original;
            }
        }

        let widths = |part: &[char]| part.iter().map(|c| columns(*c)).sum::<usize>();
        let (left, rest) = characters.split_at_checked(before).unwrap_or((&characters, &[]));
        let (middle, _) = rest.split_at_checked(meant.len()).unwrap_or((rest, &[]));
        let caret_start = widths(left);
        let caret_columns = widths(middle).max(1);
        cut_to_fit(&characters, caret_start, caret_columns, cut > 0).finish(self.line, column)
    }
}

/// A line's characters from byte `cut` on, masked.
struct Masked {
    cut: usize,
    characters: Vec<char>,
}

/// Masks as much of the line as can be shown. A long line is cut far outside of what is shown, so that no run of characters
/// comes to look short by the cut.
fn mask_around(line: &[u8], start: usize, end: usize) -> Masked {
    let cut_at = |index: usize| {
        (index..line.len()).find(|i| line.get(*i).is_none_or(|b| b & 0xc0 != 0x80)).unwrap_or(line.len())
    };
    let cut = if start > CONTEXT_BYTES { cut_at(start - CONTEXT_BYTES).min(start) } else { 0 };
    let stop = cut_at(end.min(start.saturating_add(CONTEXT_BYTES)).saturating_add(CONTEXT_BYTES));
    let text = String::from_utf8_lossy(line.get(cut..stop).unwrap_or_default());
    let hides = cut > 0 && crate::mask::hides_value(&String::from_utf8_lossy(key_part(line)));
    let characters = if hides { text.chars().map(|_| '*').collect() } else { mask_line(&text).chars().collect() };
    Masked { cut, characters }
}

/// What stands before the first `=`, as far as a key can reach.
fn key_part(line: &[u8]) -> &[u8] {
    let near = line.get(..64).unwrap_or(line);
    near.split(|b| *b == b'=').next().unwrap_or(near)
}

/// A line fitted to the width that is shown.
struct Fitted {
    text: String,
    caret_start: usize,
    caret_columns: usize,
}

impl Fitted {
    fn finish(self, line: usize, column: usize) -> Snippet {
        let Self { text, caret_start, caret_columns } = self;
        Snippet { line, column, text, caret_start, caret_columns }
    }
}

fn cut_to_fit(characters: &[char], caret_start: usize, caret_columns: usize, already_cut: bool) -> Fitted {
    let total: usize = characters.iter().map(|c| columns(*c)).sum();
    let first = if total > SHOWN_COLUMNS { caret_start.saturating_sub(SHOWN_BEFORE) } else { 0 };
    let mut text = String::new();
    let mut skipped = 0;
    let mut at = 0;
    let mut shown = 0;
    for c in characters {
        let width = columns(*c);
        if at < first {
            at += width;
            skipped = at;
            continue;
        }
        if shown + width > SHOWN_COLUMNS {
            text.push('…');
            break;
        }
        shown += width;
        if *c == '\t' {
            text.extend(core::iter::repeat_n(' ', TAB_COLUMNS));
        } else {
            text.push(visible(*c));
        }
    }
    let mut caret_start = caret_start.saturating_sub(skipped);
    let room = SHOWN_COLUMNS.saturating_sub(caret_start).max(1);
    if skipped > 0 || already_cut {
        text.insert(0, '…');
        caret_start += 1;
    }
    Fitted { text, caret_start, caret_columns: caret_columns.min(room) }
}

/// Columns a character takes when shown.
fn columns(c: char) -> usize {
    if c == '\t' { TAB_COLUMNS } else { visible(c).width().unwrap_or(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, line_start: usize, part: &str) -> String {
        let start = line_start + text[line_start..].find(part).unwrap();
        let span = Span { line: 3, line_start, start, end: start + part.len() };
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            message: "m".into(),
            file: "f".into(),
            snippet: Some(span.snippet(text.as_bytes(), false)),
            help: Some("h".into()),
        };
        diagnostic.to_string()
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_caret_in_place() {
        assert_eq!(
            render("x\n\ta\tbad\nnext", 2, "bad"),
            "error: m\n  --> f:3:4\n   |\n 3 |     a    bad\n   |          ^^^\n   = help: h"
        );
        // Two columns each for the two ideographs, one for é, none for the combining accent.
        assert_eq!(
            render("日本é e\u{301} bad", 0, "bad"),
            "error: m\n  --> f:3:8\n   |\n 3 | 日本é e\u{301} bad\n   |         ^^^\n   = help: h"
        );
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        let shown = render("a \u{1b}[2J\u{202e} bad\r\n", 0, "bad");
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown}");
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        for (before, after) in [(0, 100_000), (100_000, 0), (100_000, 100_000), (100, 100)] {
            let text = format!("{}bad{}", "a ".repeat(before), " z".repeat(after));
            let shown = render(&text, 0, "bad");
            let lines: Vec<&str> = shown.lines().collect();
            let caret = lines[4].chars().position(|c| c == '^').unwrap();
            let under: String = lines[3].chars().skip(caret).take(3).collect();
            assert_eq!(under, "bad");
            assert!(lines[3].chars().count() < 180);
            assert!(shown.contains(&format!("f:3:{}", before * 2 + 1)));
        }
    }
}
