//! What keeps a user from making namespaces and tunnels, in sentences.

use crate::trouble::Trouble;
use nix::errno::Errno;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;

/// Kernel settings that decide about user namespaces; those that this kernel does not have are `None`.
#[derive(Debug, Default)]
struct Settings {
    /// Debian's switch.
    unprivileged_userns_clone: Option<u64>,
    /// Everybody's limit.
    max_user_namespaces: Option<u64>,
    max_net_namespaces: Option<u64>,
    /// Ubuntu's switch: namespaces may be made, but grant nothing.
    apparmor_restrict_unprivileged_userns: Option<u64>,
}

/// Why the kernel refused to `doing`, and what would help.
///
/// Which setting forbids it, where that can be told.
#[must_use]
pub fn explain(doing: &str, error: Errno) -> Trouble {
    let read = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok();
    let settings = Settings {
        unprivileged_userns_clone: read("kernel/unprivileged_userns_clone"),
        max_user_namespaces: read("user/max_user_namespaces"),
        max_net_namespaces: read("user/max_net_namespaces"),
        apparmor_restrict_unprivileged_userns: read("kernel/apparmor_restrict_unprivileged_userns"),
    };
    judge(doing, error, &settings)
}

fn judge(doing: &str, error: Errno, settings: &Settings) -> Trouble {
    let failure = Trouble::new(format!("this user may not {doing}: {}", error.desc()));
    let refused = matches!(error, Errno::EPERM | Errno::EACCES);
    let mut help = Vec::new();
    if refused && settings.unprivileged_userns_clone == Some(0) {
        help.push(
            "this system forbids it to users: 'sysctl -w kernel.unprivileged_userns_clone=1' allows it".to_owned(),
        );
    }
    if refused && settings.apparmor_restrict_unprivileged_userns.is_some_and(|value| value != 0) {
        help.push(
            "AppArmor forbids it to users: 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' allows it"
                .to_owned(),
        );
    }
    if error == Errno::ENOSPC || refused {
        let limits = [("user", settings.max_user_namespaces), ("net", settings.max_net_namespaces)];
        for (kind, _) in limits.into_iter().filter(|(_, limit)| *limit == Some(0)) {
            help.push(format!("the limit is 0: 'sysctl -w user.max_{kind}_namespaces=1000' raises it"));
        }
    }
    if error == Errno::ENOSPC && help.is_empty() {
        help.push("too many namespaces exist, or lie within each other: see user.max_*_namespaces".to_owned());
    }
    if matches!(error, Errno::EINVAL | Errno::ENOSYS) {
        help.push(
            "this kernel was built without such namespaces (CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS)".to_owned(),
        );
    }
    if refused && help.is_empty() {
        help.push("inside a container, the container's seccomp or capability settings forbid it".to_owned());
    }
    help.push("or run it as root, with sudo".to_owned());
    help.into_iter().fold(failure, Trouble::help)
}

/// Finds out whether tunnels can be made at all, before anything is.
///
/// # Errors
/// When `/dev/net/tun` cannot be opened, with what to do about it.
pub fn check_tun() -> Result<(), Trouble> {
    let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") else { return Ok(()) };
    let failure = Trouble::new(format!("/dev/net/tun cannot be opened: {error}"));
    Err(match error.kind() {
        ErrorKind::NotFound => failure
            .help("load the module: sudo modprobe tun")
            .help("inside a container, give it the device: --device /dev/net/tun"),
        ErrorKind::PermissionDenied => failure.help("let users open it, as is usual: sudo chmod 666 /dev/net/tun"),
        _ if error.raw_os_error() == Some(Errno::ENODEV as i32) => {
            failure.help("the kernel has no TUN driver (CONFIG_TUN), or: sudo modprobe tun")
        }
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_has_its_remedy() {
        let none = Settings::default;
        let cases = [
            (
                Errno::EPERM,
                Settings { unprivileged_userns_clone: Some(0), ..none() },
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                Errno::EACCES,
                Settings { apparmor_restrict_unprivileged_userns: Some(1), ..none() },
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (Errno::ENOSPC, Settings { max_user_namespaces: Some(0), ..none() }, "user.max_user_namespaces=1000"),
            (Errno::ENOSPC, Settings { max_net_namespaces: Some(0), ..none() }, "user.max_net_namespaces=1000"),
            (Errno::ENOSPC, Settings { max_user_namespaces: Some(9), ..none() }, "lie within each other"),
            (Errno::EINVAL, none(), "CONFIG_USER_NS"),
            (Errno::EPERM, Settings { unprivileged_userns_clone: Some(1), ..none() }, "container"),
        ];
        for (error, settings, remedy) in cases {
            let text = judge("make a user namespace", error, &settings).to_string();
            assert!(text.contains(remedy) && text.contains("as root"), "{text}");
            assert_eq!(text.matches("sysctl -w").count(), usize::from(remedy.contains('=')), "{text}");
        }
    }
}
