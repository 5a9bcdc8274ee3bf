//! WireGuard in the kernel, its own or kerntun's: the generic netlink family "wireguard" (<linux/wireguard.h>).

use crate::device::port_in_use;
use crate::failure::Failure;
use crate::netlink::{Netlink, NetlinkError};
use kerntun_config::InterfaceName;
use kerntun_netlink::drops::{self, Drops};
use kerntun_netlink::wireguard::{Message, messages, take};
use kerntun_uapi::{DeviceState, DiagnosticEntry, SetRequest};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use nix::errno::Errno;

/// The name of the family (`WG_GENL_NAME`).
const FAMILY: &str = "wireguard";

/// Everything the kernel tells of an interface.
///
/// # Errors
/// When it does not answer.
pub(crate) fn get(name: &InterfaceName) -> Result<DeviceState, Failure> {
    let ask = || -> Result<Vec<GenlMessage<Message>>, NetlinkError> {
        let mut netlink = Netlink::generic()?;
        let family = family(&mut netlink, FAMILY)?;
        let attributes = vec![WireguardAttribute::IfName(name.to_string())];
        netlink.list(message(family, WireguardCmd::GetDevice, attributes))
    };
    let answers = ask().map_err(|error| Failure::new(format!("the kernel does not tell of {name}: {error}")))?;
    let mut state = DeviceState::default();
    for answer in answers {
        let (_, message) = answer.into_parts();
        message.0.attributes.into_iter().for_each(|attribute| take(&mut state, attribute));
    }
    Ok(state)
}

/// Whether the kernel has WireGuard, or can load it.
pub(crate) fn has_wireguard() -> bool {
    has_family(FAMILY)
}

/// Whether the kernel's WireGuard is kerntun's.
pub(crate) fn is_ours() -> bool {
    has_family(drops::FAMILY)
}

fn has_family(name: &str) -> bool {
    Netlink::generic().and_then(|mut netlink| family(&mut netlink, name)).is_ok()
}

/// What an interface dropped and why; `None` if it is not our module's or does not answer.
pub(crate) fn drops(name: &str) -> Option<Vec<DiagnosticEntry>> {
    let ask = || -> Result<Vec<GenlMessage<Drops>>, NetlinkError> {
        let mut netlink = Netlink::generic()?;
        let mut question = GenlMessage::from_payload(Drops::of(name));
        question.set_resolved_family_id(family(&mut netlink, drops::FAMILY)?);
        netlink.list(question)
    };
    let answers = ask().ok()?.into_iter();
    Some(answers.flat_map(|answer| answer.into_parts().1.into_entries()).collect())
}

/// Makes changes. What does not fit into one message is sent in several.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn set(name: &InterfaceName, request: &SetRequest) -> Result<(), Failure> {
    let send = || -> Result<(), NetlinkError> {
        let mut netlink = Netlink::generic()?;
        let family = family(&mut netlink, FAMILY)?;
        for attributes in messages(name.as_str(), request) {
            netlink.change(message(family, WireguardCmd::SetDevice, attributes), 0)?;
        }
        Ok(())
    };
    send().map_err(|error| match request.listen_port {
        Some(port) if error.is(Errno::EADDRINUSE) => port_in_use(port),
        _ => Failure::new(format!("the kernel refuses the configuration of {name}: {error}")),
    })
}

/// The number the kernel has given a family.
fn family(netlink: &mut Netlink, name: &str) -> Result<u16, NetlinkError> {
    let nlas = vec![GenlCtrlAttrs::FamilyName(name.to_owned())];
    let mut question = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas });
    question.finalize();
    let answer = netlink.get(question)?.map(|answer| answer.into_parts().1.nlas).unwrap_or_default();
    let number = answer.into_iter().find_map(|nla| match nla {
        GenlCtrlAttrs::FamilyId(number) => Some(number),
        _ => None,
    });
    number.ok_or_else(|| std::io::Error::from_raw_os_error(Errno::ENOENT as i32).into())
}

fn message(family: u16, cmd: WireguardCmd, attributes: Vec<WireguardAttribute>) -> GenlMessage<Message> {
    let mut message = GenlMessage::from_payload(Message(WireguardMessage { cmd, attributes }));
    message.set_resolved_family_id(family);
    message.finalize();
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_numbers() {
        let mut netlink = Netlink::generic().unwrap();
        // The controller itself is the only one whose number is fixed (GENL_ID_CTRL).
        assert_eq!(family(&mut netlink, "nlctrl").unwrap(), 16);
        assert!(family(&mut netlink, "no-such-family").unwrap_err().is(Errno::ENOENT));
    }
}
