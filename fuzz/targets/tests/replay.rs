//! Every input that is kept, without a fuzzer: those that once showed something, and those that reach far.

use kerntun_fuzz_targets::TARGETS;
use std::path::Path;

/// So many of each target, the shortest first. In Miri an input takes seconds.
const INPUTS: usize = if cfg!(miri) { 8 } else { usize::MAX };

#[test]
fn every_kept_input_passes() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, target) in TARGETS {
        let entries = corpora.join(name).read_dir().expect("a corpus for every target");
        let mut inputs: Vec<_> = entries
            .map(|entry| std::fs::read(entry.expect("a readable folder").path()).expect("a readable file"))
            .collect();
        assert!(inputs.len() >= 4, "{name} has {} inputs", inputs.len());
        inputs.sort_by_key(Vec::len);
        inputs.iter().take(INPUTS).for_each(|input| target(input));
        // What is not there, and all of one kind.
        target(&[]);
        for byte in [0, 0x45, 0x60, 0xff] {
            target(&[byte; if cfg!(miri) { 64 } else { 4096 }]);
        }
    }
}

/// Lengths at the ends of the cipher's blocks, in runs that fill a batch and that do not; one of them forged.
#[test]
fn runs_of_few_bytes() {
    let (_, aead) = TARGETS.into_iter().find(|(name, _)| *name == "aead").expect("it is one of them");
    for len in [0, 1, 15, 16, 17, 63, 64, 65, 127, 130] {
        for count in [1, 4, 8, 9] {
            let pieces = (0..count).flat_map(|at| [len, 0, if at == count / 2 { 17 } else { 0 }]);
            aead(&std::iter::once(7).chain(pieces).collect::<Vec<_>>());
        }
    }
}
