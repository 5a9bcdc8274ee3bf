//! One end of a tunnel: a daemon in a namespace, its keys, and `wg` to talk to it.

use crate::keys::Keys;
use crate::namespace::{Namespace, check};
use crate::program::Program;
use crate::wait::{SOON, wait_for, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use std::env;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A daemon that serves one interface. Ended without mercy, and its socket removed, when dropped.
pub struct End {
    /// Where it runs.
    pub namespace: Arc<Namespace>,
    /// Which one it is.
    pub program: Program,
    /// Its interface. Unlike any other, because the directory of configuration sockets is shared by all namespaces.
    pub interface: String,
    /// Its keys.
    pub keys: Keys,
    /// Environment variables for it, beside the usual ones.
    environment: Vec<(&'static str, &'static str)>,
    /// Its process, unless it was stopped.
    child: Option<Child>,
}

/// What one end knows of another, as a section of a configuration file.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Base64.
    pub public_key: String,
    /// Base64.
    pub preshared_key: Option<String>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Prefixes, with commas between.
    pub allowed_ips: String,
    /// In seconds.
    pub keepalive: Option<u16>,
}

impl Peer {
    fn section(&self) -> String {
        let mut text = format!("[Peer]\nPublicKey = {}\nAllowedIPs = {}\n", self.public_key, self.allowed_ips);
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text += &format!("{key} = {value}\n");
            }
        };
        line("PresharedKey", self.preshared_key.clone());
        line("Endpoint", self.endpoint.map(|endpoint| endpoint.to_string()));
        line("PersistentKeepalive", self.keepalive.map(|seconds| seconds.to_string()));
        text
    }
}

