//! The unit for systemd: that systemd understands all of it, and that this program understands what it is told there.

#![allow(missing_docs)]

use std::fs;
use std::process::Command;

const UNIT: &str = include_str!("../kerntun@.service");
const KERNTUN: &str = env!("CARGO_BIN_EXE_kerntun");

/// What the unit runs, for an interface of this name.
fn commands(name: &str) -> Vec<(&'static str, Vec<String>)> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| key.starts_with("Exec"));
    lines
        .map(|(key, command)| {
            let mut words = command.split(' ').map(|word| word.replace("%i", name));
            // Found by systemd wherever it is installed.
            assert_eq!(words.next().unwrap(), "kerntun", "{key}");
            (key, words.collect())
        })
        .collect()
}

#[test]
fn the_commands_of_the_unit_are_commands() {
    let commands = commands("ktc-none");
    assert_eq!(commands.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["ExecStart", "ExecStop"]);
    for ((key, arguments), verb) in commands.into_iter().zip(["up", "down"]) {
        assert_eq!(arguments, [verb, "ktc-none"], "{key}");
        let output = Command::new(KERNTUN).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // Understood, and failed for want of such a tunnel, or of the right to have one, which root has not everywhere.
        assert_eq!(output.status.code(), Some(1), "{said}");
        let reasons = ["/etc/wireguard/ktc-none.conf", "sudo kerntun"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    let directory = std::env::temp_dir().join(format!("ktc-boot-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    // Systemd looks whether the program is there.
    let unit = UNIT.replace("=kerntun ", &format!("={KERNTUN} "));
    fs::write(directory.join("kerntun@.service"), unit).unwrap();
    let instance = directory.join("kerntun@wg0.service");
    let output = Command::new("systemd-analyze").arg("verify").arg(&instance).output();
    fs::remove_dir_all(&directory).unwrap();
    let Ok(output) = output else { return println!("SKIPPED: systemd_understands_the_unit needs systemd-analyze") };
    let said = String::from_utf8_lossy(&output.stderr);
    // What it does not know it only warns of.
    assert!(!said.contains("kerntun@"), "{said}");
    // It also reads units of this system, which are not our business, and needs more of a system than a container may have.
    if !output.status.success() {
        println!("SKIPPED: systemd_understands_the_unit: systemd-analyze verify does not work here: {said}");
    }
}
