//! A network namespace with everything in it, until it goes out of scope.

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A network namespace of our own. Processes that are still in it when it is dropped are ended.
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes one, with the loopback device up.
    ///
    /// # Panics
    /// If the system refuses; see [`requirements`](crate::requirements).
    #[must_use]
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static ONCE: Once = Once::new();
        ONCE.call_once(clean_up_after_the_dead);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kti-{}-{number}-{label}", std::process::id());
        check(Command::new("ip").args(["netns", "add", &name]));
        let file = File::open(format!("/run/netns/{name}")).expect("the namespace that was just made");
        let namespace = Self { name, file };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it, at most for a minute.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.unbounded(OsStr::new("timeout"));
        command.args(["-k", "1", "60"]).arg(program);
        command
    }

    /// A command that will run in it and become `program` under its own process id.
    #[must_use]
    pub fn unbounded(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// If that fails.
    pub fn ip(&self, arguments: &str) -> String {
        check(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Sets a variable below `net.`.
    ///
    /// # Panics
    /// If there is no such variable.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Does something on a thread inside the namespace and gives the result. Sockets made there stay there.
    ///
    /// # Panics
    /// If `body` does.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).expect("root may enter its namespaces");
            body()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        processes(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Runs a command and gives its standard output.
///
/// # Panics
/// If it fails.
pub fn check(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("programs speak UTF-8")
}

/// What a command has printed, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    format!("{}: {out} {err}", output.status)
}

fn processes(name: &str) -> Vec<i32> {
    let output = Command::new("ip").args(["netns", "pids", name]).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Not a word on failure: it may be gone already, and a test that fails says so itself.
fn remove(name: &str) {
    for process in processes(name) {
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// Removes the namespaces of test runs that were killed, with the daemons in them, and their sockets.
fn clean_up_after_the_dead() {
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    };
    let is_dead = |process: &str| {
        let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        is_number && !fs::exists(format!("/proc/{process}")).unwrap_or(true)
    };
    for name in names("/run/netns") {
        if name.strip_prefix("kti-").and_then(|rest| rest.split_once('-')).is_some_and(|(process, _)| is_dead(process))
        {
            remove(&name);
        }
    }
    // Interfaces are called k, process id, x, number: see `End::start`.
    for name in names("/var/run/wireguard") {
        if name.strip_prefix('k').and_then(|rest| rest.split_once('x')).is_some_and(|(process, _)| is_dead(process)) {
            let _ = fs::remove_file(format!("/var/run/wireguard/{name}"));
        }
    }
}
