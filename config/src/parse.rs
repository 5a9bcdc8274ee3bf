//! Reads a configuration line by line, as wg and wg-quick together do, and goes on after each error.

mod check;
mod interface;
mod peer;

use crate::diagnostic::{Diagnostic, Span};
use crate::findings::Findings;
use crate::key::{Key, KeyError, PublicKey};
use crate::keyword::{Keyword, Section};
use crate::mask::{quote, quote_name};
use crate::model::Config;
use crate::text::is_space;
use peer::{Owners, PeerDraft};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Longest line that is read, in bytes. One line may hold all the prefixes of a peer, so this is generous.
const LINE_MAX: usize = 16 << 20;

/// How the public key of a private key is had: this crate knows no curve.
pub type PublicKeyOf<'f> = &'f dyn Fn(&Key) -> PublicKey;

/// Reads configurations.
///
/// ```
/// use kerntun_config::Parser;
///
/// let parsed = Parser::new("wg0.conf").parse(b"[Interface]\nMTU = 142O\n");
/// assert!(parsed.config.is_none());
/// assert_eq!(
///     parsed.diagnostics.iter().find(|d| d.is_error()).map(ToString::to_string).as_deref(),
///     Some(
///         "error: this MTU is not a number
///   --> wg0.conf:2:7
///    |
///  2 | MTU = 142O
///    |       ^^^^
///    = help: write a number of bytes, as in 'MTU = 1420'"
///     )
/// );
/// ```
#[derive(Clone, Copy)]
pub struct Parser<'f> {
    file: &'f str,
    public_key_of: Option<PublicKeyOf<'f>>,
}

/// What became of a text.
#[derive(Debug)]
pub struct Parsed {
    /// The configuration; none when there is an error among the diagnostics.
    pub config: Option<Config>,
    /// What could be read in spite of the errors; none when there are none. Good for taking down what an earlier state of the file
    /// put up, and for nothing else: a line that is missing may have been the one that mattered.
    pub partial: Option<Config>,
    /// Errors and warnings in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl<'f> Parser<'f> {
    /// A parser for the text of `file`, a name that is only used to say where something is wrong.
    pub const fn new(file: &'f str) -> Self {
        Self { file, public_key_of: None }
    }

    /// Lets the parser warn of a peer that is the interface itself, which takes the public key of its private key.
    #[must_use]
    pub const fn public_key_of(mut self, function: PublicKeyOf<'f>) -> Self {
        self.public_key_of = Some(function);
        self
    }

    /// Reads a configuration. Comments may be in any encoding, all else must be UTF-8. Takes time and memory
    /// proportional to the text.
    pub fn parse(&self, text: &[u8]) -> Parsed {
        let mut reader = Reader::default();
        let body = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut line_start = text.len() - body.len();
        for (index, bytes) in body.split(|b| *b == b'\n').enumerate() {
            reader.line(Line { number: index + 1, start: line_start, bytes });
            line_start += bytes.len() + 1;
        }
        reader.finish(self, text)
    }
}

/// The encoding mark some editors put before the text. wg-quick chokes on it; we do not.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    start: usize,
    bytes: &'a [u8],
}

impl Line<'_> {
    fn span(&self, from: usize, to: usize) -> Span {
        Span { line: self.number, line_start: self.start, start: self.start + from, end: self.start + to }
    }
}

/// A piece of a line and where it stands.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    span: Span,
}

impl<'a> Piece<'a> {
    /// The piece without white space around it.
    fn trim(self) -> Self {
        let text = self.text.trim_start_matches(is_space);
        let start = self.span.start + (self.text.len() - text.len());
        let text = text.trim_end_matches(is_space);
        Self { text, span: Span { start, end: start + text.len(), ..self.span } }
    }

    /// The text without any white space, as wg reads it.
    fn compact(self) -> Cow<'a, str> {
        compact(self.text)
    }

    /// The pieces between separators, with their places.
    fn split(self, separator: impl Fn(char) -> bool) -> impl Iterator<Item = Self> {
        let mut start = self.span.start;
        self.text.split(separator).map(move |text| {
            let span = Span { start, end: start + text.len(), ..self.span };
            // All separators are one byte long.
            start += text.len() + 1;
            Self { text, span }
        })
    }
}

