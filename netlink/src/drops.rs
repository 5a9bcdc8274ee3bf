//! What kerntun's own kernel module dropped and why: the generic netlink family "kerntun", described in `kernel/uapi.h`.

use kerntun_uapi::{DiagnosticEntry, PublicKey, Section};
use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};
use std::ffi::CStr;

/// The name of the family (`KERNTUN_GENL_NAME`). It is there if and only if the module serves the kernel's interfaces.
pub const FAMILY: &str = "kerntun";

/// `KERNTUN_CMD_GET_DROPS`.
const GET_DROPS: u8 = 1;

/// `enum kerntun_attribute`.
const IFNAME: u16 = 2;
const PUBLIC_KEY: u16 = 3;
const DROPS: u16 = 4;

/// `enum kerntun_reason_attribute`.
const NAME: u16 = 1;
const COUNT: u16 = 2;

/// One message: of the interface, or of one of its peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops {
    interface: Option<String>,
    peer: Option<PublicKey>,
    reasons: Vec<(String, u64)>,
}

impl Drops {
    /// The question for the drops of an interface.
    #[must_use]
    pub fn of(interface: &str) -> Self {
        Self { interface: Some(interface.to_owned()), ..Self::default() }
    }

    /// What an answer tells, named as our daemon names it.
    pub fn into_entries(self) -> impl Iterator<Item = DiagnosticEntry> {
        let section = self.peer.map_or(Section::Device, Section::Peer);
        self.reasons.into_iter().map(move |(name, count)| DiagnosticEntry {
            section,
            name: format!("drop.{name}"),
            value: count.to_string(),
        })
    }

    fn attributes(&self) -> Vec<DefaultNla> {
        let name = self.interface.iter().map(|name| [name.as_bytes(), &[0]].concat());
        name.map(|name| DefaultNla::new(IFNAME, name)).collect()
    }
}

impl GenlFamily for Drops {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        GET_DROPS
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Drops {
    fn buffer_len(&self) -> usize {
        self.attributes().as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes().as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Drops {
    fn parse_with_param(buffer: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        let mut drops = Self::default();
        for attribute in NlasIterator::new(buffer) {
            let attribute = attribute?;
            match attribute.kind() {
                IFNAME => drops.interface = text(attribute.value()),
                PUBLIC_KEY => drops.peer = attribute.value().try_into().ok().map(PublicKey),
                DROPS => {
                    for reason in NlasIterator::new(attribute.value()) {
                        drops.reasons.extend(read_reason(reason?.value())?);
                    }
                }
                _ => {}
            }
        }
        Ok(drops)
    }
}

/// Name and count; `None` if one of them is missing, as from a module of the future.
fn read_reason(buffer: &[u8]) -> Result<Option<(String, u64)>, DecodeError> {
    let (mut name, mut count) = (None, None);
    for attribute in NlasIterator::new(buffer) {
        let attribute = attribute?;
        match attribute.kind() {
            NAME => name = text(attribute.value()),
            COUNT => count = attribute.value().try_into().ok().map(u64::from_ne_bytes),
            _ => {}
        }
    }
    Ok(name.zip(count))
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(CStr::from_bytes_until_nul(bytes).ok()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let nla = DefaultNla::new(kind, value.to_vec());
        let mut out = vec![0; nla.buffer_len()];
        nla.emit(&mut out);
        out
    }

    fn parse(bytes: &[u8]) -> Result<Drops, DecodeError> {
        Drops::parse_with_param(bytes, GenlHeader { cmd: 1, version: 1 })
    }

    #[test]
    fn an_answer_becomes_entries() {
        let reason = |name: &[u8], count: u64| {
            let inner = [attribute(1, name), attribute(3, &[]), attribute(2, &count.to_ne_bytes())].concat();
            attribute(1 | 0x8000, &inner)
        };
        let drops = [reason(b"no-route\0", 7), reason(b"bad-tag\0", 1 << 40)].concat();
        let peer = parse(&[attribute(1, &[9; 4]), attribute(3, &[8; 32]), attribute(4 | 0x8000, &drops)].concat());
        let entries: Vec<_> = peer.unwrap().into_entries().collect();
        let expected = |name: &str, value: &str| DiagnosticEntry {
            section: Section::Peer(PublicKey([8; 32])),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(entries, [expected("drop.no-route", "7"), expected("drop.bad-tag", "1099511627776")]);

        let device = parse(&[attribute(2, b"wg0\0"), attribute(4, &[])].concat()).unwrap();
        assert_eq!(device, Drops::of("wg0"));
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_what_is_cut_is_an_error() {
        let nameless = attribute(4, &attribute(1, &attribute(2, &7_u64.to_ne_bytes())));
        assert_eq!(parse(&nameless).unwrap().reasons, []);
        assert_eq!(parse(&attribute(77, b"what?")).unwrap(), Drops::default());
        parse(&[200, 0, 4, 0, 1]).unwrap_err();
    }

    #[test]
    fn the_question_names_the_interface() {
        let question = Drops::of("wg0");
        let mut bytes = vec![0; question.buffer_len()];
        question.emit(&mut bytes);
        assert_eq!(bytes, [8, 0, 2, 0, b'w', b'g', b'0', 0]);
    }
}
