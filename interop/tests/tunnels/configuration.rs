//! `wg` and `wg-quick` as they are.

use kerntun_interop::end::{End, Peer};
use kerntun_interop::keys::Keys;
use kerntun_interop::namespace::{Namespace, check, said};
use kerntun_interop::program::{
    Program::{self, Kerntun, WireguardGo},
    kerntun,
};
use kerntun_interop::requirements::{is_there, met};
use kerntun_interop::site::{Family, Site};
use kerntun_interop::tap::Tap;
use kerntun_interop::traffic::bulk::bulk;
use kerntun_interop::traffic::echo::{is_unreachable, reach};
use kerntun_interop::tunnel::{PORT, Plan, Tunnel};
use kerntun_interop::wait::{SOON, wait_until};
use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

/// Who does not know the other one's key hears nothing.
#[test]
fn a_wrong_key_is_met_with_silence() {
    if !met("a wrong key is met with silence", &[]) {
        return;
    }
    let tunnel = Tunnel::new(Kerntun, Kerntun);
    let stranger = Keys::number(99).public_text();
    let plan = Plan::default();
    for (left_is_wrong, right_is_wrong) in [(true, false), (false, true)] {
        tunnel.configure(plan);
        if left_is_wrong {
            tunnel.left.configure(PORT, &[Peer { public_key: stranger.clone(), ..tunnel.right_peer(plan) }]);
        }
        if right_is_wrong {
            tunnel.right.configure(PORT, &[Peer { public_key: stranger.clone(), ..tunnel.left_peer(plan) }]);
        }
        let tap = Tap::new(&tunnel.site.right);
        assert!(is_unreachable(&tunnel.site.left, Family::V4.inner(2)));
        let seen: Vec<_> = tap.datagrams().into_iter().filter(|datagram| datagram.destination_port == PORT).collect();
        assert!(seen.iter().any(|datagram| datagram.message_type() == Some(1)), "the left side tried: {seen:?}");
        let answers: Vec<_> = seen.iter().filter(|datagram| datagram.source == Family::V4.outer(2)).collect();
        assert!(answers.is_empty(), "{answers:?}");
    }
    tunnel.configure(plan);
    tunnel.exchange();
}

#[test]
fn wg_show_and_syncconf() {
    if !met("wg show and syncconf", &[]) {
        return;
    }
    let plan = Plan { keepalive: Some(25), preshared: true, ..Plan::default() };
    let tunnel = Tunnel::planned(Kerntun, Kerntun, plan);
    tunnel.exchange();
    let (left, right) = (&tunnel.left, &tunnel.right);
    let shown = left.show("");
    for line in [
        format!("interface: {}", left.interface),
        format!("  public key: {}", left.keys.public_text()),
        "  private key: (hidden)".to_owned(),
        format!("  listening port: {PORT}"),
        format!("peer: {}", right.keys.public_text()),
        "  preshared key: (hidden)".to_owned(),
        format!("  endpoint: 10.77.0.2:{PORT}"),
        "  allowed ips: 10.78.0.2/32, fd78::2/128".to_owned(),
        "  persistent keepalive: every 25 seconds".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no line '{line}' in\n{shown}");
    }
    for start in ["  latest handshake: ", "  transfer: "] {
        assert!(shown.lines().any(|line| line.starts_with(start)), "no line '{start}' in\n{shown}");
    }
    assert_eq!(left.show("private-key").trim(), left.keys.private_text());
    // The same once more changes nothing: not even the session.
    let before = (left.handshake_with(right), left.show("endpoints"), left.transfer_with(right));
    left.feed("syncconf", &left.configuration(PORT, &[tunnel.right_peer(plan)]));
    let [received, sent] = left.transfer_with(right);
    assert_eq!((left.handshake_with(right), left.show("endpoints")), (before.0, before.1));
    assert!(received >= before.2[0] && sent >= before.2[1], "the counters go on");
    // A peer more, and a peer less.
    let other = Peer {
        public_key: Keys::number(7).public_text(),
        allowed_ips: "10.9.0.0/16, fd09::/16".to_owned(),
        ..Peer::default()
    };
    left.feed("syncconf", &left.configuration(PORT, &[tunnel.right_peer(plan), other.clone()]));
    assert_eq!(left.show_peer("allowed-ips", &other.public_key).as_deref(), Some("10.9.0.0/16 fd09::/16"));
    left.feed("syncconf", &left.configuration(PORT, &[tunnel.right_peer(plan)]));
    assert_eq!(left.show("peers").trim(), right.keys.public_text());
    assert_eq!(left.handshake_with(right), before.0, "the session has outlived it all");
    tunnel.exchange();
}

