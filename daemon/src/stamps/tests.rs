use super::*;
use kerntun_crypto::Fast;
use kerntun_engine::time::SECOND;
use kerntun_host::UserHost;
use std::os::unix::fs::PermissionsExt;

fn engine() -> Engine {
    Engine::new(UserHost::new(Fast::new()).holding()).unwrap()
}

fn at(seconds: u64) -> Wall {
    Wall { seconds, nanos: 0 }
}

fn boot(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * SECOND)
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

    fn seconds(&self) -> u64 {
        fs::read_to_string(&self.0).unwrap().split_once('.').unwrap().0.parse().unwrap()
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
    let mut stamps = file.open(1_000_000).unwrap();
    assert!(!file.0.exists(), "nothing was sent");
    let mut writes = 0;
    let mut last = 0;
    for second in 1_000_000..1_003_600 {
        assert_eq!(stamps.stamp(at(second), boot(0), &engine), at(second));
        let stored = file.seconds();
        assert!(stored > second);
        writes += u32::from(stored != last);
        last = stored;
    }
    // An hour: every nine minutes, since one of ten is kept in reserve.
    assert!((6..=7).contains(&writes), "{writes}");
    assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_clock_that_was_set_back_is_no_matter() {
    let file = Scratch::new("back");
    fs::write(&file.0, "1000000.000000000\n").unwrap();
    let engine = engine();
    let mut stamps = Stamps::open(Some(file.0.clone()), &engine, at(5), boot(0)).unwrap();
    // The engine raises what it is given to the floor, and the file has to be ahead of that.
    stamps.stamp(at(5), boot(0), &engine);
    assert!(file.seconds() > 1_000_000);
}

#[test]
fn a_clock_that_is_absurdly_ahead_is_not_believed() {
    let file = Scratch::new("absurd");
    fs::write(&file.0, "1000000.5\n").unwrap();
    let mut stamps = file.open(1_000_000 + 367 * 86_400).unwrap();
    let stamp = stamps.stamp(at(1_000_000 + 367 * 86_400), boot(7), &engine());
    assert_eq!(stamp.seconds, 1_000_007);
    // A year's absence is believed.
    fs::write(&file.0, "1000000.0\n").unwrap();
    let wall = 1_000_000 + 364 * 86_400;
    assert_eq!(file.open(wall).unwrap().stamp(at(wall), boot(7), &engine()).seconds, wall);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let file = Scratch::new("else");
    for text in ["", "x", "12", "12.x", "12.1000000000", "99999999999999999999.0", "-1.0"] {
        fs::write(&file.0, text).unwrap();
        assert!(matches!(file.open(5), Err(Error::StampFile { .. })), "{text}");
    }
}

#[test]
fn without_a_file_the_clock_is_all() {
    let mut stamps = Stamps::open(None, &engine(), at(5), boot(0)).unwrap();
    assert_eq!(stamps.stamp(at(9), boot(0), &engine()), at(9));
    stamps.close(&engine());
}
