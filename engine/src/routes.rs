//! Cryptokey routing: which peer an address belongs to (paper, section 2), and which peer has a public key.

mod key;
#[cfg(test)]
mod tests;

use crate::memory::OutOfMemory;
use crate::pages::Pages;
use core::fmt;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use key::{KEY_BITS, Key, Tree};

/// "No node" and "no slot".
const NONE: u32 = u32::MAX;
/// Prefixes that one call of [`Routes::remove_some`] removes at most.
const REMOVALS: u32 = 64;

/// A range of addresses that a peer may use inside the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedIp {
    address: IpAddr,
    prefix_len: u8,
}

impl AllowedIp {
    /// The range of all addresses that share their first `prefix_len` bits with `address`; its other bits are masked
    /// off. `None` if `prefix_len` is more than the 32 or 128 bits an address has.
    #[must_use]
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let (tree, key) = Key::of(address);
        (prefix_len <= tree.bits()).then(|| Self { address: key.masked(prefix_len).address(tree), prefix_len })
    }

    /// The first address of the range.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits the addresses of the range share.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }
}

impl fmt::Display for AllowedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Allowed IPs of both families and the peers' public keys, as three binary trees with compressed paths in one array.
///
/// A node stands for a prefix; those without a slot are there only because the paths to two others part at them, so
/// there are fewer of them than of the others. A look-up reads at most 33 nodes for an IPv4 address and 129 for an
/// IPv6 address or a key; for keys, which are keyed hashes, about log2 of their number. Every change costs one such
/// path.
#[derive(Debug)]
pub(crate) struct Routes {
    /// To be filled with [`Node::EMPTY`].
    pub(crate) nodes: Pages<Node>,
    /// To be filled with [`Ends::new`].
    pub(crate) slots: Pages<Ends>,
    /// The first node of each [`Tree`].
    roots: [u32; Tree::COUNT],
    /// Released nodes, linked by `next`.
    released: u32,
    /// All nodes from here on were never used.
    fresh: u32,
    in_use: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    key: Key,
    children: [u32; 2],
    slot: u32,
    /// Neighbours among the prefixes of the same slot.
    previous: u32,
    next: u32,
    bits: u8,
    tree: Tree,
}

/// Nodes are what big tables consist of.
const _: () = assert!(size_of::<Node>() == 40);

/// First and last prefix of a slot, in the order they were inserted.
#[derive(Debug)]
pub(crate) struct Ends {
    first: u32,
    last: u32,
    /// The node that [`Routes::owns`] last came to, and may begin at.
    seen: AtomicU32,
}

/// A place that names a node.
#[derive(Clone, Copy, Debug)]
enum Link {
    Root(Tree),
    Child(u32, bool),
}

/// Looking up.
impl Routes {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            nodes: Pages::new()?,
            slots: Pages::new()?,
            roots: [NONE; Tree::COUNT],
            released: NONE,
            fresh: 0,
            in_use: 0,
        })
    }

    /// The slot of the longest prefix that `address` is in.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<u32> {
        let (tree, key) = Key::of(address);
        self.slot(self.find(self.follow(Link::Root(tree)), key))
    }

    /// Whether that is `slot`.
    ///
    /// Usually it is for the same prefix as the last time, so it looks there first. That cannot be wrong, whatever has
    /// changed meanwhile: every prefix that an address is in lies on its one way down, and those that are longer behind it.
    pub(crate) fn owns(&self, slot: u32, address: IpAddr) -> bool {
        let (tree, key) = Key::of(address);
        let Some(ends) = self.slots.get(slot) else { return false };
        let seen = ends.seen.load(Ordering::Relaxed);
        let on_the_way =
            self.nodes.get(seen).is_some_and(|node| node.tree == tree && node.has_slot() && node.covers(key));
        let found = self.find(if on_the_way { seen } else { self.follow(Link::Root(tree)) }, key);
        let owns = self.slot(found) == Some(slot);
        if owns && found != seen {
            ends.seen.store(found, Ordering::Relaxed);
        }
        owns
    }

    /// The slot of the peer whose public key has this keyed `hash`.
    pub(crate) fn by_key(&self, hash: u128) -> Option<u32> {
        // Only nodes at full length have slots in this tree, so the longest match is the exact one.
        self.slot(self.find(self.follow(Link::Root(Tree::Peers)), Key::from_u128(hash)))
    }

    /// Whether inserting `prefix` takes no node.
    pub(crate) fn has_node(&self, prefix: &AllowedIp) -> bool {
        let (tree, key) = Key::of(prefix.address);
        let mut at = self.follow(Link::Root(tree));
        for _ in 0..=KEY_BITS {
            match self.nodes.get(at) {
                Some(node) if !node.covers(key) => return false,
                Some(node) if node.bits < prefix.prefix_len => at = node.child(key.bit(node.bits)),
                node => return node.is_some_and(|node| node.bits == prefix.prefix_len),
            }
        }
        false
    }

    /// The last node with a slot on the way of `key` from the node `at` on, [`NONE`] if there is none.
    fn find(&self, mut at: u32, key: Key) -> u32 {
        let mut found = NONE;
        for _ in 0..=KEY_BITS {
            let Some(node) = self.nodes.get(at).filter(|node| node.covers(key)) else { break };
            if node.has_slot() {
                found = at;
            }
            at = node.child(key.bit(node.bits));
        }
        found
    }
}

