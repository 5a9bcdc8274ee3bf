//! Installing a filter of system calls.
//!
//! Source: seccomp(2), Linux `Documentation/userspace-api/seccomp_filter.rst`.

use std::io;

/// Puts every thread of this process under a filter program, for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// Installed with `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: kernels before 5.16 otherwise take a filter as a wish for mitigations of
/// speculative execution that cost a process which runs no foreign code a good part of its speed.
///
/// # Errors
/// Those of seccomp(2): `EINVAL` for a program that is none or on a kernel without filters, `EACCES` without the right; and
/// `ESRCH` when one thread could not be put under it.
pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    const TSYNC: libc::c_ulong = 1;
    const SPEC_ALLOW: libc::c_ulong = 4;
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel reads the program and keeps a copy.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, TSYNC | SPEC_ALLOW);
    // SAFETY: the pointer is to a live descriptor of a live array, which is only read.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        0 => Ok(()),
        // Some thread has a filter of its own already.
        1.. => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_looks_at_the_program() {
        let wrong = libc::sock_filter { code: 0xffff, jt: 0, jf: 0, k: 0 };
        for program in [vec![], vec![wrong]] {
            let error = install_filter(&program).unwrap_err();
            // Without privilege and without `no_new_privs` it does not even look.
            assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)), "{error}");
        }
    }
}
