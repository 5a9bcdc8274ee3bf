//! TUN devices against the running kernel, each test in a network namespace of its own.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Random, enter_namespace_with_tun, ip, new_namespace};
use kerntun_linux::{
    ChecksumPolicy, Coalescer, DeliveryReport, IfExists, LinkEvent, NetlinkWatch, Poller, Segments, TUN_BUFFER, Tun,
    TunConfig, TunError, TunOffload, TunQueue, VnetHeader, Waker,
};

fn config(name: &str) -> TunConfig<'_> {
    TunConfig { name, queues: 1, offload: TunOffload::ALL, exists: IfExists::Refuse }
}

#[test]
fn name_mtu_and_state() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&config("ktl0")).unwrap();
    assert_eq!(tun.interface.name().unwrap(), "ktl0");
    assert_eq!(tun.interface.mtu().unwrap(), 1500);
    for mtu in [576, 1420, 65_000] {
        tun.interface.set_mtu(mtu).unwrap();
        assert_eq!(tun.interface.mtu().unwrap(), mtu);
    }
    assert!(tun.interface.set_mtu(1 << 20).is_err());
    assert!(!tun.interface.is_up().unwrap());
    tun.interface.set_up(true).unwrap();
    assert!(tun.interface.is_up().unwrap());
    tun.interface.set_up(false).unwrap();
    assert!(!tun.interface.is_up().unwrap());
    ip("link set ktl0 name ktl0new");
    assert_eq!(tun.interface.name().unwrap(), "ktl0new");
    drop(tun.queues);
    // Goes away with its last queue; children that other tests have just forked hold it until they exec.
    common::wait_until("device gone", || tun.interface.name().is_err());
}

#[test]
fn errors_name_their_cause() {
    for name in ["", "sixteen-letters0", "a/b", "a b", "wg%d", ".", "..", "a:b", "wg\0"] {
        assert!(matches!(Tun::create(&config(name)), Err(TunError::InvalidName(_))), "{name:?}");
    }
    assert!(matches!(Tun::create(&TunConfig { queues: 0, ..config("ktl0") }), Err(TunError::QueueCount(0))));
    if !enter_namespace_with_tun() {
        return;
    }
    let first = Tun::create(&config("fifteen-letters")).unwrap();
    assert!(matches!(Tun::create(&config("fifteen-letters")), Err(TunError::Exists(_))));
    let attach = TunConfig { exists: IfExists::Attach, ..config("fifteen-letters") };
    assert!(matches!(Tun::create(&attach), Err(TunError::Busy(_))));
    drop(first);
    assert!(matches!(Tun::create(&config("lo")), Err(TunError::Exists(_))));
    assert!(matches!(Tun::create(&TunConfig { exists: IfExists::Attach, ..config("lo") }), Err(TunError::Mismatch(_))));
    ip("tuntap add ktl0 mode tun");
    assert!(matches!(Tun::create(&config("ktl0")), Err(TunError::Exists(_))));
    let attached = Tun::create(&TunConfig { exists: IfExists::Attach, ..config("ktl0") }).unwrap();
    assert!(attached.queues[0].offload().checksum);
    // A device file that cannot be opened, and none at all.
    // SAFETY: no pointers; affects only this thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    common::run("mount", "--make-rprivate /");
    common::run("mount", "-t tmpfs tmpfs /dev/net");
    assert!(matches!(Tun::create(&config("ktl1")), Err(TunError::NoDriver(_))));
    common::run("umount", "/dev/net");
    // Without CAP_NET_ADMIN in this thread.
    drop_capabilities();
    let error = Tun::create(&config("ktl1")).unwrap_err();
    assert!(matches!(error, TunError::Permission(_)), "{error}");
}

/// Clears the effective capabilities of the calling thread.
fn drop_capabilities() {
    let header: [u32; 2] = [0x2008_0522, 0];
    let data = [0u32; 6];
    // SAFETY: version 3 of capset takes a header of 8 and data of 24 bytes.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }, 0);
}

#[test]
fn offloads_are_learnt_and_forced_off() {
    if !enter_namespace_with_tun() {
        return;
    }
    let none = TunConfig { offload: TunOffload::NONE, ..config("ktl1") };
    assert_eq!(Tun::create(&none).unwrap().queues[0].offload(), TunOffload::NONE);
    let no_uso = TunOffload { uso: false, ..TunOffload::ALL };
    let tun = Tun::create(&TunConfig { offload: no_uso, ..config("ktl2") }).unwrap();
    assert_eq!(tun.queues[0].offload(), no_uso);
    drop(tun);
    // Everything rests on the checksum offload.
    let odd = TunOffload { checksum: false, ..TunOffload::ALL };
    assert_eq!(
        Tun::create(&TunConfig { offload: odd, ..config("ktl3") }).unwrap().queues[0].offload(),
        TunOffload::NONE
    );
    let learnt = Tun::create(&config("ktl4")).unwrap().queues[0].offload();
    assert!(learnt.checksum && learnt.tso4 && learnt.tso6, "{learnt:?}");
}

