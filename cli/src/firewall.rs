//! The firewall against leaks that comes with a default route, as wg-quick(8) makes it: through nft(8) or, where that is
//! missing, iptables-restore(8).
//!
//! It does two things. Packets for the tunnel's addresses that come in elsewhere are dropped, since a loose reverse path
//! would let a neighbour probe them. And the mark of the tunnel's own packets is kept with their connection and given to
//! the answers, so that a strict reverse path lets these in. Its names are those of wg-quick, so that each can take down
//! what the other put up.

use crate::failure::Failure;
use crate::netlink::rule::Family;
use crate::spawn;
use kerntun_config::{Address, InterfaceName};
use std::fmt::Write;

/// Puts the firewall of one family up for a tunnel with these addresses and this mark.
///
/// # Errors
/// When neither nft nor iptables is there, or the kernel refuses.
pub(crate) fn put_up(name: &InterfaceName, family: Family, mark: u32, addresses: &[Address]) -> Result<(), Failure> {
    let help = "without this firewall a default route through the tunnel would leak; \
                'Table = off' leaves routes and firewall to you";
    let result = if spawn::exists("nft") {
        spawn::run("nft", &["-f", "-"], Some(&nft_script(name, family, mark, addresses)))
    } else if spawn::exists(iptables(family, "-restore")) {
        let script = iptables_script(name, family, mark, addresses);
        spawn::run(iptables(family, "-restore"), &["-n"], Some(&script))
    } else {
        let message = "a default route through the tunnel needs a firewall, but neither nft nor iptables is there";
        Err(Failure::new(message).help("install nftables"))
    };
    result.map_err(|failure| failure.help(help))
}

/// Takes down what is up for this interface, in both families. Nothing being there is no error.
///
/// # Errors
/// When the program that is there fails.
pub(crate) fn take_down(name: &InterfaceName) -> Result<(), Failure> {
    let mut result = Ok(());
    if spawn::exists("nft") {
        let tables = spawn::output("nft", &["list", "tables"]).unwrap_or_default();
        let script = nft_removal(name, &tables);
        if !script.is_empty() {
            result = spawn::run("nft", &["-f", "-"], Some(&script));
        }
    }
    for family in Family::ALL {
        // Having nft does not mean that the rules were not made before it was installed.
        let saved = spawn::exists(iptables(family, "-save")).then(|| spawn::output(iptables(family, "-save"), &[]));
        if let Some(script) = iptables_removal(name, &saved.flatten().unwrap_or_default()) {
            let removed = spawn::run(iptables(family, "-restore"), &["-n"], Some(&script));
            result = result.and(removed);
        }
    }
    result
}

/// The mark in the firewall of this interface for a family, if it is up: all that is left to tell which rules a tunnel had whose
/// daemon is dead.
pub(crate) fn mark(name: &InterfaceName, family: Family) -> Option<u32> {
    let nft = spawn::output("nft", &["list", "table", nft_family(family), &table(name)]);
    nft.and_then(|text| mark_after(&text, &["meta mark ", "mark "])).or_else(|| {
        // Of all tables: asked for one by name, it would load the kernel's module for that.
        let text = spawn::output(iptables(family, "-save"), &[])?;
        let comment = format!("\"{}\"", comment(name));
        text.lines().filter(|line| line.contains(&comment)).find_map(|line| mark_after(line, &["--mark "]))
    })
}

/// As [`mark`], for each family that has one.
pub(crate) fn marks(name: &InterfaceName) -> Vec<(Family, u32)> {
    Family::ALL.into_iter().filter_map(|family| Some((family, mark(name, family)?))).collect()
}

/// The interfaces for which nft(8) has such a firewall.
pub(crate) fn names() -> Vec<InterfaceName> {
    let tables = spawn::output("nft", &["list", "tables"]).unwrap_or_default();
    let name = |line: &str| InterfaceName::new(line.split_whitespace().nth(2)?.strip_prefix("wg-quick-")?).ok();
    tables.lines().filter_map(name).collect()
}

