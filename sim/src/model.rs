//! What a device was told: its peers and their allowed IPs, in a list that is searched from end to end.

use kerntun_engine::routes::AllowedIp;
use kerntun_engine::secret::PublicKey;
use std::net::IpAddr;

/// Allowed IPs as a list.
#[derive(Clone, Debug, Default)]
pub struct Model {
    prefixes: Vec<(AllowedIp, PublicKey)>,
    peers: Vec<PublicKey>,
}

impl Model {
    /// There is a peer with that key.
    pub fn add_peer(&mut self, key: PublicKey) {
        if !self.has(key) {
            self.peers.push(key);
        }
    }

    /// The peer with that key is gone, and its prefixes.
    pub fn remove_peer(&mut self, key: PublicKey) {
        self.peers.retain(|peer| *peer != key);
        self.prefixes.retain(|(_, owner)| *owner != key);
    }

    /// The prefix is `owner`'s now.
    pub fn add(&mut self, prefix: AllowedIp, owner: PublicKey) {
        self.prefixes.retain(|(other, _)| *other != prefix);
        self.prefixes.push((prefix, owner));
    }

    /// Whether there is that peer.
    #[must_use]
    pub fn has(&self, key: PublicKey) -> bool {
        self.peers.contains(&key)
    }

    /// How many peers there are.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// The owner of the longest prefix that holds `address`.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<PublicKey> {
        let holding = self.prefixes.iter().filter(|(prefix, _)| holds(prefix, address));
        holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, owner)| *owner)
    }
}

fn holds(prefix: &AllowedIp, address: IpAddr) -> bool {
    let bits = |address| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let differing = bits(prefix.address()) ^ bits(address);
    prefix.address().is_ipv4() == address.is_ipv4() && differing.leading_zeros() >= u32::from(prefix.prefix_len())
}
