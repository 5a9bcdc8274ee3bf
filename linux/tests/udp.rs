//! UDP sockets against the running kernel, each test in a network namespace of its own.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use common::{Random, enter_namespace, ip, sysctl};
use kerntun_linux::{
    BindError, Bound, Poller, RecvBatch, Route, SendEvent, SendQueue, Sockets, Source, UdpConfig, UdpOffload,
    UdpSocket, bind, boottime,
};

const CONFIG: UdpConfig = UdpConfig { port: 0, mark: 0, workers: 1, offload: UdpOffload::ALL, ipv6: true };

/// A datagram as received, its message's facts beside it.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    source: SocketAddr,
    local: Option<Source>,
    tos: u8,
    data: Vec<u8>,
}

/// Waits until `count` datagrams are there, and returns them with the number of messages they came in.
fn receive(socket: &UdpSocket, batch: &mut RecvBatch, count: usize) -> (Vec<Got>, usize) {
    let mut poller = Poller::new().unwrap();
    poller.add(socket.as_fd(), 1).unwrap();
    let deadline = boottime() + 10_000_000_000;
    let (mut got, mut messages) = (Vec::new(), 0);
    while got.len() < count {
        let ready = poller.wait(Some(deadline)).unwrap();
        assert!(!ready.expired, "{} of {count} datagrams came", got.len());
        batch.recv(socket).unwrap();
        for message in batch.messages() {
            messages += 1;
            let (source, local, tos) = (message.source, message.local, message.tos);
            got.extend(message.datagrams().map(|data| Got { source, local, tos, data: data.to_vec() }));
        }
    }
    (got, messages)
}

fn route(destination: SocketAddr) -> Route {
    Route { destination, source: None, tos: 0 }
}

fn queue_run(queue: &mut SendQueue, data: &[u8], stride: usize, route: Route) {
    queue.reserve(data.len()).unwrap().copy_from_slice(data);
    queue.commit(data.len(), stride, route);
}

fn events(queue: &mut SendQueue) -> Vec<SendEvent> {
    queue.events().collect()
}

fn only(bound: Bound) -> (u16, Sockets) {
    let Bound { port, mut workers, .. } = bound;
    (port, workers.remove(0))
}

#[test]
fn both_families_on_one_port() {
    if !enter_namespace() {
        return;
    }
    let first = bind(&CONFIG).unwrap();
    assert!(first.no_ipv6.is_none());
    assert_ne!(first.port, 0);
    let sockets = &first.workers[0];
    assert!(sockets.v6.as_ref().unwrap().is_ipv6() && !sockets.v4.is_ipv6());
    assert!(matches!(bind(&UdpConfig { port: first.port, ..CONFIG }), Err(BindError::PortInUse(p)) if p == first.port));
    // Not even if both would share with their own siblings.
    let shared = bind(&UdpConfig { workers: 3, ..CONFIG }).unwrap();
    assert_eq!(shared.workers.len(), 3);
    let taken = bind(&UdpConfig { port: shared.port, workers: 3, ..CONFIG });
    assert!(matches!(taken, Err(BindError::PortInUse(_))));
    // A port taken for IPv6 alone is in use as well.
    let only_v6 = std::net::UdpSocket::bind("[::1]:4000").unwrap();
    assert!(matches!(bind(&UdpConfig { port: 4000, ..CONFIG }), Err(BindError::PortInUse(4000))));
    drop(only_v6);
    assert_eq!(bind(&UdpConfig { port: 4000, ..CONFIG }).unwrap().port, 4000);
}

#[test]
fn a_random_port_is_tried_again() {
    if !enter_namespace() {
        return;
    }
    // Of the four ports there are, three are taken in one family.
    sysctl("ipv4/ip_local_port_range", "5000 5003");
    let taken: Vec<_> = (5000..5003u16).map(|port| std::net::UdpSocket::bind(("::1", port)).unwrap()).collect();
    assert_eq!(bind(&CONFIG).unwrap().port, 5003);
    let last = std::net::UdpSocket::bind("[::1]:5003").unwrap();
    assert!(matches!(bind(&CONFIG), Err(BindError::NoFreePort)));
    drop((taken, last));
}

