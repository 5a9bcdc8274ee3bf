//! What can be measured: ours, the peers, the forwarder without cryptography, and the bare wire.

use kerntun_lab::Trouble;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// This project's daemon.
    Kerntun,
    /// The reference implementation in Go: the newest there is here.
    WireguardGo,
    /// The one of the distribution, if there is a newer one as well.
    WireguardGoOld,
    /// Mullvad's.
    Gotatun,
    /// Cloudflare's.
    Boringtun,
    /// Another protocol, for the same purpose.
    OpenVpn,
    /// `kerntun-bench forward`.
    Forwarder,
    /// The wire without a tunnel.
    Bare,
}

impl Program {
    /// In the order of tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Kerntun,
        Self::WireguardGo,
        Self::WireguardGoOld,
        Self::Gotatun,
        Self::Boringtun,
        Self::OpenVpn,
        Self::Forwarder,
        Self::Bare,
    ];

    /// What it is called on the command line and in files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kerntun => "kerntun",
            Self::WireguardGo => "wireguard-go",
            Self::WireguardGoOld => "wireguard-go-old",
            Self::Gotatun => "gotatun",
            Self::Boringtun => "boringtun",
            Self::OpenVpn => "openvpn",
            Self::Forwarder => "forwarder",
            Self::Bare => "bare",
        }
    }

    /// Whether it speaks WireGuard.
    pub(crate) fn is_wireguard(self) -> bool {
        !matches!(self, Self::OpenVpn | Self::Forwarder | Self::Bare)
    }

    /// Whether it is a process of its own at each end.
    pub(crate) fn is_tunnel(self) -> bool {
        self != Self::Bare
    }

    /// How to get it, where it is missing.
    pub(crate) fn how_to_install(self) -> &'static str {
        match self {
            Self::Kerntun => "cargo build --release -p kerntun",
            Self::WireguardGo => "apt-get install wireguard-go",
            Self::WireguardGoOld | Self::Gotatun | Self::Boringtun => "bench/install-peers",
            Self::OpenVpn => "apt-get install openvpn openssl",
            Self::Forwarder | Self::Bare => "always there",
        }
    }
}

/// Something that is there and can be measured.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) program: Program,
    /// Empty for the bare wire.
    pub(crate) path: PathBuf,
    /// What it says of itself, and of which package it is.
    pub(crate) version: String,
}

/// Where `bench/install-peers` puts what it gets.
pub(crate) fn peers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

/// Everything that is there, in the order of tables, and what is missing.
pub(crate) fn find() -> Result<(Vec<Subject>, Vec<Program>), Trouble> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for program in Program::ALL {
        match locate(program)? {
            Some(path) => found.push(Subject { program, version: version(program, &path), path }),
            // Only of interest where there are two.
            None if program == Program::WireguardGoOld => {}
            None => missing.push(program),
        }
    }
    Ok((found, missing))
}

impl Subject {
    /// The name of the program.
    pub(crate) fn name(&self) -> &'static str {
        self.program.name()
    }

    /// What serves the interface `name` in the foreground and can be configured through its socket.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.path);
        for variable in ["WG_TUN_FD", "WG_UAPI_FD", "KERNTUN_WORKERS", "KERNTUN_OFFLOAD"] {
            command.env_remove(variable);
        }
        command.env("LOG_LEVEL", "error").env("WG_LOG_LEVEL", "error");
        match self.program {
            Program::Kerntun => command.args(["run", name]).env_remove("KERNTUN_STAMP_FILE"),
            Program::Boringtun | Program::Gotatun => command.args(["--foreground", "--disable-drop-privileges", name]),
            _ => command.args(["-f", name]).env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1"),
        };
        command
    }
}

fn locate(program: Program) -> Result<Option<PathBuf>, Trouble> {
    let newer = peers_folder().join("wireguard-go/usr/bin/wireguard-go");
    let newer = newer.exists().then_some(newer);
    Ok(match program {
        Program::Kerntun => Some(beside_us("kerntun")?).filter(|path| path.exists()),
        Program::WireguardGo => newer.or_else(|| in_path("wireguard-go")),
        Program::WireguardGoOld => newer.and_then(|_| in_path("wireguard-go")),
        Program::Gotatun => in_path("gotatun"),
        Program::Boringtun => in_path("boringtun-cli"),
        Program::OpenVpn => in_path("openvpn").filter(|_| in_path("openssl").is_some()),
        Program::Forwarder => Some(beside_us("kerntun-bench")?),
        Program::Bare => Some(PathBuf::new()),
    })
}

/// A program of this workspace, made in the same profile.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf, Trouble> {
    let own = env::current_exe().map_err(|error| Trouble::new(format!("where is this program? {error}")))?;
    Ok(own.with_file_name(name))
}

/// The folder of the peers first, then `PATH` and where system programs are.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = peers_folder().join("bin");
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let places = std::iter::once(own).chain(env::split_paths(&path)).chain(system);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

fn version(program: Program, path: &Path) -> String {
    match program {
        Program::Forwarder | Program::Bare => return String::new(),
        _ => {}
    }
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned();
    let said = said.split(" x86_64").next().unwrap_or_default().to_owned();
    match package(program, path) {
        Some(package) => format!("{said}, Debian package {package}"),
        None => said,
    }
}

/// The version of the package that the program is from.
fn package(program: Program, path: &Path) -> Option<String> {
    if path.starts_with(peers_folder()) {
        return std::fs::read_to_string(path.ancestors().nth(3)?.join("version"))
            .ok()
            .map(|text| text.trim().to_owned());
    }
    let name = match program {
        Program::WireguardGo | Program::WireguardGoOld => "wireguard-go",
        Program::OpenVpn => "openvpn",
        _ => return None,
    };
    let output =
        Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}
