//! Two network namespaces with a cable between them.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Programs of two machines, `a` (192.0.2.1, 2001:db8::1) and `b` (192.0.2.2, 2001:db8::2); `b` is the default route of
/// `a`. Removed with all that runs in it when dropped.
pub(crate) struct Lab {
    name: String,
    /// A private directory for files.
    pub(crate) directory: PathBuf,
}

/// How a program ended and what it said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    /// Builds it; none where that cannot be, after saying why.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: {test} needs root for network namespaces");
            return None;
        }
        if !fs::exists("/dev/net/tun").unwrap() {
            println!("SKIPPED: {test} needs /dev/net/tun");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ktc{:x}{number}", std::process::id() % 0xffff);
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
        let lab = Self { name, directory };
        for side in ["a", "b"] {
            let added = Command::new("ip").args(["netns", "add", &lab.namespace(side)]).output();
            if !added.as_ref().is_ok_and(|output| output.status.success()) {
                println!("SKIPPED: {test} needs iproute2 and network namespaces: {added:?}");
                return None;
            }
        }
        let (a, b) = (lab.namespace("a"), lab.namespace("b"));
        sh(&format!("ip link add cable netns {a} type veth peer name cable netns {b}"));
        for (side, number) in [(&a, 1), (&b, 2)] {
            sh(&format!(
                "ip -n {side} link set lo up; ip -n {side} link set cable addrgenmode none; \
                 ip -n {side} address add 192.0.2.{number}/24 dev cable; ip -n {side} link set cable up; \
                 ip -n {side} -6 address add 2001:db8::{number}/64 dev cable nodad"
            ));
        }
        sh(&format!("ip -n {a} route add default via 192.0.2.2; ip -n {a} -6 route add default via 2001:db8::2"));
        // The kernel finds out about the cable in its own time, and writes that into its routes.
        for side in ["a", "b"] {
            let up = || lab.sh(side, "ip link show cable").out.contains("state UP");
            assert!((0..1500).any(|_| up() || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }));
        }
        Some(lab)
    }

    /// The same where these programs are installed.
    pub(crate) fn with(test: &str, programs: &[&str]) -> Option<Self> {
        Self::new(test).filter(|_| programs.iter().all(|program| installed(test, program)))
    }

    /// The same where there is what `up` makes its firewall with.
    pub(crate) fn with_firewall(test: &str) -> Option<Self> {
        Self::new(test).filter(|_| firewall(test))
    }

    /// The same for tunnels that everything of `a` goes into, with the switch on that such a tunnel leaves on.
    pub(crate) fn for_everything(test: &str) -> Option<Self> {
        let lab = Self::with_firewall(test)?;
        lab.allow_marks();
        Some(lab)
    }

    pub(crate) fn allow_marks(&self) {
        self.sh("a", "echo 1 > /proc/sys/net/ipv4/conf/all/src_valid_mark").good();
    }

    /// The name of a tunnel of one side. The configuration sockets of all namespaces lie in one directory, so names of
    /// different tests must differ.
    pub(crate) fn tunnel(&self, side: &str) -> String {
        format!("{}{side}", self.name)
    }

    /// The namespace of a side.
    pub(crate) fn namespace(&self, side: &str) -> String {
        format!("{}-{side}", self.name)
    }

    /// A command within a side.
    pub(crate) fn command(&self, side: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(side), program]).stdin(Stdio::null());
        command.env_remove("WG_QUICK_USERSPACE_IMPLEMENTATION").env("WG_ENDPOINT_RESOLUTION_RETRIES", "0");
        command
    }

    /// Runs the program under test within a side.
    pub(crate) fn kerntun(&self, side: &str, arguments: &[&str]) -> Said {
        said(self.command(side, KERNTUN).args(arguments).output().unwrap())
    }

    /// A program in the lab's directory, for [`Lab::with_fakes`].
    pub(crate) fn fake(&self, program: &str, script: &str) -> PathBuf {
        let file = self.directory.join(program);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        file
    }

    /// The program under test within `a`, where the lab's directory is searched first for programs.
    pub(crate) fn with_fakes(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("a", KERNTUN);
        let tools = format!("{}:{}", self.directory.display(), std::env::var("PATH").unwrap());
        command.args(arguments).env("PATH", tools);
        command
    }

    /// Runs the program under test within `a`, where these programs are not installed.
    pub(crate) fn without(&self, programs: &[&str], arguments: &[&str]) -> Said {
        // A device is nothing that can be run. What a link leads to may be covered already.
        let script = format!(
            "for program in {}; do for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do \
             test ! -f $directory/$program || mount --bind /dev/null $directory/$program || exit 99; done; done; \
             exec {KERNTUN} {}",
            programs.join(" "),
            arguments.join(" ")
        );
        said(self.command("a", "unshare").args(["-m", "sh", "-c", &script]).output().unwrap())
    }

    /// Runs a script within a side and returns what it prints.
    pub(crate) fn sh(&self, side: &str, script: &str) -> Said {
        said(self.command(side, "sh").args(["-c", script]).output().unwrap())
    }

    /// Writes the configuration of a side's tunnel and returns its path.
    pub(crate) fn write(&self, side: &str, text: &str) -> String {
        let path = self.directory.join(format!("{}.conf", self.tunnel(side)));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// All of a side's network configuration that a tunnel touches.
    pub(crate) fn state(&self, side: &str) -> String {
        let script = "ip -d address | sed 's/ *valid_lft.*//; s/numtxq.*//'; ip rule; ip -6 rule; \
            ip route show table all; ip -6 route show table all; nft list ruleset; \
            cat /proc/sys/net/ipv4/conf/all/src_valid_mark";
        self.sh(side, script).out
    }

    /// Whether a side reaches an address, given time to lose the first handshake and try again after five seconds.
    pub(crate) fn reaches(&self, side: &str, address: &str) -> bool {
        self.sh(side, &format!("ping -c 8 -i 1 -W 2 {address}")).code == Some(0)
    }

    /// Kills both processes of the only daemon of a side.
    pub(crate) fn kill_daemon(&self, side: &str) {
        let pids = sh(&format!("ip netns pids {}", self.namespace(side))).good().out;
        let pids: Vec<&str> = pids.split_whitespace().collect();
        assert_eq!(pids.len(), 2, "one daemon is expected in this namespace: {pids:?}");
        // The second may be gone by the death of the first.
        let _ = sh(&format!("kill -KILL {}", pids.join(" ")));
    }

    /// A UDP socket in a side, bound to a port of both families.
    pub(crate) fn bind(&self, side: &str, port: u16) -> UdpSocket {
        let namespace = fs::File::open(format!("/run/netns/{}", self.namespace(side))).unwrap();
        let bind = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind(("0.0.0.0", port)).unwrap()
        };
        std::thread::spawn(bind).join().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for side in ["a", "b"] {
            // The daemons end when their interfaces go, whatever these are called.
            let links = "for link in $(ls /sys/class/net); do ip link delete $link; done";
            let _ = self.command(side, "sh").args(["-c", links]).output();
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(side)]).output();
        }
        // Some tests have a third tunnel.
        for side in ["a", "b", "c"] {
            let _ = fs::remove_file(format!("/var/lib/kerntun/{}.stamp", self.tunnel(side)));
        }
        // Of tunnels that came up and were not taken down.
        let _ = sh(&format!("rm -f /run/kerntun/{}[abc]@*", self.name));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program under test.
pub(crate) const KERNTUN: &str = env!("CARGO_BIN_EXE_kerntun");

/// Whether a program is installed; says so when not.
pub(crate) fn installed(test: &str, program: &str) -> bool {
    let found = sh(&format!("command -v {program}")).code == Some(0);
    if !found {
        println!("SKIPPED: {test} needs {program}");
    }
    found
}

/// Whether there is what `up` makes its firewall with; says so when not.
fn firewall(test: &str) -> bool {
    let found = sh("command -v nft || command -v iptables-restore && command -v ip6tables-restore").code == Some(0);
    if !found {
        println!("SKIPPED: {test} needs nft or iptables");
    }
    found
}

/// Runs a script here.
pub(crate) fn sh(script: &str) -> Said {
    said(Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output().unwrap())
}

pub(crate) fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// Panics unless this went well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// Panics unless this failed with that exit code, and said that.
    #[track_caller]
    pub(crate) fn bad(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "'{words}' is missing in\n{}", self.err);
        self
    }
}
