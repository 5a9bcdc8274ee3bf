//! The machine that something was measured on.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::{Command, Stdio};

/// A machine, and what was built there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// How many of them.
    pub(crate) processors: usize,
    /// Extensions of the instruction set that matter to ciphers.
    pub(crate) extensions: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// What hypervisor it runs under, if any.
    pub(crate) hypervisor: String,
    pub(crate) rust: String,
    /// Day of the first measurement.
    pub(crate) date: String,
    /// The commit that was measured.
    pub(crate) commit: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start().strip_prefix(':')?.trim().to_owned())
        };
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        let has = |flag: &str| flags.split(' ').any(|one| one == flag);
        let extensions = ["avx2", "avx512f", "avx512ifma", "vaes", "asimd"].into_iter().filter(|flag| has(flag));
        let extensions = extensions.collect::<Vec<_>>().join(" ");
        let hypervisor = if has("hypervisor") { said("lscpu", &[], "Hypervisor vendor:") } else { String::new() };
        let family = field("cpu family").zip(field("model"));
        let family = family.map(|(family, model)| format!(", family {family} model {model}")).unwrap_or_default();
        Self {
            processor: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()) + &family,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            extensions,
            memory_gib: memory().unwrap_or_default(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            system: system().unwrap_or_default(),
            hypervisor,
            rust: said("rustc", &["--version"], ""),
            date: said("date", &["+%Y-%m-%d"], ""),
            commit: said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"], ""),
        }
    }
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

fn system() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The rest of the first line of a program's output that begins so; nothing if it cannot be run.
fn said(program: &str, arguments: &[&str], prefix: &str) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default().trim().to_owned()
}
