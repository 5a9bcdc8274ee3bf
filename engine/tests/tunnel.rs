//! Packets through a session: delivery, order, roaming, checks of the inner packet.

mod common;
use common::*;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::Endpoint;
use kerntun_engine::reason::Reason;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn the_first_packet_brings_the_tunnel_up_and_arrives() {
    let mut pair = Pair::new();
    let packet = ipv4(A, B, b"hello");
    pair.a.send(&packet).unwrap();
    assert!(pair.a.sent.is_empty(), "a data thread computes no Diffie-Hellman");
    pair.settle();
    assert_eq!(pair.b.delivered, [packet]);
    let kinds: Vec<_> = pair.wire.iter().map(Datagram::kind).collect();
    assert_eq!(kinds, [1, 2, 4], "initiation, response, and the packet as confirmation");
    // 20 + 5 bytes padded to 32, and 32 of header and tag.
    assert_eq!(pair.wire[2].bytes.len(), 64);
}

#[test]
fn without_a_packet_waiting_the_initiator_confirms_with_a_keepalive() {
    let mut pair = Pair::new();
    let peer = pair.a.peer(&pair.b);
    pair.a.initiate(peer);
    pair.settle();
    let sizes: Vec<_> = pair.wire.iter().map(|datagram| datagram.bytes.len()).collect();
    assert_eq!(sizes, [148, 92, 32]);
    assert!(pair.b.delivered.is_empty());
}

#[test]
fn a_responder_does_not_send_before_the_initiator_has_confirmed() {
    let mut pair = Pair::new();
    let peer = pair.a.peer(&pair.b);
    pair.a.initiate(peer);
    let initiation = pair.a.sent.remove(0);
    pair.b.receive(&initiation);
    let response = pair.b.sent.remove(0);
    pair.b.send(&ipv4(B, A, b"too early")).unwrap();
    pair.b.expire();
    assert!(pair.b.sent.is_empty(), "staged, and no initiation within five seconds of our response");
    pair.a.receive(&response);
    pair.settle();
    assert_eq!(pair.a.delivered.len(), 1);
}

#[test]
fn packets_flow_both_ways_in_both_families() {
    let mut pair = Pair::connected();
    for round in 0..50_usize {
        let payload = vec![round as u8; round * 27];
        pair.a.send(&ipv4(A, B, &payload)).unwrap();
        pair.b.send(&ipv4(B, A, &payload)).unwrap();
        pair.a.send(&ipv6("fd00::1", "fd00::2", &payload)).unwrap();
        pair.b.send(&ipv6("fd00::2", "fd00::1", &payload)).unwrap();
        pair.settle();
        assert_eq!(pair.b.delivered, [ipv4(A, B, &payload), ipv6("fd00::1", "fd00::2", &payload)]);
        assert_eq!(pair.a.delivered, [ipv4(B, A, &payload), ipv6("fd00::2", "fd00::1", &payload)]);
        pair.a.delivered.clear();
        pair.b.delivered.clear();
    }
}

#[test]
fn staged_packets_keep_their_order_and_newer_ones_queue_behind() {
    let mut pair = Pair::new();
    for number in 0..100_u8 {
        pair.a.send(&ipv4(A, B, &[number])).unwrap();
    }
    pair.settle();
    let numbers: Vec<_> = pair.b.delivered.iter().map(|packet| packet[20]).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
}

