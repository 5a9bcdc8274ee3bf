//! System calls, by seccomp.
//!
//! Two programs, of whose verdicts the kernel takes the harsher one:
//!
//! - **The list of those that are made.** Everything else does not exist: `ENOSYS`, as on a kernel that is older than the
//!   call. Whatever a library tries next, or a later C library tries first, then falls back or fails like any call; to
//!   kill for it would make every update of a library a risk.
//! - **The list of those that nobody makes but an attacker**: starting programs, making processes, looking into
//!   others, changing namespaces, mounting, loading code into the kernel, and `io_uring`, which no filter sees into. They
//!   kill the process.
//!
//! The calls that carry packets are allowed whatever their arguments, so the kernel knows its answer beforehand (a bit per
//! call, since Linux 5.11) and runs no program for them.

use super::Role;
use kerntun_linux::interface::SIOCGIFINDEX;
use kerntun_linux::seccomp::install_filter;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Made by both processes, with any arguments: memory, threads, time, descriptors that are open.
const COMMON: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_timerfd_settime,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    // A handler of signals returns; so does one of the stack guard's.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Made by the server, with any arguments.
const SERVER: &[i64] = &[
    // Packets: these four and `read` carry all of them.
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_writev,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_ctl,
    // A change of port. Of the sockets of other kinds that it holds none can be made to listen; where there is no Landlock
    // a Unix one can be given a name, which makes a file that nobody can open.
    libc::SYS_bind,
    libc::SYS_getsockname,
    // Configuration connections.
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // The file of the greatest timestamp, which is open.
    libc::SYS_pwrite64,
    libc::SYS_fdatasync,
    // A new thread for each configuration connection.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
];

/// Made by the keeper, with any arguments. Landlock says in which directory.
const KEEPER: &[i64] = &[
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Made by nobody but an attacker.
const HOSTILE: &[i64] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Processes (`clone` has rules of its own).
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    // The memory and the descriptors of others.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Namespaces and file systems.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // Code in the kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    // System calls that no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Ways that exploits of the kernel are paved with.
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_personality,
];

/// The options of sockets that the server sets, by level. With `CAP_NET_ADMIN` others are doors: to addresses of an
/// interface (`IPV6_JOIN_ANYCAST`), to packets from foreign addresses (`IP_TRANSPARENT`), to programs in the kernel
/// (`SO_ATTACH_FILTER`) and to the firewall's tables (all of IP from 64 on).
const SET: &[(i32, &[i32])] = &[
    (
        libc::SOL_SOCKET,
        &[
            libc::SO_MARK,
            libc::SO_REUSEPORT,
            libc::SO_RCVBUF,
            libc::SO_RCVBUFFORCE,
            libc::SO_SNDBUF,
            libc::SO_SNDBUFFORCE,
            // Of configuration connections.
            libc::SO_RCVTIMEO,
            libc::SO_SNDTIMEO,
        ],
    ),
    (libc::IPPROTO_IP, &[libc::IP_PKTINFO, libc::IP_RECVTOS, libc::IP_MTU_DISCOVER]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_V6ONLY, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVTCLASS, libc::IPV6_MTU_DISCOVER]),
    (libc::SOL_UDP, &[libc::UDP_GRO]),
];

/// Those it asks for: who configures, and whether segments can be sent.
const ASKED: &[(i32, &[i32])] = &[(libc::SOL_SOCKET, &[libc::SO_PEERCRED]), (libc::SOL_UDP, &[libc::UDP_SEGMENT])];

/// Puts all threads under both programs.
pub(super) fn enter(role: &Role<'_>) -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| "not for this processor".to_owned())?;
    let programs = programs(role, arch).map_err(|error| format!("its rules cannot be compiled: {error}"))?;
    for program in programs {
        // The second one has to be installed under the first one, which therefore lets seccomp(2) through.
        install_filter(&program).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::ENOSYS) => "the kernel has none".to_owned(),
            _ => error.to_string(),
        })?;
    }
    Ok(())
}