/// What `wg showconf` says can be given to `wg setconf`, also when it is much.
#[test]
fn many_peers() {
    if !met("many peers", &[]) {
        return;
    }
    const MANY: u64 = 2_000;
    let namespace = Arc::new(Namespace::new("alone"));
    let end = End::start(&namespace, Kerntun);
    let peer = |number: u64| Peer {
        public_key: Keys::number(number).public_text(),
        preshared_key: number.is_multiple_of(2).then(|| Keys::number(number).private_text()),
        endpoint: Some(SocketAddr::new(Family::V4.outer(number as u8), PORT)),
        allowed_ips: format!("10.{}.{}.0/24, fd00:{number:x}::/32", number / 256, number % 256),
        keepalive: number.is_multiple_of(3).then_some(25),
    };
    let peers: Vec<Peer> = (1..=MANY).map(peer).collect();
    end.configure(PORT, &peers);
    let sorted = || {
        let text = end.show("dump");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = sorted();
    assert_eq!(before.len() as u64, 1 + MANY);
    let saved = check(Command::new("timeout").args(["20", "wg", "showconf", &end.interface]));
    end.configure(PORT, &[]);
    assert_eq!(end.show("dump").lines().count(), 1);
    end.feed("setconf", &saved);
    assert_eq!(sorted(), before);
}

#[test]
fn peers_and_prefixes() {
    if !met("peers and prefixes", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    let left = &tunnel.left;
    let right_key = tunnel.right.keys.public_text();
    let thief = Keys::number(8).public_text();
    // A prefix belongs to one peer, and its bits behind the mask are cut off.
    left.set(&format!("peer {thief} allowed-ips 10.78.0.2/32,192.0.2.77/24"));
    assert_eq!(left.show_peer("allowed-ips", &thief).as_deref(), Some("10.78.0.2/32 192.0.2.0/24"));
    assert_eq!(left.show_peer("allowed-ips", &right_key).as_deref(), Some("fd78::2/128"));
    // Our own key is no peer.
    left.set(&format!("peer {} allowed-ips 203.0.113.0/24", left.keys.public_text()));
    assert_eq!(left.show_peer("allowed-ips", &left.keys.public_text()), None);
    left.set(&format!("peer {thief} remove"));
    assert_eq!(left.show("peers").trim(), right_key);
    left.set(&format!("peer {right_key} allowed-ips 10.78.0.2/32,fd78::2/128"));
    tunnel.exchange();
    // Without a peer nothing passes; with it again, all does.
    left.set(&format!("peer {right_key} remove"));
    assert!(is_unreachable(&tunnel.site.left, Family::V4.inner(2)));
    tunnel.configure_left(Plan::default());
    tunnel.exchange();
}

/// Another private key while the tunnel runs: the old session ends, and the next one belongs to the new key.
#[test]
fn another_private_key() {
    if !met("another private key", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        let mut tunnel = Tunnel::planned(Kerntun, right, Plan::default());
        tunnel.exchange();
        let file = Scratch::new("key");
        let old = tunnel.left.keys.public_text();
        tunnel.left.keys = Keys::number(u64::from(std::process::id()) << 32 | 0xffff_0000);
        fs::write(&file.0, tunnel.left.keys.private_text()).unwrap();
        tunnel.left.set(&format!("private-key {}", file.0.display()));
        assert_eq!(tunnel.left.show("public-key").trim(), tunnel.left.keys.public_text());
        assert!(is_unreachable(&tunnel.site.left, Family::V4.inner(2)), "the right side knows the old key only");
        tunnel.right.set(&format!("peer {old} remove"));
        tunnel.configure_right(Plan::default());
        tunnel.exchange();
    }
}

/// A peer's preshared key changes the next handshake, not the session.
#[test]
fn another_preshared_key() {
    if !met("another preshared key", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let file = Scratch::new("psk");
    fs::write(&file.0, kerntun_interop::keys::base64(&[7; 32])).unwrap();
    let before = tunnel.left.handshake_with(&tunnel.right);
    tunnel.left.set(&format!("peer {} preshared-key {}", tunnel.right.keys.public_text(), file.0.display()));
    tunnel.exchange();
    assert_eq!(tunnel.left.handshake_with(&tunnel.right), before);
}

/// A port that others have is refused, and all stays as it is: port, session and what else was asked for.
#[test]
fn a_port_in_use() {
    if !met("a port in use", &[]) {
        return;
    }
    let tunnel = Tunnel::planned(Kerntun, Kerntun, Plan::default());
    tunnel.exchange();
    let left = &tunnel.left;
    // A port each: a child that another test is just starting may hold the first socket a moment longer than we do.
    for (any, port) in [("0.0.0.0", 40200_u16), ("::", 40201)] {
        let _taken = tunnel.site.left.enter(|| UdpSocket::bind((any, port))).unwrap();
        let before = (left.show("dump"), left.handshake_with(&tunnel.right));
        let mut wg = Command::new("timeout");
        wg.args(["20", "wg", "set", &left.interface, "fwmark", "5", "listen-port", &port.to_string()]);
        let output = wg.output().unwrap();
        assert!(!output.status.success(), "{any}: {}", said(&output));
        assert_eq!(left.show("listen-port").trim(), PORT.to_string());
        assert_eq!(left.show("fwmark").trim(), "off");
        tunnel.exchange();
        assert_eq!(left.handshake_with(&tunnel.right), before.1);
    }
    left.set("listen-port 40202");
    tunnel.exchange();
}

/// Several peers of one interface, of both implementations, talk to it and through it to each other.
#[test]
fn a_hub() {
    if !met("a hub", &["wireguard-go"]) {
        return;
    }
    let site = Site::new();
    let hub = End::start(&site.left, Kerntun);
    site.left.sysctl("ipv4.ip_forward", "1");
    // Each spoke is behind the same cable with a port of its own, but in a namespace of its own for what is inside.
    site.right.sysctl("ipv4.ip_forward", "1");
    site.left.ip("route add 10.79.0.0/16 via 10.77.0.2");
    let spokes: Vec<(Arc<Namespace>, End, u8)> = [Kerntun, WireguardGo, Kerntun]
        .into_iter()
        .zip(11_u8..)
        .map(|(program, host)| {
            let namespace = Arc::new(Namespace::new("spoke"));
            site.right.ip(&format!("link add spoke{host} type veth peer name cable netns {}", namespace.name()));
            site.right.ip(&format!("addr add 10.79.{host}.1/24 dev spoke{host}"));
            site.right.ip(&format!("link set spoke{host} up"));
            namespace.ip(&format!("addr add 10.79.{host}.2/24 dev cable"));
            namespace.ip("link set cable up");
            namespace.ip(&format!("route add 10.77.0.0/24 via 10.79.{host}.1"));
            let end = End::start(&namespace, program);
            end.bring_up(&[format!("10.78.0.{host}/24")], 1420);
            (namespace, end, host)
        })
        .collect();
    hub.bring_up(&["10.78.0.1/24".to_owned()], 1420);
    let peer = |end: &End, allowed: String| Peer {
        public_key: end.keys.public_text(),
        allowed_ips: allowed,
        ..Peer::default()
    };
    let peers: Vec<Peer> = spokes.iter().map(|(_, end, host)| peer(end, format!("10.78.0.{host}/32"))).collect();
    hub.configure(PORT, &peers);
    let endpoint = Some(SocketAddr::new(Family::V4.outer(1), PORT));
    for (_, end, _) in &spokes {
        end.configure(PORT, &[Peer { endpoint, ..peer(&hub, "10.78.0.0/24".to_owned()) }]);
    }
    for (namespace, _, _) in &spokes {
        reach(namespace, Family::V4.inner(1));
    }
    for (namespace, _, host) in &spokes {
        for (_, _, other) in spokes.iter().filter(|(_, _, other)| other != host) {
            reach(namespace, Family::V4.inner(*other));
        }
    }
    bulk(&spokes[0].0, &spokes[1].0, Family::V4.inner(12), 4 << 20);
    for (_, end, host) in &spokes {
        let place: SocketAddr = format!("10.79.{host}.2:{PORT}").parse().unwrap();
        assert_eq!(hub.endpoint_of(end), Some(place));
    }
}

/// Both sides count the same bytes: what one has sent is what the other has received.
#[test]
fn counters_agree() {
    if !met("counters agree", &["wireguard-go"]) {
        return;
    }
    for right in [Kerntun, WireguardGo] {
        let tunnel = Tunnel::planned(Kerntun, right, Plan::default());
        tunnel.exchange();
        bulk(&tunnel.site.left, &tunnel.site.right, Family::V4.inner(2), 100_000);
        wait_until("the counters agree", SOON, || {
            let [received, sent] = tunnel.left.transfer_with(&tunnel.right);
            tunnel.right.transfer_with(&tunnel.left) == [sent, received]
        });
    }
}

/// `wg-quick up` and `wg-quick down`, and nothing is left.
fn quick(right: Program, allowed: &str, through: &[IpAddr]) {
    let site = Site::new();
    let right = End::start(&site.right, right);
    right.bring_up(&["10.78.0.2/24".to_owned(), "fd78::2/64".to_owned()], 1420);
    for address in through {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        site.right.ip(&format!("addr replace {address}/{prefix} dev lo"));
    }
    let interface = format!("{}q", right.interface);
    let keys = Keys::number(u64::from(std::process::id()) << 32 | 0xfffe_0000);
    right.configure(
        PORT,
        &[Peer {
            public_key: keys.public_text(),
            allowed_ips: "10.78.0.1/32, fd78::1/128".to_owned(),
            ..Peer::default()
        }],
    );
    let file = Scratch::new(&format!("{interface}.conf"));
    let [private, public] = [keys.private_text(), right.keys.public_text()];
    let text = format!(
        "[Interface]\nPrivateKey = {private}\nAddress = 10.78.0.1/24, fd78::1/64\nMTU = 1400\n\
         PostUp = ip link show %i\n\n\
         [Peer]\nPublicKey = {public}\nAllowedIPs = {allowed}\nEndpoint = {}\n",
        SocketAddr::new(Family::V4.outer(2), PORT)
    );
    fs::write(&file.0, text).unwrap();
    fs::set_permissions(&file.0, Permissions::from_mode(0o600)).unwrap();
    let _socket = Scratch(format!("/var/run/wireguard/{interface}.sock").into());
    let up = wg_quick(&site.left, "up", &file);
    assert!(up.status.success(), "{}", said(&up));
    for address in through {
        reach(&site.left, *address);
    }
    assert_eq!(site.left.processes().len(), 2, "one daemon of two processes, in the background");
    let down = wg_quick(&site.left, "down", &file);
    assert!(down.status.success(), "{}", said(&down));
    wait_until("the daemon is gone", SOON, || site.left.processes().is_empty());
    assert!(!site.left.ip("-brief link").contains(&interface));
    assert!(!fs::exists(format!("/var/run/wireguard/{interface}.sock")).unwrap());
}

fn wg_quick(namespace: &Namespace, what: &str, file: &Scratch) -> Output {
    let mut path = kerntun().parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = namespace.command("wg-quick");
    command.arg(what).arg(&file.0).env("PATH", path).env("WG_QUICK_USERSPACE_IMPLEMENTATION", "kerntun");
    command.env("KERNTUN_STAMP_FILE", file.0.with_extension("stamp"));
    command.output().unwrap()
}

#[test]
fn wg_quick_with_some_prefixes() {
    if met("wg-quick with some prefixes", &["wg-quick", "wireguard-go"]) {
        let through = Family::BOTH.map(|family| family.inner(2));
        quick(WireguardGo, "10.78.0.2/32, fd78::2/128", &through);
    }
}

#[test]
fn wg_quick_with_everything() {
    if !met("wg-quick with everything", &["wg-quick"]) {
        return;
    }
    let firewall = if is_there("nft") { "nft" } else { "iptables" };
    if !met("wg-quick with everything", &[firewall]) {
        return;
    }
    let elsewhere: [IpAddr; 2] = ["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    quick(Kerntun, "0.0.0.0/0, ::/0", &elsewhere);
}

/// A file in the directory for such files, or wherever it was said to be, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("kti-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("stamp"));
        // Only if it is empty, so never somebody else's.
        let _ = self.0.parent().map(fs::remove_dir);
    }
}
