//! A WireGuard interface, whoever serves it: a daemon that speaks the configuration protocol, or the kernel.

use crate::failure::Failure;
use crate::kernel;
use crate::netlink::Netlink;
use crate::netlink::link::Link;
use kerntun_config::{AllowedIp, Config, InterfaceName, Key};
use kerntun_uapi::{
    AllowedIpChange, Client, ClientError, DeviceState, DiagnosticEntry, Errno, KeyChange, PeerChange, PeerState,
    PublicKey, SecretKey, Section, SetRequest,
};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

/// The interface and the way to talk to it.
#[derive(Debug, Clone)]
pub(crate) enum Device {
    /// Served by a process.
    Daemon(InterfaceName),
    /// Served by the kernel.
    Kernel(InterfaceName),
}

/// What is there under a name.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A WireGuard interface that answers.
    Device(Device, Link),
    /// The daemon is dead or silent, but its interface is still there.
    Orphan,
    /// Some other interface.
    Stranger,
}

impl Device {
    /// Looks for an interface.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn find(netlink: &mut Netlink, name: &InterfaceName) -> Result<Found, Failure> {
        let link = Link::find(netlink, name.as_str())
            .map_err(|error| Failure::new(format!("cannot look for the interface {name}: {error}")))?;
        let Some(link) = link else { return Ok(Found::Nothing) };
        if link.kind.as_deref() == Some("wireguard") {
            return Ok(Found::Device(Self::Kernel(name.clone()), link));
        }
        let device = Self::Daemon(name.clone());
        Ok(match device.client()?.get() {
            Ok(_) => Found::Device(device, link),
            Err(ClientError::NoSuchInterface { .. }) => Found::Stranger,
            Err(_) if link.kind.as_deref() == Some("tun") => Found::Orphan,
            Err(_) => Found::Stranger,
        })
    }

    /// Everything there is to know of it, its private key included.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn state(&self) -> Result<DeviceState, Failure> {
        match self {
            Self::Daemon(_) => self.client()?.get().map_err(|error| Failure::new(error.to_string())),
            Self::Kernel(name) => kernel::get(name),
        }
    }

    /// Makes changes.
    ///
    /// # Errors
    /// When they are refused; the interface may then have taken a part of them.
    pub(crate) fn set(&self, request: &SetRequest) -> Result<(), Failure> {
        match self {
            Self::Daemon(_) => self.client()?.set(request).map_err(|error| explain(&error, request)),
            Self::Kernel(name) => kernel::set(name, request),
        }
    }

    /// Waits until it knows that its interface was brought up, so that no packet after this is one too early. The kernel knows
    /// at once, a daemon after a moment; other daemons than ours do not say.
    pub(crate) fn wait_until_up(&self) {
        if let (Self::Daemon(_), Ok(client)) = (self, self.client()) {
            wait_until_up(&client);
        }
    }

    /// Its name.
    pub(crate) const fn name(&self) -> &InterfaceName {
        match self {
            Self::Daemon(name) | Self::Kernel(name) => name,
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(uapi_name(self.name())?))
    }
}

/// As [`Device::wait_until_up`]; for a second at most.
pub(crate) fn wait_until_up(client: &Client) {
    const PAUSE: Duration = Duration::from_millis(1);
    let is_down =
        |entry: &DiagnosticEntry| (&entry.section, &*entry.name, &*entry.value) == (&Section::Device, "up", "no");
    for _ in 0..1000 {
        match client.diagnostics() {
            Ok(Some(entries)) if entries.iter().any(is_down) => sleep(PAUSE),
            _ => return,
        }
    }
}

/// The name as the configuration protocol has it, whose rules are wider.
///
/// # Errors
/// Never, as long as that is so.
pub(crate) fn uapi_name(name: &InterfaceName) -> Result<kerntun_uapi::InterfaceName, Failure> {
    kerntun_uapi::InterfaceName::new(name.as_str()).map_err(|error| Failure::usage(error.to_string()))
}

