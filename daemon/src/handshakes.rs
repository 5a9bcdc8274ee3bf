//! The thread that owns Diffie-Hellman and time: received handshake messages, and the deadlines of all peers.

use crate::device::{Shared, now, wall};
use crate::sender::Sender;
use crate::stamps::Stamps;
use crate::strangers::Strangers;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::peer::{Endpoint, PeerRef};
use kerntun_engine::session::SessionBlock;
use kerntun_host::scrubbed;
use kerntun_linux::{Poller, Waker};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::Duration;

/// Received handshake messages that may wait: as many as in the kernel's implementation (`MAX_QUEUED_INCOMING_HANDSHAKES`).
pub(crate) const CAPACITY: usize = 4096;

/// The longest handshake message: an initiation.
const MAX_MESSAGE: usize = 148;
/// The lengths of a response and of a cookie reply.
const RESPONSE: usize = 92;
const COOKIE_REPLY: usize = 64;

/// Deadlines, and messages, worked off before the other kind has its turn.
const EXPIRATIONS: usize = 64;
const MESSAGES: usize = 16;

/// How long messages may gather under load: waking up costs more than answering a stranger with a cookie.
const GATHERING: Duration = Duration::from_millis(1);

/// What other threads leave for the handshake thread.
pub(crate) struct Inbox {
    state: Mutex<State>,
    waker: Waker,
}

struct State {
    messages: VecDeque<Message>,
    /// Peers whose staged packets are to be sent; each is there once.
    flushes: Vec<PeerRef>,
    /// The thread sleeps, or is about to: only then is it worth a system call to wake it.
    asleep: bool,
    /// Somebody wanted to wake it when it was awake: it looks once more before it sleeps.
    called: bool,
}

#[derive(Clone, Copy)]
struct Message {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
    from: Endpoint,
}

impl Inbox {
    /// An empty one; `waker` wakes the thread that empties it.
    pub(crate) fn new(waker: Waker) -> Self {
        let messages = VecDeque::with_capacity(CAPACITY);
        let state = State { messages, flushes: Vec::new(), asleep: false, called: false };
        Self { state: Mutex::new(state), waker }
    }

    /// Queues a received message. True if somebody has to [wake](Self::wake) the thread, when it suits. `None` if the queue
    /// is full.
    pub(crate) fn push(&self, datagram: &[u8], from: &Endpoint) -> Option<bool> {
        let mut message = Message { bytes: [0; MAX_MESSAGE], len: datagram.len(), from: *from };
        message.bytes.get_mut(..datagram.len())?.copy_from_slice(datagram);
        let mut state = self.state.lock();
        if state.messages.len() >= CAPACITY {
            return None;
        }
        state.messages.push_back(message);
        Some(state.asleep)
    }

    /// Has the staged packets of `peer` sent.
    pub(crate) fn flush(&self, peer: PeerRef) {
        let mut state = self.state.lock();
        if !state.flushes.contains(&peer) {
            state.flushes.push(peer);
        }
        drop(state);
        self.wake();
    }

    /// Wakes the thread: a deadline moved, or something is queued.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        let asleep = std::mem::take(&mut state.asleep);
        state.called |= !asleep;
        drop(state);
        if asleep {
            self.waker.wake();
        }
    }

    /// Whether the thread may sleep: nobody has left anything. From then on it is woken for what comes.
    fn is_done(&self) -> bool {
        let mut state = self.state.lock();
        let called = std::mem::take(&mut state.called);
        state.asleep = !called && state.messages.is_empty() && state.flushes.is_empty();
        state.asleep
    }

    /// The thread has woken up by itself or been woken.
    fn is_awake(&self) {
        self.state.lock().asleep = false;
    }

    /// Messages that wait.
    pub(crate) fn depth(&self) -> usize {
        self.state.lock().messages.len()
    }

    /// The oldest message, and how many waited with it.
    fn pop(&self) -> Option<(Message, usize)> {
        let mut state = self.state.lock();
        let depth = state.messages.len();
        state.messages.pop_front().map(|message| (message, depth))
    }

    fn take_flushes(&self) -> Vec<PeerRef> {
        std::mem::take(&mut self.state.lock().flushes)
    }
}

/// The thread's body: returns when the daemon ends, or when the operating system would not let it sleep.
pub(crate) fn run(shared: &Shared, mut poller: Poller, mut stamps: Stamps) -> io::Result<()> {
    let mut sender = Sender::new(shared, 0);
    let mut block = SessionBlock::new().ok();
    let mut strangers = Strangers::new();
    while !shared.is_ending() {
        sender.use_sockets(shared.ports.current());
        // Once for all of them: whoever looks in between can look into the handshake itself as well.
        let (expired, handled) = scrubbed(|| {
            let expired = expire(shared, &mut sender, &mut stamps);
            (expired, receive(shared, &mut sender, &mut block, &mut strangers))
        });
        for peer in shared.inbox.take_flushes() {
            sender.flush_staged(now(), peer);
        }
        sender.flush();
        shared.status.handshake_thread(sender.stats());
        // Holding on to the sockets while asleep would keep a port open that was given up.
        sender.use_sockets(None);
        if expired < EXPIRATIONS && handled.messages < MESSAGES {
            if handled.under_load {
                thread::sleep(GATHERING);
            }
            // Asked for after that, so that whoever moves it wakes us.
            if shared.inbox.is_done() {
                poller.wait(shared.engine.next_deadline().map(|deadline| deadline.at.as_nanos()))?;
                shared.inbox.is_awake();
            }
        }
    }
    stamps.close(&shared.engine);
    Ok(())
}

