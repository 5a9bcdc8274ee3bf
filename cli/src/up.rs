//! `kerntun up`: a tunnel from a configuration, in wg-quick(8)'s order. A failure half-way undoes what was done, but for what hooks did.

use crate::configuration::{self, Configuration};
use crate::device::{self, Device, Found};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::netlink::link::Link;
use crate::netlink::route::{self, Route};
use crate::netlink::rule::{self, Family, Rule};
use crate::netlink::{Netlink, NetlinkError, address, table};
use crate::plan::{self, Destination, Step};
use crate::say::say;
use crate::turn::Turn;
use crate::undo::Undo;
use crate::{dns, firewall, hooks, kernel, mtu, privilege, record, resolve, start, sysctl};
use kerntun_config::{Address, AllowedIp};
use kerntun_uapi::{DeviceState, SetRequest};
use nix::errno::Errno;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

/// What `kerntun up` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Does what 'wg-quick up' does: makes the interface, gives it keys, peers and addresses,
switches it on, sets name servers and routes, and runs the hooks. If any of that fails,
all of it is undone but what hooks did: as with wg-quick, PreDown and PostDown do not run then.
A line [#] is another program being run, [+] a step done, [-] one undone.

Examples:
  sudo kerntun up wg0            the tunnel of /etc/wireguard/wg0.conf
  sudo kerntun up ./office.conf  the tunnel 'office'

Environment:
  WG_ENDPOINT_RESOLUTION_RETRIES
          how often to try resolving an endpoint's name again, or 'infinity' [15]
  WG_QUICK_USERSPACE_IMPLEMENTATION
          the daemon to start where the kernel has no WireGuard [kerntun]
  KERNTUN_STAMP_FILE
          where the daemon remembers the greatest timestamp sent [/var/lib/kerntun/NAME.stamp]")]
pub(crate) struct Args {
    /// A configuration file, or the name of an interface for /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    file: String,
}

/// Brings the tunnel up, or leaves everything as it was.
///
/// # Errors
/// Says what failed, and what could not be undone, if anything.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    privilege::require(&format!("up {}", args.file))?;
    let configuration = configuration::read(&args.file)?;
    let interrupt = Interrupt::install()?;
    let mut undo = Undo::default();
    let mut up = Up::begin(&configuration, &interrupt)?;
    match up.all(&mut undo) {
        Ok(()) => {
            undo.keep();
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            let left = undo.unwind();
            if up.is_noted && left.is_empty() {
                record::remove(&configuration.interface);
            }
            Err(left.into_iter().fold(failure, |failure, left| failure.help(format!("left behind: {left}"))))
        }
    }
}

/// The work of bringing one tunnel up.
struct Up<'a> {
    configuration: &'a Configuration,
    interrupt: &'a Interrupt,
    netlink: Netlink,
    destination: Destination,
    /// Whether there is a note now that this tunnel comes up, and was none before.
    is_noted: bool,
}

impl<'a> Up<'a> {
    /// Finds out what can be known before anything is changed.
    fn begin(configuration: &'a Configuration, interrupt: &'a Interrupt) -> Result<Self, Failure> {
        let mut netlink = open()?;
        match Device::find(&mut netlink, &configuration.interface)? {
            // The kernel's tunnels have no socket that another namespace's could be taken for.
            Found::Nothing if kernel::has_wireguard() => {}
            Found::Nothing => start::refuse_served(&configuration.interface)?,
            _ => return Err(start::exists(&configuration.interface)),
        }
        let destination = Destination::of(&configuration.config.interface.table, table::number_of).map_err(|name| {
            Failure::new(format!("there is no routing table called '{name}'"))
                .help("add its number and name to /etc/iproute2/rt_tables, or write the number itself")
        })?;
        Ok(Self { configuration, interrupt, netlink, destination, is_noted: false })
    }

    fn all(&mut self, undo: &mut Undo<'a>) -> Result<(), Failure> {
        let (name, interface) = (&self.configuration.interface, &self.configuration.config.interface);
        hooks::run("PreUp", &interface.pre_up, name)?;
        // After PreUp, which may make resolving possible, and before there is anything to be undone.
        let endpoints = self.resolve()?;
        self.interrupt.check()?;

        let device = start::create(&mut self.netlink, name)?;
        undo.push(format!("remove the interface {name}"), move || start::destroy(&mut open()?, name));
        // Not before: all that may last for hours, and another 'up' or 'down' of the same name may come and go meanwhile. There is
        // only one interface of the name, so whoever made it may write this note and take it away.
        self.is_noted = record::make(name);
        self.interrupt.check()?;
        device.set(&device::request(&self.configuration.config, &endpoints))?;
        let link = self.link()?;
        if matches!(device, Device::Daemon(_)) {
            sysctl::quieten(name.as_str());
        }
        interface.addresses.iter().try_for_each(|address| self.add_address(&link, *address))?;

        let state = device.state()?;
        self.set_up(&link, &state)?;
        device.wait_until_up();
        self.interrupt.check()?;
        if dns::wanted(interface) {
            let tool = dns::tool()?;
            // Before they are set: half of them may be when it fails.
            undo.push("take the name servers away", move || dns::unset(tool, name));
            dns::set(tool, name, interface)?;
            self.interrupt.check()?;
        }
        self.add_routes(&device, &link, &state, undo)?;
        hooks::run("PostUp", &interface.post_up, name)?;
        self.interrupt.check()
    }