#[test]
fn ports_and_marks_need_their_rights() {
    if !enter_namespace() {
        return;
    }
    let marked = bind(&UdpConfig { mark: 0x1234, ..CONFIG }).unwrap();
    for socket in [&marked.workers[0].v4, marked.workers[0].v6.as_ref().unwrap()] {
        assert_eq!(mark(socket), 0x1234);
    }
    marked.workers[0].set_mark(0).unwrap();
    assert_eq!(mark(&marked.workers[0].v4), 0);
    let header: [u32; 2] = [0x2008_0522, 0];
    // SAFETY: version 3 of capset takes a header of 8 and data of 24 bytes.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), [0u32; 6].as_ptr()) }, 0);
    assert!(matches!(bind(&UdpConfig { port: 53, ..CONFIG }), Err(BindError::Permission(53))));
    assert!(matches!(bind(&UdpConfig { mark: 1, ..CONFIG }), Err(BindError::MarkPermission(_))));
    assert!(bind(&CONFIG).is_ok());
}

fn mark(socket: &UdpSocket) -> libc::c_int {
    let (mut value, mut length) = (0, 4);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: pointers to an int and its size.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MARK, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(result, 0);
    value
}

#[test]
fn runs_arrive_as_they_were_sealed() {
    if !enter_namespace() {
        return;
    }
    for offload in
        [UdpOffload::ALL, UdpOffload { gso: false, gro: true }, UdpOffload { gso: true, gro: false }, UdpOffload::NONE]
    {
        let config = UdpConfig { offload, ..CONFIG };
        let (_, sender) = only(bind(&config).unwrap());
        let (port, receiver) = only(bind(&config).unwrap());
        let mut queue = SendQueue::new();
        let mut batch = RecvBatch::new(8);
        let mut random = Random(40);
        for (address, socket) in [("127.0.0.1", &receiver.v4), ("::1", receiver.v6.as_ref().unwrap())] {
            let to = route(SocketAddr::new(address.parse().unwrap(), port));
            let data = random.bytes(200_000);
            // More datagrams than fit into one message, the last one shorter; then singles; then other sizes.
            let mut expected: Vec<Vec<u8>> = Vec::new();
            let mut at = 0;
            for (len, stride) in [(100_001, 1452), (1452, 1452), (1452, 1452), (32, 32), (148, 148), (64 * 80 + 5, 80)]
            {
                let piece = &data[at..at + len];
                at += len;
                queue_run(&mut queue, piece, stride, to);
                expected.extend(piece.chunks(stride).map(<[u8]>::to_vec));
            }
            let before = queue.stats();
            queue.flush(&sender, boottime());
            assert!(queue.is_empty());
            assert!(events(&mut queue).is_empty());
            let (got, messages) = receive(socket, &mut batch, expected.len());
            assert_eq!(got.into_iter().map(|got| got.data).collect::<Vec<_>>(), expected, "{offload:?} {address}");
            let stats = queue.stats();
            assert_eq!(stats.datagrams - before.datagrams, expected.len() as u64);
            assert_eq!(stats.bytes - before.bytes, at as u64);
            if offload.gso {
                assert_eq!(stats.calls - before.calls, 1, "one sendmmsg for all");
            }
            assert_eq!(messages < expected.len(), offload.gso && offload.gro, "joined: {messages} messages");
        }
    }
}

