//! A daemon in a network namespace of its own.

use kerntun_uapi::{Client, InterfaceName, Section};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);
const PATIENCE: Duration = Duration::from_secs(30);
/// What a process calls to wait.
const WAITING: [libc::c_long; 5] =
    [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

pub(crate) fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root() && fs::exists("/dev/net/tun").unwrap();
    if !root {
        println!("SKIPPED: {test} needs root and /dev/net/tun");
    }
    root
}

/// The number of a user.
pub(crate) fn user(name: &str) -> Option<u32> {
    let list = fs::read_to_string("/etc/passwd").unwrap();
    list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":x:")?.split(':').next()?.parse().ok())
}

/// The keeper is our child; the server is its child. Ended when dropped.
pub(crate) struct Daemon {
    pub(crate) name: String,
    child: Child,
    /// Somebody else has waited for it.
    dead: bool,
    log: PathBuf,
}

impl Daemon {
    /// One that serves.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_by(&[], options)
    }

    /// One that serves, with another program to start it.
    pub(crate) fn start_by(starter: &[&str], options: &[&str]) -> Self {
        let mut daemon = Self::spawn(starter, options);
        assert!(daemon.serves(), "{}", daemon.log());
        daemon
    }

    /// Its exit code if it does not serve, and its log.
    pub(crate) fn try_start(options: &[&str]) -> (Option<i32>, String) {
        let mut daemon = Self::spawn(&[], options);
        let code = if daemon.serves() { None } else { daemon.end().0 };
        (code, daemon.log())
    }

    /// One that may fail.
    pub(crate) fn spawn(starter: &[&str], options: &[&str]) -> Self {
        let name = format!("kts{:x}n{}", std::process::id() % 0xffff, COUNT.fetch_add(1, Ordering::Relaxed));
        let log = std::env::temp_dir().join(format!("{name}.log"));
        assert!(ip(&format!("netns add {name}")), "ip netns add {name}");
        let child = Command::new("ip")
            .args(["netns", "exec", &name])
            .args(starter)
            .args([env!("CARGO_BIN_EXE_kerntun"), "run"])
            .args(options)
            .arg(&name)
            .env("KERNTUN_STAMP_FILE", "")
            .env("LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { name, child, dead: false, log }
    }

    fn serves(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && self.child.try_wait().unwrap().is_none() {
            if self.client().get().is_ok() && self.rests() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Whether both processes are locked up and have nothing to do: the server's thread that answers is not its first one, and
    /// nobody waits for the keeper.
    fn rests(&self) -> bool {
        [self.keeper(), self.server()].into_iter().all(|process| is_in(process, &WAITING))
    }

    fn client(&self) -> Client {
        Client::new(InterfaceName::new(&self.name).unwrap())
    }

    /// A diagnostic entry of the device.
    pub(crate) fn diagnostic(&self, name: &str) -> Option<String> {
        let entries = self.client().diagnostics().unwrap().unwrap();
        let found = entries.into_iter().find(|entry| entry.section == Section::Device && entry.name == name);
        found.map(|entry| entry.value)
    }

    /// Whether a layer of the sandbox is in place.
    pub(crate) fn has(&self, layer: &str) -> bool {
        self.diagnostic("sandbox").unwrap().split(' ').any(|word| word == layer)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn log_file(&self) -> String {
        self.log.display().to_string()
    }

    pub(crate) fn keeper(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn server(&self) -> u32 {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.keeper())).unwrap();
        children.trim().parse().unwrap()
    }

    /// Runs `wg` with a line in which DEVICE stands for the interface.
    pub(crate) fn wg(&self, line: &str) -> String {
        let output = Command::new("wg").args(line.replace("DEVICE", &self.name).split(' ')).output().unwrap();
        assert!(output.status.success(), "wg {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for its end; its exit code and its log.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.log());
            }
            assert!(begin.elapsed() < PATIENCE, "{} does not end: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process was waited for already, so there is nobody to end.
    pub(crate) fn keeper_is_dead(&mut self) {
        self.dead = true;
    }

    /// Whether nothing is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone_but_for_the_socket() && !self.socket().exists()
    }

    /// Whether the interface goes, given a moment.
    pub(crate) fn is_gone_but_for_the_socket(&self) -> bool {
        let begin = Instant::now();
        while ip(&format!("-n {0} link show {0}", self.name)) {
            if begin.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/var/run/wireguard/{}.sock", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.dead {
            // The server ends with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        ip(&format!("netns del {}", self.name));
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_file(&self.log);
    }
}

/// Whether a process is in one of these system calls.
pub(crate) fn is_in(process: u32, calls: &[libc::c_long]) -> bool {
    let call = fs::read_to_string(format!("/proc/{process}/syscall")).unwrap_or_default();
    call.split(' ').next().and_then(|number| number.parse().ok()).is_some_and(|number| calls.contains(&number))
}

fn ip(line: &str) -> bool {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    output.status.success()
}
