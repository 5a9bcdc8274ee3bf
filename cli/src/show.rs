//! `kerntun show`: what the interfaces and their peers do.
//!
//! | file | what |
//! |---|---|
//! | `snapshot` | asking the daemons, and what they answered |
//! | `text` | the form for people, that of `wg show` with our drop reasons |
//! | `json` | the stable form for programs, described in `docs/cli.md` |
//! | `field` | single fields for scripts, those of `wg show INTERFACE FIELD` |
//! | `drops` | a sentence for each drop reason |
//! | `words`, `paint` | times and sizes as people say them; colours |

mod drops;
mod field;
mod json;
mod paint;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub(crate) use paint::Paint;
pub(crate) use snapshot::{Kind, Snapshot, base64, names, resolve};
pub(crate) use words::{bytes, duration};

use crate::failure::Failure;
use crate::say::say;
use field::Field;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// What `kerntun show` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kerntun show                          all interfaces
  kerntun show wg0 latest-handshakes    a key and a Unix time per line, as 'wg show' prints them
  kerntun show --json | jq .            for programs; the form is described in docs/cli.md

Colours are for terminals only, and never when NO_COLOR is set.
Exit codes: 0 shown, 1 an interface could not be asked, 2 the command line is wrong.")]
pub(crate) struct Args {
    /// One interface, 'all' of them, or only the names of the 'interfaces' [default: all]
    #[arg(value_name = "INTERFACE|all|interfaces")]
    which: Option<String>,

    /// Show this alone, in a form for scripts; after 'all', the interface's name leads each line
    #[arg(requires = "which", hide_possible_values = false)]
    field: Option<Field>,

    /// Print JSON
    #[arg(long, conflicts_with = "field")]
    json: bool,

    /// Show private and preshared keys (as WG_HIDE_KEYS=never does)
    #[arg(long)]
    show_keys: bool,
}

/// Shows what was asked for.
///
/// # Errors
/// When an interface that was named does not exist or cannot be asked. If it is one of several, the others are shown and
/// the exit code is 1.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let named = args.which.as_deref().filter(|which| *which != "all");
    if named == Some("interfaces") {
        return interfaces(args);
    }
    let (snapshots, failures) = match named {
        Some(name) => (vec![Snapshot::take(&resolve(name)?)?], Vec::new()),
        None => Snapshot::take_all()?,
    };
    let secrets = args.show_keys || std::env::var_os("WG_HIDE_KEYS").is_some_and(|value| value == "never");
    let mut out = Zeroizing::new(String::new());
    match args.field {
        Some(field) => {
            snapshots.iter().for_each(|one| field.write(&mut out, one, named.is_none()));
        }
        None if args.json => json::write(&mut out, &snapshots, &failures, args.show_keys),
        None => text::write(&mut out, &snapshots, &text::Style { now: since_epoch(), secrets, paint: Paint::stdout() }),
    }
    print(&out)?;
    failures.iter().for_each(|(_, failure)| say!("{failure}"));
    if named.is_none() && args.field.is_none() {
        crate::dead::sentences().iter().for_each(|sentence| say!("warning: {sentence}"));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the interfaces: one line for people and scripts, an array in JSON.
fn interfaces(args: &Args) -> Result<ExitCode, Failure> {
    if args.field.is_some() {
        return Err(Failure::usage("'kerntun show interfaces' prints names only")
            .help("for a field of every interface: kerntun show all FIELD"));
    }
    let names: Vec<String> = names()?.iter().map(ToString::to_string).collect();
    let line = if args.json { serde_json::json!(names).to_string() } else { names.join(" ") };
    if args.json || !names.is_empty() {
        print(&format!("{line}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Calendar time since the Unix epoch; zero for a clock before it.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
