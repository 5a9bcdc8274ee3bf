//! The judges themselves: what `wg setconf` says of a line must be what we say, wherever we do not differ on purpose.
//!
//! Needs wireguard-tools, but neither root nor an interface: `wg` reads the whole file before it looks for the interface.

mod common;

use kerntun_config::Parser;
use std::process::Command;

const PEER: &str = "[Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n";
const KEY: &str = "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=";

fn cases() -> Vec<String> {
    let interface = [
        "ListenPort=0",
        "ListenPort = 65535",
        "ListenPort =",
        "ListenPort = x1",
        "ListenPort = -1",
        "LISTENPORT=1",
        "Listen Port = 5 1",
        "ListenPort 5",
        "FwMark = off",
        "FwMark = OFF",
        "FwMark = 0x10",
        "FwMark = 0x",
        "FwMark=0X1",
        "FwMark = 4294967295",
        "FwMark = 4294967296",
        "FwMark = 0xffffffff",
        "FwMark = 0x1ffffffff",
        "FwMark =",
        "FwMark = 010",
        "FwMark = -1",
        "FwMark = +1",
        "FwMark = 0x+1",
        "PrivateKey =",
        "PrivateKey = abc",
        "Foo = 1",
        "[Interface]",
        "[ Inter face ]",
        "[Interface",
        "[Interface] x",
        "# x",
        "  # x",
        "x # y",
        "ListenPort = 5 # y",
        "ListenPort = 5# y",
        "ListenPort == 5",
        "= 5",
        "PublicKey = x",
        "AllowedIPs = 10.0.0.0/8",
    ];
    let peer = [
        "AllowedIPs = 10.0.0.0/8",
        "AllowedIPs = 10.0.0.1/8",
        "AllowedIPs = 10.0.0.0/08",
        "AllowedIPs = 10.0.0.0/33",
        "AllowedIPs = 10.0.0.0/",
        "AllowedIPs = 10.0.0.0/ 8",
        "AllowedIPs = 10.0.0.0/8,",
        "AllowedIPs = ,",
        "AllowedIPs = 10.0.0.0/8, fd00::/8",
        "AllowedIPs = 10.0.0.0/8 fd00::/8",
        "Allowed IPs = ::/0",
        "AllowedIPs = ::/129",
        "AllowedIPs = ::1",
        "AllowedIPs = ::ffff:1.2.3.4/96",
        "AllowedIPs = 10/8",
        "AllowedIPs = 010.0.0.0/8",
        "AllowedIPs = 10.0.0.0/+8",
        "AllowedIPs = 10.0.0.0/8/8",
        "AllowedIPs = 1.2.3.4.5",
        "AllowedIPs = 10.0.0.0/255.0.0.0",
        "AllowedIPs = 10.0.0.0/0x8",
        "AllowedIPs = fe80::1%lo/64",
        "AllowedIPs = 1::2::3",
        "AllowedIPs = 00001::/16",
        "AllowedIPs = 0.0.0.0/000000000000000000000000000000000000000000",
        "AllowedIPs = 10.0.0.0/18446744073709551624",
        "Endpoint = 1.2.3.4:5",
        "Endpoint = 1.2.3.4:",
        "Endpoint = 1.2.3.4",
        "Endpoint =",
        "Endpoint = [::1]:5",
        "Endpoint = [::1]",
        "Endpoint = [::1]5",
        "Endpoint = [::1",
        "Endpoint = ::1:5",
        "Endpoint = [1.2.3.4]:5",
        "Endpoint = [fe80::1%1]:5",
        "Endpoint = 1.2.3.4:x1",
        "Endpoint = 1.2.3.4 : 5",
        "Endpoint = :5",
        "Endpoint = [::1]:5:6",
        "PersistentKeepalive = 0",
        "PersistentKeepalive = 65535",
        "PersistentKeepalive = 65536",
        "PersistentKeepalive = off",
        "PersistentKeepalive = Off",
        "PersistentKeepalive = 25s",
        "PersistentKeepalive =",
        "PersistentKeepalive = -1",
        "PersistentKeepalive = 0025",
        "PersistentKeepalive = 0x19",
        "PresharedKey = x",
        "ListenPort = 5",
        "[Peer]",
        "Endpoint = 1.2.3.4:5\nEndpoint = 1.2.3.4:6",
        "[peer",
        "[]",
    ];
    let interface = interface.into_iter().map(|line| format!("[Interface]\n{line}\n"));
    let peer = peer.into_iter().map(|line| format!("{PEER}{line}\n"));
    let mut cases: Vec<String> = interface.chain(peer).collect();
    // The last character of a key carries four bits: only every fourth letter is one.
    for last in ["E", "F", "G", "H", "A", "8", "/", "="] {
        let key = format!("{}{last}=", &KEY[..42]);
        cases.push(format!("[Interface]\nPrivateKey = {key}\n"));
        cases.push(format!("{PEER}PresharedKey = {key}\n"));
    }
    cases.push(String::new());
    cases.push("ListenPort = 5\n".into());
    cases.push("[Peer]\n".into());
    cases.push(format!("{PEER}{PEER}"));
    cases.push(format!("[Interface]\r\nPrivateKey = {KEY}\r\n"));
    cases.push(format!("[Interface]\nPrivateKey = {KEY}"));
    cases.push(format!("[Interface]\nPrivateKey = {} {}\n", &KEY[..20], &KEY[20..]));
    cases.push(format!("[Interface]\x0b\nPrivateKey\x0c= {KEY}\n"));
    cases
}

