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