    /// The addresses of all endpoints, in the order of the peers.
    fn resolve(&self) -> Result<Vec<Option<SocketAddr>>, Failure> {
        let peers = self.configuration.config.peers.iter();
        let resolved = peers.map(|peer| match &peer.endpoint {
            Some(endpoint) => resolve::resolve(endpoint, self.interrupt).map(Some),
            None => Ok(None),
        });
        resolved.collect()
    }

    fn link(&mut self) -> Result<Link, Failure> {
        let name = &self.configuration.interface;
        let found = Link::find(&mut self.netlink, name.as_str()).map_err(|error| refused("look at", name, &error))?;
        found.ok_or_else(|| {
            Failure::new(format!("the interface {name} vanished just after it was made"))
                .help("see what the daemon said above, and whether something else removes interfaces")
        })
    }

    fn add_address(&mut self, link: &Link, address: Address) -> Result<(), Failure> {
        let name = &self.configuration.interface;
        address::add(&mut self.netlink, link.index, address).map_err(|error| {
            let failure = Failure::new(format!("{name} does not get the address {address}: {error}"));
            match address.ip() {
                _ if error.is(Errno::EEXIST) => failure.help("it stands in the file twice: write it once"),
                IpAddr::V6(_) if is_ipv6_off(&error) => failure.help(IPV6_OFF),
                _ => failure.help("check the line 'Address'"),
            }
        })?;
        say!("[+] address {address}");
        Ok(())
    }

    fn set_up(&mut self, link: &Link, state: &DeviceState) -> Result<(), Failure> {
        let name = &self.configuration.interface;
        let mtu = match self.configuration.config.interface.mtu {
            Some(mtu) => mtu.into(),
            None => {
                let endpoints: Vec<IpAddr> = state.peers.iter().filter_map(|peer| Some(peer.endpoint?.ip())).collect();
                mtu::of_tunnel(&mut self.netlink, &endpoints)
                    .map_err(|error| Failure::new(format!("the MTU cannot be found out: {error}")).help("set MTU"))?
            }
        };
        link.set_up(&mut self.netlink, mtu).map_err(|error| match error.is(Errno::EINVAL) {
            true => Failure::new(format!("{name} does not take the MTU {mtu}: {error}")).help("set another MTU"),
            false => refused("switch on", name, &error),
        })?;
        say!("[+] up with MTU {mtu}");
        Ok(())
    }

    fn add_routes(
        &mut self,
        device: &Device,
        link: &Link,
        state: &DeviceState,
        undo: &mut Undo<'a>,
    ) -> Result<(), Failure> {
        let name = &self.configuration.interface;
        let existing = self.routes()?;
        let steps = plan::plan(&device::allowed_ips(state), self.destination, link.index, &existing);
        for endpoint in state.peers.iter().filter_map(|peer| peer.endpoint) {
            if let Some(prefix) = plan::swallowed(endpoint.ip(), &steps) {
                say!("{}", plan::circle(name, endpoint.ip(), prefix));
            }
        }
        let mut mark = (state.fwmark != 0).then_some(state.fwmark);
        for step in steps {
            self.interrupt.check()?;
            match step {
                Step::Route(prefix, table) => self.add_route(link, prefix, table)?,
                Step::Default(prefix, family) => {
                    let chosen = match mark {
                        Some(mark) => {
                            self.add_route(link, prefix, mark)?;
                            mark
                        }
                        None => {
                            let table = self.choose_table(link, prefix)?;
                            device.set(&SetRequest { fwmark: Some(table), ..SetRequest::default() })?;
                            table
                        }
                    };
                    mark = Some(chosen);
                    self.lead(link, family, chosen, undo)?;
                }
            }
        }
        Ok(())
    }

    fn add_route(&mut self, link: &Link, prefix: AllowedIp, table: u32) -> Result<(), Failure> {
        self.insert_route(link, prefix, table)?;
        say_route(prefix, table);
        Ok(())
    }

