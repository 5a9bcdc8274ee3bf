//! Configuration of a live daemon.

use crate::lab::{Daemon, Lab, Namespace, is_root, peer, private_key, public_key, run, try_run};
use crate::{BACKGROUND, SERVE};
use kerntun_uapi::{AllowedIp, AllowedIpChange, ClientError, KeyChange, PeerChange, SetRequest};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;

fn port(port: u16) -> SetRequest {
    SetRequest { listen_port: Some(port), ..SetRequest::default() }
}

#[test]
fn a_port_change_keeps_the_sessions() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    let client = lab.daemons[0].client();
    let handshake = client.get().unwrap().peers[0].last_handshake;
    for number in [40_001, 40_002, 40_001, 0] {
        client.set(&port(number)).unwrap();
        let now = client.get().unwrap().listen_port;
        assert!(now == number || number == 0 && now != 0);
        lab.ping(0, 56);
    }
    assert_eq!(client.get().unwrap().peers[0].last_handshake, handshake, "the same session all the time");
}

#[test]
fn a_refused_request_changes_nothing() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let daemon = Daemon::start(&namespace, &[]);
    let client = daemon.client();
    client.set(&SetRequest { fwmark: Some(7), ..port(40_003) }).unwrap();
    let before = client.get().unwrap();
    let taken = namespace.inside(|| UdpSocket::bind("0.0.0.0:40004").unwrap()).join().unwrap();
    let request = SetRequest {
        private_key: Some(KeyChange::Set(private_key(0))),
        fwmark: Some(8),
        peers: vec![peer(1)],
        ..port(40_004)
    };
    match client.set(&request).unwrap_err() {
        ClientError::Refused { errno, .. } => assert_eq!(errno.get(), 98, "EADDRINUSE"),
        other => panic!("{other}"),
    }
    assert_eq!(client.get().unwrap(), before);
    drop(taken);
    client.set(&request).unwrap();
    let after = client.get().unwrap();
    assert_eq!((after.listen_port, after.fwmark, after.peers.len()), (40_004, 8, 1));
}

/// While one connection replaces many allowed IPs again and again, another one sees all of one set or all of the other.
#[test]
fn an_answer_is_one_whole_state() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let daemon = Daemon::start(&namespace, &[]);
    let change = |set: u8| {
        let prefixes = (0..2_000_u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            AllowedIp { address: [10, set, high, low].into(), prefix: 32 }
        });
        let allowed_ips = prefixes.map(|prefix| AllowedIpChange { remove: false, prefix }).collect();
        let peer = PeerChange { replace_allowed_ips: true, allowed_ips, ..PeerChange::new(public_key(1)) };
        SetRequest { peers: vec![peer], ..SetRequest::default() }
    };
    let [one, two] = [1, 2].map(change);
    daemon.client().set(&one).unwrap();
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for _ in 0..40 {
                daemon.client().set(&two).unwrap();
                daemon.client().set(&one).unwrap();
            }
        });
        while !changes.is_finished() {
            let mut seen: Vec<_> = daemon.client().get().unwrap().peers.remove(0).allowed_ips;
            let count = seen.len();
            seen.dedup_by_key(|prefix| match prefix.address {
                IpAddr::V4(address) => address.octets()[1],
                IpAddr::V6(_) => 0,
            });
            assert_eq!((count, seen.len()), (2_000, 1), "prefixes, of how many sets");
        }
    });
}