#[test]
fn ecn_and_dscp_both_ways() {
    if !enter_namespace() {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    let mut batch = RecvBatch::new(4);
    for (address, socket) in [("127.0.0.1", &receiver.v4), ("::1", receiver.v6.as_ref().unwrap())] {
        let to = route(SocketAddr::new(address.parse().unwrap(), port));
        let values = [0, 1, 2, 3, 0x88, 0];
        for tos in values {
            queue_run(&mut queue, &[tos; 100], 50, Route { tos, ..to });
        }
        queue.flush(&sender, boottime());
        let (got, _) = receive(socket, &mut batch, 12);
        for (pair, tos) in got.chunks(2).zip(values) {
            assert!(
                pair.iter().all(|got| got.tos == tos && got.data == vec![tos; 50]),
                "{address}: {pair:?}, not {tos}"
            );
        }
    }
}

#[test]
fn answers_leave_from_where_they_were_asked() {
    if !enter_namespace() {
        return;
    }
    ip("addr add 10.8.0.1/32 dev lo");
    ip("addr add 10.8.0.2/32 dev lo");
    common::add_ipv6("fd08::1", 128, "lo");
    common::add_ipv6("fd08::2", 128, "lo");
    let (port_a, a) = only(bind(&CONFIG).unwrap());
    let (port_b, b) = only(bind(&CONFIG).unwrap());
    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(4));
    for (from, to, v6) in [("10.8.0.1", "10.8.0.2", false), ("fd08::1", "fd08::2", true)] {
        let pick = |sockets: &'static Sockets| if v6 { sockets.v6.as_ref().unwrap() } else { &sockets.v4 };
        let (a, b): (&'static Sockets, &'static Sockets) = (leak(&a), leak(&b));
        let from: IpAddr = from.parse().unwrap();
        let to: IpAddr = to.parse().unwrap();
        let source = Some(Source { address: from, interface: 0 });
        queue_run(&mut queue, b"ask", 3, Route { destination: SocketAddr::new(to, port_b), source, tos: 0 });
        queue.flush(a, boottime());
        let told = events(&mut queue);
        assert!(told.is_empty(), "{told:?}");
        let (got, _) = receive(pick(b), &mut batch, 1);
        assert_eq!(got[0].source, SocketAddr::new(from, port_a));
        assert_eq!(got[0].local, Some(Source { address: to, interface: 1 }));
        // From the learnt address; the kernel by itself would choose another one.
        queue_run(&mut queue, b"answer", 6, Route { destination: got[0].source, source: got[0].local, tos: 0 });
        queue.flush(b, boottime());
        assert!(events(&mut queue).is_empty());
        let (got, _) = receive(pick(a), &mut batch, 1);
        assert_eq!(got[0].source, SocketAddr::new(to, port_b));
        // The address vanishes: the data arrive all the same, and we are told. Runs and single datagrams.
        ip(&format!("addr del {to}/{} dev lo", if v6 { 128 } else { 32 }));
        let lost = Source { address: to, interface: 1 };
        queue_run(
            &mut queue,
            &[7; 250],
            100,
            Route { destination: SocketAddr::new(from, port_a), source: Some(lost), tos: 0 },
        );
        queue.flush(b, boottime());
        let told = events(&mut queue);
        assert!(matches!(&told[..], [SendEvent::SourceLost { source, .. }] if *source == lost), "{told:?}");
        let (got, _) = receive(pick(a), &mut batch, 3);
        assert_eq!(got.iter().map(|got| got.data.len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert_ne!(got[0].source.ip(), to);
    }
    assert_eq!((queue.stats().source_lost, queue.stats().gso_refused), (2, 0));
}

fn leak<T>(value: &T) -> &'static T {
    // SAFETY: used within the test that owns the value, which outlives every use.
    unsafe { &*std::ptr::from_ref(value) }
}

#[test]
fn link_local_endpoints_keep_their_scope() {
    if !enter_namespace() {
        return;
    }
    // Two hosts with a cable between them. The numbers of the interfaces differ.
    let near = common::this_namespace();
    let (_, a) = only(bind(&CONFIG).unwrap());
    common::new_namespace();
    ip("link add ktlv2 type veth peer name ktlv3");
    ip(&format!("link add ktlv1 type veth peer name ktlv0 netns /proc/{}/fd/{}", std::process::id(), near.as_raw_fd()));
    let (port_b, b) = only(bind(&CONFIG).unwrap());
    ip("link set ktlv1 up");
    common::add_ipv6("fe80::2", 64, "ktlv1");
    common::add_ipv6("fd08::2", 64, "ktlv1");
    let far_index = kerntun_linux::interface::index_of("ktlv1").unwrap();
    common::enter(&near);
    ip("link set ktlv0 up");
    common::add_ipv6("fe80::1", 64, "ktlv0");
    common::add_ipv6("fd08::1", 64, "ktlv0");
    let near_index = kerntun_linux::interface::index_of("ktlv0").unwrap();
    assert_ne!(near_index, far_index);

    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(4));
    let link_local = SocketAddrV6::new("fe80::2".parse().unwrap(), port_b, 0, near_index);
    let from_global = Some(Source { address: "fd08::1".parse().unwrap(), interface: 0 });
    // From one link-local address to another, and from a global address to a link-local one and back.
    for source in [None, from_global] {
        queue_run(&mut queue, b"ask", 3, Route { source, ..route(link_local.into()) });
        queue.flush(&a, boottime());
        let told = events(&mut queue);
        assert!(told.is_empty(), "{told:?}");
        let (got, _) = receive(b.v6.as_ref().unwrap(), &mut batch, 1);
        assert_eq!(got[0].local, Some(Source { address: "fe80::2".parse().unwrap(), interface: far_index }));
        let SocketAddr::V6(asker) = got[0].source else { panic!("{got:?}") };
        assert_eq!(asker.scope_id(), if source.is_none() { far_index } else { 0 });
        queue_run(&mut queue, b"answer", 6, Route { source: got[0].local, ..route(asker.into()) });
        queue.flush(&b, boottime());
        let told = events(&mut queue);
        assert!(told.is_empty(), "{told:?}");
        let (got, _) = receive(a.v6.as_ref().unwrap(), &mut batch, 1);
        assert_eq!((got[0].source, &got[0].data[..]), (link_local.into(), &b"answer"[..]));
    }
}