fn compact(text: &str) -> Cow<'_, str> {
    if text.contains(is_space) {
        text.chars().filter(|c| !is_space(*c)).collect::<String>().into()
    } else {
        text.into()
    }
}

/// Whether a comment follows on the same line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comment {
    None,
    /// After white space.
    Apart,
    /// Right after the value's last character: perhaps it was not meant to be a comment.
    Touching,
}

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    BeforeSections,
    /// `quick` tells whether the header was written so that wg-quick knows it too.
    Interface {
        quick: bool,
    },
    Peer,
    /// After a header that is neither: its keys cannot be judged.
    Unknown,
}

/// Reads lines and remembers what only the end of the file can decide.
#[derive(Default)]
struct Reader {
    findings: Findings,
    place: Place,
    config: Config,
    interface_header: Option<Span>,
    interface_seen: Seen,
    /// The line of each address of the interface, by what Linux tells addresses apart by.
    address_lines: HashMap<(IpAddr, Option<u8>), usize>,
    peer: Option<PeerDraft>,
    /// Where the public key of each peer in `config` stands.
    public_key_spans: Vec<Span>,
    owners: Owners,
}

/// Where the value of each key of a section stands.
#[derive(Default)]
struct Seen([Option<Span>; Keyword::COUNT]);

impl Seen {
    fn get(&self, keyword: Keyword) -> Option<Span> {
        self.0.get(keyword as usize).copied().flatten()
    }

    /// Notes the place, and gives the one noted before.
    fn note(&mut self, keyword: Keyword, span: Span) -> Option<Span> {
        self.0.get_mut(keyword as usize).and_then(|slot| slot.replace(span))
    }
}

impl Reader {
    fn line(&mut self, line: Line<'_>) {
        if line.bytes.len() > LINE_MAX {
            self.findings.error(line.span(0, 1), "this line is longer than 16 MiB").help("split it into several lines");
            return;
        }
        let end = line.bytes.iter().position(|b| *b == b'#').unwrap_or(line.bytes.len());
        let content = line.bytes.get(..end).unwrap_or(line.bytes);
        if let Some(index) = content.iter().position(|b| *b == 0) {
            self.findings
                .error(line.span(index, index + 1), "this line contains a NUL byte")
                .help("a configuration is plain text; is this another kind of file, or UTF-16?");
            return;
        }
        let text = match core::str::from_utf8(content) {
            Ok(text) => text,
            Err(cause) => {
                let at = cause.valid_up_to();
                self.findings
                    .error(line.span(at, at + 1), "this character is not UTF-8")
                    .help("save the file as UTF-8; only comments may be in another encoding");
                return;
            }
        };
        let piece = Piece { text, span: line.span(0, end) }.trim();
        if piece.text.is_empty() {
            return;
        }
        let comment = match text.chars().next_back() {
            _ if end == line.bytes.len() => Comment::None,
            Some(last) if !is_space(last) => Comment::Touching,
            _ => Comment::Apart,
        };
        if piece.text.starts_with('[') {
            self.header(piece);
        } else {
            self.assignment(piece, comment);
        }
    }

    fn header(&mut self, piece: Piece<'_>) {
        let compacted = piece.compact().to_ascii_lowercase();
        let section = Section::find(&compacted);
        let (section, quick) = match section {
            Some(section) => (Some(section), section.name().eq_ignore_ascii_case(piece.text)),
            None => {
                // Go on as if the header were right, so that the keys below get checked too.
                let meant = Section::suggest(&compacted);
                let added = self.findings.error(piece.span, format!("'{}' is not a section", quote(piece.text)));
                match meant {
                    Some(section) => added.help(format!("did you mean '{}'?", section.name())),
                    None => added.help("there are two kinds of sections: [Interface] and [Peer]"),
                };
                (meant, true)
            }
        };
        self.end_peer();
        self.place = match section {
            Some(Section::Interface) => {
                if let Some(first) = self.interface_header {
                    self.findings
                        .warning(piece.span, format!("[Interface] occurs already in line {}", first.line))
                        .help(
                            "the two count as one; a file configures one interface, further ones need their own files",
                        );
                }
                self.interface_header.get_or_insert(piece.span);
                Place::Interface { quick }
            }
            Some(Section::Peer) => {
                self.peer = Some(PeerDraft::new(piece.span));
                Place::Peer
            }
            None => Place::Unknown,
        };
    }

