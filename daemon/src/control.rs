//! The server's control thread: builds everything up, locks the process up, listens to signals and to the keeper, takes it
//! all down.

use crate::again;
use crate::configuration::Configurator;
use crate::device::{Engine, Shared, now, wall};
use crate::error::{Error, system};
use crate::handshakes::{self, Inbox};
use crate::lifeline::{Lifeline, Notice, Word};
use crate::opening::{Opened, offload_of};
use crate::options::Options;
use crate::sandbox::{self, Role};
use crate::signals::Signals;
use crate::sockets::Ports;
use crate::stamps::Stamps;
use crate::status::Status;
use crate::worker::Worker;
use kerntun_crypto::Fast;
use kerntun_host::UserHost;
use kerntun_linux::{InterfaceNames, LinkEvent, Poller, TunError, TunQueue, Waker, take_inherited};
use kerntun_uapi::server::Ended;
use kerntun_uapi::{InterfaceName, Server};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const LIFELINE: u64 = 0;
/// Each signal has a pipe of its own; the token is `SIGNALS` and its position.
const SIGNALS: u64 = 1;

/// Why the daemon ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A signal asked for it.
    Signal(&'static str),
    /// The interface was deleted.
    Deleted,
    /// The configuration socket or its directory was removed, which by the protocol's rules asks for it.
    SocketRemoved,
    /// There is nobody left who would clean up.
    KeeperGone,
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
    pub(crate) fn new(waker: Waker) -> Self {
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

/// Serves an interface until it ends, and then the process with it: why, is told to the keeper at the other end of `lifeline`.
pub(crate) fn serve(options: &Options, lifeline: RawFd) -> ! {
    again::take_name();
    let served = take_inherited(lifeline).map(Lifeline::take).map_err(system("take over the connection to the keeper"));
    let code = match served {
        Ok(lifeline) => match prepare(options).and_then(|prepared| prepared.serve(&lifeline)) {
            Ok(()) => 0,
            Err(error) => {
                lifeline.say(&Word::Failed(error.to_string()));
                1
            }
        },
        Err(error) => {
            tracing::error!("{error}");
            1
        }
    };
    std::process::exit(code)
}

/// Everything that needs rights, and everything that may fail for a reason a person can mend, done.
struct Prepared {
    queues: Vec<TunQueue>,
    name: InterfaceName,
    shared: Shared,
    server: Server,
    names: InterfaceNames,
    stamps: Stamps,
    signals: Signals,
    control: Poller,
    handshakes: Poller,
    workers: Vec<Poller>,
    stop: (UnixStream, UnixStream),
}

fn prepare(options: &Options) -> Result<Prepared, Error> {
    sandbox::keep_private()?;
    let signals = Signals::listen()?;
    let engine = Engine::new(UserHost::new(Fast::new()).holding()).map_err(|error| Error::Engine(error.into()))?;
    // Until it is known to be up. Nothing is configured, so nothing is stopped by it.
    engine.configure(|configuration| configuration.down());
    let stamps = Stamps::open(options.stamp_file.clone(), &engine, wall(), now())?;
    let Opened { tun, socket, name } = Opened::open(options)?;
    let server = Server::new(socket).map_err(system("watch the configuration socket"))?;
    let names = InterfaceNames::new().map_err(system("make a UDP socket"))?;
    let stop = UnixStream::pair().map_err(system("make a socket pair"))?;
    // A queue that nobody reads would swallow its share of the packets.
    let count = options.worker_count().max(tun.queues.len());
    let poller = || Poller::new().map_err(system("make an epoll descriptor"));
    let (control, handshakes) = (poller()?, poller()?);
    let workers = (0..count).map(|_| poller()).collect::<Result<Vec<_>, _>>()?;
    let mtu = tun.interface.mtu().map_err(system("ask for the MTU"))?;
    let offload = offload_of(&tun);
    let ports = Ports::new(count, options.udp_offload, options.ipv6);
    let (inbox, ends) = (Inbox::new(handshakes.waker()), Ends::new(control.waker()));
    let wakers = workers.iter().map(Poller::waker).collect();
    let queues = tun.queues;
    // Without it everything works, a round trip takes longer.
    if let Err(error) = kerntun_linux::run_in_batches() {
        tracing::debug!("the threads are scheduled like others ({error})");
    }
    // With the right to configure the network a netlink socket is too much to leave to whoever may take over.
    drop(tun.interface);
    let sandbox = sandbox::enter(&Role::Server);
    sandbox.log();
    sandbox.satisfy(options)?;
    let status = Status::new(offload, queues.len(), count, sandbox);
    let shared = Shared::new(engine, ports, inbox, ends, status, to_usize(mtu), wakers);
    Ok(Prepared { queues, name, shared, server, names, stamps, signals, control, handshakes, workers, stop })
}

impl Prepared {
    fn serve(self, lifeline: &Lifeline) -> Result<(), Error> {
        let Self { queues, name, shared, server, names, stamps, signals, control, handshakes, workers, stop } = self;
        control.add(lifeline.as_fd(), LIFELINE).map_err(system("wait for the keeper"))?;
        for (pipe, token) in signals.pipes().zip(SIGNALS..) {
            control.add(pipe, token).map_err(system("wait for signals"))?;
        }
        let configurator = Configurator::new(&shared, &names);
        let (stop, stopped) = stop;
        tracing::info!("serving interface {name}: {} workers, {} TUN queues", workers.len(), queues.len());
        let ending = thread::scope(|scope| {
            let started = start_workers(scope, &shared, &queues, workers).and_then(|()| {
                spawn(scope, "handshakes", || {
                    if let Err(error) = handshakes::run(&shared, handshakes, stamps) {
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
                Ok(()) => {
                    lifeline.say(&Word::Ready);
                    listen(&shared, &configurator, control, lifeline, &signals)
                }
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
            Ending::KeeperGone => tracing::error!("{name} ends: the process that keeps it is gone"),
            Ending::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

fn start_workers<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    shared: &'scope Shared,
    queues: &'scope [TunQueue],
    pollers: Vec<Poller>,
) -> Result<(), Ending> {
    for (number, poller) in pollers.into_iter().enumerate() {
        let own = queues.get(number);
        // More workers than queues: the others share the first one to write.
        let Some(queue) = own.or_else(|| queues.first()) else { continue };
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

/// Waits for signals, for the keeper, and for the other threads, until one of them ends it all.
fn listen(
    shared: &Shared,
    configurator: &Configurator<'_>,
    mut poller: Poller,
    lifeline: &Lifeline,
    signals: &Signals,
) -> Ending {
    loop {
        let ready = match poller.wait(None) {
            Ok(ready) => ready,
            Err(error) => return Ending::failed("wait for signals", error),
        };
        if let Some(ending) = shared.ends.ending.lock().take() {
            return ending;
        }
        if let Some((_, name)) = signals.take() {
            return Ending::Signal(name);
        }
        let mut sources_lost = shared.ends.sources_lost.swap(false, Ordering::Relaxed);
        while ready.has(LIFELINE) {
            match lifeline.notice() {
                Ok(None) => break,
                Ok(Some(Notice::Link(LinkEvent::Deleted))) => return Ending::Deleted,
                Ok(Some(Notice::SocketRemoved)) => return Ending::SocketRemoved,
                Ok(Some(Notice::Link(LinkEvent::RoutesChanged))) => sources_lost = true,
                Ok(Some(notice)) => heed(shared, configurator, notice),
                Err(_) => return Ending::KeeperGone,
            }
        }
        if sources_lost {
            shared.engine.configure(|configuration| configuration.forget_sources());
        }
    }
}

/// Does what a change of the system asks for.
fn heed(shared: &Shared, configurator: &Configurator<'_>, notice: Notice) {
    let forget_sessions = || shared.engine.configure(|configuration| configuration.forget_sessions());
    match notice {
        Notice::Link(LinkEvent::Mtu(mtu)) => shared.set_mtu(to_usize(mtu)),
        Notice::Link(LinkEvent::Up) => {
            tracing::info!("the interface is up");
            configurator.up();
        }
        Notice::Link(LinkEvent::Down) if shared.engine.is_up() => {
            tracing::info!("the interface is down");
            configurator.down();
        }
        Notice::Link(LinkEvent::Moved) => {
            // From here neither its state nor its MTU can be seen any more, and a socket over there would keep that
            // namespace, and so the interface, alive for ever. That packets come says that it is up; its deletion shows in
            // its queues.
            tracing::info!("the interface moved to another network namespace: taken for up from now on");
            configurator.up();
        }
        Notice::Slept => {
            tracing::info!("the machine slept: all sessions are forgotten, and made anew when there are packets");
            forget_sessions();
        }
        Notice::Copied => {
            tracing::info!(
                "this virtual machine is a copy: all sessions are forgotten, as another may go on using them"
            );
            forget_sessions();
        }
        _ => {}
    }
}

fn to_usize(mtu: u32) -> usize {
    usize::try_from(mtu).unwrap_or(usize::MAX)
}
