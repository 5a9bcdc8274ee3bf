//! Files, by Landlock. Descriptors that are open already stay as they are.

use super::Role;
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

/// What is asked for where the kernel has it: files and devices (Linux 5.13 to 6.10), TCP (6.7), and signals and
/// abstract sockets (6.12).
const ASKED: ABI = ABI::V6;

pub(super) fn enter(role: &Role<'_>) -> Result<(), String> {
    match restrict(role) {
        // Partly: an older kernel, which does what it can.
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => Err("the kernel has none, or it is switched off".to_owned()),
        Err(error) => Err(error),
    }
}

pub(super) fn restrict(role: &Role<'_>) -> Result<RulesetStatus, String> {
    let said = |error: RulesetError| error.to_string();
    let rules = Ruleset::default().handle_access(AccessFs::from_all(ASKED)).map_err(said)?;
    let rules = rules.handle_access(AccessNet::from_all(ASKED)).map_err(said)?;
    let rules = match role {
        Role::Server => rules.scope(Scope::from_all(ASKED)).map_err(said)?,
        // It has to be able to end the server.
        Role::Keeper { .. } => rules.scope(Scope::AbstractUnixSocket).map_err(said)?,
    };
    let mut rules = rules.create().map_err(said)?;
    if let Role::Keeper { directory: Some(directory), .. } = role {
        let directory = PathFd::new(directory).map_err(|error| error.to_string())?;
        rules = rules.add_rule(PathBeneath::new(directory, AccessFs::RemoveFile)).map_err(said)?;
    }
    rules.restrict_self().map(|status| status.ruleset).map_err(said)
}
