//! The engine inside a program: no TUN device, no privileges, two real UDP sockets on loopback.
//!
//! Two threads are two WireGuard peers. One asks questions in hand-made IPv4 packets, the other answers. Run it with
//! `cargo run -p kerntun-host --example embed`.
//!
//! This is all a program has to do: a loop around its socket that hands datagrams in and sends what comes out, and that wakes up
//! when the engine has something due.

use kerntun_crypto::{Portable, Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::{Device, Followup};
use kerntun_engine::egress::{NotReserved, SealJob};
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Staged};
use kerntun_engine::inner::padded_len;
use kerntun_engine::message::Kind;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::reason::Reason;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{Held, UserHost};
use std::error::Error;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MTU: usize = 1420;
const QUESTIONS: u8 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let (alice_key, bob_key) = (new_key()?, new_key()?);
    let (alice_public, bob_public) = (public(&alice_key), public(&bob_key));
    let (alice_socket, bob_socket) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let bob_address = bob_socket.local_addr()?;

    let bob = std::thread::spawn(move || -> Result<(), String> {
        // Bob does not know where Alice is; he learns it from her first authentic packet.
        let mut bob = Node::new(bob_socket, bob_key, alice_public, "10.0.0.1", None).map_err(|e| e.to_string())?;
        for _ in 0..QUESTIONS {
            let question = bob.receive().map_err(|e| e.to_string())?;
            let answer = [b"echo of ".as_slice(), &question[20..]].concat();
            bob.send(&ipv4([10, 0, 0, 2], [10, 0, 0, 1], &answer)).map_err(|e| e.to_string())?;
        }
        Ok(())
    });

    let mut alice = Node::new(alice_socket, alice_key, bob_public, "10.0.0.2", Some(bob_address))?;
    for number in 1..=QUESTIONS {
        alice.send(&ipv4([10, 0, 0, 1], [10, 0, 0, 2], format!("question {number}").as_bytes()))?;
        let answer = alice.receive()?;
        println!("alice got: {}", String::from_utf8_lossy(&answer[20..]));
    }
    bob.join().map_err(|_| "bob panicked")??;
    let info = alice.peer_info()?;
    println!("alice sent {} bytes and received {} bytes of WireGuard", info.0, info.1);
    Ok(())
}

/// One peer: a device and its socket.
struct Node {
    device: Device<UserHost<Portable>>,
    socket: UdpSocket,
    started: std::time::Instant,
    delivered: Vec<Vec<u8>>,
    session: Option<SessionBlock>,
}

impl Node {
    fn new(
        socket: UdpSocket,
        key: Secret,
        peer: PublicKey,
        allowed: &str,
        endpoint: Option<SocketAddr>,
    ) -> Result<Self, Box<dyn Error>> {
        let device = Device::new(UserHost::new(Portable))?;
        let allowed = AllowedIp::new(allowed.parse()?, 32).ok_or("prefix too long")?;
        let peers = [PeerChange { endpoint, allowed_ips: &[AllowedIpChange::Add(allowed)], ..PeerChange::new(peer) }];
        let change = Change { private_key: Some(key), peers: &peers, ..Change::default() };
        let node = Self { device, socket, started: std::time::Instant::now(), delivered: Vec::new(), session: None };
        let now = node.now();
        node.device.configure(|config| config.prepare(change).map(|prepared| prepared.apply(now)))?;
        Ok(node)
    }

    /// Sends an inner packet, now or as soon as there is a session.
    fn send(&mut self, packet: &[u8]) -> Result<(), Box<dyn Error>> {
        let now = self.now();
        let peer = self.device.route(packet, packet.len()).map_err(|reason| reason.name())?;
        match self.device.reserve(now, peer, 1) {
            Ok(job) => self.seal(job, packet),
            Err(NotReserved::Stage) => {
                let outcome = self.device.stage(now, peer, Held::from_bytes(packet.to_vec(), 1));
                self.follow(outcome.followup);
            }
            Err(NotReserved::Drop(reason)) => return Err(reason.name().into()),
        }
        Ok(())
    }

