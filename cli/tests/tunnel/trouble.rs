//! Surroundings in which a tunnel must come up and, above all, go down whole.

use super::lab::{KERNTUN, Lab, installed, said, sh};
use super::{ADDRESS, EVERYTHING, a_config, until, until_the_socket_is_gone};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const INSIDE: &str = "AllowedIPs = 10.9.0.0/24, 10.77.0.0/16";
const RESOLVERS: [&str; 2] = ["resolvconf", "resolvectl"];

/// The writing end of a pipe from which nobody reads any more.
fn broken_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// Configurations of two tunnels of `a` that everything of IPv4 goes into.
fn two_for_everything(lab: &Lab) -> [String; 2] {
    ["a", "c"].map(|side| lab.write(side, &a_config("Address = 10.9.0.1/24", "AllowedIPs = 0.0.0.0/0")))
}

#[test]
fn nobody_listens() {
    let Some(lab) = Lab::for_everything("nobody_listens") else { return };
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
    // Nor do hooks end because nobody reads what they print, where that was so before they began.
    let hooks = "PreUp = echo 1; echo 2 >&2\nPostUp = seq 9; seq 9 >&2\nPreDown = echo 3\nPostDown = echo 4 >&2";
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\n{hooks}"), EVERYTHING));
    for what in ["up", "down"] {
        let mut command = lab.command("a", KERNTUN);
        said(command.args([what, &path]).stdout(broken_pipe()).stderr(broken_pipe()).output().unwrap()).good();
    }
    assert_eq!(before, lab.state("a"));
    // What they print is shown otherwise.
    let said = lab.kerntun("a", &["up", &path]).good();
    assert!(said.out == "1\n1\n2\n3\n4\n5\n6\n7\n8\n9\n" && said.err.contains("\n2\n"), "{}{}", said.out, said.err);
    lab.kerntun("a", &["down", &path]).good();
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nPostUp = false"), EVERYTHING));
    assert_eq!(deaf(&["up", &path]).code, Some(1));
    assert_eq!(before, lab.state("a"));
    until_the_socket_is_gone(&lab);
}

