//! Answers: what a daemon writes, a client reads; and the exact text, because other tools read it too.

use kerntun_uapi::answer::{AnswerParser, Collect, Diagnostics};
use kerntun_uapi::response::{answer_error, answer_set};
use kerntun_uapi::{
    AllowedIp, DeviceState, DiagnosticsWriter, Errno, GetWriter, PeerState, PublicKey, SecretKey, Section,
};
use std::io::{self, Write};
use std::time::Duration;

fn device() -> DeviceState {
    let mut full = PeerState::new(PublicKey([0xAB; 32]));
    full.preshared_key = Some(SecretKey::new(&[0x12; 32]));
    full.endpoint = Some("[fe80::1%3]:51820".parse().unwrap());
    full.last_handshake = Some(Duration::new(1_700_000_000, 5));
    full.tx_bytes = u64::MAX;
    full.rx_bytes = 148;
    full.persistent_keepalive_interval = 25;
    full.allowed_ips = [("10.0.0.0", 8), ("fd00::", 64)]
        .map(|(address, prefix)| AllowedIp { address: address.parse().unwrap(), prefix })
        .to_vec();
    let mut v4 = PeerState::new(PublicKey([0xCD; 32]));
    v4.endpoint = Some("192.0.2.1:1".parse().unwrap());
    DeviceState {
        private_key: Some(SecretKey::new(&[0x34; 32])),
        listen_port: 51820,
        fwmark: 51_820,
        peers: vec![full, v4, PeerState::new(PublicKey([0; 32]))],
    }
}

fn written(device: &DeviceState) -> String {
    let mut out = Vec::new();
    let mut writer = GetWriter::new(&mut out);
    writer.device(device).unwrap();
    writer.finish(Ok(())).unwrap();
    String::from_utf8(out).unwrap()
}

fn read<C: Collect>(text: &str) -> Result<Option<Result<C, Errno>>, String> {
    AnswerParser::default().feed(&mut text.as_bytes()).map_err(|error| error.to_string())
}

fn device_of(text: &str) -> DeviceState {
    read(text).unwrap().unwrap().unwrap()
}

#[test]
fn the_text_of_a_get() {
    let expected = format!(
        "private_key={}\nlisten_port=51820\nfwmark=51820\n\
         public_key={}\npreshared_key={}\nprotocol_version=1\nendpoint=[fe80::1%3]:51820\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=18446744073709551615\nrx_bytes=148\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n\
         public_key={}\npreshared_key={zero}\nprotocol_version=1\nendpoint=192.0.2.1:1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n\
         public_key={zero}\npreshared_key={zero}\nprotocol_version=1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n\
         errno=0\n\n",
        "34".repeat(32),
        "ab".repeat(32),
        "12".repeat(32),
        "cd".repeat(32),
        zero = "0".repeat(64),
    );
    assert_eq!(written(&device()), expected);
    assert_eq!(written(&DeviceState::default()), "listen_port=0\nerrno=0\n\n");
}

#[test]
fn what_is_written_is_read_back() {
    for device in [device(), DeviceState::default()] {
        let text = written(&device);
        assert_eq!(device_of(&text), device);
        for at in 0..text.len() {
            let mut parser = AnswerParser::<DeviceState>::default();
            assert_eq!(parser.feed(&mut &text.as_bytes()[..at]), Ok(None), "{at}");
            assert_eq!(parser.feed(&mut &text.as_bytes()[at..]), Ok(Some(Ok(device.clone()))), "{at}");
        }
    }
}

