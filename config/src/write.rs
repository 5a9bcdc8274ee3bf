//! Writes configurations in the form of `wg-quick save`, and in the form of `wg-quick strip`.

use crate::model::{Config, Interface, Peer, Table};
use core::fmt::{self, Display, Write};
use zeroize::Zeroizing;

impl Config {
    /// The whole configuration as wg-quick reads it, in the order in which `wg-quick save` writes it. What is at its
    /// default is left out; comments never were part of a [`Config`]. The text holds secrets and is wiped when dropped.
    ///
    /// Parsing it gives back an equal configuration, as every type in it admits only what can be written; but not if the same address
    /// was put in twice, or an endpoint with port 0.
    pub fn to_text(&self) -> Zeroizing<String> {
        self.written(true)
    }

    /// What `wg-quick strip` leaves: only keys that `wg setconf` takes. The text holds secrets and is wiped when dropped.
    pub fn strip(&self) -> Zeroizing<String> {
        self.written(false)
    }

    fn written(&self, with_quick_keys: bool) -> Zeroizing<String> {
        // Measuring first means that no half-filled buffer with secrets is left behind when the text grows.
        let mut length = Length(0);
        let mut text = Zeroizing::new(String::new());
        if write_config(self, &mut length, with_quick_keys).is_ok() {
            text.reserve_exact(length.0);
        }
        // Writing to a String cannot fail.
        let _ = write_config(self, &mut *text, with_quick_keys);
        text
    }
}

/// Counts what is written to it.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

fn write_config(config: &Config, out: &mut impl Write, with_quick_keys: bool) -> fmt::Result {
    out.write_str("[Interface]\n")?;
    if with_quick_keys {
        write_quick_keys(&config.interface, out)?;
    }
    write_interface(&config.interface, out)?;
    config.peers.iter().try_for_each(|peer| write_peer(peer, out))
}

fn write_quick_keys(interface: &Interface, out: &mut impl Write) -> fmt::Result {
    for address in &interface.addresses {
        writeln!(out, "Address = {address}")?;
    }
    for server in &interface.dns {
        writeln!(out, "DNS = {server}")?;
    }
    for domain in &interface.dns_search {
        writeln!(out, "DNS = {domain}")?;
    }
    if let Some(mtu) = interface.mtu {
        writeln!(out, "MTU = {mtu}")?;
    }
    match &interface.table {
        Table::Auto => {}
        Table::Off => out.write_str("Table = off\n")?,
        Table::Id(id) => writeln!(out, "Table = {id}")?,
        Table::Name(name) => writeln!(out, "Table = {name}")?,
    }
    if interface.save_config {
        out.write_str("SaveConfig = true\n")?;
    }
    let hooks = [
        ("PreUp", &interface.pre_up),
        ("PostUp", &interface.post_up),
        ("PreDown", &interface.pre_down),
        ("PostDown", &interface.post_down),
    ];
    for (key, hooks) in hooks {
        for hook in hooks {
            writeln!(out, "{key} = {hook}")?;
        }
    }
    Ok(())
}

fn write_interface(interface: &Interface, out: &mut impl Write) -> fmt::Result {
    if let Some(port) = interface.listen_port {
        writeln!(out, "ListenPort = {port}")?;
    }
    match interface.fwmark {
        None => {}
        Some(0) => out.write_str("FwMark = off\n")?,
        Some(mark) => writeln!(out, "FwMark = 0x{mark:x}")?,
    }
    if let Some(key) = &interface.private_key {
        writeln!(out, "PrivateKey = {}", key.to_base64().as_str())?;
    }
    Ok(())
}

fn write_peer(peer: &Peer, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "\n[Peer]\nPublicKey = {}", peer.public_key)?;
    if let Some(key) = &peer.preshared_key {
        writeln!(out, "PresharedKey = {}", key.to_base64().as_str())?;
    }
    if !peer.allowed_ips.is_empty() {
        write_list("AllowedIPs", &peer.allowed_ips, out)?;
    }
    if let Some(endpoint) = &peer.endpoint {
        writeln!(out, "Endpoint = {endpoint}")?;
    }
    match peer.persistent_keepalive {
        None => {}
        Some(0) => out.write_str("PersistentKeepalive = off\n")?,
        Some(seconds) => writeln!(out, "PersistentKeepalive = {seconds}")?,
    }
    Ok(())
}

fn write_list(key: &str, list: &[impl Display], out: &mut impl Write) -> fmt::Result {
    let mut separator = " ";
    write!(out, "{key} =")?;
    for item in list {
        write!(out, "{separator}{item}")?;
        separator = ", ";
    }
    out.write_char('\n')
}
