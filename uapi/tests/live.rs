//! The server and the client over real sockets in a directory of their own.

use kerntun_uapi::client::interfaces_in;
use kerntun_uapi::server::{Accepted, BindError, Ended, Event, MAX_CONNECTIONS};
use kerntun_uapi::{
    Client, ClientError, DeviceState, DiagnosticsWriter, Errno, GetWriter, Handler, InterfaceName, PeerChange,
    PeerState, PublicKey, Section, Server, SetRequest, UapiSocket,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A fresh directory, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kuapi-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn sockets(&self) -> PathBuf {
        self.0.join("wireguard")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A device that remembers what it was told and refuses port 666.
#[derive(Default)]
struct Device {
    state: Mutex<DeviceState>,
    events: Mutex<Vec<String>>,
}

impl Handler for Device {
    fn get(&self, answer: &mut GetWriter<'_>) -> io::Result<()> {
        answer.device(&self.state.lock().unwrap())
    }

    fn set(&self, request: SetRequest) -> Result<(), Errno> {
        if request.listen_port == Some(666) {
            return Err(Errno::EADDRINUSE);
        }
        let mut state = self.state.lock().unwrap();
        state.listen_port = request.listen_port.unwrap_or(state.listen_port);
        state.peers.extend(request.peers.iter().map(|peer| PeerState::new(peer.public_key)));
        Ok(())
    }

    fn diagnostics(&self, answer: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
        answer.entry("drop.replay", &3)?;
        answer.peer(&PublicKey([5; 32]))?;
        answer.entry("handshake.attempts", &14)?;
        Err(io::Error::from_raw_os_error(self.state.lock().unwrap().fwmark as i32))
            .or_else(|error: io::Error| if error.raw_os_error() == Some(0) { Ok(()) } else { Err(error) })
    }

    fn event(&self, event: &Event<'_>) {
        self.events.lock().unwrap().push(event.to_string());
    }
}

/// Runs a server beside the test, and how it ended.
fn with_server(directory: &Path, interface: &str, device: &Device, test: impl FnOnce()) -> Ended {
    let server = Server::new(UapiSocket::bind_in(directory, &name(interface)).unwrap()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(device, stopped.as_fd()).unwrap());
        test();
        drop(stop);
        running.join().unwrap()
    })
}

#[test]
fn a_client_and_a_server() {
    let directory = Directory::new("client");
    let device = Device::default();
    let client = Client::in_directory(&directory.sockets(), name("wgt0"));
    assert!(matches!(client.get(), Err(ClientError::NoSuchInterface { .. })));
    assert_eq!(interfaces_in(&directory.sockets()).unwrap(), []);
    let ended = with_server(&directory.sockets(), "wgt0", &device, || {
        assert_eq!(client.get().unwrap(), DeviceState::default());
        let mut request = SetRequest { listen_port: Some(51820), ..SetRequest::default() };
        request.peers = (0..20_000_u32)
            .map(|i| {
                let mut key = [0; 32];
                key[..4].copy_from_slice(&i.to_be_bytes());
                PeerChange::new(PublicKey(key))
            })
            .collect();
        client.set(&request).unwrap();
        let state = client.get().unwrap();
        assert_eq!((state.listen_port, state.peers.len()), (51820, 20_000));
        request.listen_port = Some(666);
        let error = client.set(&request).unwrap_err();
        assert!(matches!(&error, ClientError::Refused { errno, .. } if errno.get() == 98), "{error}");
        assert_eq!(client.get().unwrap().listen_port, 51820);
        let diagnostics = client.diagnostics().unwrap().unwrap();
        assert_eq!((diagnostics[0].section, diagnostics[0].value.as_str()), (Section::Device, "3"));
        assert_eq!(diagnostics[1].section, Section::Peer(PublicKey([5; 32])));
        device.state.lock().unwrap().fwmark = 5;
        assert_eq!(client.diagnostics().unwrap(), None, "an error counts as not available");
        assert_eq!(interfaces_in(&directory.sockets()).unwrap(), [name("wgt0")]);
    });
    assert_eq!(ended, Ended::Stopped);
    assert!(fs::read_dir(directory.sockets()).unwrap().next().is_none(), "the socket file is gone");
}

