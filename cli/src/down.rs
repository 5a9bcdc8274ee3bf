//! `kerntun down`: takes a tunnel down, whoever brought it up and whether or not its daemon is alive.
//!
//! All that is remembered between up and down is that the tunnel came up. What is to be removed is found where it is: the
//! interface, the mark in its state or in its firewall, the rules by that mark, the firewall by the interface's name.

use crate::configuration::{self, Configuration};
use crate::dead::Dead;
use crate::device::{self, Device, Found};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::netlink::link::Link;
use crate::netlink::rule::{self, Family};
use crate::netlink::{Netlink, address};
use crate::say::say;
use crate::up::open;
use crate::{dns, firewall, hooks, plan, privilege, record, save, start};
use kerntun_config::{AllowedIp, Config, InterfaceName, Table};
use kerntun_uapi::DeviceState;
use std::process::ExitCode;

/// What `kerntun down` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Does what 'wg-quick down' does: runs the hooks, saves the state if SaveConfig is set, and
removes name servers, firewall, rules, routes and the interface. It also cleans up after a
tunnel of 'kerntun up' whose daemon was killed, hooks included. If the file has errors by now, what can be read of it is done,
nothing is saved, and the exit code is 1.

Example:
  sudo kerntun down wg0          the tunnel of /etc/wireguard/wg0.conf")]
pub(crate) struct Args {
    /// A configuration file, or the name of an interface for /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// Takes the tunnel down. From the first removal on, nothing stops it, signals included: what cannot be removed is told at the end.
///
/// # Errors
/// When it is not up, a PreDown hook fails, the state cannot be saved, something stays behind, or the file has errors.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    privilege::require(&format!("down {}", args.file))?;
    let Read { configuration, has_errors } = read(&args.file)?;
    let (name, interface) = (&configuration.interface, &configuration.config.interface);
    let mut netlink = open()?;
    let found = Device::find(&mut netlink, name)?;
    let remains = match &found {
        Found::Device(device, link) => {
            hooks::run("PreDown", &interface.pre_down, name)?;
            let state = device.state()?;
            if interface.save_config && has_errors {
                say!("warning: the state is not saved, since what cannot be read in the file would be lost");
            } else if interface.save_config {
                save_config(&mut netlink, &configuration, &state, link)?;
            }
            Remains::of(name, &state)
        }
        Found::Stranger => {
            return Err(Failure::new(format!(
                "'{name}' is an interface, but not one of WireGuard; nothing was changed"
            ))
            .help("check the name"));
        }
        Found::Orphan | Found::Nothing => {
            let marks = if matches!(found, Found::Orphan) {
                firewall::marks(name)
            } else {
                if !start::is_served_for_another(name) {
                    start::refuse_served(name)?;
                }
                let dead = Dead::of(name).ok_or_else(|| Failure::new(format!("the tunnel '{name}' is not up")))?;
                dead.marks
            };
            say!("warning: the daemon of {name} is dead or does not answer, or its interface was removed: cleaning up");
            if let Err(failure) = hooks::run("PreDown", &interface.pre_down, name) {
                say!("{failure}");
            }
            Remains::without_daemon(marks, &configuration.config)
        }
    };
    // Nobody asks it: whoever ends half of this wants the other half too.
    let _interrupt = Interrupt::install()?;
    let mut failures = remains.remove(&mut netlink, &configuration, has_errors);
    failures.extend(hooks::run("PostDown", &interface.post_down, name).err());
    record::remove(name);
    if has_errors {
        let message = format!("what cannot be read in '{}' was left out", configuration.path.display());
        failures.push(Failure::new(message).help("mend what is shown above"));
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(ExitCode::SUCCESS),
        Some(first) => Err(failures.fold(first, |first, next| first.help(format!("and then {next}")))),
    }
}

/// A configuration, and whether it is only a part of what the file should say.
struct Read {
    configuration: Configuration,
    has_errors: bool,
}

