//! Handshakes: how many a second a daemon answers, and what each costs it at either end.
//!
//! The far end is no daemon but prepared messages, so that what is counted is the daemon's work alone. As responder it gets
//! initiations from many peers, as many at a time as never put it under load, and every answer is verified afterwards.
//! As initiator it gets packets for peers, as many at a time as it has initiations on their way as responder, and then for
//! one peer after the other, where each handshake wakes it up several times. What counts is a handshake with its first packet.

use crate::cpu;
use crate::daemon::{Daemon, identity, key, peer, public_key};
use crate::noise::{self, COOKIE, INITIATION, RESPONSE, Waiting, put_cookie};
use crate::results::Values;
use crate::stage::{self, INNER_MTU, NAMES, OUTER, PORTS};
use crate::subject::{Program, Subject};
use kerntun_lab::{Site, Trouble};
use kerntun_uapi::SetRequest;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Peers that begin. Each is answered by everybody at most 20 times a second.
const BEGINNERS: usize = 512;
/// Handshakes they prepare.
const PREPARED: usize = 6 * BEGINNERS;
/// Initiations on their way at once: too few for any daemon to think itself under load for their number.
const ON_THE_WAY: usize = 16;
/// How long they may take in all.
const WINDOW: Duration = Duration::from_secs(2);
/// Peers that the daemon begins with.
const CALLED: usize = 400;
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_millis(300);
/// How often called peers look for messages. Somebody who waited in a system call would have to be woken at the daemon's expense.
const LOOK: Duration = Duration::from_micros(200);

/// Measures a daemon by itself.
pub(crate) fn measure(subject: &Subject) -> Result<Values, Trouble> {
    let sites = stage::wired(1500)?;
    let mut command = subject.command(NAMES[0]);
    if subject.program == Program::Boringtun {
        // All the peers that begin are at one address and port, which it would take for the one that was there first.
        command.arg("--disable-connected-udp");
    }
    let mut daemon = Daemon::start(&sites[0], NAMES[0], command)?;
    daemon.wait_until_it_serves()?;
    let mut values = as_responder(&daemon, &sites)?;
    stage::run(&sites[0], "ip", &["addr", "add", "10.213.255.1/16", "dev", NAMES[0]])?;
    for (number, together) in [("initiator_cpu_us", ON_THE_WAY), ("initiator_alone_cpu_us", 1)] {
        values.insert(number.to_owned(), as_initiator(&daemon, &sites, together)?);
    }
    daemon.check()?;
    Ok(values)
}

fn as_responder(daemon: &Daemon, sites: &[Site; 2]) -> Result<Values, Trouble> {
    let peers = (0..BEGINNERS).map(|number| peer(public_key(private(number)), inner(number).into()));
    daemon.set(&SetRequest { listen_port: Some(PORTS[0]), peers: peers.collect(), ..identity(key(0)) })?;
    stage::run(&sites[0], "ip", &["link", "set", NAMES[0], "mtu", &INNER_MTU.to_string(), "up"])?;
    let far = noise::Daemon::new(public_key(key(0)));
    let prepared = prepare(&far)?;
    let process = daemon.process();
    let call = move || {
        let socket = socket()?;
        socket.connect((OUTER[0], PORTS[0])).map_err(fail)?;
        let before = cpu::of_process(process)?;
        let mut calls = Calls { far, socket, prepared, answers: Vec::new(), cookie: None };
        let time = calls.run()?;
        Ok::<_, Trouble>((calls, time, cpu::of_process(process)?.saturating_sub(before)))
    };
    let (mut calls, time, cpu) = sites[1].run(call)?;
    let answered = calls.verify()? as f64;
    Ok(Values::from([
        ("answered_per_second".to_owned(), answered / time.as_secs_f64()),
        ("responder_cpu_us".to_owned(), cpu.as_secs_f64() * 1e6 / answered),
        ("answered".to_owned(), answered),
    ]))
}

