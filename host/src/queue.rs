//! Packets that wait for a session, linked through themselves.

use kerntun_engine::host::{Staged, StagedPacket};

/// An owned packet that carries a `P` in memory of its own, ready to be queued without taking more.
#[derive(Debug)]
pub struct Held<P> {
    node: Box<Node<P>>,
}

#[derive(Debug)]
struct Node<P> {
    payload: P,
    datagrams: u32,
    payload_bytes: usize,
    next: Option<Box<Self>>,
}

impl<P> Held<P> {
    /// A packet that becomes `datagrams` datagrams (none counts as one) and whose `payload` owns `payload_bytes` bytes
    /// on the heap.
    #[must_use]
    pub fn new(payload: P, datagrams: u32, payload_bytes: usize) -> Self {
        Self { node: Box::new(Node { payload, datagrams: datagrams.max(1), payload_bytes, next: None }) }
    }

    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> &P {
        &self.node.payload
    }

    /// What it carries, to be changed in place; the size it was made with stays what it is accounted for.
    #[must_use]
    pub fn payload_mut(&mut self) -> &mut P {
        &mut self.node.payload
    }

    /// Takes out what it carries.
    #[must_use]
    pub fn into_payload(self) -> P {
        self.node.payload
    }
}

impl Held<Vec<u8>> {
    /// A packet of raw bytes that becomes `datagrams` datagrams.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>, datagrams: u32) -> Self {
        let capacity = bytes.capacity();
        Self::new(bytes, datagrams, capacity)
    }
}

impl<P> StagedPacket for Held<P> {
    fn datagrams(&self) -> u32 {
        self.node.datagrams
    }

    /// The node and what the payload owns.
    fn bytes(&self) -> usize {
        self.node.payload_bytes.saturating_add(size_of::<Node<P>>())
    }
}

/// A first-in, first-out queue that never takes memory.
///
/// It is two stacks, since safe code cannot keep a pointer to the last link: packets are pushed on one and popped from
/// the other, and when the other is empty the first is turned over. Each packet is turned once, and the engine's bound
/// on staged packets bounds the one call that turns them.
#[derive(Debug)]
pub struct HeldQueue<P> {
    newest: Option<Box<Node<P>>>,
    oldest: Option<Box<Node<P>>>,
}

impl<P> Staged for HeldQueue<P> {
    type Packet = Held<P>;

    fn push(&mut self, packet: Held<P>) {
        push(&mut self.newest, packet.node);
    }

    fn pop(&mut self) -> Option<Held<P>> {
        if self.oldest.is_none() {
            while let Some(node) = pop(&mut self.newest) {
                push(&mut self.oldest, node);
            }
        }
        pop(&mut self.oldest).map(|node| Held { node })
    }
}

impl<P> Default for HeldQueue<P> {
    fn default() -> Self {
        Self { newest: None, oldest: None }
    }
}

impl<P> Drop for HeldQueue<P> {
    /// One by one: links that drop their successors would need as much stack as the queue is long.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

fn push<P>(stack: &mut Option<Box<Node<P>>>, mut node: Box<Node<P>>) {
    node.next = stack.take();
    *stack = Some(node);
}

fn pop<P>(stack: &mut Option<Box<Node<P>>>) -> Option<Box<Node<P>>> {
    let mut node = stack.take()?;
    *stack = node.next.take();
    Some(node)
}