#[test]
fn a_file_that_was_broken_since() {
    let Some(lab) = Lab::for_everything("a_file_that_was_broken_since") else { return };
    let before = lab.state("a");
    let log = lab.directory.join("log");
    lab.fake("resolvconf", &format!("cat > /dev/null; echo $1 >> {}", log.display()));
    let hooks = format!("PreDown = echo pre-down %i >> {0}\nPostDown = echo post-down %i >> {0}", log.display());
    let text = a_config(&format!("{ADDRESS}\nSaveConfig = true\nDNS = 10.9.0.9\n{hooks}"), EVERYTHING);
    // In the second case not even DNS can be read, in the third the daemon is dead.
    for (good, broken, kill) in [
        ("PublicKey = ", "PublicKey = nonsense", false),
        ("DNS = 10.9.0.9", "DNS 10.9.0.9", false),
        ("PublicKey = ", "PublicKey = nonsense", true),
    ] {
        let path = lab.write("a", &text);
        said(lab.with_fakes(&["up", &path]).output().unwrap()).good();
        if kill {
            lab.kill_daemon("a");
        }
        let broken = text.replace(good, broken);
        lab.write("a", &broken);
        fs::remove_file(&log).unwrap();
        let said = said(lab.with_fakes(&["down", &path]).output().unwrap()).bad(1, "was left out");
        let name = lab.tunnel("a");
        assert_eq!(fs::read_to_string(&log).unwrap(), format!("pre-down {name}\n-d\npost-down {name}\n"));
        assert_eq!(before, lab.state("a"), "{}", said.err);
        assert_eq!(broken, fs::read_to_string(&path).unwrap(), "what cannot be read must not be overwritten");
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn an_interrupt_does_not_stop_down() {
    let Some(lab) = Lab::new("an_interrupt_does_not_stop_down") else { return };
    let before = lab.state("a");
    let (mark, gone) = (lab.directory.join("reached"), lab.directory.join("gone"));
    lab.fake(
        "resolvconf",
        &format!("if test $1 = -a; then cat > /dev/null; else touch {}; sleep 1; fi", mark.display()),
    );
    let lines = format!("{ADDRESS}\nDNS = 10.9.0.9\nPostDown = touch {}", gone.display());
    for signal in ["INT", "TERM", "HUP"] {
        let path = lab.write("a", &a_config(&lines, INSIDE));
        said(lab.with_fakes(&["up", &path]).output().unwrap()).good();
        let mut down = lab.with_fakes(&["down", &path]);
        let child = down.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the first removal", || mark.exists());
        sh(&format!("kill -{signal} {}", child.id())).good();
        said(child.wait_with_output().unwrap()).good();
        assert_eq!(before, lab.state("a"));
        fs::remove_file(&gone).unwrap();
        fs::remove_file(&mark).unwrap();
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn a_short_path() {
    let Some(lab) = Lab::with("a_short_path", &["nft"]) else { return };
    lab.allow_marks();
    let before = lab.state("a");
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nPostUp = command -v nft"), EVERYTHING));
    for (up, down) in [("/usr/sbin:/usr/bin:/sbin:/bin", "/usr/bin:/bin"), ("/usr/bin:/bin", "/usr/bin:/bin")] {
        for (what, path_of_programs) in [("up", up), ("down", down)] {
            let mut command = lab.command("a", KERNTUN);
            said(command.args([what, &path]).env("PATH", path_of_programs).output().unwrap()).good();
        }
        assert_eq!(before, lab.state("a"));
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn name_servers_that_nobody_takes_away() {
    let Some(lab) = Lab::new("name_servers_that_nobody_takes_away") else { return };
    let before = lab.state("a");
    lab.fake("resolvconf", "cat > /dev/null");
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nDNS = 10.9.0.9"), INSIDE));
    said(lab.with_fakes(&["up", &path]).output().unwrap()).good();
    lab.without(&RESOLVERS, &["down", &path]).bad(1, "neither resolvconf nor resolvectl");
    assert_eq!(before, lab.state("a"), "and all else is done");
    until_the_socket_is_gone(&lab);
    let said = lab.without(&RESOLVERS, &["up", &path]).bad(1, "neither resolvconf nor resolvectl");
    assert!(!said.err.contains("left behind"), "{}", said.err);
    assert_eq!(before, lab.state("a"));
}

#[test]
fn name_servers_that_were_half_set() {
    let Some(lab) = Lab::new("name_servers_that_were_half_set") else { return };
    let record = lab.directory.join("record");
    let script = format!("if test $1 = -a; then cat > {0}; exit 1; else rm -f {0}; fi", record.display());
    lab.fake("resolvconf", &script);
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nDNS = 10.9.0.9"), INSIDE));
    said(lab.with_fakes(&["up", &path]).output().unwrap()).bad(1, "'resolvconf -a");
    assert!(!record.exists());
}

#[test]
fn two_tunnels_with_one_mark() {
    let Some(lab) = Lab::for_everything("two_tunnels_with_one_mark") else { return };
    let four = lab.write("a", &a_config("Address = 10.9.0.1/24\nFwMark = 77", "AllowedIPs = 0.0.0.0/0"));
    let six = lab.write("c", &a_config("Address = fd09::1/64\nFwMark = 77", "AllowedIPs = ::/0"));
    let rules = |family: &str| lab.sh("a", &format!("ip {family} rule")).good().out;
    let before = (rules("-4"), rules("-6"));
    for kill in [false, true] {
        lab.kerntun("a", &["up", &four]).good();
        if kill {
            lab.kill_daemon("a");
        }
        lab.kerntun("a", &["up", &six]).good();
        let with = rules("-6");
        assert!(with.contains("not from all fwmark 0x4d lookup 77"), "{with}");
        lab.kerntun("a", &["down", &four]).good();
        assert_eq!((before.0.clone(), with), (rules("-4"), rules("-6")), "daemon killed: {kill}");
        lab.kerntun("a", &["down", &six]).good();
        assert_eq!(before.1, rules("-6"));
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn two_tunnels_at_once() {
    let Some(lab) = Lab::for_everything("two_tunnels_at_once") else { return };
    let before = lab.state("a");
    let paths = two_for_everything(&lab);
    for _ in 0..3 {
        let ups = paths.each_ref().map(|path| {
            let mut up = lab.command("a", KERNTUN);
            up.args(["up", path]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        for up in ups {
            said(up.wait_with_output().unwrap()).good();
        }
        let rules = lab.sh("a", "ip rule").good().out;
        for mark in ["0xca6c lookup 51820", "0xca6d lookup 51821"] {
            assert_eq!(rules.matches(mark).count(), 1, "{rules}");
        }
        for path in &paths {
            lab.kerntun("a", &["down", path]).good();
        }
        assert_eq!(before, lab.state("a"));
    }
}

#[test]
fn a_tunnel_waits_for_its_turn() {
    let test = "a_tunnel_waits_for_its_turn";
    let Some(lab) = Lab::for_everything(test).filter(|_| installed(test, "flock")) else { return };
    let before = lab.state("a");
    let path = lab.write("a", &a_config(ADDRESS, EVERYTHING));
    // In the second case whoever has the turn is killed, in the third nobody waits that long.
    for (end, code) in [("exit", 0), ("kill -KILL $$", 0), ("read never", 1)] {
        let script = format!("exec 9>>/run/kerntun.lock; chmod 644 /run/kerntun.lock; flock 9; echo; read line; {end}");
        let mut other =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut up = lab.command("a", KERNTUN).args(["up", &path]).stderr(Stdio::piped()).spawn().unwrap();
        let mut words = BufReader::new(up.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(words.any(|line| line.contains("waiting for another 'kerntun up'")), "it did not wait");
        assert!(!lab.sh("a", "ip rule").good().out.contains("fwmark"));
        let mode = fs::metadata("/run/kerntun.lock").unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "or any user could take the turn, and keep it");
        let mut input = other.stdin.take().unwrap();
        input.write_all(b"\n").unwrap();
        if code == 1 {
            sh(&format!("kill -TERM {}", up.id())).good();
        }
        let rest: Vec<String> = words.collect();
        assert_eq!(up.wait().unwrap().code(), Some(code), "{rest:?}");
        drop(input);
        other.wait().unwrap();
        if code == 0 {
            lab.kerntun("a", &["down", &path]).good();
        }
        assert_eq!(before, lab.state("a"), "{rest:?}");
        until_the_socket_is_gone(&lab);
    }
}

#[test]
fn a_failure_takes_nothing_from_a_tunnel_that_came_up_meanwhile() {
    let Some(lab) = Lab::with("a_failure_takes_nothing_from_a_tunnel_that_came_up_meanwhile", &["nft"]) else { return };
    lab.allow_marks();
    let before = lab.state("a");
    let [slow, quick] = two_for_everything(&lab);
    let hang = lab.directory.join("hang");
    fs::write(&hang, "").unwrap();
    let script = format!("test \"$1\" = -f || exit 0; while test -e {}; do sleep 0.1; done; exit 1", hang.display());
    lab.fake("nft", &script);
    let first = lab.with_fakes(&["up", &slow]).stderr(Stdio::piped()).spawn().unwrap();
    until("the first has its rules", || lab.sh("a", "ip rule").out.contains("lookup 51820"));
    let second = lab.command("a", KERNTUN).args(["up", &quick]).stderr(Stdio::piped()).spawn().unwrap();
    until("the second is up", || lab.sh("a", "nft list tables").out.contains(&lab.tunnel("c")));
    said(second.wait_with_output().unwrap()).good();
    fs::remove_file(&hang).unwrap();
    let first = said(first.wait_with_output().unwrap()).bad(1, "'nft -f -' failed");
    assert!(!first.err.contains("left behind"), "{}", first.err);
    let rules = lab.sh("a", "ip rule").good().out;
    let rules: Vec<&str> = rules.lines().filter_map(|line| line.split_once(":\t")).map(|(_, rule)| rule).collect();
    let pair = ["from all lookup main suppress_prefixlength 0", "not from all fwmark 0xca6d lookup 51821"];
    assert_eq!(
        rules,
        [&["from all lookup local"], &pair[..], &["from all lookup main", "from all lookup default"]].concat()
    );
    lab.kerntun("a", &["down", &quick]).good();
    assert_eq!(before, lab.state("a"));
}

#[test]
fn each_tunnel_takes_its_own_rules_down() {
    let Some(lab) = Lab::for_everything("each_tunnel_takes_its_own_rules_down") else { return };
    let before = lab.state("a");
    let paths = two_for_everything(&lab);
    let exception = "table main suppress_prefixlength 0";
    let without_exceptions = format!("ip rule del {exception} && ip rule del {exception}");
    // Only the second one has an exception; each has one, but the second came up between the two rules of the first.
    for exceptions in ["9", "8 9"] {
        for path in &paths {
            lab.kerntun("a", &["up", path]).good();
        }
        let add = format!("for pref in {exceptions}; do ip rule add pref $pref {exception}; done");
        lab.sh("a", &format!("{without_exceptions}; {add}")).good();
        lab.kerntun("a", &["down", &paths[0]]).good();
        let rules = lab.sh("a", "ip rule").good().out;
        let left = rules.matches("suppress_prefixlength 0").count();
        assert!(left == 1 && rules.contains("lookup 51821") && !rules.contains("lookup 51820"), "{rules}");
        lab.kerntun("a", &["down", &paths[1]]).good();
        assert_eq!(before, lab.state("a"));
    }
}

#[test]
fn what_cannot_be_saved_is_not_called_saved() {
    let Some(lab) = Lab::new("what_cannot_be_saved_is_not_called_saved") else { return };
    let path = lab.write("a", &a_config(&format!("{ADDRESS}\nSaveConfig = true"), INSIDE));
    lab.kerntun("a", &["up", &path]).good();
    let in_the_way = format!("{path}.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let said = lab.kerntun("a", &["down", &path]).bad(1, "cannot be saved");
    assert!(!said.err.contains(": saved"), "{}", said.err);
    fs::remove_dir(&in_the_way).unwrap();
    let said = lab.kerntun("a", &["down", &path]).good();
    assert!(said.err.contains(": saved"), "{}", said.err);
}

#[test]
fn an_interface_called_like_a_command() {
    let Some(lab) = Lab::new("an_interface_called_like_a_command") else { return };
    let before = lab.state("a");
    let path = lab.directory.join("genpsk.conf").display().to_string();
    fs::write(&path, a_config(ADDRESS, INSIDE)).unwrap();
    lab.kerntun("a", &["up", &path]).good();
    lab.kerntun("a", &["down", &path]).good();
    assert_eq!(before, lab.state("a"));
}

#[test]
fn timestamps_that_cannot_be_remembered() {
    let Some(lab) = Lab::new("timestamps_that_cannot_be_remembered") else { return };
    let (name, log) = (lab.tunnel("a"), lab.directory.join("log"));
    for (disk, words) in [
        ("/var/lib/kerntun", "timestamps cannot be remembered in /var/lib/kerntun/"),
        ("/var/lib", "there is no /var/lib/kerntun"),
    ] {
        let script = format!(
            "mkdir -p /var/lib/kerntun; mount -t tmpfs -o ro none {disk} && LOG_LEVEL=error exec {KERNTUN} {name} > {} 2>&1",
            log.display()
        );
        said(lab.command("a", "unshare").args(["-m", "sh", "-c", &script]).output().unwrap()).good();
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains(words) && text.contains("Read-only"), "{text}");
        lab.sh("a", &format!("ip link delete {name}")).good();
        until_the_socket_is_gone(&lab);
    }
}
