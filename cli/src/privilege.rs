//! Being allowed to configure the network.

use crate::failure::Failure;
use std::fs;

/// The bit of `CAP_NET_ADMIN` (<linux/capability.h>).
const NET_ADMIN: u32 = 12;

/// Fails unless this process may configure the network of its namespace.
///
/// # Errors
/// Says how to become allowed.
pub(crate) fn require(command: &str) -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Without /proc there is nothing to look at; the kernel will say no by itself.
    if effective(&status).is_none_or(|capabilities| capabilities >> NET_ADMIN & 1 == 1) {
        return Ok(());
    }
    Err(Failure::new("no permission to configure the network (CAP_NET_ADMIN is missing); nothing was changed")
        .help(format!("run it as root: sudo kerntun {command}")))
}

fn effective(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_proc_status() {
        assert_eq!(effective("Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t0000000000001000\n"), Some(0x1000));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
