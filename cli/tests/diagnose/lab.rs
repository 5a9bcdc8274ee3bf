//! Two machines in namespaces: each a thread with its own network and mounts, so that nothing outside is touched.

use kerntun_uapi::server::listener_of;
use kerntun_uapi::{
    AllowedIp, AllowedIpChange, Client, InterfaceName, KeyChange, PeerChange, PublicKey, SecretKey, SetRequest,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Lab {
    pub(crate) west: Side,
    pub(crate) east: Side,
}

pub(crate) struct Side {
    pub(crate) name: String,
    number: u8,
    jobs: Sender<Job>,
    task: i32,
    daemon: RefCell<Option<Child>>,
}

/// What one side is told of the other.
pub(crate) struct Setup {
    pub(crate) peer_key: [u8; 32],
    pub(crate) preshared: Option<[u8; 32]>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) allowed: Vec<IpAddr>,
}

pub(crate) fn may_run(test: &str) -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        "no /dev/net/tun"
    } else if Command::new("ip").arg("-V").output().is_err() {
        "no ip (iproute2)"
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {missing}");
    false
}

pub(crate) fn private_key(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(crate) fn public_key(number: u8) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(private_key(number));
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

pub(crate) fn base64(key: &[u8; 32]) -> String {
    kerntun_config::PublicKey::from_bytes(*key).to_string()
}

pub(crate) fn kerntun(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kerntun")).args(arguments).output().unwrap()
}

impl Lab {
    pub(crate) fn new(test: &str) -> Self {
        let lab = Self { west: Side::new(&format!("w{test}"), 1), east: Side::new(&format!("e{test}"), 2) };
        let there = lab.east.task.to_string();
        lab.west.ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &there]);
        for side in [&lab.west, &lab.east] {
            side.ip(&["address", "add", &format!("192.0.2.{}/24", side.number), "dev", "wire"]);
            side.ip(&["link", "set", "up", "dev", "wire"]);
            side.start(None);
        }
        lab
    }

    /// Configures both sides, `change` being what is wrong.
    pub(crate) fn connect(&self, change: impl FnOnce(&mut Setup, &mut Setup)) {
        let mut west = Self::setup_of_west();
        let mut east = Setup {
            peer_key: public_key(1),
            preshared: None,
            endpoint: None,
            allowed: vec!["10.7.0.1".parse().unwrap()],
        };
        change(&mut west, &mut east);
        self.west.configure(&west);
        self.east.configure(&east);
        self.west.knock();
    }

    /// Configures a west that was restarted, while east goes on.
    pub(crate) fn reconnect_west(&self) {
        self.west.configure(&Self::setup_of_west());
        self.west.knock();
    }

    fn setup_of_west() -> Setup {
        Setup {
            peer_key: public_key(2),
            preshared: None,
            endpoint: Some("192.0.2.2:51820".parse().unwrap()),
            allowed: vec!["10.7.0.2".parse().unwrap()],
        }
    }
}

impl Side {
    fn new(name: &str, number: u8) -> Self {
        let (jobs, todo) = channel::<Job>();
        let (ready, task) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            for place in ["/run", "/etc"] {
                mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
            }
            fs::create_dir_all("/run/wireguard").unwrap();
            fs::create_dir_all("/etc/wireguard").unwrap();
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        let task = task.recv().unwrap();
        Self { name: name.to_owned(), number, jobs, task, daemon: RefCell::default() }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = channel();
        self.jobs.send(Box::new(move || drop(done.send(job())))).unwrap();
        outcome.recv().unwrap()
    }

    pub(crate) fn ip(&self, arguments: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let output = self.run(move || Command::new("ip").args(arguments).output().unwrap());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends the daemon and starts another, whose peers have seen stamps up to this one.
    pub(crate) fn restart_with_stamp(&self, seconds: u64) {
        self.stop();
        self.start(Some(seconds));
    }

    pub(crate) fn restart_without_stamp(&self) {
        self.stop();
        self.start(None);
    }

    fn start(&self, stamp: Option<u64>) {
        let (name, number) = (self.name.clone(), self.number);
        let daemon = self.run(move || {
            let stamps = format!("/run/{name}.stamp");
            let _ = fs::remove_file(&stamps);
            if let Some(seconds) = stamp {
                fs::write(&stamps, format!("{seconds}.000000000\n")).unwrap();
            }
            let mut daemon = Command::new(env!("CARGO_BIN_EXE_kerntun"))
                .args(["run", &name])
                .env("KERNTUN_STAMP_FILE", stamps)
                .env("LOG_LEVEL", "silent")
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let (client, socket) = (client(&name), format!("/run/wireguard/{name}.sock"));
            for _ in 0..1500 {
                // What was left of one that was killed may still answer.
                let listener = listener_of(socket.as_ref()).ok().flatten();
                if listener == Some(daemon.id().cast_signed()) && client.get().is_ok() {
                    return daemon;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
            panic!("the daemon {number} does not serve");
        });
        *self.daemon.borrow_mut() = Some(daemon);
        self.ip(&["address", "add", &format!("10.7.0.{}/24", self.number), "dev", &self.name]);
        self.ip(&["link", "set", "up", "dev", &self.name]);
    }

    fn stop(&self) {
        if let Some(mut daemon) = self.daemon.borrow_mut().take() {
            // Killed, so that it remembers nothing.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    fn configure(&self, setup: &Setup) {
        let mut peer = PeerChange::new(PublicKey(setup.peer_key));
        peer.endpoint = setup.endpoint;
        peer.preshared_key = setup.preshared.map(|key| KeyChange::Set(SecretKey::new(&key)));
        let add = |ip: &IpAddr| AllowedIpChange { remove: false, prefix: AllowedIp { address: *ip, prefix: 32 } };
        peer.allowed_ips = setup.allowed.iter().map(add).collect();
        let request = SetRequest {
            private_key: Some(KeyChange::Set(SecretKey::new(&private_key(self.number)))),
            listen_port: Some(51_820),
            replace_peers: true,
            peers: vec![peer],
            ..SetRequest::default()
        };
        let name = self.name.clone();
        self.run(move || client(&name).set(&request).unwrap());
    }

    /// Sends a packet to the other side through the tunnel.
    pub(crate) fn knock(&self) {
        let other = 3 - self.number;
        self.run(move || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            let _ = socket.send_to(b"knock", format!("10.7.0.{other}:9"));
        });
    }

    pub(crate) fn diagnose(&self) -> serde_json::Value {
        let name = self.name.clone();
        let output = self.run(move || kerntun(&["diagnose", &name, "--json"]));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    pub(crate) fn exit_code(&self) -> i32 {
        let name = self.name.clone();
        self.run(move || kerntun(&["diagnose", &name])).status.code().unwrap()
    }

    pub(crate) fn write_configuration(&self, text: &str) {
        let (path, text) = (format!("/etc/wireguard/{}.conf", self.name), text.to_owned());
        self.run(move || fs::write(path, text).unwrap());
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.borrow_mut().take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn client(name: &str) -> Client {
    Client::new(InterfaceName::new(name).unwrap())
}
