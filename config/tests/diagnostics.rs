//! Bad input and the exact text people get to see, case by case in `diagnostics.txt`.
//!
//! After a change of wording, run with `KERNTUN_BLESS=1` to write the file anew, and read the difference.

use kerntun_config::{Key, Parser, PublicKey};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnostics.txt");

/// Stand-ins used in the inputs: what a right file has at least, and characters that do not survive an editor.
const STAND_INS: &[(&str, &str)] = &[
    ("{I}", "[Interface]\nPrivateKey = gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=\nAddress = 10.0.0.1/24"),
    ("{P}", "[Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="),
    ("{Q}", "[Peer]\nPublicKey = gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA="),
    ("{tab}", "\t"),
    ("{cr}", "\r"),
    ("{nul}", "\0"),
    ("{esc}", "\u{1b}"),
    ("{bom}", "\u{feff}"),
];

/// The public key that belongs, for these tests, to every private key.
const OWN: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

struct Case<'a> {
    title: &'a str,
    input: &'a str,
    output: &'a str,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    text.split("=== ")
        .skip(1)
        .map(|case| {
            let (title, rest) = case.split_once('\n').expect("a title");
            let (input, output) = rest.split_once("\n---\n").expect("a line '---' after the input");
            Case { title, input, output: output.trim_end_matches('\n') }
        })
        .collect()
}

fn render(input: &str) -> String {
    let text = STAND_INS.iter().fold(input.to_owned(), |text, (from, to)| text.replace(from, to));
    // Latin-1 in the place of this letter: no UTF-8.
    let bytes: Vec<u8> = text.split('ÿ').collect::<Vec<_>>().join("\u{0}\u{1}").into_bytes();
    let bytes =
        bytes.split(|b| *b == 1).map(|part| part.strip_suffix(b"\0").unwrap_or(part)).collect::<Vec<_>>().join(&0xff);
    let own = |_: &Key| PublicKey::from_base64(OWN).unwrap();
    let parsed = Parser::new("wg0.conf").public_key_of(&own).parse(&bytes);
    assert_eq!(parsed.config.is_none(), parsed.diagnostics.iter().any(|d| d.is_error()));
    parsed.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn every_case_says_exactly_this() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let cases = cases(&text);
    assert!(cases.len() > 60);
    if std::env::var_os("KERNTUN_BLESS").is_some() {
        let anew: Vec<String> = cases
            .iter()
            .map(|case| format!("=== {}\n{}\n---\n{}\n", case.title, case.input, render(case.input)))
            .collect();
        let head = text.split("=== ").next().unwrap();
        std::fs::write(FILE, format!("{head}{}", anew.join("\n"))).unwrap();
        return;
    }
    for case in cases {
        let found = render(case.input);
        assert_eq!(found, case.output, "\ncase '{}' now says:\n{found}\n", case.title);
    }
}
