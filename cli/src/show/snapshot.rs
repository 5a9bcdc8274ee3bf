//! Asking the daemons.

use crate::failure::Failure;
use crate::netlink::Netlink;
use crate::netlink::link::Link;
use kerntun_config as config;
use kerntun_uapi::{Client, ClientError, DeviceState, DiagnosticEntry, InterfaceName, PeerState, PublicKey, Section};
use std::collections::BTreeMap;

/// Drops by the name of their reason; only reasons that occurred.
pub(crate) type Drops = BTreeMap<String, u64>;

/// An interface that could not be asked, and why.
pub(crate) type Unasked = (InterfaceName, Failure);

/// Who serves an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our daemon, which tells more than others.
    Kerntun,
    /// Another user-space implementation.
    Other,
    /// The kernel's own driver.
    Kernel,
    /// Our kernel module, which tells of drops.
    Module,
}

/// An interface at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Its name.
    pub(crate) name: InterfaceName,
    /// Who serves it.
    pub(crate) kind: Kind,
    /// Its configuration and its peers.
    pub(crate) state: DeviceState,
    /// What our daemon and our module tell in addition; empty for others.
    pub(crate) entries: Vec<DiagnosticEntry>,
}

/// Reads a name a person typed.
///
/// # Errors
/// When it cannot be the name of an interface.
pub(crate) fn resolve(name: &str) -> Result<InterfaceName, Failure> {
    InterfaceName::new(name)
        .map_err(|error| Failure::usage(format!("'{}' is no interface: {error}", name.escape_debug())))
}

/// The names of all WireGuard interfaces, sorted.
///
/// # Errors
/// When the directory of the sockets cannot be read.
pub(crate) fn names() -> Result<Vec<InterfaceName>, Failure> {
    let mut names = kerntun_uapi::client::interfaces().map_err(|error| {
        let failure =
            Failure::new(format!("cannot look for interfaces in {}: {error}", kerntun_uapi::SOCKET_DIRECTORY));
        failure.maybe_help((error.kind() == std::io::ErrorKind::PermissionDenied).then_some("run this as root"))
    })?;
    let links = nix::net::if_::if_nameindex().ok();
    let links = links.iter().flat_map(|links| links.iter());
    let links = links.filter_map(|link| InterfaceName::new(link.name().to_str().ok()?).ok());
    names.extend(links.filter(|name| kind_of(name).is_some_and(|kind| kind == "wireguard")));
    names.sort();
    names.dedup();
    Ok(names)
}

impl Snapshot {
    /// Asks the daemon of one interface.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub(crate) fn take(name: &InterfaceName) -> Result<Self, Failure> {
        if kind_of(name).is_some_and(|kind| kind == "wireguard") {
            let state = crate::kernel::get(&config::InterfaceName::new(name.as_str()).map_err(|error| {
                Failure::new(format!("the interface {name} has a name that no configuration can have: {error}"))
            })?)?;
            let entries = crate::kernel::drops(name.as_str());
            let kind = if entries.is_some() { Kind::Module } else { Kind::Kernel };
            return Ok(Self { name: name.clone(), kind, state, entries: entries.unwrap_or_default() });
        }
        let client = Client::new(name.clone());
        let state = client.get().map_err(|error| explain(name, &error))?;
        // Whoever answered the first request and not the second is another implementation, or is ending.
        let entries = client.diagnostics().ok().flatten();
        let kind = if entries.is_some() { Kind::Kerntun } else { Kind::Other };
        Ok(Self { name: name.clone(), kind, state, entries: entries.unwrap_or_default() })
    }

    /// Asks all daemons. Those that cannot be asked are listed with their reasons.
    ///
    /// # Errors
    /// When not even their names can be had.
    pub(crate) fn take_all() -> Result<(Vec<Self>, Vec<Unasked>), Failure> {
        let (mut taken, mut failures) = (Vec::new(), Vec::new());
        for name in names()? {
            match Self::take(&name) {
                Ok(snapshot) => taken.push(snapshot),
                Err(failure) => failures.push((name, failure)),
            }
        }
        Ok((taken, failures))
    }

    /// The interface's public key, if it has a private one.
    pub(crate) fn public_key(&self) -> Option<config::PublicKey> {
        let private = config::Key::from_bytes(*self.state.private_key.as_ref()?.as_bytes());
        Some(crate::keys::public_key_of(&private))
    }

    /// The peers, those with the latest handshakes first, as `wg show` sorts them.
    pub(crate) fn peers(&self) -> Vec<&PeerState> {
        let mut peers: Vec<&PeerState> = self.state.peers.iter().collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.last_handshake));
        peers
    }

    /// Drops that no peer or one peer stands for; `None` if the implementation does not tell.
    pub(crate) fn drops(&self, section: Section) -> Option<Drops> {
        let of = |entry: &DiagnosticEntry| {
            let reason = entry.name.strip_prefix("drop.").filter(|_| entry.section == section)?;
            let count = entry.value.parse().ok().filter(|count| *count > 0)?;
            Some((reason.to_owned(), count))
        };
        matches!(self.kind, Kind::Kerntun | Kind::Module).then(|| self.entries.iter().filter_map(of).collect())
    }
}

/// A key in the form in which people and files write it.
pub(crate) fn base64(key: &PublicKey) -> String {
    config::PublicKey::from_bytes(key.0).to_string()
}

/// Adds what a person may not know: that an interface can exist without a daemon to ask.
fn explain(name: &InterfaceName, error: &ClientError) -> Failure {
    let failure = Failure::new(error.to_string());
    if !matches!(error, ClientError::NoSuchInterface { .. }) {
        return failure;
    }
    failure.help(if kind_of(name).is_some() {
        format!("there is an interface {name}, but it is no WireGuard interface, or its daemon has ended")
    } else {
        "'kerntun show interfaces' lists what there is".to_owned()
    })
}

/// What made the interface of this name, in the kernel's words: empty for a physical one, none for no interface.
fn kind_of(name: &InterfaceName) -> Option<String> {
    let mut netlink = Netlink::route().ok()?;
    let link = Link::find(&mut netlink, name.as_str()).ok()??;
    Some(link.kind.unwrap_or_default())
}
