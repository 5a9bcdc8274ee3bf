//! Timestamps of initiations across restarts: never one that a peer has seen, whatever the clock does.
//!
//! A peer accepts an initiation only if its timestamp is greater than all before. A machine without a battery-backed
//! clock comes up in the past and is locked out without a sign; one whose clock was set far ahead for a moment locks
//! itself out for as long (CVE-2021-46873). With a file to remember in:
//!
//! - stamps begin where the file says an earlier life ended. The file is written *ahead*: it names a stamp that is not
//!   reached for another ten minutes, so that there is one write in ten minutes, not one per handshake.
//! - a clock that is more than a year ahead of the file and the time since is not believed, neither at the start nor later:
//!   stamps go on at the pace of time. That loses nothing, since only their order counts.
//! - a file that is more than a day ahead of the clock is used, because peers may have seen such stamps, and reported,
//!   because the clock is probably wrong.
//! - a file of which nothing can be read any more is as good as none, and reported. That is as safe: only peers decide whether a
//!   timestamp is too old, and one that is locks nobody out but ourselves, until the clock has caught up.
//! - a file that cannot be made for want of room, or on a disk that is read-only, is done without, and reported: a full disk must not
//!   keep tunnels from coming up. What a file says that cannot be written is the floor, and nothing more: as it never changes, the clock
//!   is not judged by it.

mod file;

use crate::device::Engine;
use crate::error::Error;
use file::{Said, StampFile};
use kerntun_engine::time::{Instant, SECOND, Tai64n, Wall};
use std::path::PathBuf;

/// How far ahead of the stamps in use the file is written, in seconds.
const AHEAD: u64 = 600;
/// What is left of that when it is written again.
const LEAST: u64 = 60;
const DAY: u64 = 24 * 3600;
const YEAR: u64 = 366 * DAY;
/// November 2023. A clock that showed less had never been set: what it shows later may be anything.
const NEVER_SET: u64 = 1_700_000_000;

/// What is remembered of the stamps.
pub(crate) struct Stamps {
    file: Option<StampFile>,
    /// What the file says: no stamp above may be sent.
    reserved: Wall,
    /// Where an earlier life ended.
    floor: Wall,
    /// From where on jumps of the clock are measured: a stamp, and when it held.
    anchor: Option<(Wall, Instant)>,
    /// The clock when it was believed last, and when that was.
    believed: Option<(Wall, Instant)>,
    /// Whether the clock is believed.
    credible: bool,
}

impl Stamps {
    /// Opens the file at `path`, if there is one to be used, and sets the floor of `engine`.
    pub(crate) fn open(path: Option<PathBuf>, engine: &Engine, wall: Wall, now: Instant) -> Result<Self, Error> {
        let mut stamps = Self {
            file: None,
            reserved: Wall::default(),
            floor: Wall::default(),
            anchor: None,
            believed: None,
            credible: true,
        };
        let Some(path) = path else { return Ok(stamps) };
        let fail = |error| Error::StampFile { path: path.clone(), error };
        let said = match StampFile::open(&path) {
            Ok((file, said)) => {
                stamps.file = Some(file);
                said
            }
            Err(error) if file::is_no_room(&error) => {
                tracing::error!(
                    "timestamps cannot be remembered in {} ({error}): going by the clock, and by what stands there already, if anything. If \
                     the clock is set back later, peers do not answer until it has caught up",
                    path.display()
                );
                StampFile::look(&path).map_err(fail)?
            }
            Err(error) => return Err(fail(error)),
        };
        let stored = match said {
            Said::Stamp(stored) => stored,
            Said::Nothing => return Ok(stamps),
            Said::Remains => {
                tracing::error!(
                    "{} is damaged: going by the clock, as if there had been no file. If peers do not answer, the clock is behind the \
                     last timestamp that they saw: set it right",
                    path.display()
                );
                return Ok(stamps);
            }
        };
        (stamps.reserved, stamps.floor) = (stored, stored);
        if stored.seconds > wall.seconds.saturating_add(DAY) {
            tracing::error!(
                "timestamps were sent that lie {} days in the future: the clock is wrong now or was then. Going on from those, \
                 so that peers accept our handshakes",
                (stored.seconds - wall.seconds) / DAY
            );
        }
        if stamps.file.is_some() {
            stamps.set_anchor(stored, now);
            // Says at once if it is not believed.
            stamps.believe(wall, now);
        }
        engine.configure(|configuration| configuration.set_stamp_floor(Tai64n::from_wall(stored)));
        Ok(stamps)
    }

    /// The time to stamp the next initiation with. Writes the file first, if need be.
    pub(crate) fn stamp(&mut self, wall: Wall, now: Instant, engine: &Engine) -> Wall {
        let wall = self.believe(wall, now);
        if self.file.is_some() {
            let next = wall.max(self.floor).max(engine.greatest_stamp_sent().to_wall());
            if next.seconds.saturating_add(LEAST) > self.reserved.seconds {
                // While stamps are ahead of the clock, every life begins where the file ends: one that ends soon and often
                // must not drive them far into the future.
                let ahead = if next > wall { 2 * LEAST } else { AHEAD };
                self.reserve(Wall { seconds: next.seconds.saturating_add(ahead), nanos: 0 });
            }
            if self.anchor.is_none() {
                self.set_anchor(wall, now);
            }
        }
        wall
    }

    /// The last act: what was really sent, so that the next life need not begin ten minutes ahead.
    pub(crate) fn close(&mut self, engine: &Engine) {
        let greatest = engine.greatest_stamp_sent();
        if greatest > Tai64n::ZERO {
            // Of what stands in the file the greatest counts, so both places are written.
            self.reserve(greatest.to_wall());
            self.reserve(greatest.to_wall());
        }
    }

    fn set_anchor(&mut self, stamp: Wall, now: Instant) {
        if stamp.seconds >= NEVER_SET {
            self.anchor = Some((stamp, now));
            self.believed = self.anchor;
        }
    }

    /// The clock, or what it would show had it not jumped absurdly.
    fn believe(&mut self, wall: Wall, now: Instant) -> Wall {
        let (Some(anchor), Some(believed)) = (self.anchor, self.believed) else { return wall };
        let credible = wall.seconds <= after(anchor, now).seconds.saturating_add(YEAR);
        if credible != self.credible {
            self.credible = credible;
            match &self.file {
                Some(file) if !credible => tracing::error!(
                    "the clock is {} days ahead of the last timestamp sent: not believing it. If it is right, end this daemon, \
                     remove {} and start it again",
                    (wall.seconds - after(believed, now).seconds) / DAY,
                    file.path().display()
                ),
                _ => tracing::info!("the clock is believed again"),
            }
        }
        if !credible {
            return after(believed, now);
        }
        self.believed = Some((wall, now));
        wall
    }

    fn reserve(&mut self, wall: Wall) {
        let Some(file) = &mut self.file else { return };
        match file.write(wall) {
            Ok(()) => self.reserved = wall,
            // Handshakes go on: a tunnel that works now is worth more than one that is sure to work after a restart.
            Err(error) => {
                tracing::error!("cannot write the greatest timestamp to {}: {error}", file.path().display());
            }
        }
    }
}

/// What a clock shows that was right then and went on since.
fn after((wall, then): (Wall, Instant), now: Instant) -> Wall {
    Wall { seconds: wall.seconds.saturating_add(now.since(then) / SECOND), nanos: wall.nanos }
}

#[cfg(test)]
mod tests;
