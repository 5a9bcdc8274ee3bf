//! Endpoints: from names to addresses, with the patience of wg(8).

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::say::say;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use kerntun_config::{Endpoint, Host, ScopedIp};
use std::env;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::thread::sleep;
use std::time::Duration;

/// How often a look-up that may yet succeed is tried again, unless `WG_ENDPOINT_RESOLUTION_RETRIES` says otherwise.
const RETRIES: u32 = 15;

/// First and longest pause between look-ups. Each is a fifth longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Longest time for which an interrupt goes unnoticed while waiting.
const SLICE: Duration = Duration::from_millis(100);

/// Finds the address an endpoint has now.
///
/// # Errors
/// When the name has no address, or its servers do not answer for as long as they are given.
pub(crate) fn resolve(endpoint: &Endpoint, interrupt: &Interrupt) -> Result<SocketAddr, Failure> {
    let host = match &endpoint.host {
        Host::Ip(ScopedIp { ip, scope: None }) => return Ok(SocketAddr::new(*ip, endpoint.port)),
        Host::Ip(ScopedIp { ip: IpAddr::V6(ip), scope: Some(scope) }) => {
            let index = match scope.as_str().parse() {
                Ok(index) => Some(index),
                Err(_) => index_of(scope.as_str()),
            };
            let index = index.ok_or_else(|| {
                Failure::new(format!("the endpoint {endpoint} is on the interface {scope}, which does not exist"))
                    .help("put the name of the interface that leads to the peer after '%'")
            })?;
            return Ok(SocketAddrV6::new(*ip, endpoint.port, 0, index).into());
        }
        Host::Ip(ScopedIp { ip, .. }) => return Ok(SocketAddr::new(*ip, endpoint.port)),
        Host::Name(name) => name.as_str(),
    };
    let mut retries = retries(env::var("WG_ENDPOINT_RESOLUTION_RETRIES").ok().as_deref());
    let mut pause = FIRST_PAUSE;
    loop {
        let problem = match look_up(host, endpoint.port) {
            Ok(address) => return Ok(address),
            Err(problem) => problem,
        };
        if problem.is_final || retries == Some(0) {
            return Err(problem.failure(host));
        }
        retries = retries.map(|left| left.saturating_sub(1));
        say!("{host}: {}. Trying again in {:.2} seconds...", problem.message, pause.as_secs_f64());
        wait(pause, interrupt)?;
        pause = pause.mul_f64(1.2).min(LONGEST_PAUSE);
    }
}

/// Why a look-up found nothing.
struct Problem {
    message: String,
    /// Whether asking again is in vain.
    is_final: bool,
}

impl Problem {
    fn failure(&self, host: &str) -> Failure {
        let help = if self.is_final {
            "check the spelling of the name in Endpoint, or write the address itself"
        } else {
            "check this machine's connection and its name servers, or write the address itself in Endpoint"
        };
        Failure::new(format!("the endpoint's name '{host}' cannot be resolved: {}", self.message)).help(help)
    }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, Problem> {
    let hints = AddrInfoHints { socktype: SockType::DGram.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        let is_final =
            matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::Fail | LookupErrorKind::NoData);
        let message = std::io::Error::from(error).to_string();
        let message = message.rsplit(": ").next().unwrap_or(&message).to_owned();
        Problem { message, is_final }
    })?;
    let mut addresses = found.flatten().map(|info| info.sockaddr);
    let mut address =
        addresses.next().ok_or_else(|| Problem { message: "it has no address".to_owned(), is_final: true })?;
    address.set_port(port);
    Ok(address)
}

/// How often to try again; none is for ever.
fn retries(setting: Option<&str>) -> Option<u32> {
    match setting {
        Some("infinity") => None,
        Some(number) => Some(number.parse().unwrap_or(RETRIES)),
        None => Some(RETRIES),
    }
}

fn wait(time: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut left = time;
    while !left.is_zero() {
        interrupt.check()?;
        let slice = left.min(SLICE);
        sleep(slice);
        left -= slice;
    }
    interrupt.check()
}

fn index_of(interface: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        let host = match host.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(host.parse().unwrap()),
        };
        Endpoint { host, port }
    }

    #[test]
    fn addresses_need_no_server() {
        let quiet = Interrupt::default();
        let at = |host, port| resolve(&endpoint(host, port), &quiet).unwrap().to_string();
        assert_eq!(at("192.0.2.1", 51820), "192.0.2.1:51820");
        assert_eq!(at("2001:db8::1", 1), "[2001:db8::1]:1");
        assert_eq!(at("fe80::1%7", 1), "[fe80::1%7]:1");
        assert_eq!(at("localhost", 9).rsplit(':').next(), Some("9"));
        let missing = resolve(&endpoint("fe80::1%ktc-none", 1), &quiet).unwrap_err().to_string();
        assert!(missing.contains("ktc-none, which does not exist"), "{missing}");
    }

    #[test]
    fn settings_of_patience() {
        assert_eq!(retries(None), Some(15));
        assert_eq!(retries(Some("infinity")), None);
        assert_eq!(retries(Some("0")), Some(0));
        assert_eq!(retries(Some("3")), Some(3));
        assert_eq!(retries(Some("many")), Some(15));
    }
}
