//! A process that serves one end of a tunnel.

use crate::stage::{INNER, OUTER, PORTS};
use kerntun_crypto::Fast;
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;
use kerntun_lab::{Site, Trouble};
use kerntun_uapi::{
    AllowedIp, AllowedIpChange, Client, InterfaceName, KeyChange, PeerChange, PublicKey, SecretKey, SetRequest,
};
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running process. Ended without mercy when dropped.
pub(crate) struct Daemon {
    name: &'static str,
    child: Child,
}

impl Daemon {
    /// Starts a command in a site. What it says goes to a file, to be quoted if it fails.
    pub(crate) fn start(site: &Site, name: &'static str, mut command: Command) -> Result<Self, Trouble> {
        let child = site.run(move || {
            let shown = format!("{command:?}");
            let fail = |error| Trouble::new(format!("{shown} cannot be started: {error}"));
            let log = File::create(log(name)).map_err(fail)?;
            let out = log.try_clone().map_err(fail)?;
            command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().map_err(fail)
        })?;
        Ok(Self { name, child })
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.trouble(&format!("ended unexpectedly ({status})"))),
            Err(error) => Err(self.trouble(&format!("cannot be watched: {error}"))),
        }
    }

    /// Waits until its configuration socket answers.
    pub(crate) fn wait_until_it_serves(&mut self) -> Result<(), Trouble> {
        let client = self.client()?;
        let begin = Instant::now();
        while client.get().is_err() {
            self.check()?;
            if begin.elapsed() > PATIENCE {
                return Err(self.trouble("does not serve its configuration socket"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its configuration socket.
    pub(crate) fn client(&self) -> Result<Client, Trouble> {
        let name = InterfaceName::new(self.name).map_err(|error| Trouble::new(error.to_string()))?;
        Ok(Client::new(name))
    }

    /// Tells it its keys, its port and its only peer. West (0) knows where east (1) is, and begins.
    pub(crate) fn configure(&self, at: usize) -> Result<(), Trouble> {
        let other = 1 - at;
        let endpoint = (at == 0).then_some(SocketAddr::from((OUTER[other], PORTS[other])));
        let peer = PeerChange { endpoint, ..peer(public_key(key(other)), INNER[other].into()) };
        let request = SetRequest { listen_port: Some(PORTS[at]), peers: vec![peer], ..identity(key(at)) };
        self.set(&request)
    }

    /// Changes its configuration.
    pub(crate) fn set(&self, request: &SetRequest) -> Result<(), Trouble> {
        self.client()?.set(request).map_err(|error| self.trouble(&format!("cannot be configured: {error}")))
    }

    /// Something is wrong with it; its last words are quoted.
    pub(crate) fn trouble(&self, what: &str) -> Trouble {
        let said = fs::read_to_string(log(self.name)).unwrap_or_default();
        let trouble = Trouble::new(format!("the process in {} {what}", self.name));
        match said.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => trouble.help(format!("its last words: {line}")),
            None => trouble,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(format!("{}/{}.sock", kerntun_uapi::SOCKET_DIRECTORY, self.name));
    }
}

/// A request that sets the private key and removes all peers.
pub(crate) fn identity(private: [u8; 32]) -> SetRequest {
    SetRequest {
        private_key: Some(KeyChange::Set(SecretKey::new(&private))),
        replace_peers: true,
        ..SetRequest::default()
    }
}

/// A peer with one allowed address.
pub(crate) fn peer(public: [u8; 32], address: IpAddr) -> PeerChange {
    let prefix = AllowedIp { address, prefix: if address.is_ipv4() { 32 } else { 128 } };
    PeerChange { allowed_ips: vec![AllowedIpChange { remove: false, prefix }], ..PeerChange::new(PublicKey(public)) }
}

/// The private key of an end. Nothing secret passes through these tunnels.
pub(crate) fn key(at: usize) -> [u8; 32] {
    let mut key = [0x40; 32];
    key[0] = 8 * (at as u8 + 1);
    key
}

/// The public key that belongs to a private one.
pub(crate) fn public_key(private: [u8; 32]) -> [u8; 32] {
    Fast::new().public_key(&Secret::new(private))
}

fn log(name: &str) -> String {
    format!("/run/{name}.log")
}
