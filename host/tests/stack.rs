//! What handshakes and packets leave on the stack of the thread that computed them: read back from the process's own memory and
//! searched for every secret that was in use.

use kerntun_crypto::{Fast, Portable, Slices, Span};
use kerntun_engine::config::{AllowedIpChange, Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::host::{Crypto, Entropy, Host};
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::Endpoint;
use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{Held, SCRUBBED, SystemEntropy, UserHost, scrubbed};
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex};
use std::thread;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: Wall = Wall { seconds: 1_800_000_000, nanos: 0 };
const IDLE: Load = Load { depth: 0, capacity: 4096 };

/// How far below a frame is searched, and painted to see how far down something reaches.
const SEARCHED: usize = 4 * SCRUBBED;

/// What can be recorded.
trait Primitives: for<'a> Crypto<Run<'a> = Slices<'a>> + Copy + Send + Sync {}

impl<C: for<'a> Crypto<Run<'a> = Slices<'a>> + Copy + Send + Sync> Primitives for C {}

type Engine<C> = Device<UserHost<Recording<C>, Recorder>>;

/// All secrets that were in use, by word, each with what it is a part of. The words are kept inverted, so that the record is
/// not taken for what it records, and on the heap.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<BTreeMap<u64, &'static str>>>);

impl Record {
    fn note(&self, what: &'static str, secret: &[u8; 32]) {
        let mut words = self.0.lock().unwrap();
        for word in secret.as_chunks::<8>().0 {
            let word = !u64::from_ne_bytes(*word);
            if word != !0 {
                words.insert(word, what);
            }
        }
    }

    /// What of the record is in `memory`: how often, by what it is a part of.
    fn found(&self, memory: &[u8]) -> BTreeMap<&'static str, usize> {
        let words = self.0.lock().unwrap();
        let mut found = BTreeMap::new();
        for window in memory.windows(8) {
            if let Some(what) = words.get(&!u64::from_ne_bytes(window.try_into().unwrap())) {
                *found.entry(*what).or_default() += 1;
            }
        }
        found
    }
}

/// The system's randomness, noted.
struct Recorder {
    system: SystemEntropy,
    record: Record,
}

impl Entropy for Recorder {
    fn fill(&self, out: &mut [u8]) -> bool {
        let filled = self.system.fill(out);
        if let Some(secret) = out.first_chunk() {
            self.record.note("random", secret);
        }
        filled
    }
}

/// Primitives whose secret results are noted: what Diffie-Hellman gives, and what HMAC gives, which all keys are made with.
struct Recording<C> {
    crypto: C,
    record: Record,
}

impl<C: Primitives> Crypto for Recording<C> {
    type Run<'a> = Slices<'a>;

    fn run_len(&self, run: &Slices<'_>) -> usize {
        self.crypto.run_len(run)
    }

    fn seal_run(&self, key: &Secret, first_counter: u64, run: &mut Slices<'_>) {
        self.crypto.seal_run(key, first_counter, run);
    }

    fn open_run(&self, key: &Secret, packets: &mut [Incoming], run: &mut Slices<'_>) {
        self.crypto.open_run(key, packets, run);
    }

    fn x25519(&self, out: &mut Secret, private: &Secret, public: &[u8; 32]) -> bool {
        let agreed = self.crypto.x25519(out, private, public);
        self.record.note("shared", out.expose());
        agreed
    }

    fn public_key(&self, private: &Secret) -> [u8; 32] {
        self.crypto.public_key(private)
    }

    fn hash(&self, out: &mut [u8; 32], parts: &[&[u8]]) {
        self.crypto.hash(out, parts);
        // The second half of a padded key is constant (RFC 2104).
        if parts.get(1).is_some_and(|part| **part == [0x36; 32] || **part == [0x5c; 32]) {
            self.record.note("derived", out);
        }
    }

    fn mac(&self, out: &mut [u8; 16], key: &[u8], parts: &[&[u8]]) {
        self.crypto.mac(out, key, parts);
    }

    fn seal(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.crypto.seal(key, counter, additional, text)
    }

    fn open(&self, key: &Secret, counter: u64, additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        self.crypto.open(key, counter, additional, text, tag)
    }

    fn xseal(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.crypto.xseal(key, nonce, additional, text)
    }

    fn xopen(&self, key: &Secret, nonce: &[u8; 24], additional: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        self.crypto.xopen(key, nonce, additional, text, tag)
    }
}

/// A thread whose stack another one reads while it stands still. It makes no call for that, which would overwrite what is
/// searched for.
#[derive(Default)]
struct Watched {
    /// Above all of its frames.
    top: AtomicUsize,
    /// Where it stands; zero while it runs.
    stands: AtomicUsize,
}

