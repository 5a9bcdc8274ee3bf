//! The command line.

use crate::{drain, forward, plan, report, run};
use clap::{Parser, Subcommand};
use kerntun_lab::Trouble;
use std::path::PathBuf;
use std::process::ExitCode;

/// The benchmark.
#[derive(Debug, Parser)]
#[command(
    name = "kerntun-bench",
    version,
    about = "Measures kerntun beside other tunnels and beside the limit of the machine",
    after_help = "\
Without a command: says what is there to be measured, what would be done, and how long that takes.
Everything happens in namespaces that vanish with this program, also after Ctrl-C or kill -9. Exit codes: 0 done, 1 could
not be done, 130 interrupted."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One short round of the main measurements (under two minutes)
    Quick(Choice),
    /// Everything, in five rounds (about half an hour)
    Full(Choice),
    /// Seconds: whether each subject at hand carries anything, whole and in order
    Smoke(Choice),
    /// One peer's packets with nothing else at work, with one worker and with two
    Drain(drain::Args),
    /// Print the table of a file of results
    Show(report::Show),
    /// Write the report, its chart and a copy of the results to a folder
    Report(report::Write),
    /// Forward packets without cryptography: the limit to be compared with
    #[command(hide = true)]
    Forward(forward::Args),
}

/// What to measure, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Only these subjects, for example: kerntun,wireguard-go,forwarder
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,

    /// Only these measurements, for example: tcp-1,udp-64
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) measure: Vec<String>,

    /// Rounds; what the wanted ratios do not need is measured in three at most, memory in one
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,

    /// Seconds of each window in which something is counted
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,

    /// The file of results; if it is there, only what is missing in it is measured [quick: bench-quick.json, always
    /// anew; full: bench-full.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,

    /// Measure everything anew, whatever the file has
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Begin nothing that would not be done within so many seconds; the next run goes on there
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) limit: Option<u64>,

    /// Compare every byte that arrives over TCP (costs some speed)
    #[arg(long)]
    pub(crate) verify: bool,

    /// The process inside the namespaces
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

/// Does what the command line says.
pub(crate) fn dispatch(args: Args) -> Result<ExitCode, Trouble> {
    match args.command {
        None => plan::tell(),
        Some(Command::Quick(choice)) => run::run(&choice, plan::Extent::Quick),
        Some(Command::Full(choice)) => run::run(&choice, plan::Extent::Full),
        Some(Command::Smoke(choice)) => run::run(&choice, plan::Extent::Smoke),
        Some(Command::Drain(args)) => drain::run(&args),
        Some(Command::Show(args)) => report::show(&args),
        Some(Command::Report(args)) => report::write(&args),
        Some(Command::Forward(args)) => forward::run(&args).map(|()| ExitCode::SUCCESS),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a window has 0.1 to 60 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_with_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn windows_have_a_sensible_length() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "61", "NaN", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