#[test]
fn a_dump_is_streamed_piece_by_piece() {
    struct Largest(usize);
    impl Write for Largest {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.max(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Largest(0);
    let mut writer = GetWriter::new(&mut out);
    let mut peer = PeerState::new(PublicKey([1; 32]));
    for i in 0..100_000_u32 {
        peer.tx_bytes = u64::from(i);
        writer.peer(&peer).unwrap();
        writer.allowed_ip(AllowedIp { address: std::net::Ipv4Addr::from_bits(i).into(), prefix: 32 }).unwrap();
    }
    writer.finish(Ok(())).unwrap();
    assert!(out.0 <= 16 * 1024, "at most the fixed buffer is ever held back: {}", out.0);
}

#[test]
fn misuse_of_the_writers_is_an_error() {
    let mut out = Vec::new();
    let mut writer = GetWriter::new(&mut out);
    let prefix = AllowedIp { address: "::".parse().unwrap(), prefix: 0 };
    assert_eq!(writer.allowed_ip(prefix).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    writer.peer(&PeerState::new(PublicKey([1; 32]))).unwrap();
    assert_eq!(writer.listen_port(1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(writer.fwmark(1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(writer.private_key(&SecretKey::new(&[1; 32])).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    drop(writer);
    let mut writer = DiagnosticsWriter::new(&mut out);
    for name in ["", "errno", "public_key", "a=b", "A", "a b", "a\n", &"a".repeat(65)] {
        assert_eq!(writer.entry(name, &1).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    struct Broken(u32);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Broken(0);
    let mut writer = GetWriter::new(&mut out);
    let mut result = Ok(());
    while result.is_ok() {
        result = writer.peer(&PeerState::new(PublicKey([1; 32])));
    }
    assert!(writer.finish(Err(Errno::EIO)).is_err());
    assert_eq!(out.0, 1, "an answer with a hole in it must not get an end");
}

#[test]
fn error_numbers_of_either_sign() {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    // wg(8) reads the answer to a set as already negated, and that to a get as positive.
    assert_eq!(text(&|out| answer_set(out, Err(Errno::EINVAL)).unwrap()), "errno=-22\n\n");
    assert_eq!(text(&|out| answer_set(out, Ok(())).unwrap()), "errno=0\n\n");
    assert_eq!(text(&|out| answer_error(out, Errno::EPROTO).unwrap()), "errno=71\n\n");
    assert_eq!(text(&|out| GetWriter::new(out).finish(Err(Errno::EIO)).unwrap()), "errno=5\n\n");
    for text in ["errno=22\n\n", "errno=-22\n\n"] {
        assert_eq!(read::<()>(text), Ok(Some(Err(Errno::EINVAL))));
        assert_eq!(read::<DeviceState>(text), Ok(Some(Err(Errno::EINVAL))));
    }
    assert_eq!(read::<()>("errno=0\n\n"), Ok(Some(Ok(()))));
    assert_eq!(read::<()>("errno=0\n"), Ok(None));
}

#[test]
fn answers_of_others() {
    // Unknown keys are skipped, zero keys mean none, upper case is fine, order within a peer does not matter.
    let text = format!(
        "future=1\nprivate_key={}\nlisten_port=5\npublic_key={}\nlast_handshake_time_nsec=7\nlast_handshake_time_sec=3\n\
         endpoint=[fe80::1]:0\nfuture=x\npreshared_key={}\nerrno=0\n\n",
        "0".repeat(64),
        "AB".repeat(32),
        "0".repeat(64)
    );
    let device = device_of(&text);
    assert_eq!((device.private_key, device.listen_port), (None, 5));
    assert_eq!(device.peers[0].last_handshake, Some(Duration::new(3, 7)));
    assert_eq!(device.peers[0].preshared_key, None);
}

#[test]
fn malformed_answers() {
    for (text, line) in [
        ("\n", 1),
        ("listen_port=1\n\n", 2),
        ("listen_port\n", 1),
        ("listen_port=x\n", 1),
        ("errno=x\n", 1),
        ("errno=\n", 1),
        ("errno=--1\n", 1),
        ("errno=4294967295\n", 1),
        ("public_key=00\n", 1),
        ("private_key=00\n", 1),
        (&format!("public_key={}\nlast_handshake_time_nsec=1000000000\n", "0".repeat(64)), 2),
        (&format!("public_key={}\nallowed_ip=1.2.3.4\n", "0".repeat(64)), 2),
        (&format!("x={}\n", "y".repeat(5000)), 1),
    ] {
        let error = read::<DeviceState>(text).expect_err(text);
        assert!(error.starts_with(&format!("line {line} of the answer ")), "{error}");
    }
}

#[test]
fn diagnostics_round_trip() {
    let mut out = Vec::new();
    let mut writer = DiagnosticsWriter::new(&mut out);
    writer.entry("drop.bad-mac1", &7).unwrap();
    writer.entry("clock", &"set = yes\nerrno=5\r").unwrap();
    writer.peer(&PublicKey([9; 32])).unwrap();
    writer.entry("deadline.rekey", &"12.5 s: because\u{1b}[31m").unwrap();
    writer.entry("long", &"é".repeat(2000)).unwrap();
    writer.finish(Ok(())).unwrap();
    let text = String::from_utf8(out).unwrap();
    let entries = read::<Diagnostics>(&text).unwrap().unwrap().unwrap().entries;
    let peer = Section::Peer(PublicKey([9; 32]));
    let seen: Vec<_> = entries.iter().map(|e| (e.section, e.name.as_str(), e.value.as_str())).collect();
    assert_eq!(seen[0], (Section::Device, "drop.bad-mac1", "7"));
    assert_eq!(seen[1], (Section::Device, "clock", "set = yes errno=5 "));
    assert_eq!(seen[2], (peer, "deadline.rekey", "12.5 s: because [31m"));
    assert_eq!((seen[3].1, seen[3].2.len(), seen.len()), ("long", 1024, 4));
}