/// The whole configuration as one request, which replaces whatever was set before, as `wg setconf` does. `endpoints` has
/// one entry for each peer of the configuration, in order.
pub(crate) fn request(config: &Config, endpoints: &[Option<SocketAddr>]) -> SetRequest {
    let endpoints = endpoints.iter().copied().chain(std::iter::repeat(None));
    let peers = config.peers.iter().zip(endpoints).map(|(peer, endpoint)| {
        let mut change = PeerChange::new(PublicKey(*peer.public_key.as_bytes()));
        change.preshared_key = peer.preshared_key.as_ref().map(secret);
        change.endpoint = endpoint;
        change.persistent_keepalive_interval = peer.persistent_keepalive;
        change.replace_allowed_ips = true;
        let add = |prefix: &AllowedIp| AllowedIpChange { remove: false, prefix: uapi_prefix(*prefix) };
        change.allowed_ips = peer.allowed_ips.iter().map(add).collect();
        change
    });
    SetRequest {
        private_key: Some(config.interface.private_key.as_ref().map_or(KeyChange::Clear, secret)),
        listen_port: Some(config.interface.listen_port.unwrap_or(0)),
        fwmark: Some(config.interface.fwmark.unwrap_or(0)),
        replace_peers: true,
        peers: peers.collect(),
    }
}

/// All prefixes of all peers.
pub(crate) fn allowed_ips(state: &DeviceState) -> Vec<AllowedIp> {
    state.peers.iter().flat_map(allowed_ips_of).collect()
}

/// All prefixes of one peer.
pub(crate) fn allowed_ips_of(peer: &PeerState) -> impl Iterator<Item = AllowedIp> {
    peer.allowed_ips.iter().filter_map(|prefix| AllowedIp::new(prefix.address, prefix.prefix))
}

fn uapi_prefix(prefix: AllowedIp) -> kerntun_uapi::AllowedIp {
    kerntun_uapi::AllowedIp { address: prefix.ip(), prefix: prefix.prefix() }
}

fn secret(key: &Key) -> KeyChange {
    SecretKey::new(key.as_bytes()).into()
}

/// Says what is wrong when the number that was answered tells it.
pub(crate) fn explain(error: &ClientError, request: &SetRequest) -> Failure {
    match (error, request.listen_port) {
        (ClientError::Refused { errno: Errno::EADDRINUSE, .. }, Some(port)) => port_in_use(port),
        _ => Failure::new(error.to_string()),
    }
}

/// A sentence on a port that somebody else has.
pub(crate) fn port_in_use(port: u16) -> Failure {
    Failure::new(format!("the UDP port {port} is in use by another program or tunnel"))
        .help(format!("'ss -lunp sport = :{port}' shows by whom; or change or drop ListenPort"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_replaces_everything() {
        let text = b"[Interface]\nPrivateKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nAddress = 10.0.0.1/24\n\
            [Peer]\nPublicKey = 8h5Rve0gM9ppwCBlmY0ucQxxMYB9Eao7bAzUcfnDTVg=\nAllowedIPs = 10.0.0.2/32, fd00::/64\n\
            PersistentKeepalive = 25\n";
        let config = kerntun_config::Parser::new("x").parse(text).config.unwrap();
        let mut written = Vec::new();
        request(&config, &["192.0.2.1:7".parse().ok()]).write_to(&mut written).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "set=1\nprivate_key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\nlisten_port=0\nfwmark=0\n\
            replace_peers=true\npublic_key=f21e51bded2033da69c02065998d2e710c7131807d11aa3b6c0cd471f9c34d58\n\
            endpoint=192.0.2.1:7\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
            allowed_ip=10.0.0.2/32\nallowed_ip=fd00::/64\n\n"
        );
        let nothing = request(&Config::default(), &[]);
        assert_eq!(nothing.private_key, Some(KeyChange::Clear));
        assert_eq!((nothing.listen_port, nothing.fwmark, nothing.replace_peers), (Some(0), Some(0), true));
    }
}
