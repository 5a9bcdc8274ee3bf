//! What is compared with something that a stranger sends: mac1, mac2, the tag of a cookie reply, the tag of a handshake
//! message. Which bits of it are wrong must make no difference, or it could be guessed piece by piece.
//!
//! In each group 128 wrong ones are refused: wrong in the first bit, in the last, and each in another bit. The counts of a
//! group have to be the same, exactly; those of `leak`, which compares as nobody should, must not be.

use kerntun_crypto::Portable;
use kerntun_engine::config::{Change, PeerChange};
use kerntun_engine::device::Device;
use kerntun_engine::handshake::{Handled, Load, Outgoing};
use kerntun_engine::host::Crypto;
use kerntun_engine::peer::Endpoint;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::{PublicKey, Secret};
use kerntun_engine::time::{Instant, Wall};
use kerntun_host::{SeededEntropy, UserHost};

type Engine = Device<UserHost<Portable, SeededEntropy>>;

/// Bits of a mac and of a tag, and so the number of comparisons that are counted together.
const BITS: usize = 128;
const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const LOADED: Load = Load { depth: 1024, capacity: 1024 };
const IDLE: Load = Load { depth: 0, capacity: 1024 };

counted!(counted_same_mac1_first(device: &Engine, wrong: &[Vec<u8>]) -> usize { screen(device, wrong) });
counted!(counted_same_mac1_last(device: &Engine, wrong: &[Vec<u8>]) -> usize { screen(device, wrong) });
counted!(counted_same_mac1_each(device: &Engine, wrong: &[Vec<u8>]) -> usize { screen(device, wrong) });
counted!(counted_same_mac2_first(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, LOADED) });
counted!(counted_same_mac2_last(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, LOADED) });
counted!(counted_same_mac2_each(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, LOADED) });
counted!(counted_same_cookie_first(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, IDLE) });
counted!(counted_same_cookie_last(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, IDLE) });
counted!(counted_same_cookie_each(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint) -> usize { receive(device, wrong, from, IDLE) });
counted!(counted_same_tag_first(key: &Secret, wrong: &[Vec<u8>]) -> usize { open(key, wrong) });
counted!(counted_same_tag_last(key: &Secret, wrong: &[Vec<u8>]) -> usize { open(key, wrong) });
counted!(counted_same_tag_each(key: &Secret, wrong: &[Vec<u8>]) -> usize { open(key, wrong) });
counted!(counted_leak_first(right: &[u8], wrong: &[Vec<u8>]) -> usize { compare(right, wrong) });
counted!(counted_leak_last(right: &[u8], wrong: &[Vec<u8>]) -> usize { compare(right, wrong) });
counted!(counted_leak_each(right: &[u8], wrong: &[Vec<u8>]) -> usize { compare(right, wrong) });

/// Runs everything once.
pub(crate) fn run() {
    let (a, b) = (device(1), device(2));
    let (at_a, at_b) = (endpoint("192.0.2.1:1001"), endpoint("192.0.2.2:1002"));
    know(&a, &b, &at_b);
    know(&b, &a, &at_a);
    let peer = a.find(&b.public_key().expect("a key")).expect("the peer");
    let initiate = |after: u64| -> Outgoing {
        let now = NOW.after(after * 1_000_000_000);
        a.initiate(now, Wall { seconds: 1_800_000_000 + after, nanos: 0 }, peer).expect("an initiation")
    };

    let initiation = initiate(0);
    let wrong = wrong_from(initiation.bytes(), 116);
    assert!(b.screen_handshake(initiation.bytes()), "its mac1 is right");
    assert_eq!(counted_same_mac1_first(&b, &wrong.first), BITS);
    assert_eq!(counted_same_mac1_last(&b, &wrong.last), BITS);
    assert_eq!(counted_same_mac1_each(&b, &wrong.each), BITS);
    assert_eq!(b.drops(Reason::BadMac1), 3 * BITS);

    // The device is under load, and gives a cookie; the next initiation carries a mac2 that is right.
    let Handled::Reply(reply) = b.receive_handshake(NOW, initiation.bytes(), &at_a, LOADED, &mut None) else {
        panic!("no cookie reply");
    };
    let wrong = wrong_from(reply.bytes(), 48);
    assert_eq!(counted_same_cookie_first(&a, &wrong.first, &at_b), BITS);
    assert_eq!(counted_same_cookie_last(&a, &wrong.last, &at_b), BITS);
    assert_eq!(counted_same_cookie_each(&a, &wrong.each, &at_b), BITS);
    assert_eq!(a.drops(Reason::BadCookie), 3 * BITS);
    let handled = a.receive_handshake(NOW, reply.bytes(), &at_b, IDLE, &mut None);
    assert!(matches!(handled, Handled::CookieStored), "{handled:?}");
    let initiation = initiate(6);
    let wrong = wrong_from(initiation.bytes(), 132);
    let before = b.drops(Reason::CookieRequired);
    assert_eq!(counted_same_mac2_first(&b, &wrong.first, &at_a), BITS);
    assert_eq!(counted_same_mac2_last(&b, &wrong.last, &at_a), BITS);
    assert_eq!(counted_same_mac2_each(&b, &wrong.each, &at_a), BITS);
    assert_eq!(b.drops(Reason::CookieRequired), before + 3 * BITS);
    let handled = b.receive_handshake(NOW, initiation.bytes(), &at_a, LOADED, &mut None);
    assert!(matches!(handled, Handled::Dropped(Reason::HandshakeLost)), "its mac2 is right: {handled:?}");

    let (key, mut sealed) = (Secret::new([7; 32]), vec![3; 12]);
    let tag = Portable.seal(&key, 0, &[9; 32], &mut sealed);
    sealed.extend(tag);
    let wrong = wrong_from(&sealed, 12);
    assert_eq!(open(&key, &[sealed.clone()]), 0, "its tag is right");
    assert_eq!(counted_same_tag_first(&key, &wrong.first), BITS);
    assert_eq!(counted_same_tag_last(&key, &wrong.last), BITS);
    assert_eq!(counted_same_tag_each(&key, &wrong.each), BITS);

    assert_eq!(counted_leak_first(&sealed, &wrong.first), BITS);
    assert_eq!(counted_leak_last(&sealed, &wrong.last), BITS);
    assert_eq!(counted_leak_each(&sealed, &wrong.each), BITS);
}