#[test]
fn adopted_descriptors() {
    if !enter_namespace_with_tun() {
        return;
    }
    let mut tun = Tun::create(&config("ktl0")).unwrap();
    let copy = tun.queues.remove(0).as_fd().try_clone_to_owned().unwrap();
    let adopted = Tun::adopt_raw(copy.into_raw_fd(), TunOffload::ALL).unwrap();
    assert_eq!(adopted.interface.name().unwrap(), "ktl0");
    assert!(adopted.queues[0].offload().tso4);
    assert!(adopted.queues[0].recv(&mut [0; TUN_BUFFER]).unwrap().is_none());
    drop((tun, adopted));
    // The original descriptor was closed.
    common::wait_until("device gone", || kerntun_linux::interface::index_of("ktl0").is_none());

    let plain = open_by_hand("ktl1", libc::IFF_TUN | libc::IFF_NO_PI);
    let adopted = Tun::adopt(plain, TunOffload::ALL).unwrap();
    assert_eq!(adopted.queues[0].offload(), TunOffload::NONE);
    exchange_ping(&adopted);
    // Never a super-packet there, whatever the coalescer is told.
    let mut random = Random(21);
    let mut inner = common::Inner::random(&mut random, 300);
    (inner.v6, inner.tcp) = (false, false);
    let mut coalescer = Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify);
    let mut report = DeliveryReport::default();
    adopted.queues[0].deliver(&mut coalescer, &inner.split(100), &mut report).unwrap();
    assert_eq!((report.packets, report.writes), (3, 3));
    // Packet information is only seen in a sysfs of this namespace.
    // SAFETY: no pointers; affects only this thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    common::run("mount", "--make-rprivate /");
    common::run("mount", "-t sysfs sysfs /sys");
    for (name, flags) in [("ktl2", libc::IFF_TAP | libc::IFF_NO_PI), ("ktl3", libc::IFF_TUN)] {
        let fd = open_by_hand(name, flags);
        let error = Tun::adopt(fd, TunOffload::ALL).unwrap_err();
        assert!(matches!(error, TunError::NotTun(_)), "{flags:#x}: {error:?}");
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(Tun::adopt(file.into(), TunOffload::ALL), Err(TunError::NotTun(_))));
    assert!(matches!(Tun::adopt_raw(1, TunOffload::ALL), Err(TunError::NotTun(_))));
    assert!(matches!(Tun::adopt_raw(9999, TunOffload::ALL), Err(TunError::NotTun(_))));
}

fn open_by_hand(name: &str, flags: i32) -> std::os::fd::OwnedFd {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    request.ifr_ifru.ifru_flags = flags as _;
    // SAFETY: TUNSETIFF takes an ifreq.
    assert_eq!(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }, 0);
    file.into()
}

