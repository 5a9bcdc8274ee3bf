//! What the network and the kernel refuse: nothing is lost that could be sent, the rest is counted by cause.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use common::udp::{CONFIG, events, only, queue_run, receive, route};
use common::{Random, enter_namespace, ip, wait_until};
use kerntun_linux::{RecvBatch, Route, SendEvent, SendQueue, Source, UdpConfig, UdpOffload, bind, boottime};

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
    let mut now = 0;
    for (address, socket) in [("127.0.0.1", &receiver.v4), ("::1", receiver.v6.as_ref().unwrap())] {
        let to = route(SocketAddr::new(address.parse().unwrap(), port));
        let mut round = |now: u64, stride: usize| {
            let calls = queue.stats().calls;
            queue_run(&mut queue, &data, stride, to);
            queue.flush(&sender, now);
            let got = receive(socket, &mut batch, data.len().div_ceil(stride)).0;
            assert_eq!(got.into_iter().flat_map(|got| got.data).collect::<Vec<_>>(), data);
            (events(&mut queue), queue.stats().calls - calls)
        };
        now += 61_000_000_000;
        assert_eq!(sender.for_destination(&to.destination).unwrap().segments(1400), 46);
        let (told, _) = round(now, 1400);
        assert!(
            matches!(&told[..], [SendEvent::GsoRefused { stride: 1400, destination, .. }] if *destination == to.destination),
            "{told:?}"
        );
        // Remembered, told once; one sendmmsg for all. Smaller ones are not concerned.
        let (told, calls) = round(now, 1400);
        assert!(told.is_empty() && calls == 1, "{told:?} {calls}");
        assert!(round(now, 1000).0.is_empty());
        // Tried again after a minute.
        now += 61_000_000_000;
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
    // Two messages, 64 and 36 datagrams; each finds out about the source, the queue remembers about segmentation, but only for what it cuts next.
    assert_eq!((refused, lost, told.len()), (1, 2, 3), "{told:?}");
    let (got, _) = receive(&receiver.v4, &mut batch, 100);
    assert_eq!(got.into_iter().flat_map(|got| got.data).collect::<Vec<_>>(), data);
    assert_eq!((queue.stats().datagrams, queue.stats().other), (100, 0));
    // No size works towards there; what is sent next needs no second try.
    queue_run(&mut queue, &data[..9_000], 50, Route { source: None, ..to });
    queue.flush(&sender, 2);
    assert_eq!(receive(&receiver.v4, &mut batch, 180).0.len(), 180);
    assert_eq!(queue.stats().gso_refused, 2);
}

/// What the route to one address does not take concerns no other one.
#[test]
fn a_small_route_slows_nobody_else() {
    if !enter_namespace() {
        return;
    }
    ip("route add local 10.9.1.0/24 dev lo mtu 1300");
    ip("route add local 10.9.2.0/24 dev lo");
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(8));
    let data = Random(43).bytes(28_000);
    let mut send = |queue: &mut SendQueue, address: &str| {
        let calls = queue.stats().calls;
        queue_run(queue, &data, 1400, route(SocketAddr::new(address.parse().unwrap(), port)));
        queue.flush(&sender, 1_000);
        let (got, messages) = receive(&receiver.v4, &mut batch, 20);
        assert_eq!(got.into_iter().flat_map(|got| got.data).collect::<Vec<_>>(), data, "{address}");
        (messages, queue.stats().calls - calls)
    };
    // Refused as a whole, then one by one; from then on one by one in one call.
    assert_eq!(send(&mut queue, "10.9.1.1"), (20, 21));
    assert!(matches!(&events(&mut queue)[..], [SendEvent::GsoRefused { stride: 1400, .. }]));
    assert_eq!(send(&mut queue, "10.9.1.1"), (20, 1));
    assert_eq!(send(&mut queue, "10.9.2.1"), (1, 1), "sent and received as one message");
    // Learnt for each address, and told of one.
    assert_eq!(send(&mut queue, "10.9.1.2"), (20, 21));
    assert!(events(&mut queue).is_empty());
    assert_eq!(send(&mut queue, "10.9.1.2"), (20, 1));
    assert_eq!(queue.stats().gso_refused, 2);
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
fn what_finds_a_full_socket_buffer_is_dropped_at_once() {
    if !enter_namespace() {
        return;
    }
    // A cable that is as good as cut: what its queue holds fills the socket buffer for as long as we like.
    ip("link add ktlv0 type veth peer name ktlv1");
    ip("link set ktlv0 up");
    ip("link set ktlv1 up");
    ip("addr add 10.8.0.1/24 dev ktlv0");
    ip("neigh add 10.8.0.2 lladdr 02:00:00:00:00:01 dev ktlv0");
    if !common::try_run("tc", "qdisc add dev ktlv0 root tbf rate 8bit burst 2kb limit 100mb") {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let size: libc::c_int = 20_000;
    // SAFETY: SO_SNDBUF takes an int.
    let result = unsafe {
        libc::setsockopt(sender.v4.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const size).cast(), 4)
    };
    assert_eq!(result, 0);
    let (mut queue, mut batch) = (SendQueue::new(), RecvBatch::new(8));
    let here = route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let queue_many = |queue: &mut SendQueue| {
        for port in 1000..1100 {
            queue_run(queue, &[0; 1400], 1400, route(SocketAddr::new("10.8.0.2".parse().unwrap(), port)));
        }
    };
    queue_many(&mut queue);
    queue.flush(&sender, boottime());
    let stats = queue.stats();
    assert!(stats.datagrams > 0 && stats.no_room > 0, "{stats:?}");
    assert_eq!(stats.datagrams + stats.no_room, 100, "{stats:?}");
    assert!(events(&mut queue).len() <= 32);
    // No flush sleeps, which would show as the thread giving up its processor, and what others send meanwhile is received.
    let asleep = sleeps();
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 1..=30_u8 {
        queue_many(&mut queue);
        queue.flush(&sender, boottime());
        other.send_to(&[round], ("127.0.0.1", port)).unwrap();
        assert_eq!(batch.recv(&receiver.v4).unwrap(), 1, "round {round}");
        assert_eq!(batch.messages().next().unwrap().data, [round]);
    }
    let asleep = sleeps() - asleep;
    assert!(asleep < 15, "the thread slept {asleep} times in 30 rounds");
    let stats = queue.stats();
    assert_eq!(stats.datagrams + stats.no_room, 3100, "{stats:?}");
    // As soon as there is room again they pass.
    common::run("tc", "qdisc del dev ktlv0 root");
    wait_until("there is room", || {
        let before = queue.stats().datagrams;
        queue_run(&mut queue, b"again", 5, here);
        queue.flush(&sender, boottime());
        queue.stats().datagrams > before
    });
    assert_eq!(receive(&receiver.v4, &mut batch, 1).0[0].data, b"again");
}

/// How often this thread gave up its processor because it had to wait.
fn sleeps() -> libc::c_long {
    // SAFETY: integers; the pointer is to a live structure.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_nvcsw
    }
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
    wait_until("the answer is there", || {
        assert_eq!(batch.recv(&socket.v4).unwrap(), 0);
        batch.stats().errors == 1
    });
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    other.send_to(b"alive", ("127.0.0.1", port)).unwrap();
    assert_eq!(receive(&socket.v4, &mut batch, 1).0[0].data, b"alive");
    // Empty datagrams are counted, and nothing else.
    other.send_to(b"", ("127.0.0.1", port)).unwrap();
    wait_until("it is there", || batch.recv(&socket.v4).unwrap() == 1);
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
