//! What goes through the tunnels.

pub mod bulk;
pub mod echo;
pub mod flow;
