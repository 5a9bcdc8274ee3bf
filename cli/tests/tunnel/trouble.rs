//! Surroundings in which a tunnel must come up and, above all, go down whole.

use super::lab::{KERNTUN, Lab, said};
use super::{ADDRESS, a_config, until_the_socket_is_gone};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const EVERYTHING: &str = "AllowedIPs = 0.0.0.0/0, ::/0";

/// The writing end of a pipe from which nobody reads any more.
fn broken_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// A program in the lab's directory, which is to be searched first.
fn fake(lab: &Lab, program: &str, script: &str) {
    let file = lab.directory.join(program);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs the program in `a` with the lab's own programs.
fn with_fakes(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.command("a", KERNTUN);
    let tools = format!("{}:{}", lab.directory.display(), std::env::var("PATH").unwrap());
    command.args(arguments).env("PATH", tools);
    command
}

fn marks_are_allowed(lab: &Lab) {
    lab.sh("a", "echo 1 > /proc/sys/net/ipv4/conf/all/src_valid_mark").good();
}

#[test]
fn nobody_listens() {
    let Some(lab) = Lab::new("nobody_listens") else { return };
    marks_are_allowed(&lab);
    let before = lab.state("a");
    let deaf =
        |arguments: &[&str]| said(lab.command("a", KERNTUN).args(arguments).stderr(broken_pipe()).output().unwrap());
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    deaf(&["up", &path]).good();
    for arguments in [vec!["show"], vec!["show", "all", "dump"], vec!["check", &path], vec!["--help"]] {
        let output = lab.command("a", KERNTUN).args(&arguments).stdout(broken_pipe()).output().unwrap();
        said(output).good();
    }
    deaf(&["down", &path]).good();
    assert_eq!(before, lab.state("a"));
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nPostUp = false"), EVERYTHING));
    assert_eq!(deaf(&["up", &path]).code, Some(1));
    assert_eq!(before, lab.state("a"));
    until_the_socket_is_gone(&lab);
}

#[test]
fn a_file_that_was_broken_since() {
    let Some(lab) = Lab::new("a_file_that_was_broken_since") else { return };
    marks_are_allowed(&lab);
    let before = lab.state("a");
    let log = lab.directory.join("log");
    fake(&lab, "resolvconf", &format!("cat > /dev/null; echo $1 >> {}", log.display()));
    let hooks = format!("PreDown = echo pre-down %i >> {0}\nPostDown = echo post-down %i >> {0}", log.display());
    let text = a_config(&format!("{ADDRESS}\nSaveConfig = true\nDNS = 10.9.0.9\n{hooks}"), EVERYTHING);
    // In the second case not even DNS can be read, in the third the daemon is dead.
    for (good, broken, kill) in [
        ("PublicKey = ", "PublicKey = nonsense", false),
        ("DNS = 10.9.0.9", "DNS 10.9.0.9", false),
        ("PublicKey = ", "PublicKey = nonsense", true),
    ] {
        let path = lab.write("a", &text);
        said(with_fakes(&lab, &["up", &path]).output().unwrap()).good();
        if kill {
            lab.kill_daemon("a");
        }
        let broken = text.replace(good, broken);
        lab.write("a", &broken);
        fs::remove_file(&log).unwrap();
        let said = said(with_fakes(&lab, &["down", &path]).output().unwrap()).bad(1, "was left out");
        let name = lab.tunnel("a");
        assert_eq!(fs::read_to_string(&log).unwrap(), format!("pre-down {name}\n-d\npost-down {name}\n"));
        assert_eq!(before, lab.state("a"), "{}", said.err);
        assert_eq!(broken, fs::read_to_string(&path).unwrap(), "what cannot be read must not be overwritten");
        until_the_socket_is_gone(&lab);
    }
}
