//! `kerntun show` beside `wg show`, both asking the same daemon.

use kerntun_uapi::{
    AllowedIp, DeviceState, DiagnosticsWriter, Errno, GetWriter, Handler, InterfaceName, PeerState, PublicKey,
    SecretKey, Server, SetRequest, UapiSocket,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn kerntun(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kerntun"));
    command.args(arguments).env_remove("WG_HIDE_KEYS").env_remove("WG_COLOR_MODE");
    command
}

fn out(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn stdout(command: &mut Command) -> String {
    let output = out(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(command: &mut Command, code: i32) -> String {
    let output = out(command);
    assert_eq!(output.status.code(), Some(code), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Whether the standard socket directory can be used, and `wg` is there to compare with.
fn may_compare(test: &str) -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "not root: the socket directory is root's"
    } else if Command::new("wg").arg("--version").output().is_err() {
        "wg (wireguard-tools) is not installed"
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {missing}");
    false
}

struct Fixed {
    state: DeviceState,
    diagnostics: bool,
}

impl Handler for Fixed {
    fn set(&self, _: SetRequest) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()> {
        answer.device(&self.state)
    }

    fn diagnostics(&self, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
        if !self.diagnostics {
            return Err(io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP));
        }
        answer.entry("drop.bad-mac1", &7)
    }
}

/// A daemon in a thread, which ends when this is dropped.
struct Daemon {
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().map(JoinHandle::join);
    }
}

fn device() -> DeviceState {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let prefix = |address: &str, prefix| AllowedIp { address: address.parse::<IpAddr>().unwrap(), prefix };
    let mut peers: Vec<PeerState> = (1..=6).map(|n| PeerState::new(PublicKey([n; 32]))).collect();
    // Days old, so that a second more or less between the two programs shows in seconds only.
    for (peer, days) in peers.iter_mut().zip([3, 700, 1, 5]) {
        peer.last_handshake = Some(now - Duration::from_secs(days * 86_400 + 12_345));
    }
    peers[0].endpoint = Some("192.0.2.1:51820".parse().unwrap());
    peers[0].allowed_ips = vec![prefix("10.1.0.0", 16), prefix("fd01::", 32), prefix("10.2.0.1", 32)];
    peers[1].endpoint = Some("[2001:db8::1]:65535".parse().unwrap());
    peers[1].preshared_key = Some(SecretKey::new(&[8; 32]));
    peers[1].persistent_keepalive_interval = 65_535;
    (peers[2].rx_bytes, peers[2].tx_bytes) = (1_023, 1_024);
    (peers[3].rx_bytes, peers[3].tx_bytes) = (987_654_321, 9_876_543_210_987);
    peers[4].persistent_keepalive_interval = 1;
    DeviceState { private_key: Some(SecretKey::new(&[5; 32])), listen_port: 51_820, fwmark: 0xca6c, peers }
}

fn serve(name: &str, diagnostics: bool, state: DeviceState) -> Daemon {
    let socket = UapiSocket::bind(&InterfaceName::new(name).unwrap()).unwrap();
    let server = Server::new(socket).unwrap();
    let (stopped, stop) = io::pipe().unwrap();
    let thread = std::thread::spawn(move || {
        server.run(&Fixed { state, diagnostics }, stopped.as_fd()).unwrap();
    });
    Daemon { stop: Some(stop), thread: Some(thread) }
}

/// Without the seconds, which may pass between two programs.
fn without_seconds(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("latest handshake") {
        Some(_) => line.rsplit_once(", ").map_or(line, |(before, _)| before),
        None => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn people_see_what_wg_shows() {
    if !may_compare("people_see_what_wg_shows") {
        return;
    }
    let name = format!("ktsh{}a", std::process::id() % 100_000);
    let _daemon = serve(&name, false, device());
    let wg = stdout(Command::new("wg").args(["show", &name]));
    assert_eq!(without_seconds(&stdout(&mut kerntun(&["show", &name]))), without_seconds(&wg));
    assert!(stdout(kerntun(&["show", &name]).env("WG_COLOR_MODE", "always")).contains('\x1b'));
    assert!(!stdout(kerntun(&["show", &name]).env("NO_COLOR", "1")).contains('\x1b'));
}

#[test]
fn scripts_get_what_wg_gives_them() {
    if !may_compare("scripts_get_what_wg_gives_them") {
        return;
    }
    let names = [format!("ktsh{}b", std::process::id() % 100_000), format!("ktsh{}c", std::process::id() % 100_000)];
    let _daemons = [serve(&names[0], true, device()), serve(&names[1], false, DeviceState::default())];
    let fields = "public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips latest-handshakes \
                  transfer persistent-keepalive dump";
    for field in fields.split_whitespace() {
        for name in &names {
            let wg = stdout(Command::new("wg").args(["show", name, field]));
            assert_eq!(stdout(&mut kerntun(&["show", name, field])), wg, "{field}");
        }
        // With this one, wg 1.0 puts the name before the first peer only, and before no peer at all. We put it before each.
        if field == "endpoints" {
            continue;
        }
        // Other interfaces of this machine may come and go meanwhile: only ours are compared. wg takes them in the order
        // of the directory, we sort them.
        let ours = |text: String| -> Vec<String> {
            let of = |name: &String| format!("{name}\t");
            let lines = |name| text.lines().filter(move |line| line.starts_with(&of(name))).map(str::to_owned);
            names.iter().flat_map(lines).collect()
        };
        let wg = ours(String::from_utf8(out(Command::new("wg").args(["show", "all", field])).stdout).unwrap());
        assert_eq!(ours(String::from_utf8(out(&mut kerntun(&["show", "all", field])).stdout).unwrap()), wg, "{field}");
    }
    let listed = stdout(&mut kerntun(&["show", "interfaces"]));
    assert!(names.iter().all(|name| listed.split_whitespace().any(|one| one == name)), "{listed}");
}

#[test]
fn our_own_daemon_tells_more() {
    if !may_compare("our_own_daemon_tells_more") {
        return;
    }
    let name = format!("ktsh{}d", std::process::id() % 100_000);
    let _daemon = serve(&name, true, device());
    let text = stdout(&mut kerntun(&["show", &name]));
    assert!(
        text.contains("  dropped: 7 handshake messages made for another public key than ours (bad-mac1)\n"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&stdout(&mut kerntun(&["show", &name, "--json"]))).unwrap();
    assert_eq!(json["schema"], 1);
    let interface = &json["interfaces"][0];
    assert_eq!((&interface["implementation"], &interface["drops"]["bad-mac1"]), (&"kerntun".into(), &7.into()));
    assert_eq!(interface["peers"].as_array().unwrap().len(), 6);
    assert!(interface.get("private_key").is_none() && interface["peers"][3].get("preshared_key").is_none());
    let open = stdout(&mut kerntun(&["show", &name, "--json", "--show-keys"]));
    let open: serde_json::Value = serde_json::from_str(&open).unwrap();
    assert_eq!(open["interfaces"][0]["private_key"], "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=");
}

#[test]
fn what_cannot_be_shown() {
    let text = stderr(&mut kerntun(&["show", "ktnothere"]), 1);
    assert!(text.contains("ktnothere") && text.contains("= help: 'kerntun show interfaces'"), "{text}");
    let text = stderr(&mut kerntun(&["show", "lo"]), 1);
    assert!(text.contains("it is no WireGuard interface, or its daemon has ended"), "{text}");
    let text = stderr(&mut kerntun(&["show", "a-name-that-is-too-long"]), 2);
    assert!(text.contains("at most 15 bytes"), "{text}");
    stderr(&mut kerntun(&["show", "wg0", "no-such-field"]), 2);
    stderr(&mut kerntun(&["show", "wg0", "dump", "--json"]), 2);
    stderr(&mut kerntun(&["show", "interfaces", "dump"]), 2);
}
