//! Tunnels whose daemon is dead.

use super::facts::Facts;
use super::finding::Finding;
use crate::dead::Dead;

/// Such a tunnel, and what there is to say of it.
pub(super) fn judge(dead: &Dead) -> (Facts, Vec<Finding>) {
    let name = &dead.name;
    let effect = if dead.marks.is_empty() {
        ""
    } else {
        ": what should go into it leaves by the ordinary routes, past it and in clear, unless a firewall stops it"
    };
    let what =
        format!("the daemon of {name} is dead, or its interface was removed, and its tunnel is gone with it{effect}");
    let finding = Finding::problem("daemon-dead", what)
        .whose("whatever ended it on this machine: memory that ran out, for example; 'dmesg' may tell")
        .next(format!(
            "kerntun down {name}, then kerntun up {name} (with the path of its file, unless that is in /etc/wireguard)"
        ));
    (Facts { interface: name.to_string(), ..Facts::default() }, vec![finding])
}
