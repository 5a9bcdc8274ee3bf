//! Many bytes over TCP, both ways at once, each way with a checksum.

use crate::namespace::Namespace;
use crate::random::Random;
use blake2::{Blake2s256, Digest};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// No single read or write may wait longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// And the whole not longer than this.
const LIMIT: Duration = Duration::from_secs(60);

/// Opens a connection from `client` to `server`, which has the address `to`, sends `bytes` each way at the same time, and
/// compares what comes out with what went in.
///
/// # Panics
/// If anything is lost, added or changed, or nothing moves for a long time.
pub fn bulk(client: &Namespace, server: &Namespace, to: IpAddr, bytes: usize) {
    let listener = server.enter(|| TcpListener::bind(SocketAddr::new(to, 0))).expect("the address is the server's");
    let at = listener.local_addr().expect("it is bound");
    let connection =
        client.enter(|| TcpStream::connect_timeout(&at, PATIENCE)).expect("a connection through the tunnel");
    let (accepted, _) = listener.accept().expect("the connection");
    let ends = [&connection, &accepted];
    for end in ends {
        end.set_read_timeout(Some(PATIENCE)).expect("an ordinary option");
        end.set_write_timeout(Some(PATIENCE)).expect("an ordinary option");
    }
    thread::scope(|scope| {
        let senders = [1, 2].map(|seed| scope.spawn(move || send(ends[seed - 1], seed as u64, bytes)));
        let receivers = [1, 0].map(|end| scope.spawn(move || receive(ends[end], bytes)));
        for (sender, receiver) in senders.into_iter().zip(receivers) {
            let (sent, received) = (sender.join().expect("a sender"), receiver.join().expect("a receiver"));
            assert_eq!(sent, received, "what came out of the tunnel is not what went in");
        }
    });
    // Nothing is left to be repeated by ends that close, when the next test has changed the tunnel already.
    for end in ends {
        setsockopt(end, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).expect("an ordinary option");
    }
}

fn send(mut to: &TcpStream, seed: u64, bytes: usize) -> [u8; 32] {
    let (mut random, mut sum) = (Random::new(seed), Blake2s256::new());
    let mut block = vec![0; 1 << 18];
    let (started, mut left) = (Instant::now(), bytes);
    while left > 0 {
        assert!(started.elapsed() < LIMIT, "the tunnel has taken all but {left} of {bytes} bytes in {LIMIT:?}");
        let len = left.min(block.len());
        random.fill(&mut block[..len]);
        sum.update(&block[..len]);
        to.write_all(&block[..len]).expect("the tunnel takes data");
        left -= len;
    }
    sum.finalize().into()
}

fn receive(mut from: &TcpStream, bytes: usize) -> [u8; 32] {
    let mut sum = Blake2s256::new();
    let mut block = vec![0; 1 << 18];
    let (started, mut left) = (Instant::now(), bytes);
    while left > 0 {
        assert!(started.elapsed() < LIMIT, "the tunnel has given all but {left} of {bytes} bytes in {LIMIT:?}");
        let len = left.min(block.len());
        let len = match from.read(&mut block[..len]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.expect("the tunnel gives data"),
        };
        assert!(len > 0, "the connection ended {left} bytes early");
        sum.update(&block[..len]);
        left -= len;
    }
    sum.finalize().into()
}
