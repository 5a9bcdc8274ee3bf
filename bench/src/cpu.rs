//! What the processors and single processes have done, from `/proc` (proc(5)).

use kerntun_lab::Trouble;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Processor time of the whole machine since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    /// Seconds of all processors in which something ran, interrupts included.
    pub(crate) busy: f64,
    /// Of these, seconds of programs' own code.
    pub(crate) user: f64,
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
        let busy = (user + nice + system + irq + softirq) / 100.0;
        Some(Self { busy, user: (user + nice) / 100.0, stolen: steal / 100.0 })
    }

    /// What has happened since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let (busy, user) = (self.busy - earlier.busy, self.user - earlier.user);
        Self { busy, user, stolen: self.stolen - earlier.stolen }
    }
}

/// What others did on the machine from [`Others::watch`] on.
///
/// Only programs' own code can be told apart: the network works for whoever happens to run, so the time of the kernel
/// belongs to nobody.
pub(crate) struct Others {
    machine: Machine,
    ours: f64,
    begin: Instant,
}

impl Others {
    pub(crate) fn watch() -> Result<Self, Trouble> {
        Ok(Self { ours: of_this_namespace()?, machine: Machine::now()?, begin: Instant::now() })
    }

    /// Since then, in percent of one processor: what ran that is not of this process namespace, and what a hypervisor
    /// took away.
    pub(crate) fn found(&self) -> Result<(f64, f64), Trouble> {
        let passed = Machine::now()?.since(self.machine);
        let (ours, seconds) = (of_this_namespace()? - self.ours, self.begin.elapsed().as_secs_f64());
        Ok((100.0 * (passed.user - ours).max(0.0) / seconds, 100.0 * passed.stolen / seconds))
    }
}

/// Seconds in which all processes of this process namespace ran code of their own, those included that have ended: a time
/// moves to who waited for its process.
fn of_this_namespace() -> Result<f64, Trouble> {
    let fail = |error: std::io::Error| Trouble::new(format!("/proc: {error}"));
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let is_process = path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        // One that has just ended is counted with its parent.
        let stat = fs::read_to_string(path.join("stat")).ok().filter(|_| is_process);
        ticks += stat.as_deref().and_then(user_ticks).unwrap_or_default();
    }
    Ok(ticks as f64 / 100.0)
}

/// User time of a process and of the children that it waited for, in hundredths of a second.
fn user_ticks(stat: &str) -> Option<u64> {
    // The name before may contain anything. Fields are counted from 1, the one behind the name is the third.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let own: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let children: u64 = fields.nth(16 - 15)?.parse().ok()?;
    Some(own + children)
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

    #[test]
    fn idle_time_is_not_work() {
        let text = "cpu  100 20 300 9999 50 6 70 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(Machine::parse(text), Some(Machine { busy: 4.96, user: 1.2, stolen: 0.08 }));
        assert_eq!(Machine::parse("intr 1\n"), None);
    }

    #[test]
    fn user_times_of_a_process_and_its_children() {
        let stat = "42 (a) S (b 7) S 1 42 42 0 -1 4194560 900 100 0 0 123 45 67 8 20 0 3 0 99 0 0";
        assert_eq!(user_ticks(stat), Some(123 + 67));
        assert_eq!(user_ticks("42 (short) S 1 42"), None);
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