impl Watched {
    /// Runs `body` on a thread of its own. Gives what `read` makes of its stack each time it [stands](Self::stand).
    ///
    /// That has twice as many bytes as it needs if `anew`: the C library keeps the stacks of threads that ended, with what is on
    /// them, for the next that fits.
    fn run<R>(anew: bool, body: impl FnOnce(&Self) + Send, read: impl Fn(&[u8]) -> R) -> Vec<R> {
        let (watched, mut seen) = (Self::default(), Vec::new());
        let work = || {
            let top = 0_u8;
            watched.top.store(&raw const top as usize, Relaxed);
            body(&watched);
        };
        let memory = File::open("/proc/self/mem").unwrap();
        thread::scope(|scope| {
            let size = if anew { 4 * SEARCHED } else { 2 * SEARCHED };
            let thread = thread::Builder::new().stack_size(size).spawn_scoped(scope, work).unwrap();
            while !thread.is_finished() {
                let at = watched.stands.load(Acquire);
                if at != 0 {
                    let bottom = at - SEARCHED;
                    let mut stack = vec![0; watched.top.load(Relaxed) - bottom];
                    memory.read_exact_at(&mut stack, bottom as u64).unwrap();
                    seen.push(read(&stack));
                    watched.stands.store(0, Release);
                }
                thread::yield_now();
            }
        });
        seen
    }

    /// Waits until somebody has read the stack.
    #[inline(always)]
    fn stand(&self) {
        let here = 0_u8;
        self.stands.store(&raw const here as usize, Release);
        while self.stands.load(Acquire) != 0 {
            spin_loop();
        }
    }
}

/// Two engines that know each other, on the heap.
struct Pair<C: Primitives> {
    record: Record,
    engines: Box<[Engine<C>; 2]>,
}

fn inner(number: u8) -> [u8; 4] {
    [10, 0, 0, number]
}

fn outer(number: u8) -> Endpoint {
    Endpoint { remote: (Ipv4Addr::new(192, 0, 2, number), 51820).into(), source: None }
}

impl<C: Primitives> Pair<C> {
    /// Made on another thread, so that nothing of it is on this one.
    fn new(crypto: C) -> Self {
        let record = Record::default();
        let secret = |what: &'static str| {
            let mut secret = Secret::ZERO;
            assert!(SystemEntropy::new().fill(secret.expose_mut()));
            record.note(what, secret.expose());
            secret
        };
        let (private, preshared) = ([secret("private"), secret("private")], secret("preshared"));
        let engines = Box::new([0, 1].map(|own: usize| {
            let crypto = Recording { crypto, record: record.clone() };
            let entropy = Recorder { system: SystemEntropy::new(), record: record.clone() };
            let engine = Device::new(UserHost::with_entropy(crypto, entropy)).unwrap();
            let other = 1 - own;
            let allowed = [AllowedIpChange::Add(AllowedIp::new(inner(other as u8).into(), 32).unwrap())];
            let peers = [PeerChange {
                preshared_key: Some(preshared.clone()),
                endpoint: Some(outer(other as u8).remote),
                allowed_ips: &allowed,
                ..PeerChange::new(PublicKey(engine.host().crypto().public_key(&private[other])))
            }];
            let private_key = Some(private[own].clone());
            engine.configure(|configuration| {
                let prepared =
                    configuration.prepare(Change { private_key, peers: &peers, ..Change::default() }).unwrap();
                let _ = prepared.apply(NOW);
            });
            engine
        }));
        Self { record, engines }
    }

    /// A packet from `from` to the other one, there and back to the plain text. Without a session it is staged.
    fn carry(&self, from: usize) {
        let (sender, receiver) = (&self.engines[from], &self.engines[1 - from]);
        let mut packet = vec![0; 64];
        packet[..4].copy_from_slice(&[0x45, 0, 0, 64]);
        packet[12..16].copy_from_slice(&inner(from as u8));
        packet[16..20].copy_from_slice(&inner(1 - from as u8));
        let peer = sender.route(&packet[..40], packet.len()).unwrap();
        let Ok(job) = sender.reserve(NOW, peer, 20) else {
            let _ = sender.stage(NOW, peer, Held::from_bytes(packet, 1));
            return;
        };
        let mut buffer = vec![0; 20 * 96];
        let spans: Vec<_> = (0..20).map(|at| Span { start: at * 96, len: 96 }).collect();
        for (number, datagram) in (0..20).zip(buffer.chunks_mut(96)) {
            datagram[..16].copy_from_slice(&job.header(number));
            datagram[16..80].copy_from_slice(&packet);
        }
        let sealed = sender.seal(job, &mut Slices { buffer: &mut buffer, spans: &spans }).unwrap();
        let _ = sender.commit_sealed(NOW, sealed, buffer.len(), true).unwrap();
        let mut entries: Vec<_> =
            buffer.chunks(96).map(|datagram| Incoming::new(datagram.first_chunk().unwrap(), 96, 0).unwrap()).collect();
        let job = receiver.admit(NOW, &mut entries).unwrap();
        receiver.open(&job, &mut entries, &mut Slices { buffer: &mut buffer, spans: &spans });
        let _ = receiver.commit_opened(NOW, job, &mut entries, &outer(from as u8));
        assert!(entries.iter().all(|entry| entry.verdict() == Verdict::Deliver { len: 64, rewritten: false }));
    }

    /// The three calls of a handshake, each done by `perform`. As in the daemon, what they give does not leave it: where an address
    /// is of four bytes and might be of sixteen, anything may lie in the others.
    fn connect(&self, perform: impl Fn(&mut dyn FnMut())) {
        let [a, b] = &*self.engines;
        self.carry(0);
        let due = a.expire(NOW).unwrap();
        let (mut initiation, mut response, mut connected) = (Vec::new(), Vec::new(), false);
        perform(&mut || initiation.extend_from_slice(a.initiate(NOW, WALL, due.peer).unwrap().bytes()));
        perform(&mut || {
            let mut block = SessionBlock::new().ok();
            if let Handled::Reply(reply) = b.receive_handshake(NOW, &initiation, &outer(0), IDLE, &mut block) {
                response.extend_from_slice(reply.bytes());
            }
        });
        perform(&mut || {
            let mut block = SessionBlock::new().ok();
            let handled = a.receive_handshake(NOW, &response, &outer(1), IDLE, &mut block);
            connected = matches!(handled, Handled::Connected(..));
        });
        assert!(connected);
    }
}

