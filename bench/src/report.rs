//! The report: what was measured, on what, and what it says.

use crate::results::{DISTURBED_PERCENT, FOREIGN, Results, disturbed};
use crate::subject::Program;
use crate::{chart, table, verdict};
use kerntun_lab::Trouble;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `kerntun-bench show` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Show {
    /// The file of results
    file: PathBuf,
}

/// What `kerntun-bench report` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Write {
    /// The file of results
    #[arg(default_value = "bench-full.json")]
    file: PathBuf,

    /// The folder for it
    #[arg(long, default_value = "docs")]
    output: PathBuf,

    /// What its page (.md), picture (.svg) and samples (.json) are called
    #[arg(long, default_value = MAIN)]
    name: String,

    /// A text in Markdown to be included as it is [default: bench/notes/NAME.md, if it is there]
    #[arg(long)]
    notes: Option<PathBuf>,
}

/// The page that says how everything is measured, which those of other machines refer to.
const MAIN: &str = "performance";

/// Prints the table.
pub(crate) fn show(args: &Show) -> Result<ExitCode, Trouble> {
    print!("{}", table::text(&read(&args.file)?));
    Ok(ExitCode::SUCCESS)
}

/// Writes the report.
pub(crate) fn write(args: &Write) -> Result<ExitCode, Trouble> {
    let results = read(&args.file)?;
    let notes = args.notes.clone().unwrap_or_else(|| PathBuf::from(format!("bench/notes/{}.md", args.name)));
    let text = match fs::read_to_string(&notes) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound && args.notes.is_none() => None,
        Err(error) => return Err(Trouble::new(format!("cannot read {}: {error}", notes.display()))),
    };
    let put = |kind: &str, text: String| {
        let path = args.output.join(format!("{}.{kind}", args.name));
        fs::write(&path, text).map_err(|error| Trouble::new(format!("cannot write {}: {error}", path.display())))?;
        println!("wrote {}", path.display());
        Ok::<_, Trouble>(())
    };
    put("md", markdown(&results, &args.name, text.as_deref().map(|text| (&*notes, text))))?;
    put("svg", chart::svg(&results))?;
    results.write(&args.output.join(format!("{}.json", args.name)))?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Results, Trouble> {
    Results::read(file)?.ok_or_else(|| {
        Trouble::new(format!("there is no {}", file.display())).help("'kerntun-bench full' makes a file of results")
    })
}

/// The page `name`, with what was written by hand in a file.
fn markdown(results: &Results, name: &str, notes: Option<(&Path, &str)>) -> String {
    let mut text = match name {
        MAIN => "# Performance\n\n".to_owned(),
        _ => format!("# Performance of {}\n\n", results.machine.processor),
    };
    let _ = write!(text, "<!-- Written by `kerntun-bench report` from {name}.json");
    if let Some((file, _)) = notes {
        let _ = write!(text, "; {} is the part by hand", file.display());
    }
    text.push_str(". -->\n\n");
    introduction(&mut text, results, name);
    let _ = write!(text, "\n![The main numbers as bars]({name}.svg)\n\n## What was wanted\n\n");
    verdicts(&mut text, results);
    text.push_str("\n## Medians\n\n");
    medians(&mut text, results);
    text.push_str("\n## Where another one is ahead\n\n");
    ahead(&mut text, results);
    text.push_str(if name == MAIN { METHOD } else { ELSEWHERE });
    if let Some((_, notes)) = notes {
        let _ = write!(text, "\n{}\n", notes.trim());
    }
    text
}

const ELSEWHERE: &str = "
How all of it is measured is in [performance.md](performance.md), and more of what was tried.
";

const METHOD: &str = "
## How it is measured

Both ends of the tunnel, the generators and the sinks run on this one machine, in two network namespaces joined by a veth pair
(MTU 1,500; 1,420 inside the tunnel, and on the wire where there is no tunnel). In each round every subject has its turn with
freshly started processes; each round begins with another one. What is disturbed by something else on the machine is measured again at once, at most three times
in all (since 30 November 2026).

- TCP is one thread per stream and side with blocks of 128 KiB, counted for two seconds (1.5 before 30 November); the first 400 ms do not count.
- UDP is 64 datagrams per system call, cut apart before the tunnel's interface, so that every datagram is a packet of its own there; the first 200 ms do not count.
  The highest rate is one of sixteen between 10,000 and 600,000 that the generator could keep up; where it could not, as the bare wire shows, more may be possible.