impl End {
    /// Starts a daemon in the foreground and waits until it can be configured.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start(namespace: &Arc<Namespace>, program: Program) -> Self {
        Self::start_with(namespace, program, &[])
    }

    /// As [`End::start`], with environment variables.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_with(
        namespace: &Arc<Namespace>,
        program: Program,
        environment: &[(&'static str, &'static str)],
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let interface = format!("k{}x{number}", std::process::id());
        let keys = Keys::number(u64::from(std::process::id()) << 32 | u64::from(number));
        let mut end = Self {
            namespace: Arc::clone(namespace),
            program,
            interface,
            keys,
            environment: environment.to_vec(),
            child: None,
        };
        end.restart();
        end
    }

    /// Starts the daemon again after [`End::end`]. It knows nothing then.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut command = self.namespace.unbounded(self.program.path());
        command.args(["-f", &self.interface]).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1");
        // Whoever looks for a fault in the daemon sets LOG_LEVEL; else strangers' rubbish would fill the output.
        if env::var_os("LOG_LEVEL").is_none() {
            command.env("LOG_LEVEL", "silent");
        }
        // The usual place would fill with files of interfaces that never come again.
        command.env("KERNTUN_STAMP_FILE", self.stamps());
        command.envs(self.environment.iter().copied());
        if self.program == Program::WireguardGo {
            // A large box of advice for whoever has the kernel module.
            command.stderr(Stdio::null());
        }
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let socket = self.socket();
        wait_until("the daemon listens", SOON, || {
            let child = self.child.as_mut().expect("just started");
            assert!(child.try_wait().expect("our child").is_none(), "the daemon ended at once");
            // What was left of one that was killed may still answer, for some milliseconds: the keeper is gone before its server.
            let listener =
                UnixStream::connect(&socket).and_then(|stream| Ok(getsockopt(&stream, PeerCredentials)?.pid()));
            listener.is_ok_and(|listener| listener == child.id().cast_signed())
        });
    }

    /// Its configuration socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        format!("/var/run/wireguard/{}.sock", self.interface).into()
    }

    /// Where it remembers the greatest timestamp it sent, until this is dropped.
    #[must_use]
    pub fn stamps(&self) -> PathBuf {
        env::temp_dir().join(format!("{}.stamp", self.interface))
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it was ended.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("it was ended").id()
    }

    /// Sends it a signal and waits until it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.process().cast_signed()), signal).expect("our own child");
        self.ended()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it was ended");
        let status = wait_for("the daemon ends", SOON, || child.try_wait().expect("our child"));
        self.child = None;
        status
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Gives the interface addresses with their prefix lengths, an MTU, and brings it up.
    pub fn bring_up(&self, addresses: &[String], mtu: u32) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.namespace.ip(&format!("addr replace {address} dev {} {nodad}", self.interface));
        }
        self.namespace.ip(&format!("link set {} mtu {mtu} up", self.interface));
    }

    /// The configuration with these peers.
    #[must_use]
    pub fn configuration(&self, port: u16, peers: &[Peer]) -> String {
        let head = format!("[Interface]\nPrivateKey = {}\nListenPort = {port}\n", self.keys.private_text());
        peers.iter().fold(head, |text, peer| text + &peer.section())
    }

    /// `wg setconf`: this port and these peers, and nothing of what was.
    pub fn configure(&self, port: u16, peers: &[Peer]) {
        self.feed("setconf", &self.configuration(port, peers));
    }

    /// `wg setconf`, `syncconf` or `addconf` with this text.
    ///
    /// # Panics
    /// If `wg` fails.
    pub fn feed(&self, command: &str, text: &str) {
        let mut wg = Command::new("timeout");
        wg.args(["20", "wg", command, &self.interface, "/dev/stdin"]).stdin(Stdio::piped());
        let mut child = wg.spawn().expect("wg is there");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("wg reads");
        let status = child.wait().expect("our child");
        assert!(status.success(), "{wg:?}: {status}");
    }

    /// `wg set` with these arguments.
    ///
    /// # Panics
    /// If `wg` fails.
    pub fn set(&self, arguments: &str) {
        check(Command::new("timeout").args(["20", "wg", "set", &self.interface]).args(arguments.split_whitespace()));
    }

    /// `wg show INTERFACE` and a word.
    ///
    /// # Panics
    /// If `wg` fails.
    #[must_use]
    pub fn show(&self, what: &str) -> String {
        check(Command::new("timeout").args(["20", "wg", "show", &self.interface]).args(what.split_whitespace()))
    }

    /// What `wg show` says of a peer under this word, if it is there.
    #[must_use]
    pub fn show_peer(&self, what: &str, public_key: &str) -> Option<String> {
        let all = self.show(what);
        all.lines().find_map(|line| line.strip_prefix(public_key)).map(|rest| rest.trim().to_owned())
    }

    /// Where it believes a peer to be.
    #[must_use]
    pub fn endpoint_of(&self, other: &Self) -> Option<SocketAddr> {
        self.show_peer("endpoints", &other.keys.public_text())?.parse().ok()
    }

    /// When it last had a handshake with a peer, in seconds since 1970; zero for never.
    ///
    /// # Panics
    /// If it does not know the peer.
    #[must_use]
    pub fn handshake_with(&self, other: &Self) -> u64 {
        let text = self.show_peer("latest-handshakes", &other.keys.public_text());
        text.and_then(|text| text.parse().ok()).expect("a peer and a number")
    }

    /// Bytes received from and sent to a peer.
    ///
    /// # Panics
    /// If it does not know the peer.
    #[must_use]
    pub fn transfer_with(&self, other: &Self) -> [u64; 2] {
        let text = self.show_peer("transfer", &other.keys.public_text()).expect("a peer");
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().expect("two numbers")
    }

    /// Its processes: the one that was started, and the one that serves if that is another.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process())).expect("a running process");
        let children = tasks.map(|task| {
            let path = task.expect("a readable folder").path().join("children");
            fs::read_to_string(path).expect("a kernel that lists children")
        });
        let children: String = children.collect();
        let children = children.split_whitespace().map(|child| child.parse().expect("a number"));
        std::iter::once(self.process()).chain(children).collect()
    }

    /// Memory of its processes that is really in use, in KiB. What both share, the program above all, counts once.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let processes = self.processes();
        let (server, others) = processes.split_last().expect("the one that was started");
        let sum = |process: &u32, file: &str, names: &[&str]| -> u64 {
            let text = fs::read_to_string(format!("/proc/{process}/{file}")).expect("a running process");
            let fields =
                names.iter().map(|name| text.lines().find_map(|line| line.strip_prefix(name)).expect("its line"));
            fields.map(|field| field.trim_end_matches("kB").trim().parse::<u64>().expect("a number")).sum()
        };
        let private = |process: &u32| sum(process, "smaps_rollup", &["Private_Clean:", "Private_Dirty:"]);
        sum(server, "status", &["VmRSS:"]) + others.iter().map(private).sum::<u64>()
    }

    /// Processor time it has used, in hundredths of a second.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn processor_time(&self) -> u64 {
        let stat = |process| fs::read_to_string(format!("/proc/{process}/stat")).expect("a running process");
        self.processes().into_iter().map(|process| name_and_time(&stat(process)).1).sum()
    }

    /// The same of each thread that its server has now, by name.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn thread_times(&self) -> Vec<(String, u64)> {
        let server = *self.processes().last().expect("the one that was started");
        let tasks = fs::read_dir(format!("/proc/{server}/task")).expect("a running process");
        let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        stats.map(|stat| name_and_time(&stat)).collect()
    }
}

/// The name and the processor time, in hundredths of a second, of a process or thread by its `stat`.
fn name_and_time(stat: &str) -> (String, u64) {
    let (before, behind) = stat.rsplit_once(')').expect("a closing parenthesis");
    let name = before.split_once('(').map_or("", |(_, name)| name).to_owned();
    // proc_pid_stat(5): utime and stime are fields 14 and 15, and the name is the second.
    (name, behind.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum())
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_file(self.stamps());
    }
}
