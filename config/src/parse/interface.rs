//! The keys of `[Interface]`.

use super::{Comment, Piece, Reader};
use crate::address::{Address, AddressError};
use crate::diagnostic::Span;
use crate::keyword::Keyword;
use crate::mask::quote;
use crate::model::Table;
use crate::text::{Hook, ScopedIp, SearchDomain, TableName, is_space};
use std::collections::hash_map::Entry;

/// Smallest MTU Linux gives to a TUN device (`ETH_MIN_MTU`), and what every IPv4 host can reassemble (RFC 791).
const MTU_MIN: u32 = 68;
const MTU_SENSIBLE: u32 = 576;

impl Reader {
    pub(super) fn interface_key(&mut self, keyword: Keyword, value: Piece<'_>, comment: Comment) {
        match keyword {
            Keyword::PrivateKey => {
                if let Some(key) = self.secret(keyword, value) {
                    if key.is_zero() {
                        self.findings
                            .warning(value.span, "this PrivateKey is all zeros, which means that there is none")
                            .help("'wg genkey' makes one");
                    }
                    self.config.interface.private_key = Some(key);
                }
            }
            Keyword::ListenPort => {
                let help = "write a UDP port from 0 (any) to 65535, as in 'ListenPort = 51820'";
                let port = self.number(value, u16::MAX.into(), "port", help);
                self.config.interface.listen_port = port.and_then(|port| u16::try_from(port).ok());
            }
            Keyword::FwMark => self.fwmark(value),
            Keyword::Address => self.addresses(value),
            Keyword::Dns => self.dns(value),
            Keyword::Mtu => self.mtu(value),
            Keyword::Table => self.table(value),
            Keyword::SaveConfig => self.save_config(value),
            Keyword::PreUp | Keyword::PostUp | Keyword::PreDown | Keyword::PostDown => {
                self.hook(keyword, value, comment);
            }
            // The caller sends other keys elsewhere.
            _ => {}
        }
    }

    fn fwmark(&mut self, value: Piece<'_>) {
        let text = value.compact();
        let mark = if text.eq_ignore_ascii_case("off") {
            Some(0)
        } else if let Some(digits) = text.strip_prefix("0x") {
            u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
        } else {
            text.parse().ok().filter(|_| !text.starts_with('+'))
        };
        if mark.is_none() {
            self.findings
                .error(value.span, "this FwMark is not a 32-bit number")
                .help("write 'off', a decimal number, or a hexadecimal one with a small 'x', as in 0xca6c");
        }
        self.config.interface.fwmark = mark;
    }

    fn addresses(&mut self, value: Piece<'_>) {
        for item in value.split(|c| c == ',' || is_space(c)).filter(|item| !item.text.is_empty()) {
            match item.text.parse::<Address>() {
                Ok(address) => self.own_address(address, item.span),
                Err(cause) => self.bad_address(item, cause, "10.0.0.1/24", "fd00::1/64"),
            }
        }
    }

    /// Linux takes an IPv4 address twice if the prefixes differ in length, an IPv6 address never.
    fn own_address(&mut self, address: Address, span: Span) {
        let prefix = if address.ip().is_ipv4() { Some(address.prefix()) } else { None };
        match self.address_lines.entry((address.ip(), prefix)) {
            Entry::Occupied(first) => {
                self.findings
                    .error(span, format!("the address {} stands already in line {}", address.ip(), first.get()))
                    .help("remove one of the two: Linux refuses the second");
            }
            Entry::Vacant(slot) => {
                slot.insert(span.line);
                self.config.interface.addresses.push(address);
            }
        }
    }

    /// Reports an address with a prefix that is none; the examples are what would be right.
    pub(super) fn bad_address(&mut self, item: Piece<'_>, cause: AddressError, v4: &str, v6: &str) {
        let text = quote(item.text);
        let added = self.findings.error(item.span, format!("'{text}' {cause}"));
        match cause {
            AddressError::PrefixTooLong { bits } => added.help(format!("the length is from 0 to {bits}")),
            AddressError::Scope => added.help("leave out the '%' and what follows it"),
            AddressError::Mask => added.help("write the prefix length instead, as in /24"),
            _ if item.text.contains(is_space) || item.text.contains(';') => {
                added.help(format!("separate addresses with commas, as in '{v4}, {v6}'"))
            }
            _ => added.help(format!("write it like {v4} or {v6}")),
        };
    }