- Round trips are 64-byte datagrams, one a millisecond, echoed by a thread that sleeps in between.
- CPU is the time of all processors in which anything ran, senders, receivers and interrupts included.
- For the path without UDP segmentation offload `tx-udp-segmentation` is switched off on the wire: super-packets are then cut before it, and nothing joins
  them again.
- Handshakes are answered to prepared messages of 512 peers, 16 at a time. As initiator a daemon begins 400, 16 at a time and then one after the other, each with
  the packet that wanted it, which counts as well; the far end polls every 200 µs, so that waking it costs the daemon nothing. A daemon that asks for
  cookies is shown them, and asking is its own work.
- A hub gets its packets from one socket, sealed beforehand, one of each of its 10,000 peers in turn, each from an address of its own; what it
  delivers is dropped by the system's first look, or forwarded from each peer to the next. Whoever takes longer than ten seconds to be
  configured with the other 90,000 is not asked for an answer beside them. wireguard-go refuses more than 65,536 peers.
- The primitives are the best of ten turns of 15 ms. OpenVPN runs AES-256-GCM over UDP, without its kernel module.

The **forwarder** is this project's daemon without cryptography and protocol: the same crate for packets, the same batches, the
same bytes on the wire. **bare** is the wire without a tunnel.

```sh
bench/install-peers                                  # the peers that the distribution does not have
cargo run --release -p kerntun-bench                 # what is there, what would be done, and how long that takes
cargo run --release -p kerntun-bench -- full         # as root
cargo run --release -p kerntun-bench -- report
```
";

fn introduction(text: &mut String, results: &Results, name: &str) {
    let machine = &results.machine;
    let rounds = results.samples.iter().map(|sample| sample.round).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "Measured on {} at commit `{}`: {rounds} rounds, fewer of what takes long; every sample is in \
         [{name}.json]({name}.json). {} processors ({}{}; {}), {} GiB, Linux {}, {}, {}.\n",
        machine.date,
        machine.commit,
        machine.processors,
        machine.processor,
        if machine.hypervisor.is_empty() { String::new() } else { format!(", under {}", machine.hypervisor) },
        machine.extensions,
        machine.memory_gib,
        machine.kernel,
        machine.system,
        machine.rust
    );
    text.push_str("| subject | version |\n|---|---|\n");
    for subject in table::subjects(results) {
        let version = results.versions.get(subject).map_or("", String::as_str);
        let _ = writeln!(
            text,
            "| {subject} | {}{} |",
            if version.is_empty() { "–" } else { version },
            remark(subject, version)
        );
    }
}

/// What has to be known of a version.
fn remark(subject: &str, version: &str) -> &'static str {
    let is_go = [Program::WireguardGo, Program::WireguardGoOld].map(Program::name).contains(&subject);
    if is_go && is_without_offload(version) { " (from before it had segmentation offload)" } else { "" }
}

/// wireguard-go uses segmentation offload since the spring of 2023. Its versions are dates.
fn is_without_offload(version: &str) -> bool {
    let dates = version.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 8);
    dates.filter_map(|digits| digits.parse::<u32>().ok()).max().is_some_and(|date| date < 20_230_401)
}

fn verdicts(text: &mut String, results: &Results) {
    text.push_str("Ratios and differences are taken round by round; their median over the quiet rounds counts. ");
    others(text, results);
    text.push_str("\n\n| wanted | found | |\n|---|---|---|\n");
    for verdict in verdict::all(results) {
        let mark = if verdict.reached { "reached" } else { "**not reached**" };
        let _ = writeln!(text, "| {} | {} | {mark} |", verdict.wanted, verdict.found);
    }
}

/// How quiet it was.
fn others(text: &mut String, results: &Results) {
    let recorded = results.samples.iter().filter(|sample| sample.values.contains_key(FOREIGN));
    let (mut all, mut loud, mut rounds) = (0, 0, BTreeSet::new());
    for sample in recorded {
        all += 1;
        if disturbed(&sample.values) {
            loud += 1;
            rounds.insert(sample.round);
        }
    }
    let _ = match (all, loud) {
        (0, _) => write!(text, "What else the machine did meanwhile was not recorded."),
        (_, 0) => write!(
            text,
            "In none of the {all} measurements did other programs and the hypervisor take more than {DISTURBED_PERCENT} % of one \
             processor; wide spreads come from the subjects themselves and from the scheduler."
        ),
        _ => write!(
            text,
            "Disturbed were {loud} of {all} measurements, in {} of the rounds: other programs and the hypervisor took more \
             than {DISTURBED_PERCENT} % of one processor. Ratios and differences leave them out where there are quiet rounds; the medians and the picture do not.",
            rounds.len()
        ),
    };
}