#[test]
fn segmentation_steps_down_and_loses_nothing() {
    if !enter_namespace() {
        return;
    }
    // Datagrams above the MTU cannot be segmented by the kernel; one by one they are fragmented.
    ip("link set lo mtu 1300");
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(8));
    let data = Random(41).bytes(20_000);
    for (address, socket) in [("127.0.0.1", &receiver.v4), ("::1", receiver.v6.as_ref().unwrap())] {
        let to = route(SocketAddr::new(address.parse().unwrap(), port));
        let mut now = 1_000_000_000;
        let mut round = |now: u64, stride: usize| {
            let calls = queue.stats().calls;
            queue_run(&mut queue, &data, stride, to);
            queue.flush(&sender, now);
            let got = receive(socket, &mut batch, data.len().div_ceil(stride)).0;
            assert_eq!(got.into_iter().flat_map(|got| got.data).collect::<Vec<_>>(), data);
            (events(&mut queue), queue.stats().calls - calls)
        };
        let (told, _) = round(now, 1400);
        assert!(
            matches!(&told[..], [SendEvent::GsoRefused { stride: 1400, destination, .. }] if *destination == to.destination),
            "{told:?}"
        );
        // Remembered, told once; one sendmmsg for all. Smaller ones are not concerned.
        assert_eq!(sender.for_destination(&to.destination).unwrap().segments(1400, now), 1);
        assert_eq!(sender.for_destination(&to.destination).unwrap().segments(1000, now), 64);
        let (told, calls) = round(now, 1400);
        assert!(told.is_empty() && calls == 1, "{told:?} {calls}");
        assert!(round(now, 1000).0.is_empty());
        // Tried again after a minute.
        now += 61_000_000_000;
        assert_eq!(sender.for_destination(&to.destination).unwrap().segments(1400, now), 46);
        assert_eq!(round(now, 1400).0.len(), 1);
        ip("link set lo mtu 65536");
        now += 61_000_000_000;
        assert!(round(now, 1400).0.is_empty());
        ip("link set lo mtu 1300");
    }
    assert_eq!(queue.stats().gso_refused, 4);
    assert_eq!(queue.stats().too_big, 0);
}

