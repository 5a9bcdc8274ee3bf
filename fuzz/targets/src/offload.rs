//! Segmentation of what the kernel hands out, and coalescing of what it gets.

use kerntun_linux::vnet::VNET_HEADER_LEN;
use kerntun_linux::{ChecksumPolicy, Coalescer, SegmentError, Segments, TunOffload, VnetHeader};

/// A virtio header and a packet: every segment has the length it was said to have, and the payload is all there. Then a row of
/// packets: those that are merged come apart again into themselves.
pub fn offload(input: &[u8]) {
    let Some((header, rest)) = input.split_first_chunk::<VNET_HEADER_LEN>() else { return };
    let header = VnetHeader::from_bytes(header);
    if let Ok(segments) = cut(&header, rest, 300) {
        assert!(!segments.is_empty());
        let total: usize = segments.iter().map(Vec::len).sum();
        // All but the last are full, so the first says how long their headers are.
        let headers = if segments.len() > 1 { segments[0].len() - usize::from(header.gso_size) } else { 0 };
        assert!(total == headers * (segments.len() - 1) + rest.len() || segments.len() == 300, "{total}");
    }
    // The first byte of each packet says how long it is, in steps of four, and whether it takes up where the last ended.
    let mut packets = Vec::<Vec<u8>>::new();
    let mut left = rest;
    while let Some((length, more)) = left.split_first() {
        let (packet, more) = more.split_at((usize::from(*length) * 4).min(more.len()));
        packets.push(packet.to_vec());
        left = more;
    }
    if packets.is_empty() {
        return;
    }
    for policy in [ChecksumPolicy::Verify, ChecksumPolicy::TrustSender] {
        let run = Coalescer::new(TunOffload::ALL, policy).next_run(&packets);
        assert!(run.count() >= 1 && run.count() <= packets.len());
        let written = run.slices(&packets).collect::<Vec<_>>().concat();
        if run.count() == 1 {
            assert_eq!(written, packets[0]);
        } else if policy == ChecksumPolicy::Verify {
            let parts = cut(run.header(), &written, usize::MAX).expect("what was merged can be cut");
            assert_eq!(parts.len(), run.count());
            for (part, packet) in parts.iter().zip(&packets) {
                assert_eq!(without_idle_id(part), without_idle_id(packet));
            }
        }
    }
}

/// The first `most` segments.
fn cut(header: &VnetHeader, packet: &[u8], most: usize) -> Result<Vec<Vec<u8>>, SegmentError> {
    let segments = Segments::parse(header, packet)?;
    let mut all = Vec::new();
    for index in 0..segments.len().min(most) {
        let mut segment = vec![0; segments.segment_len(index)];
        assert_eq!(segments.write(index, &mut segment)?, segment.len());
        all.push(segment);
    }
    Ok(all)
}

/// Without the identification of an IPv4 packet that must not be fragmented, which means nothing, and its checksum.
fn without_idle_id(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.first() == Some(&0x45) && packet.len() >= 20 && packet[6] == 0x40 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}