/// A datagram out of a local socket through the device and one back.
fn exchange_ping(tun: &Tun) {
    let name = tun.interface.name().unwrap();
    ip(&format!("addr add 10.9.0.1/24 dev {name}"));
    tun.interface.set_up(true).unwrap();
    let socket = UdpSocket::bind("10.9.0.1:4000").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"hello", "10.9.0.2:5000").unwrap();
    let mut buffer = vec![0; TUN_BUFFER];
    let (header, packet) = loop {
        if let Some((header, packet)) = tun.queues[0].recv(&mut buffer).unwrap() {
            if packet[0] == 0x45 && packet[9] == 17 {
                break (header, packet);
            }
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let mut answer = vec![0; packet.len()];
    Segments::parse(&header, packet).unwrap().write(0, &mut answer).unwrap();
    assert_eq!(&answer[28..], b"hello");
    // Swapping addresses and ports leaves both checksums right.
    answer.copy_within(12..16, 16);
    answer[12..16].copy_from_slice(&[10, 9, 0, 2]);
    answer.copy_within(20..22, 22);
    answer[20..22].copy_from_slice(&5000u16.to_be_bytes());
    tun.queues[0].send(&answer).unwrap();
    let mut got = [0; 100];
    let (length, from) = socket.recv_from(&mut got).unwrap();
    assert_eq!((&got[..length], from), (&b"hello"[..], "10.9.0.2:5000".parse().unwrap()));
}

#[test]
fn multi_queue() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&TunConfig { queues: 4, ..config("ktl0") }).unwrap();
    assert_eq!(tun.queues.len(), 4);
    ip("addr add 10.9.0.1/24 dev ktl0");
    tun.interface.set_up(true).unwrap();
    for number in 0..100u16 {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.send_to(&number.to_be_bytes(), "10.9.0.2:5000").unwrap();
    }
    let mut seen = Vec::new();
    let mut buffer = vec![0; TUN_BUFFER];
    for queue in &tun.queues {
        while let Some((_, packet)) = queue.recv(&mut buffer).unwrap() {
            if packet[0] == 0x45 && packet[9] == 17 {
                seen.push(u16::from_be_bytes([packet[28], packet[29]]));
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[test]
fn deletion_from_outside_is_gone() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&config("ktl0")).unwrap();
    let mut watch = NetlinkWatch::open(tun.interface.index()).unwrap();
    let mut poller = Poller::new().unwrap();
    poller.add(tun.queues[0].as_fd(), 7).unwrap();
    ip("link delete ktl0");
    assert!(poller.wait(None).unwrap().has(7), "wakes the worker");
    let mut buffer = vec![0; TUN_BUFFER];
    assert!(matches!(tun.queues[0].recv(&mut buffer), Err(TunError::Gone)));
    assert!(matches!(tun.queues[0].send(&[0x45; 20]), Err(TunError::Gone)));
    let mut coalescer = Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify);
    let delivered = tun.queues[0].deliver(&mut coalescer, &[[0x45; 20]], &mut DeliveryReport::default());
    assert!(matches!(delivered, Err(TunError::Gone)));
    let mut events = Vec::new();
    watch.read(|event| events.push(event)).unwrap();
    assert_eq!(events.iter().filter(|event| **event == LinkEvent::Deleted).count(), 1, "{events:?}");
}

#[test]
fn down_and_nonsense_are_counted_not_fatal() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&config("ktl0")).unwrap();
    let mut coalescer = Coalescer::new(tun.queues[0].offload(), ChecksumPolicy::Verify);
    let mut report = DeliveryReport::default();
    tun.queues[0].deliver(&mut coalescer, &[[0x45; 20]], &mut report).unwrap();
    assert_eq!((report.interface_down, report.packets), (1, 0));
    tun.interface.set_up(true).unwrap();
    tun.queues[0].deliver(&mut coalescer, &[[0x15; 20]], &mut report).unwrap();
    assert_eq!((report.refused, report.packets), (1, 0));
}

#[test]
fn a_refused_super_packet_is_delivered_in_pieces() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&config("ktl0")).unwrap();
    tun.interface.set_up(true).unwrap();
    ip("addr add 10.9.0.1/24 dev ktl0");
    let socket = UdpSocket::bind("10.9.0.1:5000").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut random = Random(20);
    let mut inner = common::Inner::random(&mut random, 0);
    (inner.v6, inner.tcp, inner.tos, inner.ttl) = (false, false, 0, 64);
    inner.addresses[..8].copy_from_slice(&[10, 9, 0, 2, 10, 9, 0, 1]);
    inner.ports = [0x10, 0, 0x13, 0x88];
    inner.payload = random.bytes(1000);
    let packets = inner.split(100);
    let mut coalescer = Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify);
    let mut report = DeliveryReport::default();
    tun.queues[0].deliver(&mut coalescer, &packets, &mut report).unwrap();
    assert_eq!((report.packets, report.bytes), (10, 1280));
    // With USO: one write. Without (before Linux 6.2): one refused and ten more.
    assert_eq!(report.writes, if report.step_downs == 0 { 1 } else { 11 });
    let check = |inner: &common::Inner| {
        let mut got = [0; 2000];
        for piece in inner.payload.chunks(100) {
            let length = socket.recv(&mut got).unwrap();
            assert_eq!(&got[..length], piece);
        }
    };
    check(&inner);
    // Now for certain: the kernel takes no write of more than header and one packet.
    let mut coalescer = Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify);
    common::refuse_calls(libc::SYS_writev, 2, 2, libc::EINVAL);
    for writes in [11, 10] {
        let before = report.writes;
        tun.queues[0].deliver(&mut coalescer, &packets, &mut report).unwrap();
        assert_eq!(report.writes - before, writes, "refused once, then not tried again");
        check(&inner);
    }
    assert_eq!((report.packets, report.refused), (30, 0));
}

