//! Tunnels whose daemon died, or is served elsewhere: what `up`, `down`, `diagnose` and `show` make of them.

use super::lab::{KERNTUN, Lab, said, sh};
use super::{
    ADDRESS, EVERYTHING, a_config, kill_the_daemon_and_its_interface, until, until_the_interface_is_gone,
    until_the_socket_is_gone,
};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

const INSIDE: &str = "AllowedIPs = 10.9.0.0/24";

/// Hooks that each leave a line in a file, and the file.
fn hooks(lab: &Lab) -> (String, std::path::PathBuf) {
    let log = lab.directory.join("hooks");
    let keys = ["PreUp", "PostUp", "PreDown", "PostDown"];
    let lines = keys.map(|key| format!("{key} = echo {key} >> {}", log.display()));
    (format!("{ADDRESS}\n{}", lines.join("\n")), log)
}

fn records(lab: &Lab) -> usize {
    let entries = fs::read_dir("/run/kerntun").into_iter().flatten().flatten();
    let prefix = format!("{}@", lab.tunnel("a"));
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

/// The keeper and the server of the only daemon of `a`.
fn processes(lab: &Lab) -> (String, String) {
    let pids = sh(&format!("ip netns pids {}", lab.namespace("a"))).good().out;
    let [one, other] = pids.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("one daemon is expected: {pids}")
    };
    let parent = |pid: &str| sh(&format!("ps -o ppid= -p {pid}")).good().out.trim().to_owned();
    if parent(other) == one { (one.into(), other.into()) } else { (other.into(), one.into()) }
}

#[test]
fn down_cleans_up_whoever_died() {
    let Some(lab) = Lab::for_everything("down_cleans_up_whoever_died") else { return };
    let before = lab.state("a");
    let name = lab.tunnel("a");
    let (lines, log) = hooks(&lab);
    for allowed in [INSIDE, EVERYTHING] {
        for (keeper, server) in [(true, false), (false, true), (true, true)] {
            // What wg(8) does to dead sockets when it looks for interfaces.
            for unlink in [false, true] {
                let case = format!("{allowed}, keeper {keeper}, server {server}, unlinked {unlink}");
                let path = lab.write("a", &a_config(&lines, allowed));
                lab.kerntun("a", &["up", &path]).good();
                let (one, other) = processes(&lab);
                let victims =
                    [(keeper, one), (server, other)].map(|(dies, pid)| if dies { pid } else { String::new() });
                sh(&format!("kill -KILL {}", victims.join(" "))).good();
                until_the_interface_is_gone(&lab);
                if unlink {
                    let _ = fs::remove_file(format!("/var/run/wireguard/{name}.sock"));
                }
                lab.kerntun("a", &["down", &path]).good();
                assert_eq!(fs::read_to_string(&log).unwrap(), "PreUp\nPostUp\nPreDown\nPostDown\n", "{case}");
                fs::remove_file(&log).unwrap();
                assert_eq!(before, lab.state("a"), "{case}");
                assert_eq!(records(&lab), 0, "{case}");
                until_the_socket_is_gone(&lab);
                lab.kerntun("a", &["down", &path]).bad(1, "is not up");
            }
        }
    }
}

#[test]
fn the_wrong_namespace_changes_nothing() {
    let Some(lab) = Lab::new("the_wrong_namespace_changes_nothing") else { return };
    let (before, name) = (lab.state("b"), lab.tunnel("a"));
    let (lines, log) = hooks(&lab);
    let path = lab.write("a", &a_config(&lines, INSIDE));
    lab.kerntun("a", &["up", &path]).good();
    let socket = format!("/var/run/wireguard/{name}.sock");
    let untouched = |side: &str, words: &str| {
        for what in ["down", "up"] {
            lab.kerntun(side, &[what, &path]).bad(1, words);
        }
        assert_eq!(fs::read_to_string(&log).unwrap(), "PreUp\nPostUp\n");
        assert!(fs::exists(&socket).unwrap());
        assert_eq!(records(&lab), 1);
    };
    untouched("b", "is served in another network namespace;");
    assert_eq!(before, lab.state("b"));
    lab.kerntun("a", &["show", &name]).good();
    // The interface moves, and its daemon stays.
    lab.sh("a", &format!("ip link set {name} netns {}", lab.namespace("b"))).good();
    untouched("a", "its interface was renamed, or moved");
    lab.kerntun("b", &["down", &path]).good();
    until_the_socket_is_gone(&lab);
    assert_eq!(before, lab.state("b"));
    // Where it came up it can still be taken down.
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(records(&lab), 0);
    fs::remove_file(&log).unwrap();
    // Its interface gets another name.
    lab.kerntun("a", &["up", &path]).good();
    let rename = |from: &str, to: &str| {
        lab.sh("a", &format!("ip link set {from} down && ip link set {from} name {to}")).good();
    };
    let other = format!("{name}x");
    rename(&name, &other);
    untouched("a", "its interface was renamed, or moved");
    rename(&other, &name);
    lab.kerntun("a", &["down", &path]).good();
    until_the_socket_is_gone(&lab);
    // A server that cannot be asked may be anywhere.
    let odd = UnixDatagram::bind(&socket).unwrap();
    lab.kerntun("a", &["down", &path]).bad(1, "or its socket cannot be asked");
    drop(odd);
    fs::remove_file(&socket).unwrap();
}

