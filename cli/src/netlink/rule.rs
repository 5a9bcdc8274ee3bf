//! Policy rules: which table is looked in for which packet.

use super::route::MAIN;
use super::{Netlink, NetlinkError};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use std::fmt;

/// The family of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The two rules that make a default route through a tunnel possible, as wg-quick(8) words them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// `not fwmark MARK table MARK`: all that the tunnel did not send itself goes into the tunnel.
    Unmarked(u32),
    /// `table main suppress_prefixlength 0`: but first whatever the main table has, its default route excepted.
    MainWithoutDefault,
}

impl Rule {
    /// Adds the rule before all others but the local table's; the kernel chooses its number.
    pub(crate) fn add(self, netlink: &mut Netlink, family: Family) -> Result<(), NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = address_family(family);
        message.header.action = RuleAction::ToTable;
        match self {
            Self::Unmarked(mark) => {
                message.header.flags = RuleFlags::Invert;
                message.header.table = u8::try_from(mark).unwrap_or(0);
                message.attributes = vec![RuleAttribute::FwMark(mark), RuleAttribute::Table(mark)];
            }
            Self::MainWithoutDefault => {
                message.header.table = u8::try_from(MAIN).unwrap_or(0);
                message.attributes = vec![RuleAttribute::Table(MAIN), RuleAttribute::SuppressPrefixLen(0)];
            }
        }
        netlink.change(RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn is(self, message: &RuleMessage) -> bool {
        let seen = Seen::read(message);
        let expected = match self {
            Self::Unmarked(mark) => Seen { inverted: true, mark: Some(mark), table: mark, suppressed: None },
            Self::MainWithoutDefault => Seen { inverted: false, mark: None, table: MAIN, suppressed: Some(0) },
        };
        seen.is_some_and(|seen| seen == expected)
    }
}

/// Removes the two rules of a tunnel with this mark, and tells whether they were there. The exception looks the same for every
/// tunnel; the one right before the tunnel's own rule is its. Where another rule stands there, it has none, or one that went to the
/// front because another tunnel came up at the same moment: there are two in a row then, of which nobody misses one.
pub(crate) fn remove_pair(netlink: &mut Netlink, family: Family, mark: u32) -> Result<bool, NetlinkError> {
    let (mut exception, mut spare) = (None, None);
    for message in list(netlink, family)? {
        if Rule::MainWithoutDefault.is(&message) {
            spare = exception.replace(message).or(spare);
        } else if Rule::Unmarked(mark).is(&message) {
            delete(netlink, message)?;
            exception.or(spare).map_or(Ok(()), |exception| delete(netlink, exception))?;
            return Ok(true);
        } else {
            exception = None;
        }
    }
    Ok(false)
}

/// Which of the two rules of a tunnel with this mark are gone. None of them, if packets are led into the tunnel's table by a rule of
/// another kind: somebody has an order of his own then.
pub(crate) fn missing(netlink: &mut Netlink, family: Family, mark: u32) -> Result<Vec<Rule>, NetlinkError> {
    let rules = list(netlink, family)?;
    let own = rules.iter().position(|message| Rule::Unmarked(mark).is(message));
    let before = rules.get(..own.unwrap_or(rules.len())).unwrap_or_default();
    let mut missing = Vec::new();
    if own.is_none() {
        if rules.iter().any(|message| table_of(message) == mark) {
            return Ok(missing);
        }
        missing.push(Rule::Unmarked(mark));
    }
    if !before.iter().any(|message| Rule::MainWithoutDefault.is(message)) {
        missing.push(Rule::MainWithoutDefault);
    }
    Ok(missing)
}

impl fmt::Display for Rule {
    /// As `ip rule add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmarked(mark) => write!(f, "not fwmark {mark} table {mark}"),
            Self::MainWithoutDefault => f.write_str("table main suppress_prefixlength 0"),
        }
    }
}

/// What a rule that could be ours says.
#[derive(PartialEq, Eq)]
struct Seen {
    inverted: bool,
    mark: Option<u32>,
    table: u32,
    suppressed: Option<u32>,
}

impl Seen {
    /// None when the rule looks at something that ours do not.
    fn read(message: &RuleMessage) -> Option<Self> {
        let header = &message.header;
        if header.action != RuleAction::ToTable || header.src_len != 0 || header.dst_len != 0 || header.tos != 0 {
            return None;
        }
        let mut seen = Self {
            inverted: header.flags.contains(RuleFlags::Invert),
            mark: None,
            table: table_of(message),
            suppressed: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::FwMark(mark) => seen.mark = Some(*mark),
                // The kernel says "no suppression" with all ones.
                RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
                RuleAttribute::SuppressPrefixLen(length) => seen.suppressed = Some(*length),
                RuleAttribute::Iifname(_) | RuleAttribute::Oifname(_) | RuleAttribute::UidRange(_) => return None,
                _ => {}
            }
        }
        Some(seen)
    }
}

/// The table a rule leads to, if it leads to one.
fn table_of(message: &RuleMessage) -> u32 {
    let attributes = message.attributes.iter();
    let mut tables = attributes.filter_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    tables.next_back().unwrap_or_else(|| message.header.table.into())
}

/// Removes exactly this rule.
fn delete(netlink: &mut Netlink, message: RuleMessage) -> Result<(), NetlinkError> {
    match netlink.change(RouteNetlinkMessage::DelRule(message), 0) {
        // Somebody else was faster.
        Err(error) if error.is(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// All rules in the order they are asked.
fn list(netlink: &mut Netlink, family: Family) -> Result<Vec<RuleMessage>, NetlinkError> {
    let mut message = RuleMessage::default();
    message.header.family = address_family(family);
    let answers = match netlink.list(RouteNetlinkMessage::GetRule(message)) {
        // A kernel without IPv6 or without policy routing has no rules.
        Err(error) if error.is(Errno::EOPNOTSUPP) || error.is(Errno::EAFNOSUPPORT) => return Ok(Vec::new()),
        answers => answers?,
    };
    let messages = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewRule(message) => Some(message),
        _ => None,
    });
    // A kernel without rules of this family lists those of others.
    Ok(messages.filter(|message| message.header.family == address_family(family)).collect())
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}
