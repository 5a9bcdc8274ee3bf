//! Tunnels whose interface is gone, and what is left of them.

use crate::netlink::Netlink;
use crate::netlink::link::Link;
use crate::netlink::rule::Family;
use crate::{firewall, record, start};
use kerntun_config::InterfaceName;
use std::collections::BTreeSet;
use std::fs;

/// Such a tunnel.
pub(crate) struct Dead {
    pub(crate) name: InterfaceName,
    /// The families of which everything went into it, and the mark of its rules in these.
    pub(crate) marks: Vec<(Family, u32)>,
}

impl Dead {
    /// What is left of a tunnel that has no interface here, and that nobody serves. `None` if nothing is.
    pub(crate) fn of(name: &InterfaceName) -> Option<Self> {
        let marks = firewall::marks(name);
        (is_noted(name) || !marks.is_empty()).then(|| Self { name: name.clone(), marks })
    }

    /// As [`Self::of`] where that is not known.
    pub(crate) fn find(name: &InterfaceName) -> Option<Self> {
        if is_alive(name) { None } else { Self::of(name) }
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let names: BTreeSet<String> = noted().chain(firewall::names()).map(|name| name.to_string()).collect();
        names.iter().filter_map(|name| Self::find(&InterfaceName::new(name).ok()?)).collect()
    }
}

/// The names of those that are found without asking the firewall, which takes a while.
pub(crate) fn names() -> BTreeSet<String> {
    noted().filter(|name| is_noted(name) && !is_alive(name)).map(|name| name.to_string()).collect()
}

/// Whether `up` noted it, or a daemon that was killed left its socket. The sockets of all network namespaces are in one place.
fn is_noted(name: &InterfaceName) -> bool {
    record::exists(name) || start::socket_of(name).exists() && !record::is_elsewhere(name)
}

fn noted() -> impl Iterator<Item = InterfaceName> {
    let sockets = fs::read_dir(kerntun_uapi::SOCKET_DIRECTORY).into_iter().flatten().flatten();
    let sockets =
        sockets.filter_map(|entry| InterfaceName::new(entry.file_name().to_str()?.strip_suffix(".sock")?).ok());
    record::names().chain(sockets)
}

fn is_alive(name: &InterfaceName) -> bool {
    let link = Netlink::route().ok().and_then(|mut netlink| Link::find(&mut netlink, name.as_str()).ok().flatten());
    link.is_some() || start::is_served(name)
}
