//! What a configured peer costs in memory, and how long configuring and listing take.

use crate::cpu;
use crate::daemon::{Daemon, identity, key, peer};
use crate::results::Values;
use crate::stage::{self, NAMES};
use crate::subject::Subject;
use kerntun_lab::Trouble;
use kerntun_uapi::SetRequest;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Numbers of peers, each with one allowed address and without a session.
const STEPS: [(usize, &str); 3] = [(1_000, "1k"), (10_000, "10k"), (100_000, "100k")];

/// Peers in one request.
const TOGETHER: usize = 1_000;

/// Whoever takes longer than this for a step is not asked for the next one, ten times as large.
const PATIENCE: Duration = Duration::from_secs(4);

/// Fills a daemon with peers.
pub(crate) fn measure(subject: &Subject) -> Result<Values, Trouble> {
    let sites = stage::wired(1500)?;
    let mut daemon = Daemon::start(&sites[0], NAMES[0], subject.command(NAMES[0]))?;
    daemon.wait_until_it_serves()?;
    daemon.set(&identity(key(0)))?;
    let mut values = Values::new();
    let (empty, mut count) = (cpu::resident(daemon.process())?, 0);
    let mut setting = Duration::ZERO;
    'steps: for (step, name) in STEPS {
        let begin = Instant::now();
        while count < step {
            match add(&daemon, count..count + TOGETHER) {
                Ok(()) => count += TOGETHER,
                // wireguard-go takes no more than 65,536.
                Err(_) if step > 10_000 => break 'steps,
                Err(trouble) => return Err(trouble),
            }
        }
        setting += begin.elapsed();
        let resident = cpu::resident(daemon.process())?;
        let begin = Instant::now();
        let listed = daemon.client()?.get().map_err(|error| Trouble::new(error.to_string()))?.peers.len();
        if listed != count {
            return Err(Trouble::new(format!("{listed} peers are listed of {count}")));
        }
        values.insert(format!("kib_per_peer_{name}"), resident.saturating_sub(empty) as f64 / count as f64);
        values.insert(format!("set_seconds_{name}"), setting.as_secs_f64());
        values.insert(format!("get_seconds_{name}"), begin.elapsed().as_secs_f64());
        if setting > PATIENCE {
            break;
        }
    }
    Ok(values)
}

/// Configures idle peers, so many at a time that a request stays short.
pub(crate) fn fill(daemon: &Daemon, peers: usize) -> Result<(), Trouble> {
    (0..peers).step_by(TOGETHER).try_for_each(|first| add(daemon, first..(first + TOGETHER).min(peers)))
}

fn add(daemon: &Daemon, numbers: Range<usize>) -> Result<(), Trouble> {
    let peers = numbers.map(|number| peer(public(number), inner(number).into()));
    daemon.set(&SetRequest { peers: peers.collect(), ..SetRequest::default() })
}

/// Any 32 bytes are a public key to configure.
fn public(number: usize) -> [u8; 32] {
    let mut public = [0x11; 32];
    for (at, piece) in (0_u64..).zip(public.chunks_mut(8)) {
        let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17 * at as u32 + 5);
        piece.copy_from_slice(&mixed.to_le_bytes());
    }
    public[31] &= 0x7f;
    public
}

fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number as u32)
}
