//! Sessions: transport keys with their counters and window, and the three places a peer has for them.
//!
//! A session block is about 1.1 KiB. It is the one thing the engine takes while packets flow: the host lends an
//! empty one to the call that completes a handshake.

use crate::memory::{Block, OutOfMemory};
use crate::noise::SessionKeys;
use crate::replay::Window;
use crate::secret::Secret;
use crate::time::{Instant, SECOND};

/// No packet is sent or accepted under keys older than this (paper, section 6.1: Reject-After-Time).
pub(crate) const REJECT_AFTER: u64 = 180 * SECOND;
/// An initiator replaces keys older than this when it sends (Rekey-After-Time).
pub(crate) const REKEY_AFTER: u64 = 120 * SECOND;
/// An initiator replaces keys older than this when it receives: Reject-After-Time less the time a handshake may
/// take, Keepalive-Timeout and Rekey-Timeout (paper, section 6.2).
pub(crate) const REKEY_AFTER_ON_RECEIVE: u64 = 165 * SECOND;
/// No counter from here on is sent or accepted: 2^64 - 2^13 - 1, the stricter of the paper's and the kernel's.
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Either side replaces keys that have sent this many packets.
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

/// Memory for one session, empty until the engine puts keys into it.
#[derive(Debug)]
pub struct SessionBlock(Block<Session>);

impl SessionBlock {
    /// An empty block, to be lent to [`Device::receive_handshake`](crate::device::Device::receive_handshake).
    ///
    /// # Errors
    /// [`OutOfMemory`] if the host has none; call without a block then, and the handshake is dropped.
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self(Block::new(Session::empty())?))
    }
}

/// Transport keys and what is counted under them. Wiped when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    /// Distinguishes the sessions a peer ever had; jobs name it.
    pub(crate) id: u32,
    pub(crate) local_index: u32,
    pub(crate) remote_index: u32,
    pub(crate) initiator: bool,
    pub(crate) born: Instant,
    /// False once the keys must not seal any more; they may still open.
    sendable: bool,
    /// The handshake that replaces this session on receipt was asked for; once is enough.
    pub(crate) rekeyed_late: bool,
    pub(crate) send_key: Secret,
    pub(crate) receive_key: Secret,
    next_counter: u64,
    pub(crate) window: Window,
}

impl Session {
    const fn empty() -> Self {
        Self {
            id: 0,
            local_index: 0,
            remote_index: 0,
            initiator: false,
            born: Instant::ZERO,
            sendable: false,
            rekeyed_late: false,
            send_key: Secret::ZERO,
            receive_key: Secret::ZERO,
            next_counter: 0,
            window: Window::new(),
        }
    }

    /// Puts keys into an empty session, in place: a session is too large to pass through a kernel's stack.
    fn begin(&mut self, id: u32, mut keys: SessionKeys, initiator: bool, now: Instant) {
        self.id = id;
        self.local_index = keys.local_index;
        self.remote_index = keys.remote_index;
        self.initiator = initiator;
        self.born = now;
        self.sendable = true;
        self.rekeyed_late = false;
        // Exchanged, not moved: what is left in `keys` is wiped with it.
        core::mem::swap(&mut self.send_key, &mut keys.send);
        core::mem::swap(&mut self.receive_key, &mut keys.receive);
        self.next_counter = 0;
        self.window.clear();
    }

    /// Gives `count` consecutive counters away, never to be given again; `None` if the keys are used up.
    pub(crate) fn reserve(&mut self, now: Instant, count: u32) -> Option<u64> {
        if !self.may_send(now) {
            return None;
        }
        let first = self.next_counter;
        match first.checked_add(u64::from(count)) {
            Some(next) if next <= REJECT_AFTER_MESSAGES => {
                self.next_counter = next;
                Some(first)
            }
            _ => {
                self.sendable = false;
                None
            }
        }
    }

    pub(crate) fn may_send(&self, now: Instant) -> bool {
        self.sendable && !self.is_expired(now)
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.born.has_passed(REJECT_AFTER, now)
    }

    /// Whether sending under these keys asks for new ones.
    pub(crate) fn wants_rekey_on_send(&self, now: Instant) -> bool {
        self.next_counter > REKEY_AFTER_MESSAGES || (self.initiator && self.born.has_passed(REKEY_AFTER, now))
    }

