//! SaveConfig: the running state written back to the file.

use crate::configuration::Configuration;
use crate::device::allowed_ips_of;
use crate::failure::Failure;
use crate::say::say;
use kerntun_config::{Address, Config, Endpoint, Host, Key, Peer, PublicKey, Scope};
use kerntun_uapi::{DeviceState, PeerState, SecretKey};
use nix::net::if_::if_indextoname;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the configuration with everything that may have changed as it is now. Comments are lost, as with wg-quick(8).
/// The file is replaced whole or not at all.
///
/// Unlike wg-quick, DNS is kept as it stands in the file, since resolvconf does not give search domains back.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(
    configuration: &Configuration,
    state: &DeviceState,
    addresses: &[Address],
    mtu: u32,
) -> Result<(), Failure> {
    let config = merge(&configuration.config, state, addresses, mtu);
    let text = config.to_text();
    // The file may be a link, and what it leads to is meant.
    let path = fs::canonicalize(&configuration.path).unwrap_or_else(|_| configuration.path.clone());
    replace(&path, text.as_bytes()).map_err(|error| {
        Failure::new(format!("the configuration cannot be saved to '{}': {error}", path.display()))
            .help("set SaveConfig = false to take the tunnel down without saving")
    })?;
    say!("[+] {}: saved", path.display());
    Ok(())
}

/// The file's configuration with the state's keys, port, mark and peers.
fn merge(file: &Config, state: &DeviceState, addresses: &[Address], mtu: u32) -> Config {
    let mut config = file.clone();
    let interface = &mut config.interface;
    interface.private_key = state.private_key.as_ref().map(key);
    interface.listen_port = (state.listen_port != 0).then_some(state.listen_port);
    interface.fwmark = (state.fwmark != 0).then_some(state.fwmark);
    interface.addresses =
        addresses.iter().copied().filter(|address| meant(*address, &file.interface.addresses)).collect();
    // Only a size the user chose is kept; one that was found out will be found out again.
    interface.mtu = interface.mtu.and_then(|_| u16::try_from(mtu).ok());
    config.peers = state.peers.iter().map(peer).collect();
    config
}

/// Whether an address was given by somebody. The kernel makes link-local ones by itself.
fn meant(address: Address, given: &[Address]) -> bool {
    match address.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => given.contains(&address),
        _ => true,
    }
}

fn peer(state: &PeerState) -> Peer {
    let mut peer = Peer::new(PublicKey::from_bytes(state.public_key.0));
    peer.preshared_key = state.preshared_key.as_ref().map(key);
    peer.allowed_ips = allowed_ips_of(state).collect();
    // A packet may come from port 0, and a file with that could not be read any more.
    peer.endpoint = state.endpoint.filter(|address| address.port() != 0).map(endpoint);
    peer.persistent_keepalive = Some(state.persistent_keepalive_interval).filter(|seconds| *seconds != 0);
    peer
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let mut host = kerntun_config::ScopedIp::from(address.ip());
    if let SocketAddr::V6(v6) = address
        && v6.scope_id() != 0
    {
        // The name, as wg(8) writes it: the number may be another interface's after the next boot.
        let name = if_indextoname(v6.scope_id()).ok().and_then(|name| name.into_string().ok());
        let name = name.and_then(|name| Scope::new(&name).ok());
        host.scope = name.or_else(|| Scope::new(&v6.scope_id().to_string()).ok());
    }
    Endpoint { host: Host::Ip(host), port: address.port() }
}

fn key(secret: &SecretKey) -> Key {
    Key::from_bytes(*secret.as_bytes())
}

/// Puts a new file in place of the old one, safely even if the power fails.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let write = || -> io::Result<()> {
        // A leftover may have other permissions.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_state_wins_over_the_file() {
        let text = b"[Interface]\nAddress = 10.0.0.1/24, fe80::7/64\nDNS = 10.0.0.9, lan\nTable = off\nSaveConfig = true\nPostUp = true\n";
        let file = kerntun_config::Parser::new("x").parse(text).config.unwrap();
        let mut state = DeviceState { listen_port: 7, fwmark: 51820, ..DeviceState::default() };
        state.private_key = Some(SecretKey::new(&[1; 32]));
        let mut peer = PeerState::new(kerntun_uapi::PublicKey([2; 32]));
        peer.endpoint = "[fe80::1%4000000000]:9".parse().ok();
        peer.allowed_ips = vec![kerntun_uapi::AllowedIp { address: [10, 0, 0, 0].into(), prefix: 8 }];
        state.peers.push(peer);
        let addresses = ["10.0.0.5/24", "fe80::7/64", "fe80::1234/64", "fd00::1/64"].map(|a| a.parse().unwrap());
        let saved = merge(&file, &state, &addresses, 1400).to_text();

        assert!(saved.contains("fd00::1/64") && saved.contains("fe80::7/64"), "{}", saved.as_str());
        assert!(!saved.contains("fe80::1234") && !saved.contains("10.0.0.1/24"), "{}", saved.as_str());
        for line in ["ListenPort = 7", "SaveConfig = true", "PostUp = true", "Table = off", "AllowedIPs = 10.0.0.0/8"] {
            assert!(saved.lines().any(|found| found == line), "{line} is missing in\n{}", saved.as_str());
        }
        assert!(saved.contains("[fe80::1%4000000000]:9") && !saved.contains("MTU"), "{}", saved.as_str());
        let again = kerntun_config::Parser::new("x").parse(saved.as_bytes()).config.unwrap();
        assert_eq!(again.interface.fwmark, Some(51820));
        assert_eq!(again.interface.dns, file.interface.dns);
    }

    #[test]
    fn an_endpoint_without_a_port_is_left_out() {
        let saved = |text: &str| {
            let mut state = PeerState::new(kerntun_uapi::PublicKey([2; 32]));
            state.endpoint = text.parse().ok();
            peer(&state).endpoint.map(|endpoint| endpoint.to_string())
        };
        assert_eq!(saved("192.0.2.1:9").as_deref(), Some("192.0.2.1:9"));
        assert_eq!(saved("192.0.2.1:0"), None);
    }

    #[test]
    fn a_scope_is_saved_by_its_name() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let saved = |scope: u32| endpoint(format!("[fe80::1%{scope}]:9").parse().unwrap()).to_string();
        assert_eq!(saved(lo), "[fe80::1%lo]:9");
        assert_eq!(saved(u32::MAX), format!("[fe80::1%{}]:9", u32::MAX));
    }

    #[test]
    fn the_file_is_replaced_whole_and_private() {
        let directory = std::env::temp_dir().join(format!("ktc-save-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("wg0.conf");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
