//! The standard tools: `wg` against our server, our client against wireguard-go.
//!
//! Both use the fixed directory `/var/run/wireguard`, so the tests run themselves again in a mount and network namespace
//! of their own, where `/run` is empty. Needs root; otherwise they skip.

use kerntun_uapi::{
    Client, DeviceState, DiagnosticsWriter, Errno, GetWriter, Handler, InterfaceName, KeyChange, PeerChange, PeerState,
    PublicKey, SecretKey, Server, SetRequest, UapiSocket,
};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

const INSIDE: &str = "KERNTUN_UAPI_TEST_INSIDE";

/// Whether we are inside the namespaces. Outside, runs the test there and says no.
fn inside(test: &str, tool: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "none", "/run"]).status().unwrap();
        assert!(mounted.success());
        return true;
    }
    let skip = |reason: &str| println!("SKIPPED: {test}: {reason}");
    if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        skip(&format!("{tool} is not installed"));
        return false;
    }
    if std::fs::metadata("/proc/self").map(|m| m.uid()).ok() != Some(0) {
        skip("needs root for a mount namespace");
        return false;
    }
    if !Path::new("/var/run").canonicalize().is_ok_and(|path| path == Path::new("/run")) {
        skip("/var/run is not /run here");
        return false;
    }
    let unshare = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    if !unshare(Command::new("unshare").args(["-m", "-n", "mount", "-t", "tmpfs", "none", "/run"])) {
        skip("no permission to make a mount namespace");
        return false;
    }
    let output = Command::new("unshare")
        .args(["-m", "-n"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    false
}

#[derive(Default)]
struct Device {
    state: Mutex<DeviceState>,
    requests: Mutex<Vec<SetRequest>>,
}

impl Handler for Device {
    fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        if state.fwmark == 666 { Err(io::Error::from_raw_os_error(13)) } else { answer.device(&state) }
    }

    fn set(&self, request: SetRequest) -> Result<(), Errno> {
        let result = if request.listen_port == Some(666) { Err(Errno::EADDRINUSE) } else { Ok(()) };
        self.requests.lock().unwrap().push(request);
        result
    }

    fn diagnostics(&self, _: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `wg`; its output, and its complaint if it failed.
fn wg(arguments: &str) -> Result<String, String> {
    let output = Command::new("wg").args(arguments.split(' ')).env("WG_COLOR_MODE", "never").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn wg_talks_to_our_server() {
    if !inside("wg_talks_to_our_server", "wg") {
        return;
    }
    // The base64 of 32 bytes 0x11 is "ER" and so on.
    const ELEVENS: &str = "ERERERERERERERERERERERERERERERERERERERERERE=";
    let name = InterfaceName::new("kuapit0").unwrap();
    let device = Device::default();
    let server = Server::new(UapiSocket::bind(&name).unwrap()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(&device, stopped.as_fd()));
        let stop = stop;
        assert_eq!(wg("show interfaces").unwrap(), "kuapit0\n");
        assert_eq!(wg("show kuapit0").unwrap().trim(), "interface: kuapit0");

        let mut peer = PeerState::new(PublicKey([0x11; 32]));
        peer.preshared_key = Some(SecretKey::new(&[0x11; 32]));
        peer.endpoint = Some("[2001:db8::1]:51820".parse().unwrap());
        peer.last_handshake = Some(Duration::new(1_700_000_000, 1));
        (peer.tx_bytes, peer.rx_bytes, peer.persistent_keepalive_interval) = (u64::MAX, 148, 25);
        peer.allowed_ips = vec![kerntun_uapi::AllowedIp { address: "10.0.0.0".parse().unwrap(), prefix: 8 }];
        let private_key = Some(SecretKey::new(&[0x11; 32]));
        *device.state.lock().unwrap() = DeviceState {
            private_key,
            listen_port: 5,
            fwmark: 16,
            peers: vec![peer, PeerState::new(PublicKey([0; 32]))],
        };
        let dump = wg("show kuapit0 dump").unwrap();
        let lines: Vec<Vec<&str>> = dump.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines[0][0], ELEVENS);
        assert_eq!(lines[0][2..], ["5", "0x10"]);
        assert_eq!(
            lines[1],
            [ELEVENS, ELEVENS, "[2001:db8::1]:51820", "10.0.0.0/8", "1700000000", "148", "18446744073709551615", "25"]
        );
        assert_eq!(lines[2][1..], ["(none)", "(none)", "(none)", "0", "0", "0", "off"]);

        let command = "set kuapit0 listen-port 7 fwmark 0x10 peer ERERERERERERERERERERERERERERERERERERERERERE= endpoint \
                       [fe80::1%lo]:9 persistent-keepalive 5 preshared-key /dev/null allowed-ips 1.2.3.4/24,fe80::/10 peer \
                       ERERERERERERERERERERERERERERERERERERERERERE= remove";
        wg(command).unwrap();
        let mut expected = PeerChange::new(PublicKey([0x11; 32]));
        expected.endpoint = Some("[fe80::1%1]:9".parse().unwrap());
        expected.persistent_keepalive_interval = Some(5);
        expected.preshared_key = Some(KeyChange::Clear);
        expected.replace_allowed_ips = true;
        let request = device.requests.lock().unwrap().pop().unwrap();
        assert_eq!((request.listen_port, request.fwmark, request.peers.len()), (Some(7), Some(16), 2));
        let ips =
            request.peers[0].allowed_ips.iter().map(|c| (c.remove, c.prefix.address.to_string(), c.prefix.prefix));
        assert_eq!(ips.collect::<Vec<_>>(), [(false, "1.2.3.0".to_owned(), 24), (false, "fe80::".to_owned(), 10)]);
        expected.allowed_ips.clone_from(&request.peers[0].allowed_ips);
        assert_eq!(request.peers[0], expected);
        assert!(request.peers[1].remove);

        // wg has the right words for our error numbers, whose sign it reads differently for set and get.
        let error = wg("set kuapit0 listen-port 666").unwrap_err();
        assert!(error.contains("Address already in use"), "{error}");
        device.state.lock().unwrap().fwmark = 666;
        let error = wg("show kuapit0").unwrap_err();
        assert!(error.contains("Permission denied"), "{error}");
        drop(stop);
        running.join().unwrap().unwrap();
    });
    drop(server);
    assert_eq!(wg("show interfaces").unwrap().trim(), "");
}

