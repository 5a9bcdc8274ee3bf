//! A clock that went back. The kernel takes the timestamps of its handshakes from the clock and forgets the last one with the
//! interface; a peer refuses every one that is not later than the last it saw. (The daemon remembers what it sent.)

use crate::say::say;
use crate::show::{Paint, duration, since_epoch};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the latest time is recorded, in seconds since the Unix epoch.
const FILE: &str = "/var/lib/kerntun/clock";

/// Warns if the clock is behind what it was when this was called last, and records it. What cannot be read or written is no reason
/// not to bring a tunnel up.
pub(crate) fn watch() {
    if let Some(behind) = record(&PathBuf::from(FILE), since_epoch()) {
        say!(
            "warning: the clock is {} behind what it was when a tunnel was last brought up here: peers that saw later \
            handshakes refuse the new ones until it has caught up; set the clock",
            duration(behind.as_secs(), Paint::PLAIN)
        );
    }
}

/// How far `now` is behind the time in the file, if it is; the file gets the later one.
fn record(file: &Path, now: Duration) -> Option<Duration> {
    let text = fs::read_to_string(file).ok();
    let last = text.and_then(|text| text.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    if now >= last {
        // In one step, so that a machine that loses power here keeps the old time.
        let new = file.with_extension("new");
        let written = file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = written.and_then(|()| fs::write(&new, format!("{}\n", now.as_secs())));
        let _ = written.and_then(|()| fs::rename(&new, file));
    }
    // Less than a second is how the time was rounded.
    let behind = last.saturating_sub(now);
    (behind >= Duration::from_secs(1)).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_went_back_is_warned_of() {
        let directory = std::env::temp_dir().join(format!("kerntun-clock-{}", std::process::id()));
        let file = directory.join("deeper/clock");
        let at = Duration::from_secs;
        assert_eq!(record(&file, at(1000)), None);
        assert_eq!(record(&file, at(1000)), None);
        assert_eq!(record(&file, at(1600)), None);
        assert_eq!(record(&file, at(1500)), Some(at(100)));
        // The later time is kept, or the second warning would not come.
        assert_eq!(record(&file, at(1500)), Some(at(100)));
        fs::write(&file, "nonsense").unwrap();
        assert_eq!(record(&file, at(5)), None);
        assert_eq!(record(Path::new("/proc/nothing/clock"), at(5)), None);
        fs::remove_dir_all(&directory).unwrap();
    }
}