    /// Adds the route to a table in which there was none. The turn lasts from looking which ones are free until the route is in:
    /// nothing comes between that could wait for anybody, as others wait for us.
    fn choose_table(&mut self, link: &Link, prefix: AllowedIp) -> Result<u32, Failure> {
        let turn = Turn::wait(self.interrupt)?;
        let table = plan::free_table(&self.routes()?);
        self.insert_route(link, prefix, table)?;
        drop(turn);
        say_route(prefix, table);
        Ok(table)
    }

    fn insert_route(&mut self, link: &Link, prefix: AllowedIp, table: u32) -> Result<(), Failure> {
        route::add(&mut self.netlink, prefix, link.index, table).map_err(|error| {
            let failure = Failure::new(format!("the route to {prefix} cannot be added to table {table}: {error}"));
            match prefix.ip() {
                _ if error.is(Errno::EEXIST) => failure
                    .help("something else has a route to exactly this network: remove that one, or set Table = off"),
                IpAddr::V6(_) if is_ipv6_off(&error) => failure.help(IPV6_OFF),
                _ => failure,
            }
        })
    }

    /// Leads all of a family to the route in the mark's table, but for the tunnel's own packets, which carry the mark.
    fn lead(&mut self, link: &Link, family: Family, mark: u32, undo: &mut Undo<'a>) -> Result<(), Failure> {
        let name = &self.configuration.interface;
        // The later a rule is added, the earlier it is asked: the exception comes last, and at once, before another tunnel's rules.
        let (own, exception) = (Rule::Unmarked(mark), Rule::MainWithoutDefault);
        own.add(&mut self.netlink, family).map_err(|error| explain_rule(own, &error))?;
        undo.push(format!("remove the rules of {family} for mark {mark}"), move || {
            rule::remove_pair(&mut open()?, family, mark).map(drop).map_err(|error| explain_rule(own, &error))
        });
        exception.add(&mut self.netlink, family).map_err(|error| explain_rule(exception, &error))?;
        for rule in [own, exception] {
            say!("[+] rule '{rule}' for {family}");
        }
        if family == Family::V4 {
            self.allow_marks(undo)?;
        }
        let addresses =
            address::list(&mut self.netlink, link.index).map_err(|error| refused("look at", name, &error))?;
        // Before it is up: half of it may be when it fails.
        undo.push("take the firewall down", move || firewall::take_down(name));
        firewall::put_up(name, family, mark, &addresses)
    }

    fn allow_marks(&mut self, undo: &mut Undo<'a>) -> Result<(), Failure> {
        let switch = sysctl::SRC_VALID_MARK;
        let fail = move |error| Failure::new(format!("cannot turn the switch {switch}: {error}"));
        let before = sysctl::get(switch).map_err(fail)?;
        if before != "1" {
            sysctl::set(switch, "1").map_err(fail)?;
            undo.push(format!("set {switch} = {before}"), move || sysctl::set(switch, &before).map_err(fail));
            say!("[+] {switch} = 1");
        }
        Ok(())
    }

    fn routes(&mut self) -> Result<Vec<Route>, Failure> {
        route::list(&mut self.netlink).map_err(|error| Failure::new(format!("the routes cannot be listed: {error}")))
    }
}

fn say_route(prefix: AllowedIp, table: u32) {
    match table {
        route::MAIN => say!("[+] route {prefix}"),
        _ => say!("[+] route {prefix} in table {table}"),
    }
}

/// What to do when the kernel does not take anything of IPv6.
const IPV6_OFF: &str = "IPv6 is switched off here: switch it on, or take what has IPv6 out of the file";

fn is_ipv6_off(error: &NetlinkError) -> bool {
    [Errno::EACCES, Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT].iter().any(|number| error.is(*number))
}

/// A netlink socket, whose absence is everybody's problem alike.
pub(crate) fn open() -> Result<Netlink, Failure> {
    Netlink::route().map_err(|error| Failure::new(format!("the kernel's network cannot be configured: {error}")))
}

fn refused(doing: &str, name: &kerntun_config::InterfaceName, error: &NetlinkError) -> Failure {
    Failure::new(format!("cannot {doing} the interface {name}: {error}"))
}

fn explain_rule(rule: Rule, error: &NetlinkError) -> Failure {
    let failure = Failure::new(format!("the kernel refuses the rule '{rule}': {error}"));
    let help = "this kernel lacks policy routing (CONFIG_IP_MULTIPLE_TABLES): set Table to a number or off";
    if error.is(Errno::EOPNOTSUPP) { failure.help(help) } else { failure }
}
