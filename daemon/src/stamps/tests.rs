use super::*;
use kerntun_crypto::Fast;
use kerntun_host::UserHost;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// In 2026, in seconds.
const TODAY: u64 = 1_780_000_000;
const A_YEAR: u64 = 366 * 86_400;

fn engine() -> Engine {
    Engine::new(UserHost::new(Fast::new()).holding()).unwrap()
}

fn at(seconds: u64) -> Wall {
    Wall { seconds, nanos: 0 }
}

fn boot(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// A file of its own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ktd-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn open(&self, wall: u64) -> Result<Stamps, Error> {
        Stamps::open(Some(self.0.clone()), &engine(), at(wall), boot(0))
    }

    /// The greatest of all lines.
    fn seconds(&self) -> u64 {
        let text = fs::read_to_string(&self.0).unwrap();
        let seconds = |line: &str| line.trim_start_matches('\0').split_once('.').unwrap().0.parse().unwrap();
        text.lines().map(seconds).max().unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_file_is_ahead_of_every_stamp_and_rarely_written() {
    let file = Scratch::new("ahead");
    let engine = engine();
    let mut stamps = file.open(TODAY).unwrap();
    assert_eq!(fs::read(&file.0).unwrap(), b"", "nothing was sent");
    let mut writes = 0;
    let mut last = 0;
    for second in TODAY..TODAY + 3600 {
        assert_eq!(stamps.stamp(at(second), boot(second - TODAY), &engine), at(second));
        let stored = file.seconds();
        assert!(stored > second);
        writes += u32::from(stored != last);
        last = stored;
    }
    // An hour: every nine minutes, since one of ten is kept in reserve.
    assert!((6..=7).contains(&writes), "{writes}");
    assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&file.0).unwrap().len(), 62, "it does not grow");
}

#[test]
fn a_write_that_was_cut_off_leaves_the_stamp_before() {
    let file = Scratch::new("torn");
    let (engine, mut last) = (engine(), 0);
    let mut stamps = file.open(TODAY).unwrap();
    for minutes in (0..60).step_by(10) {
        stamps.stamp(at(TODAY + minutes * 60), boot(minutes * 60), &engine);
        let text = fs::read(&file.0).unwrap();
        // The line that has just been written, cut off anywhere.
        let newest =
            text.chunks(31).position(|line| line.starts_with(format!("{:020}", file.seconds()).as_bytes())).unwrap();
        if text.len() == 62 {
            for cut in 0..30 {
                let mut torn = text.clone();
                torn[newest * 31 + cut..newest * 31 + 31].fill(0);
                // A line that lost only some of its last digits is still a number, and not above what it was to be.
                let other = Scratch::new("torn-copy");
                fs::write(&other.0, torn).unwrap();
                let reserved = other.open(TODAY).unwrap().reserved;
                assert!(at(last) <= reserved && reserved <= at(file.seconds()), "{cut}: {reserved:?}");
            }
        }
        last = file.seconds();
    }
}

#[test]
fn a_good_end_gives_back_what_was_not_used() {
    let file = Scratch::new("end");
    let engine = engine();
    let mut stamps = file.open(TODAY).unwrap();
    stamps.stamp(at(TODAY), boot(0), &engine);
    stamps.close(&engine);
    assert!(file.seconds() > TODAY, "nothing was sent, so nothing is known");
    stamps.reserve(at(TODAY + 5));
    stamps.reserve(at(TODAY + 5));
    assert_eq!(file.seconds(), TODAY + 5);
}

#[test]
fn a_clock_that_was_set_back_is_no_matter() {
    let file = Scratch::new("back");
    file.write("1000000.000000000\n");
    let engine = engine();
    let mut stamps = Stamps::open(Some(file.0.clone()), &engine, at(5), boot(0)).unwrap();
    // The engine raises what it is given to the floor, and the file has to be ahead of that.
    stamps.stamp(at(5), boot(0), &engine);
    assert!(file.seconds() > 1_000_000);
}

#[test]
fn a_clock_that_is_absurdly_ahead_is_not_believed() {
    let file = Scratch::new("absurd");
    file.write(&format!("{TODAY}.5\n"));
    let absurd = TODAY + A_YEAR + 86_400;
    let mut stamps = file.open(absurd).unwrap();
    assert_eq!(stamps.stamp(at(absurd), boot(7), &engine()).seconds, TODAY + 7);
    assert!(file.seconds() < TODAY + 1000, "nor does it find its way into the file");
    // Set right, it is believed.
    assert_eq!(stamps.stamp(at(TODAY + 50), boot(8), &engine()), at(TODAY + 50));
    // A year's absence is believed.
    file.write(&format!("{TODAY}.0\n"));
    let wall = TODAY + A_YEAR - 86_400;
    assert_eq!(file.open(wall).unwrap().stamp(at(wall), boot(7), &engine()), at(wall));
}

