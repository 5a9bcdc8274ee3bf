//! Every input that is kept, without a fuzzer: those that once showed something, and those that reach far.

use kerntun_fuzz_targets::TARGETS;
use std::path::Path;

fn every_kept_input_passes(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target of that name");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let paths =
        corpus.read_dir().expect("a corpus for every target").map(|entry| entry.expect("a readable folder").path());
    let mut inputs: Vec<_> = paths.map(|path| std::fs::read(path).expect("a readable file")).collect();
    assert!(inputs.len() >= 4, "{name} has {} inputs", inputs.len());
    // What is not there, and all of one kind.
    inputs.extend([0, 0x45, 0x60, 0xff].map(|byte| vec![byte; 4096]));
    inputs.push(Vec::new());
    for input in inputs {
        target(&input);
    }
}

/// A test for each target.
macro_rules! replay {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                every_kept_input_passes(stringify!($name));
            }
        )*

        #[test]
        fn each_target_has_its_test() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replay!(aead configuration device kernel messages netlink offload uapi);

/// Lengths at the ends of the cipher's blocks, in runs that fill a batch and that do not; one of them forged.
#[test]
fn runs_of_few_bytes() {
    let (_, aead) = TARGETS.into_iter().find(|(name, _)| *name == "aead").expect("it is one of them");
    // Miri takes what a quarter of them would show: before, at and behind an end, and one of which a whole block of the cipher
    // would leave the buffer, tag and all.
    let (lengths, counts): (&[u8], &[u8]) = if cfg!(miri) {
        (&[0, 17, 40, 64, 130], &[4, 9])
    } else {
        (&[0, 1, 15, 16, 17, 40, 63, 64, 65, 127, 130], &[1, 4, 8, 9])
    };
    for len in lengths {
        for count in counts {
            let pieces = (0..*count).flat_map(|at| [*len, 0, if at == count / 2 { 17 } else { 0 }]);
            aead(&std::iter::once(7).chain(pieces).collect::<Vec<_>>());
        }
    }
}
