//! Timestamps of initiations across restarts: never one that a peer has seen, whatever the clock does.
//!
//! A peer accepts an initiation only if its timestamp is greater than all before. A machine without a battery-backed
//! clock comes up in the past and is locked out without a sign; one whose clock was set far ahead for a moment locks
//! itself out for as long (CVE-2021-46873). With a file to remember in:
//!
//! - stamps begin where the file says an earlier life ended. The file is written *ahead*: it names a stamp that is not
//!   reached for another ten minutes, so that there is one write in ten minutes, not one per handshake.
//! - a clock that is more than a year ahead of the file is not believed: stamps go on from the file, at the pace of
//!   time. That loses nothing, since only their order counts.
//! - a file that is more than a day ahead of the clock is used, because peers may have seen such stamps, and reported,
//!   because the clock is probably wrong.

use crate::device::Engine;
use crate::error::Error;
use kerntun_engine::time::{Instant, Tai64n, Wall};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How far ahead of the stamps in use the file is written, in seconds.
const AHEAD: u64 = 600;
/// What is left of that when it is written again.
const LEAST: u64 = 60;
const DAY: u64 = 24 * 3600;
const YEAR: u64 = 366 * DAY;

/// What is remembered of the stamps.
pub(crate) struct Stamps {
    file: Option<PathBuf>,
    /// What the file says: no stamp above may be sent.
    reserved: Wall,
    /// Where an earlier life ended.
    floor: Wall,
    /// What to believe instead of a clock that is absurdly ahead: a stamp, and when it held.
    instead: Option<(Wall, Instant)>,
}

impl Stamps {
    /// Reads `file`, if there is one to be used, and sets the floor of `engine`.
    pub(crate) fn open(file: Option<PathBuf>, engine: &Engine, wall: Wall, now: Instant) -> Result<Self, Error> {
        let mut stamps = Self { file, reserved: Wall::default(), floor: Wall::default(), instead: None };
        let Some(path) = &stamps.file else { return Ok(stamps) };
        let error = |error| Error::StampFile { path: path.clone(), error };
        let Some(stored) = read(path).map_err(error)? else { return Ok(stamps) };
        (stamps.reserved, stamps.floor) = (stored, stored);
        if stored.seconds > wall.seconds.saturating_add(DAY) {
            tracing::error!(
                "timestamps were sent that lie {} days in the future: the clock is wrong now or was then. Going on from those, \
                 so that peers accept our handshakes",
                (stored.seconds - wall.seconds) / DAY
            );
        } else if wall.seconds > stored.seconds.saturating_add(YEAR) {
            tracing::error!(
                "the clock is {} days ahead of the last timestamp sent: not believing it. If it is right, remove {}",
                (wall.seconds - stored.seconds) / DAY,
                path.display()
            );
            stamps.instead = Some((stored, now));
        }
        engine.configure(|configuration| configuration.set_stamp_floor(Tai64n::from_wall(stored).next()));
        Ok(stamps)
    }

    /// The time to stamp the next initiation with. Writes the file first, if need be.
    pub(crate) fn stamp(&mut self, wall: Wall, now: Instant, engine: &Engine) -> Wall {
        let wall = match self.instead {
            Some((stored, since)) => Wall {
                seconds: stored.seconds.saturating_add(now.since(since) / kerntun_engine::time::SECOND),
                nanos: stored.nanos,
            },
            None => wall,
        };
        if self.file.is_some() {
            let next = wall.max(self.floor).max(engine.greatest_stamp_sent().to_wall());
            if next.seconds.saturating_add(LEAST) > self.reserved.seconds {
                // While stamps are ahead of the clock, every life begins where the file ends: one that ends soon and often
                // must not drive them far into the future.
                let ahead = if next > wall { 2 * LEAST } else { AHEAD };
                self.write(Wall { seconds: next.seconds.saturating_add(ahead), nanos: 0 });
            }
        }
        wall
    }

    /// The last act: what was really sent, so that the next life need not begin ten minutes ahead.
    pub(crate) fn close(&mut self, engine: &Engine) {
        let greatest = engine.greatest_stamp_sent();
        if self.file.is_some() && greatest > Tai64n::ZERO {
            self.write(greatest.to_wall());
        }
    }

    fn write(&mut self, wall: Wall) {
        let Some(path) = &self.file else { return };
        match write(path, wall) {
            Ok(()) => self.reserved = wall,
            // Handshakes go on: a tunnel that works now is worth more than one that is sure to work after a restart.
            Err(error) => tracing::error!("cannot write the greatest timestamp to {}: {error}", path.display()),
        }
    }
}

/// Seconds and nanoseconds since the Unix epoch, as `SECONDS.NANOSECONDS`; `None` without a file.
fn read(path: &Path) -> io::Result<Option<Wall>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let wrong = || io::Error::new(ErrorKind::InvalidData, "it does not contain a timestamp: remove it");
    let (seconds, nanos) = text.trim_end().split_once('.').ok_or_else(wrong)?;
    let wall = Wall { seconds: seconds.parse().map_err(|_| wrong())?, nanos: nanos.parse().map_err(|_| wrong())? };
    if wall.nanos < 1_000_000_000 && wall.seconds < 1 << 61 { Ok(Some(wall)) } else { Err(wrong()) }
}

/// Replaces the file as a whole: after a power cut there is the old one or the new one.
fn write(path: &Path, wall: Wall) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{}.{:09}\n", wall.seconds, wall.nanos).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests;
