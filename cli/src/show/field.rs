//! Single fields for scripts: the names and forms of `wg show INTERFACE FIELD`, which lists peers unsorted.

use super::snapshot::{Snapshot, base64};
use kerntun_config::Key;
use kerntun_uapi::{PeerState, SecretKey};
use std::fmt::{Display, Write};
use zeroize::Zeroizing;

/// What can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Field {
    /// The interface's public key
    PublicKey,
    /// The interface's private key
    PrivateKey,
    /// The UDP port
    ListenPort,
    /// The mark of outgoing packets, or 'off'
    Fwmark,
    /// The public keys of the peers
    Peers,
    /// Peer and preshared key
    PresharedKeys,
    /// Peer and endpoint
    Endpoints,
    /// Peer and allowed ips, separated by spaces
    AllowedIps,
    /// Peer and Unix time of the latest handshake, 0 for never
    LatestHandshakes,
    /// Peer, bytes received, bytes sent
    Transfer,
    /// Peer and seconds between keepalives, or 'off'
    PersistentKeepalive,
    /// Everything, one line for the interface and one for each peer
    Dump,
}

impl Field {
    /// Writes the field of one interface, each line led by the interface's name if there are several.
    pub(crate) fn write(self, out: &mut String, snapshot: &Snapshot, lead: bool) {
        let state = &snapshot.state;
        let mut line = |text: &str| {
            let _ = if lead { writeln!(out, "{}\t{text}", snapshot.name) } else { writeln!(out, "{text}") };
        };
        let public = || or_none(snapshot.public_key());
        let private = || key(state.private_key.as_ref());
        match self {
            Self::PublicKey => line(&public()),
            Self::PrivateKey => line(&private()),
            Self::ListenPort => line(&state.listen_port.to_string()),
            Self::Fwmark => line(&mark(state.fwmark)),
            Self::Dump => {
                let (private, mark) = (private(), mark(state.fwmark));
                let text = format!("{}\t{}\t{}\t{mark}", private.as_str(), public(), state.listen_port);
                line(&Zeroizing::new(text));
                state.peers.iter().for_each(|peer| line(&dump(peer)));
            }
            _ => state.peers.iter().for_each(|peer| line(&self.of_peer(peer))),
        }
    }

    fn of_peer(self, peer: &PeerState) -> Zeroizing<String> {
        let name = base64(&peer.public_key);
        Zeroizing::new(match self {
            Self::PresharedKeys => format!("{name}\t{}", key(peer.preshared_key.as_ref()).as_str()),
            Self::Endpoints => format!("{name}\t{}", or_none(peer.endpoint)),
            Self::AllowedIps => format!("{name}\t{}", allowed_ips(peer, " ")),
            Self::LatestHandshakes => format!("{name}\t{}", handshake(peer)),
            Self::Transfer => format!("{name}\t{}\t{}", peer.rx_bytes, peer.tx_bytes),
            Self::PersistentKeepalive => format!("{name}\t{}", keepalive(peer)),
            _ => name,
        })
    }
}

fn dump(peer: &PeerState) -> Zeroizing<String> {
    let preshared = key(peer.preshared_key.as_ref());
    let (endpoint, prefixes) = (or_none(peer.endpoint), allowed_ips(peer, ","));
    let (handshake, keepalive) = (handshake(peer), keepalive(peer));
    let (name, received, sent) = (base64(&peer.public_key), peer.rx_bytes, peer.tx_bytes);
    Zeroizing::new(format!(
        "{name}\t{}\t{endpoint}\t{prefixes}\t{handshake}\t{received}\t{sent}\t{keepalive}",
        preshared.as_str()
    ))
}

fn key(secret: Option<&SecretKey>) -> Zeroizing<String> {
    match secret {
        Some(secret) => Key::from_bytes(*secret.as_bytes()).to_base64(),
        None => Zeroizing::new("(none)".to_owned()),
    }
}

fn mark(mark: u32) -> String {
    if mark == 0 { "off".to_owned() } else { format!("{mark:#x}") }
}

fn keepalive(peer: &PeerState) -> String {
    match peer.persistent_keepalive_interval {
        0 => "off".to_owned(),
        seconds => seconds.to_string(),
    }
}

fn handshake(peer: &PeerState) -> u64 {
    peer.last_handshake.unwrap_or_default().as_secs()
}

fn allowed_ips(peer: &PeerState, between: &str) -> String {
    let texts: Vec<String> = peer.allowed_ips.iter().map(|one| format!("{}/{}", one.address, one.prefix)).collect();
    if texts.is_empty() { "(none)".to_owned() } else { texts.join(between) }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "(none)".to_owned(), |value| value.to_string())
}
