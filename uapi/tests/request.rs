//! Requests: every key, good and bad; every split; a storm of mutations.

use kerntun_uapi::request::Request;
use kerntun_uapi::{KeyChange, Parser, PublicKey, RequestError, SecretKey, SetRequest};
use std::net::SocketAddr;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "BBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbb";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

// Restated from Linux's errno.h.
const EINVAL: i32 = 22;
const EPROTO: i32 = 71;
const EOPNOTSUPP: i32 = 95;
const E2BIG: i32 = 7;

fn scope(name: &str) -> Option<u32> {
    (name == "eth7").then_some(77)
}

fn all(chunks: &[&[u8]]) -> Vec<Result<Request, RequestError>> {
    let mut parser = Parser::new(scope);
    let mut out = Vec::new();
    for chunk in chunks {
        let mut input = *chunk;
        while let Some(result) = parser.feed(&mut input) {
            out.push(result);
        }
        assert!(input.is_empty());
    }
    out
}

fn one(text: &str) -> Result<Request, RequestError> {
    let mut results = all(&[text.as_bytes()]);
    assert_eq!(results.len(), 1, "{text:?}");
    results.remove(0)
}

fn set(body: &str) -> SetRequest {
    match one(&format!("set=1\n{body}\n")) {
        Ok(Request::Set(set)) => *set,
        other => panic!("{body:?}: {other:?}"),
    }
}

fn refused(text: &str) -> (i32, u64) {
    let error = one(text).expect_err(text);
    assert!(!error.fatal, "{text:?}");
    assert!(error.sentence.len() > 10, "{error}");
    (error.errno.get(), error.line)
}

#[test]
fn device_keys() {
    assert_eq!(set(""), SetRequest::default());
    assert_eq!(set(&format!("private_key={A}\n")).private_key, Some(KeyChange::Set(SecretKey::new(&[0xAA; 32]))));
    assert_eq!(set(&format!("private_key={B}\n")).private_key, Some(KeyChange::Set(SecretKey::new(&[0xBB; 32]))));
    assert_eq!(set(&format!("private_key={ZERO}\n")).private_key, Some(KeyChange::Clear));
    for (text, port) in [("0", 0), ("1", 1), ("65535", 65535), ("051820", 51820)] {
        assert_eq!(set(&format!("listen_port={text}\n")).listen_port, Some(port));
    }
    for (text, mark) in [("0", 0), ("4294967295", u32::MAX)] {
        assert_eq!(set(&format!("fwmark={text}\n")).fwmark, Some(mark));
    }
    assert!(set("replace_peers=true\n").replace_peers);
}

#[test]
fn peer_keys() {
    let peer = |body: &str| set(&format!("public_key={B}\n{body}")).peers.remove(0);
    let bare = peer("");
    assert_eq!(bare.public_key, PublicKey([0xBB; 32]));
    assert!(!bare.remove && !bare.update_only && !bare.replace_allowed_ips && bare.allowed_ips.is_empty());
    assert!(peer("remove=true\n").remove);
    assert!(peer("update_only=true\n").update_only);
    assert!(peer("replace_allowed_ips=true\nallowed_ip=::/0\n").replace_allowed_ips);
    assert_eq!(peer("protocol_version=1\n").protocol_version, Some(1));
    assert_eq!(peer("persistent_keepalive_interval=0\n").persistent_keepalive_interval, Some(0));
    assert_eq!(peer("persistent_keepalive_interval=65535\n").persistent_keepalive_interval, Some(65535));
    assert_eq!(peer(&format!("preshared_key={ZERO}\n")).preshared_key, Some(KeyChange::Clear));
    assert!(matches!(peer(&format!("preshared_key={A}\n")).preshared_key, Some(KeyChange::Set(_))));
}

