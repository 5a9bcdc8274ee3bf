//! Segmentation and merging against slow, obvious models, with seeded random input.

mod common;

use common::{Inner, Random, naive_sum, rounds};
use kerntun_linux::checksum::{Sum, pseudo_header};
use kerntun_linux::{ChecksumPolicy, Coalescer, Run, SegmentError, Segments, TunOffload, VnetHeader};

fn super_header(inner: &Inner, size: usize) -> VnetHeader {
    VnetHeader {
        flags: 1,
        gso_type: match (inner.tcp, inner.v6) {
            (true, false) => 1,
            (true, true) => 4,
            (false, _) => 5,
        },
        hdr_len: inner.head_len() as u16,
        gso_size: size as u16,
        csum_start: inner.ip_len() as u16,
        csum_offset: if inner.tcp { 16 } else { 6 },
    }
}

fn all_segments(header: &VnetHeader, packet: &[u8]) -> Result<Vec<Vec<u8>>, SegmentError> {
    let segments = Segments::parse(header, packet)?;
    let mut out = Vec::new();
    for index in 0..segments.len() {
        let mut buffer = vec![0xaa; segments.segment_len(index)];
        assert_eq!(segments.write(index, &mut buffer)?, buffer.len());
        out.push(buffer);
    }
    Ok(out)
}

fn as_written<P: AsRef<[u8]>>(run: &Run, packets: &[P]) -> Vec<u8> {
    run.slices(packets).collect::<Vec<_>>().concat()
}

fn merge_all() -> Coalescer {
    Coalescer::new(TunOffload::ALL, ChecksumPolicy::Verify)
}

#[test]
fn a_run_has_no_more_packets_than_old_kernels_take() {
    // UDP_MAX_SEGMENTS of Linux before 6.9 is 64; TCP has no such limit.
    for (tcp, expected) in [(true, vec![128, 72]), (false, vec![64, 64, 64, 8])] {
        for v6 in [false, true] {
            let inner = Inner { tcp, v6, payload: vec![7; 200 * 100], ..Inner::random(&mut Random(9), 0) };
            let packets = inner.split(100);
            let mut rest = packets.as_slice();
            let mut counts = Vec::new();
            while !rest.is_empty() {
                let count = merge_all().next_run(rest).count();
                counts.push(count);
                rest = &rest[count..];
            }
            assert_eq!(counts, expected, "TCP {tcp}, IPv6 {v6}");
        }
    }
}

#[test]
fn checksum_equals_the_definition() {
    let mut random = Random(1);
    for _ in 0..rounds(3000) {
        let length = random.below(200);
        let data = random.bytes(length);
        assert_eq!(Sum::ZERO.add_bytes(&data).fold(), naive_sum(&data), "{data:?}");
    }
    for value in [0xff, 0x00] {
        let data = vec![value; if cfg!(miri) { 1_001 } else { 65_535 }];
        assert_eq!(Sum::ZERO.add_bytes(&data).fold(), naive_sum(&data));
    }
    assert_eq!(Sum::ZERO.add_bytes(&[0xff; 4]).checksum(), 0);
    assert_eq!(Sum::ZERO.add_bytes(&[0xff; 4]).checksum_nonzero(), 0xffff);
    let inner = Inner::random(&mut random, 10);
    let length = inner.build().len() - inner.ip_len();
    let protocol = if inner.tcp { 6 } else { 17 };
    assert_eq!(pseudo_header(inner.addresses(), protocol, length as u16).fold(), naive_sum(&inner.pseudo(length)));
}

#[test]
fn numbers_leave_a_sum_as_they_came() {
    let mut random = Random(2);
    for _ in 0..rounds(1000) {
        let (a, b) = (random.next() as u16, random.next() as u16 | 1);
        let sum = Sum::ZERO.add_u16(b).add_u16(a).sub_u16(a);
        assert_eq!(sum.fold(), b);
    }
}