/// Messages of which 128 bits, from byte `at` on, are wrong in one bit.
struct Wrong {
    first: Vec<Vec<u8>>,
    last: Vec<Vec<u8>>,
    each: Vec<Vec<u8>>,
}

fn wrong_from(message: &[u8], at: usize) -> Wrong {
    let flip = |bit: usize| {
        let mut wrong = message.to_vec();
        wrong[at + bit / 8] ^= 1 << (bit % 8);
        wrong
    };
    let all = |bit: fn(usize) -> usize| (0..BITS).map(|number| flip(bit(number))).collect();
    Wrong { first: all(|_| 0), last: all(|_| BITS - 1), each: all(|number| number) }
}

/// How many are refused.
fn screen(device: &Engine, wrong: &[Vec<u8>]) -> usize {
    wrong.iter().filter(|datagram| !device.screen_handshake(datagram)).count()
}

/// How many are refused, or answered with a cookie.
fn receive(device: &Engine, wrong: &[Vec<u8>], from: &Endpoint, load: Load) -> usize {
    let refused = |datagram: &&Vec<u8>| match device.receive_handshake(NOW, datagram, from, load, &mut None) {
        Handled::Reply(reply) => reply.bytes().len() == 64,
        Handled::Dropped(reason) => reason == Reason::BadCookie,
        Handled::Connected(..) | Handled::CookieStored => false,
    };
    wrong.iter().filter(refused).count()
}

/// How many are refused: text of twelve bytes, like a timestamp, and tag.
fn open(key: &Secret, wrong: &[Vec<u8>]) -> usize {
    let refused = |sealed: &&Vec<u8>| {
        let mut text = [0; 12];
        text.copy_from_slice(&sealed[..12]);
        !Portable.open(key, 0, &[9; 32], &mut text, sealed.last_chunk().expect("a tag"))
    };
    wrong.iter().filter(refused).count()
}

/// Compares byte by byte and stops at the first that differs.
fn compare(right: &[u8], wrong: &[Vec<u8>]) -> usize {
    let refused = |wrong: &&Vec<u8>| !wrong.iter().zip(right).all(|(a, b)| std::hint::black_box(a) == b);
    wrong.iter().filter(refused).count()
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint { remote: address.parse().expect("an address"), source: None }
}

fn device(seed: u8) -> Engine {
    let device = Device::new(UserHost::with_entropy(Portable, SeededEntropy::new(seed.into()))).expect("memory");
    set(&device, Change { private_key: Some(Secret::new([seed << 4; 32])), ..Change::default() });
    device
}

fn know(device: &Engine, other: &Engine, reached: &Endpoint) {
    let key: PublicKey = other.public_key().expect("a key");
    let change = PeerChange { endpoint: Some(reached.remote), ..PeerChange::new(key) };
    set(device, Change { peers: &[change], ..Change::default() });
}

fn set(device: &Engine, change: Change<'_>) {
    device.configure(|configuration| {
        let prepared = configuration.prepare(change).expect("a change that can be made");
        prepared.apply(NOW);
    });
}