#[test]
fn endpoints() {
    let endpoint = |text: &str| set(&format!("public_key={A}\nendpoint={text}\n")).peers[0].endpoint;
    for plain in ["192.0.2.1:1", "255.255.255.255:65535", "[::]:2", "[2001:db8::1]:51820", "[::ffff:192.0.2.1]:3"] {
        assert_eq!(endpoint(plain), Some(plain.parse::<SocketAddr>().unwrap()), "{plain}");
    }
    for (text, id) in [("4", 4), ("0", 0), ("4294967295", u32::MAX), ("eth7", 77)] {
        let Some(SocketAddr::V6(address)) = endpoint(&format!("[fe80::1%{text}]:9")) else { panic!("{text}") };
        assert_eq!((address.scope_id(), address.port()), (id, 9), "{text}");
    }
    for bad in [
        "",
        ":",
        ":1",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:+1",
        "192.0.2.1: 1",
        "192.0.2.256:1",
        "192.0.2:1",
        "[192.0.2.1]:1",
        "::1:1",
        "[::1]",
        "[::1]1",
        "[::1:1",
        "::1]:1",
        "[]:1",
        "[::1%]:1",
        "[::1%nosuch]:1",
        "[::1%4294967296]:1",
        "example.com:1",
        "[::g]:1",
        "192.0.2.1:1:1",
        "[[::1]]:1",
        "\u{e9}:1",
    ] {
        assert_eq!(refused(&format!("set=1\npublic_key={A}\nendpoint={bad}\n\n")), (EINVAL, 3), "{bad}");
    }
}

#[test]
fn allowed_ips() {
    let list = |text: &str| {
        let set = set(&format!("public_key={A}\n{text}"));
        set.peers[0]
            .allowed_ips
            .iter()
            .map(|c| (c.remove, c.prefix.address.to_string(), c.prefix.prefix))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list(
            "allowed_ip=10.1.2.3/8\nallowed_ip=-11.0.0.0/8\nallowed_ip=fe80::1/10\nallowed_ip=10.1.2.3/8\nallowed_ip=-::/0\n"
        ),
        [(false, "10.0.0.0", 8), (true, "11.0.0.0", 8), (false, "fe80::", 10), (false, "10.0.0.0", 8), (true, "::", 0)]
            .map(|(remove, address, prefix)| (remove, address.to_owned(), prefix))
    );
    assert_eq!(list("allowed_ip=1.2.3.4/32\n"), [(false, "1.2.3.4".to_owned(), 32)]);
    assert_eq!(list("allowed_ip=::1/128\n"), [(false, "::1".to_owned(), 128)]);
    for bad in [
        "",
        "/",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "::/129",
        "::/256",
        "fe80::1%1/64",
        "+10.0.0.0/8",
        "--10.0.0.0/8",
        "-",
        "10.0.0.0/255.0.0.0",
        " 10.0.0.0/8",
        "010.0.0.0/8",
    ] {
        assert_eq!(refused(&format!("set=1\npublic_key={A}\nallowed_ip={bad}\n\n")), (EINVAL, 3), "{bad}");
    }
}

#[test]
fn wrong_device_values() {
    let short = &A[1..];
    let with_g = format!("{}g", &A[1..]);
    for body in [
        "listen_port=",
        "listen_port=x",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=+1",
        "listen_port= 1",
        "listen_port=1 ",
        "listen_port=1=1",
        "listen_port=99999999999999999999",
        "fwmark=",
        "fwmark=0x10",
        "fwmark=off",
        "fwmark=4294967296",
        "replace_peers=false",
        "replace_peers=",
        "replace_peers=1",
        "replace_peers=TRUE",
        "private_key=",
        &format!("private_key={short}"),
        &format!("private_key={A}a"),
        &format!("private_key={with_g}"),
        &format!("public_key={short}"),
        "unknown=1",
        "=1",
        "Listen_Port=1",
        " listen_port=1",
        "errno=0",
        "get=1",
        "set=1",
    ] {
        assert_eq!(refused(&format!("set=1\n{body}\n\n")), (EINVAL, 2), "{body}");
    }
    for body in ["listen_port", "x", "true", " "] {
        assert_eq!(refused(&format!("set=1\n{body}\n\n")), (EPROTO, 2), "{body}");
    }
    assert_eq!(refused("set=1\r\nlisten_port=1\r\n\r\n"), (EPROTO, 1));
}

