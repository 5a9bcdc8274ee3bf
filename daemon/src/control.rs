//! The control thread: builds everything up, listens to signals and to what happens to the interface, takes it all down.

use crate::background::Ready;
use crate::configuration::Configurator;
use crate::device::{Engine, Shared, now, wall};
use crate::error::{Error, system};
use crate::handshakes::{self, Inbox};
use crate::opening::{Opened, offload_of};
use crate::options::Options;
use crate::sockets::Ports;
use crate::stamps::Stamps;
use crate::status::Status;
use crate::worker::Worker;
use kerntun_crypto::Fast;
use kerntun_host::UserHost;
use kerntun_linux::{LinkEvent, NetlinkWatch, Poller, Tun, TunError, Waker};
use kerntun_uapi::Server;
use kerntun_uapi::server::Ended;
use parking_lot::Mutex;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const LINK: u64 = 0;
/// Each signal has a pipe of its own; the token is `SIGNALS` and its position.
const SIGNALS: u64 = 1;

/// Signals that end the daemon in good order, with their names.
const ENDING_SIGNALS: [(i32, &str); 3] = [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")];

/// Why the daemon ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A signal asked for it.
    Signal(&'static str),
    /// The interface was deleted.
    Deleted,
    /// The configuration socket or its directory was removed, which by the protocol's rules asks for it.
    SocketRemoved,
    /// It cannot go on.
    Failed(Error),
}

/// Where other threads tell the control thread that it is over, or that it has something to do.
pub(crate) struct Ends {
    ending: Mutex<Option<Ending>>,
    sources_lost: AtomicBool,
    waker: Waker,
}

impl Ending {
    pub(crate) fn failed(doing: &'static str, error: io::Error) -> Self {
        Self::Failed(Error::System { doing, error })
    }

    pub(crate) fn from_tun(error: TunError) -> Self {
        match error {
            TunError::Gone => Self::Deleted,
            error => Self::Failed(Error::Tun(error)),
        }
    }
}

impl Ends {
    fn new(waker: Waker) -> Self {
        Self { ending: Mutex::new(None), sources_lost: AtomicBool::new(false), waker }
    }

    /// Ends the daemon, unless that is under way already.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.lock().get_or_insert(ending);
        self.waker.wake();
    }

    /// A cached source address has failed.
    pub(crate) fn forget_sources(&self) {
        self.sources_lost.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Serves an interface until it ends.
pub(crate) fn serve(options: Options) -> Result<(), Error> {
    let mut ready = Ready::take(&options)?;
    let prepared = prepare(&options);
    ready.tell(&prepared);
    prepared?.serve()
}

/// Everything that may fail for a reason a person can mend, done.
struct Prepared {
    opened: Opened,
    engine: Engine,
    stamps: Stamps,
    watch: NetlinkWatch,
    signals: Vec<(UnixStream, &'static str)>,
    workers: usize,
    ports: Ports,
}

fn prepare(options: &Options) -> Result<Prepared, Error> {
    keep_secrets()?;
    // Before there is anything to leave behind.
    let signals = listen_to_signals()?;
    let engine = Engine::new(UserHost::new(Fast::new()).holding()).map_err(|error| Error::Engine(error.into()))?;
    // Until it is known to be up. Nothing is configured, so nothing is stopped by it.
    engine.configure(|configuration| configuration.down());
    let stamps = Stamps::open(options.stamp_file.clone(), &engine, wall(), now())?;
    let opened = Opened::open(options)?;
    let watch = NetlinkWatch::open(opened.tun.interface.index()).map_err(system("watch the interface"))?;
    // A queue that nobody reads would swallow its share of the packets.
    let workers = options.worker_count().max(opened.tun.queues.len());
    let ports = Ports::new(workers, options.udp_offload, options.ipv6);
    Ok(Prepared { opened, engine, stamps, watch, signals, workers, ports })
}

impl Prepared {
    fn serve(self) -> Result<(), Error> {
        let Self { opened: Opened { tun, socket, name }, engine, stamps, watch, signals, workers, ports } = self;
        let poller = || Poller::new().map_err(system("make an epoll descriptor"));
        let control = poller()?;
        let handshake_poller = poller()?;
        let pollers = (0..workers).map(|_| poller()).collect::<Result<Vec<_>, _>>()?;
        control.add(watch.as_fd(), LINK).map_err(system("wait for the interface"))?;
        for ((pipe, _), token) in signals.iter().zip(SIGNALS..) {
            control.add(pipe.as_fd(), token).map_err(system("wait for signals"))?;
        }
        let mtu = tun.interface.mtu().map_err(system("ask for the MTU"))?;
        let status = Status::new(offload_of(&tun), tun.queues.len(), workers);
        let (inbox, ends) = (Inbox::new(handshake_poller.waker()), Ends::new(control.waker()));
        let wakers = pollers.iter().map(Poller::waker).collect();
        let shared = Shared::new(engine, ports, inbox, ends, status, to_usize(mtu), wakers);
        let configurator = Configurator::new(&shared);
        let server = Server::new(socket).map_err(system("watch the configuration socket"))?;
        let (stop, stopped) = UnixStream::pair().map_err(system("make a socket pair"))?;
        tracing::info!("serving interface {name}: {workers} workers, {} TUN queues", tun.queues.len());
        let ending = thread::scope(|scope| {
            let started = start_workers(scope, &shared, &tun, pollers).and_then(|()| {
                spawn(scope, "handshakes", || {
                    if let Err(error) = handshakes::run(&shared, handshake_poller, stamps) {
                        shared.ends.end(Ending::failed("wait for deadlines", error));
                    }
                })?;
                spawn(scope, "configuration", || match server.run(&configurator, stopped.as_fd()) {
                    Ok(Ended::Stopped) => {}
                    Ok(Ended::SocketRemoved) => shared.ends.end(Ending::SocketRemoved),
                    Err(error) => shared.ends.end(Ending::failed("serve the configuration socket", error)),
                })
            });
            let ending = match started {
                Ok(()) => listen(&shared, &configurator, control, watch, &signals),
                Err(ending) => ending,
            };
            shared.end();
            drop(stop);
            ending
        });
        // Sessions end, keys are wiped; then sockets and device are dropped, in this order.
        shared.engine.configure(|configuration| configuration.down());
        match ending {
            Ending::Signal(signal) => tracing::info!("{name} ends: {signal}"),
            Ending::Deleted => tracing::info!("{name} ends: the interface was deleted"),
            Ending::SocketRemoved => tracing::info!("{name} ends: the configuration socket was removed"),
            Ending::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

fn start_workers<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    shared: &'scope Shared,
    tun: &'scope Tun,
    pollers: Vec<Poller>,
) -> Result<(), Ending> {
    for (number, poller) in pollers.into_iter().enumerate() {
        let own = tun.queues.get(number);
        // More workers than queues: the others share the first one to write.
        let Some(queue) = own.or_else(|| tun.queues.first()) else { continue };
        let worker = Worker::new(shared, number, queue, own.is_some(), poller)
            .map_err(|error| Ending::failed("wait for the TUN device", error))?;
        spawn(scope, &format!("worker {number}"), move || worker.run())?;
    }
    Ok(())
}

fn spawn<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) -> Result<(), Ending> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, body);
    spawned.map(drop).map_err(|error| Ending::failed("start a thread", error))
}

/// Waits for signals, for the interface, and for the other threads, until one of them ends it all.
fn listen(
    shared: &Shared,
    configurator: &Configurator<'_>,
    mut poller: Poller,
    mut watch: NetlinkWatch,
    signals: &[(UnixStream, &'static str)],
) -> Ending {
    loop {
        let ready = match poller.wait(None) {
            Ok(ready) => ready,
            Err(error) => return Ending::failed("wait for signals", error),
        };
        if let Some(ending) = shared.ends.ending.lock().take() {
            return ending;
        }
        for ((pipe, name), token) in signals.iter().zip(SIGNALS..) {
            // The signal's handler writes a byte; that it is there says all.
            if ready.has(token) && matches!((&*pipe).read(&mut [0; 16]), Ok(1..)) {
                return Ending::Signal(name);
            }
        }
        let mut sources_lost = shared.ends.sources_lost.swap(false, Ordering::Relaxed);
        if ready.has(LINK) {
            let mut deleted = false;
            let read = watch.read(|event| match event {
                LinkEvent::Mtu(mtu) => shared.set_mtu(to_usize(mtu)),
                LinkEvent::Up => {
                    tracing::info!("the interface is up");
                    configurator.up();
                }
                LinkEvent::Down if shared.engine.is_up() => {
                    tracing::info!("the interface is down");
                    configurator.down();
                }
                LinkEvent::Deleted => deleted = true,
                LinkEvent::Moved => {
                    // From here neither its state nor its MTU can be seen any more, and a socket over there would keep
                    // that namespace, and so the interface, alive for ever. That packets come says that it is up; its
                    // deletion shows in its queues.
                    tracing::info!("the interface moved to another network namespace: taken for up from now on");
                    configurator.up();
                }
                LinkEvent::RoutesChanged => sources_lost = true,
                _ => {}
            });
            match read {
                Ok(()) if deleted => return Ending::Deleted,
                Ok(()) => {}
                Err(error) => return Ending::failed("watch the interface", error),
            }
        }
        if sources_lost {
            shared.engine.configure(|configuration| configuration.forget_sources());
        }
    }
}

/// Keys stay in memory: no core dumps, no reading by other processes of the same user; files are private.
fn keep_secrets() -> Result<(), Error> {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(system("switch core dumps off"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("switch core dumps off"))
}

fn listen_to_signals() -> Result<Vec<(UnixStream, &'static str)>, Error> {
    let listen = |(signal, name)| {
        let (pipe, end) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, end)?;
        Ok((pipe, name))
    };
    ENDING_SIGNALS.into_iter().map(listen).collect::<io::Result<_>>().map_err(system("listen to signals"))
}

fn to_usize(mtu: u32) -> usize {
    usize::try_from(mtu).unwrap_or(usize::MAX)
}