#[test]
fn the_standard_tool_reads_and_writes() {
    if !is_root() {
        return;
    }
    if try_run("wg --version").is_err() {
        return println!("SKIPPED: wg is not installed");
    }
    let namespace = Namespace::new();
    let daemon = Daemon::start(&namespace, &[]);
    let key = run("wg genkey");
    let path = std::env::temp_dir().join(format!("{}.key", daemon.name));
    std::fs::write(&path, &key).unwrap();
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    run(&format!(
        "wg set {} private-key {} listen-port 40005 fwmark 0x1234 peer {other} endpoint 192.0.2.9:7 persistent-keepalive 25 allowed-ips 10.1.0.0/16,fd01::/32",
        daemon.name,
        path.display()
    ));
    std::fs::remove_file(path).unwrap();
    let shown = run(&format!("wg show {}", daemon.name));
    for text in
        ["listening port: 40005", "fwmark: 0x1234", other, "192.0.2.9:7", "10.1.0.0/16, fd01::/32", "every 25 seconds"]
    {
        assert!(shown.contains(text), "{text} is missing in\n{shown}");
    }
    assert!(run(&format!("wg showconf {}", daemon.name)).contains(key.trim()));
    run(&format!("wg set {} peer {other} remove", daemon.name));
    assert!(daemon.client().get().unwrap().peers.is_empty());
}

#[test]
fn wg_quick_takes_it_for_its_implementation() {
    if !is_root() {
        return;
    }
    if try_run("which wg-quick").is_err() || try_run("ip link add ktdprobe type wireguard").is_ok() {
        let _ = try_run("ip link del ktdprobe");
        return println!("SKIPPED: wg-quick is not installed, or would use the kernel's implementation");
    }
    let (namespace, name) = (Namespace::new(), crate::lab::unique());
    let directory = std::env::temp_dir().join(format!("{name}.d"));
    std::fs::create_dir(&directory).unwrap();
    let (wrapper, config) = (directory.join("kerntun"), directory.join(format!("{name}.conf")));
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n{BACKGROUND}=1 {SERVE}=\"$1\" exec {} --exact serve --nocapture --test-threads=1 >/dev/null\n",
        this.display()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o700)).unwrap();
    let base64 = run("wg genkey");
    std::fs::write(
        &config,
        format!(
            "[Interface]\nPrivateKey = {base64}Address = 10.78.0.1/24, fd78::1/64\nMTU = 1400\nListenPort = 40006\n\
             [Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.78.0.2/32\n"
        ),
    )
    .unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let up = format!("env WG_QUICK_USERSPACE_IMPLEMENTATION={} wg-quick up {}", wrapper.display(), config.display());
    let said = namespace.exec(&up);
    let shown = run(&format!("wg show {name}"));
    let link = namespace.ip(&format!("addr show {name}"));
    let down = namespace.exec(&format!("wg-quick down {}", config.display()));
    std::fs::remove_dir_all(directory).unwrap();
    said.unwrap();
    assert!(shown.contains("listening port: 40006"), "{shown}");
    assert!(link.contains("mtu 1400") && link.contains("10.78.0.1/24") && link.contains("fd78::1/64"), "{link}");
    down.unwrap();
    crate::lab::wait_until("the interface to be gone", || {
        try_run(&format!("ip -n {} link show {name}", namespace.0)).is_err()
    });
}

#[test]
fn a_new_private_key_is_used_at_once() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(1420, &[]);
    lab.connect(0);
    lab.ping(0, 56);
    // Both sides learn of the new key of the first; the tunnel goes on under it.
    let key = SetRequest { private_key: Some(KeyChange::Set(private_key(5))), ..SetRequest::default() };
    lab.daemons[0].client().set(&key).unwrap();
    let peers = vec![PeerChange { public_key: public_key(5), ..peer(0) }];
    lab.daemons[1].client().set(&SetRequest { replace_peers: true, peers, ..SetRequest::default() }).unwrap();
    lab.ping(0, 56);
}

/// As the kernel's driver: a packet from one peer to another leaves by the interface by which it came, which is no reason to
/// tell anybody.
#[test]
fn no_redirects_are_sent() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let redirects = |of: &str| namespace.exec(&format!("cat /proc/sys/net/ipv4/conf/{of}/send_redirects")).unwrap();
    namespace.exec("sysctl -qw net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.default.send_redirects=1").unwrap();
    let daemon = Daemon::start(&namespace, &[]);
    assert_eq!([&*daemon.name, "all", "lo"].map(redirects), ["0\n", "0\n", "1\n"]);
}
