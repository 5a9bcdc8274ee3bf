//! Name servers while a tunnel is up: resolvconf(8) as wg-quick(8) calls it, or resolvectl(1) where that is missing.

use crate::failure::Failure;
use crate::spawn;
use kerntun_config::{Interface, InterfaceName};
use std::fs;

/// The file of Debian's resolvconf that says in which order interfaces count.
const ORDER: &str = "/etc/resolvconf/interface-order";

/// Whether the configuration asks for name servers. Search domains alone do not count, as in wg-quick.
pub(crate) fn wanted(interface: &Interface) -> bool {
    !interface.dns.is_empty()
}

/// The program that does it here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    /// resolvconf(8), of whichever make.
    Resolvconf,
    /// resolvectl(1).
    Resolvectl,
}

/// Finds it.
///
/// # Errors
/// When there is none.
pub(crate) fn tool() -> Result<Tool, Failure> {
    let tools = [("resolvconf", Tool::Resolvconf), ("resolvectl", Tool::Resolvectl)];
    tools.into_iter().find_map(|(program, tool)| spawn::exists(program).then_some(tool)).ok_or_else(|| {
        Failure::new("DNS is set, but neither resolvconf nor resolvectl is there to do it")
            .help("install openresolv or systemd-resolved, or take the DNS line out of the file")
    })
}

/// Makes the configuration's name servers and search domains those of the system.
///
/// # Errors
/// When the program fails, which may have done a part of it.
pub(crate) fn set(tool: Tool, name: &InterfaceName, interface: &Interface) -> Result<(), Failure> {
    match tool {
        Tool::Resolvconf => {
            let record = record(name);
            spawn::run("resolvconf", &["-a", &record, "-m", "0", "-x"], Some(&resolv_conf(interface)))
        }
        Tool::Resolvectl => {
            let servers: Vec<String> = interface.dns.iter().map(ToString::to_string).collect();
            let domains: Vec<String> = interface.dns_search.iter().map(ToString::to_string).collect();
            spawn::run("resolvectl", &with(&["dns", name.as_str()], &servers), None)?;
            // The domain "~." sends all questions to these servers, which is what resolvconf's -x does.
            let mut arguments = with(&["domain", name.as_str()], &domains);
            arguments.push("~.");
            spawn::run("resolvectl", &arguments, None)
        }
    }
}

/// Takes them away again. When there is nothing to take away, that is no error.
///
/// # Errors
/// When the program fails.
pub(crate) fn unset(tool: Tool, name: &InterfaceName) -> Result<(), Failure> {
    match tool {
        Tool::Resolvconf => spawn::run("resolvconf", &["-d", &record(name), "-f"], None),
        // What resolvectl set goes with the interface; before that, this takes it away.
        Tool::Resolvectl if exists(name) => spawn::run("resolvectl", &["revert", name.as_str()], None),
        Tool::Resolvectl => Ok(()),
    }
}

fn exists(name: &InterfaceName) -> bool {
    fs::exists(format!("/sys/class/net/{name}")).unwrap_or(false)
}

fn with<'a>(first: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

/// The name under which resolvconf keeps our servers.
fn record(name: &InterfaceName) -> String {
    record_in(&fs::read_to_string(ORDER).unwrap_or_default(), name)
}

/// Debian's resolvconf orders interfaces by patterns such as `tun*`. The first pattern that ends in a star ranks highest
/// of those a made-up name can match, so the record is called `tun.wg0`.
fn record_in(order: &str, name: &InterfaceName) -> String {
    let prefix = order.lines().find_map(|line| {
        let prefix = line.strip_suffix('*')?;
        let plain = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        plain.then_some(prefix)
    });
    prefix.map_or_else(|| name.to_string(), |prefix| format!("{prefix}.{name}"))
}

fn resolv_conf(interface: &Interface) -> String {
    let mut text: String = interface.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !interface.dns_search.is_empty() {
        let domains: Vec<&str> = interface.dns_search.iter().map(|domain| domain.as_str()).collect();
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_follows_the_order_of_interfaces() {
        let name = InterfaceName::new("wg0").unwrap();
        assert_eq!(record_in("", &name), "wg0");
        assert_eq!(record_in("lo.inet6\nlo.!(pppoe_)\ntun*\ntap*\nhso*\n", &name), "tun.wg0");
        assert_eq!(record_in("@(br)*(wg)\n*\n", &name), "wg0");
    }

    #[test]
    fn what_resolvconf_is_told() {
        let mut interface = Interface::default();
        assert!(!wanted(&interface));
        interface.dns = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert!(wanted(&interface));
        assert_eq!(resolv_conf(&interface), "nameserver 10.0.0.1\nnameserver fd00::1\n");
        interface.dns_search = vec!["example.org".parse().unwrap(), "lan".parse().unwrap()];
        assert_eq!(resolv_conf(&interface), "nameserver 10.0.0.1\nnameserver fd00::1\nsearch example.org lan\n");
    }
}
