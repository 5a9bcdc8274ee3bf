//! Runs of datagrams in one piece of memory.

use crate::random::Random;
use crate::{Check, Provider, each};
use kerntun_crypto::{Slices, Span};
use kerntun_engine::packet::Incoming;
use kerntun_engine::secret::Secret;

const HEADER: usize = 16;
const OVERHEAD: usize = 32;

/// Datagrams in a buffer: headers and texts at random, room for the tags.
struct Packed {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl Packed {
    /// Lengths are those of the texts; up to `gap` bytes lie between two datagrams.
    fn new(random: &mut Random, lens: &[usize], first_counter: u64, gap: usize) -> Self {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for (number, len) in lens.iter().enumerate() {
            let space = random.below(gap + 1);
            buffer.extend(random.bytes(space));
            spans.push(Span { start: buffer.len(), len: len + OVERHEAD });
            // Type 4, receiver 9, counter.
            buffer.extend([4, 0, 0, 0, 9, 0, 0, 0]);
            buffer.extend(first_counter.wrapping_add(number as u64).to_le_bytes());
            buffer.extend(random.bytes(len + OVERHEAD - HEADER));
        }
        buffer.extend(random.bytes(gap));
        Self { buffer, spans }
    }

    fn slices(&mut self) -> Slices<'_> {
        Slices { buffer: &mut self.buffer, spans: &self.spans }
    }

    fn datagram(&self, at: usize) -> &[u8] {
        let Span { start, len } = self.spans[at];
        &self.buffer[start..start + len]
    }

    fn text(&self, at: usize) -> &[u8] {
        let datagram = self.datagram(at);
        &datagram[HEADER..datagram.len() - 16]
    }

    fn entries(&self) -> Vec<Incoming> {
        (0..self.spans.len()).map(|at| entry(self.datagram(at), self.spans[at].len)).collect()
    }
}

fn entry(datagram: &[u8], len: usize) -> Incoming {
    Incoming::new(datagram[..HEADER].try_into().unwrap(), len, 0).unwrap()
}

/// The way it shows that a packet passed: it is wanted no more and its head is the text's.
fn passed(packet: &Incoming, text: &[u8]) -> bool {
    let head = text.len().min(40);
    !packet.is_wanted() && packet.head()[..head] == text[..head]
}

#[test]
fn a_run_is_its_packets_one_by_one() {
    struct Runs;
    impl Check for Runs {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(8);
            for round in 0..150 {
                let key = random.secret();
                let first = [0, 5, u64::MAX - 200, random.word() >> 1][round % 4];
                let lens: Vec<usize> = match round % 3 {
                    // Equal ones and a shorter last, as segmentation offload has them.
                    0 => [vec![1_420; 1 + random.below(44)], vec![random.below(1_420)]].concat(),
                    1 => (0..random.below(60)).map(|_| random.below(2_100)).collect(),
                    _ => (0..random.below(100)).map(|_| 16 * random.below(6)).collect(),
                };
                let gap = if round % 2 == 0 { 0 } else { 40 };
                let plain = Packed::new(&mut random, &lens, first, gap);
                let mut sealed = Packed { buffer: plain.buffer.clone(), spans: plain.spans.clone() };
                crypto.seal_run(&key, first, &mut sealed.slices());

                let mut expected = plain.buffer.clone();
                for (number, Span { start, len }) in plain.spans.iter().enumerate() {
                    let (text, room) = expected[start + HEADER..start + len].split_at_mut(len - OVERHEAD);
                    room.copy_from_slice(&crypto.seal(&key, first + number as u64, &[], text));
                }
                assert!(sealed.buffer == expected, "{name}: round {round}");

                let mut entries = sealed.entries();
                crypto.open_run(&key, &mut entries, &mut sealed.slices());
                for (at, packet) in entries.iter().enumerate() {
                    assert!(passed(packet, plain.text(at)), "{name}: round {round}, packet {at}");
                    assert_eq!(sealed.text(at), plain.text(at), "{name}: round {round}, packet {at}");
                }
            }
        }
    }
    each(&Runs);
}

#[test]
fn packets_of_a_run_pass_or_fail_alone() {
    struct Mixed;
    impl Check for Mixed {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let mut random = Random::new(9);
            for round in 0..100 {
                let key = random.secret();
                let lens: Vec<usize> = (0..1 + random.below(30)).map(|_| random.below(300)).collect();
                let plain = Packed::new(&mut random, &lens, 1_000, 7);
                let mut run = Packed { buffer: plain.buffer.clone(), spans: plain.spans.clone() };
                crypto.seal_run(&key, 1_000, &mut run.slices());
                let mut entries = run.entries();
                let mut fates = Vec::new();
                for (at, packet) in entries.iter_mut().enumerate() {
                    let Span { start, len } = run.spans[at];
                    fates.push(random.below(6));
                    match fates[at] {
                        // A changed text or tag.
                        0 => {
                            let place = start + HEADER + random.below(len - HEADER);
                            run.buffer[place] ^= 1 << random.below(8);
                        }
                        // Another packet's counter.
                        1 => run.buffer[start + 8] ^= 0x80,
                        // Not wanted: dropped before.
                        2 => packet.authenticated(&[]),
                        // The entry speaks of a datagram of another length.
                        3 => *packet = entry(run.datagram(at), len + 1),
                        _ => {}
                    }
                    if fates[at] == 1 {
                        *packet = entry(run.datagram(at), len);
                    }
                }
                let before = Packed { buffer: run.buffer.clone(), spans: run.spans.clone() };
                crypto.open_run(&key, &mut entries, &mut run.slices());
                for (at, packet) in entries.iter().enumerate() {
                    let what = format!("{name}: round {round}, packet {at}, fate {}", fates[at]);
                    match fates[at] {
                        0 | 1 | 3 => {
                            assert!(packet.is_wanted() && *packet.head() == [0; 40], "{what}");
                            assert!(run.text(at).iter().all(|byte| *byte == 0), "{what}");
                        }
                        2 => assert_eq!(run.datagram(at), before.datagram(at), "{what}"),
                        _ => {
                            assert!(passed(packet, plain.text(at)), "{what}");
                            assert_eq!(run.text(at), plain.text(at), "{what}");
                        }
                    }
                    assert_eq!(run.datagram(at)[..HEADER], before.datagram(at)[..HEADER], "{what}");
                }
            }
        }
    }
    each(&Mixed);
}

