//! Datagrams on their way into a device, with everything that must hold around each call.

use crate::agenda::Event;
use crate::checks::Check;
use crate::ledger::{ecn_of, source_of};
use crate::node::Node;
use crate::shared::{Datagram, Shared};
use crate::view::View;
use kerntun_crypto::{Slices, Span};
use kerntun_engine::device::Followup;
use kerntun_engine::handshake::{Handled, Load};
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::message::Kind;
use kerntun_engine::packet::{Incoming, Verdict};
use kerntun_engine::peer::Endpoint;
use kerntun_engine::reason::Reason;
use kerntun_engine::secret::PublicKey;
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::Instant;
use std::net::SocketAddr;

/// Handshake messages that a host lets wait.
const QUEUE: usize = 64;
/// An eighth of it is load (kernel `receive.c`), for a second more.
const LOAD: usize = 8;
const LOAD_HOLD: u64 = 1_000_000_000;

/// A data message that has not been admitted yet.
pub type Arrival = Datagram;

/// A run between `admit` and `commit_opened`.
#[derive(Debug)]
pub struct Opening {
    job: OpenJob,
    key: Option<PublicKey>,
    packets: Vec<Incoming>,
    originals: Vec<Datagram>,
    /// Which were dropped by `admit`, and judged then: what was known of the sender may be forgotten by the commit.
    refused: Vec<bool>,
    buffer: Vec<u8>,
    spans: Vec<Span>,
    from: SocketAddr,
    opened: bool,
    made: Instant,
    open_at: u64,
    commit_at: u64,
}

impl Node {
    /// A datagram from the network.
    pub fn receive(&mut self, shared: &mut Shared, datagram: Datagram) {
        self.tally.datagrams += 1;
        match datagram.bytes.first_chunk().and_then(|prefix| Kind::of(*prefix, datagram.bytes.len())) {
            Some(Kind::Data) => {
                self.inbox.push(datagram);
                let delay = shared.random.below(self.hold / 4 + 1);
                if delay == 0 {
                    self.pump(shared);
                } else {
                    shared.later(delay, Event::Pump(self.id, self.life));
                }
            }
            Some(_) if self.handshakes.len() < QUEUE => {
                self.handshakes.push_back(datagram);
                if self.handshakes.len() == 1 {
                    shared.later(self.service, Event::Serve(self.id, self.life));
                }
            }
            Some(_) => self.device.count_drop(None, Reason::HandshakeQueueFull, 1),
            None => self.device.count_drop(None, Reason::Malformed, 1),
        }
    }

    /// The handshake thread takes the next message.
    pub fn serve(&mut self, shared: &mut Shared) {
        let Some(datagram) = self.handshakes.pop_front() else { return };
        let load = Load { depth: self.handshakes.len(), capacity: QUEUE };
        if load.depth >= LOAD {
            self.loaded_until = self.clock(shared).after(LOAD_HOLD);
        }
        if !self.handshakes.is_empty() {
            shared.later(self.service, Event::Serve(self.id, self.life));
        }
        self.handle(shared, &datagram, load);
    }

    /// Datagrams in the host's hands.
    #[must_use]
    pub fn being_received(&self) -> u64 {
        let opening: usize = self.opening.iter().map(|job| job.packets.len()).sum();
        (self.inbox.len() + opening + self.handshakes.len()) as u64
    }

    pub(crate) fn pump_incoming(&mut self, shared: &mut Shared) {
        let mut inbox = std::mem::take(&mut self.inbox).into_iter().peekable();
        while let Some(first) = inbox.next() {
            let index = first.bytes[4..8].to_vec();
            let mut run = vec![first];
            while let Some(next) = inbox.next_if(|next| next.from == run[0].from && next.bytes[4..8] == index[..]) {
                run.push(next);
                if run.len() == 64 {
                    break;
                }
            }
            self.admit(shared, run);
        }
        for at in 0..self.opening.len() {
            if self.opening[at].open_at <= shared.now {
                self.open(shared, at);
            }
        }
        while self.opening.front().is_some_and(|front| front.commit_at <= shared.now) {
            self.open(shared, 0);
            let Some(opening) = self.opening.pop_front() else { break };
            self.commit_opened(shared, opening);
        }
    }