#[test]
fn several_requests_on_one_connection() {
    let directory = Directory::new("several");
    let device = Device::default();
    with_server(&directory.sockets(), "wgt0", &device, || {
        let mut stream = UnixStream::connect(directory.sockets().join("wgt0.sock")).unwrap();
        stream
            .write_all(b"set=1\nlisten_port=7\n\nset=1\nfoo=1\nlisten_port=8\n\nget=1\n\nnonsense=1\n\nset=1\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "errno=0\n\nerrno=-22\n\nlisten_port=7\nerrno=0\n\nerrno=95\n\n");
    });
    let events = device.events.lock().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[0].contains("line 2: foo is not a key"), "{events:?}");
    assert!(events[2].contains("cut off"), "{events:?}");
}

#[test]
fn modes_of_directory_and_socket() {
    let directory = Directory::new("modes");
    let socket = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap();
    let path = directory.sockets().join("wgt0.sock");
    assert_eq!(socket.path(), Some(path.as_path()));
    assert_eq!((mode(&directory.sockets()), mode(&path)), (0o700, 0o600));
    assert!(matches!(socket.accept().unwrap(), Accepted::Nothing));
    let _client = UnixStream::connect(&path).unwrap();
    assert!(matches!(socket.accept().unwrap(), Accepted::Connection(_)));
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = Directory::new("stale");
    let bind = || UapiSocket::bind_in(&directory.sockets(), &name("wgt0"));
    let live = bind().unwrap();
    let error = bind().unwrap_err();
    assert!(matches!(error, BindError::AlreadyRunning { .. }), "{error}");
    assert!(live.is_in_place(), "the attempt did no harm");
    drop(live);
    let path = directory.sockets().join("wgt0.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a listener of the standard library leaves its file behind");
    let client = Client::in_directory(&directory.sockets(), name("wgt0"));
    assert!(matches!(client.get(), Err(ClientError::DaemonGone { .. })));
    assert_eq!(interfaces_in(&directory.sockets()).unwrap(), [], "dead ones are not listed");
    assert!(bind().unwrap().is_in_place());
    assert!(!path.exists());
}

