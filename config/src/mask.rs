//! Keeps secrets out of what people see.
//!
//! An error about a line shows the line. A private key may stand on any line, by mistake: under a misspelt key, after a
//! missing `=`, in a comment. So masking goes by what a text looks like, and by where it stands only to hide more.

use crate::keyword::Keyword;
use crate::text::is_space;
use std::borrow::Cow;

/// Runs of base64 characters shorter than this are shown: less than half of a key, and most words are shorter.
const SHORTEST_MASKED: usize = 16;

/// Longest text quoted inside a message, in characters.
const LONGEST_QUOTE: usize = 60;

/// Whether a line that names `key` must hide all its value, whatever that looks like.
pub(crate) fn hides_value(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    let secret_word = ["privat", "preshared", "secret", "psk"].iter().any(|word| lower.contains(word));
    secret_word || Keyword::suggest(&lower, None).is_some_and(Keyword::is_secret)
}

/// Replaces every character that may belong to a secret by `*`, one for one, so that columns stay what they were.
pub(crate) fn mask_line(line: &str) -> String {
    let (key, _) = line.split_once('=').unwrap_or((line, ""));
    let word: String = key.chars().filter(|c| !is_space(*c)).collect();
    if hides_value(&word) {
        // Without '=' the word ends at white space; "PrivateKey abc=" has its '=' too late.
        let start = line.len() - line.trim_start_matches(is_space).len();
        let known = line.contains('=') && Keyword::find(&word).is_some();
        let name_end = if known { key.len() } else { first_word_end(line, start) };
        let (shown, hidden) = line.split_at_checked(name_end).unwrap_or(("", line));
        let hidden = hidden.chars().map(|c| if is_space(c) || c == '=' { c } else { '*' });
        return mask_runs(shown).chars().chain(hidden).collect();
    }
    mask_runs(line).into_owned()
}

/// A key's name as it may stand between quotes: of what may be a key and a secret without `=` only the first word.
pub(crate) fn quote_name(name: &str) -> String {
    let glued = name.contains(is_space) && hides_value(name);
    quote(if glued { name.split(is_space).next().unwrap_or_default() } else { name })
}

/// A text as it may stand between quotes in a message: masked, without control characters, not too long.
pub(crate) fn quote(text: &str) -> String {
    let text = text.trim_matches(is_space);
    let mut quoted: String = mask_runs(text).chars().take(LONGEST_QUOTE).map(visible).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        quoted.push('…');
    }
    quoted
}

/// The character itself, or a stand-in where it would act on the terminal or hide: control characters and those that turn
/// the direction of writing or have no width by design.
pub(crate) fn visible(c: char) -> char {
    let hiding = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if c.is_control() || hiding { '\u{fffd}' } else { c }
}

/// End of the first word that starts at `start`.
fn first_word_end(line: &str, start: usize) -> usize {
    line.get(start..).and_then(|rest| rest.find(|c: char| is_space(c) || c == '=')).map_or(line.len(), |n| start + n)
}

fn mask_runs(text: &str) -> Cow<'_, str> {
    let in_run = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let mut masked = String::new();
    let mut copied = 0;
    let mut rest = 0;
    while let Some(found) = text.get(rest..).and_then(|t| t.find(in_run)) {
        let start = rest + found;
        let end = text.get(start..).and_then(|t| t.find(|c| !in_run(c))).map_or(text.len(), |n| start + n);
        let run = text.get(start..end).unwrap_or_default();
        if run.len() >= SHORTEST_MASKED && !is_wording(run) {
            masked.push_str(text.get(copied..start).unwrap_or_default());
            masked.extend(core::iter::repeat_n('*', run.len()));
            copied = end;
        }
        rest = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    masked.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(masked)
}

/// Whether a long run is words (`PersistentKeepaliveInterval`), a path (`/etc/wireguard/wg0`) or a number, as no key is.
fn is_wording(run: &str) -> bool {
    if run.bytes().all(|b| b.is_ascii_digit()) || Keyword::find(run).is_some() {
        return true;
    }
    run.split('/').all(|part| part.len() <= 3 || is_camel_case(part))
}

/// Words of at least three letters, each at most started by a capital.
fn is_camel_case(part: &str) -> bool {
    let mut lower_before = 3;
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' => lower_before += 1,
            b'A'..=b'Z' if lower_before >= 2 => lower_before = 0,
            _ => return false,
        }
    }
    lower_before >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    #[test]
    fn a_key_shows_nowhere() {
        let stars = "*".repeat(43);
        for (line, shown) in [
            (format!("PrivateKey = {SECRET}"), format!("PrivateKey = {stars}=")),
            (format!("  privatekey {SECRET}"), format!("  privatekey {stars}=")),
            (format!("Endpoint = {SECRET}"), format!("Endpoint = {stars}=")),
            (format!("PrivatKey={SECRET}"), format!("PrivatKey={stars}=")),
            (format!("# was {SECRET} once"), format!("# was {stars}= once")),
            (SECRET.to_string(), format!("{stars}=")),
            ("Private Key = yAnz5 TF+!".into(), "Private Key = ***** ****".into()),
            ("PresharedKey = é!".into(), "PresharedKey = **".into()),
        ] {
            let masked = mask_line(&line);
            assert_eq!(masked, shown);
            assert_eq!(masked.chars().count(), line.chars().count());
        }
        assert_eq!(quote(SECRET), format!("{stars}="));
    }

    #[test]
    fn ordinary_text_shows() {
        for line in [
            "Endpoint = vpn.somewhere.example.com:51820",
            "PostUp = /etc/wireguard/scripts/up %i",
            "PersistentKeepaliveInterval = 25",
            "AllowedIPs = 2001:db8:1111:2222:3333:4444:5555:6666/128",
            "PersistentKeepalive = 99999999999999999999",
        ] {
            assert_eq!(mask_line(line), line);
        }
        assert_eq!(quote(" a\u{1b}[31m\u{202e}b "), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(quote(&"a ".repeat(100)).chars().count(), 61);
    }
}
