//! Interfaces by rtnetlink: made, taken away, brought up.

use kerntun_hostile::netlink::{ACK, Answer, Attributes, CREATE, EXCLUSIVE, REQUEST, Socket};

/// rtnetlink.
const ROUTE: isize = 0;
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const IFNAME: u16 = 3;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const UP: u32 = 1;

/// A conversation about interfaces.
pub(crate) struct Links(Socket);

impl Links {
    /// Begins one.
    pub(crate) fn new() -> Self {
        Self(Socket::new(ROUTE))
    }

    /// A new interface of kind `wireguard`, with more attributes.
    pub(crate) fn add(&mut self, name: &[u8], more: &Attributes) -> Answer {
        self.add_with(name, &Attributes::new(), more)
    }

    /// As [`Self::add`], with parameters of the kind, of which this kind has none.
    pub(crate) fn add_with_data(&mut self, name: &[u8], data: &Attributes) -> Answer {
        self.add_with(name, &Attributes::new().nest(INFO_DATA, data), &Attributes::new())
    }

    fn add_with(&mut self, name: &[u8], info: &Attributes, more: &Attributes) -> Answer {
        let info = Attributes::new().put(INFO_KIND, b"wireguard\0").with(info);
        let attributes = Attributes::new().put(IFNAME, name).nest(LINK_INFO, &info).with(more);
        self.0.ask(NEW_LINK, REQUEST | ACK | CREATE | EXCLUSIVE, link(0).with(&attributes).bytes())
    }

    /// Takes an interface away.
    pub(crate) fn delete(&mut self, name: &str) -> Answer {
        self.0.ask(DELETE_LINK, REQUEST | ACK, link(0).with(&named(name)).bytes())
    }

    /// Brings an interface up.
    pub(crate) fn up(&mut self, name: &str) -> Answer {
        self.0.ask(NEW_LINK, REQUEST | ACK, link(UP).with(&named(name)).bytes())
    }

    /// Changes attributes of an interface.
    pub(crate) fn change(&mut self, name: &str, more: &Attributes) -> Answer {
        self.0.ask(NEW_LINK, REQUEST | ACK, link(0).with(&named(name)).with(more).bytes())
    }
}

fn named(name: &str) -> Attributes {
    Attributes::new().put(IFNAME, format!("{name}\0").as_bytes())
}

/// struct ifinfomsg: no family, no type, no index, flags to be as in the mask.
fn link(flags: u32) -> Attributes {
    Attributes::new().raw(&[0; 8]).raw(&flags.to_ne_bytes()).raw(&flags.to_ne_bytes())
}
