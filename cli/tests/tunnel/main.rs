//! Tunnels brought up and down in network namespaces, by this program and by wg-quick(8).

#![allow(missing_docs)]

mod death;
mod lab;
mod leak;
mod trouble;

use lab::{KERNTUN, Lab, installed, said, sh};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Keys made once with `wg genkey`; those of `b` listen on port 51999.
const A_PRIVATE: &str = "gOUR1S3JjRUSlj2Rk+ZLAAzrk5cCGTJq+EHcVXbL3Ug=";
const B_PRIVATE: &str = "6KpcRfDTA8fUV7QzMfZXGFpR0jTvTKjFDSPUBPxA/HU=";

fn public(private: &str) -> String {
    let script = format!("echo {private} | {KERNTUN} pubkey");
    sh(&script).good().out.trim().to_owned()
}

/// The configuration of `a` with more lines in each section.
fn a_config(interface: &str, peer: &str) -> String {
    let b = public(B_PRIVATE);
    format!(
        "[Interface]\nPrivateKey = {A_PRIVATE}\n{interface}\n[Peer]\nPublicKey = {b}\nEndpoint = 192.0.2.2:51999\n{peer}\n"
    )
}

fn b_config() -> String {
    let a = public(A_PRIVATE);
    format!(
        "[Interface]\nPrivateKey = {B_PRIVATE}\nAddress = 10.9.0.2/24, fd09::2/64\nListenPort = 51999\n\
         [Peer]\nPublicKey = {a}\nAllowedIPs = 10.9.0.1/32, fd09::1/128\n"
    )
}

const ADDRESS: &str = "Address = 10.9.0.1/24, fd09::1/64";
const EVERYTHING: &str = "AllowedIPs = 0.0.0.0/0, ::/0";

#[test]
fn up_and_down_leave_nothing_behind() {
    let Some(lab) = Lab::new("up_and_down_leave_nothing_behind") else { return };
    let before = (lab.state("a"), lab.state("b"));
    let hooks = "PreUp = echo pre-up %i >> hooks\nPostUp = echo post-up %i >> hooks\n\
                 PreDown = echo pre-down %i >> hooks\nPostDown = echo post-down %i >> hooks\nMTU = 1300";
    let hooks = hooks.replace(" hooks", &format!(" {}/hooks", lab.directory.display()));
    let a =
        lab.write("a", &a_config(&format!("{ADDRESS}\n{hooks}"), "AllowedIPs = 10.9.0.0/24, fd09::/64, 10.77.0.0/16"));
    let b = lab.write("b", &b_config());
    lab.kerntun("b", &["up", &b]).good();
    let said = lab.kerntun("a", &["up", &a]).good();
    assert_eq!(said.out, "", "results go to standard output, of which there are none");
    assert!(lab.reaches("a", "10.9.0.2") && lab.reaches("a", "fd09::2"), "{}", said.err);
    let links = lab.sh("a", &format!("ip link show {}; ip route show dev {}", lab.tunnel("a"), lab.tunnel("a"))).out;
    assert!(links.contains("mtu 1300"), "{links}");
    // The network of the address is there already; only what it does not cover is added.
    assert_eq!(links.matches("10.9.0").count(), 2, "{links}");
    assert!(links.contains("10.77.0.0/16 scope link"), "{links}");
    lab.kerntun("a", &["up", &a]).bad(1, "exists already");
    assert!(lab.reaches("a", "10.9.0.2"), "a refused 'up' must not disturb the tunnel");

    lab.kerntun("a", &["down", &a]).good();
    lab.kerntun("b", &["down", &b]).good();
    assert_eq!(before.0, lab.state("a"));
    assert_eq!(before.1, lab.state("b"));
    until_the_socket_is_gone(&lab);
    let name = lab.tunnel("a");
    let hooks = fs::read_to_string(lab.directory.join("hooks")).unwrap();
    assert_eq!(hooks, format!("pre-up {name}\npost-up {name}\npre-down {name}\npost-down {name}\n"));
    lab.kerntun("a", &["down", &a]).bad(1, "is not up");
    // The name is free again at once; and a file that was broken since keeps nobody in a tunnel.
    lab.kerntun("a", &["up", &a]).good();
    let broken = format!("{}[Peer]\nPublicKey = nonsense\n", fs::read_to_string(&a).unwrap());
    lab.write("a", &broken);
    lab.kerntun("a", &["down", &a]).bad(1, "was left out");
    assert_eq!(before.0, lab.state("a"));
}

