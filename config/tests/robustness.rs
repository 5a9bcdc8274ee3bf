//! Whatever is in the file: no panic, no secret shown, no more work than the text is long.

mod common;

use common::{Rng, corpus};
use kerntun_config::{Key, Parsed, Parser, PublicKey};

/// Words that get the reader into its corners.
const WORDS: &[&[u8]] = &[
    b"[Interface]",
    b"[Peer]",
    b"[ Interface ]",
    b"[",
    b"]",
    b"=",
    b"#",
    b",",
    b"/",
    b":",
    b"%",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\t",
    b"PublicKey = ",
    b"AllowedIPs = ",
    b"Endpoint = ",
    b"MTU = ",
    b"DNS = ",
    b"Table = ",
    b"0x",
    b"off",
    b"+",
    b"-",
    b"99999999999999999999",
    b"::",
    b"\xe6\x97\xa5",
    b"\x1b[2J",
    b"PostUp = ",
    b"SaveConfig = ",
    b"'",
    b"\"",
];

fn mutate(rng: &mut Rng, text: &mut Vec<u8>, changes: usize) {
    for _ in 0..changes {
        let at = rng.below(text.len() + 1);
        let length = rng.below(20).min(text.len() - at);
        match rng.below(8) {
            0 => text.insert(at, rng.next() as u8),
            1 if at < text.len() => text[at] ^= 1 << rng.below(8),
            2 if at < text.len() => drop(text.remove(at)),
            3 => drop(text.drain(at..at + length)),
            4 => {
                let piece = text[at..at + length].to_vec();
                let to = rng.below(text.len() + 1);
                text.splice(to..to, piece);
            }
            5 if rng.chance(20) => text.truncate(at),
            6 if at < text.len() => text[at] = b' ' + rng.below(95) as u8,
            _ => drop(text.splice(at..at, rng.pick(WORDS).iter().copied())),
        }
    }
}

fn check_shape(parsed: &Parsed) {
    assert_eq!(parsed.config.is_none(), parsed.diagnostics.iter().any(|d| d.is_error()));
    assert_eq!(parsed.config.is_none(), parsed.partial.is_some());
    for diagnostic in &parsed.diagnostics {
        let shown = diagnostic.to_string();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.lines().count() <= 6, "{shown}");
    }
}

#[test]
fn mutated_files_never_panic() {
    let files = corpus();
    let mut rng = Rng(3);
    let own = |_: &Key| PublicKey::from_bytes([7; 32]);
    let mut usable = 0;
    for _ in 0..120_000 {
        let (name, text) = &files[rng.below(files.len())];
        let mut text = text.clone();
        let changes = 1 + rng.below(3);
        mutate(&mut rng, &mut text, changes);
        let parsed = Parser::new(name).public_key_of(&own).parse(&text);
        check_shape(&parsed);
        // What was accepted can be written and read back.
        if let Some(config) = parsed.config {
            usable += 1;
            let again = Parser::new(name).parse(config.to_text().as_bytes()).config;
            assert_eq!(again, Some(config));
        }
    }
    assert!((5_000..110_000).contains(&usable), "{usable} of 120000: the mutations are too strong or too weak");
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng(4);
    for _ in 0..20_000 {
        let text: Vec<u8> = (0..rng.below(200)).map(|_| rng.next() as u8).collect();
        check_shape(&Parser::new("x").parse(&text));
    }
}

/// All pieces of a secret that are long enough to hurt.
fn leaks(shown: &str, secret: &str) -> bool {
    const LONGEST_SHOWN: usize = 15;
    // The final '=' is the same in all keys.
    let secret = secret.trim_end_matches('=');
    secret.as_bytes().windows(LONGEST_SHOWN + 1).any(|piece| shown.contains(std::str::from_utf8(piece).unwrap()))
}

#[test]
fn secrets_show_in_no_diagnostic() {
    let mut rng = Rng(5);
    let mut shown_lines = 0;
    for round in 0..30_000 {
        let private = Key::from_bytes(rng.bytes()).to_base64();
        let preshared = Key::from_bytes(rng.bytes()).to_base64();
        let public = PublicKey::from_bytes(rng.bytes());
        let text = format!(
            "[Interface]\nPrivateKey = {p}\nAddress = 10.0.0.1/24\nPostUp = wg set %i private-key <(echo {p})\n# {p}\n\n\
             [Peer]\nPublicKey = {public}\nPresharedKey = {s} # {s}\nAllowedIPs = 10.0.0.2/8\n\n\
             [Peer]\nPublicKey = {public}\nPrivatKey={p}\nEndpoint = {s}\nPSK {s}\n{p}\n[{s}]\n",
            p = private.as_str(),
            s = preshared.as_str(),
        );
        let mut text = text.into_bytes();
        // The first round takes the text as it is.
        mutate(&mut rng, &mut text, if round == 0 { 0 } else { 1 + round % 5 });
        let parsed = Parser::new("x").parse(&text);
        for diagnostic in &parsed.diagnostics {
            shown_lines += 1;
            for shown in [diagnostic.to_string(), format!("{diagnostic:?}")] {
                for secret in [&private, &preshared] {
                    assert!(!leaks(&shown, secret), "{shown}\n{}", String::from_utf8_lossy(&text));
                }
            }
        }
        assert!(!leaks(&format!("{parsed:?}"), &private));
    }
    assert!(shown_lines > 100_000, "{shown_lines}");
}

#[test]
fn a_hundred_thousand_peers() {
    let mut text =
        String::from("[Interface]\nPrivateKey = gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=\nAddress = 10.0.0.1\n");
    for number in 0..100_000u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&(number + 1).to_le_bytes());
        // Else the first would be a point of low order.
        key[8] = 1;
        let key = PublicKey::from_bytes(key);
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number + 2);
        text += &format!(
            "\n[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32, fd00::{:x}:{:x}/128\n",
            number >> 16,
            number & 0xffff
        );
    }
    let parsed = Parser::new("big").parse(text.as_bytes());
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics[0]);
    let config = parsed.config.unwrap();
    assert_eq!(config.peers.len(), 100_000);
    assert_eq!(config.peers[99_999].allowed_ips[0].to_string(), "10.1.134.161/32");
    let again = Parser::new("big").parse(config.to_text().as_bytes()).config;
    assert_eq!(again, Some(config));
}

#[test]
fn many_errors_are_counted_not_listed() {
    let parsed = Parser::new("x").parse(format!("[Peer]\n{}", "Foo = 1\n".repeat(300_000)).as_bytes());
    assert_eq!(parsed.diagnostics.len(), 51);
    // 300000 unknown keys and a peer without a PublicKey.
    assert_eq!(parsed.diagnostics[50].to_string(), "error: 299951 more errors of this file not shown\n  --> x");
}

#[test]
fn long_lines() {
    let list = "10.0.0.0/8,".repeat(200_000);
    let key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    let parsed = Parser::new("x").parse(format!("[Peer]\nPublicKey={key}\nAllowedIPs={list}").as_bytes());
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|d| d.is_error()).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().len() < 600);
    let parsed = Parser::new("x").parse(format!("[Peer]\nPublicKey={key}\nFoo={}", "x".repeat(17 << 20)).as_bytes());
    assert!(parsed.diagnostics[0].message.contains("longer than 16 MiB"), "{}", parsed.diagnostics[0]);
    // A secret far right in a long line.
    let text = format!("[Interface]\nPrivateKey = {}{key}", "é ".repeat(10_000));
    let shown = Parser::new("x").parse(text.as_bytes()).diagnostics[0].to_string();
    assert!(!leaks(&shown, key), "{shown}");
}
