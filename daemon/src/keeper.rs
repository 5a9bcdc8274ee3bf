//! The keeper: a small process that has to do with the system and never with the network.
//!
//! It makes the interface and the configuration socket, starts the *server* (this program again), which gets their
//! descriptors and locks itself up, and then does what somebody locked up cannot: it watches the interface, the routes, the
//! socket's file and whether the machine slept or was copied, and tells the server; and in the end, however that comes
//! about, it removes the socket's file. The interface goes with the server's last descriptor of it.
//!
//! What it reads comes from the kernel, except for a sentence of the server's on why that ends.

use crate::again;
use crate::background::Ready;
use crate::error::{Error, system};
use crate::lifeline::{Lifeline, Notice, Word};
use crate::opening::Opened;
use crate::options::{LIFELINE_FD, Options, QUEUE_FDS, READY_FD};
use crate::sandbox::{self, Role};
use crate::signals::Signals;
use kerntun_linux::{NetlinkWatch, TimeWatch, VmWatch, keep_from_children};
use kerntun_uapi::server::{RemovalWatch, SocketFile};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to end after it was asked to, or after it hung up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps an interface until it ends.
pub(crate) fn keep(options: &Options) -> Result<(), Error> {
    let mut ready = Ready::take(options)?;
    let result = Keeper::start(options).and_then(|keeper| keeper.keep(&mut ready));
    if let Err(error) = &result {
        ready.tell(Err(error));
    }
    result
}

struct Keeper {
    server: Server,
    file: Option<SocketFile>,
    signals: Signals,
    link: NetlinkWatch,
    removal: Option<RemovalWatch>,
    vm: Option<VmWatch>,
    time: Option<TimeWatch>,
    /// What the server could not be told yet, each once.
    untold: Vec<Notice>,
    /// When the server is killed if it has not ended.
    deadline: Option<Instant>,
    /// What it was asked to end by.
    asked: Option<Signal>,
    /// Why the server ended.
    why: Option<String>,
}

/// The other process. Killed when dropped.
struct Server {
    child: Child,
    lifeline: Lifeline,
}

impl Keeper {
    /// Makes everything and starts the server.
    fn start(options: &Options) -> Result<Self, Error> {
        sandbox::keep_private()?;
        // Before there is anything to leave behind.
        let signals = Signals::listen()?;
        let opened = Opened::open(options)?;
        let link = NetlinkWatch::open(opened.tun.interface.index()).map_err(system("watch the interface"))?;
        // On a system that sleeps every other moment (a phone), sessions have to outlive that, as in the kernel's
        // implementation. Elsewhere they end on waking up, which is when we learn of it: their keys do lie in memory meanwhile,
        // but nothing is sent under them afterwards to whoever read them there.
        let time = if Path::new("/sys/power/autosleep").exists() { None } else { TimeWatch::open().ok() };
        let vm = VmWatch::open().ok();
        let (listener, file) = opened.socket.split();
        let removal = file.as_ref().map(SocketFile::removal_watch).transpose();
        let removal = removal.map_err(system("watch the configuration socket"))?;
        // It may have been removed before it was watched.
        let removed = file.as_ref().is_some_and(|file| !file.is_in_place());
        let (ours, theirs) = Lifeline::pair().map_err(system("make a socket pair"))?;
        keep_from_children().map_err(system("look at the open descriptors (is /proc mounted?)"))?;
        let mut command = again::command();
        command.stdout(Stdio::null());
        if let Some(log) = terminal_to_write_to() {
            command.stderr(log);
        }
        let (first, others) = opened.tun.queues.split_first().ok_or_else(no_queue)?;
        again::hand_over(&mut command, "WG_TUN_FD", std::slice::from_ref(first))?;
        again::hand_over(&mut command, QUEUE_FDS, others)?;
        again::hand_over(&mut command, "WG_UAPI_FD", std::slice::from_ref(&listener))?;
        again::hand_over(&mut command, LIFELINE_FD, std::slice::from_ref(&theirs))?;
        command.env("WG_PROCESS_FOREGROUND", "1").env_remove(READY_FD);
        let child = command.spawn().map_err(system("start this program again (is /proc mounted?)"))?;
        let server = Server { child, lifeline: ours };
        let directory = file.as_ref().and_then(|file| file.path().parent());
        let report = sandbox::enter(&Role::Keeper { directory, server: server.child.id() });
        report.log_for_keeper();
        report.satisfy(options)?;
        Ok(Self {
            server,
            file,
            signals,
            link,
            removal,
            vm,
            time,
            untold: removed.then_some(Notice::SocketRemoved).into_iter().collect(),
            deadline: None,
            asked: None,
            why: None,
        })
    }

