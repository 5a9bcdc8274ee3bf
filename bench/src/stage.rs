//! Two network namespaces with a wire between them, and a tunnel through it.

use crate::daemon::Daemon;
use crate::subject::{Program, Subject};
use crate::{echo, openvpn};
use kerntun_lab::{Site, Trouble};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Addresses on the wire, which documents use (RFC 5737).
pub(crate) const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// Addresses in the tunnel.
pub(crate) const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 213, 0, 1), Ipv4Addr::new(10, 213, 0, 2)];
/// UDP ports of the tunnels.
pub(crate) const PORTS: [u16; 2] = [51_820, 51_821];
/// Names of the tunnel's interfaces.
pub(crate) const NAMES: [&str; 2] = ["west", "east"];
/// MTU of the tunnel in bytes, and of the bare wire, so that packets are alike.
pub(crate) const INNER_MTU: u32 = 1420;
const OUTER_MTU: u32 = 1500;
const WIRE: &str = "wire";

/// A subject at work. All of it is gone when this is dropped.
pub(crate) struct Stage {
    /// West and east.
    pub(crate) sites: [Site; 2],
    /// The addresses to send to.
    pub(crate) addresses: [Ipv4Addr; 2],
    /// The processes that serve the tunnel; none for the bare wire.
    pub(crate) daemons: Vec<Daemon>,
}

impl Stage {
    /// Builds the namespaces and the wire, starts the subject, and waits until packets pass.
    pub(crate) fn build(subject: &Subject) -> Result<Self, Trouble> {
        let sites = wired(if subject.program == Program::Bare { INNER_MTU } else { OUTER_MTU })?;
        let addresses = if subject.program == Program::Bare { OUTER } else { INNER };
        let daemons = match subject.program {
            Program::Bare => Vec::new(),
            Program::Forwarder => forwarders(&sites)?,
            Program::OpenVpn => openvpn::start(&subject.path, &sites)?,
            _ => tunnel(subject, &sites)?,
        };
        let mut stage = Self { sites, addresses, daemons };
        if let Err(trouble) = echo::reach(&stage.sites, stage.addresses[1], Duration::from_secs(20)) {
            stage.daemons.iter_mut().try_for_each(Daemon::check)?;
            return Err(trouble);
        }
        Ok(stage)
    }

    /// Gives the daemons of a tunnel their only peers, whatever they had, and waits until packets pass again.
    pub(crate) fn configure(&self) -> Result<(), Trouble> {
        self.daemons.iter().enumerate().try_for_each(|(at, daemon)| daemon.configure(at))?;
        echo::reach(&self.sites, self.addresses[1], Duration::from_secs(20))
    }

    /// Does something over a wire that cannot cut UDP super-packets into datagrams: they are cut before it.
    pub(crate) fn plainly<T>(&self, body: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let set = |state| self.sites.iter().try_for_each(|site| segmentation(site, WIRE, state));
        set("off")?;
        let done = body();
        set("on")?;
        done
    }

    /// Does something while UDP super-packets are cut into packets before they come to the subject.
    pub(crate) fn one_by_one<T>(&self, body: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let name = if self.daemons.is_empty() { WIRE } else { NAMES[0] };
        segmentation(&self.sites[0], name, "off")?;
        let done = body();
        // Not every device could do it before: OpenVPN's cannot.
        let _ = segmentation(&self.sites[0], name, "on");
        done
    }
}

fn segmentation(site: &Site, name: &str, state: &str) -> Result<(), Trouble> {
    run(site, "ethtool", &["-K", name, "tx-udp-segmentation", state])
}

/// Two sites with a wire of this MTU.
pub(crate) fn wired(mtu: u32) -> Result<[Site; 2], Trouble> {
    let sites = [Site::new(NAMES[0])?, Site::new(NAMES[1])?];
    // A namespace by the number of a descriptor of ours, which the child inherits the right to look at.
    let there = format!("/proc/{}/fd/{}", std::process::id(), sites[1].fd());
    run(&sites[0], "ip", &["link", "add", WIRE, "type", "veth", "peer", "name", WIRE, "netns", &there])?;
    let mtu = mtu.to_string();
    for (site, outer) in sites.iter().zip(OUTER) {
        run(site, "ip", &["link", "set", "lo", "up"])?;
        run(site, "ip", &["addr", "add", &format!("{outer}/24"), "dev", WIRE])?;
        run(site, "ip", &["link", "set", WIRE, "mtu", &mtu, "up"])?;
    }
    Ok(sites)
}

/// Gives an interface its address and switches it on.
pub(crate) fn bring_up(site: &Site, name: &str, inner: Ipv4Addr) -> Result<(), Trouble> {
    run(site, "ip", &["addr", "add", &format!("{inner}/24"), "dev", name])?;
    run(site, "ip", &["link", "set", name, "mtu", &INNER_MTU.to_string(), "up"])
}

/// Runs a program to its end in a site.
pub(crate) fn run(site: &Site, program: &str, arguments: &[&str]) -> Result<(), Trouble> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    let shown = [&[program], arguments].concat().join(" ");
    site.run(move || {
        let output = command.output().map_err(|error| Trouble::new(format!("'{shown}' cannot be run: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Trouble::new(format!("'{shown}' failed ({}): {}", output.status, said.trim())))
    })
}

fn forwarders(sites: &[Site; 2]) -> Result<Vec<Daemon>, Trouble> {
    let mut daemons = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        let mut command = Command::new("/proc/self/exe");
        let there = format!("{}:{}", OUTER[1 - at], PORTS[1 - at]);
        command.args(["forward", NAMES[at], "--port", &PORTS[at].to_string(), "--to", &there]);
        daemons.push(Daemon::start(site, NAMES[at], command)?);
        bring_up_soon(site, &mut daemons, at)?;
    }
    Ok(daemons)
}

fn tunnel(subject: &Subject, sites: &[Site; 2]) -> Result<Vec<Daemon>, Trouble> {
    let mut daemons = Vec::new();
    for (site, name) in sites.iter().zip(NAMES) {
        let mut daemon = Daemon::start(site, name, subject.command(name))?;
        daemon.wait_until_it_serves()?;
        daemons.push(daemon);
    }
    for (at, site) in sites.iter().enumerate() {
        daemons[at].configure(at)?;
        bring_up(site, NAMES[at], INNER[at])?;
    }
    Ok(daemons)
}

/// Brings an interface up as soon as it is there.
pub(crate) fn bring_up_soon(site: &Site, daemons: &mut [Daemon], at: usize) -> Result<(), Trouble> {
    for _ in 0..500 {
        if site
            .run(move || Ok::<_, Trouble>(std::fs::exists(format!("/proc/sys/net/ipv4/conf/{}", NAMES[at]))))?
            .unwrap_or(false)
        {
            return bring_up(site, NAMES[at], INNER[at]);
        }
        daemons[at].check()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(daemons[at].trouble("made no interface within 5 s"))
}