#[test]
fn a_span_that_does_not_fit_harms_only_itself() {
    struct Misfits;
    impl Check for Misfits {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new([3; 32]);
            let good = Span { start: 100, len: 96 };
            // The part of the buffer of 300 bytes that has to be zeros afterwards.
            for (bad, zeros) in [
                (Span { start: 0, len: 0 }, 0..0),
                (Span { start: 10, len: 1 }, 10..11),
                (Span { start: 10, len: 16 }, 10..26),
                (Span { start: 10, len: 31 }, 10..41),
                (Span { start: 269, len: 32 }, 269..300),
                (Span { start: 200, len: 1_000 }, 200..300),
                (Span { start: 200, len: usize::MAX }, 200..300),
                (Span { start: 300, len: 32 }, 300..300),
                (Span { start: 301, len: 32 }, 300..300),
                (Span { start: usize::MAX, len: 32 }, 300..300),
                (Span { start: usize::MAX, len: usize::MAX }, 300..300),
            ] {
                let spans = [good, bad, Span { start: 196, len: 0 }, Span { start: 41, len: 59 }];
                let mut buffer = vec![0x55; 300];
                crypto.seal_run(&key, 40, &mut Slices { buffer: &mut buffer, spans: &spans });
                let mut expected = vec![0x55; 300];
                // The bad ones used up counters 41 and 42.
                for (counter, Span { start, len }) in [(40, good), (43, spans[3])] {
                    let (text, room) = expected[start + HEADER..start + len].split_at_mut(len - OVERHEAD);
                    room.copy_from_slice(&crypto.seal(&key, counter, &[], text));
                }
                expected[zeros].fill(0);
                assert_eq!(buffer, expected, "{name}: sealing {bad:?}");

                let header = |counter: u8| [4, 0, 0, 0, 9, 0, 0, 0, counter, 0, 0, 0, 0, 0, 0, 0];
                let mut entries = [(40, good.len), (41, bad.len.max(32)), (42, 32), (43, 59)]
                    .map(|(counter, len)| Incoming::new(&header(counter), len, 0).unwrap());
                crypto.open_run(&key, &mut entries, &mut Slices { buffer: &mut buffer, spans: &spans });
                assert_eq!(entries.map(|packet| packet.is_wanted()), [false, true, true, false], "{name}: {bad:?}");
            }
        }
    }
    each(&Misfits);
}

#[test]
fn no_counter_is_used_twice_at_the_end_of_all_counters() {
    struct End;
    impl Check for End {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new([3; 32]);
            let mut run = Packed::new(&mut Random::new(10), &[64; 4], u64::MAX - 1, 0);
            let plain = run.buffer.clone();
            crypto.seal_run(&key, u64::MAX - 1, &mut run.slices());
            for (at, counter) in [u64::MAX - 1, u64::MAX].into_iter().enumerate() {
                let Span { start, len } = run.spans[at];
                let mut text = plain[start + HEADER..start + len - 16].to_vec();
                let tag = crypto.seal(&key, counter, &[], &mut text);
                assert_eq!(run.datagram(at)[HEADER..], [&text[..], &tag].concat(), "{name}");
            }
            // What has no counter left is not sent, not even in the clear.
            assert!(run.datagram(2).iter().chain(run.datagram(3)).all(|byte| *byte == 0), "{name}");
        }
    }
    each(&End);
}

#[test]
fn entries_and_spans_of_unequal_number() {
    struct Unequal;
    impl Check for Unequal {
        fn check<C: Provider>(&self, name: &str, crypto: &C) {
            let key = Secret::new([3; 32]);
            let mut run = Packed::new(&mut Random::new(11), &[64; 3], 0, 0);
            crypto.seal_run(&key, 0, &mut run.slices());
            let sealed = run.buffer.clone();
            let mut entries = run.entries();
            run.spans.pop();
            crypto.open_run(&key, &mut entries, &mut run.slices());
            assert_eq!(entries.iter().map(Incoming::is_wanted).collect::<Vec<_>>(), [false, false, true], "{name}");
            assert_eq!(run.buffer[192..], sealed[192..], "{name}: what no entry speaks of stays sealed");
            crypto.open_run(&key, &mut entries, &mut Slices { buffer: &mut [], spans: &[] });
            crypto.seal_run(&key, 0, &mut Slices { buffer: &mut [], spans: &[] });
        }
    }
    each(&Unequal);
}