#[test]
fn virtio_header_has_its_layout() {
    let header = VnetHeader {
        flags: 1,
        gso_type: 4,
        hdr_len: 0x0102,
        gso_size: 0x0304,
        csum_start: 0x0506,
        csum_offset: 0x0708,
    };
    let mut bytes = vec![1, 4];
    for number in [0x0102u16, 0x0304, 0x0506, 0x0708] {
        bytes.extend(number.to_ne_bytes());
    }
    assert_eq!(header.to_bytes().to_vec(), bytes);
    assert_eq!(VnetHeader::from_bytes(&header.to_bytes()), header);
}

#[test]
fn super_packets_become_what_the_model_says() {
    let mut random = Random(3);
    for round in 0..rounds(1500) {
        let size = 1 + random.below(1500);
        let payload = if round % 20 == 0 { 0 } else { random.below(20_000) };
        let payload = payload.min(size * 70);
        let mut inner = Inner::random(&mut random, payload);
        inner.flags = 0x10 | random.next() as u8 & 0x89;
        let packet = inner.build_partial();
        let got = all_segments(&super_header(&inner, size), &packet).unwrap();
        assert_eq!(got, inner.split(size), "size {size}, {inner:?}");
    }
}

#[test]
fn largest_super_packet() {
    let mut random = Random(4);
    for v6 in [false, true] {
        let mut inner = Inner::random(&mut random, 0);
        inner.v6 = v6;
        inner.tcp = true;
        inner.payload = random.bytes(65_535 - inner.head_len() + if v6 { 40 } else { 0 });
        let packet = inner.build_partial();
        assert_eq!(all_segments(&super_header(&inner, 1400), &packet).unwrap(), inner.split(1400));
        let mut longer = packet;
        longer.resize(40 + 65_535 + 1, 0);
        assert!(Segments::parse(&super_header(&inner, 1400), &longer).is_err());
    }
}

