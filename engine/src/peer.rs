//! One peer: what is known of it, and what is kept while it is configured.

/// Names a peer for a while: its place in the device, and how often that place has been used.
///
/// It dangles harmlessly: every call compares the generation and finds nothing once the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}