#[test]
fn rules_are_noticed() {
    if !enter_namespace_with_tun() {
        return;
    }
    // With every interface down, IPv6 has nothing to do in the background.
    let loopback = kerntun_linux::interface::index_of("lo").unwrap();
    let mut watch = NetlinkWatch::open(loopback).unwrap();
    let mut routes_changed = || {
        let mut changed = false;
        watch.read(|event| changed |= event == LinkEvent::RoutesChanged).unwrap();
        changed
    };
    assert!(!routes_changed());
    for family in ["-4", "-6"] {
        ip(&format!("{family} rule add fwmark 7 table 77"));
        assert!(routes_changed(), "{family}");
        assert!(!routes_changed());
    }
}

#[test]
fn mtu_and_state_changes_are_noticed() {
    if !enter_namespace_with_tun() {
        return;
    }
    let tun = Tun::create(&config("ktl0")).unwrap();
    let mut watch = NetlinkWatch::open(tun.interface.index()).unwrap();
    let mut events = || {
        let mut events = Vec::new();
        watch.read(|event| events.push(event)).unwrap();
        events
    };
    // IPv6 sets up its own routes in the background, whenever it likes.
    let link_only = |mut events: Vec<LinkEvent>| {
        events.retain(|event| *event != LinkEvent::RoutesChanged);
        events
    };
    assert_eq!(link_only(events()), [LinkEvent::Mtu(1500), LinkEvent::Down]);
    assert_eq!(link_only(events()), []);
    ip("link set ktl0 mtu 1280");
    assert_eq!(link_only(events()), [LinkEvent::Mtu(1280)]);
    ip("link set ktl0 up");
    assert!(events().contains(&LinkEvent::Up));
    ip("link set lo mtu 40000");
    assert_eq!(link_only(events()), []);
    ip("addr add 10.9.0.1/24 dev ktl0");
    assert!(events().contains(&LinkEvent::RoutesChanged));
    ip("route add 10.10.0.0/16 dev ktl0");
    assert!(events().contains(&LinkEvent::RoutesChanged));
    ip("link set ktl0 down");
    assert!(events().contains(&LinkEvent::Down));
    // Flooded until the kernel drops messages: the state is asked for again.
    for _ in 0..1000 {
        for mtu in [1300, 1301] {
            tun.interface.set_mtu(mtu).unwrap();
        }
    }
    tun.interface.set_mtu(1302).unwrap();
    let flood = events();
    assert!(flood.contains(&LinkEvent::RoutesChanged), "the loss is noticed");
    let last = flood.into_iter().rfind(|event| matches!(event, LinkEvent::Mtu(_)));
    assert_eq!(last, Some(LinkEvent::Mtu(1302)));
    let sleeper = std::process::Command::new("unshare").args(["-n", "sleep", "60"]).spawn();
    if let Ok(mut sleeper) = sleeper {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        let here = namespace("thread-self");
        common::wait_until("it has left", || namespace(&sleeper.id().to_string()) != here);
        ip(&format!("link set ktl0 netns {}", sleeper.id()));
        let moved = events();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(moved.contains(&LinkEvent::Moved) && !moved.contains(&LinkEvent::Deleted), "{moved:?}");
    }
}

/// Two hosts, each a namespace with a TUN device, and between them a cable that does what a tunnel does: it cuts
/// super-packets on one side and merges packets on the other.
struct Cable {
    stop: Arc<AtomicBool>,
    wakers: [Waker; 2],
    threads: Vec<thread::JoinHandle<DeliveryReport>>,
    supers: Arc<AtomicU64>,
    udp_supers: Arc<AtomicU64>,
}

struct Host {
    tun: Tun,
    /// Kept so that test sockets can be made inside.
    namespace: std::fs::File,
}

fn host(number: u8, offload: TunOffload) -> Host {
    new_namespace();
    let tun = Tun::create(&TunConfig { offload, ..config("ktl0") }).unwrap();
    tun.interface.set_mtu(1420).unwrap();
    tun.interface.set_up(true).unwrap();
    ip(&format!("addr add 10.9.0.{number}/24 dev ktl0"));
    common::add_ipv6(&format!("fd09::{number}"), 64, "ktl0");
    Host { tun, namespace: common::this_namespace() }
}

impl Host {
    fn enter(&self) {
        common::enter(&self.namespace);
    }

    fn queue(&mut self) -> Arc<TunQueue> {
        Arc::new(self.tun.queues.remove(0))
    }
}

