//! What `diagnose` says when something of what leads everything into a tunnel is gone, and when nothing is.

use super::lab::{KERNTUN, Lab, said, sh};
use super::{ADDRESS, EVERYTHING, a_config, b_config, until_the_socket_is_gone};
use std::os::unix::fs::symlink;

const RULE: &str = "not fwmark 51820 table 51820";
const EXCEPTION: &str = "table main suppress_prefixlength 0";

/// The lines on what is gone.
fn gone(out: &str) -> Vec<&str> {
    out.lines().map(str::trim_start).filter(|line| line.contains("gone: ")).collect()
}

#[test]
fn diagnose_sees_that_policy_rules_were_removed() {
    let Some(lab) = Lab::with("diagnose_sees_that_policy_rules_were_removed", &["nft"]) else { return };
    let name = lab.tunnel("a");
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    lab.kerntun("b", &["up", &lab.write("b", &b_config())]).good();
    // What `up` made, what somebody removes of it, and what is then said to be gone. The firewall alone tells of no harm; without it,
    // and without a file where one is looked for, nothing is certain.
    let route = format!("default dev {name} table 51820");
    for (remove, expected) in [
        ("nft flush ruleset".to_owned(), vec![]),
        (format!("ip -4 rule del {RULE}"), vec![("problem", "IPv4", RULE)]),
        (format!("ip -6 rule del {RULE}; nft flush ruleset"), vec![("note", "IPv6", RULE)]),
        (format!("ip -6 rule del {EXCEPTION}"), vec![("note", "IPv6", EXCEPTION)]),
        (format!("ip -6 rule del {EXCEPTION}; nft flush ruleset"), vec![]),
        (format!("ip -4 route del {route}"), vec![("problem", "IPv4", "table 51820")]),
        (
            // All that is foreign to some other manager of the network.
            format!("for family in -4 -6; do ip $family rule del {RULE}; ip $family rule del {EXCEPTION}; done"),
            vec![("problem", "IPv4", EXCEPTION), ("problem", "IPv6", RULE)],
        ),
        // Another order that somebody made himself, with which all goes into the tunnel, too.
        (format!("ip -4 rule add pref 99 not fwmark 51820 uidrange 0-9 table 51820; ip -4 rule del {RULE}"), vec![]),
    ] {
        lab.kerntun("a", &["up", &path]).good();
        lab.sh("a", "ping -c 1 -W 10 10.9.0.2").good();
        lab.kerntun("a", &["diagnose", &name]).good();
        lab.sh("a", &remove).good();
        let said = lab.kerntun("a", &["diagnose", &name]);
        let is_sick = expected.iter().any(|(severity, ..)| *severity == "problem");
        assert_eq!(said.code, Some(i32::from(is_sick)), "{remove}\n{}", said.out);
        assert_eq!(said.out.contains("nothing wrong"), !is_sick, "{}", said.out);
        let lines = gone(&said.out);
        assert_eq!(lines.len(), expected.len(), "{remove}\n{}", said.out);
        for (severity, family, what) in expected {
            let fits = |line: &&str| line.starts_with(severity) && line.contains(family) && line.contains(what);
            assert!(lines.iter().any(fits), "{remove}\n{}", said.out);
        }
        // What diagnose advises.
        lab.kerntun("a", &["down", &path]).good();
        // An exception without its rule could be another tunnel's, and stays.
        lab.sh("a", &format!("ip rule del pref 99; ip rule del {EXCEPTION}; ip -6 rule del {EXCEPTION}"));
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn a_table_of_ones_own() {
    let Some(lab) = Lab::with("a_table_of_ones_own", &["nft"]) else { return };
    let name = lab.tunnel("a");
    for (lines, remove, elsewhere, here) in [
        // Somebody leads packets there himself, perhaps only sometimes.
        ("Table = 51820\nFwMark = 51820", "true", "note", vec![]),
        ("", &*format!("ip rule del {RULE}; nft flush ruleset"), "note", vec!["problem"]),
    ] {
        let path = lab.write("a", &a_config(&format!("Address = 10.9.0.1/24\n{lines}"), "AllowedIPs = 0.0.0.0/0"));
        lab.kerntun("a", &["up", &path]).good();
        lab.sh("a", remove).good();
        let out = lab.kerntun("a", &["diagnose", &name]).out;
        let [line] = gone(&out)[..] else { panic!("{lines}\n{out}") };
        assert!(line.starts_with(elsewhere), "{lines}\n{out}");
        // With the file where it is looked for, which nothing else sees.
        let put = format!("mount -t tmpfs none /etc/wireguard && cp {path} /etc/wireguard");
        let script = format!("mkdir -p /etc/wireguard && {put} && exec {KERNTUN} diagnose {name}");
        let said = said(lab.command("a", "unshare").args(["-m", "sh", "-c", &script]).output().unwrap());
        let severities: Vec<_> = gone(&said.out).into_iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(severities, here, "{lines}\n{}{}", said.out, said.err);
        lab.kerntun("a", &["down", &path]).good();
        lab.sh("a", &format!("ip rule del {EXCEPTION}"));
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn routes_that_the_kernel_removes() {
    let Some(lab) = Lab::with("routes_that_the_kernel_removes", &["nft"]) else { return };
    let name = lab.tunnel("a");
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    let diagnose = || lab.kerntun("a", &["diagnose", &name]);
    lab.kerntun("a", &["up", &path]).good();
    lab.sh("a", &format!("ip link set {name} down")).good();
    let off = diagnose();
    assert_eq!(gone(&off.out).len(), 2, "{}", off.out);
    assert!(off.out.contains("switched the interface off") && !off.out.contains("networkd"), "{}", off.out);
    assert!(off.out.contains("'ip link set up' does not bring its routes back"), "{}", off.out);
    // Nor does it.
    lab.sh("a", &format!("ip link set {name} up")).good();
    assert!(!gone(&diagnose().out).is_empty(), "{}", diagnose().out);
    lab.kerntun("a", &["down", &path]).good();
    lab.kerntun("a", &["up", &path]).good();
    assert_eq!(gone(&diagnose().out), [""; 0]);
    let switch_off = |name: &str| lab.sh("a", &format!("echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6")).good();
    switch_off(&name);
    let here = diagnose().bad(1, "").out;
    let [line] = gone(&here)[..] else { panic!("{here}") };
    assert!(line.starts_with("problem") && line.contains("for IPv6 the route"), "{here}");
    assert!(here.contains("switched IPv6 off") && !here.contains("networkd"), "{here}");
    switch_off("all");
    assert_eq!(gone(&diagnose().out), [""; 0], "there is no IPv6 that could leak");
    lab.kerntun("a", &["down", &path]).good();
}

#[test]
fn looking_changes_nothing() {
    let programs = ["nft", "iptables-legacy-save", "ip6tables-legacy-save"];
    let Some(lab) = Lab::with("looking_changes_nothing", &programs) else { return };
    for legacy in &programs[1..] {
        let file = sh(&format!("command -v {legacy}")).good().out;
        symlink(file.trim(), lab.directory.join(legacy.replace("-legacy", ""))).unwrap();
    }
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    lab.kerntun("a", &["up", &path]).good();
    lab.sh("a", "nft flush ruleset").good();
    // Tables that this namespace has because somebody asked for one.
    let tables = || lab.sh("a", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names").out;
    let before = tables();
    let said = said(lab.with_fakes(&["diagnose", &lab.tunnel("a")]).output().unwrap());
    assert!(said.out.starts_with("interface: "), "{}{}", said.out, said.err);
    assert_eq!(before, tables());
}
