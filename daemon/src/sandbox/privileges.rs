//! User and capabilities.

use super::Role;
use super::account::Account;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs,
};

/// More capabilities than a set has room for there are not.
const CAPABILITIES: u32 = 64;

/// Gives up what a program started from here could get. That none can be started holds anyway, so a refusal is no matter.
pub(super) fn drop_bounding_set() {
    for number in 0..CAPABILITIES {
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    }
    let _ = clear_ambient_capability_set();
}

/// Becomes a user without rights, with the capabilities there are. One who is none of root's needs no change.
pub(super) fn change_user() -> Result<(), String> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let Account { user, group } = Account::find();
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
    let fail = |error: &dyn std::fmt::Display| format!("cannot become user {user} of group {group}: {error}");
    // Of this thread only: another one that there may be loses them with the user.
    set_keep_capabilities(true).map_err(|error| fail(&error))?;
    let change = || {
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)
    };
    change().map_err(|error: nix::errno::Errno| fail(&error.desc()))
}

/// Keeps what `role` needs of what there is.
pub(super) fn keep_capabilities(role: &Role<'_>) -> Result<(), String> {
    let wanted = match role {
        Role::Server => CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE,
        Role::Keeper { .. } => CapabilitySet::KILL,
    };
    let fail = |error| format!("{error}");
    let permitted = capabilities(None).map_err(fail)?.permitted;
    let keep = wanted & permitted;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(fail)
}

/// Nothing that is started from here gets more rights than this has.
pub(super) fn no_new() -> Result<(), String> {
    set_no_new_privs(true).map_err(|error| format!("PR_SET_NO_NEW_PRIVS: {error}"))
}
