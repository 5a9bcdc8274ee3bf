//! Switches of the kernel under /proc/sys.

use std::fs;
use std::io;
use std::path::Path;

/// Lets the reverse path filter look at marks, so that answers to the tunnel's own packets pass a strict one.
pub(crate) const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";

/// What a switch says.
///
/// # Errors
/// Those of reading a file.
pub(crate) fn get(switch: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(switch))?.trim().to_owned())
}

/// What there is under a name, such as interfaces; nothing if it cannot be read.
pub(crate) fn list(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(path(directory)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Turns a switch.
///
/// # Errors
/// Those of writing a file.
pub(crate) fn set(switch: &str, value: &str) -> io::Result<()> {
    fs::write(path(switch), value)
}

/// Makes a TUN interface behave as the kernel's WireGuard sets its own: no link-local address by itself, and no
/// redirects to hosts that are not neighbours (`wg_open` in drivers/net/wireguard/device.c). A kernel without the
/// switch does not do either.
pub(crate) fn quieten(interface: &str) {
    // 1 is IN6_ADDR_GEN_MODE_NONE.
    let _ = set(&format!("net/ipv6/conf/{interface}/addr_gen_mode"), "1");
    let _ = set(&format!("net/ipv4/conf/{interface}/send_redirects"), "0");
}

fn path(switch: &str) -> std::path::PathBuf {
    Path::new("/proc/sys").join(switch)
}