    /// Passes on what happens until the server has ended.
    fn keep(mut self, ready: &mut Ready) -> Result<(), Error> {
        loop {
            let seen = self.wait().map_err(system("wait for signals"))?;
            if let Some((signal, _)) = self.signals.take() {
                self.ask_to_end(signal);
            }
            if seen.server && !self.listen(ready) {
                break;
            }
            if seen.system {
                self.look().map_err(system("watch the interface"))?;
            }
            self.tell();
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                tracing::error!("the server does not end when asked to, and is killed");
                let _ = self.server.child.kill();
                break;
            }
        }
        let status = self.server.end().map_err(system("wait for the server's end"))?;
        // Only now: whoever finds the name free again shall find the interface gone.
        drop(self.file);
        match (self.why, status.signal()) {
            (Some(why), _) => Err(Error::Other(why)),
            // It was asked before it listened to signals.
            (None, Some(signal)) if self.asked.is_some_and(|asked| asked.as_raw() == signal) => Ok(()),
            (None, Some(signal)) => Err(Error::Killed { signal }),
            (None, None) if status.success() => Ok(()),
            (None, None) => Err(Error::Other("the server ended without a word".to_owned())),
        }
    }

    /// Sleeps until something happens.
    fn wait(&self) -> rustix::io::Result<Seen> {
        let tellable = if self.untold.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![PollFd::new(&self.server.lifeline, tellable)];
        fds.extend(self.signals.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let system = fds.len();
        let watches = [
            Some(self.link.as_fd()),
            self.removal.as_ref().map(AsFd::as_fd),
            self.vm.as_ref().map(AsFd::as_fd),
            self.time.as_ref().map(AsFd::as_fd),
        ];
        fds.extend(watches.into_iter().flatten().map(|watch| PollFd::from_borrowed_fd(watch, PollFlags::IN)));
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let readable = |fd: &PollFd<'_>| !fd.revents().difference(PollFlags::OUT).is_empty();
        Ok(Seen { server: fds.first().is_some_and(readable), system: fds.iter().skip(system).any(readable) })
    }

    /// Hears what the server says; `false` if it hung up.
    fn listen(&mut self, ready: &mut Ready) -> bool {
        loop {
            match self.server.lifeline.word() {
                Ok(Some(Word::Ready)) => ready.tell(Ok(())),
                Ok(Some(Word::Failed(why))) => self.why = Some(why),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Looks at everything that is watched.
    fn look(&mut self) -> io::Result<()> {
        let untold = &mut self.untold;
        self.link.read(|event| note(untold, Notice::Link(event)))?;
        if let Some(watch) = &self.removal {
            watch.drain()?;
            if self.file.as_ref().is_some_and(|file| !file.is_in_place()) {
                self.removal = None;
                note(untold, Notice::SocketRemoved);
            }
        }
        if let Some(watch) = &mut self.vm
            && watch.read()?
        {
            note(untold, Notice::Copied);
        }
        if let Some(watch) = &mut self.time
            && watch.read()?.is_some()
        {
            note(untold, Notice::Slept);
        }
        Ok(())
    }

    /// Tells the server as much as it listens to.
    fn tell(&mut self) {
        while let Some(notice) = self.untold.first() {
            match self.server.lifeline.notify(*notice) {
                Ok(true) => drop(self.untold.remove(0)),
                Ok(false) => return,
                // It hung up, which is seen next.
                Err(_) => return self.untold.clear(),
            }
        }
    }

    fn ask_to_end(&mut self, signal: Signal) {
        // It may have ended by itself just now.
        let _ = kill_process(Pid::from_child(&self.server.child), signal);
        self.asked = Some(signal);
        self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
    }
}

/// Where there is something to read.
struct Seen {
    server: bool,
    system: bool,
}

/// Keeps a notice until it can be told. One that says more about the same replaces an older one; so this list is short.
fn note(untold: &mut Vec<Notice>, notice: Notice) {
    use kerntun_linux::LinkEvent::{Down, Mtu, Up};
    let about = |notice: &Notice| match notice {
        Notice::Link(Mtu(_)) => Some(0),
        Notice::Link(Up | Down) => Some(1),
        _ => None,
    };
    untold.retain(|old| *old != notice && (about(old).is_none() || about(old) != about(&notice)));
    untold.push(notice);
}

impl Server {
    /// Waits for its end, and kills it if that does not come soon.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Does nothing to one that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Standard error for the server, if it is a terminal: those who start programs leave it open for reading too, and what is
/// typed there is none of the server's business.
fn terminal_to_write_to() -> Option<File> {
    if !io::stderr().is_terminal() {
        return None;
    }
    // Otherwise a process without a terminal of its own would get this one.
    File::options().write(true).custom_flags(libc::O_NOCTTY).open("/proc/self/fd/2").ok()
}

fn no_queue() -> Error {
    Error::System { doing: "make the TUN device", error: io::ErrorKind::NotFound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerntun_linux::LinkEvent;

    #[test]
    fn only_the_last_word_on_anything_is_kept() {
        let mut untold = Vec::new();
        for mtu in 0..1000 {
            note(&mut untold, Notice::Link(LinkEvent::Mtu(mtu)));
            note(&mut untold, Notice::Link(LinkEvent::RoutesChanged));
            note(&mut untold, Notice::Link(if mtu % 2 == 0 { LinkEvent::Up } else { LinkEvent::Down }));
            note(&mut untold, Notice::Slept);
        }
        note(&mut untold, Notice::Link(LinkEvent::Deleted));
        let expected = [
            Notice::Link(LinkEvent::Mtu(999)),
            Notice::Link(LinkEvent::RoutesChanged),
            Notice::Link(LinkEvent::Down),
            Notice::Slept,
            Notice::Link(LinkEvent::Deleted),
        ];
        assert_eq!(untold, expected);
    }
}
