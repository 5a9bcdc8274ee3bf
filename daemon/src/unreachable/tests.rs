use super::*;

/// RFC 1071, word by word.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn v4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, (len >> 8) as u8, len as u8, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

fn v6(next: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut packet = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, next, 64];
    packet.extend(source.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

fn answer_to(packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = [0xee; MAX_V6];
    answer(packet, &mut out).map(|len| out[..len].to_vec())
}

#[test]
fn an_ipv4_sender_is_told_by_the_host_it_wanted() {
    for len in [0, 1, 100, 527, 528, 529, 65_000] {
        let packet = v4(17, [10, 0, 0, 1], [10, 0, 0, 9], &vec![7; len]);
        let told = answer_to(&packet).unwrap();
        assert_eq!(told.len(), 28 + packet.len().min(548));
        assert!(told.len() <= 576);
        assert_eq!(told[0], 0x45);
        assert_eq!(u16::from_be_bytes([told[2], told[3]]) as usize, told.len());
        assert_eq!((told[8], told[9]), (64, 1));
        assert_eq!(told[12..20], [10, 0, 0, 9, 10, 0, 0, 1]);
        assert_eq!(checksum(&told[..20]), 0);
        assert_eq!(told[20..22], [3, 1], "host unreachable");
        assert_eq!(told[24..28], [0; 4]);
        assert_eq!(checksum(&told[20..]), 0);
        assert_eq!(told[28..], packet[..told.len() - 28]);
    }
}

#[test]
fn an_ipv6_sender_is_told_by_the_host_it_wanted() {
    for len in [0, 1, 100, 1191, 1192, 1193, 60_000] {
        let packet = v6(17, "fd00::1", "fd00::9", &vec![7; len]);
        let told = answer_to(&packet).unwrap();
        assert_eq!(told.len(), 48 + packet.len().min(1232));
        assert!(told.len() <= 1280);
        assert_eq!(told[..4], [0x60, 0, 0, 0]);
        assert_eq!(u16::from_be_bytes([told[4], told[5]]) as usize, told.len() - 40);
        assert_eq!((told[6], told[7]), (58, 64));
        assert_eq!(told[8..24], packet[24..40]);
        assert_eq!(told[24..40], packet[8..24]);
        assert_eq!(told[40..42], [1, 3], "address unreachable");
        let mut summed = told[8..40].to_vec();
        summed.extend(((told.len() - 40) as u32).to_be_bytes());
        summed.extend([0, 0, 0, 58]);
        summed.extend(&told[40..]);
        assert_eq!(checksum(&summed), 0);
        assert_eq!(told[48..], packet[..told.len() - 48]);
    }
}

#[test]
fn errors_are_never_answered_with_errors() {
    let (from, to) = ([10, 0, 0, 1], [10, 0, 0, 9]);
    for kind in 0..=255 {
        // Echo, router discovery is an error to nobody but needs no answer, timestamp, information, address mask.
        let query = [0, 8, 13, 14, 15, 16, 17, 18].contains(&kind);
        assert_eq!(answer_to(&v4(1, from, to, &[kind, 0, 0, 0])).is_some(), query, "ICMP type {kind}");
        let informational = kind >= 128 && kind != 137;
        let packet = v6(58, "fd00::1", "fd00::9", &[kind, 0, 0, 0]);
        assert_eq!(answer_to(&packet).is_some(), informational, "ICMPv6 type {kind}");
        // Behind hop-by-hop options and a first fragment too.
        let packet = v6(0, "fd00::1", "fd00::9", &[44, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 7, kind, 0, 0, 0]);
        assert_eq!(answer_to(&packet).is_some(), informational, "ICMPv6 type {kind} in a fragment");
    }
    assert!(answer_to(&v4(1, from, to, &[])).is_none(), "no type to be seen");
    assert!(answer_to(&v6(58, "fd00::1", "fd00::9", &[])).is_none(), "no type to be seen");
}

#[test]
fn nobody_and_everybody_is_not_answered() {
    let (from, to) = ([10, 0, 0, 1], [10, 0, 0, 9]);
    assert!(answer_to(&v4(17, from, to, &[0; 8])).is_some());
    for bad in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        assert!(answer_to(&v4(17, bad, to, &[0; 8])).is_none(), "from {bad:?}");
    }
    for bad in [[224, 0, 0, 1], [239, 255, 255, 255], [255, 255, 255, 255]] {
        assert!(answer_to(&v4(17, from, bad, &[0; 8])).is_none(), "to {bad:?}");
    }
    for bad in ["::", "::1", "ff02::1"] {
        assert!(answer_to(&v6(17, bad, "fd00::9", &[0; 8])).is_none(), "from {bad}");
    }
    assert!(answer_to(&v6(17, "fd00::1", "ff02::1", &[0; 8])).is_none());
}

#[test]
fn only_the_first_fragment_is_answered() {
    let mut packet = v4(17, [10, 0, 0, 1], [10, 0, 0, 9], &[0; 8]);
    packet[6] = 0x20;
    assert!(answer_to(&packet).is_some(), "more fragments follow");
    packet[7] = 1;
    assert!(answer_to(&packet).is_none());
    let fragment = |offset| v6(44, "fd00::1", "fd00::9", &[17, 0, 0, offset, 0, 0, 0, 7, 0, 0]);
    assert!(answer_to(&fragment(1)).is_some());
    assert!(answer_to(&fragment(8)).is_none());
}

#[test]
fn no_packet_makes_it_panic() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for _ in 0..20_000 {
        let len = random() as usize % 90;
        let mut packet: Vec<u8> = (0..len).map(|_| (random() % 64) as u8).collect();
        if let Some(first) = packet.first_mut() {
            *first = [0x45, 0x4f, 0x60, 0x00][random() as usize % 4];
        }
        let told = answer_to(&packet);
        assert!(told.is_none_or(|told| told.len() <= 48 + packet.len()));
    }
}

#[test]
fn messages_are_rationed() {
    let mut unreachables = Unreachables::new();
    let at = |milliseconds: u64| Instant::from_nanos(1_000_000_000_000 + milliseconds * 1_000_000);
    // Fifty at once, then one in ten milliseconds.
    assert_eq!((0..200).filter(|_| unreachables.may_tell(at(0))).count(), 50);
    assert!(!unreachables.may_tell(at(9)));
    assert!(unreachables.may_tell(at(10)) && !unreachables.may_tell(at(10)));
    assert_eq!((0..200).filter(|_| unreachables.may_tell(at(60_000))).count(), 50);
}
