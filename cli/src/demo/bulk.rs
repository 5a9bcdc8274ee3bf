//! A mass transfer over TCP whose both ends are hashed.

use crate::failure::Failure;
use blake2::{Blake2b512, Digest};
use kerntun_lab::Site;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a piece; each begins with its number.
const PIECE: usize = 128 << 10;
/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// What arrived.
#[derive(Debug)]
pub(super) struct Transfer {
    /// How many bytes, all of them the right ones.
    pub(super) bytes: u64,
    /// From the first byte sent to the last byte read.
    pub(super) time: Duration,
    /// BLAKE2b-512 of the data, in hexadecimal digits: the same at both ends.
    pub(super) hash: String,
}

struct Hashed {
    bytes: u64,
    hash: String,
}

/// Sends `bytes` of random data, or as many as `limit` allows, from one site to an address of the other, and compares.
pub(super) fn transfer(
    from: &Site,
    to: &Site,
    address: Ipv4Addr,
    bytes: u64,
    limit: Duration,
) -> Result<Transfer, Failure> {
    let (port, receiver) = to.run(move || receive(address))?;
    let begin = Instant::now();
    let sent = from.run(move || send((address, port).into(), bytes, limit));
    let received = match receiver.join() {
        Ok(received) => received,
        Err(_) => Err(Failure::new("the receiving thread ended unexpectedly: this is a fault of kerntun")),
    };
    let time = begin.elapsed();
    let (sent, received) = (sent?, received?);
    if (sent.bytes, &sent.hash) != (received.bytes, &received.hash) {
        return Err(Failure::new(format!(
            "{} bytes were sent and {} received, and their hashes differ: the tunnel damaged what it carried",
            sent.bytes, received.bytes
        ))
        .help("this must never happen: please report it"));
    }
    Ok(Transfer { bytes: received.bytes, time, hash: received.hash })
}

/// Waits for one connection, in a thread of its own.
fn receive(address: Ipv4Addr) -> Result<(u16, JoinHandle<Result<Hashed, Failure>>), Failure> {
    let fail = |error| Failure::new(format!("cannot receive over TCP: {error}"));
    let listener = TcpListener::bind((address, 0)).map_err(fail)?;
    let port = listener.local_addr().map_err(fail)?.port();
    listener.set_nonblocking(true).map_err(fail)?;
    let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
        let mut stream = accept(&listener).map_err(fail)?;
        let mut hash = Blake2b512::new();
        let (mut bytes, mut buffer) = (0, vec![0; PIECE]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(Hashed { bytes, hash: hexadecimal(&hash.finalize()) }),
                Ok(count) => {
                    hash.update(buffer.get(..count).unwrap_or_default());
                    bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
    });
    thread.map(|thread| (port, thread)).map_err(fail)
}

/// A listener waits without end; we do not.
fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let begin = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn send(to: SocketAddr, bytes: u64, limit: Duration) -> Result<Hashed, Failure> {
    let fail = |error| Failure::new(format!("cannot send over TCP to {to}: {error}"));
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(fail)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
    // One random piece, numbered anew each time: no two pieces are equal, and none is compressible.
    let mut piece = vec![0; PIECE];
    getrandom::fill(&mut piece)
        .map_err(|error| Failure::new(format!("the system gives no random numbers: {error}")))?;
    let mut hash = Blake2b512::new();
    let (mut sent, mut number) = (0_u64, 0_u64);
    let begin = Instant::now();
    while sent < bytes && begin.elapsed() < limit {
        if let Some(start) = piece.first_chunk_mut() {
            *start = number.to_be_bytes();
        }
        number += 1;
        let length = usize::try_from(bytes - sent).unwrap_or(usize::MAX).min(PIECE);
        let part = piece.get(..length).unwrap_or_default();
        stream.write_all(part).map_err(fail)?;
        hash.update(part);
        sent += length as u64;
    }
    stream.shutdown(Shutdown::Write).map_err(fail)?;
    // The other end closes when it has read everything; until then this connection has to stay.
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let _ = stream.read(&mut [0; 1]);
    Ok(Hashed { bytes: sent, hash: hexadecimal(&hash.finalize()) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