fn connect(a: &mut Host, b: &mut Host) -> Cable {
    let (a, b) = (a.queue(), b.queue());
    let stop = Arc::new(AtomicBool::new(false));
    let supers = Arc::new(AtomicU64::new(0));
    let udp_supers = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    let mut wakers = Vec::new();
    for (from, to) in [(a.clone(), b.clone()), (b, a)] {
        let (stop, supers, udp_supers) = (stop.clone(), supers.clone(), udp_supers.clone());
        let mut poller = Poller::new().unwrap();
        poller.add(from.as_fd(), 0).unwrap();
        wakers.push(poller.waker());
        threads.push(thread::spawn(move || {
            let mut report = DeliveryReport::default();
            let mut coalescer = Coalescer::new(to.offload(), ChecksumPolicy::Verify);
            let mut buffer = vec![0; TUN_BUFFER];
            while !stop.load(Ordering::Relaxed) {
                poller.wait(None).unwrap();
                let mut packets = Vec::new();
                while let Some((header, packet)) = from.recv(&mut buffer).unwrap() {
                    let segments = Segments::parse(&header, packet).unwrap();
                    supers.fetch_add(u64::from(segments.len() > 1), Ordering::Relaxed);
                    // USO, both versions.
                    udp_supers.fetch_add(u64::from(header.gso_type == 5), Ordering::Relaxed);
                    assert!(segments.segment_len(0) <= 1420);
                    for index in 0..segments.len() {
                        let mut out = vec![0; segments.segment_len(index)];
                        segments.write(index, &mut out).unwrap();
                        packets.push(out);
                    }
                    assert!(from.offload().checksum || header == VnetHeader::default());
                    if packets.len() > 200 {
                        break;
                    }
                }
                to.deliver(&mut coalescer, &packets, &mut report).unwrap();
            }
            report
        }));
    }
    Cable { stop, wakers: wakers.try_into().unwrap(), threads, supers, udp_supers }
}

impl Cable {
    fn end(self, uso: bool) -> (u64, Vec<DeliveryReport>) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        assert_eq!(self.udp_supers.load(Ordering::Relaxed), if uso { 2 } else { 0 });
        (self.supers.load(Ordering::Relaxed), self.threads.into_iter().map(|t| t.join().unwrap()).collect())
    }
}

fn bulk(offload_a: TunOffload, offload_b: TunOffload) -> (u64, Vec<DeliveryReport>) {
    let mut a = host(1, offload_a);
    let mut b = host(2, offload_b);
    let uso = a.tun.queues[0].offload().uso;
    let cable = connect(&mut a, &mut b);
    let data = Arc::new(Random(30).bytes(8 << 20));
    for address in ["10.9.0.2:80", "[fd09::2]:80"] {
        b.enter();
        let listener = TcpListener::bind(address).unwrap();
        let expected = data.clone();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            assert!(got == *expected, "{} of {} bytes", got.len(), expected.len());
            stream.write_all(b"done").unwrap();
        });
        a.enter();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&data).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "done");
        server.join().unwrap();
    }
    for (address, from) in [("10.9.0.2:81", "10.9.0.1:0"), ("[fd09::2]:81", "[fd09::1]:0")] {
        b.enter();
        let receiver = UdpSocket::bind(address).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        a.enter();
        let sender = UdpSocket::bind(from).unwrap();
        let size: libc::c_int = 1000;
        // SAFETY: UDP_SEGMENT (103) of level UDP (17) takes an int.
        let result = unsafe { libc::setsockopt(sender.as_raw_fd(), 17, 103, (&raw const size).cast(), 4) };
        assert_eq!(result, 0);
        sender.send_to(&data[..40_500], address).unwrap();
        let mut buffer = [0; 2000];
        for piece in data[..40_500].chunks(1000) {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], piece);
        }
    }
    cable.end(uso)
}

#[test]
fn bulk_with_all_offloads() {
    if !enter_namespace_with_tun() {
        return;
    }
    let (supers, reports) = bulk(TunOffload::ALL, TunOffload::ALL);
    assert!(supers > 100, "the kernel gave {supers} super-packets");
    let forward = reports[0];
    assert!(forward.packets > 3 * forward.writes, "merged: {forward:?}");
    for report in reports {
        let lost = [report.interface_down, report.no_room, report.refused, report.step_downs];
        assert_eq!(lost, [0; 4]);
    }
}

#[test]
fn bulk_with_each_offload_off() {
    if !enter_namespace_with_tun() {
        return;
    }
    let no_uso = TunOffload { uso: false, ..TunOffload::ALL };
    let checksum_only = TunOffload { checksum: true, ..TunOffload::NONE };
    for (a, b) in [(TunOffload::ALL, TunOffload::NONE), (no_uso, checksum_only), (TunOffload::NONE, TunOffload::ALL)] {
        let (supers, reports) = bulk(a, b);
        assert_eq!(supers > 0, a.tso4);
        if !b.tso4 {
            assert_eq!(reports[0].packets, reports[0].writes);
        }
    }
}
