//! The poller: packets, wake-ups and deadlines.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use kerntun_linux::{
    Interface, NetlinkWatch, Poller, RecvBatch, SendQueue, Sockets, Tun, TunQueue, Waker, boottime, realtime,
};

#[test]
fn descriptors_are_reported_by_token() {
    let mut poller = Poller::new().unwrap();
    let (mut a, b) = UnixStream::pair().unwrap();
    let (_c, d) = UnixStream::pair().unwrap();
    poller.add(b.as_fd(), 5).unwrap();
    poller.add(d.as_fd(), 6).unwrap();
    assert!(poller.add(b.as_fd(), 5).is_err());
    assert!(poller.add(a.as_fd(), u64::MAX).is_err());
    a.write_all(b"x").unwrap();
    for _ in 0..2 {
        let ready = poller.wait(None).unwrap();
        assert_eq!(ready.tokens(), [5], "level-triggered");
        assert!(ready.has(5) && !ready.has(6) && !ready.woken && !ready.expired);
    }
    poller.remove(b.as_fd()).unwrap();
    assert!(poller.remove(b.as_fd()).is_err());
    assert!(poller.wait(Some(0)).unwrap().tokens().is_empty());
}

#[test]
fn wakers_wake_once() {
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker();
    let other = waker.clone();
    thread::spawn(move || other.wake()).join().unwrap();
    waker.wake();
    assert!(poller.wait(None).unwrap().woken);
    let ready = poller.wait(Some(1)).unwrap();
    assert!(!ready.woken && ready.expired);
}

#[test]
fn deadlines_are_absolute_and_not_early() {
    let mut poller = Poller::new().unwrap();
    for past in [0, 1, boottime()] {
        assert!(poller.wait(Some(past)).unwrap().expired);
    }
    let deadline = boottime() + 20_000_000;
    assert!(poller.wait(Some(deadline)).unwrap().expired);
    assert!(boottime() >= deadline);
    // The same deadline again has passed already.
    assert!(poller.wait(Some(deadline)).unwrap().expired);
    // A later one is moved to an earlier one, and away.
    poller.waker().wake();
    assert!(poller.wait(Some(u64::MAX)).unwrap().woken);
    assert!(poller.wait(Some(boottime() + 1)).unwrap().expired);
    poller.waker().wake();
    let ready = poller.wait(Some(boottime() + 3_600_000_000_000)).unwrap();
    assert!(ready.woken && !ready.expired);
    poller.waker().wake();
    assert!(!poller.wait(None).unwrap().expired);
}

/// Workers are made in one thread and run in another; sockets and queues are shared with the handshake thread.
#[test]
fn pieces_may_change_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<(Poller, RecvBatch, SendQueue, NetlinkWatch, Tun)>();
    sync::<(Sockets, TunQueue, Waker, Interface)>();
}

#[test]
fn clocks_run() {
    let first = boottime();
    assert!(first > 0 && boottime() >= first);
    // 2026 and later.
    assert!(realtime().as_secs() > 1_767_225_600);
}
