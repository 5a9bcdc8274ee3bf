//! Making the interface: by the kernel's own WireGuard if it has one, else by our daemon in the background.

use crate::clock;
use crate::device::Device;
use crate::failure::Failure;
use crate::kernel;
use crate::netlink::Netlink;
use crate::netlink::link::Link;
use crate::record;
use crate::say::say;
use kerntun_config::InterfaceName;
use nix::errno::Errno;
use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// The variable with which wg-quick(8) is told of another daemon. Set, it decides here too.
const OTHER_DAEMON: &str = "WG_QUICK_USERSPACE_IMPLEMENTATION";

/// How long a daemon may take to end and to clean up after its interface is gone.
const END: Duration = Duration::from_secs(5);

/// How long between looks whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the interface and says in one line who serves it.
///
/// # Errors
/// When neither the kernel nor the daemon can. Nothing is there then.
pub(crate) fn create(netlink: &mut Netlink, name: &InterfaceName) -> Result<Device, Failure> {
    match Link::create_wireguard(netlink, name.as_str()) {
        Ok(()) => {
            let whose = if kernel::is_ours() { "kerntun's kernel module" } else { "the kernel's own WireGuard" };
            say!("[+] {name} is served by {whose}");
            clock::watch();
            return Ok(Device::Kernel(name.clone()));
        }
        // The kernel knows no such kind of link; every other error is one.
        Err(error) if error.is(Errno::EOPNOTSUPP) => {}
        Err(error) if error.is(Errno::EEXIST) => return Err(exists(name)),
        Err(error) => return Err(Failure::new(format!("the kernel does not make the interface {name}: {error}"))),
    }
    let (program, arguments) = daemon(name)?;
    let shown = program.display();
    let status = Command::new(&program)
        .args(arguments)
        // Ctrl-C is for us. What is to be undone is undone in our order.
        .process_group(0)
        .status()
        .map_err(|error| Failure::new(format!("the daemon '{shown}' cannot be started: {error}")))?;
    if !status.success() {
        return Err(Failure::new(format!("the daemon '{shown} {name}' did not start; its reason stands above")));
    }
    say!("[+] {name} is served by the daemon '{shown} {name}', as this kernel has no WireGuard");
    Ok(Device::Daemon(name.clone()))
}

/// Removes the interface, and waits until a daemon that served it has cleaned up, so that the name is free again.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn destroy(netlink: &mut Netlink, name: &InterfaceName) -> Result<(), Failure> {
    let find = |netlink: &mut Netlink| Link::find(netlink, name.as_str());
    let fail = |error| Failure::new(format!("the interface {name} cannot be removed: {error}"));
    let mut nobody_to_wait_for = is_served_for_another(name);
    if let Some(link) = find(netlink).map_err(fail)? {
        link.delete(netlink).map_err(fail)?;
        nobody_to_wait_for |= link.kind.as_deref() == Some("wireguard");
    }
    if !(if nobody_to_wait_for { is_served(name) } else { is_served_for_long(name) }) {
        // What a daemon that was killed leaves behind. Of one that is alive it is the business, and what it ends by.
        let _ = fs::remove_file(socket_of(name));
    }
    Ok(())
}

/// A sentence on an interface that is there already.
pub(crate) fn exists(name: &InterfaceName) -> Failure {
    Failure::new(format!("an interface called {name} exists already"))
        .help(format!("if it is this tunnel, take it down first: kerntun down {name}; else choose another name"))
}

/// The configuration socket, in the one place for all network namespaces.
pub(crate) fn socket_of(name: &InterfaceName) -> PathBuf {
    Path::new(kerntun_uapi::SOCKET_DIRECTORY).join(format!("{name}.sock"))
}

/// Leaves a tunnel alone that somebody serves, though there is no such interface here. A daemon whose interface has just gone may take
/// a moment to end.
///
/// # Errors
/// Says where it is, as far as that is known.
pub(crate) fn refuse_served(name: &InterfaceName) -> Result<(), Failure> {
    let namespace = server_namespace(name);
    let is_here = namespace == record::namespace_of("self");
    if (namespace == 0 || is_here) && !is_served_for_long(name) {
        return Ok(());
    }
    let (what, help) = match namespace {
        0 => (
            "is served in another network namespace, or its socket cannot be asked",
            "run this there, or choose another name",
        ),
        _ if is_here => (
            "is served by a daemon of this network namespace, but its interface was renamed, or moved to another one",
            "give it back its name, or move it back; or delete it where it is ('ip link delete')",
        ),
        _ => ("is served in another network namespace", "run this there, or choose another name"),
    };
    Err(Failure::new(format!("'{name}' {what}; nothing was changed")).help(help))
}

/// Whether whoever serves a tunnel of this name does not serve the one that came up here. All have one place for their sockets: with
/// notes here and elsewhere, the one here was dead when the other came up.
pub(crate) fn is_served_for_another(name: &InterfaceName) -> bool {
    record::exists(name) && record::is_elsewhere(name) && server_namespace(name) != record::namespace_of("self")
}

/// The network namespace of the daemon; 0 if there is none or that is not known.
fn server_namespace(name: &InterfaceName) -> u64 {
    let listener = kerntun_uapi::server::listener_of(&socket_of(name)).ok().flatten();
    listener.map_or(0, |process| record::namespace_of(&process.to_string()))
}

/// Whether somebody serves it after its interface is gone for longer than it takes to end.
fn is_served_for_long(name: &InterfaceName) -> bool {
    let mut waited = Duration::ZERO;
    while is_served(name) {
        if waited >= END {
            return true;
        }
        sleep(PAUSE);
        waited += PAUSE;
    }
    false
}

/// Whether somebody listens at its socket. One left behind by a daemon that was killed does not count.
pub(crate) fn is_served(name: &InterfaceName) -> bool {
    match kerntun_uapi::server::listener_of(&socket_of(name)) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused),
    }
}

/// This very program, unless the user wants another, and its arguments.
fn daemon(name: &InterfaceName) -> Result<(PathBuf, Vec<&str>), Failure> {
    if let Some(program) = env::var_os(OTHER_DAEMON).filter(|program| !program.is_empty()) {
        return Ok((program.into(), vec![name.as_str()]));
    }
    // The file itself rather than its name in /proc, so that lists of processes show something readable.
    env::current_exe()
        .and_then(fs::canonicalize)
        // An interface may be called like a command.
        .map(|program| (program, vec!["--", name.as_str()]))
        .map_err(|error| Failure::new(format!("this program does not find itself to start the daemon: {error}")))
}
