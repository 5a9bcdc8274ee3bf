//! Doing what was planned, round by round.

use crate::args::Choice;
use crate::cpu::Others;
use crate::machine::Machine;
use crate::measure::Measure;
use crate::plan::{Extent, Plan, minutes};
use crate::results::{FOREIGN, Results, STOLEN, Sample, Values, disturbed};
use crate::stage::Stage;
use crate::subject::{Program, Subject};
use crate::{primitives, subject, table};
use kerntun_lab::{End, Trouble};
use nix::unistd::geteuid;
use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How a command ends that was interrupted, as shells have it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// How often something is measured at most, as long as others disturb it.
const TRIES: u32 = 3;

/// Runs a plan: here, where the user started it, or inside the namespaces.
pub(crate) fn run(choice: &Choice, extent: Extent) -> Result<ExitCode, Trouble> {
    if choice.inside { inside(choice, extent) } else { outside(choice, extent) }
}

fn outside(choice: &Choice, extent: Extent) -> Result<ExitCode, Trouble> {
    prepare()?;
    let plan = Plan::new(extent, choice)?;
    for program in &plan.missing {
        eprintln!("not here: {} ({})", program.name(), program.how_to_install());
    }
    let expected = plan.takes_in_all();
    let expected = choice.limit.map_or(expected, |limit| expected.min(Duration::from_secs(limit)));
    eprintln!("{} subjects, {} round(s): at most {}", plan.subjects.len(), plan.rounds, minutes(expected));
    let status = keep(expected * 4 + Duration::from_secs(120))?;
    if status == ExitCode::from(INTERRUPTED) && plan.into.exists() {
        eprintln!("What was measured before is in {}.", plan.into.display());
    }
    Ok(status)
}

/// Starts this program again inside namespaces, and stops it after `limit`.
pub(crate) fn keep(limit: Duration) -> Result<ExitCode, Trouble> {
    match kerntun_lab::keep("kerntun-bench", limit)? {
        End::Ended(status) if status.success() => Ok(ExitCode::SUCCESS),
        End::Ended(_) => Ok(ExitCode::FAILURE),
        End::Interrupted => {
            eprintln!("\nInterrupted; everything is cleaned up.");
            Ok(ExitCode::from(INTERRUPTED))
        }
        End::TooLate => Err(Trouble::new("the measurements took far longer than planned and were stopped")),
        End::Lost(error) => Err(Trouble::new(format!("lost sight of the measurements, which were stopped: {error}"))),
    }
}

/// What the process inside does first.
pub(crate) fn settle() -> Result<(), Trouble> {
    kerntun_lab::settle()?;
    kerntun_lab::hide(Path::new(kerntun_uapi::SOCKET_DIRECTORY))?;
    kerntun_lab::inside::show_own_processes()
}

/// Sees to it that there is what a measurement needs.
pub(crate) fn prepare() -> Result<(), Trouble> {
    if !geteuid().is_root() {
        return Err(Trouble::new("measuring needs root, for namespaces and large socket buffers")
            .help("sudo -E env PATH=\"$PATH\" and the same command"));
    }
    for (program, package) in [("ip", "iproute2"), ("ethtool", "ethtool")] {
        let mut command = Command::new(program);
        if command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Err(
                Trouble::new(format!("the program '{program}' is missing")).help(format!("apt-get install {package}"))
            );
        }
    }
    build()
}

/// Makes the daemon of this source in the profile of this program, where cargo is there.
fn build() -> Result<(), Trouble> {
    let own = subject::beside_us("kerntun")?;
    let profile = own.parent().unwrap_or_else(|| Path::new("/"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "kerntun"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::new(format!("kerntun cannot be built ({status})"))),
        Err(_) if own.exists() => Ok(()),
        Err(error) => Err(Trouble::new(format!("there is no {}, and cargo cannot be run: {error}", own.display()))),
    }
}