#[test]
fn wrong_peer_values() {
    for body in [
        "remove=false",
        "update_only=1",
        "replace_allowed_ips=",
        "protocol_version=0",
        "protocol_version=2",
        "protocol_version=01",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "preshared_key=",
        "unknown=1",
        "last_handshake_time_sec=0",
        "rx_bytes=1",
    ] {
        assert_eq!(refused(&format!("set=1\npublic_key={A}\n{body}\n\n")), (EINVAL, 3), "{body}");
    }
}

#[test]
fn order_and_repetition() {
    // Keys of a peer before any peer.
    for key in [
        "remove=true",
        "update_only=true",
        "endpoint=1.2.3.4:5",
        "persistent_keepalive_interval=1",
        "replace_allowed_ips=true",
        "allowed_ip=::/0",
        "protocol_version=1",
    ] {
        let error = one(&format!("set=1\n{key}\n\n")).unwrap_err();
        assert_eq!((error.errno.get(), error.line), (EINVAL, 2), "{key}");
        assert!(error.sentence.contains("after its public_key"), "{error}");
    }
    // Keys of the device after a peer.
    for key in ["listen_port=1", "fwmark=1", "replace_peers=true", &format!("private_key={A}")] {
        let error = one(&format!("set=1\npublic_key={A}\n{key}\n\n")).unwrap_err();
        assert_eq!((error.errno.get(), error.line), (EINVAL, 3), "{key}");
        assert!(error.sentence.contains("before the first public_key"), "{error}");
    }
    // Twice.
    for key in ["listen_port=1", "fwmark=1", "replace_peers=true", &format!("private_key={A}")] {
        assert_eq!(refused(&format!("set=1\n{key}\n{key}\n\n")), (EINVAL, 3), "{key}");
    }
    for key in [
        "remove=true",
        "update_only=true",
        "endpoint=1.2.3.4:5",
        "persistent_keepalive_interval=1",
        "replace_allowed_ips=true",
        "protocol_version=1",
        &format!("preshared_key={A}"),
    ] {
        assert_eq!(refused(&format!("set=1\npublic_key={A}\n{key}\n{key}\n\n")), (EINVAL, 4), "{key}");
        // Each peer's section counts for itself, also when it is the same peer.
        assert_eq!(set(&format!("public_key={A}\n{key}\npublic_key={A}\n{key}\n")).peers.len(), 2, "{key}");
    }
    assert_eq!(refused(&format!("set=1\npublic_key={A}\nallowed_ip=::/0\nreplace_allowed_ips=true\n\n")), (EINVAL, 4));
}

