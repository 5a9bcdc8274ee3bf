//! Memory stays bounded whatever a connection sends. Few tests, because one looks at the memory of the process.

use kerntun_uapi::Parser;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_endless_line_takes_no_memory() {
    let chunk = vec![b'a'; 1 << 20];
    for start in ["", "set=1\n", "set=1\nprivate_key="] {
        let mut parser = Parser::new(|_: &str| None);
        assert!(parser.feed(&mut start.as_bytes()).is_none());
        assert!(parser.feed(&mut chunk.as_slice()).is_none());
        let before = resident_kib();
        let mut refused = false;
        for _ in 0..200 {
            let mut input = chunk.as_slice();
            if let Some(result) = parser.feed(&mut input) {
                let error = result.unwrap_err();
                assert!(error.fatal && error.errno.get() == 7, "{error}");
                refused = true;
            }
        }
        assert!(refused, "200 MiB without a newline are refused");
        let after = resident_kib();
        assert!(after < before + 1024, "{before} KiB before, {after} KiB after");
    }
}

#[test]
fn typed_changes_are_not_much_larger_than_their_text() {
    // Shortest lines: 76 bytes open a peer, 16 bytes name a prefix. A growing list takes three times its content.
    assert!(size_of::<kerntun_uapi::PeerChange>() * 3 < 76 * 6, "{}", size_of::<kerntun_uapi::PeerChange>());
    assert!(size_of::<kerntun_uapi::AllowedIpChange>() * 3 < 16 * 6, "{}", size_of::<kerntun_uapi::AllowedIpChange>());
}