/// The prefixes of one slot, in the order they were inserted. A cursor that is not fresh any more may lead to another
/// slot's prefix or to none.
impl Routes {
    /// A cursor at the first prefix of `slot`.
    pub(crate) fn first(&self, slot: u32) -> Option<u32> {
        self.slots.get(slot).map(|ends| ends.first).filter(|first| *first != NONE)
    }

    /// The cursor behind `cursor`.
    pub(crate) fn next(&self, cursor: u32) -> Option<u32> {
        self.listed(cursor).map(|node| node.next).filter(|next| *next != NONE)
    }

    /// The prefix at `cursor`, if it is one of `slot`.
    pub(crate) fn prefix_of(&self, cursor: u32, slot: u32) -> Option<AllowedIp> {
        self.listed(cursor).filter(|node| node.slot == slot).map(Node::prefix)
    }

    fn listed(&self, cursor: u32) -> Option<&Node> {
        self.nodes.get(cursor).filter(|node| node.has_slot() && node.tree != Tree::Peers)
    }
}

/// Changing.
impl Routes {
    /// Gives `prefix` to `slot`, as its last one even if it had it before (like the kernel, `allowedips.c`), and says
    /// which other slot lost it.
    ///
    /// # Errors
    /// [`OutOfMemory`], and nothing changed, if there is no room for it or for its slot.
    pub(crate) fn insert(&mut self, prefix: AllowedIp, slot: u32) -> Result<Option<u32>, OutOfMemory> {
        let (tree, key) = Key::of(prefix.address);
        self.give(tree, key, prefix.prefix_len, slot)
    }

    /// Gives the keyed `hash` of a public key to `slot`, and says which other slot lost it.
    ///
    /// # Errors
    /// [`OutOfMemory`], and nothing changed, if there is no room for it or for its slot.
    pub(crate) fn insert_key(&mut self, hash: u128, slot: u32) -> Result<Option<u32>, OutOfMemory> {
        self.give(Tree::Peers, Key::from_u128(hash), KEY_BITS, slot)
    }

    /// Takes `prefix` from `slot`; false if it does not have it.
    pub(crate) fn remove(&mut self, prefix: &AllowedIp, slot: u32) -> bool {
        let (tree, key) = Key::of(prefix.address);
        self.cut(tree, key, prefix.prefix_len, Some(slot)).is_some()
    }

    /// Takes at most `limit` prefixes (and at most 64) from `slot`; true if it has more.
    pub(crate) fn remove_some(&mut self, slot: u32, limit: u32) -> bool {
        for _ in 0..limit.min(REMOVALS) {
            let Some(prefix) = self.first(slot).and_then(|first| self.prefix_of(first, slot)) else { break };
            self.remove(&prefix, slot);
        }
        self.first(slot).is_some()
    }

    /// Takes the keyed `hash` of a public key out, and says which slot had it.
    pub(crate) fn remove_key(&mut self, hash: u128) -> Option<u32> {
        self.cut(Tree::Peers, Key::from_u128(hash), KEY_BITS, None)
    }

    fn give(&mut self, tree: Tree, key: Key, bits: u8, slot: u32) -> Result<Option<u32>, OutOfMemory> {
        let at = self.place(tree, key, bits, slot)?;
        let loser = self.slot(at).filter(|loser| *loser != slot);
        self.unlist(at);
        self.set_slot(at, slot);
        self.list(at);
        Ok(loser)
    }

    /// Finds the node of that prefix, or makes one without a slot that `slot` is about to get.
    fn place(&mut self, tree: Tree, key: Key, bits: u8, slot: u32) -> Result<u32, OutOfMemory> {
        if self.slots.get(slot).is_none() {
            return Err(OutOfMemory);
        }
        let mut link = Link::Root(tree);
        for _ in 0..=KEY_BITS {
            let at = self.follow(link);
            let leaf = Node::new(tree, key, bits);
            let Some(node) = self.nodes.get(at).copied() else {
                return self.take(link, leaf);
            };
            let shared = node.key.common(key).min(node.bits).min(bits);
            if shared == node.bits {
                if shared == bits {
                    return Ok(at);
                }
                link = Link::Child(at, key.bit(shared));
            } else if shared == bits {
                return self.take(link, leaf.with(at, node.key.bit(bits)));
            } else if self.room() < 2 {
                return Err(OutOfMemory);
            } else {
                let branch = Node::new(tree, key.masked(shared), shared).with(at, node.key.bit(shared));
                let branch = self.take(link, branch)?;
                return self.take(Link::Child(branch, key.bit(shared)), leaf);
            }
        }
        Err(OutOfMemory)
    }

