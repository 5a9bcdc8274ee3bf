//! BLAKE2s written down slowly from RFC 7693, section 3, as a model: no blocks in flight, no state, one array of input.

const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// What a round of BLAKE2s mixes, and a double round of ChaCha20.
pub(crate) const COLUMNS_AND_DIAGONALS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// BLAKE2s of `input` under `key`, empty for none, with `len` bytes of output.
pub(crate) fn blake2s(len: usize, key: &[u8], input: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    if !key.is_empty() {
        data.extend_from_slice(key);
        data.resize(64, 0);
    }
    data.extend_from_slice(input);
    let total = data.len();
    data.resize(total.div_ceil(64).max(1) * 64, 0);
    let mut h = IV;
    h[0] ^= 0x0101_0000 ^ u32::try_from(key.len() << 8 ^ len).unwrap();
    let blocks = data.len() / 64;
    for (number, block) in data.chunks(64).enumerate() {
        let last = number + 1 == blocks;
        let offset = if last { total } else { (number + 1) * 64 };
        h = compress(h, block, u64::try_from(offset).unwrap(), last);
    }
    h.iter().flat_map(|word| word.to_le_bytes()).take(len).collect()
}

fn compress(h: [u32; 8], block: &[u8], offset: u64, last: bool) -> [u32; 8] {
    let m: Vec<u32> = block.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let mut v: Vec<u32> = h.into_iter().chain(IV).collect();
    v[12] ^= offset as u32;
    v[13] ^= (offset >> 32) as u32;
    if last {
        v[14] ^= u32::MAX;
    }
    for sigma in SIGMA {
        for (step, [a, b, c, d]) in COLUMNS_AND_DIAGONALS.into_iter().enumerate() {
            for (word, first, second) in [(m[sigma[2 * step]], 16, 12), (m[sigma[2 * step + 1]], 8, 7)] {
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(word);
                v[d] = (v[d] ^ v[a]).rotate_right(first);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(second);
            }
        }
    }
    std::array::from_fn(|at| h[at] ^ v[at] ^ v[at + 8])
}

/// The self-test of RFC 7693, appendix E: one hash over hashes of four output lengths and six input lengths, keyed and
/// not.
#[test]
fn the_model_passes_the_self_test_of_the_rfc() {
    let sequence = |len: usize, seed: usize| -> Vec<u8> {
        let mut a = 0xdead_4bad_u32.wrapping_mul(u32::try_from(seed).unwrap());
        let mut b = 1_u32;
        (0..len)
            .map(|_| {
                let t = a.wrapping_add(b);
                (a, b) = (b, t);
                (t >> 24) as u8
            })
            .collect()
    };
    let mut all = Vec::new();
    for out in [16, 20, 28, 32] {
        for len in [0, 3, 64, 65, 255, 1024] {
            all.extend(blake2s(out, &[], &sequence(len, len)));
            all.extend(blake2s(out, &sequence(out, out), &sequence(len, len)));
        }
    }
    assert_eq!(blake2s(32, &[], &all), crate::hex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"));
}
