//! Tunnels whose interface is gone, and what is left of them.

use crate::netlink::Netlink;
use crate::netlink::link::Link;
use crate::netlink::rule::Family;
use crate::{firewall, kernel, record, start};
use kerntun_config::InterfaceName;
use std::collections::BTreeSet;
use std::fs;

/// What may have become of such a tunnel.
pub(crate) fn sentence(name: &InterfaceName) -> String {
    format!("the daemon of {name} is dead, or its interface was removed, renamed or moved to another network namespace")
}

/// Such a tunnel.
pub(crate) struct Dead {
    pub(crate) name: InterfaceName,
    /// The families of which everything went into it, and the mark of its rules in these.
    pub(crate) marks: Vec<(Family, u32)>,
    /// Whether only the note of `up` tells of it, and the kernel may have served it: of such a tunnel nothing is left that could be
    /// asked after its interface was renamed, moved, or removed by other means than 'kerntun down'.
    pub(crate) is_only_noted: bool,
}

impl Dead {
    /// What is left of a tunnel that has no interface here, and that nobody serves. `None` if nothing is.
    pub(crate) fn of(name: &InterfaceName) -> Option<Self> {
        let marks = firewall::marks(name);
        let is_noted = is_noted(name);
        let is_only_noted = marks.is_empty() && is_noted && !has_socket(name) && kernel::has_wireguard();
        (is_noted || !marks.is_empty()).then(|| Self { name: name.clone(), marks, is_only_noted })
    }

    /// As [`Self::of`] where that is not known.
    pub(crate) fn find(name: &InterfaceName) -> Option<Self> {
        if is_alive(name) { None } else { Self::of(name) }
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let names: BTreeSet<InterfaceName> = noted().chain(firewall::names()).collect();
        names.iter().filter_map(Self::find).collect()
    }
}

/// A sentence on each of those that are found without asking the firewall, which takes a while.
pub(crate) fn sentences() -> BTreeSet<String> {
    let dead = noted().filter(|name| is_noted(name) && !is_alive(name));
    dead.map(|name| format!("{}: 'kerntun diagnose {name}'", sentence(&name))).collect()
}

/// Whether `up` noted it, or a daemon that was killed left its socket.
fn is_noted(name: &InterfaceName) -> bool {
    record::exists(name) || has_socket(name)
}

/// The sockets of all network namespaces are in one place.
fn has_socket(name: &InterfaceName) -> bool {
    start::socket_of(name).exists() && !record::is_elsewhere(name)
}

fn noted() -> impl Iterator<Item = InterfaceName> {
    let sockets = fs::read_dir(kerntun_uapi::SOCKET_DIRECTORY).into_iter().flatten().flatten();
    let sockets =
        sockets.filter_map(|entry| InterfaceName::new(entry.file_name().to_str()?.strip_suffix(".sock")?).ok());
    record::names().chain(sockets)
}

fn is_alive(name: &InterfaceName) -> bool {
    let link = Netlink::route().and_then(|mut netlink| Link::find(&mut netlink, name.as_str()));
    // A kernel that does not answer is no reason to call anything dead.
    !matches!(link, Ok(None)) || start::is_served(name) && !start::is_served_for_another(name)
}