#[test]
fn a_dead_tunnel_whose_name_lives_elsewhere() {
    let Some(lab) = Lab::new("a_dead_tunnel_whose_name_lives_elsewhere") else { return };
    let (before, name) = (lab.state("a"), lab.tunnel("a"));
    let (lines, log) = hooks(&lab);
    let path = lab.write("a", &a_config(&lines, INSIDE));
    lab.kerntun("a", &["up", &path]).good();
    kill_the_daemon_and_its_interface(&lab);
    lab.kerntun("b", &["up", &path]).good();
    fs::remove_file(&log).unwrap();
    // By its name, the one that lives would be asked.
    let words = format!("the daemon of {name} is dead");
    assert!(lab.kerntun("a", &["diagnose"]).out.contains(&words) && lab.kerntun("a", &["show"]).err.contains(&words));
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(fs::read_to_string(&log).unwrap(), "PreDown\nPostDown\n");
    assert_eq!(before, lab.state("a"));
    // The other one is whole, and now there is none here that it could be taken for.
    assert_eq!(records(&lab), 1);
    lab.kerntun("a", &["down", &path]).bad(1, "is served in another network namespace");
    lab.kerntun("b", &["show", &name]).good();
    lab.kerntun("b", &["down", &path]).good();
    until_the_socket_is_gone(&lab);
}

