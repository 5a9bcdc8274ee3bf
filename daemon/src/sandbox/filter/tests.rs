//! The programs in a small interpreter: so they can be tested for a processor that is only emulated, as emulators of programs
//! do not run filters. What the kernel makes of them is in the tests of the sandbox.

use super::*;
use Verdict::{Absent, Allowed, Killed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Absent,
    Killed,
}

const SERVER: Role<'static> = Role::Server;
const KEEPER: Role<'static> = Role::Keeper { directory: None, server: 4711 };

/// The numbers of architectures (`<linux/audit.h>`: that of ELF, a bit for 64 bits, a bit for little endian), the ones
/// that the filter is for first.
const ARCHITECTURES: [(&str, u32); 5] = [
    ("x86_64", 62 | 0xc000_0000),
    ("aarch64", 183 | 0xc000_0000),
    ("riscv64", 243 | 0xc000_0000),
    ("32 bits of x86", 3 | 0x4000_0000),
    ("32 bits of ARM", 40 | 0x4000_0000),
];

fn own() -> (TargetArch, u32) {
    let name = std::env::consts::ARCH;
    let number = ARCHITECTURES.iter().find(|(other, _)| *other == name).unwrap().1;
    (TargetArch::try_from(name).unwrap(), number)
}

/// What one program says to a call: `<linux/filter.h>` as far as it is used, over `struct seccomp_data`.
fn run(program: &[libc::sock_filter], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, architecture, 0, 0];
    data.extend(arguments.iter().flat_map(|argument| [*argument as u32, (argument >> 32) as u32]));
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let libc::sock_filter { code, jt, jf, k } = program[at];
        let jump = |met: bool| usize::from(if met { jt } else { jf });
        at += 1;
        match u32::from(code) {
            // A word of the call.
            0x20 => accumulator = data[k as usize / 4],
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// The harsher verdict of both programs, as the kernel takes it: the smaller number, with a sign.
fn verdict(programs: &[Vec<libc::sock_filter>; 2], number: u32, arguments: [u64; 6]) -> Verdict {
    let architecture = own().1;
    let verdicts = programs.each_ref().map(|program| run(program, number, architecture, arguments).cast_signed());
    match verdicts.into_iter().min().unwrap().cast_unsigned() {
        libc::SECCOMP_RET_ALLOW => Allowed,
        libc::SECCOMP_RET_KILL_PROCESS => Killed,
        errno if errno == libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs() => Absent,
        other => panic!("verdict {other:#x}"),
    }
}

/// A call: its name, its numbers there, its arguments, and what server and keeper are told.
type Call = (&'static str, u32, u32, [u64; 3], Verdict, Verdict);

/// Numbers from the kernel's own tables, on x86-64 and on all newer architectures (`asm-generic/unistd.h`), not from the C
/// library, whose names the filter is made of.
#[test]
fn calls_have_the_numbers_of_this_architecture() {
    const INET: u64 = 2;
    const NETLINK: u64 = 16;
    const DATAGRAM: u64 = 2;
    const UDP: u64 = 17;
    const THREAD: u64 = 0x0001_0000;
    #[rustfmt::skip]
    let table: &[Call] = &[
        ("read", 0, 63, [0; 3], Allowed, Allowed),
        ("write", 1, 64, [0; 3], Allowed, Allowed),
        ("close", 3, 57, [0; 3], Allowed, Allowed),
        ("ppoll", 271, 73, [0; 3], Allowed, Allowed),
        ("futex", 202, 98, [0; 3], Allowed, Allowed),
        ("rt_sigreturn", 15, 139, [0; 3], Allowed, Allowed),
        ("exit_group", 231, 94, [0; 3], Allowed, Allowed),
        ("recvmmsg", 299, 243, [0; 3], Allowed, Absent),
        ("sendmmsg", 307, 269, [0; 3], Allowed, Absent),
        ("writev", 20, 66, [0; 3], Allowed, Absent),
        ("epoll_pwait", 281, 22, [0; 3], Allowed, Absent),
        ("accept4", 288, 242, [0; 3], Allowed, Absent),
        ("pwrite64", 18, 68, [0; 3], Allowed, Absent),
        ("unlinkat", 263, 35, [0; 3], Absent, Allowed),
        ("mmap", 9, 222, [0, 0, 3], Allowed, Allowed),
        ("mmap of code", 9, 222, [0, 0, 7], Absent, Absent),
        ("mprotect to code", 10, 226, [0, 0, 5], Absent, Absent),
        ("UDP", 41, 198, [INET, DATAGRAM | 0x8_0000, UDP], Allowed, Absent),
        ("TCP", 41, 198, [INET, 1, 6], Absent, Absent),
        ("netlink", 41, 198, [NETLINK, DATAGRAM, 0], Absent, Absent),
        ("SO_MARK", 54, 208, [0, 1, 36], Allowed, Absent),
        ("SO_ATTACH_FILTER", 54, 208, [0, 1, 26], Absent, Absent),
        ("SIOCGIFINDEX", 16, 29, [0, 0x8933, 0], Allowed, Absent),
        ("SIOCSIFADDR", 16, 29, [0, 0x8916, 0], Absent, Absent),
        ("a thread", 56, 220, [THREAD, 0, 0], Allowed, Absent),
        ("a process", 56, 220, [17, 0, 0], Killed, Killed),
        ("clone3", 435, 435, [0; 3], Absent, Absent),
        ("kill the server", 62, 129, [4711, 9, 0], Absent, Allowed),
        ("kill another", 62, 129, [1, 9, 0], Absent, Absent),
        ("openat", 257, 56, [0; 3], Absent, Absent),
        ("openat2", 437, 437, [0; 3], Absent, Absent),
        ("connect", 42, 203, [0; 3], Absent, Absent),
        ("listen", 50, 201, [0; 3], Absent, Absent),
        ("memfd_create", 319, 279, [0; 3], Absent, Absent),
        ("execve", 59, 221, [0; 3], Killed, Killed),
        ("execveat", 322, 281, [0; 3], Killed, Killed),
        ("ptrace", 101, 117, [0; 3], Killed, Killed),
        ("unshare", 272, 97, [0; 3], Killed, Killed),
        ("setns", 308, 268, [0; 3], Killed, Killed),
        ("mount", 165, 40, [0; 3], Killed, Killed),
        ("init_module", 175, 105, [0; 3], Killed, Killed),
        ("bpf", 321, 280, [0; 3], Killed, Killed),
        ("io_uring_setup", 425, 425, [0; 3], Killed, Killed),
    ];
    let both = [SERVER, KEEPER].map(|role| programs(&role, own().0).unwrap());
    for (name, x86, newer, [a, b, c], server, keeper) in table {
        let number = if cfg!(target_arch = "x86_64") { *x86 } else { *newer };
        let said = both.each_ref().map(|programs| verdict(programs, number, [*a, *b, *c, 0, 0, 0]));
        assert_eq!(said, [*server, *keeper], "{name}");
    }
}

#[test]
fn every_other_architecture_is_the_end() {
    let (arch, own) = own();
    for (name, other) in ARCHITECTURES.into_iter().filter(|(_, number)| *number != own) {
        for program in [SERVER, KEEPER].iter().flat_map(|role| programs(role, arch).unwrap()) {
            // Each program for itself: the first one stands alone for a moment.
            let killed = |number| run(&program, number, other, [0; 6]) == libc::SECCOMP_RET_KILL_PROCESS;
            assert!((0..600).all(killed), "{name}");
        }
    }
}

/// The other calling convention of x86-64 (x32) is no architecture of its own but a bit in the number.
#[test]
fn numbers_beyond_all_tables_do_not_exist() {
    let both = [SERVER, KEEPER].map(|role| programs(&role, own().0).unwrap());
    for number in (0..600).map(|number| number | 0x4000_0000).chain(600..1200).chain([u32::MAX]) {
        assert!(both.iter().all(|programs| verdict(programs, number, [0; 6]) == Absent), "{number}");
    }
}
