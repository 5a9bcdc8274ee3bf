//! Surroundings in which a tunnel must come up and, above all, go down whole.

use super::lab::{KERNTUN, Lab, said};
use super::{ADDRESS, a_config, until_the_socket_is_gone};

const EVERYTHING: &str = "AllowedIPs = 0.0.0.0/0, ::/0";

/// The writing end of a pipe from which nobody reads any more.
fn broken_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
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
