//! The stable form for programs. `docs/cli.md` describes it; a change of meaning raises [`SCHEMA`].

use super::snapshot::{Drops, Kind, Snapshot, base64};
use crate::failure::Failure;
use kerntun_config::Key;
use kerntun_uapi::{InterfaceName, PeerState, SecretKey, Section};
use serde::Serialize;
use std::net::SocketAddr;
use zeroize::{Zeroize, Zeroizing};

/// Version of the form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Everything {
    schema: u32,
    interfaces: Vec<Interface>,
    errors: Vec<Trouble>,
}

#[derive(Serialize)]
struct Trouble {
    interface: String,
    message: String,
}

#[derive(Serialize)]
struct Interface {
    name: String,
    implementation: &'static str,
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<Secret>,
    listen_port: Option<u16>,
    fwmark: Option<u32>,
    drops: Option<Drops>,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    public_key: String,
    has_preshared_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    preshared_key: Option<Secret>,
    endpoint: Option<SocketAddr>,
    allowed_ips: Vec<String>,
    /// Seconds and nanoseconds since the Unix epoch would lose digits as one JSON number, so it is whole seconds.
    latest_handshake: Option<u64>,
    received_bytes: u64,
    sent_bytes: u64,
    persistent_keepalive: Option<u16>,
    drops: Option<Drops>,
}

/// Writes everything as one indented document.
pub(crate) fn write(out: &mut String, snapshots: &[Snapshot], failures: &[(InterfaceName, Failure)], secrets: bool) {
    let trouble = |(name, failure): &(InterfaceName, Failure)| Trouble {
        interface: name.to_string(),
        message: failure.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let everything = Everything {
        schema: SCHEMA,
        interfaces: snapshots.iter().map(|one| interface(one, secrets)).collect(),
        errors: failures.iter().map(trouble).collect(),
    };
    // These structures have no map keys that are not text and no fallible field: nothing to fail.
    let text = Zeroizing::new(serde_json::to_string_pretty(&everything).unwrap_or_default());
    out.push_str(&text);
    out.push('\n');
}

fn interface(snapshot: &Snapshot, secrets: bool) -> Interface {
    let state = &snapshot.state;
    Interface {
        name: snapshot.name.to_string(),
        implementation: match snapshot.kind {
            Kind::Kerntun => "kerntun",
            Kind::Other => "other",
            Kind::Kernel => "kernel",
            Kind::Module => "kerntun-module",
        },
        public_key: snapshot.public_key().map(|key| key.to_string()),
        private_key: secret(state.private_key.as_ref(), secrets),
        listen_port: Some(state.listen_port).filter(|port| *port != 0),
        fwmark: Some(state.fwmark).filter(|mark| *mark != 0),
        drops: snapshot.drops(Section::Device),
        peers: snapshot.peers().into_iter().map(|one| peer(snapshot, one, secrets)).collect(),
    }
}

fn peer(snapshot: &Snapshot, peer: &PeerState, secrets: bool) -> Peer {
    Peer {
        public_key: base64(&peer.public_key),
        has_preshared_key: peer.preshared_key.is_some(),
        preshared_key: secret(peer.preshared_key.as_ref(), secrets),
        endpoint: peer.endpoint,
        allowed_ips: peer.allowed_ips.iter().map(|one| format!("{}/{}", one.address, one.prefix)).collect(),
        latest_handshake: peer.last_handshake.map(|at| at.as_secs()),
        received_bytes: peer.rx_bytes,
        sent_bytes: peer.tx_bytes,
        persistent_keepalive: Some(peer.persistent_keepalive_interval).filter(|seconds| *seconds != 0),
        drops: snapshot.drops(Section::Peer(peer.public_key)),
    }
}

/// A key in text, wiped when dropped.
#[derive(Serialize)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn secret(key: Option<&SecretKey>, shown: bool) -> Option<Secret> {
    key.filter(|_| shown).map(|key| Secret(Key::from_bytes(*key.as_bytes()).to_base64().to_string()))
}
