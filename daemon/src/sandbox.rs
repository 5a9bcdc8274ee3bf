//! What the daemon's processes give up for good before they do their work: the server before it sees its first packet, the
//! keeper once it has started the server.
//!
//! | layer | the server | the keeper |
//! |---|---|---|
//! | `no-dumps` | no core dumps, nothing of its memory in any, no looking into it by others of its user | the same |
//! | `locked-memory` | never in swap | – (it holds no secrets) |
//! | `user` | `kerntun` if there is such a user, else `nobody`; no groups | stays, to remove the socket's file |
//! | `capabilities` | `CAP_NET_ADMIN` (firewall marks, large socket buffers), `CAP_NET_BIND_SERVICE` (ports below 1024) | `CAP_KILL` (ending the server) |
//! | `no-new-privileges` | for good | for good |
//! | `landlock` | no file, no TCP, no abstract sockets, no signals to others | the socket's file may be removed, no more |
//! | `seccomp` | the system calls in [`filter`] | another list there |
//!
//! A layer that cannot be had (an old kernel, a container, a user namespace, no root) is named, with the reason; the others
//! are still put in place.

mod account;
mod filter;
mod landlock;
mod memory;
mod privileges;

use crate::error::Error;
use crate::options::Options;
use std::path::Path;

pub(crate) use memory::keep_private;

/// Whose rights are needed.
pub(crate) enum Role<'a> {
    /// It talks to the network.
    Server,
    /// It looks after the other one.
    Keeper {
        /// Where it has to remove a file in the end.
        directory: Option<&'a Path>,
        /// The process that it has to be able to end.
        server: u32,
    },
}

/// What is in place and what is not.
#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    layers: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

/// Gives up all that `role` does not need. Call it while there is one thread: capabilities and Landlock reach
/// no others.
pub(crate) fn enter(role: &Role<'_>) -> Sandbox {
    let mut sandbox = Sandbox::default();
    sandbox.add("no-dumps", memory::keep_out_of_dumps());
    // While the capability to do so is there; a change of user takes it.
    privileges::drop_bounding_set();
    if matches!(role, Role::Server) {
        // While raising limits is still allowed.
        sandbox.add("locked-memory", memory::lock());
        sandbox.add("user", privileges::change_user());
    }
    sandbox.add("capabilities", privileges::keep_capabilities(role));
    sandbox.add("no-new-privileges", privileges::no_new());
    // A change of user has switched it on again.
    sandbox.add("no-dumps", memory::keep_closed());
    sandbox.add("landlock", landlock::enter(role));
    // Last: it would not let the others through.
    sandbox.add("seccomp", filter::enter(role));
    sandbox
}

impl Sandbox {
    fn add(&mut self, layer: &'static str, result: Result<(), String>) {
        match result {
            Ok(()) if self.layers.contains(&layer) => {}
            Ok(()) => self.layers.push(layer),
            Err(reason) => {
                self.layers.retain(|other| *other != layer);
                self.missing.push((layer, reason));
            }
        }
    }

    /// The names of those in place.
    pub(crate) fn layers(&self) -> String {
        self.layers.join(" ")
    }

    /// The names of those that are not, and why.
    pub(crate) fn missing(&self) -> &[(&'static str, String)] {
        &self.missing
    }

    /// One line for the log.
    pub(crate) fn log(&self) {
        if self.missing.is_empty() {
            tracing::info!("sandbox: {}", self.layers());
        } else {
            tracing::warn!("sandbox: {}; without {}", self.layers(), self.reasons());
        }
    }

    /// The keeper's line, which is worth one only if something is missing.
    pub(crate) fn log_for_keeper(&self) {
        if !self.missing.is_empty() {
            tracing::warn!("the keeping process is not locked up as it should be: without {}", self.reasons());
        }
    }

    /// # Errors
    /// When something is missing that `options` require.
    pub(crate) fn satisfy(&self, options: &Options) -> Result<(), Error> {
        if options.require_sandbox && !self.missing.is_empty() {
            return Err(Error::Sandbox { missing: format!("without {}", self.reasons()) });
        }
        Ok(())
    }

    fn reasons(&self) -> String {
        let reasons: Vec<_> = self.missing.iter().map(|(layer, reason)| format!("{layer} ({reason})")).collect();
        reasons.join(", ")
    }
}

#[cfg(test)]
mod tests;
