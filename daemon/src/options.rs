//! What the one who starts the daemon may choose, and how the environment says it.

use crate::error::Error;
use kerntun_linux::{TunOffload, UdpOffload};
use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// MTU of a new interface in bytes: 1,500 less what WireGuard over IPv6 adds, as everywhere.
pub const DEFAULT_MTU: u32 = 1420;

/// More workers than this are not started by default.
pub const MAX_WORKERS: usize = 8;

/// Whether [`run`](crate::run) serves or starts a process that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Serve in this process.
    Foreground,
    /// Start this program again, detached, and return when it serves.
    Background,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// What did not work.
    Error,
    /// And what happens to the interface.
    #[default]
    Info,
    /// And configuration and handshakes.
    Verbose,
}

/// How to serve an interface.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface to make. With [`Options::tun_fds`] the device's own name counts instead.
    pub interface: String,
    /// Here or in the background.
    pub mode: Mode,
    /// How much to log.
    pub log: LogLevel,
    /// MTU of the interface if it is made here, in bytes.
    pub mtu: u32,
    /// Number of data workers; as many as processors, at most [`MAX_WORKERS`], if none.
    pub workers: Option<NonZeroUsize>,
    /// The most that may be asked of the TUN device.
    pub tun_offload: TunOffload,
    /// The most that may be asked of the UDP sockets.
    pub udp_offload: UdpOffload,
    /// Whether to have IPv6 sockets where the system can.
    pub ipv6: bool,
    /// Where the configuration socket is made; `/var/run/wireguard` unless chosen otherwise.
    pub socket_directory: PathBuf,
    /// Where the greatest timestamp sent is remembered, so that a clock that was set back locks nobody out. None: it
    /// is not.
    pub stamp_file: Option<PathBuf>,
    /// Whether to refuse to serve where a layer of the sandbox is missing, instead of saying so in the log.
    pub require_sandbox: bool,
    /// Open queues of one TUN device, to be used instead of making one. Taken over and closed.
    pub tun_fds: Vec<RawFd>,
    /// A listening configuration socket, to be used instead of making one. Taken over.
    pub uapi_fd: Option<RawFd>,
    /// Where to tell the process that started this one how it went. Taken over.
    pub(crate) ready_fd: Option<RawFd>,
    /// The connection to the process that keeps this one. Taken over.
    pub(crate) lifeline_fd: Option<RawFd>,
}

impl Options {
    /// The defaults for an interface, whatever the environment says.
    #[must_use]
    pub fn new(interface: &str, mode: Mode) -> Self {
        Self {
            interface: interface.to_owned(),
            mode,
            log: LogLevel::default(),
            mtu: DEFAULT_MTU,
            workers: None,
            tun_offload: TunOffload::ALL,
            udp_offload: UdpOffload::ALL,
            ipv6: true,
            socket_directory: PathBuf::from(kerntun_uapi::SOCKET_DIRECTORY),
            stamp_file: None,
            require_sandbox: false,
            tun_fds: Vec::new(),
            uapi_fd: None,
            ready_fd: None,
            lifeline_fd: None,
        }
    }

    /// The defaults as the environment changes them, with the variables of wireguard-go and some of our own:
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `LOG_LEVEL` | `verbose` or `debug`, `info`, `error`, `silent` |
    /// | `WG_TUN_FD` | number of an open TUN queue |
    /// | `WG_UAPI_FD` | number of a listening configuration socket |
    /// | `WG_PROCESS_FOREGROUND` | `1`: stay in the foreground whatever `mode` says |
    /// | `KERNTUN_WORKERS` | number of data workers |
    /// | `KERNTUN_OFFLOAD` | `off`: no segmentation offloads, in case a device lies about them |
    /// | `KERNTUN_STAMP_FILE` | see [`Options::stamp_file`] |
    /// | `KERNTUN_REQUIRE_SANDBOX` | `1`: see [`Options::require_sandbox`] |
    ///
    /// # Errors
    /// [`Error::Environment`] for a value that cannot be.
    pub fn from_environment(interface: &str, mode: Mode) -> Result<Self, Error> {
        let mut options = Self::new(interface, mode);
        if variable("WG_PROCESS_FOREGROUND").as_deref() == Some("1") {
            options.mode = Mode::Foreground;
        }
        if let Some(level) = variable("LOG_LEVEL") {
            options.log = match level.as_str() {
                "verbose" | "debug" => LogLevel::Verbose,
                "info" => LogLevel::Info,
                "error" => LogLevel::Error,
                "silent" => LogLevel::Silent,
                // wireguard-go takes what it does not know for its default as well.
                _ => LogLevel::default(),
            };
        }
        options.tun_fds.extend(number::<RawFd>("WG_TUN_FD")?);
        for more in variable(QUEUE_FDS).iter().flat_map(|list| list.split(',')) {
            options.tun_fds.push(parse(QUEUE_FDS, more)?);
        }
        options.uapi_fd = number("WG_UAPI_FD")?;
        options.ready_fd = number(READY_FD)?;
        options.lifeline_fd = number(LIFELINE_FD)?;
        options.require_sandbox = variable("KERNTUN_REQUIRE_SANDBOX").as_deref() == Some("1");
        options.workers = number("KERNTUN_WORKERS")?;
        if variable("KERNTUN_OFFLOAD").as_deref() == Some("off") {
            (options.tun_offload, options.udp_offload) = (TunOffload::NONE, UdpOffload::NONE);
        }
        options.stamp_file = variable("KERNTUN_STAMP_FILE").map(PathBuf::from);
        Ok(options)
    }

    /// How many workers there will be.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_WORKERS);
        self.workers.map_or_else(processors, |workers| workers.get().min(256))
    }
}

/// Further TUN queues beside `WG_TUN_FD`, from keeper to server.
pub(crate) const QUEUE_FDS: &str = "KERNTUN_QUEUE_FDS";
/// Their connection.
pub(crate) const LIFELINE_FD: &str = "KERNTUN_LIFELINE_FD";
/// A pipe to say on whether it worked, from the background mode to the keeper.
pub(crate) const READY_FD: &str = "KERNTUN_READY_FD";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &'static str) -> Result<Option<T>, Error> {
    variable(name).map(|value| parse(name, &value)).transpose()
}

fn parse<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| Error::Environment { name, value: value.to_owned() })
}