#[test]
fn one_that_waits_to_come_up_is_not_dead() {
    let Some(lab) = Lab::new("one_that_waits_to_come_up_is_not_dead") else { return };
    let name = lab.tunnel("a");
    let [begun, go, undone] = ["begun", "go", "undone"].map(|file| lab.directory.join(file));
    let hooks = format!(
        "PreUp = touch {0}; while test -e {0} -a ! -e {1}; do sleep 0.05; done\nPostDown = touch {2}",
        begun.display(),
        go.display(),
        undone.display()
    );
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\n{hooks}"), INSIDE));
    let mut up = lab.command("a", KERNTUN);
    let waiting = up.args(["up", &path]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("PreUp runs", || begun.exists());
    lab.kerntun("a", &["diagnose", &name]).bad(1, "no user-space WireGuard serves");
    assert!(!lab.kerntun("a", &["show"]).err.contains(&name));
    lab.kerntun("a", &["down", &path]).bad(1, "is not up");
    assert!(!undone.exists());
    // Another 'up' is faster, and the note of its tunnel outlives the failure of this one.
    let fast = lab.write("a", &a_config(ADDRESS, INSIDE));
    lab.kerntun("a", &["up", &fast]).good();
    fs::write(&go, "").unwrap();
    said(waiting.wait_with_output().unwrap()).bad(1, "exists already");
    assert_eq!(records(&lab), 1);
    lab.kerntun("a", &["show", &name]).good();
    lab.kerntun("a", &["down", &fast]).good();
    assert_eq!(records(&lab), 0);
}

#[test]
fn a_note_of_an_earlier_boot_counts_for_nothing() {
    let Some(lab) = Lab::new("a_note_of_an_earlier_boot_counts_for_nothing") else { return };
    let name = lab.tunnel("a");
    let path = lab.write("a", &a_config(ADDRESS, INSIDE));
    lab.kerntun("a", &["up", &path]).good();
    sh(&format!("for note in /run/kerntun/{name}@*; do echo earlier > $note; done")).good();
    kill_the_daemon_and_its_interface(&lab);
    fs::remove_file(format!("/var/run/wireguard/{name}.sock")).unwrap();
    assert!(!lab.kerntun("a", &["show"]).err.contains(&name));
    lab.kerntun("a", &["down", &path]).bad(1, "is not up");
    let said = lab.kerntun("a", &["up", &path]).good();
    assert!(!said.err.contains("was not taken down"), "{}", said.err);
    kill_the_daemon_and_its_interface(&lab);
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(records(&lab), 0);
}

#[test]
fn only_up_leaves_a_record_and_none_if_it_fails() {
    let Some(lab) = Lab::new("only_up_leaves_a_record_and_none_if_it_fails") else { return };
    let name = lab.tunnel("a");
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nPostUp = false"), INSIDE));
    lab.kerntun("a", &["up", &path]).bad(1, "PostUp");
    assert_eq!(records(&lab), 0);
    until_the_socket_is_gone(&lab);
    lab.kerntun("a", &[&name]).good();
    assert_eq!(records(&lab), 0);
    lab.sh("a", &format!("ip link delete {name}")).good();
    until_the_socket_is_gone(&lab);
    lab.kerntun("a", &["down", &path]).bad(1, "is not up");
    // One that came up again without having been taken down stays to be taken down, also when that fails.
    let good = lab.write("a", &a_config(ADDRESS, INSIDE));
    lab.kerntun("a", &["up", &good]).good();
    kill_the_daemon_and_its_interface(&lab);
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nPostUp = false"), INSIDE));
    lab.kerntun("a", &["up", &path]).bad(1, "was not taken down");
    assert_eq!(records(&lab), 1);
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(records(&lab), 0);
}

#[test]
fn diagnose_and_show_tell_of_a_dead_daemon() {
    let Some(lab) = Lab::for_everything("diagnose_and_show_tell_of_a_dead_daemon") else { return };
    let name = lab.tunnel("a");
    let words = format!("the daemon of {name} is dead");
    for (allowed, leaks) in [(EVERYTHING, true), (INSIDE, false)] {
        let path = lab.write("a", &a_config(ADDRESS, allowed));
        lab.kerntun("a", &["up", &path]).good();
        let said = lab.kerntun("a", &["show"]);
        assert!(!said.err.contains(&words), "{}", said.err);
        kill_the_daemon_and_its_interface(&lab);
        // The socket lies where those of the other namespace lie, too, and is none of it.
        let socket = format!("/var/run/wireguard/{name}.sock");
        assert!(!lab.kerntun("b", &["diagnose"]).out.contains(&words));
        lab.kerntun("b", &["down", &path]).bad(1, "is not up");
        assert!(fs::exists(&socket).unwrap());
        fs::remove_file(&socket).unwrap();
        for arguments in [vec!["diagnose"], vec!["diagnose", &name]] {
            let said = lab.kerntun("a", &arguments);
            assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
            // Without a name other tunnels of this machine are looked at, too.
            let line = said.out.lines().find(|line| line.contains(&words)).unwrap();
            assert_eq!(line.contains("in clear"), leaks, "{line}");
        }
        assert!(lab.kerntun("a", &["show"]).err.contains(&words));
        assert!(!lab.kerntun("b", &["diagnose"]).out.contains(&words), "it is none of this namespace");
        lab.kerntun("a", &["down", &path]).good();
        lab.kerntun("a", &["diagnose", &name]).bad(1, "no user-space WireGuard serves");
    }
}

#[test]
fn a_mark_that_was_changed() {
    let Some(lab) = Lab::with("a_mark_that_was_changed", &["wg", "nft"]) else { return };
    lab.allow_marks();
    let (before, name) = (lab.state("a"), lab.tunnel("a"));
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    for mark in [0, 77] {
        lab.kerntun("a", &["up", &path]).good();
        assert!(!lab.kerntun("a", &["diagnose", &name]).out.contains("mark"));
        lab.sh("a", &format!("wg set {name} fwmark {mark}")).good();
        let said = lab.kerntun("a", &["diagnose", &name]);
        let advice = format!("next: wg set {name} fwmark 51820; or kerntun down {name}");
        assert!(said.code == Some(1) && said.out.contains(&advice), "{}{}", said.out, said.err);
        assert!(!said.out.contains("make the routes"), "{}", said.out);
        lab.kerntun("a", &["down", &path]).good();
        assert_eq!(before, lab.state("a"), "mark {mark}");
        until_the_socket_is_gone(&lab);
    }
}
