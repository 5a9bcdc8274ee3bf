//! A daemon and its configuration.

use crate::device::wait_until_up;
use crate::failure::Failure;
use kerntun_config::{Key, PublicKey};
use kerntun_lab::Site;
use kerntun_uapi::{
    AllowedIp, AllowedIpChange, Client, DeviceState, InterfaceName, KeyChange, PeerChange, SecretKey, SetRequest,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether something happened.
const PAUSE: Duration = Duration::from_millis(5);

/// A running daemon.
pub(super) struct Node {
    name: &'static str,
    private: Key,
    daemon: Child,
    client: Client,
}

/// What one side knows of the other.
pub(super) struct Other {
    pub(super) key: PublicKey,
    pub(super) preshared: Key,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) inner: IpAddr,
}

impl Node {
    /// Starts a daemon at a site, whose interface has this name, and waits until it serves.
    pub(super) fn start(site: &Site, name: &'static str) -> Result<Self, Failure> {
        let interface = InterfaceName::new(name).map_err(|error| Failure::new(error.to_string()))?;
        let client = Client::new(interface);
        let private = random_key()?;
        let daemon = site.run(move || {
            let fail = |error| Failure::new(format!("cannot start the daemon of '{name}': {error}"));
            Command::new("/proc/self/exe")
                .args(["run", name])
                .env("LOG_LEVEL", "info")
                .env("KERNTUN_STAMP_FILE", format!("/run/{name}.stamp"))
                .env_remove("WG_TUN_FD")
                .env_remove("WG_UAPI_FD")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(log(name)).map_err(fail)?)
                .spawn()
                .map_err(fail)
        })?;
        let mut node = Self { name, private, daemon, client };
        let begin = Instant::now();
        while node.client.get().is_err() {
            node.check()?;
            if begin.elapsed() > PATIENCE {
                return Err(node.failure("does not serve after 10 s"));
            }
            sleep(PAUSE);
        }
        Ok(node)
    }

    /// The public key.
    pub(super) fn key(&self) -> PublicKey {
        crate::keys::public_key_of(&self.private)
    }

    /// Hands over the keys, the port, and the only peer.
    pub(super) fn configure(&self, port: u16, other: &Other) -> Result<(), Failure> {
        let prefix = AllowedIp { address: other.inner, prefix: if other.inner.is_ipv4() { 32 } else { 128 } };
        let request = SetRequest {
            private_key: Some(KeyChange::Set(SecretKey::new(self.private.as_bytes()))),
            listen_port: Some(port),
            replace_peers: true,
            peers: vec![PeerChange {
                preshared_key: Some(KeyChange::Set(SecretKey::new(other.preshared.as_bytes()))),
                endpoint: other.endpoint,
                allowed_ips: vec![AllowedIpChange { remove: false, prefix }],
                ..PeerChange::new(kerntun_uapi::PublicKey(*other.key.as_bytes()))
            }],
            ..SetRequest::default()
        };
        self.client.set(&request).map_err(|error| Failure::new(error.to_string()))
    }

    /// Waits until it knows that its interface is up.
    pub(super) fn wait_until_up(&self) {
        wait_until_up(&self.client);
    }

    /// Its state.
    pub(super) fn state(&self) -> Result<DeviceState, Failure> {
        self.client.get().map_err(|error| Failure::new(error.to_string()))
    }

    /// Fails if the daemon has ended.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.daemon.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(&format!("ended unexpectedly ({status})"))),
            Err(error) => Err(self.failure(&format!("cannot be watched: {error}"))),
        }
    }

    /// Asks the daemon to end, and waits until it has.
    pub(super) fn stop(mut self) -> Result<ExitStatus, Failure> {
        if let Ok(id) = i32::try_from(self.daemon.id()) {
            kill(Pid::from_raw(id), Signal::SIGTERM)
                .map_err(|error| self.failure(&format!("cannot be ended: {}", error.desc())))?;
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            match self.daemon.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => sleep(PAUSE),
                Err(error) => return Err(self.failure(&format!("cannot be watched: {error}"))),
            }
        }
        Err(self.failure("does not end when asked to"))
    }

    fn failure(&self, what: &str) -> Failure {
        let log = fs::read_to_string(log(self.name)).unwrap_or_default();
        let said = log.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!("its last words: {line}"));
        Failure::new(format!("the daemon of '{}' {what}", self.name)).maybe_help(said)
    }
}

/// A private key (clamped by whoever uses it, RFC 7748) or a preshared one.
pub(super) fn random_key() -> Result<Key, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| Failure::new(format!("the system gives no random numbers: {error}")))?;
    Ok(Key::from_bytes(*bytes))
}

/// Where a daemon's log goes: the mount namespace's own file system, which ends with it.
fn log(name: &str) -> String {
    format!("/run/{name}.log")
}
