//! OpenVPN at both ends: TLS between two self-signed certificates that know each other's fingerprints, AES-256-GCM for data.

use crate::daemon::Daemon;
use crate::stage::{INNER, INNER_MTU, NAMES, OUTER, PORTS};
use kerntun_lab::{Site, Trouble};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Starts both. They configure their interfaces themselves.
pub(crate) fn start(program: &Path, sites: &[Site; 2]) -> Result<Vec<Daemon>, Trouble> {
    static FINGERPRINTS: OnceLock<Result<[String; 2], Trouble>> = OnceLock::new();
    let fingerprints = FINGERPRINTS.get_or_init(|| Ok([certificate(NAMES[0])?, certificate(NAMES[1])?])).clone()?;
    let mut daemons = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        let other = 1 - at;
        let text = |value: &dyn std::fmt::Display| value.to_string();
        let mut command = Command::new(program);
        command.args(["--dev", NAMES[at], "--dev-type", "tun", "--mode", "p2p", "--proto", "udp4", "--verb", "1"]);
        command.args(["--local", &text(&OUTER[at]), "--lport", &text(&PORTS[at])]);
        command.args(["--remote", &text(&OUTER[other]), &text(&PORTS[other])]);
        command.args(["--ifconfig", &text(&INNER[at]), &text(&INNER[other]), "--tun-mtu", &text(&INNER_MTU)]);
        command.args(["--mssfix", "0", "--data-ciphers", "AES-256-GCM", "--cipher", "AES-256-GCM"]);
        command.args(["--cert", &file(NAMES[at], "crt"), "--key", &file(NAMES[at], "key")]);
        command.args(["--peer-fingerprint", &fingerprints[other]]);
        // Saves a system call per packet.
        command.args(["--fast-io", "--sndbuf", "4194304", "--rcvbuf", "4194304"]);
        // There is no kernel module to hand the packets to, and this measures the program.
        command.arg("--disable-dco");
        command.args(if at == 0 { &["--tls-client"][..] } else { &["--tls-server", "--dh", "none"] });
        daemons.push(Daemon::start(site, NAMES[at], command)?);
    }
    Ok(daemons)
}

/// Makes a key and a certificate for it, and gives its SHA-256 fingerprint.
fn certificate(name: &str) -> Result<String, Trouble> {
    let (key, certificate) = (file(name, "key"), file(name, "crt"));
    let subject = format!("/CN={name}");
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"];
    let files = ["-subj", &subject, "-keyout", &key, "-out", &certificate];
    openssl(&[&["req", "-x509"], &curve[..], &files].concat())?;
    let said = openssl(&["x509", "-in", &certificate, "-noout", "-fingerprint", "-sha256"])?;
    let fingerprint = said.trim().rsplit_once('=').map(|(_, digits)| digits.to_owned());
    fingerprint.ok_or_else(|| Trouble::new(format!("openssl gave no fingerprint but '{said}'")))
}

fn openssl(arguments: &[&str]) -> Result<String, Trouble> {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Trouble::new(format!("'openssl' cannot be run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Trouble::new(format!("'openssl {}' failed: {said}", arguments.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// In the file system of the namespaces, which ends with them.
fn file(name: &str, kind: &str) -> String {
    format!("/run/{name}.{kind}")
}