/// The configuration, or what can be read of it if the file was broken since the tunnel came up: nobody should be caught in a
/// tunnel, or behind what its hooks put up, by a typing error.
fn read(argument: &str) -> Result<Read, Failure> {
    let judged = configuration::judge(argument)?;
    let has_errors = judged.config.is_none();
    if has_errors {
        judged.diagnostics.iter().for_each(|diagnostic| say!("{diagnostic}\n"));
        say!("warning: the file has errors: taking the tunnel down by what can be read of it");
    }
    let config = judged.config.or(judged.partial).unwrap_or_default();
    let configuration = Configuration { path: judged.location.path, interface: judged.location.interface, config };
    Ok(Read { configuration, has_errors })
}

/// What is to be removed besides the interface and what bears its name.
struct Remains {
    /// The families with policy rules, and the mark in these. Another tunnel may have the same mark for the other family.
    marks: Vec<(Family, u32)>,
}

impl Remains {
    /// Finds out from the state of a tunnel, and from its firewall in case the state was changed since it came up.
    fn of(name: &InterfaceName, state: &DeviceState) -> Self {
        let mut marks = firewall::marks(name);
        if state.fwmark != 0 {
            marks.extend(defaults(&device::allowed_ips(state)).map(|family| (family, state.fwmark)));
        }
        marks.sort_unstable();
        marks.dedup();
        Self { marks }
    }

    /// Finds out without the daemon, which is dead, from its firewall or from the file.
    fn without_daemon(mut marks: Vec<(Family, u32)>, config: &Config) -> Self {
        if let (true, Some(mark)) = (marks.is_empty(), config.interface.fwmark.filter(|mark| *mark != 0)) {
            let allowed: Vec<AllowedIp> = config.peers.iter().flat_map(|peer| peer.allowed_ips.clone()).collect();
            marks.extend(defaults(&allowed).map(|family| (family, mark)));
        }
        Self { marks }
    }

    /// Removes everything and returns what went wrong. If the file has errors, name servers may have been meant.
    fn remove(&self, netlink: &mut Netlink, configuration: &Configuration, has_errors: bool) -> Vec<Failure> {
        let (name, interface) = (&configuration.interface, &configuration.config.interface);
        let mut failures = Vec::new();
        match dns::tool() {
            Ok(tool) if dns::wanted(interface) || has_errors => failures.extend(dns::unset(tool, name).err()),
            Err(failure) if dns::wanted(interface) => failures.push(failure),
            _ => {}
        }
        failures.extend(firewall::take_down(name).err());
        if interface.table == Table::Auto {
            failures.extend(self.marks.iter().filter_map(|(family, mark)| remove_rules(netlink, *family, *mark)));
        }
        say!("[-] interface {name}");
        failures.extend(start::destroy(netlink, name).err());
        failures
    }
}

/// The families all of which goes through the tunnel.
fn defaults(allowed: &[AllowedIp]) -> impl Iterator<Item = Family> {
    let has_default = |family| allowed.iter().any(|one| one.prefix() == 0 && plan::family(one.ip()) == family);
    Family::ALL.into_iter().filter(move |family| has_default(*family))
}

/// Removes the tunnel's rules, however often they are there.
fn remove_rules(netlink: &mut Netlink, family: Family, mark: u32) -> Option<Failure> {
    loop {
        match rule::remove_pair(netlink, family, mark) {
            Ok(true) => say!("[-] rules of {family} for mark {mark}"),
            Ok(false) => return None,
            Err(error) => return Some(Failure::new(format!("the rules of {family} cannot be removed: {error}"))),
        }
    }
}

fn save_config(
    netlink: &mut Netlink,
    configuration: &Configuration,
    state: &DeviceState,
    link: &Link,
) -> Result<(), Failure> {
    let addresses = address::list(netlink, link.index)
        .map_err(|error| Failure::new(format!("the addresses to be saved cannot be listed: {error}")))?;
    save::save(configuration, state, &addresses, link.mtu)
}