    /// A line that should be `Key = value`.
    fn assignment(&mut self, piece: Piece<'_>, comment: Comment) {
        let Some((name, value)) = piece.text.split_once('=') else {
            self.no_equals_sign(piece);
            return;
        };
        let name_piece = Piece { text: name, span: Span { end: piece.span.start + name.len(), ..piece.span } }.trim();
        let value_start = piece.span.start + name.len() + 1;
        let value = Piece { text: value, span: Span { start: value_start, ..piece.span } }.trim();
        // wg drops all white space, even inside a key; wg-quick only what is around it.
        let found = Keyword::find(name_piece.text)
            .or_else(|| Keyword::find(&name_piece.compact()).filter(|keyword| !keyword.is_quick()));
        let here = match self.place {
            Place::Interface { .. } => Some(Section::Interface),
            Place::Peer => Some(Section::Peer),
            Place::BeforeSections => None,
            Place::Unknown => return,
        };
        match (found, here) {
            (None, _) => self.unknown_key(name_piece, here),
            (Some(keyword), None) => {
                self.findings
                    .error(name_piece.span, format!("'{}' stands before the first section", keyword.name()))
                    .help(format!("put a line '{}' above it", keyword.section().name()));
            }
            (Some(keyword), Some(here)) if keyword.section() != here => self.wrong_section(keyword, here, name_piece),
            (Some(keyword), Some(Section::Interface)) => {
                if keyword.is_quick() && self.place == (Place::Interface { quick: false }) {
                    self.findings
                        .error(
                            name_piece.span,
                            format!("wg-quick does not see that '{}' is in [Interface]", keyword.name()),
                        )
                        .help("write '[Interface]' without spaces inside the brackets");
                }
                let before = self.interface_seen.note(keyword, value.span);
                self.repeated(keyword, before, name_piece);
                self.interface_key(keyword, value, comment);
            }
            (Some(keyword), Some(Section::Peer)) => {
                let before = self.peer.as_mut().and_then(|peer| peer.seen.note(keyword, value.span));
                self.repeated(keyword, before, name_piece);
                self.peer_key(keyword, value);
            }
        }
    }

    fn no_equals_sign(&mut self, piece: Piece<'_>) {
        if self.place == Place::Unknown {
            return;
        }
        let first = piece.text.split(|c: char| is_space(c) || c == ':').next().unwrap_or_default();
        let keyword = Keyword::find(first).or_else(|| Keyword::find(&compact(piece.text)));
        let added = self.findings.error(piece.span, "this line has no '='");
        match keyword {
            Some(keyword) => added.help(format!("write '{} = ...'", keyword.name())),
            None if piece.text.starts_with([';', '/', '!']) => added.help("comments start with '#'"),
            None => added.help("a line is a section, 'Key = value', or a comment starting with '#'"),
        };
    }

    fn unknown_key(&mut self, name: Piece<'_>, here: Option<Section>) {
        if name.text.is_empty() {
            let span = Span { end: name.span.start + 1, ..name.span };
            self.findings.error(span, "there is no key before this '='").help("write 'Key = value'");
            return;
        }
        let message = match here {
            Some(section) => format!("'{}' is not a key of {}", quote_name(name.text), section.name()),
            None => format!("'{}' stands before the first section and is not a key", quote_name(name.text)),
        };
        let added = self.findings.error(name.span, message);
        if !added.is_shown() {
            return;
        }
        match Keyword::suggest(&name.compact(), here) {
            _ if name.text.starts_with([';', '/', '!']) => {
                added.help("comments start with '#'");
            }
            Some(keyword) if here.is_none_or(|here| here == keyword.section()) => {
                added.help(format!("did you mean '{}'?", keyword.name()));
                // One mistake, one error: do not say later that this key is missing.
                if let Some(peer) = &mut self.peer {
                    peer.seen.note(keyword, name.span);
                }
            }
            Some(keyword) => {
                added.help(format!(
                    "did you mean '{}', which belongs in {}?",
                    keyword.name(),
                    keyword.section().name()
                ));
            }
            None => {
                added.help(match here {
                    Some(section) => format!("the keys of {} are {}", section.name(), keys_of(section)),
                    None => "start the file with a line '[Interface]'".to_owned(),
                });
            }
        }
    }