#[test]
fn a_failure_at_any_step_leaves_nothing_behind() {
    let Some(lab) = Lab::with_firewall("a_failure_at_any_step_leaves_nothing_behind") else { return };
    let _taken = lab.bind("a", 51888);
    let inside = "AllowedIPs = 10.77.0.0/16";
    let plain = a_config(ADDRESS, inside);
    let with = |line: &str| a_config(&format!("{ADDRESS}\n{line}"), EVERYTHING);
    let nowhere = plain.replace("192.0.2.2:51999", "no-such-host.invalid:1");
    let conflict = "ip route add 10.77.0.0/16 via 192.0.2.2";
    for (config, setup, cleanup, words) in [
        (with("PreUp = exit 3"), "", "", "PreUp: 'exit 3' failed with exit code 3"),
        (with("Table = nosuchtable"), "", "", "no routing table called 'nosuchtable'"),
        (nowhere, "", "", "'no-such-host.invalid' cannot be resolved"),
        (with("ListenPort = 51888"), "", "", "port 51888 is in use"),
        (with("Address = 10.9.0.1/24"), "", "", "the address 10.9.0.1 stands already in line"),
        (with("Address = ff02::1234/64"), "", "", "does not get the address ff02::1234/64"),
        (with("DNS = 10.9.0.9"), "resolvconf", "", "'resolvconf -a"),
        (plain, conflict, "ip route del 10.77.0.0/16", "the route to 10.77.0.0/16 cannot be added"),
        (with(""), "nft", "", "'nft -f -' failed"),
        (with("PostUp = true\nPostUp = false"), "", "", "PostUp: 'false' failed"),
        (with("PostUp = ip link delete %i && false"), "", "", "PostUp: "),
    ] {
        let program = match setup {
            "resolvconf" | "nft" => Some(lab.fake(setup, "cat > /dev/null; test $1 = -d")),
            _ => {
                lab.sh("a", setup).good();
                None
            }
        };
        let before = lab.state("a");
        let path = lab.write("a", &config);
        let said = said(lab.with_fakes(&["up", &path]).output().unwrap());
        let said = said.bad(1, words);
        assert!(!said.err.contains("left behind"), "{}", said.err);
        program.iter().for_each(|file| fs::remove_file(file).unwrap());
        assert_eq!(before, lab.state("a"), "{words}:\n{}", said.err);
        until_the_socket_is_gone(&lab);
        lab.sh("a", cleanup).good();
    }
}

#[test]
fn an_interrupt_undoes() {
    let Some(lab) = Lab::with_firewall("an_interrupt_undoes") else { return };
    let before = lab.state("a");
    let mark = lab.directory.join("reached");
    // A terminal sends its signal to all in the foreground, so the hook ends too; others send theirs to us alone, and
    // the hook goes well.
    for (hook, target, signal) in [("sleep 60", "-", "INT"), ("sleep 1", "", "TERM")] {
        let hook = format!("PostUp = touch {}; {hook}", mark.display());
        let path = lab.write("a", &a_config(&format!("{ADDRESS}\n{hook}"), "AllowedIPs = 0.0.0.0/0"));
        let mut command = lab.command("a", KERNTUN);
        let child = command.args(["up", &path]).process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        until("the hook runs", || mark.exists());
        sh(&format!("kill -{signal} {target}{}", child.id())).good();
        let said = said(child.wait_with_output().unwrap()).bad(1, "error: ");
        assert!(said.err.contains("[-] remove the interface"), "{}", said.err);
        assert_eq!(before, lab.state("a"));
        fs::remove_file(&mark).unwrap();
    }
}