/// Both, in the order of their installation.
fn programs(role: &Role<'_>, arch: TargetArch) -> Result<[Vec<libc::sock_filter>; 2], BackendError> {
    let allow = SeccompAction::Allow;
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let made: BpfProgram = SeccompFilter::new(made(role)?, absent, allow.clone(), arch)?.try_into()?;
    let hostile: BpfProgram = SeccompFilter::new(hostile()?, allow, SeccompAction::KillProcess, arch)?.try_into()?;
    let instruction = |i: &seccompiler::sock_filter| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    Ok([hostile, made].map(|program| program.iter().map(instruction).collect()))
}

/// What is made, and with which arguments.
fn made(role: &Role<'_>) -> Result<Rules, BackendError> {
    let own = if matches!(role, Role::Server) { SERVER } else { KEEPER };
    let mut rules: Rules = COMMON.iter().chain(own).map(|call| (*call, Vec::new())).collect();
    // No code that was not there from the beginning.
    let no_code = || rule([(2, MaskedEq(number(libc::PROT_EXEC)), 0)]);
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    // Aborting after a failed assertion.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule([(0, Eq, own)])?]);
    // Names of threads.
    rules.insert(libc::SYS_prctl, vec![rule([(0, Eq, number(libc::PR_SET_NAME))])?]);
    let flags = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC];
    rules.insert(libc::SYS_fcntl, each(1, flags)?);
    if let Role::Keeper { server, .. } = role {
        rules.insert(libc::SYS_kill, vec![rule([(0, Eq, u64::from(*server))])?]);
        return Ok(rules);
    }
    // The server's threads. Of another way to make them (`clone3`) a filter sees no flags; the C library then takes this one.
    rules.insert(libc::SYS_clone, vec![rule([(0, MaskedEq(CLONE_PROCESS | CLONE_THREAD), CLONE_THREAD)])?]);
    // UDP and nothing else: not raw, not packet, not netlink, with which its capability could rebuild the network.
    let flags = number(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let udp = |family| {
        let kind = MaskedEq(u64::from(u32::MAX) & !flags);
        rule([(0, Eq, number(family)), (1, kind, number(libc::SOCK_DGRAM)), (2, Eq, number(libc::IPPROTO_UDP))])
    };
    rules.insert(libc::SYS_socket, vec![udp(libc::AF_INET)?, udp(libc::AF_INET6)?]);
    rules.insert(libc::SYS_setsockopt, options(SET)?);
    rules.insert(libc::SYS_getsockopt, options(ASKED)?);
    // Scopes of addresses. Others would change interfaces and routes.
    rules.insert(libc::SYS_ioctl, vec![rule([(1, Eq, u64::from(SIOCGIFINDEX))])?]);
    Ok(rules)
}

/// What only an attacker does.
fn hostile() -> Result<Rules, BackendError> {
    let mut rules: Rules = HOSTILE.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule([(0, MaskedEq(CLONE_THREAD), 0)])?]);
    Ok(rules)
}

/// A thread of this process.
const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
/// Namespaces of its own.
const CLONE_PROCESS: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// A rule on some of the arguments, each with its place, the comparison, and what to compare with.
fn rule<const N: usize>(conditions: [(u8, SeccompCmpOp, u64); N]) -> Result<SeccompRule, BackendError> {
    // All arguments here are 32 bits wide, and the kernel ignores what stands above.
    let condition = |(place, op, value)| SeccompCondition::new(place, Dword, op, value);
    SeccompRule::new(conditions.into_iter().map(condition).collect::<Result<_, _>>()?)
}

/// A rule for each option of a list.
fn options(list: &[(i32, &[i32])]) -> Result<Vec<SeccompRule>, BackendError> {
    let each = list.iter().flat_map(|(level, names)| names.iter().map(|name| (*level, *name)));
    each.map(|(level, name)| rule([(1, Eq, number(level)), (2, Eq, number(name))])).collect()
}

/// A rule for each value of one argument.
fn each<const N: usize>(place: u8, values: [i32; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| rule([(place, Eq, number(value))])).collect()
}

/// Constants of the C library are signed and none of these is negative.
fn number(constant: i32) -> u64 {
    u64::from(constant.unsigned_abs())
}

#[cfg(test)]
mod tests;