#[test]
fn our_client_talks_to_wireguard_go() {
    if !inside("our_client_talks_to_wireguard_go", "wireguard-go") {
        return;
    }
    if !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED: our_client_talks_to_wireguard_go: no /dev/net/tun");
        return;
    }
    let name = InterfaceName::new("kuapit1").unwrap();
    let mut daemon = Command::new("wireguard-go")
        .args(["-f", "kuapit1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let client = Client::new(name.clone());
    for _ in 0..200 {
        if client.get().is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let mut private = [0x20; 32];
    private[31] = 0x60;
    let mut peer = PeerChange::new(PublicKey([0x11; 32]));
    peer.protocol_version = Some(1);
    peer.preshared_key = Some(KeyChange::Set(SecretKey::new(&[0x33; 32])));
    peer.endpoint = Some("192.0.2.7:51820".parse().unwrap());
    peer.persistent_keepalive_interval = Some(25);
    peer.replace_allowed_ips = true;
    let prefix = kerntun_uapi::AllowedIp { address: "fd00::".parse().unwrap(), prefix: 8 };
    peer.allowed_ips = vec![kerntun_uapi::AllowedIpChange { remove: false, prefix }];
    let request = SetRequest {
        private_key: Some(KeyChange::Set(SecretKey::new(&private))),
        listen_port: Some(0),
        fwmark: Some(0),
        replace_peers: true,
        peers: vec![peer],
    };
    let outcome = client.set(&request).and_then(|()| client.get());
    let diagnostics = client.diagnostics();
    let refused = client.set(&SetRequest {
        peers: vec![PeerChange { protocol_version: Some(2), ..PeerChange::new(PublicKey([1; 32])) }],
        ..SetRequest::default()
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let state = outcome.unwrap();
    assert_eq!(state.private_key, Some(SecretKey::new(&private)));
    assert_eq!(state.peers.len(), 1);
    let peer = &state.peers[0];
    assert_eq!(peer.preshared_key, Some(SecretKey::new(&[0x33; 32])));
    assert_eq!(peer.endpoint, Some("192.0.2.7:51820".parse().unwrap()));
    assert_eq!((peer.persistent_keepalive_interval, peer.last_handshake), (25, None));
    assert_eq!(peer.allowed_ips, [prefix]);
    assert_eq!(diagnostics.unwrap(), None);
    let error = refused.unwrap_err();
    assert!(matches!(&error, kerntun_uapi::ClientError::Refused { errno, .. } if *errno == Errno::EINVAL), "{error}");
    assert!(error.to_string().contains("LOG_LEVEL=info"), "{error}");
    // It was killed: its socket is stale, and ours takes its place.
    assert!(matches!(client.get(), Err(kerntun_uapi::ClientError::DaemonGone { .. })));
    assert!(UapiSocket::bind(&name).unwrap().is_in_place());
}