/// What was found, by what it is a part of.
type Found = BTreeMap<&'static str, usize>;

/// What is left by initiation, response and session, the calls made by `perform`, and then by data in both directions, which
/// nobody cleans up after, on another thread.
fn left_behind(crypto: impl Primitives, perform: impl Fn(&mut dyn FnMut()) + Send + Sync) -> Vec<Found> {
    let pair = Pair::new(crypto);
    let handshake = |watched: &Watched| {
        pair.connect(|work| {
            perform(work);
            watched.stand();
        });
    };
    let data = |watched: &Watched| {
        pair.carry(0);
        pair.carry(1);
        watched.stand();
    };
    let mut left = Watched::run(false, handshake, |stack| pair.record.found(stack));
    left.extend(Watched::run(true, data, |stack| pair.record.found(stack)));
    left
}

#[test]
fn handshakes_and_data_leave_no_secret_on_the_stack() {
    assert_eq!(left_behind(Fast::new(), |work| scrubbed(work)), vec![Found::new(); 4]);
    assert_eq!(left_behind(Portable, |work| scrubbed(work)), vec![Found::new(); 4]);
}

/// Otherwise the search may be blind.
#[test]
fn without_the_scrub_handshakes_do() {
    let left = left_behind(Fast::new(), |work| work());
    println!("without the scrub: {left:?}");
    assert!(left[..3].iter().any(|step| !step.is_empty()), "{left:?}");
}

/// A secret that is copied to the stack on purpose, again and again, down to more than half of what is scrubbed.
#[test]
fn what_is_left_is_found_and_what_is_scrubbed_is_not() {
    const DEPTH: usize = 80;
    #[inline(never)]
    fn leave(secret: &Secret, depth: usize) -> u8 {
        let copy = black_box([*secret.expose(); 2]);
        let deeper = if depth > 1 { leave(secret, depth - 1) } else { 0 };
        black_box(copy)[0][0] ^ deeper
    }
    let record = Record::default();
    let mut secret = Box::new(Secret::ZERO);
    assert!(SystemEntropy::new().fill(secret.expose_mut()));
    record.note("copy", secret.expose());
    let body = |watched: &Watched| {
        black_box(leave(&secret, DEPTH));
        watched.stand();
        scrubbed(|| black_box(leave(&secret, DEPTH)));
        watched.stand();
    };
    let found = Watched::run(false, body, |stack| record.found(stack));
    assert!(found[0]["copy"] >= DEPTH * 2 * 4, "{found:?}");
    assert_eq!(found[1], Found::new());
}

/// How far down a handshake reaches: painted before it, looked at behind it.
#[test]
fn the_scrub_reaches_further_down_than_a_handshake() {
    const PAINT: u8 = 0xa5;
    #[inline(never)]
    fn paint() {
        black_box(&mut [PAINT; SEARCHED / 2]);
    }
    fn reach(crypto: impl Primitives) -> usize {
        let pair = Pair::new(crypto);
        let body = |watched: &Watched| {
            pair.connect(|work| {
                paint();
                work();
                watched.stand();
            });
        };
        let painted = |stack: &[u8]| stack.chunks(64).position(|chunk| chunk == [PAINT; 64]).expect("some is left");
        // From the lowest that was changed to above all frames.
        let used = |stack: &[u8]| stack.iter().skip(64 * painted(stack)).skip_while(|byte| **byte == PAINT).count();
        Watched::run(false, body, used).into_iter().max().unwrap()
    }
    let (fast, portable) = (reach(Fast::new()), reach(Portable));
    println!("a handshake reaches down {fast} bytes, with the portable primitives {portable}");
    assert!(2 * fast.max(portable) < SCRUBBED, "{fast} and {portable} bytes");
}