#[test]
fn a_full_queue_counts_as_running() {
    let directory = Directory::new("queue");
    let live = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap();
    let path = directory.sockets().join("wgt0.sock");
    let waiting: Vec<_> = (0..65).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let error = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap_err();
    assert!(matches!(error, BindError::AlreadyRunning { .. }), "{error}");
    assert_eq!(interfaces_in(&directory.sockets()).unwrap(), [name("wgt0")], "and is listed without waiting");
    drop((waiting, live));
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let directory = Directory::new("inway");
    fs::create_dir(directory.sockets()).unwrap();
    fs::set_permissions(directory.sockets(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.sockets().join("wgt0.sock");
    let refused = || {
        let error = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    };
    fs::write(&path, "precious").unwrap();
    refused();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    refused();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn directories_that_cannot_be_trusted() {
    let directory = Directory::new("dirs");
    let refused = |path: &Path| {
        let error = UapiSocket::bind_in(path, &name("wgt0")).unwrap_err();
        assert!(matches!(error, BindError::UnsafeDirectory { .. }), "{error}");
    };
    let real = directory.0.join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&real, directory.sockets()).unwrap();
    refused(&directory.sockets());
    let file = directory.0.join("file");
    fs::write(&file, "").unwrap();
    refused(&file);
    for bits in [0o770, 0o702, 0o777] {
        fs::set_permissions(&real, fs::Permissions::from_mode(bits)).unwrap();
        refused(&real);
    }
    assert!(fs::read_dir(&real).unwrap().next().is_none());
    let error = UapiSocket::bind_in(&directory.0.join("absent/wireguard"), &name("wgt0")).unwrap_err();
    assert!(matches!(error, BindError::Io { .. }), "{error}");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(UapiSocket::bind_in(&real, &name("wgt0")).is_ok(), "as wireguard-go makes it");
    if std::os::unix::fs::chown(&real, Some(12345), None).is_err() {
        println!("SKIPPED: a directory of another user: only root can make one");
        return;
    }
    refused(&real);
}

#[test]
fn strangers_are_turned_away() {
    let directory = Directory::new("stranger");
    if fs::metadata(&directory.0).unwrap().uid() != 0 {
        println!("SKIPPED: strangers_are_turned_away: needs root to act as another user");
        return;
    }
    let socket = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap();
    let path = directory.sockets().join("wgt0.sock");
    let script = format!("import socket; socket.socket(socket.AF_UNIX).connect('{}')", path.display());
    let connect = || {
        let run = std::process::Command::new("setpriv")
            .args(["--reuid=12345", "--regid=12345", "--clear-groups", "python3", "-c", &script])
            .stderr(std::process::Stdio::null())
            .status();
        run.ok().map(|status| status.success())
    };
    let Some(connected) = connect() else {
        println!("SKIPPED: strangers_are_turned_away: needs setpriv and python3");
        return;
    };
    assert!(!connected, "the modes keep strangers out");
    assert!(matches!(socket.accept().unwrap(), Accepted::Nothing));
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(directory.sockets(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    if connect() != Some(true) {
        println!(
            "SKIPPED: strangers_are_turned_away: another user cannot reach the temporary directory, or no python3"
        );
        return;
    }
    assert!(matches!(socket.accept().unwrap(), Accepted::Stranger { uid: 12345 }));
}

type Remove = fn(&Path);

/// The ways in which a socket file can go; the last one puts another in its place.
const REMOVALS: [(&str, Remove); 5] = [
    ("rmfile", |path| fs::remove_file(path).unwrap()),
    ("rmdir", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
    ("moved", |path| fs::rename(path, path.parent().unwrap().with_file_name("elsewhere")).unwrap()),
    ("movedir", |path| fs::rename(path.parent().unwrap(), path.parent().unwrap().with_file_name("olddir")).unwrap()),
    ("replaced", |path| {
        let other = path.parent().unwrap().with_file_name("other");
        let _listener = UnixListener::bind(&other).unwrap();
        fs::rename(other, path).unwrap();
    }),
];

#[test]
fn each_removal_makes_the_watch_readable() {
    for (test, remove) in REMOVALS {
        let directory = Directory::new(&format!("watch-{test}"));
        let socket = UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap();
        let watch = socket.removal_watch().unwrap().unwrap();
        let readable = || {
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
        };
        assert!(!readable() && socket.is_in_place());
        remove(&directory.sockets().join("wgt0.sock"));
        assert!(readable() && !socket.is_in_place(), "{test}");
        watch.drain().unwrap();
        assert!(!readable(), "{test}");
    }
}

#[test]
fn removal_of_the_file_or_directory_ends_the_server() {
    for (test, remove) in REMOVALS {
        let directory = Directory::new(test);
        let device = Device::default();
        let server = Server::new(UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap()).unwrap();
        let path = directory.sockets().join("wgt0.sock");
        let (_stop, stopped) = UnixStream::pair().unwrap();
        let ended = thread::scope(|scope| {
            let running = scope.spawn(|| server.run(&device, stopped.as_fd()).unwrap());
            // Another interface's socket comes and goes: that is none of our business.
            drop(UapiSocket::bind_in(&directory.sockets(), &name("wgt1")).unwrap());
            let client = Client::in_directory(&directory.sockets(), name("wgt0"));
            assert_eq!(client.get().unwrap(), DeviceState::default());
            remove(&path);
            running.join().unwrap()
        });
        assert_eq!(ended, Ended::SocketRemoved, "{test}");
        drop(server);
        assert_eq!(path.exists(), test == "replaced", "a file that is not ours any more is left alone");
    }
}

#[test]
fn a_listening_descriptor_is_adopted() {
    let directory = Directory::new("adopt");
    let path = directory.0.join("wgt0.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = UapiSocket::adopt(listener.into()).unwrap();
    assert_eq!(socket.path(), Some(path.as_path()));
    assert!(matches!(socket.accept().unwrap(), Accepted::Nothing), "it does not block");
    let device = Device::default();
    let server = Server::new(socket).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(&device, stopped.as_fd()).unwrap());
        Client::in_directory(&directory.0, name("wgt0")).get().unwrap();
        drop(stop);
        assert_eq!(running.join().unwrap(), Ended::Stopped);
    });
    drop(server);
    assert!(!path.exists());
    let (descriptor, file) = UapiSocket::bind_in(&directory.sockets(), &name("wgt1")).unwrap().split();
    let (path, file) = (directory.sockets().join("wgt1.sock"), file.unwrap());
    let _waiting = UnixStream::connect(&path).unwrap();
    let socket = UapiSocket::adopt(descriptor).unwrap().without_file();
    assert!(matches!(socket.accept().unwrap(), Accepted::Connection(_)));
    assert!(socket.removal_watch().unwrap().is_none() && socket.path().is_none());
    drop(socket);
    assert!(path.exists() && file.is_in_place(), "whoever keeps the file removes it");
    drop(file);
    assert!(!path.exists());
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(matches!(UapiSocket::adopt(one.into()), Err(BindError::NotListening)));
    assert!(matches!(UapiSocket::adopt(UnixDatagram::unbound().unwrap().into()), Err(BindError::NotListening)));
    assert!(matches!(UapiSocket::adopt(fs::File::open("/dev/null").unwrap().into()), Err(BindError::NotListening)));
}

/// A handler whose `get` reports that it began and waits until it is let go.
struct Gate {
    began: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Handler for Gate {
    fn get(&self, _: &mut GetWriter<'_>) -> io::Result<()> {
        self.began.lock().unwrap().send(()).unwrap();
        self.go.lock().unwrap().recv().map_err(io::Error::other)
    }

    fn set(&self, _: SetRequest) -> Result<(), Errno> {
        Ok(())
    }

    fn diagnostics(&self, _: &mut DiagnosticsWriter<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn connections_beyond_sixteen_wait_their_turn() {
    let directory = Directory::new("many");
    let (began, begun) = channel();
    let (let_go, go) = channel();
    let gate = Gate { began: Mutex::new(began), go: Mutex::new(go) };
    let server = Server::new(UapiSocket::bind_in(&directory.sockets(), &name("wgt0")).unwrap()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let path = directory.sockets().join("wgt0.sock");
    assert_eq!(MAX_CONNECTIONS, 16);
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(&gate, stopped.as_fd()).unwrap());
        let connect = || {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(b"get=1\n\n").unwrap();
            stream
        };
        let mut streams: Vec<_> = (0..20).map(|_| connect()).collect();
        for _ in 0..16 {
            begun.recv().unwrap();
        }
        thread::sleep(std::time::Duration::from_millis(100));
        assert!(begun.try_recv().is_err(), "a seventeenth is not served yet");
        (0..20).for_each(|_| let_go.send(()).unwrap());
        for stream in &mut streams {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "errno=0\n\n");
        }
        // Connections that are merely open do not keep the server from ending (at once: its patience is 30 s).
        let mut idle = UnixStream::connect(&path).unwrap();
        idle.write_all(b"set=1\n\n").unwrap();
        idle.read_exact(&mut [0; 9]).unwrap();
        drop(stop);
        assert_eq!(running.join().unwrap(), Ended::Stopped);
    });
}

#[test]
fn a_silent_or_foreign_daemon_has_no_diagnostics() {
    let directory = Directory::new("foreign");
    for (answer, expect_none) in [("", true), ("errno=-22\n\n", true), ("errno=22\n\n", true), ("errno=", false)] {
        let _ = fs::remove_file(directory.0.join("wgt0.sock"));
        let listener = UnixListener::bind(directory.0.join("wgt0.sock")).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 19];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(&request, b"get_diagnostics=1\n\n");
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let result = Client::in_directory(&directory.0, name("wgt0")).diagnostics();
            match result {
                Ok(None) => assert!(expect_none, "{answer:?}"),
                Err(ClientError::HungUp { unanswered: false, .. }) => assert!(!expect_none, "{answer:?}"),
                other => panic!("{answer:?}: {other:?}"),
            }
        });
    }
}