/// Whether `wg` took the file, and then failed for want of an interface; none without wireguard-tools.
fn wg_accepts(path: &std::path::Path) -> Option<bool> {
    let output = Command::new("wg")
        .args(["setconf", "kt-cfg-none"])
        .arg(path)
        .env("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = said.contains("Configuration parsing error") || said.contains("Invalid configuration");
    assert!(refused || said.contains("Unable to modify interface"), "{said}");
    Some(!refused)
}

#[test]
fn wg_setconf_agrees() {
    let path = std::env::temp_dir().join(format!("kerntun-config-wg-{}.conf", std::process::id()));
    for case in cases() {
        std::fs::write(&path, &case).unwrap();
        let Some(accepted) = wg_accepts(&path) else {
            println!("SKIPPED: wg (wireguard-tools) is not installed");
            return;
        };
        let parsed = Parser::new("x").parse(case.as_bytes());
        let said: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(parsed.config.is_some(), accepted, "wg accepts: {accepted}\n{case}\n{}", said.join("\n"));
        // And wg takes what we make of it.
        if let Some(config) = parsed.config {
            std::fs::write(&path, config.strip().as_bytes()).unwrap();
            assert_eq!(wg_accepts(&path), Some(true), "{}", config.strip().as_str());
        }
    }
    std::fs::remove_file(&path).unwrap();
}

/// wg-quick takes what we write and finds in it what we would hand to `wg setconf`.
#[test]
fn wg_quick_strips_the_same() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !root {
        println!("SKIPPED: wg-quick wants to be root, even to strip a file");
        return;
    }
    let directory = std::env::temp_dir().join(format!("kerntun-config-strip-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ktcfg.conf");
    let files = common::corpus().into_iter();
    // What we write must pass, and so must what people write; wg-quick knows no byte order mark.
    for (name, text) in files.filter(|(_, text)| !text.starts_with(b"\xef")) {
        let Some(config) = Parser::new(&name).parse(&text).config else { continue };
        for text in [text.as_slice(), config.to_text().as_bytes()] {
            std::fs::write(&path, text).unwrap();
            let Ok(output) = Command::new("wg-quick").arg("strip").arg(&path).output() else {
                println!("SKIPPED: wg-quick (wireguard-tools) is not installed");
                return;
            };
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let stripped = Parser::new(&name).parse(&output.stdout).config;
            let ours = Parser::new(&name).parse(config.strip().as_bytes()).config;
            assert!(stripped.is_some());
            assert_eq!(stripped, ours, "{name}");
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
}
