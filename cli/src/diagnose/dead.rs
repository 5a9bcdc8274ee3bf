//! Tunnels whose daemon is dead.

use super::facts::Facts;
use super::finding::Finding;
use crate::dead::{Dead, sentence};

/// Such a tunnel, and what there is to say of it.
pub(super) fn judge(dead: &Dead) -> (Facts, Vec<Finding>) {
    let name = &dead.name;
    let effect = if dead.marks.is_empty() {
        ""
    } else {
        ", and its tunnel is gone from here with it: what should go into it leaves by the ordinary routes, past it and in clear, unless \
         a firewall stops it"
    };
    let finding =
        Finding::problem("daemon-dead", format!("{}{effect}", sentence(name))).only_noted_if(dead.is_only_noted);
    let finding = if dead.is_only_noted {
        finding
            .whose("perhaps nobody's: 'kerntun up' noted that it came up, and nothing else is known of it here")
            .next(format!("if it lives on elsewhere, or under another name: nothing; else kerntun down {name}"))
    } else {
        finding.whose("whatever ended it on this machine: memory that ran out, for example; 'dmesg' may tell").next(format!(
            "kerntun down {name}, then kerntun up {name} (with the path of its file, unless that is in /etc/wireguard)"
        ))
    };
    (Facts { interface: name.to_string(), ..Facts::default() }, vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::rule::Family;
    use kerntun_config::InterfaceName;

    fn said(marks: &[(Family, u32)], is_only_noted: bool) -> Finding {
        let name = InterfaceName::new("wg0").unwrap();
        judge(&Dead { name, marks: marks.to_vec(), is_only_noted }).1.remove(0)
    }

    #[test]
    fn no_more_is_said_than_is_known() {
        let full = said(&[(Family::V4, 51820)], false);
        assert!(
            full.is_problem() && full.what.contains("gone from here") && full.what.contains("in clear"),
            "{full:?}"
        );
        let split = said(&[], false);
        assert!(split.is_problem() && !split.what.contains("gone"), "{split:?}");
        let noted = said(&[], true);
        assert!(!noted.is_problem() && noted.whose.contains("perhaps") && noted.next.len() == 1, "{noted:?}");
    }
}
