//! What a daemon holds before it serves: the TUN device and the configuration socket, made or taken over.

use crate::error::{Error, system};
use crate::options::Options;
use kerntun_linux::{IfExists, Tun, TunConfig, TunError, TunOffload, take_inherited};
use kerntun_uapi::{InterfaceName, UapiSocket};

/// Both doors of an interface. Dropping it closes them, and with that the interface and the socket file are gone.
pub(crate) struct Opened {
    pub(crate) tun: Tun,
    pub(crate) socket: UapiSocket,
    /// The interface's real name.
    pub(crate) name: InterfaceName,
}

impl Opened {
    /// Makes or takes over both, or neither.
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let name = InterfaceName::new(&options.interface).map_err(Error::Name)?;
        let tun = if options.tun_fds.is_empty() { create(&name, options)? } else { adopt(options)? };
        let real = tun.interface.name().map_err(system("ask for the interface's name"))?;
        let name = InterfaceName::new(&real).map_err(Error::Name)?;
        let socket = match options.uapi_fd {
            Some(fd) => UapiSocket::adopt(take_inherited(fd).map_err(system("take over the socket in WG_UAPI_FD"))?)?,
            None => UapiSocket::bind_in(&options.socket_directory, &name)?,
        };
        Ok(Self { tun, socket, name })
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
    Ok(tun)
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
