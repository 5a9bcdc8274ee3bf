//! The AEAD at the levels that valgrind can run, and with different secrets, which must make no difference.

use kerntun_aead::{Level, Packet, State, Vectors};
use kerntun_crypto::{Portable, Slices, Span};
use kerntun_engine::host::Crypto;
use kerntun_engine::secret::Secret;

counted!(counted_avx2_seal_64_x_16(run: &mut Run) { run.seal() });
counted!(counted_avx2_open_64_x_16(run: &mut Run) { run.open() });
counted!(counted_avx2_seal_576_x_16(run: &mut Run) { run.seal() });
counted!(counted_avx2_open_576_x_16(run: &mut Run) { run.open() });
counted!(counted_avx2_seal_mixed(run: &mut Run) { run.seal() });
counted!(counted_avx2_open_mixed(run: &mut Run) { run.open() });
counted!(counted_portable_seal_1420(key: &Secret, run: &mut Slices<'_>) { Portable.seal_run(key, 7, run) });
// The same lengths with other secrets: the same counts, exactly.
counted!(counted_same_avx2_seal_zeros(run: &mut Run) { run.seal() });
counted!(counted_same_avx2_seal_ones(run: &mut Run) { run.seal() });
counted!(counted_same_avx2_seal_random(run: &mut Run) { run.seal() });
counted!(counted_same_avx2_open_zeros(run: &mut Run) { run.open() });
counted!(counted_same_avx2_open_ones(run: &mut Run) { run.open() });
counted!(counted_same_avx2_open_random(run: &mut Run) { run.open() });
// Wrong in the first bit of the tag, in the last, and all over it: what is refused takes the same whatever is wrong.
counted!(counted_same_avx2_refuse_first(run: &mut Run) { run.open() });
counted!(counted_same_avx2_refuse_last(run: &mut Run) { run.open() });
counted!(counted_same_avx2_refuse_all(run: &mut Run) { run.open() });

/// Packets under one key.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) vectors: Vectors,
    pub(crate) key: [u8; 32],
    pub(crate) buffer: Vec<u8>,
    pub(crate) packets: Vec<Packet>,
}

impl Run {
    /// A run of packets of these lengths whose key and texts come from `secret`.
    pub(crate) fn new(lengths: &[usize], mut secret: impl FnMut() -> u8) -> Self {
        let level = Vectors::at(Level::Avx2).expect("AVX2");
        let mut packets = Vec::new();
        let mut end = 0;
        for (len, counter) in lengths.iter().zip(7..) {
            packets.push(Packet::new(end, *len, counter));
            end += len + 32;
        }
        let key = [(); 32].map(|()| secret());
        Self { vectors: level.eager(), key, buffer: (0..end).map(|_| secret()).collect(), packets }
    }

    pub(crate) fn seal(&mut self) {
        self.vectors.seal(&self.key, &mut self.buffer, &mut self.packets);
    }

    fn open(&mut self) {
        self.vectors.open(&self.key, &mut self.buffer, &mut self.packets);
    }

    /// Seals and opens with functions whose instructions are counted.
    fn both(mut self, seal: fn(&mut Self), open: fn(&mut Self)) {
        let plain = self.buffer.clone();
        seal(&mut self);
        assert!(self.packets.iter().all(|packet| packet.state == State::Done), "not all went through the vectors");
        self.wait();
        open(&mut self);
        for packet in &self.packets {
            assert_eq!(packet.state, State::Done, "not opened");
            let text = packet.start..packet.start + packet.len;
            assert!(self.buffer[text.clone()] == plain[text], "opened to something else");
        }
    }

    /// Opens with a function whose instructions are counted after changing every tag by `wrong`.
    fn refuse(mut self, wrong: [u8; 16], open: fn(&mut Self)) {
        self.seal();
        for packet in &self.packets {
            let tag = packet.start + packet.len..packet.start + packet.len + 16;
            self.buffer[tag].iter_mut().zip(wrong).for_each(|(byte, wrong)| *byte ^= wrong);
        }
        self.wait();
        open(&mut self);
        assert!(self.packets.iter().all(|packet| packet.state == State::Forged));
    }

    fn wait(&mut self) {
        self.packets.iter_mut().for_each(|packet| packet.state = State::Waiting);
    }
}

/// Steele, Lea and Flood's SplitMix64, a byte at a time.
pub(crate) fn random(mut state: u64) -> impl FnMut() -> u8 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8
    }
}

/// A run that has everything: batches of eight and of four, empty lanes, edges of blocks. Of each number of blocks there are at
/// least three, so that none is left.
pub(crate) const MIXED: [usize; 22] =
    [0, 1, 15, 16, 17, 63, 64, 64, 65, 576, 577, 1_420, 0, 1_420, 1_424, 580, 600, 128, 100, 570, 520, 0];

/// Runs everything once.
pub(crate) fn run() {
    // Valgrind hides AVX-512 from a program. This must not run with it unnoticed.
    assert_eq!(Vectors::detect().map(|vectors| vectors.level()), Some(Level::Avx2), "not under valgrind?");
    Run::new(&[64; 16], random(1)).both(counted_avx2_seal_64_x_16, counted_avx2_open_64_x_16);
    Run::new(&[576; 16], random(2)).both(counted_avx2_seal_576_x_16, counted_avx2_open_576_x_16);
    Run::new(&MIXED, random(3)).both(counted_avx2_seal_mixed, counted_avx2_open_mixed);
    let mut buffer = vec![7; 1_452];
    let spans = [Span { start: 0, len: 1_452 }];
    counted_portable_seal_1420(&Secret::new([3; 32]), &mut Slices { buffer: &mut buffer, spans: &spans });
    assert!(buffer[1_436..] != [7; 16], "no tag");

    Run::new(&MIXED, || 0).both(counted_same_avx2_seal_zeros, counted_same_avx2_open_zeros);
    Run::new(&MIXED, || 0xff).both(counted_same_avx2_seal_ones, counted_same_avx2_open_ones);
    Run::new(&MIXED, random(4)).both(counted_same_avx2_seal_random, counted_same_avx2_open_random);
    let (mut first, mut last) = ([0; 16], [0; 16]);
    (first[0], last[15]) = (1, 0x80);
    Run::new(&MIXED, random(5)).refuse(first, counted_same_avx2_refuse_first);
    Run::new(&MIXED, random(6)).refuse(last, counted_same_avx2_refuse_last);
    Run::new(&MIXED, random(7)).refuse([0xff; 16], counted_same_avx2_refuse_all);
}