fn inside(choice: &Choice, extent: Extent) -> Result<ExitCode, Trouble> {
    settle()?;
    let begin = Instant::now();
    let plan = Plan::new(extent, choice)?;
    let mut results = open(&plan)?;
    let limit = choice.limit.map(Duration::from_secs);
    let mut failed = false;
    for round in 1..=plan.rounds {
        for subject in plan.order(round) {
            let missing = |measure: &Measure| !results.has(round, subject.name(), measure.name());
            let measures: Vec<_> = plan.of(round, subject.program).filter(missing).collect();
            if measures.is_empty() {
                continue;
            }
            if limit.is_some_and(|limit| begin.elapsed() + plan.takes(&measures) > limit) {
                eprintln!("stopping here as --for says; the same command goes on with round {round}");
                return Ok(ExitCode::SUCCESS);
            }
            library(&mut results, round)?;
            eprint!("round {round} {}:", subject.name());
            let outcome = turn(subject, &measures, &plan, extent, |measure, values| {
                let mark = if disturbed(&values) { " (disturbed)" } else { "" };
                eprint!("  {} {}{mark}", measure.name(), table::brief(&values));
                results.samples.push(Sample {
                    round,
                    subject: subject.name().to_owned(),
                    measure: measure.name().to_owned(),
                    window: plan.care.window.as_secs_f64(),
                    values,
                });
            });
            eprintln!();
            for trouble in outcome {
                // One subject that does not work does not keep the others from being measured.
                if extent == Extent::Smoke {
                    return Err(trouble);
                }
                eprintln!("{trouble}");
                failed = true;
            }
            if extent != Extent::Smoke {
                results.write(&plan.into)?;
            }
        }
    }
    if extent == Extent::Smoke {
        let passed = results.samples.iter().filter(|sample| sample.subject != primitives::SUBJECT).count();
        println!("smoke: {passed} passed, 0 failed; measured {}", names(&plan));
    } else {
        print!("{}", table::text(&results));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The measurements of one subject, with processes started for them, and what went wrong. Those on one stage end with the first that
/// fails; each that is made alone has a daemon of its own.
fn turn(
    subject: &Subject,
    measures: &[Measure],
    plan: &Plan,
    extent: Extent,
    mut measured: impl FnMut(Measure, Values),
) -> Vec<Trouble> {
    let (mut stage, mut is_broken, mut troubles) = (None, false, Vec::new());
    for measure in measures {
        if is_broken && !measure.is_alone() {
            continue;
        }
        match one(subject, *measure, &mut stage, plan, extent) {
            Ok(values) => measured(*measure, values),
            Err(trouble) => {
                is_broken |= !measure.is_alone();
                troubles.push(trouble.context(format!("{}: {}", subject.name(), measure.name())));
            }
        }
    }
    troubles
}

/// One measurement, made again if others disturbed it: at most [`TRIES`] times, of which the last counts.
fn one(
    subject: &Subject,
    measure: Measure,
    stage: &mut Option<Stage>,
    plan: &Plan,
    extent: Extent,
) -> Result<Values, Trouble> {
    let mut values = once(subject, measure, stage, plan)?;
    if extent == Extent::Smoke {
        require(subject, &values)?;
        return Ok(values);
    }
    for _ in 1..TRIES {
        if !disturbed(&values) {
            break;
        }
        eprint!("  {} again", measure.name());
        values = once(subject, measure, stage, plan)?;
    }
    Ok(values)
}

/// One measurement, and what else the machine did meanwhile. The stage is built for the first that needs it.
fn once(subject: &Subject, measure: Measure, stage: &mut Option<Stage>, plan: &Plan) -> Result<Values, Trouble> {
    let mut others = Others::watch()?;
    let mut values = if measure.is_alone() {
        *stage = None;
        measure.run_alone(subject)?
    } else {
        let built = match stage.take() {
            Some(built) => built,
            None => Stage::build(subject)?,
        };
        others = Others::watch()?;
        measure.run(stage.insert(built), plan.care)?
    };
    let (foreign, stolen) = others.found()?;
    values.insert(FOREIGN.to_owned(), foreign);
    values.insert(STOLEN.to_owned(), stolen);
    Ok(values)
}

/// The file to go on with, or a new one.
fn open(plan: &Plan) -> Result<Results, Trouble> {
    let mut results = Results::new(Machine::here());
    if let Some(found) = if plan.resume { Results::read(&plan.into)? } else { None } {
        let date = found.machine.date.clone();
        if found.machine != (Machine { date, ..results.machine }) {
            let into = plan.into.display();
            let what = "is of another machine or another commit: its rounds cannot be compared with new ones";
            return Err(Trouble::new(format!("{into} {what}"))
                .help("--fresh measures everything anew; --into names another file"));
        }
        results = found;
    }
    for subject in &plan.subjects {
        let known = results.versions.entry(subject.name().to_owned()).or_insert_with(|| subject.version.clone());
        if *known != subject.version {
            return Err(Trouble::new(format!("{} was another version before: '{known}'", subject.name()))
                .help("--fresh measures everything anew; --into names another file"));
        }
    }
    Ok(results)
}

/// What every measurement has to show, however slow the machine.
fn require(subject: &Subject, values: &Values) -> Result<(), Trouble> {
    for number in ["gbit_per_second", "cpu_seconds_per_gb", "delivered_per_second", "p50_us", "trips"] {
        if values.get(number).is_some_and(|value| *value <= 0.0) {
            return Err(Trouble::new(format!("{number} is zero: nothing was measured")));
        }
    }
    let disordered = values.get("disordered").copied().unwrap_or_default();
    if subject.program == Program::Kerntun && disordered > 0.0 {
        return Err(Trouble::new(format!("{disordered} datagrams of one flow came out of order")));
    }
    Ok(())
}

/// How fast the ciphers are by themselves, once a round.
fn library(results: &mut Results, round: u32) -> Result<(), Trouble> {
    if !results.has(round, primitives::SUBJECT, primitives::MEASURE) {
        results.samples.push(Sample {
            round,
            subject: primitives::SUBJECT.to_owned(),
            measure: primitives::MEASURE.to_owned(),
            window: primitives::WINDOW.as_secs_f64(),
            values: primitives::measure()?,
        });
    }
    Ok(())
}

fn names(plan: &Plan) -> String {
    plan.subjects.iter().map(Subject::name).collect::<Vec<_>>().join(", ")
}
