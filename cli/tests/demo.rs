//! `kerntun demo`: what it shows, and that nothing of it stays, however it ends.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// In the environment of everything a test starts, so that what is left of it can be found.
const MARK: &str = "KERNTUN_DEMO_TEST";
/// The user "nobody" by custom.
const NOBODY: u32 = 65_534;

struct Demo {
    mark: String,
    command: Command,
}

impl Demo {
    fn new(test: &str, arguments: &[&str]) -> Self {
        let mark = format!("{}-{test}", std::process::id());
        let mut command = Command::new(env!("CARGO_BIN_EXE_kerntun"));
        // No program can be found: the demo needs none.
        command.arg("demo").args(arguments).env_clear().env(MARK, &mark).env("PATH", "").stdin(Stdio::null());
        Self { mark, command }
    }

    fn output(&mut self) -> Output {
        self.command.output().unwrap()
    }

    /// Starts it and reads until a line contains `text`.
    fn until(&mut self, text: &str) -> Child {
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.by_ref().any(|line| line.unwrap().contains(text));
        assert!(found, "the demo ended before '{text}'");
        // Whoever reads no longer must not make it fail: keep the pipe open and empty.
        std::thread::spawn(move || lines.for_each(drop));
        child
    }

    /// Everything that was started is gone, and so is what it made.
    fn assert_gone(&self) {
        let begin = Instant::now();
        // The kernel ends orphans and takes network namespaces apart in the background.
        while !left(&self.mark).is_empty() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left(&self.mark), Vec::<i32>::new());
        for name in ["west", "east", "wire"] {
            assert!(!Path::new("/sys/class/net").join(name).exists(), "the interface {name} is left");
            assert!(!Path::new("/run/wireguard").join(format!("{name}.sock")).exists(), "the socket of {name} is left");
            assert!(!Path::new("/run").join(format!("{name}.log")).exists(), "the log of {name} is left");
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.lines().any(|mount| mount.contains("size=16384k") && mount.contains(" /run ")), "{mounts}");
    }
}

/// The processes that have the mark.
fn left(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let marked = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    processes.filter(marked).collect()
}

fn may_run(test: &str) -> bool {
    let missing = if !geteuid().is_root() {
        "not root"
    } else if OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        "no /dev/net/tun"
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {missing}");
    false
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn root_sees_a_tunnel_at_work() {
    if !may_run("root_sees_a_tunnel_at_work") {
        return;
    }
    let mut demo = Demo::new("root", &["--bytes", "20000000"]);
    let output = demo.output();
    let (story, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{story}\n{errors}");
    for fact in [
        "handshake start, 148 bytes",
        "response, 92 bytes",
        "east has learnt that west is at 192.0.2.1:51820",
        "on the wire: 0 of ",
        "19.07 MiB in ",
        "the same\n",
        "The tunnel works.\n",
    ] {
        assert!(story.contains(fact), "'{fact}' is missing in\n{story}");
    }
    assert!(!story.contains('\x1b'), "colours although this is no terminal");
    demo.assert_gone();
}

#[test]
fn programs_get_json() {
    if !may_run("programs_get_json") {
        return;
    }
    let mut demo = Demo::new("json", &["--bytes", "3000001", "--json"]);
    let output = demo.output();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["handshake_message_bytes"], serde_json::json!([148, 92]));
    assert_eq!((&json["outer_readable"], &json["transfer_bytes"]), (&0.into(), &3_000_001.into()));
    assert!(json["inner_readable"].as_u64() >= Some(10) && json["outer_frames"].as_u64() >= Some(12), "{json}");
    assert_eq!(json["blake2b"].as_str().map(str::len), Some(128));
    demo.assert_gone();
}

#[test]
fn an_ordinary_user_sees_it_too() {
    if !may_run("an_ordinary_user_sees_it_too") {
        return;
    }
    let probe = Command::new("unshare").args(["-Ur", "true"]).uid(NOBODY).gid(NOBODY).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!(
            "SKIPPED: an_ordinary_user_sees_it_too: this system lets users make no namespaces (or has no unshare)"
        );
        return;
    }
    let opens_tun = Command::new("sh").args(["-c", "exec 3<>/dev/net/tun"]).uid(NOBODY).gid(NOBODY).status();
    if !opens_tun.is_ok_and(|status| status.success()) {
        println!("SKIPPED: an_ordinary_user_sees_it_too: this system keeps /dev/net/tun from ordinary users");
        return;
    }
    let program = Copied::new();
    // The device as most systems have it, open to all, whoever may open it here.
    let script = format!(
        "mount -t tmpfs none /dev/net && chmod 755 /dev/net && mknod -m 666 /dev/net/tun c 10 200 && cd / && \
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups env PATH= \"$0\" demo --bytes 2000000"
    );
    let mut demo = Demo::new("user", &[]);
    demo.command = Command::new("unshare");
    demo.command.args(["-m", "sh", "-c", &script]).arg(program.0.join("kerntun"));
    demo.command.env_clear().env(MARK, &demo.mark).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let output = demo.output();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("The tunnel works.\n"));
    demo.assert_gone();
}

/// The program where everybody can run it.
struct Copied(PathBuf);

impl Copied {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("kerntun-demo-test-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: what another test starts just now would inherit a descriptor that writes to it.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_kerntun")).arg(directory.join("kerntun")).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(directory.join("kerntun"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() {
    if !may_run("ctrl_c_in_the_middle_leaves_nothing") {
        return;
    }
    for (at, number) in [("2. ", Signal::SIGINT), ("5. ", Signal::SIGINT), ("5. ", Signal::SIGTERM)] {
        let mut demo = Demo::new("interrupt", &["--bytes", "1000000000000", "--seconds", "600"]);
        let child = demo.until(at);
        assert!(!left(&demo.mark).is_empty());
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "Interrupted; everything is cleaned up.\n");
        // When the command returns, all is over: nothing needs to be waited for.
        assert_eq!(left(&demo.mark), Vec::<i32>::new());
        demo.assert_gone();
    }
}

#[test]
fn even_killed_it_leaves_nothing() {
    if !may_run("even_killed_it_leaves_nothing") {
        return;
    }
    let mut demo = Demo::new("killed", &["--bytes", "1000000000000", "--seconds", "600"]);
    let mut child = demo.until("5. ");
    assert!(left(&demo.mark).len() >= 4, "the command, the first process inside, and two daemons");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    demo.assert_gone();
}

#[test]
fn a_step_that_fails_is_explained_and_leaves_nothing() {
    if !may_run("a_step_that_fails_is_explained_and_leaves_nothing") {
        return;
    }
    let mut demo = Demo::new("fails", &[]);
    // The daemon does not start with this.
    demo.command.env("KERNTUN_WORKERS", "many");
    let output = demo.output();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("the daemon of 'west' ended unexpectedly") && errors.contains("KERNTUN_WORKERS"),
        "{errors}"
    );
    demo.assert_gone();
}

#[test]
fn what_cannot_be_asked_for() {
    for arguments in [["--bytes", "0"], ["--seconds", "0"], ["--bytes", "many"]] {
        let output = Demo::new("usage", &arguments).output();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
}