    fn wrong_section(&mut self, keyword: Keyword, here: Section, name: Piece<'_>) {
        let right = keyword.section().name();
        let help = match (keyword, here) {
            (Keyword::PublicKey, _) => {
                "the public key of this interface follows from its PrivateKey and is not written down; a peer's belongs \
                 in [Peer]"
                    .to_owned()
            }
            (Keyword::PrivateKey, _) => {
                "a peer is known by its PublicKey; its private key belongs on its own machine only".to_owned()
            }
            (_, Section::Peer) => format!("move this line up under {right}"),
            (_, Section::Interface) => format!("move this line down under a {right}"),
        };
        let message = format!("'{}' is a key of {right}, but this is {}", keyword.name(), here.name());
        self.findings.error(name.span, message).help(help);
    }

    fn repeated(&mut self, keyword: Keyword, before: Option<Span>, name: Piece<'_>) {
        let Some(before) = before.filter(|_| !keyword.adds_up()) else { return };
        let message = format!("'{}' is given twice: this one counts, line {} does not", keyword.name(), before.line);
        let added = self.findings.warning(name.span, message);
        if keyword == Keyword::PublicKey {
            added.help("if this is another peer, put a line '[Peer]' above it");
        } else {
            added.help("remove one of them");
        }
    }

    /// Reads a secret key. What is wrong is said without showing any of it.
    fn secret(&mut self, keyword: Keyword, value: Piece<'_>) -> Option<Key> {
        let text = Zeroizing::new(value.compact().into_owned());
        match Key::from_base64(&text) {
            Ok(key) => Some(key),
            Err(cause) => {
                let tool = if keyword == Keyword::PrivateKey { "genkey" } else { "genpsk" };
                self.bad_key(keyword, value, cause, &format!("'wg {tool}' makes one"));
                None
            }
        }
    }

    fn bad_key(&mut self, keyword: Keyword, value: Piece<'_>, cause: KeyError, help: &str) {
        let span = match cause {
            KeyError::Character { position, .. } => nth_character(value, position),
            _ => value.span,
        };
        let help = if value.text.starts_with(['"', '\'']) { "write it without quotes" } else { help };
        self.findings.error(span, format!("this {} {cause}", keyword.name())).help(help);
    }

    /// Reports a value that is not a number in range; `Some` when it is one. Digits only, as wg demands.
    fn number(&mut self, value: Piece<'_>, max: u32, what: &str, help: &str) -> Option<u32> {
        let text = value.compact();
        if text.is_empty() {
            self.findings.error(value.span, format!("this {what} is empty")).help(help);
        } else if !text.bytes().all(|b| b.is_ascii_digit()) {
            self.findings.error(value.span, format!("this {what} is not a number")).help(help);
        } else {
            match text.parse::<u32>() {
                Ok(number) if number <= max => return Some(number),
                _ => {
                    self.findings.error(value.span, format!("this {what} is larger than {max}")).help(help);
                }
            }
        }
        None
    }
}

/// The place of a value's nth character that is no white space, counted from 1.
fn nth_character(value: Piece<'_>, position: usize) -> Span {
    let found = value.text.char_indices().filter(|(_, c)| !is_space(*c)).nth(position.saturating_sub(1));
    found.map_or(value.span, |(index, c)| {
        let start = value.span.start + index;
        Span { start, end: start + c.len_utf8(), ..value.span }
    })
}

const fn keys_of(section: Section) -> &'static str {
    match section {
        Section::Interface => {
            "PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown and SaveConfig"
        }
        Section::Peer => "PublicKey, PresharedKey, AllowedIPs, Endpoint and PersistentKeepalive",
    }
}
