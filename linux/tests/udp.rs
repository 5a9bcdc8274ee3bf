//! Datagrams between real sockets, each test in a network namespace of its own.

mod common;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use common::udp::{CONFIG, events, only, pick, queue_run, receive, route};
use common::{Random, enter_namespace, ip};
use kerntun_linux::{RecvBatch, Route, SendEvent, SendQueue, Source, UdpConfig, UdpOffload, bind, boottime};

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
fn a_batch_learns_how_many_messages_to_ask_for() {
    if !enter_namespace() {
        return;
    }
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let to = route(SocketAddr::new("127.0.0.1".parse().unwrap(), port));
    let mut queue = SendQueue::new();
    let mut batch = RecvBatch::new(64);
    let mut arrive = |datagrams: usize, len: usize| {
        // Alternating lengths, so that nothing is joined.
        let (mut expected, mut next, mut counts) = (Vec::new(), 0, Vec::new());
        for number in 0..datagrams {
            let datagram = vec![number as u8; len - number % 2];
            queue_run(&mut queue, &datagram, datagram.len(), Route { tos: (number % 2) as u8, ..to });
            expected.push(datagram);
        }
        queue.flush(&sender, boottime());
        // A busy kernel puts some of them into the socket later, and the sizes of batches are those of a full one.
        std::thread::sleep(std::time::Duration::from_millis(200));
        while next < datagrams {
            let count = batch.recv(&receiver.v4).unwrap();
            counts.push(count);
            let (data, messages) = batch.placed();
            for message in messages {
                assert_eq!(data[message.range.clone()], expected[next], "message {next}");
                assert_eq!((message.stride, usize::from(message.tos)), (expected[next].len(), next % 2));
                next += 1;
            }
        }
        assert_eq!(batch.recv(&receiver.v4).unwrap(), 0);
        counts
    };
    assert_eq!(arrive(400, 1000)[..5], [8, 16, 32, 64, 64], "short ones: more and more");
    // Long ones: fewer and fewer, until a call brings no more than half a mebibyte.
    assert_eq!(arrive(24, 40_000), [24]);
    assert_eq!(arrive(24, 40_000), [24]);
    assert_eq!(arrive(24, 40_000), [16, 8]);
    assert_eq!(arrive(24, 40_000), [8, 8, 8]);
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
        let from: IpAddr = from.parse().unwrap();
        let to: IpAddr = to.parse().unwrap();
        let source = Some(Source { address: from, interface: 0 });
        queue_run(&mut queue, b"ask", 3, Route { destination: SocketAddr::new(to, port_b), source, tos: 0 });
        queue.flush(&a, boottime());
        let told = events(&mut queue);
        assert!(told.is_empty(), "{told:?}");
        let (got, _) = receive(pick(&b, v6), &mut batch, 1);
        assert_eq!(got[0].source, SocketAddr::new(from, port_a));
        assert_eq!(got[0].local, Some(Source { address: to, interface: 1 }));
        // From the learnt address; the kernel by itself would choose another one.
        queue_run(&mut queue, b"answer", 6, Route { destination: got[0].source, source: got[0].local, tos: 0 });
        queue.flush(&b, boottime());
        assert!(events(&mut queue).is_empty());
        let (got, _) = receive(pick(&a, v6), &mut batch, 1);
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
        queue.flush(&b, boottime());
        let told = events(&mut queue);
        assert!(matches!(&told[..], [SendEvent::SourceLost { source, .. }] if *source == lost), "{told:?}");
        let (got, _) = receive(pick(&a, v6), &mut batch, 3);
        assert_eq!(got.iter().map(|got| got.data.len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert_ne!(got[0].source.ip(), to);
    }
    assert_eq!((queue.stats().source_lost, queue.stats().gso_refused), (2, 0));
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
