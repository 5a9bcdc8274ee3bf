//! The configuration protocol, spoken to the engine and the sockets.

use crate::device::{Engine, Shared, now, wall};
use crate::sockets::{self, NewPorts};
use crate::status;
use kerntun_engine::config::{self, AllowedIpChange, Change, ConfigError};
use kerntun_engine::routes;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::time::{Instant, SECOND};
use kerntun_host::scrubbed;
use kerntun_linux::{BindError, Bound, InterfaceNames};
use kerntun_uapi::server::Event;
use kerntun_uapi::{
    AllowedIp, DiagnosticsWriter, Errno, GetWriter, Handler, KeyChange, PeerChange, PeerState, SecretKey, SetRequest,
};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The answers to configuration requests.
pub(crate) struct Configurator<'d> {
    shared: &'d Shared,
    names: &'d InterfaceNames,
    /// Held by a `set` for itself alone and by `get`s together, so that an answer is one whole state: the engine applies a
    /// large change, and lists what there is, in many steps. Taken before all other locks and by nothing but those two, as a
    /// `get` holds it while somebody reads the answer; how long that may stand still is for the server of the socket to
    /// limit ([`ANSWER_PATIENCE`](kerntun_uapi::server::ANSWER_PATIENCE)).
    whole: RwLock<()>,
    /// One change at a time, ports and marks included.
    changing: Mutex<()>,
    /// Calendar time at the zero of the engine's clock. Kept while it is about right, so that the time of a handshake
    /// is the same each time it is asked for.
    epoch: Mutex<Duration>,
}

/// Why a request was not granted.
enum Refusal {
    Config(ConfigError),
    Bind(BindError),
    Mark(io::Error),
    Version,
    Prefix,
}

impl<'d> Configurator<'d> {
    pub(crate) fn new(shared: &'d Shared, names: &'d InterfaceNames) -> Self {
        Self { shared, names, whole: RwLock::new(()), changing: Mutex::new(()), epoch: Mutex::new(Duration::ZERO) }
    }

    /// The interface came up: it needs a port, and the peers' timers start.
    pub(crate) fn up(&self) {
        let _changing = self.changing.lock();
        if self.shared.ports.port() == 0 {
            let mark = self.shared.ports.mark();
            match self.shared.ports.bind(0, mark) {
                Ok(ports) => sockets::release(self.use_ports(ports, mark)),
                Err(error) => tracing::error!("the interface is up without a port: {error}"),
            }
        }
        if self.shared.engine.configure(|configuration| configuration.up(now())) {
            self.shared.inbox.wake();
        }
    }

    /// The interface went down.
    pub(crate) fn down(&self) {
        let _changing = self.changing.lock();
        self.shared.engine.configure(|configuration| configuration.down());
    }

    fn apply(&self, request: &SetRequest) -> Result<(), Refusal> {
        let _whole = self.whole.write();
        let _changing = self.changing.lock();
        let ports = &self.shared.ports;
        let allowed_ips = request.peers.iter().map(allowed_ips).collect::<Result<Vec<_>, _>>()?;
        let peers: Vec<_> =
            request.peers.iter().zip(&allowed_ips).map(|(peer, allowed_ips)| peer_change(peer, allowed_ips)).collect();
        let private_key = request.private_key.as_ref().map(secret);
        let change = Change { private_key, replace_peers: request.replace_peers, peers: &peers };
        let mark = request.fwmark.unwrap_or_else(|| ports.mark());
        let (rearm, old) = self.shared.engine.configure(|configuration| {
            let prepared = configuration.prepare(change).map_err(Refusal::Config)?;
            let new_ports = match request.listen_port {
                Some(port) if port == 0 || port != ports.port() => Some(ports.bind(port, mark).map_err(Refusal::Bind)?),
                _ => None,
            };
            let old = match new_ports {
                Some(new) => self.use_ports(new, mark),
                None if mark != ports.mark() => {
                    ports.set_mark(mark).map_err(Refusal::Mark)?;
                    None
                }
                None => None,
            };
            // From here on nothing fails.
            let rearm = prepared.apply(now());
            if request.fwmark.is_some() {
                // Another mark may mean another route.
                configuration.forget_sources();
            }
            Ok((rearm, old))
        })?;
        if rearm {
            self.shared.inbox.wake();
        }
        sockets::release(old);
        Ok(())
    }

    /// Gives back the old ones, to be released.
    fn use_ports(&self, ports: NewPorts, mark: u32) -> Option<Arc<Bound>> {
        tracing::info!("listening on UDP port {}", ports.port());
        let old = self.shared.ports.replace(ports, mark);
        self.shared.wake_workers();
        old
    }

    /// When an instant of the engine was, by the calendar.
    fn calendar(&self, at: Instant) -> Duration {
        let (wall, now) = (wall(), now());
        let epoch = Duration::new(wall.seconds, wall.nanos).saturating_sub(Duration::from_nanos(now.as_nanos()));
        let mut kept = self.epoch.lock();
        if kept.abs_diff(epoch) > Duration::from_nanos(SECOND / 4) {
            *kept = epoch;
        }
        *kept + Duration::from_nanos(at.as_nanos())
    }

