//! Sources of randomness, and the home that lends them.

use kerntun_crypto::{Portable, Slices, Span};
use kerntun_engine::host::{Crypto, Entropy, Host, Staged};
use kerntun_engine::secret::Secret;
use kerntun_host::{Held, SeededEntropy, SystemEntropy, UserHost};

#[test]
fn the_system_gives_different_bytes_every_time() {
    let source = SystemEntropy::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        let mut bytes = [0; 32];
        assert!(source.fill(&mut bytes));
        assert!(seen.insert(bytes));
    }
    // Every byte takes part: none is the same in a thousand draws.
    for at in 0..32 {
        assert!(seen.iter().any(|bytes| bytes[at] != seen.first().unwrap()[at]));
    }
    assert!(source.fill(&mut []));
}

/// As in the first moments after boot: whoever asks is not kept waiting, and gets nothing.
#[cfg(target_os = "linux")]
#[test]
fn nothing_comes_from_a_source_without_a_seed() {
    use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
    let flag = u64::from(libc::GRND_NONBLOCK);
    let asked = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag).unwrap();
    let rules = [(libc::SYS_getrandom, vec![SeccompRule::new(vec![asked]).unwrap()])].into();
    let would_block = SeccompAction::Errno(libc::EAGAIN.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, would_block, architecture).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    let source = SystemEntropy::new();
    let refused = || {
        seccompiler::apply_filter(&program).unwrap();
        let mut bytes = [0; 32];
        assert!(!source.fill(&mut bytes));
        assert_eq!(bytes, [0; 32]);
        assert!(!source.fill(&mut bytes), "asked again");
    };
    // The filter is this thread's only.
    std::thread::scope(|scope| scope.spawn(refused).join()).unwrap();
    let mut bytes = [0; 32];
    assert!(source.fill(&mut bytes), "seeded by now");
    assert_ne!(bytes, [0; 32]);
}

#[test]
fn a_large_request_is_filled_to_its_end() {
    let mut bytes = vec![0; 100_000];
    assert!(SystemEntropy::new().fill(&mut bytes));
    assert!(bytes.chunks(64).all(|chunk| chunk.len() < 64 || chunk.iter().any(|byte| *byte != 0)));
}

#[test]
fn a_seed_repeats_itself_and_no_other() {
    let draw = |seed: u64| {
        let source = SeededEntropy::new(seed);
        let mut all = Vec::new();
        for len in [32, 4, 24, 0, 7, 32] {
            let mut bytes = vec![0; len];
            assert!(source.fill(&mut bytes));
            all.extend(bytes);
        }
        all
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(0), vec![0; draw(0).len()]);
    let source = SeededEntropy::new(1);
    let mut bytes = [7; 8];
    source.set_dry(true);
    assert!(!source.fill(&mut bytes));
    source.set_dry(false);
    assert!(source.fill(&mut bytes));
    assert_eq!(bytes[..], draw(1)[..8], "a refused call takes nothing from the stream");
}

/// What the engine is: a user of any home.
fn use_home<H>(home: &H, packet: <H::Staged as Staged>::Packet)
where
    H: Host + Sync,
    for<'a> H::Crypto: Crypto<Run<'a> = Slices<'a>>,
{
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut key = Secret::default();
                assert!(home.entropy().fill(key.expose_mut()));
                let mut buffer = [0; 48];
                let spans = [Span { start: 0, len: 48 }];
                home.crypto().seal_run(&key, 0, &mut Slices { buffer: &mut buffer, spans: &spans });
                assert_ne!(buffer[16..], [0; 32]);
            });
        }
    });
    let mut queue = H::Staged::default();
    queue.push(packet);
    assert!(queue.pop().is_some());
}

#[test]
fn a_home_serves_several_threads() {
    use_home(&UserHost::new(Portable), Held::from_bytes(vec![1, 2, 3], 1));
    let home = UserHost::with_entropy(Portable, SystemEntropy::new()).holding::<(u8, Box<[u8]>)>();
    use_home(&home, Held::new((1, Box::default()), 1, 0));
}
