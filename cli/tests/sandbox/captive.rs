//! A process in an attacker's hands: made to make any system call, from outside, by the debugger's interface of the
//! kernel. So the program under test is the one that is shipped, without a back door for tests.

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// What came of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its result, negative for an error number.
    Returned(i64),
    /// The process was killed.
    Killed(Signal),
}

/// A stopped process. It goes on as if nothing had been when dropped.
pub(crate) struct Captive {
    pid: Pid,
    before: libc::user_regs_struct,
    dead: bool,
}

impl Captive {
    /// Takes over the main thread of a process that sleeps in a system call.
    pub(crate) fn take(pid: u32) -> nix::Result<Self> {
        let pid = Pid::from_raw(pid.try_into().unwrap());
        ptrace::attach(pid)?;
        assert!(matches!(waitpid(pid, None)?, WaitStatus::Stopped(..)));
        let before = ptrace::getregs(pid)?;
        assert!(before.orig_rax as i64 >= 0, "it was not in a system call");
        Ok(Self { pid, before, dead: false })
    }

    /// Makes it make a system call of 32-bit programs, all of whose numbers mean something else. Its code is not put right
    /// again, so that it cannot go on.
    pub(crate) fn call_as_32_bit(&mut self, number: i64) -> Outcome {
        const INT_80: i64 = 0x80cd;
        let place = (self.before.rip - 2) as ptrace::AddressType;
        let code = ptrace::read(self.pid, place).unwrap();
        ptrace::write(self.pid, place, code & !0xffff | INT_80).unwrap();
        self.call(number, [0; 6])
    }

    /// Makes it make a system call.
    pub(crate) fn call(&mut self, number: i64, arguments: [u64; 6]) -> Outcome {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        // It stands behind the two bytes of a `syscall` instruction, and is not to repeat the call it was in.
        let rip = self.before.rip - 2;
        let (rax, orig_rax) = (number as u64, u64::MAX);
        ptrace::setregs(
            self.pid,
            libc::user_regs_struct { rip, rax, orig_rax, rdi, rsi, rdx, r10, r8, r9, ..self.before },
        )
        .unwrap();
        ptrace::step(self.pid, None).unwrap();
        match waitpid(self.pid, None).unwrap() {
            WaitStatus::Stopped(..) => Outcome::Returned(ptrace::getregs(self.pid).unwrap().rax as i64),
            WaitStatus::Signaled(_, signal, _) => {
                self.dead = true;
                Outcome::Killed(signal)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Puts bytes onto its stack, below everything it uses; where they are. The next call overwrites them.
    pub(crate) fn put(&self, bytes: &[u8]) -> u64 {
        let place = (self.before.rsp - 4096) & !15;
        for (number, word) in bytes.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            let address = (place + 8 * number as u64) as ptrace::AddressType;
            ptrace::write(self.pid, address, i64::from_ne_bytes(padded)).unwrap();
        }
        place
    }
}

impl Drop for Captive {
    fn drop(&mut self) {
        if !self.dead {
            let _ = ptrace::setregs(self.pid, self.before);
            let _ = ptrace::detach(self.pid, None);
        }
    }
}
