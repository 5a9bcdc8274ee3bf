//! Every input that is kept, without a fuzzer: those that once showed something, and those that reach far.

use kerntun_fuzz_targets::TARGETS;
use std::path::Path;

#[test]
fn every_kept_input_passes() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in corpora.join(name).read_dir().expect("a corpus for every target") {
            let path = entry.expect("a readable folder").path();
            target(&std::fs::read(&path).expect("a readable file"));
            inputs += 1;
        }
        assert!(inputs >= 4, "{name} has {inputs} inputs");
        // What is not there, and all of one kind.
        target(&[]);
        for byte in [0, 0x45, 0x60, 0xff] {
            target(&[byte; 4096]);
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
