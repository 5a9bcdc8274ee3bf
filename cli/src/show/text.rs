//! The form for people: that of `wg show`, with drop reasons.

use super::drops::meaning;
use super::paint::Paint;
use super::snapshot::{Drops, Snapshot, base64};
use super::words;
use kerntun_config::Key;
use kerntun_uapi::{AllowedIp, PeerState, SecretKey, Section};
use std::fmt::{Display, Write};
use std::time::Duration;
use zeroize::Zeroizing;

/// What the form depends on besides the interfaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Calendar time since the Unix epoch.
    pub(crate) now: Duration,
    /// Whether secrets are shown.
    pub(crate) secrets: bool,
    /// Colours or none.
    pub(crate) paint: Paint,
}

/// Writes interfaces one below the other.
pub(crate) fn write(out: &mut String, snapshots: &[Snapshot], style: &Style) {
    for (at, snapshot) in snapshots.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        interface(out, snapshot, style);
        for peer_state in snapshot.peers() {
            out.push('\n');
            peer(out, snapshot, peer_state, style);
        }
    }
}

fn interface(out: &mut String, snapshot: &Snapshot, style: &Style) {
    let paint = style.paint;
    let state = &snapshot.state;
    let _ = writeln!(out, "{}: {}", paint.green(paint.bold("interface")), paint.green(&snapshot.name));
    if let Some(key) = snapshot.public_key() {
        line(out, style, "public key", key);
    }
    if let Some(key) = &state.private_key {
        line(out, style, "private key", secret(key, style).as_str());
    }
    if state.listen_port != 0 {
        line(out, style, "listening port", state.listen_port);
    }
    if state.fwmark != 0 {
        line(out, style, "fwmark", format_args!("{:#x}", state.fwmark));
    }
    // What a peer was to blame for stands at the peer; here is the rest.
    let mut drops = snapshot.drops(Section::Device).unwrap_or_default();
    for peer in &state.peers {
        for (reason, count) in snapshot.drops(Section::Peer(peer.public_key)).unwrap_or_default() {
            if let Some(total) = drops.get_mut(&reason) {
                *total = total.saturating_sub(count);
            }
        }
    }
    drops.retain(|_, count| *count > 0);
    dropped(out, style, &drops);
}

fn peer(out: &mut String, snapshot: &Snapshot, peer: &PeerState, style: &Style) {
    let paint = style.paint;
    let _ = writeln!(out, "{}: {}", paint.yellow(paint.bold("peer")), paint.yellow(base64(&peer.public_key)));
    if let Some(key) = &peer.preshared_key {
        line(out, style, "preshared key", secret(key, style).as_str());
    }
    if let Some(endpoint) = peer.endpoint {
        line(out, style, "endpoint", endpoint);
    }
    line(out, style, "allowed ips", allowed_ips(&peer.allowed_ips, paint));
    if let Some(handshake) = peer.last_handshake {
        line(out, style, "latest handshake", ago(handshake, style.now, paint));
    }
    if peer.rx_bytes > 0 || peer.tx_bytes > 0 {
        let (received, sent) = (words::bytes(peer.rx_bytes, paint), words::bytes(peer.tx_bytes, paint));
        line(out, style, "transfer", format_args!("{received} received, {sent} sent"));
    }
    if peer.persistent_keepalive_interval != 0 {
        let every = words::duration(peer.persistent_keepalive_interval.into(), paint);
        line(out, style, "persistent keepalive", format_args!("every {every}"));
    }
    dropped(out, style, &snapshot.drops(Section::Peer(peer.public_key)).unwrap_or_default());
}

fn line(out: &mut String, style: &Style, label: &str, value: impl Display) {
    let _ = writeln!(out, "  {}: {value}", style.paint.bold(label));
}

/// One line for each reason: how many, what it means, and its name for searching.
fn dropped(out: &mut String, style: &Style, drops: &Drops) {
    for (reason, count) in drops {
        let known = meaning(reason).unwrap_or("packets for a reason this version does not know");
        line(out, style, "dropped", format_args!("{count} {known} ({})", style.paint.yellow(reason)));
    }
}

fn secret(key: &SecretKey, style: &Style) -> Zeroizing<String> {
    if style.secrets { Key::from_bytes(*key.as_bytes()).to_base64() } else { Zeroizing::new("(hidden)".to_owned()) }
}

fn allowed_ips(prefixes: &[AllowedIp], paint: Paint) -> String {
    if prefixes.is_empty() {
        return "(none)".to_owned();
    }
    let texts = prefixes.iter().map(|one| format!("{}{}{}", one.address, paint.cyan("/"), paint.cyan(one.prefix)));
    texts.collect::<Vec<_>>().join(", ")
}

fn ago(then: Duration, now: Duration, paint: Paint) -> String {
    match now.as_secs().checked_sub(then.as_secs()) {
        None => paint.red("(in the future: the system clock was set back, which can keep handshakes from working)"),
        Some(0) => "Now".to_owned(),
        Some(seconds) => format!("{} ago", words::duration(seconds, paint)),
    }
}
