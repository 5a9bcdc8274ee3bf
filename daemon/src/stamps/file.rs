//! The file, through a descriptor that stays open: whoever writes it may open nothing.
//!
//! Two places of one line each, `SECONDS.NANOSECONDS` since the Unix epoch, written in turn; the greater one counts. So
//! after a power cut within a write there is still the stamp before, and none above that one had been sent.

use kerntun_engine::time::Wall;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a line: 20 digits, a point, 9 digits, the line's end.
const LINE: usize = 31;

/// A longer file is something else.
const LONGEST: u64 = 2 * LINE as u64;

/// Bytes of the greatest process number there can be (2^22), with the line's end.
const SHORT: usize = 8;

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is new.
    Nothing,
    /// The greatest stamp that may have been sent.
    Stamp(Wall),
    /// It held stamps, or was about to, and none can be read any more.
    Remains,
}

pub(super) struct StampFile {
    path: PathBuf,
    file: File,
    /// The place that is written next, 0 or 1.
    place: u64,
}

impl StampFile {
    /// Opens or makes it, readable for its owner only, and reads what it says.
    ///
    /// # Errors
    /// For a file of something else, one that others could change, or a link, which somebody might have put there to have
    /// another file overwritten.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Said)> {
        Self::open_with(path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))
    }

    /// Reads what it says where it cannot be written: nothing if there is none.
    ///
    /// # Errors
    /// As of [`StampFile::open`].
    pub(super) fn look(path: &Path) -> io::Result<Said> {
        match Self::open_with(path, &mut OpenOptions::new()) {
            Ok((_, said)) => Ok(said),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Said::Nothing),
            Err(error) => Err(error),
        }
    }

    fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<(Self, Said)> {
        options.read(true);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        let own = metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_file() || !own || metadata.mode() & 0o022 != 0 {
            return Err(wrong("it is no file of root's or ours that only its owner can write to"));
        }
        let mut text = Vec::new();
        (&file).take(LONGEST + 1).read_to_end(&mut text)?;
        let mut this = Self { path: path.to_owned(), file, place: 0 };
        if text.is_empty() {
            return Ok((this, Said::Nothing));
        }
        let mut places = text.chunks(LINE).map(parse);
        let (first, second, rest) = (places.next().flatten(), places.next().flatten(), places.next());
        this.place = u64::from(first > second);
        match first.max(second) {
            Some(stamp) if rest.is_none() => Ok((this, Said::Stamp(stamp))),
            // Nothing else is lost when it is overwritten.
            None if rest.is_none() && are_remains(&text) => Ok((this, Said::Remains)),
            _ => Err(wrong(
                "it contains something else. Remove it if nobody needs it, or name another file in KERNTUN_STAMP_FILE",
            )),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a stamp to the place that does not hold the greatest one, and to the disk.
    pub(super) fn write(&mut self, stamp: Wall) -> io::Result<()> {
        let line = format!("{:020}.{:09}\n", stamp.seconds, stamp.nanos);
        self.file.write_all_at(line.as_bytes(), self.place * LINE as u64)?;
        self.file.sync_data()?;
        self.place = 1 - self.place;
        Ok(())
    }
}

/// Whether the disk is at fault: full, with or without a quota, or read-only. A file that is there already gives only the last of these.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
}

/// Whether this may have been a line of ours. A number as short as that of a process may be somebody else's.
fn are_remains(text: &[u8]) -> bool {
    text.iter().all(|byte| b"0123456789.\n\0".contains(byte)) && (text.len() > SHORT || text.contains(&0))
}

fn parse(line: &[u8]) -> Option<Wall> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(['\n', '\0']);
    let (seconds, nanos) = text.split_once('.')?;
    let wall = Wall { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok()? };
    (wall.nanos < 1_000_000_000 && wall.seconds < 1 << 61).then_some(wall)
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