    /// Whether receiving under these keys asks for new ones, before they become useless.
    pub(crate) fn wants_rekey_on_receive(&self, now: Instant) -> bool {
        self.initiator && self.may_send(now) && !self.rekeyed_late && self.born.has_passed(REKEY_AFTER_ON_RECEIVE, now)
    }

    /// Counters given away so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.next_counter
    }
}

/// Sessions that lost their place: indices to forget, and memory to free once no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Retired([Option<SessionBlock>; 3]);

impl Retired {
    fn add(&mut self, block: Option<SessionBlock>) {
        if let (Some(block), Some(place)) = (block, self.0.iter_mut().find(|place| place.is_none())) {
            *place = Some(block);
        }
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flatten().filter_map(|block| block.0.get()).map(|session| session.local_index)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// The three places for sessions (kernel `noise.c`, `add_new_keypair` and `wg_noise_received_with_keypair`).
///
/// `current` seals. `previous` still opens what is under way. `next` is a responder's, until the first data under
/// it confirms that the initiator has the keys too.
#[derive(Debug, Default)]
pub(crate) struct Keypairs {
    current: Option<SessionBlock>,
    previous: Option<SessionBlock>,
    next: Option<SessionBlock>,
    last_id: u32,
}

impl Keypairs {
    /// Puts a new session into its place and moves the others on.
    pub(crate) fn insert(
        &mut self,
        mut block: SessionBlock,
        keys: SessionKeys,
        initiator: bool,
        now: Instant,
    ) -> Retired {
        self.last_id = self.last_id.wrapping_add(1);
        if let Some(session) = block.0.get_mut() {
            session.begin(self.last_id, keys, initiator, now);
        }
        let mut retired = Retired::default();
        retired.add(self.previous.take());
        if initiator {
            // The response proves the other side has the keys: they are in use at once. A session that was still
            // waiting for its confirmation may yet carry packets, so it is kept in preference to the old current.
            let current = self.current.take();
            if let Some(next) = self.next.take() {
                self.previous = Some(next);
                retired.add(current);
            } else {
                self.previous = current;
            }
            self.current = Some(block);
        } else {
            retired.add(self.next.take());
            self.next = Some(block);
        }
        retired
    }

    /// Data under `id` passed: if that is the session waiting for confirmation it becomes current.
    /// `None` if nothing changed.
    pub(crate) fn confirm(&mut self, id: u32) -> Option<Retired> {
        if self.next.as_ref().and_then(|next| next.0.get()).is_none_or(|next| next.id != id) {
            return None;
        }
        let mut retired = Retired::default();
        retired.add(self.previous.take());
        self.previous = self.current.take();
        self.current = self.next.take();
        Some(retired)
    }

    /// Forgets all sessions.
    pub(crate) fn clear(&mut self) -> Retired {
        Retired([self.current.take(), self.previous.take(), self.next.take()])
    }

    /// Lets no session seal any more; what is under way may still be opened.
    pub(crate) fn expire_sending(&mut self) {
        self.all().for_each(|session| session.sendable = false);
    }

    /// The session that seals.
    pub(crate) fn current(&mut self) -> Option<&mut Session> {
        self.current.as_mut().and_then(|block| block.0.get_mut())
    }

    /// The session numbered `id`, wherever it stands.
    pub(crate) fn by_id(&mut self, id: u32) -> Option<&mut Session> {
        self.all().find(|session| session.id == id)
    }

    /// The session for which this side chose `index`.
    pub(crate) fn by_local_index(&mut self, index: u32) -> Option<&mut Session> {
        self.all().find(|session| session.local_index == index)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Session> {
        let places = [&mut self.current, &mut self.next, &mut self.previous];
        places.into_iter().flatten().filter_map(|block| block.0.get_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn keys(index: u32) -> SessionKeys {
        SessionKeys {
            send: Secret::new([1; 32]),
            receive: Secret::new([2; 32]),
            local_index: index,
            remote_index: index + 100,
        }
    }

    fn insert(keypairs: &mut Keypairs, index: u32, initiator: bool) -> Vec<u32> {
        let block = SessionBlock::new().unwrap();
        keypairs.insert(block, keys(index), initiator, Instant::ZERO).indices().collect()
    }

    fn places(keypairs: &Keypairs) -> [Option<u32>; 3] {
        [&keypairs.current, &keypairs.previous, &keypairs.next]
            .map(|place| place.as_ref().map(|b| b.0.get().unwrap().local_index))
    }

    #[test]
    fn an_initiator_uses_new_keys_at_once_and_keeps_the_old_ones_to_receive() {
        let mut keypairs = Keypairs::default();
        assert_eq!(insert(&mut keypairs, 1, true), []);
        assert_eq!(places(&keypairs), [Some(1), None, None]);
        assert_eq!(insert(&mut keypairs, 2, true), []);
        assert_eq!(places(&keypairs), [Some(2), Some(1), None]);
        assert_eq!(insert(&mut keypairs, 3, true), [1]);
        assert_eq!(places(&keypairs), [Some(3), Some(2), None]);
    }

    #[test]
    fn a_responder_waits_for_confirmation_and_drops_the_previous() {
        let mut keypairs = Keypairs::default();
        insert(&mut keypairs, 1, true);
        insert(&mut keypairs, 2, true);
        assert_eq!(insert(&mut keypairs, 3, false), [1]);
        assert_eq!(places(&keypairs), [Some(2), None, Some(3)]);
        assert_eq!(insert(&mut keypairs, 4, false), [3]);
        assert_eq!(places(&keypairs), [Some(2), None, Some(4)]);
        let id = keypairs.by_local_index(4).unwrap().id;
        assert!(keypairs.confirm(id + 1).is_none());
        assert!(keypairs.confirm(id).unwrap().is_empty());
        assert_eq!(places(&keypairs), [Some(4), Some(2), None]);
        assert!(keypairs.confirm(id).is_none());
    }

    #[test]
    fn an_initiator_with_an_unconfirmed_session_demotes_it() {
        let mut keypairs = Keypairs::default();
        insert(&mut keypairs, 1, true);
        insert(&mut keypairs, 2, false);
        assert_eq!(insert(&mut keypairs, 3, true), [1]);
        assert_eq!(places(&keypairs), [Some(3), Some(2), None]);
    }

    #[test]
    fn counters_end_at_the_limit_and_never_come_back() {
        let mut keypairs = Keypairs::default();
        insert(&mut keypairs, 1, true);
        let session = keypairs.current().unwrap();
        assert_eq!(session.reserve(Instant::ZERO, 3), Some(0));
        assert_eq!(session.reserve(Instant::ZERO, 1), Some(3));
        session.next_counter = 18_446_744_073_709_543_423 - 2; // 2^64 - 2^13 - 1, less two
        assert_eq!(session.reserve(Instant::ZERO, 2), Some(18_446_744_073_709_543_421));
        assert_eq!(session.reserve(Instant::ZERO, 1), None);
        assert!(!session.may_send(Instant::ZERO));
    }

    #[test]
    fn ages_and_counts_that_ask_for_new_keys() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut keypairs = Keypairs::default();
        insert(&mut keypairs, 1, true);
        let session = keypairs.current().unwrap();
        assert!(!session.wants_rekey_on_send(at(119)) && session.wants_rekey_on_send(at(120)));
        assert!(!session.wants_rekey_on_receive(at(164)) && session.wants_rekey_on_receive(at(165)));
        assert!(session.may_send(at(179)) && !session.may_send(at(180)));
        session.initiator = false;
        assert!(!session.wants_rekey_on_send(at(170)) && !session.wants_rekey_on_receive(at(170)));
        session.next_counter = 1 << 60;
        assert!(!session.wants_rekey_on_send(at(0)));
        session.next_counter += 1;
        assert!(session.wants_rekey_on_send(at(0)));
    }

    #[test]
    fn expired_for_sending_still_opens() {
        let mut keypairs = Keypairs::default();
        insert(&mut keypairs, 7, true);
        keypairs.expire_sending();
        assert!(!keypairs.current().unwrap().may_send(Instant::ZERO));
        assert!(!keypairs.by_local_index(7).unwrap().is_expired(Instant::ZERO));
    }
}
