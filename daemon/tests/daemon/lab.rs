//! A laboratory: two network namespaces with a cable between them, and a daemon in each.

use crate::{BACKGROUND, SERVE, SOCKETS};
use kerntun_crypto::Fast;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;
use kerntun_uapi::server::listener_of;
use kerntun_uapi::{
    AllowedIp, AllowedIpChange, Client, InterfaceName, KeyChange, PeerChange, PublicKey, SecretKey, Section, SetRequest,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Outer addresses of both ends of the cable.
pub(crate) const OUTER: [[&str; 2]; 2] = [["192.0.2.1", "192.0.2.2"], ["2001:db8:1::1", "2001:db8:1::2"]];
/// Inner addresses.
pub(crate) const INNER: [[&str; 2]; 2] = [["10.77.0.1", "10.77.0.2"], ["fd77::1", "fd77::2"]];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test uses, 15 bytes at most.
pub(crate) fn unique() -> String {
    format!("ktd{}n{}", std::process::id() % 1_000_000, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Says why, unless this is root.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    if !root {
        println!("SKIPPED: needs root and /dev/net/tun for network namespaces and interfaces");
    }
    root
}

/// Runs a command line; its output if it succeeded.
pub(crate) fn try_run(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

pub(crate) fn run(line: &str) -> String {
    try_run(line).unwrap_or_else(|text| panic!("{line}: {text}"))
}

/// Waits until it is so, half a minute at most.
pub(crate) fn wait_until(what: &str, so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A network namespace with loopback up.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new() -> Self {
        let namespace = Self(unique());
        run(&format!("ip netns add {}", namespace.0));
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.0))
    }

    pub(crate) fn exec(&self, line: &str) -> Result<String, String> {
        try_run(&format!("ip netns exec {} {line}", self.0))
    }

    /// Runs `body` on a thread inside.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            body()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = try_run(&format!("ip netns del {}", self.0));
    }
}

/// A daemon, ended when dropped.
pub(crate) struct Daemon {
    pub(crate) name: String,
    pub(crate) child: Child,
    directory: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// A running one in a namespace, which serves.
    pub(crate) fn start(namespace: &Namespace, environment: &[(&str, &str)]) -> Self {
        let daemon = Self::spawn(namespace, &unique(), environment);
        wait_until("the daemon to serve", || daemon.serves());
        daemon
    }

    /// Whether this one answers, and not what is left of one that was killed before it.
    pub(crate) fn serves(&self) -> bool {
        let listener = listener_of(&self.socket()).ok().flatten();
        listener == Some(self.child.id().cast_signed()) && self.client().get().is_ok()
    }

    /// One that may fail.
    pub(crate) fn spawn(namespace: &Namespace, name: &str, environment: &[(&str, &str)]) -> Self {
        let log = std::env::temp_dir().join(format!("{}-{name}.log", unique()));
        let child = command(namespace, name)
            .envs(environment.iter().copied())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let directory =
            environment.iter().find(|(name, _)| *name == SOCKETS).map_or("/var/run/wireguard", |named| named.1);
        Self { name: name.to_owned(), child, directory: PathBuf::from(directory), log }
    }

    /// One that was started otherwise, without a log that can be read.
    pub(crate) fn of(name: String, child: Child) -> Self {
        Self { name, child, directory: PathBuf::from("/var/run/wireguard"), log: PathBuf::new() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.name))
    }

    pub(crate) fn client(&self) -> Client {
        Client::in_directory(&self.directory, InterfaceName::new(&self.name).unwrap())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, half a minute at most.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{} does not end: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A diagnostic entry of the device.
    pub(crate) fn diagnostic(&self, name: &str) -> Option<String> {
        let entries = self.client().diagnostics().unwrap().unwrap();
        let found = entries.into_iter().find(|entry| entry.section == Section::Device && entry.name == name);
        found.map(|entry| entry.value)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A killed daemon cannot clean up.
        let _ = std::fs::remove_file(self.socket());
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.name, self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The daemon's command line: `ip netns exec` becomes the daemon, so its process id is the child's.
pub(crate) fn command(namespace: &Namespace, name: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace.0]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "serve", "--nocapture", "--test-threads=1"]).env(SERVE, name).env_remove(BACKGROUND);
    command.env("LOG_LEVEL", "debug").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Two daemons that know each other.
pub(crate) struct Lab {
    pub(crate) daemons: [Daemon; 2],
    pub(crate) namespaces: [Namespace; 2],
}

impl Lab {
    /// A cable, addresses, and nothing configured yet but the interfaces' addresses.
    pub(crate) fn new(mtu: u32, environment: &[(&str, &str)]) -> Self {
        let namespaces = [Namespace::new(), Namespace::new()];
        run(&format!(
            "ip link add cable netns {} mtu 65535 type veth peer name cable netns {} mtu 65535",
            namespaces[0].0, namespaces[1].0
        ));
        for (side, namespace) in namespaces.iter().enumerate() {
            namespace.ip("link set cable up");
            namespace.ip(&format!("addr add {}/24 dev cable", OUTER[0][side]));
            namespace.ip(&format!("addr add {}/64 dev cable nodad", OUTER[1][side]));
        }
        let daemons = [0, 1].map(|side| start(&namespaces[side], side, mtu, environment));
        Self { daemons, namespaces }
    }

