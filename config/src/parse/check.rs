//! What only the whole file can tell.

use super::{Parsed, Parser, Reader};
use crate::keyword::Keyword;
use crate::model::{Interface, SYSTEM_TABLES, Table};

/// Smallest MTU an IPv6 network has (RFC 8200, 5).
const IPV6_MTU_MIN: u16 = 1280;

impl Reader {
    /// Completes the last section, checks the whole, and renders what was found.
    pub(super) fn finish(mut self, parser: &Parser<'_>, text: &[u8]) -> Parsed {
        self.end_peer();
        self.check_mark();
        self.check_interface();
        self.check_own_key(parser);
        let usable = self.findings.errors() == 0;
        let (config, partial) = if usable { (Some(self.config), None) } else { (None, Some(self.config)) };
        Parsed { config, partial, diagnostics: self.findings.finish(parser.file, text) }
    }

    /// With a default route the mark is also the number of the tunnel's own routing table. In one of the system's tables such a route
    /// would catch the tunnel's own packets, and in `local` even those to neighbours.
    fn check_mark(&mut self) {
        let interface = &self.config.interface;
        let system = interface.fwmark.and_then(|mark| SYSTEM_TABLES.iter().find(|(number, _)| *number == mark));
        let Some((number, name)) = system.filter(|_| interface.table == Table::Auto) else { return };
        let has_default =
            self.config.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|prefix| prefix.prefix() == 0);
        if has_default {
            self.findings
                .error(
                    self.interface_seen.get(Keyword::FwMark),
                    format!("a tunnel for everything needs a routing table of this number, and {number} is the system's table '{name}'"),
                )
                .help("leave FwMark out, which finds a free number, or write another, as in 'FwMark = 51820'");
        }
    }

    fn check_interface(&mut self) {
        // What seems to be missing may stand in a line that could not be read: errors first.
        if self.findings.errors() != 0 {
            return;
        }
        let Some(header) = self.interface_header else {
            self.findings
                .warning(None, "there is no [Interface] section")
                .help("start the file with '[Interface]' and a line 'PrivateKey = ...'");
            return;
        };
        let interface = &self.config.interface;
        let given = |keyword| self.interface_seen.get(keyword).is_some();
        let no_private_key = !given(Keyword::PrivateKey) && !hooks_contain(interface, "private-key");
        let no_address = !given(Keyword::Address) && !hooks_contain(interface, "addr");
        let no_server = interface.dns.is_empty() && !interface.dns_search.is_empty();
        let has_v6 = interface.addresses.iter().any(|address| address.ip().is_ipv6());
        let small_for_v6 = interface.mtu.filter(|mtu| has_v6 && *mtu < IPV6_MTU_MIN);
        let place_of = |keyword| self.interface_seen.get(keyword).unwrap_or(header);
        let (dns, mtu_place) = (place_of(Keyword::Dns), place_of(Keyword::Mtu));
        if no_private_key {
            self.findings
                .warning(header, "this interface has no PrivateKey and can talk to nobody")
                .help("add 'PrivateKey = ...' with a key that 'wg genkey' makes");
        }
        if no_address {
            self.findings
                .warning(header, "this interface has no Address")
                .help("add one that the other side has in its AllowedIPs, as in 'Address = 10.0.0.2/24'");
        }
        if no_server {
            self.findings
                .warning(dns, "search domains without a name server are ignored")
                .help("add a name server's address to 'DNS'");
        }
        if let Some(mtu) = small_for_v6 {
            self.findings
                .warning(
                    mtu_place,
                    format!("an MTU of {mtu} switches IPv6 off, but this interface has an IPv6 address"),
                )
                .help(format!("IPv6 needs an MTU of at least {IPV6_MTU_MIN}"));
        }
    }

    /// A peer that is the interface itself is ignored by every implementation, which looks like a broken tunnel.
    fn check_own_key(&mut self, parser: &Parser<'_>) {
        let Some(private) = self.config.interface.private_key.as_ref().filter(|key| !key.is_zero()) else { return };
        let own = parser.public_key_of.map(|function| function(private));
        for (peer, span) in self.config.peers.iter().zip(&self.public_key_spans) {
            if own == Some(peer.public_key) {
                self.findings
                    .warning(*span, "this is the public key of this interface itself, so the peer is ignored")
                    .help("write the key that 'wg pubkey' prints on the peer's machine")
                    .unmasked();
            }
            if peer.public_key.as_bytes() == private.as_bytes() {
                self.findings
                    .warning(*span, "this PublicKey is the PrivateKey of this interface")
                    .help("write the key that 'wg pubkey' prints on the peer's machine; never give a private key away");
            }
        }
    }
}

fn hooks_contain(interface: &Interface, word: &str) -> bool {
    let hooks = [&interface.pre_up, &interface.post_up];
    hooks.into_iter().flatten().any(|hook| hook.as_str().contains(word))
}