    fn admit(&mut self, shared: &mut Shared, run: Vec<Arrival>) {
        let now = self.clock(shared);
        let (mut buffer, mut spans, mut packets) = (Vec::new(), Vec::new(), Vec::new());
        for datagram in &run {
            let header = datagram
                .bytes
                .first_chunk()
                .and_then(|header| Incoming::new(header, datagram.bytes.len(), datagram.ecn));
            packets.extend(header);
            spans.push(Span { start: buffer.len(), len: datagram.bytes.len() });
            buffer.extend_from_slice(&datagram.bytes);
        }
        shared.require(packets.len() == run.len(), Check::AccountsIn, || "a data message without an entry".to_owned());
        let before = View::of(&self.device);
        let job = self.device.admit(now, &mut packets);
        self.unchanged(shared, &before, "admit", Check::StrangersChangeNothing);
        for (packet, datagram) in packets.iter().zip(&run) {
            if let Verdict::Drop(reason) = packet.verdict() {
                self.check_not_burnt(shared, reason, datagram);
            }
        }
        let Some(job) = job else { return };
        let key = self.device.peer_info(job.peer()).map(|info| info.public_key);
        let open_at = shared.now + shared.random.below(self.hold + 1);
        let commit_at = open_at + shared.random.below(self.hold + 1);
        let from = run[0].from;
        let originals = run;
        let refused = packets.iter().map(|packet| !packet.is_wanted()).collect();
        let opened = false;
        self.opening.push_back(Opening {
            job,
            key,
            packets,
            originals,
            refused,
            buffer,
            spans,
            from,
            opened,
            made: now,
            open_at,
            commit_at,
        });
        shared.agenda.add(open_at, Event::Pump(self.id, self.life));
        shared.agenda.add(commit_at, Event::Pump(self.id, self.life));
    }

    fn open(&mut self, shared: &mut Shared, at: usize) {
        let opening = &mut self.opening[at];
        if opening.opened {
            return;
        }
        opening.opened = true;
        shared.journal.borrow_mut().job_made = opening.made.as_nanos();
        let mut run = Slices { buffer: &mut opening.buffer, spans: &opening.spans };
        self.device.open(&opening.job, &mut opening.packets, &mut run);
    }

    fn commit_opened(&mut self, shared: &mut Shared, mut opening: Opening) {
        let now = self.clock(shared);
        let before = View::of(&self.device);
        let from = Endpoint { remote: opening.from, source: None };
        let followup = self.device.commit_opened(now, opening.job, &mut opening.packets, &from);
        let sender = opening.key.and_then(|key| shared.owners.get(&key).copied());
        let mut accepted = false;
        let entries = opening.packets.iter().zip(&opening.spans).zip(&opening.originals);
        for (((packet, span), original), _) in entries.zip(&opening.refused).filter(|(_, refused)| !**refused) {
            let verdict = packet.verdict();
            let text = &opening.buffer[span.start + 16..span.start + span.len - 16];
            match verdict {
                Verdict::Drop(Reason::WrongSource | Reason::InnerMalformed | Reason::EcnIllegal) => {}
                Verdict::Drop(reason) => {
                    self.check_not_burnt(shared, reason, original);
                    continue;
                }
                Verdict::Deliver { .. } | Verdict::Keepalive => {}
            }
            accepted = true;
            match verdict {
                Verdict::Keepalive => self.tally.keepalives += 1,
                Verdict::Deliver { len, rewritten } => {
                    self.tally.delivered += 1;
                    let mut inner = text[..len].to_vec();
                    if rewritten {
                        let head = len.min(40);
                        inner[..head].copy_from_slice(&packet.head()[..head]);
                    }
                    self.check_source(shared, &inner, opening.key, true);
                    if let Err((check, detail)) = shared.ledger.deliver(self.id, sender, &inner, original.ecn) {
                        shared.fail(check, detail);
                    }
                }
                Verdict::Drop(Reason::WrongSource) => self.check_source(shared, text, opening.key, false),
                Verdict::Drop(Reason::EcnIllegal) => {
                    shared.require(ecn_of(text) == 0, Check::DeliveredUnchanged, || "a mark dropped".to_owned());
                }
                Verdict::Drop(reason) => {
                    shared.fail(Check::DeliveredUnchanged, format!("an honest packet is {}", reason.name()));
                }
            }
            // After what came of it, so that a packet that comes out twice or at the wrong place is called that.
            let fresh = shared.origin.fresh(self.id, &original.bytes);
            shared.require(fresh.is_some() && fresh == sender, Check::StrangersChangeNothing, || {
                format!("node {} takes a datagram of {fresh:?}, forged or replayed, for one of {sender:?}", self.id)
            });
            if let Some(from) = fresh {
                shared.origin.take(self.id, from, &original.bytes);
            }
        }
        if accepted {
            self.others_unchanged(shared, &before, sender);
        } else {
            self.unchanged(shared, &before, "commit of nothing authentic", Check::StrangersChangeNothing);
            shared.require(followup == Followup::default(), Check::StrangersChangeNothing, || {
                format!("node {}: {followup:?} after nothing authentic", self.id)
            });
        }
        shared.tell(|| {
            let verdicts: Vec<_> = opening.packets.iter().map(Incoming::verdict).collect();
            format!("node {} received from node {sender:?}: {verdicts:?}", self.id)
        });
        self.follow(shared, followup);
    }