/// Works off deadlines that have passed, and says how many.
fn expire(shared: &Shared, sender: &mut Sender<'_>, stamps: &mut Stamps) -> usize {
    for count in 0..EXPIRATIONS {
        let now = now();
        let Some(due) = shared.engine.expire(now) else { return count };
        if due.initiate {
            let wall = stamps.stamp(wall(), now, &shared.engine);
            if let Some(message) = shared.engine.initiate(now, wall, due.peer) {
                tracing::debug!("handshake initiation to {}", message.endpoint.remote);
                sender.message(now, &message);
            }
        }
        if due.keepalive {
            sender.keepalive(now, due.peer);
        }
    }
    EXPIRATIONS
}

/// What was done in one go.
#[derive(Default)]
struct Work {
    messages: usize,
    /// There was so much that somebody had to be sent for a cookie.
    under_load: bool,
}

/// Handles received messages.
fn receive(
    shared: &Shared,
    sender: &mut Sender<'_>,
    block: &mut Option<SessionBlock>,
    strangers: &mut Strangers,
) -> Work {
    let mut work = Work::default();
    while work.messages < MESSAGES {
        let Some((message, waiting)) = shared.inbox.pop() else { break };
        work.messages += 1;
        let datagram = message.bytes.get(..message.len).unwrap_or_default();
        let now = now();
        let depth = if strangers.are_too_many(now) { CAPACITY } else { waiting };
        let load = Load { depth, capacity: CAPACITY };
        let from = message.from.remote;
        match shared.engine.receive_handshake(now, datagram, &message.from, load, block) {
            // A reply may also be a cookie for a stranger; what strangers do is counted, never logged.
            Handled::Reply(reply) => {
                if reply.bytes().len() == RESPONSE {
                    tracing::debug!("handshake initiation from {from} answered");
                }
                work.under_load |= reply.bytes().len() == COOKIE_REPLY;
                sender.message(now, &reply);
            }
            Handled::Connected(peer, followup) => {
                tracing::debug!("session made with {from}");
                match shared.follow(followup) {
                    Some(peer) => sender.flush_staged(now, peer),
                    None => sender.keepalive(now, peer),
                }
            }
            Handled::CookieStored => {
                tracing::debug!("{from} is under load and asks for its cookie in the next initiation")
            }
            Handled::Dropped(reason) => strangers.dropped(now, reason),
        }
        if block.is_none() {
            *block = SessionBlock::new().ok();
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerntun_linux::boottime;

    fn pair() -> (Inbox, Poller) {
        let poller = Poller::new().unwrap();
        (Inbox::new(poller.waker()), poller)
    }

    /// Whether somebody has woken the poller; does not wait for it.
    fn is_woken(poller: &mut Poller) -> bool {
        poller.wait(Some(boottime())).unwrap().woken
    }

    fn from() -> Endpoint {
        Endpoint { remote: "192.0.2.1:51820".parse().unwrap(), source: None }
    }

    #[test]
    fn only_a_thread_that_sleeps_is_woken() {
        let (inbox, mut poller) = pair();
        assert_eq!(inbox.push(&[1; 148], &from()), Some(false), "it works and will look here");
        inbox.wake();
        assert!(!is_woken(&mut poller));
        assert!(!inbox.is_done(), "a message waits");
        assert!(inbox.pop().is_some());
        assert!(inbox.is_done(), "who called before was heard");
        assert_eq!(inbox.push(&[1; 148], &from()), Some(true));
        assert_eq!(inbox.push(&[1; 92], &from()), Some(true), "nobody has woken it yet");
        inbox.wake();
        assert_eq!(inbox.push(&[1; 92], &from()), Some(false), "once is enough");
        inbox.wake();
        assert!(is_woken(&mut poller) && !is_woken(&mut poller));
    }

    #[test]
    fn a_call_is_not_lost_between_work_and_sleep() {
        let (inbox, mut poller) = pair();
        assert!(inbox.is_done());
        // A deadline came between: it is awake, whatever the flag says, and called once too often at worst.
        inbox.is_awake();
        inbox.wake();
        assert!(!is_woken(&mut poller) && !inbox.is_done(), "it looks once more");
        assert!(inbox.is_done());
        inbox.wake();
        assert!(is_woken(&mut poller), "it was about to sleep");
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let (inbox, _poller) = pair();
        for _ in 0..CAPACITY {
            assert!(inbox.push(&[1; 148], &from()).is_some());
        }
        assert_eq!(inbox.push(&[1; 148], &from()), None);
        assert_eq!(inbox.push(&[1; 149], &from()), None, "no handshake message is as long");
        assert_eq!((inbox.pop().map(|(message, waiting)| (message.len, waiting))), Some((148, CAPACITY)));
    }
}
