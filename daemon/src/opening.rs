//! What a daemon holds before it serves: the TUN device and the configuration socket, made or taken over.

use crate::error::{Error, system};
use crate::options::Options;
use kerntun_linux::{IfExists, Tun, TunConfig, TunError, TunOffload, take_inherited};
use kerntun_uapi::server::listener_of;
use kerntun_uapi::{BindError, InterfaceName, UapiSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may take to end after its keeper was killed: its interface waits its turn behind everything else
/// that the system does with interfaces just then.
const LAST_MOMENT: Duration = Duration::from_secs(20);

/// Both doors of an interface. Dropping it closes them, and with that the interface and the socket file (unless that is
/// another process's) are gone.
pub(crate) struct Opened {
    pub(crate) tun: Tun,
    pub(crate) socket: UapiSocket,
    /// The interface's real name.
    pub(crate) name: InterfaceName,
}

impl Opened {
    /// Makes or takes over both, or neither. If a daemon has them whose keeper was killed, gives that one a moment to go.
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let begin = Instant::now();
        loop {
            match Self::open_at_once(options) {
                Err(error @ (Error::Tun(TunError::Exists(_)) | Error::Socket(BindError::AlreadyRunning { .. })))
                    if begin.elapsed() < LAST_MOMENT && socket_of(options).is_some_and(|socket| is_left(&socket)) =>
                {
                    tracing::debug!("{error}: waiting for its end");
                    std::thread::sleep(Duration::from_millis(20));
                }
                result => return result,
            }
        }
    }

    fn open_at_once(options: &Options) -> Result<Self, Error> {
        let name = InterfaceName::new(&options.interface).map_err(Error::Name)?;
        let tun = if options.tun_fds.is_empty() { create(&name, options)? } else { adopt(options)? };
        let real = tun.interface.name().map_err(system("ask for the interface's name"))?;
        let name = InterfaceName::new(&real).map_err(Error::Name)?;
        let socket = match options.uapi_fd {
            Some(fd) => UapiSocket::adopt(take_inherited(fd).map_err(system("take over the socket in WG_UAPI_FD"))?)?,
            None => UapiSocket::bind_in(&options.socket_directory, &name)?,
        };
        let socket = if options.lifeline_fd.is_some() { socket.without_file() } else { socket };
        Ok(Self { tun, socket, name })
    }
}

fn socket_of(options: &Options) -> Option<PathBuf> {
    let name = InterfaceName::new(&options.interface).ok()?;
    Some(options.socket_directory.join(name.socket_file()))
}

/// Whether this is what a killed keeper left: nobody listens, or only a server does that has no keeper any more.
fn is_left(socket: &Path) -> bool {
    match listener_of(socket) {
        Ok(Some(keeper)) => Pid::from_raw(keeper).is_some_and(has_ended),
        Ok(None) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

/// Also if nobody has asked for its exit status yet.
fn has_ended(process: Pid) -> bool {
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => {
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
        }
        Err(error) => error == Errno::SRCH,
    }
}

fn create(name: &InterfaceName, options: &Options) -> Result<Tun, Error> {
    let create = |queues| {
        let (name, offload) = (name.as_str(), options.tun_offload);
        Tun::create(&TunConfig { name, queues, offload, exists: IfExists::Refuse })
    };
    let tun = match create(options.worker_count()) {
        // A kernel without multi-queue says EINVAL. One queue does.
        Err(TunError::Setup(_)) if options.worker_count() > 1 => create(1)?,
        result => result?,
    };
    tun.interface.set_mtu(options.mtu).map_err(system("set the MTU of the new interface"))?;
    send_no_redirects(name);
    Ok(tun)
}

/// Peers are not neighbours on a link: one that sends to another by way of us must not be told, for each of its packets, to
/// do it directly. The kernel does if this is set of the interface or of all (which others then are by themselves), and its
/// own driver takes away both (Linux `drivers/net/wireguard/device.c`). Where it cannot be, all works as well.
fn send_no_redirects(name: &InterfaceName) {
    for of in [name.as_str(), "all"] {
        let path = format!("/proc/sys/net/ipv4/conf/{of}/send_redirects");
        if let Err(error) = std::fs::write(&path, "0") {
            tracing::debug!("{path}: {error}");
        }
    }
}

/// All descriptors have to be queues of one device.
fn adopt(options: &Options) -> Result<Tun, Error> {
    let mut whole: Option<Tun> = None;
    for fd in &options.tun_fds {
        let tun = Tun::adopt_raw(*fd, options.tun_offload)?;
        match &mut whole {
            None => whole = Some(tun),
            Some(first) if first.interface.index() == tun.interface.index() => first.queues.extend(tun.queues),
            Some(_) => return Err(TunError::NotTun("the queues are of different devices").into()),
        }
    }
    whole.ok_or_else(|| TunError::NotTun("there is none").into())
}

/// What all queues of a device can do.
pub(crate) fn offload_of(tun: &Tun) -> TunOffload {
    tun.queues.iter().fold(TunOffload::ALL, |all, queue| all.and(queue.offload()))
}