fn medians(text: &mut String, results: &Results) {
    let subjects = table::subjects(results);
    let _ = writeln!(text, "| | {} |", subjects.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(subjects.len()));
    for row in table::rows(results) {
        let values = subjects
            .iter()
            .map(|subject| row.of(results, subject).map_or_else(|| "–".to_owned(), |all| row.shown(all.median)));
        let _ = writeln!(text, "| {} | {} |", row.title, values.collect::<Vec<_>>().join(" | "));
    }
    let library = table::ROWS.iter().filter_map(|row| {
        let all = row.of(results, crate::primitives::SUBJECT)?;
        Some(format!("{} {}", row.title, row.shown(all.median)))
    });
    let library = library.collect::<Vec<_>>().join("; ");
    if !library.is_empty() {
        let _ = writeln!(text, "\nThe primitives of kerntun by themselves: {library}.");
    }
}

/// Every number in which a tunnel of somebody else is better than ours.
fn ahead(text: &mut String, results: &Results) {
    let ours = Program::Kerntun.name();
    let mut any = false;
    for row in table::rows(results) {
        let title = row.whole_title();
        let (Some(more), Some(own)) = (row.more_is_better, row.of(results, ours)) else { continue };
        for subject in table::subjects(results) {
            let is_peer = ![ours, Program::Forwarder.name(), Program::Bare.name()].contains(&subject);
            let Some(theirs) = row.of(results, subject).filter(|_| is_peer) else { continue };
            if theirs.median != own.median && (theirs.median > own.median) == more {
                any = true;
                let (theirs, own) = (row.shown(theirs.median), row.shown(own.median));
                let _ = writeln!(text, "- {title}: **{subject}** {theirs}, kerntun {own}");
            }
        }
    }
    if !any {
        text.push_str("Nowhere in these measurements.\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_how_quiet_it_was() {
        let told = |foreign: &[Option<f64>]| {
            let mut results = Results::new(crate::machine::Machine::here());
            for (round, foreign) in (1..).zip(foreign) {
                let values = foreign.map(|percent| (FOREIGN.to_owned(), percent)).into_iter().collect();
                let (subject, measure) = ("kerntun".to_owned(), "tcp-1".to_owned());
                results.samples.push(crate::results::Sample { round, subject, measure, window: 1.0, values });
            }
            let mut text = String::new();
            others(&mut text, &results);
            text
        };
        assert!(told(&[None]).contains("not recorded"));
        assert!(told(&[Some(9.0), Some(3.0)]).starts_with("In none of the 2 measurements"));
        assert!(
            told(&[Some(9.0), Some(11.0), Some(80.0)])
                .starts_with("Disturbed were 2 of 3 measurements, in 2 of the rounds:")
        );
    }

    #[test]
    fn a_page_of_another_machine_refers_to_the_usual_one() {
        let results = Results::new(crate::machine::Machine::here());
        let usual = markdown(&results, MAIN, Some((Path::new("notes.md"), "by hand")));
        assert!(
            usual.starts_with(
                "# Performance\n\n<!-- Written by `kerntun-bench report` from performance.json; notes.md is"
            )
        );
        assert!(usual.contains(METHOD) && !usual.contains(ELSEWHERE) && usual.ends_with("\nby hand\n"));
        let other = markdown(&results, "older", None);
        assert!(other.contains("from older.json. -->") && other.contains("(older.svg)"));
        assert!(!other.contains(METHOD) && other.ends_with(ELSEWHERE));
    }

    #[test]
    fn versions_with_and_without_offload() {
        assert!(is_without_offload("wireguard-go v0.0.20220316, Debian package 0.0.20220316-1+b4"));
        assert!(!is_without_offload("wireguard-go v0.0.20250522, Debian package 0.0.20260522-1"));
        assert!(!is_without_offload("something else 1.2"));
    }
}