#[test]
fn unfinished_checksums_are_finished() {
    let mut random = Random(5);
    for _ in 0..rounds(500) {
        let length = random.below(1400);
        let inner = Inner::random(&mut random, length);
        let header = VnetHeader { gso_type: 0, gso_size: 0, ..super_header(&inner, 0) };
        let got = all_segments(&header, &inner.build_partial()).unwrap();
        let mut expected = inner.build();
        let at = inner.checksum_at();
        // Both forms of zero are right for TCP; this side writes the one that is right for UDP as well.
        if expected[at..at + 2] == [0, 0] {
            expected[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        }
        assert_eq!(got, [expected]);
    }
}

#[test]
fn plain_packets_pass_unchanged() {
    let mut random = Random(6);
    for length in [1, 19, 20, 1500, 65_535] {
        let packet = random.bytes(length);
        assert_eq!(all_segments(&VnetHeader::default(), &packet).unwrap(), [packet]);
    }
    assert_eq!(Segments::parse(&VnetHeader::default(), &[]).unwrap_err(), SegmentError::Length);
}

#[test]
fn extension_headers_are_walked() {
    let mut random = Random(7);
    let mut inner = Inner::random(&mut random, 3000);
    (inner.v6, inner.tcp) = (true, true);
    let plain = inner.build_partial();
    // A destination options header of 16 bytes between IPv6 and TCP.
    let mut packet = plain[..40].to_vec();
    packet[6] = 60;
    let behind = u16::from_be_bytes([packet[4], packet[5]]) + 16;
    packet[4..6].copy_from_slice(&behind.to_be_bytes());
    packet.extend([6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(&plain[40..]);
    let mut header = super_header(&inner, 1000);
    assert_eq!(all_segments(&header, &packet), Err(SegmentError::ChecksumPosition));
    header.csum_start = 56;
    let got = all_segments(&header, &packet).unwrap();
    let expected = inner.split(1000);
    assert_eq!(got.len(), 3);
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(u16::from_be_bytes([got[4], got[5]]) as usize, got.len() - 40);
        assert_eq!(got[56..], expected[40..]);
    }
}

#[test]
fn contradictions_are_errors() {
    let mut random = Random(8);
    let mut inner = Inner::random(&mut random, 3000);
    (inner.v6, inner.tcp) = (false, true);
    let packet = inner.build_partial();
    let good = super_header(&inner, 1000);
    let error = |header: VnetHeader, packet: &[u8]| all_segments(&header, packet).unwrap_err();
    assert_eq!(error(VnetHeader { gso_type: 3, ..good }, &packet), SegmentError::UnknownGsoType(3));
    assert_eq!(error(VnetHeader { gso_type: 4, ..good }, &packet), SegmentError::WrongProtocol);
    assert_eq!(error(VnetHeader { gso_type: 5, ..good }, &packet), SegmentError::WrongProtocol);
    assert_eq!(error(VnetHeader { gso_size: 0, ..good }, &packet), SegmentError::Incomplete);
    assert_eq!(error(VnetHeader { flags: 0, ..good }, &packet), SegmentError::Incomplete);
    assert_eq!(error(VnetHeader { csum_start: 24, ..good }, &packet), SegmentError::ChecksumPosition);
    assert_eq!(error(VnetHeader { csum_offset: 6, ..good }, &packet), SegmentError::ChecksumPosition);
    assert_eq!(error(good, &packet[..30]), SegmentError::Truncated);
    let mut fragment = packet.clone();
    fragment[6] |= 0x20;
    assert_eq!(error(good, &fragment), SegmentError::WrongProtocol);
    let mut short = packet.clone();
    short[32] = 0x40;
    assert_eq!(error(good, &short), SegmentError::Truncated);
    let beyond = VnetHeader { flags: 1, csum_start: 2999, csum_offset: 60_000, ..VnetHeader::default() };
    assert_eq!(Segments::parse(&beyond, &packet).unwrap_err(), SegmentError::ChecksumPosition);
    let segments = Segments::parse(&good, &packet).unwrap();
    assert_eq!(segments.write(3, &mut [0; 2000]), Err(SegmentError::NoSuchSegment));
    assert_eq!(segments.write(0, &mut [0; 1000]), Err(SegmentError::OutputTooShort));
    assert_eq!(segments.segment_len(3), 0);
}

#[test]
fn mutated_input_never_panics() {
    let mut random = Random(9);
    let coalescer = merge_all();
    for _ in 0..rounds(60_000) {
        let length = random.below(400);
        let inner = Inner::random(&mut random, length);
        let size = 1 + random.below(100);
        let mut packets = inner.split(size);
        let mut packet = inner.build_partial();
        let mut header = super_header(&inner, size).to_bytes();
        for _ in 0..random.below(4) {
            let at = random.below(10);
            header[at] = if random.chance(30) { random.next() as u8 } else { header[at] ^ 1 << random.below(8) };
        }
        for _ in 0..random.below(4) {
            let at = random.below(packet.len().min(70));
            packet[at] ^= 1 << random.below(8);
            let which = random.below(packets.len());
            let at = random.below(packets[which].len());
            packets[which][at] ^= 1 << random.below(8);
        }
        packet.truncate(packet.len() - if random.chance(20) { random.below(packet.len()) } else { 0 });
        if let Ok(segments) = all_segments(&VnetHeader::from_bytes(&header), &packet) {
            assert!(!segments.is_empty());
        }
        let run = coalescer.next_run(&packets);
        assert!(run.count() >= 1 && run.count() <= packets.len());
        // Whatever was merged must come apart again into the very same packets.
        let whole = as_written(&run, &packets);
        let got = all_segments(run.header(), &whole).unwrap();
        assert_eq!(got.len(), run.count());
        for (got, sent) in got.iter().zip(&packets) {
            assert!(same_but_id(got, sent), "{got:?} {sent:?}");
        }
    }
}

/// Equal, or, when the packet must not be fragmented, equal but for the identification that means nothing then.
fn same_but_id(a: &[u8], b: &[u8]) -> bool {
    let blank = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        if packet[0] == 0x45 && packet.len() >= 20 && packet[6] == 0x40 {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        packet
    };
    a == b || blank(a) == blank(b)
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(10);
    let coalescer = merge_all();
    for _ in 0..rounds(60_000) {
        let length = random.below(120);
        let mut packets = [random.bytes(length), random.bytes(length)];
        for packet in packets.iter_mut().filter(|packet| !packet.is_empty()) {
            packet[0] = if random.chance(50) { 0x45 } else { 0x60 };
        }
        let header: [u8; 10] = random.bytes(10).try_into().unwrap();
        let _ = all_segments(&VnetHeader::from_bytes(&header), &packets[0]);
        let _ = coalescer.next_run(&packets).slices(&packets).count();
    }
}

#[test]
fn segments_merge_back_into_their_super_packet() {
    let mut random = Random(11);
    for _ in 0..rounds(600) {
        let size = 1 + random.below(1400);
        let length = 1 + random.below(60_000).min(size * 100);
        let mut inner = Inner::random(&mut random, length);
        if !inner.tcp {
            inner.payload.truncate(size * 64);
        }
        inner.flags = if random.chance(50) { 0x18 } else { 0x10 };
        let packets = inner.split(size);
        let run = merge_all().next_run(&packets);
        assert_eq!(run.count(), packets.len(), "size {size} {inner:?}");
        if packets.len() == 1 {
            assert_eq!(*run.header(), VnetHeader::default());
            assert_eq!(as_written(&run, &packets), packets[0]);
        } else {
            assert_eq!(*run.header(), super_header(&inner, size));
            assert_eq!(as_written(&run, &packets), inner.build_partial());
        }
    }
}

#[test]
fn runs_keep_their_limits() {
    let mut random = Random(12);
    let mut inner = Inner::random(&mut random, 200);
    inner.v6 = false;
    inner.dont_fragment = true;
    inner.tcp = true;
    inner.payload = random.bytes(60_000);
    let mut packets = inner.split(1000);
    inner.sequence = inner.sequence.wrapping_add(60_000);
    packets.extend(inner.split(1000));
    let run = merge_all().next_run(&packets);
    assert_eq!(run.count(), (65_535 - inner.head_len()) / 1000);
    assert!(as_written(&run, &packets).len() <= 65_535);
    assert_eq!(merge_all().next_run::<Vec<u8>>(&[]).count(), 0);
}

/// Two neighbours of one flow, with one thing made different in the second: never merged. Without it: merged.
#[test]
fn each_difference_keeps_packets_apart() {
    type Change = fn(&mut Inner);
    let tcp: [(&str, Change); 16] = [
        ("traffic class", |p| p.tos ^= 4),
        ("ecn", |p| p.tos ^= 1),
        ("ttl", |p| p.ttl ^= 1),
        ("df", |p| p.dont_fragment ^= true),
        ("source", |p| p.addresses[3] ^= 1),
        ("destination", |p| p.addresses[7] ^= 1),
        ("port", |p| p.ports[3] ^= 1),
        ("gap", |p| p.sequence = p.sequence.wrapping_add(1)),
        ("ack", |p| p.ack ^= 1),
        ("window", |p| p.window ^= 1),
        ("options", |p| p.options[0] ^= 1),
        ("more options", |p| p.options.extend([1, 1, 1, 1])),
        ("fin", |p| p.flags |= 1),
        ("no ack", |p| p.flags = 0),
        ("longer", |p| p.payload.push(0)),
        ("empty", |p| p.payload.clear()),
    ];
    let mut random = Random(13);
    for round in 0..rounds(40) {
        let mut first = Inner::random(&mut random, 100);
        (first.tcp, first.v6) = (true, round % 2 == 0);
        first.dont_fragment = round % 4 < 2;
        first.options = random.bytes(12);
        let mut second = first.clone();
        second.sequence = first.sequence.wrapping_add(100);
        second.id = first.id.wrapping_add(1);
        assert_eq!(merge_all().next_run(&[first.build(), second.build()]).count(), 2);
        for (name, change) in tcp {
            let mut other = second.clone();
            change(&mut other);
            let no_meaning = first.v6 && name == "df";
            let expected = if no_meaning { 2 } else { 1 };
            assert_eq!(merge_all().next_run(&[first.build(), other.build()]).count(), expected, "{name}");
        }
        for flag in [1u8, 2, 4, 0x20, 0x40, 0x80] {
            let mut other = first.clone();
            other.flags |= flag;
            assert_eq!(merge_all().next_run(&[other.build(), second.build()]).count(), 1, "flag {flag:#x} first");
            let mut other = second.clone();
            other.flags |= flag;
            assert_eq!(merge_all().next_run(&[first.build(), other.build()]).count(), 1, "flag {flag:#x} second");
        }
        let mut pushed = first.clone();
        pushed.flags |= 8;
        assert_eq!(merge_all().next_run(&[pushed.build(), second.build()]).count(), 1, "PSH ends a run");
        let mut other = second.clone();
        other.id = other.id.wrapping_add(1);
        let expected = if first.v6 || first.dont_fragment { 2 } else { 1 };
        assert_eq!(merge_all().next_run(&[first.build(), other.build()]).count(), expected, "identification");
        let mut third = second.clone();
        third.payload.truncate(99);
        let mut fourth = third.clone();
        fourth.sequence = fourth.sequence.wrapping_add(99);
        let packets = [first.build(), third.build(), fourth.build()];
        assert_eq!(merge_all().next_run(&packets).count(), 2, "a shorter one is the last");
    }
}

#[test]
fn damaged_packets_travel_alone() {
    let mut random = Random(14);
    for _ in 0..rounds(400) {
        let inner = Inner::random(&mut random, 300);
        let mut packets = inner.split(100);
        let which = random.below(3);
        let at = random.below(packets[which].len());
        packets[which][at] ^= 1 << random.below(8);
        let count = merge_all().next_run(&packets).count();
        assert!(count <= which.max(1), "packet {which}, byte {at}: run of {count}");
    }
    // Trusting the sender, only the payload may be damaged.
    let mut inner = Inner::random(&mut random, 300);
    inner.tcp = true;
    let mut packets = inner.split(100);
    *packets[1].last_mut().unwrap() ^= 1;
    let trusting = Coalescer::new(TunOffload::ALL, ChecksumPolicy::TrustSender);
    assert_eq!(trusting.next_run(&packets).count(), 3);
    assert_eq!(merge_all().next_run(&packets).count(), 1);
}

#[test]
fn ip_options_fragments_and_missing_checksums_travel_alone() {
    let mut random = Random(15);
    let mut inner = Inner::random(&mut random, 200);
    (inner.v6, inner.tcp) = (false, false);
    let packets = inner.split(100);
    assert_eq!(merge_all().next_run(&packets).count(), 2);
    let resum = |packet: &mut Vec<u8>| {
        packet[10..12].fill(0);
        let sum = !naive_sum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    };
    for bits in [0x20u8, 0x80] {
        let mut fragments = packets.clone();
        for packet in &mut fragments {
            packet[6] |= bits;
            resum(packet);
        }
        assert_eq!(merge_all().next_run(&fragments).count(), 1);
    }
    let mut bare = packets.clone();
    for packet in &mut bare {
        packet[26..28].fill(0);
    }
    let trusting = Coalescer::new(TunOffload::ALL, ChecksumPolicy::TrustSender);
    assert_eq!(trusting.next_run(&packets).count(), 2);
    assert_eq!(trusting.next_run(&bare).count(), 1, "UDP without checksum");
    let mut trailing = packets.clone();
    trailing[1].push(0);
    assert_eq!(merge_all().next_run(&trailing).count(), 1, "not trimmed");
}

#[test]
fn only_what_the_device_takes_is_merged() {
    let mut random = Random(16);
    for (v6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut inner = Inner::random(&mut random, 300);
        (inner.v6, inner.tcp) = (v6, tcp);
        let packets = inner.split(100);
        let mut offload = TunOffload::ALL;
        match (tcp, v6) {
            (true, false) => offload.tso4 = false,
            (true, true) => offload.tso6 = false,
            (false, _) => offload.uso = false,
        }
        assert_eq!(Coalescer::new(offload, ChecksumPolicy::Verify).next_run(&packets).count(), 1);
        let mut coalescer = merge_all();
        assert_eq!(coalescer.next_run(&packets).count(), 3);
        coalescer.refuse(super_header(&inner, 100).gso_type);
        assert_eq!(coalescer.next_run(&packets).count(), 1);
    }
}