#[test]
fn operations() {
    assert_eq!(one("get=1\n\n"), Ok(Request::Get));
    assert_eq!(one("get_diagnostics=1\n\n"), Ok(Request::Diagnostics));
    assert_eq!(refused("get=1\nlisten_port=1\n\n"), (EINVAL, 2));
    assert_eq!(refused("get_diagnostics=1\nx=1\n\n"), (EINVAL, 2));
    for text in ["get=2", "set=0", "set=", "get_diagnostics=2", "foo=1", "=", "public_key=x"] {
        assert_eq!(refused(&format!("{text}\n\n")), (EOPNOTSUPP, 1), "{text}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), (EPROTO, 1));
    for empty in ["", "\n", "\n\n\n", "get=1\n", "set=1\nlisten_port=1\n", "set=1\nlisten_port=1", "get=1"] {
        assert_eq!(all(&[empty.as_bytes()]), [], "{empty:?} is not a whole request");
    }
}

#[test]
fn the_connection_goes_on_after_an_error() {
    let text = format!(
        "set=1\nfoo=1\nlisten_port=1\npublic_key={A}\n\nget=1\n\n\nset=1\nlisten_port=5\n\n{}\n\nget=1\n\n",
        "x".repeat(10_000)
    );
    let results = all(&[text.as_bytes()]);
    assert_eq!(results.len(), 5);
    let error = results[0].as_ref().unwrap_err();
    assert_eq!((error.errno.get(), error.line, error.in_set), (EINVAL, 2, true));
    assert_eq!(results[1], Ok(Request::Get));
    assert!(matches!(&results[2], Ok(Request::Set(set)) if set.listen_port == Some(5)));
    let error = results[3].as_ref().unwrap_err();
    assert_eq!((error.errno.get(), error.line, error.in_set), (EINVAL, 1, false));
    assert_eq!(results[4], Ok(Request::Get));
}

#[test]
fn the_first_mistake_is_the_one_reported() {
    assert_eq!(refused("set=1\nlisten_port=1\nfwmark=x\nfoo\nbar=1\n\n"), (EINVAL, 3));
}

#[test]
fn errors_never_repeat_a_secret() {
    let base64 = "yAnz5TF+lXXJte14tsc7HUlPaIl7kZ9cn1yyqXbi7Cs=";
    for text in [
        format!("set=1\nprivate_key={A}0\n\n"),
        format!("set=1\npublic_key={B}\npreshared_key={}x\n\n", &A[1..]),
        format!("set=1\n{A}=1\n\n"),
        format!("set=1\n{A}\n\n"),
        format!("set=1\n{base64}\n\n"),
        format!("set=1\nprivatekey={A}\n\n"),
        format!("{base64}\n\n"),
        format!("set=1\nlisten_port={A}\n\n"),
        format!("set=1\npublic_key={B}\nendpoint={A}\n\n"),
    ] {
        let shown = format!("{0} {0:?}", one(&text).unwrap_err());
        assert!(!shown.contains("aaaaaa") && !shown.contains("yAnz5"), "{shown}");
    }
    let shown = format!("{:?}", set(&format!("private_key={A}\npublic_key={B}\npreshared_key={A}\n")));
    assert!(!shown.contains("aaaaaa") && !shown.contains("170"), "{shown}");
}

#[test]
fn every_split_gives_the_same() {
    let text = format!(
        "\nget=1\n\nset=1\nprivate_key={A}\nlisten_port=7\nreplace_peers=true\npublic_key={B}\npreshared_key={A}\n\
         endpoint=[fe80::1%eth7]:9\nreplace_allowed_ips=true\nallowed_ip=-10.0.0.0/8\n\nset=1\nfoo=1\n\n{}\n\nget_diagnostics=1\n\n",
        "y".repeat(300)
    );
    let text = text.as_bytes();
    let whole = all(&[text]);
    assert_eq!(whole.len(), 5);
    for at in 0..=text.len() {
        assert_eq!(all(&[&text[..at], &text[at..]]), whole, "{at}");
    }
    assert_eq!(all(&text.chunks(1).collect::<Vec<_>>()), whole);
}

/// A small generator of its own (xorshift64*), so that the runs repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn mutations_give_a_request_or_an_error_and_nothing_else() {
    let lines: Vec<String> = [
        "get=1",
        "set=1",
        "get_diagnostics=1",
        "listen_port=1",
        "fwmark=2",
        "replace_peers=true",
        "remove=true",
        "update_only=true",
        "endpoint=1.2.3.4:5",
        "endpoint=[fe80::1%eth7]:5",
        "persistent_keepalive_interval=3",
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.0/8",
        "allowed_ip=-::/0",
        "protocol_version=1",
        "",
        "=",
        "errno=0",
    ]
    .iter()
    .map(|line| (*line).to_owned())
    .chain([
        format!("private_key={A}"),
        format!("public_key={B}"),
        format!("public_key={A}"),
        format!("preshared_key={A}"),
    ])
    .collect();
    let base = format!(
        "set=1\nprivate_key={A}\nlisten_port=1\nfwmark=5\nreplace_peers=true\npublic_key={B}\nendpoint=[fe80::1%eth7]:5\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=-::/0\n"
    );
    let mut random = Random(0x6b65_726e_7475_6e21);
    let (mut good, mut bad) = (0_u32, 0_u32);
    for _ in 0..120_000 {
        let mut text = base.clone().into_bytes();
        if random.below(2) == 0 {
            text.clear();
            for _ in 0..random.below(12) {
                text.extend_from_slice(lines[random.below(lines.len())].as_bytes());
                text.push(b'\n');
            }
        }
        for _ in 0..random.below(4) {
            let at = random.below(text.len() + 1);
            match random.below(5) {
                0 if at < text.len() => text[at] ^= 1 << random.below(8),
                1 if at < text.len() => drop(text.remove(at)),
                2 => text.insert(at, random.below(256) as u8),
                3 => text.truncate(at),
                _ => text.splice(at..at, vec![b'7'; random.below(400)]).for_each(drop),
            }
        }
        text.extend_from_slice(b"\n\n");
        let cut = random.below(text.len() + 1);
        let whole = all(&[&text]);
        assert_eq!(all(&[&text[..cut], &text[cut..]]), whole, "{:?} at {cut}", text.escape_ascii().to_string());
        // What remains is whole again: the next request is understood whatever came before.
        let mut followed = text.clone();
        followed.extend_from_slice(b"get=1\n\n");
        let results = all(&[&followed]);
        assert_eq!(results.len(), whole.len() + 1);
        assert_eq!(results.last(), Some(&Ok(Request::Get)));
        for result in whole {
            match result {
                Ok(Request::Set(set)) => {
                    good += 1;
                    let mut again = Vec::new();
                    set.write_to(&mut again).unwrap();
                    assert_eq!(
                        all(&[&again]),
                        [Ok(Request::Set(set))],
                        "what is accepted can be written and read again"
                    );
                }
                Ok(_) => good += 1,
                Err(error) => {
                    bad += 1;
                    assert!([EINVAL, EPROTO, EOPNOTSUPP].contains(&error.errno.get()) && !error.fatal);
                    assert!(!error.sentence.contains("aaaa"), "{error}");
                }
            }
        }
    }
    assert!(good > 10_000 && bad > 10_000, "the mutations are of both kinds: {good} good, {bad} bad");
}

#[test]
fn a_hundred_thousand_peers_in_one_request() {
    let mut parser = Parser::new(scope);
    let feed = |parser: &mut Parser<_>, text: &str| parser.feed(&mut text.as_bytes());
    assert_eq!(feed(&mut parser, "set=1\nreplace_peers=true\n"), None);
    for i in 0..100_000_u32 {
        let text = format!(
            "public_key={i:064x}\npreshared_key={A}\nendpoint=192.0.2.1:{}\nreplace_allowed_ips=true\n\
             allowed_ip={}/32\nallowed_ip=fd00::{:x}:{:x}/128\n",
            i % 65535 + 1,
            std::net::Ipv4Addr::from_bits(0x0A00_0000 + i),
            i >> 16,
            i & 0xFFFF,
        );
        assert_eq!(feed(&mut parser, &text), None);
    }
    let Some(Ok(Request::Set(set))) = feed(&mut parser, "\n") else { panic!("refused") };
    assert_eq!(set.peers.len(), 100_000);
    let last = &set.peers[99_999];
    assert_eq!(last.public_key.to_string(), format!("{:064x}", 99_999));
    assert_eq!(last.allowed_ips[1].prefix.address.to_string(), "fd00::1:869f");
    assert!(!parser.is_within_request());
}

#[test]
fn a_request_without_end_is_refused_at_64_mib() {
    let mut parser = Parser::new(scope);
    assert_eq!(parser.feed(&mut &b"set=1\nfoo=1\n"[..]), None);
    let chunk = "x=y\n".repeat(1 << 18);
    for _ in 0..63 {
        assert_eq!(parser.feed(&mut chunk.as_bytes()), None);
    }
    let error = parser.feed(&mut chunk.as_bytes()).expect("a 64th MiB is too much").unwrap_err();
    assert_eq!((error.errno.get(), error.fatal, error.in_set), (E2BIG, true, true));
    assert_eq!(parser.feed(&mut &b"\n\nget=1\n\n"[..]), None, "nothing is believed after that");
}
