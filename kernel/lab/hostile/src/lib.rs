//! What the hostile programs share. They run in guests of the kernel laboratory, never on a machine that somebody needs.

pub mod namespace;
pub mod netlink;
pub mod packet;