#[test]
fn while_staged_packets_leave_newer_ones_are_staged() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, &[1])).unwrap();
    pair.a.expire();
    let initiation = pair.a.sent.remove(0);
    pair.b.receive(&initiation);
    let response = pair.b.sent.remove(0);
    let peer = pair.a.peer(&pair.b);
    // A host that takes its time between getting the staged packets and having sent them.
    let from = Endpoint { remote: pair.b.address, source: None };
    let mut block = kerntun_engine::session::SessionBlock::new().ok();
    let handled = pair.a.device.receive_handshake(pair.a.now, &response.bytes, &from, pair.a.load, &mut block);
    assert!(
        matches!(handled, kerntun_engine::handshake::Handled::Connected(_, followup) if followup.flush == Some(peer))
    );
    let (mut staged, job) = pair.a.device.reserve_staged(pair.a.now, peer).unwrap();
    pair.a.send(&ipv4(A, B, &[2])).unwrap();
    assert!(pair.a.sent.is_empty());
    use kerntun_engine::host::Staged;
    let first = staged.pop().unwrap().into_payload();
    pair.a.seal_and_send(job, &[first]);
    let followup = pair.a.device.flushed(pair.a.now, peer);
    pair.a.follow(followup);
    pair.settle();
    assert_eq!(pair.b.delivered.iter().map(|packet| packet[20]).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn staging_is_bounded_in_packets_and_bytes_and_drops_the_oldest() {
    let mut pair = Pair::new();
    for number in 0..200_u8 {
        pair.a.send(&ipv4(A, B, &[number])).unwrap();
    }
    assert_eq!(drops(&pair.a, Reason::StagedOverflow), 72);
    pair.settle();
    assert_eq!(pair.b.delivered.iter().map(|packet| packet[20]).collect::<Vec<_>>(), (72..200).collect::<Vec<u8>>());

    let mut pair = Pair::new();
    for _ in 0..20 {
        pair.a.send(&ipv4(A, B, &vec![0; 65_000])).unwrap();
    }
    let (packets, bytes) = pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap().staged;
    assert!(packets <= 16 && bytes <= 1_048_576, "{packets} packets, {bytes} bytes");
}

#[test]
fn a_replayed_packet_is_dropped_and_changes_nothing() {
    let mut pair = Pair::connected();
    pair.a.send(&ipv4(A, B, b"once")).unwrap();
    let datagram = pair.a.sent[0].clone();
    pair.settle();
    let elsewhere = Datagram { from: "203.0.113.9:9".parse().unwrap(), ..datagram };
    let before = pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap();
    pair.b.receive(&elsewhere);
    let after = pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap();
    assert_eq!(pair.b.delivered.len(), 1);
    assert_eq!(before.endpoint, after.endpoint);
    assert_eq!((before.deadlines, before.rx_bytes), (after.deadlines, after.rx_bytes));
    assert_eq!(drops(&pair.b, Reason::Replayed), 1);
    assert_eq!(after.drops[Reason::Replayed.index()], 1);
}

#[test]
fn every_flipped_bit_of_a_data_packet_is_noticed() {
    let mut pair = Pair::connected();
    pair.a.send(&ipv4(A, B, b"payload")).unwrap();
    let datagram = pair.a.sent.remove(0);
    for bit in 0..datagram.bytes.len() * 8 {
        let mut damaged = datagram.clone();
        damaged.bytes[bit / 8] ^= 1 << (bit % 8);
        pair.b.receive(&damaged);
    }
    assert!(pair.b.delivered.is_empty());
    pair.b.receive(&datagram);
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn an_authentic_packet_from_elsewhere_moves_the_endpoint() {
    let mut pair = Pair::connected();
    let moved = "203.0.113.7:4242".parse().unwrap();
    pair.a.address = moved;
    pair.a.send(&ipv4(A, B, b"from elsewhere")).unwrap();
    let datagram = pair.a.sent.remove(0);
    pair.b.receive(&datagram);
    assert_eq!(pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap().endpoint.unwrap().remote, moved);
    pair.b.send(&ipv4(B, A, b"back")).unwrap();
    assert_eq!(pair.b.sent[0].to, moved);
}

#[test]
fn the_inner_source_must_be_the_senders_in_the_whole_device() {
    let mut pair = Pair::connected();
    let from = Endpoint { remote: pair.a.address, source: None };
    pair.a.send(&ipv4([10, 9, 9, 9], B, b"not mine")).unwrap();
    let datagram = pair.a.sent.remove(0);
    let verdict = pair.b.receive_data(&datagram, &from);
    assert_eq!(verdict, Some(Verdict::Drop(Reason::WrongSource)));

    // Within a wider prefix of the sender, an address that a third peer has more specifically.
    let third = Node::new(3, "192.0.2.3:1003");
    pair.b.add(&pair.a, "10.0.0.0/8", true);
    pair.b.add(&third, "10.9.9.9/32", true);
    pair.a.send(&ipv4([10, 9, 9, 9], B, b"the third's")).unwrap();
    let datagram = pair.a.sent.remove(0);
    assert_eq!(pair.b.receive_data(&datagram, &from), Some(Verdict::Drop(Reason::WrongSource)));
    pair.a.send(&ipv4([10, 9, 9, 8], B, b"mine")).unwrap();
    let datagram = pair.a.sent.remove(0);
    assert!(matches!(pair.b.receive_data(&datagram, &from), Some(Verdict::Deliver { len: 24, .. })));
}

#[test]
fn padding_goes_and_broken_inner_packets_are_dropped() {
    let mut pair = Pair::connected();
    let peer = pair.a.peer(&pair.b);
    let good = ipv4(A, B, b"x");
    let mut too_long = good.clone();
    too_long[3] = 200;
    let mut too_short = good.clone();
    too_short[3] = 19;
    for (packet, delivered) in
        [(good, true), (too_long, false), (too_short, false), (vec![0], false), (vec![0x45], false)]
    {
        let job = pair.a.device.reserve(pair.a.now, peer, 1).unwrap();
        pair.a.seal_and_send(job, std::slice::from_ref(&packet));
        pair.b.delivered.clear();
        pair.settle();
        assert_eq!(pair.b.delivered.len(), usize::from(delivered), "{packet:?}");
    }
    assert_eq!(drops(&pair.b, Reason::InnerMalformed), 4);
}

#[test]
fn congestion_marks_cross_the_tunnel() {
    let mut pair = Pair::connected();
    let mut capable = ipv4(A, B, b"ecn");
    capable[1] = 0b10; // ECT(0)
    capable[10..12].copy_from_slice(&[0, 0]);
    let sum = !capable[..20].chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    }) as u16;
    capable[10..12].copy_from_slice(&sum.to_be_bytes());
    pair.a.send(&capable).unwrap();
    let mut datagram = pair.a.sent.remove(0);
    datagram.ecn = 0b11;
    pair.b.receive(&datagram);
    let got = pair.b.delivered.pop().unwrap();
    assert_eq!(got[1], 0b11);
    let sum = got[..20].chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        (sum & 0xffff) + (sum >> 16)
    });
    assert_eq!(sum, 0xffff, "the checksum of the header is right again");

    pair.a.send(&ipv4(A, B, b"not capable")).unwrap();
    let mut datagram = pair.a.sent.remove(0);
    datagram.ecn = 0b11;
    pair.b.receive(&datagram);
    assert!(pair.b.delivered.is_empty());
    assert_eq!(drops(&pair.b, Reason::EcnIllegal), 1);
}