/// Computes the initiations beforehand, on all processors. A peer's stamps are a second apart.
fn prepare(far: &noise::Daemon) -> Result<Vec<Waiting>, Trouble> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let one = |number: usize| {
        let (round, who) = (number / BEGINNERS, number % BEGINNERS);
        far.initiate(&private(who), now + round as u64, u32::try_from(number).unwrap_or_default())
    };
    let half = PREPARED / 2;
    thread::scope(|scope| {
        let second = scope.spawn(move || (half..PREPARED).map(one).collect::<Result<Vec<_>, _>>());
        let mut first = (0..half).map(one).collect::<Result<Vec<_>, _>>()?;
        first.extend(second.join().map_err(|_| Trouble::new("preparing handshakes ended unexpectedly"))??);
        Ok(first)
    })
}

/// Initiations that are sent, and what comes back.
struct Calls {
    far: noise::Daemon,
    socket: UdpSocket,
    prepared: Vec<Waiting>,
    /// Which handshake, and its answer.
    answers: Vec<(usize, [u8; RESPONSE])>,
    /// What a daemon under load wants to see.
    cookie: Option<[u8; 16]>,
}

impl Calls {
    /// Sends them all, or as many as the window allows. Gives how long that took.
    fn run(&mut self) -> Result<Duration, Trouble> {
        let (mut next, mut on_the_way) = (0, 0_usize);
        let mut again = Vec::new();
        let begin = Instant::now();
        let mut last_answer = begin;
        loop {
            let may_send = begin.elapsed() < WINDOW;
            while may_send && on_the_way < ON_THE_WAY {
                let number = match again.pop() {
                    Some(number) => number,
                    None if next < PREPARED => next,
                    None => break,
                };
                next = next.max(number + 1);
                let waiting = &mut self.prepared[number];
                if let Some(cookie) = &self.cookie {
                    put_cookie(&mut waiting.message, cookie);
                }
                self.socket.send(&waiting.message).map_err(fail)?;
                on_the_way += 1;
            }
            if on_the_way == 0 {
                break;
            }
            let mut message = [0; 256];
            match self.socket.recv(&mut message) {
                Ok(RESPONSE) if message[0] == 2 => {
                    let answer = *message.first_chunk().unwrap_or(&[0; RESPONSE]);
                    self.answers.push((index(&message[8..12]), answer));
                    on_the_way = on_the_way.saturating_sub(1);
                    last_answer = Instant::now();
                }
                Ok(COOKIE) if message[0] == 3 => {
                    let number = index(&message[4..8]);
                    let reply = message.first_chunk().unwrap_or(&[0; COOKIE]);
                    let cookie = self.prepared.get(number).map(|waiting| self.far.cookie(reply, &waiting.message));
                    self.cookie = cookie.flatten().or(self.cookie);
                    again.push(number);
                    on_the_way = on_the_way.saturating_sub(1);
                }
                Ok(_) => {}
                // What was lost is not waited for any longer.
                Err(error) if is_silence(&error) => on_the_way = 0,
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(last_answer - begin)
    }

    /// How many answers there are. All have to be right.
    fn verify(&mut self) -> Result<usize, Trouble> {
        for (number, answer) in &self.answers {
            if !self.prepared.get_mut(*number).is_some_and(|waiting| waiting.is_answered_by(answer)) {
                return Err(Trouble::new(format!("the answer to handshake {number} is not authentic")));
            }
        }
        match self.answers.len() {
            0..ON_THE_WAY => Err(Trouble::new("handshakes are not answered")),
            count => Ok(count),
        }
    }
}

/// Microseconds of the daemon for each handshake that it begins, `together` at a time.
fn as_initiator(daemon: &Daemon, sites: &[Site; 2], together: usize) -> Result<f64, Trouble> {
    // Each called peer has a port of its own: boringtun sorts messages by where they come from.
    let open = || (0..CALLED).map(|_| looking()).collect::<Result<Vec<_>, _>>();
    let sockets = sites[1].run(open)?;
    let mut peers = Vec::with_capacity(CALLED);
    for (number, socket) in sockets.iter().enumerate() {
        let endpoint = Some(socket.local_addr().map_err(fail)?);
        let peer = peer(public_key(private(number)), inner(number).into());
        peers.push(kerntun_uapi::PeerChange { endpoint, ..peer });
    }
    daemon.set(&SetRequest { peers, ..identity(key(0)) })?;
    let trigger = sites[0].run(|| UdpSocket::bind("0.0.0.0:0").map_err(fail))?;
    let far = noise::Daemon::new(public_key(key(0)));
    let called: Vec<_> = sockets.iter().enumerate().collect();
    let before = cpu::of_process(daemon.process())?;
    for called in called.chunks(together) {
        for (number, _) in called {
            trigger.send_to(&[7; 32], (inner(*number), 9)).map_err(fail)?;
        }
        answer(&far, called)?;
    }
    let cpu = cpu::of_process(daemon.process())?.saturating_sub(before);
    Ok(cpu.as_secs_f64() * 1e6 / CALLED as f64)
}

/// Answers the handshakes of these peers, all at once when all have begun, and waits for the packets that they were begun for.
/// It computes while the daemon has nothing to do, which would take longer beside it.
fn answer(far: &noise::Daemon, called: &[(usize, &UdpSocket)]) -> Result<(), Trouble> {
    let mut begun = Vec::with_capacity(called.len());
    for (number, socket) in called {
        let mut initiation = [0; INITIATION];
        let from = wait(*number, socket, &mut initiation, 1, |_| Ok(()))?;
        begun.push((*number, socket, from, initiation));
    }
    let mut answers = Vec::with_capacity(called.len());
    for (number, socket, from, initiation) in begun {
        answers.push((number, socket, from, far.respond(&private(number), &initiation)?));
    }
    for (_, socket, from, answer) in &answers {
        socket.send_to(answer, from).map_err(fail)?;
    }
    for (number, socket, from, mut answer) in answers {
        // boringtun and its kin take a hundred responses a second for load.
        let under_load = |message: &[u8]| {
            let Some(reply) = message.first_chunk::<COOKIE>().filter(|reply| reply[0] == 3) else { return Ok(()) };
            let Some(cookie) = far.cookie(reply, &answer) else { return Ok(()) };
            put_cookie(&mut answer, &cookie);
            socket.send_to(&answer, from).map(drop).map_err(fail)
        };
        wait(number, socket, &mut [0; 256], 4, under_load)?;
    }
    Ok(())
}

/// Waits for a message of this type. Gives where it came from. Those of other types are for `other`.
fn wait(
    number: usize,
    socket: &UdpSocket,
    message: &mut [u8],
    kind: u8,
    mut other: impl FnMut(&[u8]) -> Result<(), Trouble>,
) -> Result<SocketAddr, Trouble> {
    let begin = Instant::now();
    // It may try again, once, after 5 s.
    while begin.elapsed() < Duration::from_secs(7) {
        match socket.recv_from(message) {
            Ok((_, from)) if message[0] == kind => return Ok(from),
            Ok((len, _)) => other(&message[..len])?,
            Err(error) if is_silence(&error) => thread::sleep(LOOK),
            Err(error) => return Err(fail(error)),
        }
    }
    Err(Trouble::new(format!("handshake {number} was not completed")))
}

/// A socket that waits for messages.
fn socket() -> Result<UdpSocket, Trouble> {
    let socket = UdpSocket::bind((OUTER[1], 0)).map_err(fail)?;
    socket.set_read_timeout(Some(LOST)).map_err(fail)?;
    Ok(socket)
}

/// A socket that does not.
fn looking() -> Result<UdpSocket, Trouble> {
    let socket = socket()?;
    socket.set_nonblocking(true).map_err(fail)?;
    Ok(socket)
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn index(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(usize::MAX, |bytes| u32::from_le_bytes(*bytes) as usize)
}

/// The private key of a far peer.
fn private(number: usize) -> [u8; 32] {
    let mut private = [0x40; 32];
    private[1..9].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    private[0] = 8;
    private
}

/// The allowed address of a far peer.
fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, (number / 250) as u8, (number % 250 + 1) as u8)
}

fn fail(error: std::io::Error) -> Trouble {
    Trouble::new(format!("handshakes cannot be measured: {error}"))
}
