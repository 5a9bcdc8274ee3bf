//! Netlink by bytes: requests that are wrong in one place, and what comes back.

mod attributes;
mod socket;
pub mod wireguard;

pub use attributes::{Attributes, NESTED, number, parse};
pub use socket::{ACK, Answer, CREATE, DUMP, EXCLUSIVE, REQUEST, Socket};
