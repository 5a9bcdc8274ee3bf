//! What the processors and single processes have done, from `/proc` (proc(5)).

use kerntun_lab::Trouble;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Processor time of the whole machine since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    /// Seconds of all processors in which something ran, interrupts included.
    pub(crate) busy: f64,
    /// Seconds that a hypervisor took away.
    pub(crate) stolen: f64,
}

impl Machine {
    pub(crate) fn now() -> Result<Self, Trouble> {
        let text = fs::read_to_string("/proc/stat").map_err(|error| Trouble::new(format!("/proc/stat: {error}")))?;
        Self::parse(&text).ok_or_else(|| Trouble::new("/proc/stat does not begin with the processors' times"))
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<f64>);
        let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal, in hundredths of a second on every architecture.
        let [user, nice, system, _, _, irq, softirq, steal] = *numbers.first_chunk()?;
        Some(Self { busy: (user + nice + system + irq + softirq) / 100.0, stolen: steal / 100.0 })
    }

    /// What has happened since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { busy: self.busy - earlier.busy, stolen: self.stolen - earlier.stolen }
    }
}

/// Processor time of a process, of those it started, and of all their threads, those that have ended included.
pub(crate) fn of_process(process: u32) -> Result<Duration, Trouble> {
    let clock = clock_getcpuclockid(Pid::from_raw(process.cast_signed()));
    let time = clock.and_then(|clock| clock.now()).map_err(|error| gone(process, error.desc()))?;
    children(process)?.into_iter().try_fold(Duration::from(time), |sum, child| Ok(sum + of_process(child)?))
}

/// How often the threads of a process and of those it started have gone to sleep: each time is a wake-up.
pub(crate) fn sleeps(process: u32) -> Result<u64, Trouble> {
    let mut sum = 0;
    for thread in threads(process)? {
        let status = fs::read_to_string(thread.join("status")).map_err(|error| gone(process, error))?;
        sum += field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
    }
    children(process)?.into_iter().try_fold(sum, |sum, child| Ok(sum + sleeps(child)?))
}

/// Memory of a process and of those it started that is really there, in KiB. What it shares with them, the program
/// above all, is counted with them.
pub(crate) fn resident(process: u32) -> Result<u64, Trouble> {
    let children = children(process)?;
    let file = if children.is_empty() { "status" } else { "smaps_rollup" };
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).map_err(|error| gone(process, error))?;
    let own = match children[..] {
        [] => field(&text, "VmRSS:"),
        _ => field(&text, "Private_Clean:").zip(field(&text, "Private_Dirty:")).map(|(clean, dirty)| clean + dirty),
    };
    let own = own.ok_or_else(|| gone(process, "it has no memory"))?;
    children.into_iter().try_fold(own, |sum, child| Ok(sum + resident(child)?))
}

/// Directories of its threads.
fn threads(process: u32) -> Result<Vec<PathBuf>, Trouble> {
    let fail = |error: std::io::Error| gone(process, error);
    let entries = fs::read_dir(format!("/proc/{process}/task")).map_err(fail)?;
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(fail)
}

/// Those it started and that still run.
fn children(process: u32) -> Result<Vec<u32>, Trouble> {
    let list = |thread: PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
    let lists: Vec<String> = threads(process)?.into_iter().map(list).collect();
    Ok(lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).collect())
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn gone(process: u32, why: impl std::fmt::Display) -> Trouble {
    Trouble::new(format!("cannot look at process {process}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn idle_time_is_not_work() {
        let text = "cpu  100 20 300 9999 50 6 70 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(Machine::parse(text), Some(Machine { busy: 4.96, stolen: 0.08 }));
        assert_eq!(Machine::parse("intr 1\n"), None);
    }

    #[test]
    fn a_busy_process_is_seen() {
        // Not this process: other tests start children of it that may be gone when they are looked at.
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let busy = child.id();
        let (before, begin) = (of_process(busy).unwrap(), Instant::now());
        while of_process(busy).unwrap() <= before && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let seen = (of_process(busy).unwrap() > before, resident(busy).unwrap() > 100, sleeps(busy).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, (true, true, true));
        assert!(of_process(u32::MAX >> 1).is_err());
    }
}