#[test]
fn packets_nobody_takes_have_a_reason() {
    let mut pair = Pair::connected();
    assert_eq!(pair.a.send(&ipv4(A, [10, 0, 0, 3], b"")), Err(Reason::NoRoute));
    assert_eq!(pair.a.send(&[0x45, 0, 0]), Err(Reason::NotIp));
    assert_eq!(pair.a.send(&[0x75; 40]), Err(Reason::NotIp));
    let stranger = Node::new(9, "192.0.2.9:9");
    pair.a.add(&stranger, "10.0.0.9/32", false);
    assert_eq!(pair.a.send(&ipv4(A, [10, 0, 0, 9], b"")), Err(Reason::NoEndpoint));
    for reason in [Reason::NoRoute, Reason::NoEndpoint] {
        assert_eq!(drops(&pair.a, reason), 1);
    }
    assert_eq!(drops(&pair.a, Reason::NotIp), 2);
}

#[test]
fn bytes_are_counted_as_the_kernel_counts_them() {
    let mut pair = Pair::new();
    pair.a.send(&ipv4(A, B, b"hello")).unwrap();
    pair.settle();
    let a = pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap();
    let b = pair.b.device.peer_info(pair.b.peer(&pair.a)).unwrap();
    // Initiation 148 and data 64 one way, response 92 the other.
    assert_eq!((a.tx_bytes, a.rx_bytes), (148 + 64, 92));
    assert_eq!((b.tx_bytes, b.rx_bytes), (92, 148 + 64));
}