#[test]
fn a_default_route_carries_everything_but_the_tunnel_itself() {
    let Some(lab) = Lab::with("a_default_route_carries_everything_but_the_tunnel_itself", &["nft"]) else { return };
    let before = lab.state("a");
    // Addresses "of the internet" on b, to which anything but WireGuard is dropped on the cable; a strict reverse path.
    lab.sh(
        "b",
        "ip address add 203.0.113.1/32 dev lo; ip -6 address add 2001:db8:1::1/128 dev lo nodad; \
        nft 'add table inet t; add chain inet t in { type filter hook prerouting priority 0; }; \
        add rule inet t in iifname cable meta l4proto { icmp, tcp } drop; \
        add rule inet t in iifname cable icmpv6 type echo-request drop'",
    )
    .good();
    lab.sh("a", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 1 > /proc/sys/net/ipv4/conf/cable/rp_filter")
        .good();
    assert!(!lab.reaches("a", "203.0.113.1"), "without the tunnel nothing gets through");
    let a = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    let b = lab.write("b", &b_config());
    lab.kerntun("b", &["up", &b]).good();
    lab.kerntun("a", &["up", &a]).good();
    assert!(lab.reaches("a", "203.0.113.1"), "{}", lab.state("a"));
    assert!(lab.reaches("a", "2001:db8:1::1"), "{}", lab.state("a"));
    let rules = lab.sh("a", "ip rule; ip -6 rule").out;
    assert_eq!(rules.matches("not from all fwmark 0xca6c lookup 51820").count(), 2, "{rules}");
    assert_eq!(rules.matches("from all lookup main suppress_prefixlength 0").count(), 2, "{rules}");
    // What has its own route in the main table stays out of the tunnel.
    let route =
        lab.sh("a", "ip route get 192.0.2.2; ip route get 203.0.113.1; ip route get 203.0.113.1 mark 51820").out;
    let interfaces: Vec<&str> = route.split(" dev ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(interfaces, ["cable", &lab.tunnel("a"), "cable"], "{route}");
    // The firewall: probes for the tunnel's address from the cable are not answered.
    lab.sh("b", "ip route add 10.9.0.1/32 via 192.0.2.1 table 7; ip rule add pref 5 to 10.9.0.1 ipproto udp lookup 7")
        .good();
    lab.kerntun("a", &["down", &a]).good();
    let after = lab.state("a");
    // The switch stays on, as with wg-quick: others may rely on it by now.
    assert_eq!(before.trim_end().strip_suffix('0'), after.trim_end().strip_suffix('1'), "{after}");
}

#[test]
fn down_cleans_up_after_a_killed_daemon() {
    let Some(lab) = Lab::for_everything("down_cleans_up_after_a_killed_daemon") else { return };
    // Another tunnel with a default route, whose rules are none of our business.
    lab.sh("a", "ip rule add not fwmark 99 table 99; ip rule add table main suppress_prefixlength 0").good();
    let before = lab.state("a");
    let gone = lab.directory.join("gone");
    let hook = format!("PostDown = touch {}", gone.display());
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\n{hook}"), EVERYTHING));
    lab.kerntun("a", &["up", &path]).good();
    // And one that came up later.
    let (add, remove) = ("ip rule add not fwmark 98 table 98", "ip rule del not fwmark 98 table 98");
    lab.sh("a", &format!("{add}; ip rule add pref 9 table main suppress_prefixlength 0")).good();
    kill_the_daemon_and_its_interface(&lab);
    assert_ne!(before, lab.state("a"), "rules and firewall outlive the daemon");
    lab.kerntun("a", &["down", &path]).good();
    lab.sh("a", &format!("{remove} && ip rule del pref 9 table main suppress_prefixlength 0")).good();
    assert_eq!(before, lab.state("a"));
    assert!(gone.exists());
    until_the_socket_is_gone(&lab);
    lab.kerntun("a", &["down", &path]).bad(1, "is not up");
}

#[test]
fn each_takes_down_what_wg_quick_or_we_put_up() {
    let Some(lab) = Lab::with("each_takes_down_what_wg_quick_or_we_put_up", &["wg-quick"]) else { return };
    lab.allow_marks();
    let before = lab.state("a");
    let path =
        lab.write("a", &a_config(ADDRESS, "AllowedIPs = 0.0.0.0/0, ::/0, 10.9.0.0/16, 10.77.1.0/24, 10.77.0.0/16"));
    let wg_quick = |what: &str| {
        let mut command = lab.command("a", "wg-quick");
        said(command.args([what, &path]).env("WG_QUICK_USERSPACE_IMPLEMENTATION", KERNTUN).output().unwrap())
    };
    // What may differ: the kernel's own link-local address, which our tunnels have not, and the order of tables.
    let state = || {
        let rules = lab.sh("a", "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all").good().out;
        let mut lines: Vec<String> = rules.lines().map(str::to_owned).collect();
        lines.extend(
            lab.sh("a", &format!("ip -d address show {}", lab.tunnel("a"))).out.lines().skip(1).map(str::to_owned),
        );
        for family in ["ip", "ip6"] {
            let table = format!("nft list table {family} wg-quick-{}", lab.tunnel("a"));
            lines.extend(lab.sh("a", &table).good().out.lines().map(str::to_owned));
        }
        let noise =
            |line: &String| line.contains("fe80:") || line.contains("lft forever") || line.contains("addrgenmode");
        lines.retain(|line| !noise(line));
        lines
    };
    wg_quick("up").good();
    let theirs = state();
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(before, lab.state("a"), "wg-quick up, kerntun down");

    lab.kerntun("a", &["up", &path]).good();
    assert_eq!(theirs, state());
    wg_quick("down").good();
    until("the daemon has ended", || before == lab.state("a"));
}

#[test]
fn the_running_state_is_saved() {
    let Some(lab) = Lab::with("the_running_state_is_saved", &["wg"]) else { return };
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nSaveConfig = true"), "AllowedIPs = 10.9.0.0/24"));
    lab.kerntun("a", &["up", &path]).good();
    let name = lab.tunnel("a");
    let stranger = public("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=");
    let script = format!(
        "wg set {name} listen-port 51777 peer {stranger} allowed-ips 10.66.0.0/16 persistent-keepalive 21; \
         ip address add 10.55.0.1/24 dev {name}"
    );
    lab.sh("a", &script).good();
    lab.kerntun("a", &["down", &path]).good();
    let text = fs::read_to_string(&path).unwrap();
    let lines = ["ListenPort = 51777", "AllowedIPs = 10.66.0.0/16", "PersistentKeepalive = 21", "SaveConfig = true"];
    for line in
        lines.into_iter().chain([format!("PublicKey = {stranger}").as_str(), &format!("PrivateKey = {A_PRIVATE}")])
    {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("10.55.0.1/24") && !text.contains("fe80:"), "{text}");
    lab.kerntun("a", &["check", &path]).good();
}

#[test]
fn no_permission_no_file_no_driver() {
    sh(&format!("{KERNTUN} up /nonexistent/wg0.conf"))
        .bad(1, if nix::unistd::geteuid().is_root() { "does not exist" } else { "no permission" });
    sh(&format!("{KERNTUN} check /nonexistent/wg0.conf")).bad(1, "does not exist");
    sh(&format!("{KERNTUN} check ./a-name-that-is-too-long.conf")).bad(2, "has at most 15");
    sh(&format!("{KERNTUN} a-name-that-is-too-long")).bad(2, "has at most 15");
    let Some(lab) = Lab::new("no_permission_no_file_no_driver") else { return };
    let path = lab.write("a", &a_config(ADDRESS, "AllowedIPs = 10.9.0.0/24"));
    // The program itself may lie where nobody else can reach it.
    let copy = std::env::temp_dir().join(lab.tunnel("copy"));
    // Copied by another process: what another test starts just now would inherit a descriptor that writes to it.
    sh(&format!("cp {KERNTUN} {}", copy.display())).good();
    let nobody = said(Command::new(&copy).args(["up", &path]).uid(65534).gid(65534).output().unwrap());
    fs::remove_file(copy).unwrap();
    nobody.bad(1, "sudo kerntun up");
    let before = lab.state("a");
    let script = format!("mount -t tmpfs none /dev/net && exec {KERNTUN} up {path}");
    let said = said(lab.command("a", "unshare").args(["-m", "sh", "-c", &script]).output().unwrap());
    said.bad(1, "TUN driver");
    assert_eq!(before, lab.state("a"));
    // Somebody else's interface is not touched.
    let name = lab.tunnel("a");
    lab.sh("a", &format!("ip link add {name} type veth peer name stranger")).good();
    lab.kerntun("a", &["up", &path]).bad(1, "exists already");
    lab.kerntun("a", &["down", &path]).bad(1, "not one of WireGuard");
    // A mark in the file is no sign of a tunnel.
    let marked = lab.write("b", &a_config("FwMark = 77", "AllowedIPs = 0.0.0.0/0"));
    lab.kerntun("b", &["down", &marked]).bad(1, "is not up");
    assert!(lab.sh("a", "ip link").out.contains(&name));
}

#[test]
fn in_the_foreground_until_told_to_end() {
    let Some(lab) = Lab::new("in_the_foreground_until_told_to_end") else { return };
    let name = lab.tunnel("a");
    for arguments in [vec!["run", &name], vec!["-f", &name], vec!["--foreground", &name]] {
        let mut command = lab.command("a", KERNTUN);
        let child = command.args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the socket is there", || fs::exists(format!("/var/run/wireguard/{name}.sock")).unwrap());
        sh(&format!("kill -TERM {}", child.id())).good();
        said(child.wait_with_output().unwrap()).good();
        assert!(!lab.sh("a", "ip link").out.contains(&name), "{arguments:?}");
    }
}

#[test]
fn keys_as_wg_makes_them() {
    for command in ["genkey", "genpsk"] {
        let one = sh(&format!("{KERNTUN} {command}")).good().out;
        let other = sh(&format!("{KERNTUN} {command}")).good().out;
        assert!(one.len() == 45 && one.ends_with("=\n") && one != other, "{one}");
    }
    sh(&format!("echo no key at all | {KERNTUN} pubkey")).bad(1, "on standard input");
    let file = std::env::temp_dir().join(format!("ktc-key-{}", std::process::id()));
    let open = sh(&format!("umask 022; {KERNTUN} genkey > {}", file.display())).good();
    assert!(open.err.contains("every user of this machine"), "{}", open.err);
    fs::remove_file(&file).unwrap();
    assert_eq!(sh(&format!("umask 077; {KERNTUN} genkey > {}", file.display())).good().err, "");
    if installed("keys_as_wg_makes_them", "wg") {
        let private = fs::read_to_string(&file).unwrap();
        assert_eq!(public(private.trim()), sh(&format!("wg pubkey < {}", file.display())).good().out.trim());
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn checking_shows_everything_and_changes_nothing() {
    let directory = std::env::temp_dir().join(format!("ktc-check-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let path = directory.join("wg0.conf");
    let own = public(A_PRIVATE);
    let text = format!(
        "[Interface]\nPrivateKey = {A_PRIVATE}\nAddress = 10.0.0.1/24\n[Peer]\nPublicKey = {own}\nAllowedIPs = 10.0.0.2/32\n"
    );
    fs::write(&path, &text).unwrap();
    sh(&format!("chmod 755 {}; chmod 644 {}", directory.display(), path.display())).good();
    let said = sh(&format!("{KERNTUN} check {}", path.display())).good();
    assert!(said.out.contains("with 2 warnings"), "{}{}", said.out, said.err);
    for words in ["every user of this machine", "public key of this interface itself", "wg0.conf:5:13"] {
        assert!(said.err.contains(words), "{words} is missing in\n{}", said.err);
    }
    assert!(!said.err.contains(A_PRIVATE), "the key is shown");
    fs::write(&path, "[Interface]\nAdress = 10.0.0.1\nMTU = x\n").unwrap();
    let said = sh(&format!("{KERNTUN} check {}", path.display())).bad(1, "2 errors");
    assert!(said.err.contains("wg0.conf:2:1") && said.err.contains("wg0.conf:3:7"), "{}", said.err);
    fs::remove_dir_all(&directory).unwrap();
}

fn kill_the_daemon_and_its_interface(lab: &Lab) {
    lab.kill_daemon("a");
    until_the_interface_is_gone(lab);
}

fn until_the_interface_is_gone(lab: &Lab) {
    until("the interface is gone", || !lab.sh("a", "ip link").out.contains(&lab.tunnel("a")));
}

/// Its keeper removes it a moment after the daemon's end, for which commands wait.
fn until_the_socket_is_gone(lab: &Lab) {
    let socket = format!("/var/run/wireguard/{}.sock", lab.tunnel("a"));
    until("the socket is gone", || !fs::exists(&socket).unwrap());
}

/// Waits for something that happens soon. The time limit is generous, as it only ends tests that have failed.
#[track_caller]
fn until(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn name_servers_through_resolvconf() {
    let Some(lab) = Lab::new("name_servers_through_resolvconf") else { return };
    let log = lab.directory.join("log");
    lab.fake("resolvconf", &format!("echo \"$@\" >> {0}; test $1 = -d || cat >> {0}", log.display()));
    let path =
        lab.write("a", &a_config(&format!("{ADDRESS}\nDNS = 10.9.0.9, lan, fd09::9"), "AllowedIPs = 10.9.0.0/24"));
    for what in ["up", "down"] {
        said(lab.with_fakes(&[what, &path]).output().unwrap()).good();
    }
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let [add, first, second, search, delete] = lines.as_slice() else { panic!("{log}") };
    // Debian's resolvconf may want a prefix before the name.
    assert!(add.starts_with("-a ") && add.ends_with(&format!("{} -m 0 -x", lab.tunnel("a"))), "{log}");
    assert_eq!((*first, *second, *search), ("nameserver 10.9.0.9", "nameserver fd09::9", "search lan"));
    assert!(delete.starts_with("-d ") && delete.ends_with(" -f"), "{log}");
}

#[test]
fn the_firewall_without_nft() {
    let programs = ["iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"];
    let Some(lab) = Lab::with("the_firewall_without_nft", &programs) else { return };
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    let run = |what: &str| lab.without(&["nft"], &[what, &path]);
    let rules = || lab.sh("a", "iptables-save; ip6tables-save").good().out.matches("wg-quick(8) rule for").count();
    run("up").good();
    assert_eq!(rules(), 6);
    run("down").good();
    assert_eq!(rules(), 0);
    // Also when nft has been installed since, and the daemon was killed.
    run("up").good();
    kill_the_daemon_and_its_interface(&lab);
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(rules(), 0);
    let policy = lab.sh("a", "ip rule; ip -6 rule").out;
    assert!(!policy.contains("fwmark") && !policy.contains("suppress"), "{policy}");
}

#[test]
fn where_ipv6_is_switched_off() {
    let Some(lab) = Lab::new("where_ipv6_is_switched_off") else { return };
    lab.sh(
        "a",
        "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6",
    )
    .good();
    let before = lab.state("a");
    let both = lab.write("a", &a_config(ADDRESS, "AllowedIPs = 10.9.0.0/24"));
    lab.kerntun("a", &["up", &both]).bad(1, "IPv6 is switched off");
    assert_eq!(before, lab.state("a"));
    let path = lab.write("a", &a_config("Address = 10.9.0.1/24", "AllowedIPs = 10.9.0.0/24"));
    lab.kerntun("b", &["up", &lab.write("b", &b_config())]).good();
    lab.kerntun("a", &["up", &path]).good();
    assert!(lab.reaches("a", "10.9.0.2"));
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(before, lab.state("a"));
}