    /// Takes the prefix from its slot, if that is `owner`, and the nodes out that are of no more use.
    fn cut(&mut self, tree: Tree, key: Key, bits: u8, owner: Option<u32>) -> Option<u32> {
        let mut above = None;
        let mut link = Link::Root(tree);
        for _ in 0..=KEY_BITS {
            let at = self.follow(link);
            let node = *self.nodes.get(at)?;
            if node.bits > bits || !node.covers(key) {
                return None;
            }
            if node.bits < bits {
                above = Some(link);
                link = Link::Child(at, key.bit(node.bits));
                continue;
            }
            if !node.has_slot() || owner.is_some_and(|owner| owner != node.slot) {
                return None;
            }
            self.unlist(at);
            self.set_slot(at, NONE);
            self.prune(link);
            if let Some(above) = above {
                self.prune(above);
            }
            return Some(node.slot);
        }
        None
    }

    /// Replaces the node behind `link` by its only child or by nothing, unless it has a slot or parts two paths.
    fn prune(&mut self, link: Link) {
        let at = self.follow(link);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let [zero, one] = node.children;
        if node.has_slot() || (zero != NONE && one != NONE) {
            return;
        }
        *node = Node { next: self.released, ..Node::EMPTY };
        self.released = at;
        self.in_use = self.in_use.saturating_sub(1);
        self.set(link, if zero == NONE { one } else { zero });
    }

    /// Puts `node` into a free place and makes `link` name it.
    fn take(&mut self, link: Link, node: Node) -> Result<u32, OutOfMemory> {
        let at = if self.released == NONE { self.fresh } else { self.released };
        let place = self.nodes.get_mut(at).ok_or(OutOfMemory)?;
        if self.released == NONE {
            self.fresh = at.saturating_add(1);
        } else {
            self.released = place.next;
        }
        *place = node;
        self.in_use = self.in_use.saturating_add(1);
        self.set(link, at);
        Ok(at)
    }

    fn slot(&self, at: u32) -> Option<u32> {
        self.nodes.get(at).map(|node| node.slot).filter(|slot| *slot != NONE)
    }

    fn set_slot(&mut self, at: u32, slot: u32) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.slot = slot;
        }
    }

    /// Appends the node to the list of its slot, unless it is a key's.
    fn list(&mut self, at: u32) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.tree != Tree::Peers) else { return };
        let Some(ends) = self.slots.get_mut(node.slot) else { return };
        (node.previous, node.next) = (ends.last, NONE);
        ends.last = at;
        if ends.first == NONE {
            ends.first = at;
        }
        let previous = node.previous;
        if let Some(previous) = self.nodes.get_mut(previous) {
            previous.next = at;
        }
    }

    /// Takes the node out of the list of its slot, if it has one.
    fn unlist(&mut self, at: u32) {
        let Some(&Node { slot, previous, next, .. }) = self.listed(at) else { return };
        let Some(ends) = self.slots.get_mut(slot) else { return };
        match self.nodes.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => ends.first = next,
        }
        match self.nodes.get_mut(next) {
            Some(next) => next.previous = previous,
            None => ends.last = previous,
        }
    }

    fn follow(&self, link: Link) -> u32 {
        match link {
            Link::Root(tree) => self.roots.get(tree as usize).copied().unwrap_or(NONE),
            Link::Child(parent, bit) => self.nodes.get(parent).map_or(NONE, |node| node.child(bit)),
        }
    }

    fn set(&mut self, link: Link, at: u32) {
        let place = match link {
            Link::Root(tree) => self.roots.get_mut(tree as usize),
            Link::Child(parent, bit) => self.nodes.get_mut(parent).map(|parent| parent.child_mut(bit)),
        };
        if let Some(place) = place {
            *place = at;
        }
    }
}

/// Growing.
impl Routes {
    /// How many nodes there have to be for `prefixes` more prefixes or keys, or for so many at all if those that are
    /// there go first.
    pub(crate) fn nodes_needed(&self, replace: bool, prefixes: u32) -> u32 {
        let kept = if replace { 0 } else { self.in_use };
        kept.saturating_add(prefixes.saturating_mul(2))
    }

    fn room(&self) -> u32 {
        self.nodes.capacity().saturating_sub(self.in_use)
    }
}

impl Ends {
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE, seen: AtomicU32::new(NONE) }
    }
}

impl Node {
    pub(crate) const EMPTY: Self = Self::new(Tree::Peers, Key::ZERO, 0);

    const fn new(tree: Tree, key: Key, bits: u8) -> Self {
        Self { key, children: [NONE; 2], slot: NONE, previous: NONE, next: NONE, bits, tree }
    }

    fn with(mut self, child: u32, bit: bool) -> Self {
        *self.child_mut(bit) = child;
        self
    }

    const fn child(&self, bit: bool) -> u32 {
        let [zero, one] = self.children;
        if bit { one } else { zero }
    }

    const fn child_mut(&mut self, bit: bool) -> &mut u32 {
        let [zero, one] = &mut self.children;
        if bit { one } else { zero }
    }

    const fn has_slot(&self) -> bool {
        self.slot != NONE
    }

    /// Whether `key` is in the node's prefix.
    fn covers(&self, key: Key) -> bool {
        self.key.common(key) >= self.bits
    }

    fn prefix(&self) -> AllowedIp {
        AllowedIp { address: self.key.address(self.tree), prefix_len: self.bits }
    }
}