#[test]
fn a_run_of_packets_shares_one_call() {
    use kerntun_crypto::{Slices, Span};
    use kerntun_engine::packet::Incoming;
    let mut pair = Pair::connected();
    let peer = pair.a.peer(&pair.b);
    let packets: Vec<_> = (0..40_u8).map(|number| ipv4(A, B, &[number; 100])).collect();
    let job = pair.a.device.reserve(pair.a.now, peer, 40).unwrap();
    pair.a.seal_and_send(job, &packets);
    let datagrams: Vec<_> = pair.a.sent.drain(..).collect();
    let mut buffer: Vec<u8> = datagrams.iter().flat_map(|datagram| datagram.bytes.clone()).collect();
    let len = datagrams[0].bytes.len();
    // Number 7 arrives twice in one run, number 9 damaged.
    let seventh = buffer[7 * len..8 * len].to_vec();
    buffer[8 * len..9 * len].copy_from_slice(&seventh);
    buffer[9 * len + 20] ^= 1;
    let spans: Vec<_> = (0..40).map(|at| Span { start: at * len, len }).collect();
    let mut entries: Vec<_> = spans
        .iter()
        .map(|span| Incoming::new(buffer[span.start..].first_chunk().unwrap(), span.len, 0).unwrap())
        .collect();
    let job = pair.b.device.admit(pair.b.now, &mut entries).unwrap();
    pair.b.device.open(&job, &mut entries, &mut Slices { buffer: &mut buffer, spans: &spans });
    let from = Endpoint { remote: pair.a.address, source: None };
    let _ = pair.b.device.commit_opened(pair.b.now, job, &mut entries, &from);
    for (at, entry) in entries.iter().enumerate() {
        let wanted = match at {
            8 => Verdict::Drop(Reason::Replayed),
            9 => Verdict::Drop(Reason::BadTag),
            _ => Verdict::Deliver { len: 120, rewritten: false },
        };
        assert_eq!(entry.verdict(), wanted, "packet {at}");
    }
}

#[test]
fn entries_that_were_opened_under_another_job_move_nobody() {
    let mut pair = Pair::connected();
    let mut c = Node::new(3, "192.0.2.3:1003");
    let from_c = pair.a.add(&c, "10.0.0.3/32", false);
    c.add(&pair.a, "10.0.0.1/32", true);
    let packet = ipv4([10, 0, 0, 3], A, b"from c");
    c.send(&packet).unwrap();
    c.expire();
    pair.a.receive(&c.sent.remove(0));
    c.receive(&pair.a.sent.remove(0));
    pair.a.receive(&c.sent.remove(0));
    assert_eq!(pair.a.delivered[0], packet);

    let open = |node: &Node, mut bytes: Vec<u8>| {
        let mut entries = [Incoming::new(bytes.first_chunk().unwrap(), bytes.len(), 0).unwrap()];
        let job = node.device.admit(node.now, &mut entries).unwrap();
        let spans = [Span { start: 0, len: bytes.len() }];
        node.device.open(&job, &mut entries, &mut Slices { buffer: &mut bytes, spans: &spans });
        (job, entries)
    };
    pair.b.send(&ipv4(B, A, b"from b")).unwrap();
    c.send(&packet).unwrap();
    let (b_job, _) = open(&pair.a, pair.b.sent.remove(0).bytes);
    let (c_job, mut c_entries) = open(&pair.a, c.sent.remove(0).bytes);
    let elsewhere = Endpoint { remote: "198.51.100.9:9".parse().unwrap(), source: None };
    let before = pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap();
    let mut mixed = c_entries;
    let _ = pair.a.device.commit_opened(pair.a.now, b_job, &mut mixed, &elsewhere);
    assert_eq!(mixed[0].verdict(), Verdict::Drop(Reason::StaleIn));
    let after = pair.a.device.peer_info(pair.a.peer(&pair.b)).unwrap();
    assert_eq!((after.endpoint, after.rx_bytes), (before.endpoint, before.rx_bytes));
    // Under its own job the same entry is as good as ever.
    let _ = pair.a.device.commit_opened(pair.a.now, c_job, &mut c_entries, &elsewhere);
    assert_eq!(c_entries[0].verdict(), Verdict::Deliver { len: packet.len(), rewritten: false });
    assert_eq!(pair.a.device.peer_info(from_c).unwrap().endpoint, Some(elsewhere));
}