/// The number after the first of these words that has one.
fn mark_after(text: &str, words: &[&str]) -> Option<u32> {
    words.iter().find_map(|word| {
        text.match_indices(word).find_map(|(at, _)| {
            let rest = text.get(at + word.len()..)?;
            let number: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            match number.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => number.parse().ok(),
            }
        })
    })
}

fn nft_script(name: &InterfaceName, family: Family, mark: u32, addresses: &[Address]) -> String {
    let (family_word, table) = (nft_family(family), table(name));
    let mut script = String::new();
    // Adding, deleting and adding again is nft's way of starting afresh whether there is a table or not.
    let _ = writeln!(script, "add table {family_word} {table}");
    let _ = writeln!(script, "delete table {family_word} {table}");
    let _ = writeln!(script, "add table {family_word} {table}");
    for (chain, hook, priority) in
        [("preraw", "prerouting", -300), ("premangle", "prerouting", -150), ("postmangle", "postrouting", -150)]
    {
        let _ = writeln!(
            script,
            "add chain {family_word} {table} {chain} {{ type filter hook {hook} priority {priority}; }}"
        );
    }
    for address in of_family(addresses, family) {
        let _ = writeln!(
            script,
            "add rule {family_word} {table} preraw iifname != \"{name}\" {family_word} daddr {} fib saddr type != local drop",
            address.ip()
        );
    }
    let _ = writeln!(
        script,
        "add rule {family_word} {table} postmangle meta l4proto udp meta mark {mark} ct mark set meta mark"
    );
    let _ = writeln!(script, "add rule {family_word} {table} premangle meta l4proto udp meta mark set ct mark");
    script
}

fn nft_removal(name: &InterfaceName, tables: &str) -> String {
    let table = table(name);
    // Lines such as "table ip wg-quick-wg0".
    let ours = tables.lines().filter(|line| line.split_whitespace().nth(2) == Some(&table));
    ours.map(|line| format!("delete {}\n", line.trim())).collect()
}

fn iptables_script(name: &InterfaceName, family: Family, mark: u32, addresses: &[Address]) -> String {
    let comment = format!("-m comment --comment \"{}\"", comment(name));
    let mut script = String::from("*raw\n");
    for address in of_family(addresses, family) {
        let _ = writeln!(
            script,
            "-I PREROUTING ! -i {name} -d {} -m addrtype ! --src-type LOCAL -j DROP {comment}",
            address.ip()
        );
    }
    let _ = writeln!(script, "COMMIT\n*mangle");
    let _ = writeln!(script, "-I POSTROUTING -m mark --mark {mark} -p udp -j CONNMARK --save-mark {comment}");
    let _ = writeln!(script, "-I PREROUTING -p udp -j CONNMARK --restore-mark {comment}\nCOMMIT");
    script
}

/// The script that deletes this interface's rules from what iptables-save printed; none when there are none.
fn iptables_removal(name: &InterfaceName, saved: &str) -> Option<String> {
    let comment = format!("\"{}\"", comment(name));
    let mut script = String::new();
    let mut found = false;
    for line in saved.lines() {
        if line.starts_with('*') || line == "COMMIT" {
            let _ = writeln!(script, "{line}");
        } else if let Some(rule) = line.strip_prefix("-A ").filter(|rule| rule.contains(&comment)) {
            found = true;
            let _ = writeln!(script, "-D {rule}");
        }
    }
    found.then_some(script)
}

fn of_family(addresses: &[Address], family: Family) -> impl Iterator<Item = &Address> {
    addresses.iter().filter(move |address| address.ip().is_ipv4() == (family == Family::V4))
}

fn table(name: &InterfaceName) -> String {
    format!("wg-quick-{name}")
}

fn comment(name: &InterfaceName) -> String {
    format!("wg-quick(8) rule for {name}")
}

const fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn iptables(family: Family, what: &str) -> &'static str {
    match (family, what) {
        (Family::V4, "-save") => "iptables-save",
        (Family::V4, _) => "iptables-restore",
        (Family::V6, "-save") => "ip6tables-save",
        (Family::V6, _) => "ip6tables-restore",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> InterfaceName {
        InterfaceName::new("wg0").unwrap()
    }

    fn addresses() -> Vec<Address> {
        ["10.0.0.2/24", "fd00::2/64", "192.0.2.7/32"].map(|text| text.parse().unwrap()).to_vec()
    }

    #[test]
    fn what_nft_is_told() {
        assert_eq!(
            nft_script(&name(), Family::V4, 51820, &addresses()),
            "\
add table ip wg-quick-wg0
delete table ip wg-quick-wg0
add table ip wg-quick-wg0
add chain ip wg-quick-wg0 preraw { type filter hook prerouting priority -300; }
add chain ip wg-quick-wg0 premangle { type filter hook prerouting priority -150; }
add chain ip wg-quick-wg0 postmangle { type filter hook postrouting priority -150; }
add rule ip wg-quick-wg0 preraw iifname != \"wg0\" ip daddr 10.0.0.2 fib saddr type != local drop
add rule ip wg-quick-wg0 preraw iifname != \"wg0\" ip daddr 192.0.2.7 fib saddr type != local drop
add rule ip wg-quick-wg0 postmangle meta l4proto udp meta mark 51820 ct mark set meta mark
add rule ip wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark
"
        );
        let v6 = nft_script(&name(), Family::V6, 7, &addresses());
        assert!(v6.contains("preraw iifname != \"wg0\" ip6 daddr fd00::2 fib saddr type != local drop"), "{v6}");
        assert!(!v6.contains("10.0.0.2"), "{v6}");
    }

    #[test]
    fn only_our_tables_are_removed() {
        let tables = "table ip wg-quick-wg0\ntable ip6 wg-quick-wg0\ntable ip wg-quick-wg01\ntable inet filter\n";
        assert_eq!(nft_removal(&name(), tables), "delete table ip wg-quick-wg0\ndelete table ip6 wg-quick-wg0\n");
        assert_eq!(nft_removal(&name(), "table inet filter\n"), "");
    }

    #[test]
    fn what_iptables_is_told_can_be_taken_back() {
        let script = iptables_script(&name(), Family::V4, 51820, &addresses());
        assert!(script.starts_with("*raw\n-I PREROUTING ! -i wg0 -d 10.0.0.2 -m addrtype ! --src-type LOCAL -j DROP"));
        assert_eq!(script.matches("COMMIT\n").count(), 2);
        let saved = "# Generated\n*mangle\n:PREROUTING ACCEPT [0:0]\n\
            -A PREROUTING -p udp -m comment --comment \"wg-quick(8) rule for wg0\" -j CONNMARK --restore-mark\n\
            -A PREROUTING -p udp -m comment --comment \"wg-quick(8) rule for wg01\" -j CONNMARK --restore-mark\n\
            -A INPUT -j ACCEPT\nCOMMIT\n";
        assert_eq!(
            iptables_removal(&name(), saved).unwrap(),
            "*mangle\n-D PREROUTING -p udp -m comment --comment \"wg-quick(8) rule for wg0\" -j CONNMARK --restore-mark\nCOMMIT\n"
        );
        assert_eq!(iptables_removal(&InterfaceName::new("wg").unwrap(), saved), None);
    }

    #[test]
    fn the_mark_can_be_read_back() {
        let listed = "table ip wg-quick-wg0 {\n\tchain postmangle {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n\
            \t\tmeta l4proto udp meta mark 0x0000ca6c ct mark set meta mark\n\t}\n}\n";
        assert_eq!(mark_after(listed, &["meta mark ", "mark "]), Some(51820));
        assert_eq!(mark_after("-A POSTROUTING -p udp -m mark --mark 0xca6c -j", &["--mark "]), Some(51820));
        assert_eq!(mark_after("meta mark set ct mark", &["meta mark ", "mark "]), None);
    }
}
