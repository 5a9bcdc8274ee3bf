//! The command line.

use crate::{check, demo, diagnose, down, failure::Failure, keys, run, show, up};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

const GROUPS: &str = "\
Tunnels:
  up        Bring a tunnel up from a configuration file
  down      Take it down again
  check     Validate a configuration file and change nothing

Looking:
  show      Tell what the interfaces and their peers do
  diagnose  Say in sentences what is wrong, whose fault it is, and what to do
  demo      Build a tunnel between two namespaces and show it at work

Keys:
  genkey    Make a private key
  pubkey    Turn a private key (standard input) into its public key
  genpsk    Make a preshared key

The daemon:
  run       Serve an interface in the foreground";

const EXAMPLES: &str = "\
Examples:
  umask 077; kerntun genkey | tee private | kerntun pubkey > public
  kerntun check ./wg0.conf
  kerntun up ./wg0.conf         or, with /etc/wireguard/wg0.conf: kerntun up wg0
  kerntun show wg0
  kerntun diagnose wg0
  kerntun down ./wg0.conf

As wireguard-go:
  kerntun wg0                   serve the interface wg0 in the background
  kerntun -f wg0                the same in the foreground ('kerntun run wg0')
  WG_QUICK_USERSPACE_IMPLEMENTATION=kerntun wg-quick up wg0

Exit codes: 0 done, 1 could not be done, 2 the command line is wrong.
'kerntun help COMMAND' tells more about each command.";

/// The names of all commands.
pub(crate) const COMMANDS: [&str; 10] =
    ["up", "down", "check", "show", "diagnose", "demo", "genkey", "pubkey", "genpsk", "run"];

/// The `kerntun` program.
#[derive(Debug, Parser)]
#[command(
    name = "kerntun",
    version,
    about = "WireGuard for Linux: bring tunnels up, look at them, and learn why they do not work",
    override_usage = "kerntun COMMAND [ARGUMENTS]\n       kerntun [-f] INTERFACE",
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}",
    before_help = GROUPS,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    /// Stay in the foreground (with INTERFACE, as wireguard-go)
    #[arg(short, long, requires = "interface")]
    foreground: bool,

    /// Refuse to serve where a layer of the sandbox is missing (with INTERFACE)
    #[arg(long, requires = "interface")]
    require_sandbox: bool,

    /// The interface to serve, as wireguard-go
    #[arg(value_name = "INTERFACE", hide = true)]
    interface: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a tunnel up from a configuration file
    Up(up::Args),
    /// Take a tunnel down
    Down(down::Args),
    /// Validate a configuration file and change nothing
    Check(check::Args),
    /// Tell what the interfaces and their peers do
    Show(show::Args),
    /// Say in sentences what is wrong with a tunnel, whose fault it is, and what to do
    Diagnose(diagnose::Args),
    /// Build a tunnel between two namespaces and show it at work
    Demo(demo::Args),
    /// Make a private key and print it
    Genkey,
    /// Read a private key from standard input and print its public key
    Pubkey,
    /// Make a preshared key and print it
    Genpsk,
    /// Serve an interface in the foreground
    Run(run::Args),
}

/// Does what the command line says.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn dispatch(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Some(Command::Up(args)) => up::run(&args),
        Some(Command::Down(args)) => down::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Show(args)) => show::run(&args),
        Some(Command::Diagnose(args)) => diagnose::run(&args),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Genkey) => keys::genkey(),
        Some(Command::Pubkey) => keys::pubkey(),
        Some(Command::Genpsk) => keys::genpsk(),
        Some(Command::Run(args)) => run::run(&args),
        None => match args.interface {
            Some(interface) => run::serve(&interface, args.foreground, args.require_sandbox),
            None => Err(Failure::usage("no command and no interface is given").help("see 'kerntun --help'")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn clap_finds_no_fault_with_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_forms_of_wireguard_go() {
        for (line, foreground) in [("kerntun wg0", false), ("kerntun -f wg0", true), ("kerntun --foreground wg0", true)]
        {
            let args = parse(line).unwrap();
            assert_eq!((args.interface.as_deref(), args.foreground), (Some("wg0"), foreground), "{line}");
            assert!(args.command.is_none(), "{line}");
        }
        assert_eq!(parse("kerntun --version").unwrap_err().kind(), clap::error::ErrorKind::DisplayVersion);
        assert!(parse("kerntun --require-sandbox wg0").unwrap().require_sandbox);
        assert!(parse("kerntun --require-sandbox").is_err());
        assert!(parse("kerntun -f").is_err());
        assert!(parse("kerntun wg0 wg1").is_err());
    }

    #[test]
    fn an_interface_called_like_a_command_needs_run_or_dashes() {
        assert!(parse("kerntun up").is_err());
        for name in COMMANDS.into_iter().chain(["help"]) {
            let args = parse(&format!("kerntun -- {name}")).unwrap();
            assert_eq!((args.interface.as_deref(), args.command.is_none()), (Some(name), true));
        }
        let args = parse("kerntun run up").unwrap();
        assert!(
            matches!(args.command, Some(Command::Run(run::Args { interface, require_sandbox: false })) if interface == "up")
        );
    }

    #[test]
    fn every_command_is_in_a_group_of_the_help() {
        let help = Args::command().render_long_help().to_string();
        let command = Args::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, COMMANDS);
        for name in names {
            assert!(help.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name} is missing in\n{help}");
        }
        // Without it every user could read the private key. The README shows the same line.
        let keys = "umask 077; kerntun genkey | tee private | kerntun pubkey > public";
        for text in [help.as_str(), include_str!("../../README.md")] {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains("tee private")).map(str::trim).collect();
            assert_eq!(lines, [keys]);
        }
        for word in ["Examples:", "Exit codes: 0", "kerntun -f wg0", "--foreground", "--version"] {
            assert!(help.contains(word), "{word} is missing in\n{help}");
        }
    }
}