    fn dns(&mut self, value: Piece<'_>) {
        for item in value.split(|c| c == ',' || is_space(c)).filter(|item| !item.text.is_empty()) {
            // The same rule as wg-quick's: a colon, or nothing but digits and dots, makes a server.
            let is_server = item.text.contains(':') || item.text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let failure = if is_server {
                item.text.parse::<ScopedIp>().map(|server| self.config.interface.dns.push(server)).err()
            } else {
                SearchDomain::new(item.text).map(|domain| self.config.interface.dns_search.push(domain)).err()
            };
            if let Some(cause) = failure {
                self.findings
                    .error(item.span, format!("'{}' {cause}", quote(item.text)))
                    .help("write addresses of name servers (without ports) and search domains, separated by commas");
            }
        }
    }

    fn mtu(&mut self, value: Piece<'_>) {
        self.config.interface.mtu = None;
        // An empty value is as good as none to wg-quick.
        if value.text.is_empty() {
            return;
        }
        let help = "write a number of bytes, as in 'MTU = 1420'";
        if value.text.len() > 1 && value.text.starts_with('0') {
            self.findings.error(value.span, "this MTU starts with 0, which ip(8) takes for octal").help(help);
            return;
        }
        let Some(mtu) = self.number(value, u16::MAX.into(), "MTU", help) else { return };
        if mtu < MTU_MIN {
            self.findings
                .error(value.span, format!("this MTU is smaller than {MTU_MIN}, the least Linux takes"))
                .help("1420 suits most networks; leave the line out to have it found");
        } else if mtu < MTU_SENSIBLE {
            self.findings
                .warning(value.span, format!("this MTU is smaller than {MTU_SENSIBLE}, which every IPv4 host can take"))
                .help("1420 suits most networks; leave the line out to have it found");
        }
        self.config.interface.mtu = u16::try_from(mtu).ok();
    }

    fn table(&mut self, value: Piece<'_>) {
        let table = match value.text {
            "" | "auto" => Ok(Table::Auto),
            "off" => Ok(Table::Off),
            text => match table_number(text) {
                Some(id) => Ok(Table::Id(id)),
                None => TableName::new(text).map(Table::Name),
            },
        };
        match table {
            Ok(table) => self.config.interface.table = table,
            Err(cause) => {
                self.findings
                    .error(value.span, format!("'{}' {cause}", quote(value.text)))
                    .help("write 'auto', 'off', a number, or a name from rt_tables");
            }
        }
    }

    fn save_config(&mut self, value: Piece<'_>) {
        match value.text.to_ascii_lowercase().as_str() {
            "true" => self.config.interface.save_config = true,
            "false" => self.config.interface.save_config = false,
            _ => {
                self.findings
                    .error(value.span, format!("'{}' is neither true nor false", quote(value.text)))
                    .help("write 'SaveConfig = true' or leave the line out");
            }
        }
    }

    fn hook(&mut self, keyword: Keyword, value: Piece<'_>, comment: Comment) {
        if value.text.is_empty() {
            self.findings
                .warning(value.span, format!("this {} has no command and is ignored", keyword.name()))
                .help("write a command after the '=', or remove the line");
            return;
        }
        // "cmd # why" is fine. "grep a#b" and "echo '# x'" lose their end to the comment without anybody noticing.
        let odd = |quote: char| value.text.matches(quote).count() % 2 == 1;
        let lost = match comment {
            Comment::None => false,
            Comment::Apart => odd('"') || odd('\''),
            Comment::Touching => true,
        };
        if lost {
            self.findings
                .warning(value.span, "the command ends here: '#' starts a comment, even inside quotes")
                .help("there is no way to write '#' in a command; put the command in a script and call that");
        }
        let hook = match Hook::new(value.text) {
            Ok(hook) => hook,
            Err(cause) => {
                self.findings.error(value.span, format!("this command {cause}"));
                return;
            }
        };
        let interface = &mut self.config.interface;
        match keyword {
            Keyword::PreUp => interface.pre_up.push(hook),
            Keyword::PostUp => interface.post_up.push(hook),
            Keyword::PreDown => interface.pre_down.push(hook),
            _ => interface.post_down.push(hook),
        }
    }
}

/// A table's number as `ip route` reads it: decimal, hexadecimal after `0x`, octal after `0`.
fn table_number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (lower.as_str(), 10),
    };
    u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
}