#[test]
fn failures_are_counted_by_cause() {
    if !enter_namespace() {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    let mut batch = RecvBatch::new(1);
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    // Larger than any UDP datagram; those behind it still leave.
    let here = route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    queue_run(&mut queue, &[1; 65_508], 65_508, here);
    queue_run(&mut queue, &[2; 65_507], 65_507, here);
    queue.flush(&sender, 0);
    assert_eq!((queue.stats().too_big, queue.stats().datagrams), (1, 1));
    assert!(matches!(&events(&mut queue)[..], [SendEvent::Dropped { datagrams: 1, .. }]));
    assert_eq!(receive(&receiver.v4, &mut batch, 1).0[0].data.len(), 65_507);
    // Nowhere.
    queue_run(&mut queue, &[1; 300], 100, route("192.0.2.1:9".parse().unwrap()));
    queue_run(&mut queue, &[1; 300], 100, route("[2001:db8::1]:9".parse().unwrap()));
    queue.flush(&sender, 0);
    assert_eq!(queue.stats().unreachable, 6);
    // Forbidden by a rule.
    if common::try_run("iptables", "-A OUTPUT -p udp -j DROP") {
        queue_run(&mut queue, &[1; 300], 100, here);
        queue.flush(&sender, 0);
        assert_eq!(queue.stats().forbidden, 3);
        common::run("iptables", "-F OUTPUT");
    }
    // No socket of that family.
    let (_, v4_only) = only(bind(&UdpConfig { ipv6: false, ..CONFIG }).unwrap());
    queue_run(&mut queue, &[1; 10], 10, route("[::1]:9".parse().unwrap()));
    queue.flush(&v4_only, 0);
    assert_eq!(queue.stats().unreachable, 7);
    assert_eq!(queue.stats().datagrams, 1);
    // Impossible commits queue nothing; a full queue says so.
    queue.commit(0, 10, here);
    queue.commit(10, 0, here);
    queue.commit(2 << 20, 10, here);
    assert!(queue.is_empty());
    assert!(queue.reserve((1 << 20) + 1).is_none());
    assert!(queue.reserve(1 << 20).is_some());
}

#[test]
fn icmp_errors_do_not_end_receiving() {
    if !enter_namespace() {
        return;
    }
    let (port, socket) = only(bind(&CONFIG).unwrap());
    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(2));
    // The port is closed; the kernel answers with ICMP, and shows it where it is asked to.
    let one: libc::c_int = 1;
    // SAFETY: IP_RECVERR takes an int.
    let result = unsafe {
        libc::setsockopt(socket.v4.as_fd().as_raw_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, (&raw const one).cast(), 4)
    };
    assert_eq!(result, 0);
    queue_run(&mut queue, b"x", 1, route("127.0.0.1:9".parse().unwrap()));
    queue.flush(&socket, 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(batch.recv(&socket.v4).unwrap(), 0);
    assert_eq!(batch.stats().errors, 1);
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    other.send_to(b"alive", ("127.0.0.1", port)).unwrap();
    assert_eq!(receive(&socket.v4, &mut batch, 1).0[0].data, b"alive");
    // Empty datagrams are counted, and nothing else.
    other.send_to(b"", ("127.0.0.1", port)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(batch.recv(&socket.v4).unwrap(), 1);
    assert_eq!(batch.messages().count(), 0);
    assert_eq!(batch.stats().empty, 1);
}

#[test]
fn truncated_datagrams_are_dropped_and_counted() {
    if !enter_namespace() {
        return;
    }
    let (port, socket) = only(bind(&UdpConfig { offload: UdpOffload::NONE, ..CONFIG }).unwrap());
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [100, 101, 9000, 99] {
        sender.send_to(&vec![length as u8; length], ("127.0.0.1", port)).unwrap();
    }
    let mut batch = RecvBatch::with_buffers(8, 100);
    let (got, _) = receive(&socket.v4, &mut batch, 2);
    assert_eq!(got.iter().map(|got| got.data.len()).collect::<Vec<_>>(), [100, 99]);
    assert_eq!((batch.stats().truncated, batch.stats().messages), (2, 2));
}

#[test]
fn segmentation_refused_outright_and_a_lost_source_at_once() {
    if !enter_namespace() {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    // Without checksums the kernel cannot segment at any size (udp_send_skb: EINVAL).
    let one: libc::c_int = 1;
    let fd = sender.v4.as_fd().as_raw_fd();
    // SAFETY: SO_NO_CHECK takes an int.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const one).cast(), 4) };
    assert_eq!(result, 0);
    let source = Some(Source { address: "10.77.0.1".parse().unwrap(), interface: 0 });
    let to = Route { source, ..route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)) };
    let (mut queue, mut batch) = (SendQueue::with_buffer(10_000), RecvBatch::new(8));
    let data = Random(42).bytes(9_950);
    queue_run(&mut queue, &data, 100, to);
    queue.flush(&sender, 1);
    let told = events(&mut queue);
    let refused = told.iter().filter(|event| matches!(event, SendEvent::GsoRefused { stride: 100, .. })).count();
    let lost = told.iter().filter(|event| matches!(event, SendEvent::SourceLost { .. })).count();
    // Two messages, 64 and 36 datagrams; each finds out about the source, the socket remembers about segmentation.
    assert_eq!((refused, lost, told.len()), (1, 2, 3), "{told:?}");
    let (got, _) = receive(&receiver.v4, &mut batch, 100);
    assert_eq!(got.into_iter().flat_map(|got| got.data).collect::<Vec<_>>(), data);
    assert_eq!((queue.stats().datagrams, queue.stats().other), (100, 0));
    assert_eq!(sender.v4.segments(50, 2), 1, "no size works");
    assert_eq!(sender.v6.as_ref().unwrap().segments(100, 2), 64, "the other family is not concerned");
}

#[test]
fn a_system_without_ipv6_is_no_error() {
    if !enter_namespace() {
        return;
    }
    // Any socket of family AF_INET6 (10) or above.
    common::refuse_calls(libc::SYS_socket, 0, 9, libc::EAFNOSUPPORT);
    let bound = bind(&UdpConfig { workers: 2, ..CONFIG }).unwrap();
    assert_eq!(bound.no_ipv6.unwrap().raw_os_error(), Some(libc::EAFNOSUPPORT));
    assert!(bound.workers.iter().all(|sockets| sockets.v6.is_none()));
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    queue_run(&mut queue, b"four", 4, route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    queue.flush(&bound.workers[1], 0);
    assert_eq!(receive(&receiver.v4, &mut RecvBatch::new(2), 1).0[0].data, b"four");
}

#[test]
fn workers_share_the_port() {
    if !enter_namespace() {
        return;
    }
    let bound = bind(&UdpConfig { workers: 4, ..CONFIG }).unwrap();
    for address in ["127.0.0.1", "::1"] {
        let mut peers = Vec::new();
        for number in 0..64u8 {
            let peer = std::net::UdpSocket::bind((address, 0)).unwrap();
            for _ in 0..4 {
                peer.send_to(&[number], (address, bound.port)).unwrap();
            }
            peers.push(peer);
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for worker in &bound.workers {
            let socket = if address == "::1" { worker.v6.as_ref().unwrap() } else { &worker.v4 };
            let mut batch = RecvBatch::new(32);
            let mut numbers = Vec::new();
            while batch.recv(socket).unwrap() > 0 {
                batch.messages().for_each(|message| numbers.extend_from_slice(message.data));
            }
            seen.push(numbers);
        }
        assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), 256);
        assert!(seen.iter().filter(|numbers| !numbers.is_empty()).count() > 1, "spread over workers");
        for number in 0..64 {
            let owners = seen.iter().filter(|numbers| numbers.contains(&number)).count();
            assert_eq!(owners, 1, "one source stays with one worker");
        }
    }
}

#[test]
fn works_without_ipv6() {
    if !enter_namespace() {
        return;
    }
    for name in ["all", "default", "lo"] {
        sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    }
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    queue_run(&mut queue, b"six", 3, route(SocketAddr::new("::1".parse().unwrap(), port)));
    queue_run(&mut queue, b"four", 4, route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    queue.flush(&sender, 0);
    assert_eq!((queue.stats().unreachable, queue.stats().datagrams), (1, 1));
    let (got, _) = receive(&receiver.v4, &mut RecvBatch::new(2), 1);
    assert_eq!(got[0].data, b"four");
}

#[test]
fn a_full_socket_buffer_is_waited_for_then_dropped() {
    if !enter_namespace() {
        return;
    }
    // A veth that is rate-limited far below what is sent, with a queue that holds more than the socket buffer.
    ip("link add ktlv0 type veth peer name ktlv1");
    ip("link set ktlv0 up");
    ip("link set ktlv1 up");
    ip("addr add 10.8.0.1/24 dev ktlv0");
    ip("neigh add 10.8.0.2 lladdr 02:00:00:00:00:01 dev ktlv0");
    if !common::try_run("tc", "qdisc add dev ktlv0 root tbf rate 50mbit burst 10kb limit 100mb") {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let size: libc::c_int = 20_000;
    // SAFETY: SO_SNDBUF takes an int.
    let result = unsafe {
        libc::setsockopt(sender.v4.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const size).cast(), 4)
    };
    assert_eq!(result, 0);
    let mut queue = SendQueue::new();
    let to = |port| route(SocketAddr::new("10.8.0.2".parse().unwrap(), port));
    // About 140 KB, more than the buffer takes, drain in some 20 ms: waited for.
    for port in 1000..1100 {
        queue_run(&mut queue, &[0; 1400], 1400, to(port));
    }
    queue.flush(&sender, boottime());
    let stats = queue.stats();
    assert_eq!((stats.datagrams, stats.no_room), (100, 0), "{stats:?}");
    // Almost standing still: dropped in the end.
    common::run("tc", "qdisc change dev ktlv0 root tbf rate 100kbit burst 10kb limit 100mb");
    for port in 1000..1200 {
        queue_run(&mut queue, &[0; 1400], 1400, to(port));
    }
    queue.flush(&sender, boottime());
    let stats = queue.stats();
    assert_eq!(stats.datagrams + stats.no_room, 300, "{stats:?}");
    assert!(stats.no_room > 0 && stats.datagrams > 100, "{stats:?}");
    assert!(events(&mut queue).len() <= 32);
}