    /// Waits for an inner packet, doing meanwhile what is due.
    fn receive(&mut self) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut buffer = [0; 2048];
        while self.delivered.is_empty() {
            self.expire();
            let now = self.now();
            let wait = self.device.next_deadline().map_or(1_000_000_000, |next| next.at.since(now));
            self.socket.set_read_timeout(Some(Duration::from_nanos(wait.clamp(1_000_000, 1_000_000_000))))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => self.incoming(&mut buffer[..len], from),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.delivered.remove(0))
    }

    fn incoming(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let from = Endpoint { remote: from, source: None };
        match datagram.first_chunk().and_then(|prefix| Kind::of(*prefix, datagram.len())) {
            Some(Kind::Data) => self.incoming_data(datagram, &from),
            Some(_) => self.incoming_handshake(datagram, &from),
            None => self.device.count_drop(None, Reason::Malformed, 1),
        }
    }

    fn incoming_data(&mut self, datagram: &mut [u8], from: &Endpoint) {
        let Some(entry) = datagram.first_chunk().and_then(|header| Incoming::new(header, datagram.len(), 0)) else {
            return;
        };
        let (now, mut entries) = (self.now(), [entry]);
        let Some(job) = self.device.admit(now, &mut entries) else { return };
        let spans = [Span { start: 0, len: datagram.len() }];
        self.device.open(&job, &mut entries, &mut Slices { buffer: datagram, spans: &spans });
        let followup = self.device.commit_opened(now, job, &mut entries, from);
        if let Verdict::Deliver { len, .. } = entries[0].verdict() {
            self.delivered.push(datagram[16..16 + len].to_vec());
        }
        self.follow(followup);
    }

    fn incoming_handshake(&mut self, datagram: &[u8], from: &Endpoint) {
        if self.session.is_none() {
            // Without memory there is no session, which the engine counts.
            self.session = SessionBlock::new().ok();
        }
        // Messages are handled as they come, so none ever waits: there is no load.
        let load = Load { depth: 0, capacity: 1 };
        match self.device.receive_handshake(self.now(), datagram, from, load, &mut self.session) {
            Handled::Reply(reply) => {
                self.transmit(None, reply.bytes(), &reply.endpoint);
                self.follow(reply.followup);
            }
            Handled::Connected(peer, followup) if followup.flush.is_none() => self.keepalive(peer),
            Handled::Connected(_, followup) => self.follow(followup),
            Handled::CookieStored | Handled::Dropped(_) => {}
        }
    }

    /// Does what has fallen due: initiations and keepalives.
    fn expire(&mut self) {
        while let Some(due) = self.device.expire(self.now()) {
            if due.initiate
                && let Some(initiation) = self.device.initiate(self.now(), wall(), due.peer)
            {
                self.transmit(Some(due.peer), initiation.bytes(), &initiation.endpoint);
                self.follow(initiation.followup);
            }
            if due.keepalive {
                self.keepalive(due.peer);
            }
        }
    }

    fn keepalive(&mut self, peer: PeerRef) {
        let (job, followup) = self.device.reserve_keepalive(self.now(), peer);
        if let Some(job) = job {
            self.seal(job, &[]);
        }
        self.follow(followup);
    }

    /// Sends what was waiting, if a call says that it can go now. Between `reserve_staged` and `flushed` nothing may return:
    /// until `flushed`, newer packets to the peer wait.
    fn follow(&mut self, followup: Followup) {
        let mut flush = followup.flush;
        while let Some(peer) = flush {
            let Ok((mut packets, mut job)) = self.device.reserve_staged(self.now(), peer) else { break };
            while let Some(packet) = packets.pop() {
                let front = job.take(1);
                self.seal(front, &packet.into_payload());
            }
            flush = self.device.flushed(self.now(), peer).flush;
        }
    }

    fn seal(&mut self, job: SealJob, packet: &[u8]) {
        let peer = job.peer();
        let mut datagram = [&job.header(0)[..], packet].concat();
        datagram.resize(16 + padded_len(packet.len(), MTU) + 16, 0);
        let spans = [Span { start: 0, len: datagram.len() }];
        let sealed = self.device.seal(job, &mut Slices { buffer: &mut datagram, spans: &spans });
        let Some(sealed) = sealed else { return };
        if let Ok(departure) = self.device.commit_sealed(self.now(), sealed, datagram.len(), !packet.is_empty()) {
            self.transmit(Some(peer), &datagram, &departure.endpoint);
            self.follow(departure.followup);
        }
    }

    /// A datagram that cannot be sent is a lost one: counted, and the next may get through.
    fn transmit(&self, peer: Option<PeerRef>, datagram: &[u8], to: &Endpoint) {
        if self.socket.send_to(datagram, to.remote).is_err() {
            self.device.count_drop(peer, Reason::SendFailed, 1);
        }
    }

    fn peer_info(&self) -> Result<(u64, u64), Box<dyn Error>> {
        let peer = self.device.next_peer(None).ok_or("no peer")?;
        let info = self.device.peer_info(peer).ok_or("no peer")?;
        Ok((info.tx_bytes, info.rx_bytes))
    }

    /// Time since the program started. A program that outlives a suspend needs a clock that counts it.
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall { seconds: since.as_secs(), nanos: since.subsec_nanos() }
}

fn new_key() -> Result<Secret, Box<dyn Error>> {
    let mut key = Secret::ZERO;
    getrandom::fill(key.expose_mut()).map_err(|error| error.to_string())?;
    Ok(key)
}

fn public(key: &Secret) -> PublicKey {
    PublicKey(Portable.public_key(key))
}

/// An IPv4 packet of protocol 253, for experiments (RFC 3692).
fn ipv4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 253, 0, 0];
    packet.extend(Ipv4Addr::from(source).octets());
    packet.extend(Ipv4Addr::from(destination).octets());
    packet.extend(payload);
    packet
}