    fn peer_state(&self, engine: &Engine, peer: kerntun_engine::peer::PeerRef) -> Option<PeerState> {
        let info = engine.peer_info(peer)?;
        let preshared_key = Some(SecretKey::new(info.preshared_key.expose())).filter(|key| !key.is_zero());
        Some(PeerState {
            public_key: kerntun_uapi::PublicKey(info.public_key.0),
            preshared_key,
            endpoint: info.endpoint.map(|endpoint| endpoint.remote),
            last_handshake: info.last_handshake.map(|at| self.calendar(at)),
            tx_bytes: info.tx_bytes,
            rx_bytes: info.rx_bytes,
            persistent_keepalive_interval: info.persistent_keepalive,
            allowed_ips: Vec::new(),
        })
    }
}

impl Handler for Configurator<'_> {
    fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()> {
        let _whole = self.whole.read();
        let engine = &self.shared.engine;
        if let Some(key) = engine.private_key() {
            answer.private_key(&SecretKey::new(key.expose()))?;
        }
        answer.listen_port(self.shared.ports.port())?;
        answer.fwmark(self.shared.ports.mark())?;
        let mut at = None;
        while let Some(peer) = engine.next_peer(at) {
            at = Some(peer);
            let Some(state) = self.peer_state(engine, peer) else { continue };
            answer.peer(&state)?;
            let mut cursor = None;
            while let Some((prefix, next)) = engine.next_allowed_ip(peer, cursor) {
                cursor = Some(next);
                answer.allowed_ip(AllowedIp { address: prefix.address(), prefix: prefix.prefix_len() })?;
            }
        }
        Ok(())
    }

    fn set(&self, request: SetRequest) -> Result<(), Errno> {
        match scrubbed(|| self.apply(&request)) {
            Ok(()) => {
                tracing::debug!("configured: {} changes of peers", request.peers.len());
                Ok(())
            }
            Err(refusal) => {
                let errno = refusal.errno();
                tracing::error!("configuration refused, nothing was changed: {refusal}");
                Err(errno)
            }
        }
    }

    fn diagnostics(&self, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
        status::diagnostics(self.shared, answer)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        self.names.index_of(name)
    }

    fn event(&self, event: &Event<'_>) {
        tracing::error!("{event}");
    }
}

impl Refusal {
    fn errno(&self) -> Errno {
        const EACCES: i32 = 13;
        const EAGAIN: i32 = 11;
        let number = |number| Errno::new(number).unwrap_or(Errno::EIO);
        match self {
            // The kernel says so too for one peer too many.
            Self::Config(ConfigError::OutOfMemory | ConfigError::TooManyPeers) => Errno::ENOMEM,
            Self::Config(ConfigError::NotSeeded) => number(EAGAIN),
            Self::Prefix => Errno::EINVAL,
            Self::Bind(BindError::PortInUse(_) | BindError::NoFreePort) => Errno::EADDRINUSE,
            Self::Bind(BindError::MarkPermission(error) | BindError::Setup(_, error)) | Self::Mark(error) => {
                error.into()
            }
            Self::Bind(BindError::Permission(_)) => number(EACCES),
            Self::Bind(_) => Errno::EIO,
            Self::Version => Errno::EOPNOTSUPP,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::Mark(error) => {
                write!(f, "not allowed to set a firewall mark ({error}): run as root or with CAP_NET_ADMIN")
            }
            Self::Version => f.write_str("the only protocol version there is is 1"),
            Self::Prefix => f.write_str("a prefix is longer than its address"),
        }
    }
}

fn peer_change<'a>(peer: &PeerChange, allowed_ips: &'a [AllowedIpChange]) -> config::PeerChange<'a> {
    config::PeerChange {
        public_key: PublicKey(peer.public_key.0),
        remove: peer.remove,
        update_only: peer.update_only,
        preshared_key: peer.preshared_key.as_ref().map(secret),
        endpoint: peer.endpoint,
        persistent_keepalive: peer.persistent_keepalive_interval,
        replace_allowed_ips: peer.replace_allowed_ips,
        allowed_ips,
    }
}

/// The prefixes of a change; also where its version is looked at, so that all refusals come before all else.
fn allowed_ips(peer: &PeerChange) -> Result<Vec<AllowedIpChange>, Refusal> {
    if peer.protocol_version.is_some_and(|version| version != 1) {
        return Err(Refusal::Version);
    }
    let convert = |change: &kerntun_uapi::AllowedIpChange| {
        let prefix = routes::AllowedIp::new(change.prefix.address, change.prefix.prefix).ok_or(Refusal::Prefix)?;
        Ok(if change.remove { AllowedIpChange::Remove(prefix) } else { AllowedIpChange::Add(prefix) })
    };
    peer.allowed_ips.iter().map(convert).collect()
}

fn secret(change: &KeyChange) -> Secret {
    match change {
        KeyChange::Set(key) => Secret::new(*key.as_bytes()),
        KeyChange::Clear => Secret::ZERO,
    }
}