    /// Ends a daemon and starts and connects another in its place.
    pub(crate) fn restart(&mut self, side: usize, environment: &[(&str, &str)]) {
        self.daemons[side].signal(rustix::process::Signal::TERM);
        self.daemons[side].end();
        self.start_again(side, environment);
    }

    /// Starts and connects another daemon in the place of one that has ended.
    pub(crate) fn start_again(&mut self, side: usize, environment: &[(&str, &str)]) {
        self.daemons[side] = start(&self.namespaces[side], side, 1420, environment);
        self.connect_side(0, side);
    }

    /// Configures both, over the outer family 0 (IPv4) or 1 (IPv6), and brings them up. The second one learns the
    /// first one's endpoint from its handshake.
    pub(crate) fn connect(&self, family: usize) {
        self.connect_side(family, 0);
        self.connect_side(family, 1);
    }

    fn connect_side(&self, family: usize, side: usize) {
        let endpoint = (side == 0).then(|| endpoint(OUTER[family][1], 51820));
        let request = SetRequest {
            private_key: Some(KeyChange::Set(private_key(side))),
            listen_port: Some(51820),
            peers: vec![PeerChange { endpoint, ..peer(1 - side) }],
            ..SetRequest::default()
        };
        self.daemons[side].client().set(&request).unwrap();
        self.namespaces[side].ip(&format!("link set {} up", self.daemons[side].name));
        wait_until("the interface to be seen up", || self.daemons[side].diagnostic("up").as_deref() == Some("yes"));
    }

    /// Sends three packets from the first to the second.
    pub(crate) fn ping(&self, family: usize, size: usize) {
        let address = INNER[family][1];
        let line = format!("ping -n -c 3 -i 0.1 -w 10 -s {size} {address}");
        self.namespaces[0].exec(&line).unwrap_or_else(|text| panic!("{line}: {text}"));
    }

    /// Sends `bytes` bytes through TCP from side `from` to the other and compares every one of them.
    pub(crate) fn bulk(&self, family: usize, from: usize, bytes: u64) {
        let address: IpAddr = INNER[family][1 - from].parse().unwrap();
        let listener =
            self.namespaces[1 - from].inside(move || TcpListener::bind((address, 0)).unwrap()).join().unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = self.namespaces[1 - from].inside(move || {
            let (stream, _) = listener.accept().unwrap();
            receive(stream)
        });
        let sender = self.namespaces[from].inside(move || {
            let stream = TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(10)).unwrap();
            send(stream, bytes)
        });
        sender.join().unwrap();
        assert_eq!(receiver.join().unwrap(), bytes);
    }
}

/// A daemon whose interface has its addresses.
fn start(namespace: &Namespace, side: usize, mtu: u32, environment: &[(&str, &str)]) -> Daemon {
    let daemon = Daemon::start(namespace, environment);
    namespace.ip(&format!("link set {} mtu {mtu}", daemon.name));
    namespace.ip(&format!("addr add {}/24 dev {}", INNER[0][side], daemon.name));
    if mtu >= 1280 {
        namespace.ip(&format!("addr add {}/64 dev {} nodad", INNER[1][side], daemon.name));
    }
    daemon
}

fn send(mut stream: TcpStream, bytes: u64) {
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut noise = Noise(7);
    let mut left = bytes;
    while left > 0 {
        let piece = noise.piece();
        let len = left.min(piece.len() as u64);
        stream.write_all(&piece[..len as usize]).unwrap();
        left -= len;
    }
}

/// Reads until the end; how many bytes there were, all of which were right.
fn receive(stream: TcpStream) -> u64 {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut noise = Noise(7);
    let mut total = 0;
    loop {
        let expected = noise.piece();
        let mut got = Vec::new();
        (&stream).take(expected.len() as u64).read_to_end(&mut got).unwrap();
        assert!(got == expected[..got.len()], "wrong bytes near {total}");
        total += got.len() as u64;
        if got.len() < expected.len() {
            return total;
        }
    }
}

/// SplitMix64: the same bytes at both ends.
struct Noise(u64);

impl Noise {
    fn piece(&mut self) -> Vec<u8> {
        (0..8192).flat_map(|_| self.next().to_le_bytes()).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn endpoint(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

pub(crate) fn private_key(side: usize) -> SecretKey {
    let mut bytes = [side as u8 + 1; 32];
    bytes[0] &= 248;
    bytes[31] = bytes[31] & 127 | 64;
    SecretKey::new(&bytes)
}

pub(crate) fn public_key(side: usize) -> PublicKey {
    PublicKey(Fast::new().public_key(&Secret::new(*private_key(side).as_bytes())))
}

/// The peer `side` with its inner addresses.
pub(crate) fn peer(side: usize) -> PeerChange {
    let allow = |family: usize, prefix| {
        let address = INNER[family][side].parse().unwrap();
        AllowedIpChange { remove: false, prefix: AllowedIp { address, prefix } }
    };
    PeerChange { allowed_ips: vec![allow(0, 32), allow(1, 128)], ..PeerChange::new(public_key(side)) }
}