    /// Only the packet itself uses its counter up; the window reaches back further than anything here is late.
    fn check_not_burnt(&self, shared: &mut Shared, reason: Reason, datagram: &Datagram) {
        let burnt =
            reason == Reason::Replayed && !shared.attacked && shared.origin.fresh(self.id, &datagram.bytes).is_some();
        shared.require(!burnt, Check::StrangersChangeNothing, || {
            format!("node {}: somebody used up the counter of a packet that is new", self.id)
        });
    }

    fn check_source(&self, shared: &mut Shared, inner: &[u8], key: Option<PublicKey>, right: bool) {
        let owner = source_of(inner).and_then(|source| self.model.owner(source));
        let fits = key.is_some_and(|key| owner == Some(key) && self.model.has(key));
        shared.require(fits == right, Check::RoutedByTheTable, || {
            format!(
                "node {}: a source of {owner:?} from {key:?} is {}",
                self.id,
                if right { "let in" } else { "dropped" }
            )
        });
    }

    fn handle(&mut self, shared: &mut Shared, datagram: &Datagram, load: Load) {
        let now = self.clock(shared);
        let bytes = &datagram.bytes;
        let is_cookie = bytes.first() == Some(&3);
        let fresh = shared.origin.fresh(self.id, bytes);
        let before = View::of(&self.device);
        if self.block.is_none() {
            self.block = SessionBlock::new().ok();
        }
        let from = Endpoint { remote: datagram.from, source: None };
        let handled = self.device.receive_handshake(now, bytes, &from, load, &mut self.block);
        shared.tell(|| {
            let what = match &handled {
                Handled::Dropped(reason) => reason.name(),
                Handled::Reply(reply) if reply.bytes().len() == 64 => "answered with a cookie",
                Handled::Reply(_) => "answered",
                Handled::Connected(..) => "a session",
                Handled::CookieStored => "a cookie",
            };
            format!("node {} handshake {} of {fresh:?}: {what}", self.id, bytes[0])
        });
        match handled {
            Handled::Dropped(_) => {
                self.unchanged(shared, &before, "a dropped handshake", Check::StrangersChangeNothing)
            }
            Handled::CookieStored => {
                self.tally.handled += 1;
                self.unchanged(shared, &before, "a cookie reply", Check::CookiesChangeNothing);
                self.accept(shared, fresh, bytes, "a cookie");
            }
            Handled::Reply(reply) if reply.bytes().len() == 64 => {
                self.unchanged(shared, &before, "what got a cookie", Check::StrangersChangeNothing);
                shared.require(now < self.loaded_until || load.depth >= LOAD, Check::StrangersGetNoAnswer, || {
                    format!("node {} asks for a cookie without load", self.id)
                });
                let to = shared.origin.sender(bytes);
                self.transmit(shared, reply.endpoint.remote, reply.bytes().to_vec(), 0, to);
            }
            Handled::Reply(reply) => {
                self.tally.handled += 1;
                shared.require(fresh.is_some() && !is_cookie, Check::StrangersGetNoAnswer, || {
                    format!("node {} answers a stranger", self.id)
                });
                self.accept(shared, fresh, bytes, "an initiation");
                self.others_unchanged(shared, &before, fresh);
                shared.require(before.same_sessions(&View::of(&self.device)), Check::UnconfirmedStaysUnused, || {
                    format!("node {} seals under a session nobody confirmed", self.id)
                });
                self.transmit(shared, reply.endpoint.remote, reply.bytes().to_vec(), 0, fresh);
                self.follow(shared, reply.followup);
            }
            Handled::Connected(peer, followup) => {
                self.tally.handled += 1;
                self.accept(shared, fresh, bytes, "a response");
                self.others_unchanged(shared, &before, fresh);
                let flush = followup.flush.is_some();
                self.follow(shared, followup);
                if !flush {
                    self.keepalive(shared, peer);
                }
            }
        }
        if is_cookie {
            self.unchanged(shared, &before, "a cookie reply", Check::CookiesChangeNothing);
        }
    }

    fn accept(&self, shared: &mut Shared, fresh: Option<usize>, bytes: &[u8], what: &str) {
        match fresh {
            Some(from) => shared.origin.take(self.id, from, bytes),
            None => shared.fail(Check::StrangersChangeNothing, format!("node {} takes {what} of a stranger", self.id)),
        }
    }

    fn unchanged(&self, shared: &mut Shared, before: &View, after: &str, check: Check) {
        let now = View::of(&self.device);
        shared.require(now == *before, check, || {
            format!("node {} changed by {after}: {}", self.id, before.difference(&now))
        });
    }

    fn others_unchanged(&self, shared: &mut Shared, before: &View, node: Option<usize>) {
        let now = View::of(&self.device);
        let is_sender = |key: &PublicKey| node.is_some() && shared.owners.get(key).copied() == node;
        let (before, now) = (before.without(is_sender), now.without(is_sender));
        shared.require(now == before, Check::PeersAreApart, || {
            format!("node {}: node {node:?} changed another peer: {}", self.id, before.difference(&now))
        });
    }
}