#[test]
fn nor_if_it_jumps_while_we_live() {
    let file = Scratch::new("jump");
    let engine = engine();
    let mut stamps = file.open(TODAY).unwrap();
    assert_eq!(stamps.stamp(at(TODAY), boot(100), &engine), at(TODAY));
    assert_eq!(stamps.stamp(at(TODAY + 3 * A_YEAR), boot(160), &engine), at(TODAY + 60));
    assert_eq!(stamps.stamp(at(TODAY + 300), boot(170), &engine), at(TODAY + 300), "small steps are");
    assert_eq!(stamps.stamp(at(TODAY + 3 * A_YEAR), boot(180), &engine), at(TODAY + 310));
    // Not in small steps either: a year in one life.
    for month in 0..12 {
        stamps.stamp(at(TODAY + month * 30 * 86_400), boot(200), &engine);
    }
    assert!(stamps.stamp(at(TODAY + A_YEAR + 40 * 86_400), boot(201), &engine).seconds < TODAY + A_YEAR);
    // But really living for longer is.
    let later = 2 * A_YEAR;
    assert_eq!(stamps.stamp(at(TODAY + later), boot(100 + later), &engine), at(TODAY + later));
}

#[test]
fn a_clock_that_was_never_set_may_become_right() {
    let file = Scratch::new("unset");
    let engine = engine();
    let mut stamps = file.open(40).unwrap();
    assert_eq!(stamps.stamp(at(50), boot(50), &engine), at(50));
    assert_eq!(stamps.stamp(at(TODAY), boot(60), &engine), at(TODAY));
    assert_eq!(stamps.stamp(at(TODAY + 2 * A_YEAR), boot(70), &engine), at(TODAY + 10), "once");
}

#[test]
fn a_damaged_file_is_as_good_as_none() {
    let file = Scratch::new("damaged");
    // What a power cut leaves of the first writing, which no stamp had been sent before, and worse.
    let halves = format!("{:031}{:031}", 1, 2);
    for text in [
        "\0",
        &"\0".repeat(31),
        &"\0".repeat(62),
        "0000000178",
        "12\0",
        "12.1000000000",
        "99999999999999999999.0",
        &halves,
    ] {
        file.write(text);
        let engine = engine();
        let mut stamps = Stamps::open(Some(file.0.clone()), &engine, at(TODAY), boot(0)).unwrap();
        assert_eq!(fs::read_to_string(&file.0).unwrap(), text, "nothing was sent");
        assert_eq!(stamps.stamp(at(TODAY), boot(0), &engine), at(TODAY), "{text}");
        // From the first stamp on the file is whole again.
        let reserved = stamps.reserved;
        assert!(reserved > at(TODAY));
        assert_eq!(file.open(TODAY).unwrap().reserved, reserved, "{text}");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let file = Scratch::new("else");
    let long = format!("{}\n", "x".repeat(70));
    let digits = "1".repeat(63);
    for text in ["x", "12", "4194304\n", "12.x", "-1.0", &long, &digits] {
        file.write(text);
        assert!(matches!(file.open(5), Err(Error::StampFile { .. })), "{text}");
        assert_eq!(fs::read_to_string(&file.0).unwrap(), text, "and left alone");
    }
}

#[test]
fn so_are_files_of_others_and_links() {
    let file = Scratch::new("unsafe");
    let target = Scratch::new("unsafe-target");
    symlink(&target.0, &file.0).unwrap();
    assert!(matches!(file.open(5), Err(Error::StampFile { .. })));
    assert!(!target.0.exists(), "nothing is made at the other end");
    fs::remove_file(&file.0).unwrap();
    fs::create_dir(&file.0).unwrap();
    assert!(matches!(file.open(5), Err(Error::StampFile { .. })));
    fs::remove_dir(&file.0).unwrap();
    file.write("5.0\n");
    for bits in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(bits)).unwrap();
        assert!(matches!(file.open(5), Err(Error::StampFile { .. })), "{bits:o}");
    }
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(file.open(5).is_ok());
    if std::os::unix::fs::chown(&file.0, Some(12345), None).is_err() {
        return println!("SKIPPED: a file of another user: only root can make one");
    }
    assert!(matches!(file.open(5), Err(Error::StampFile { .. })));
}

#[test]
fn only_the_disk_is_done_without() {
    let is_no_room = |number| file::is_no_room(&std::io::Error::from_raw_os_error(number));
    for number in [libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
        assert!(is_no_room(number), "{number}");
    }
    for number in [libc::EACCES, libc::ELOOP, libc::ENOENT, libc::EISDIR, libc::EIO] {
        assert!(!is_no_room(number), "{number}");
    }
}

#[test]
fn without_a_file_the_clock_is_all() {
    let mut stamps = Stamps::open(None, &engine(), at(5), boot(0)).unwrap();
    assert_eq!(stamps.stamp(at(9), boot(0), &engine()), at(9));
    assert_eq!(stamps.stamp(at(TODAY + 9 * A_YEAR), boot(1), &engine()), at(TODAY + 9 * A_YEAR));
    stamps.close(&engine());
}
