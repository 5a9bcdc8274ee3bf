//! Runs simulations: one seed, or a range of them on all processors.

use kerntun_sim::checks::{Check, Violation};
use kerntun_sim::journal::Primitives;
use kerntun_sim::run;
use kerntun_sim::scenario::{Faults, Scenario};
use kerntun_sim::shrink::shrink;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const HELP: &str = "\
usage: kerntun-sim [--seed N | --seeds A..B] [options]

  --seeds A..B    run these seeds on all processors and stop at the first that fails (0..1000)
  --seed N        run one
  --trace         tell what happens, with --seed
  --nodes N       with so many devices (2 to 50) instead of what the seed says
  --seconds N     with faults for so long
  --faults A,B    with these faults only; `none` for none
  --real, --fake  with real or fake cryptography
  --scan          look for forgotten keys in memory, with --seed
  --no-shrink     do not look for a smaller scenario that fails too
  --expect CHECK  succeed if this check fails, and only then
";

#[derive(Default)]
struct Options {
    seeds: Range<u64>,
    trace: bool,
    scan: bool,
    keep: bool,
    nodes: Option<usize>,
    seconds: Option<u64>,
    faults: Option<Faults>,
    primitives: Option<Primitives>,
    expect: Option<Check>,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("kerntun-sim: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|_| {}));
    let failed = options.run();
    match (&failed, options.expect) {
        (Some((_, violation)), Some(expected)) if violation.check == expected => ExitCode::SUCCESS,
        (None, None) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { seeds: 0..1000, ..Self::default() };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--seed" => {
                    let seed = number(&value()?)?;
                    options.seeds = seed..seed + 1;
                }
                "--seeds" => {
                    let text = value()?;
                    let (start, end) = text.split_once("..").ok_or("--seeds needs a range like 0..1000")?;
                    options.seeds = number(start)?..number(end)?;
                }
                "--nodes" => options.nodes = Some(number(&value()?)?.clamp(2, 50) as usize),
                "--seconds" => options.seconds = Some(number(&value()?)?),
                "--faults" => options.faults = Some(Faults::parse(&value()?)?),
                "--real" => options.primitives = Some(Primitives::Real),
                "--fake" => options.primitives = Some(Primitives::Fake),
                "--trace" => options.trace = true,
                "--scan" => options.scan = true,
                "--no-shrink" => options.keep = true,
                "--expect" => {
                    let name = value()?;
                    let check = Check::ALL.iter().find(|check| check.name() == name);
                    options.expect = Some(*check.ok_or_else(|| format!("there is no check `{name}`"))?);
                }
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("what is `{other}`?")),
            }
        }
        Ok(Some(options))
    }

    fn scenario(&self, seed: u64) -> Scenario {
        let own = Scenario::of(seed);
        Scenario {
            nodes: self.nodes.unwrap_or(own.nodes),
            seconds: self.seconds.unwrap_or(own.seconds),
            faults: self.faults.unwrap_or(own.faults),
            primitives: self.primitives.unwrap_or(own.primitives),
            ..own
        }
    }

    /// Runs them all, and tells of the first that fails.
    fn run(&self) -> Option<(Scenario, Violation)> {
        let begun = Instant::now();
        let (next, stop) = (AtomicU64::new(self.seeds.start), AtomicBool::new(false));
        let (sent, delivered, slowest) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let failed = Mutex::new(None);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers.min((self.seeds.end - self.seeds.start) as usize) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end {
                            break;
                        }
                        let scenario = self.scenario(seed);
                        match run(&scenario, self.trace, self.scan) {
                            Ok(outcome) => {
                                sent.fetch_add(outcome.sent as u64, Ordering::Relaxed);
                                delivered.fetch_add(outcome.delivered as u64, Ordering::Relaxed);
                                slowest.fetch_max(outcome.reconnected, Ordering::Relaxed);
                            }
                            // Another check may stumble over the same defect first.
                            Err(violation) if self.expect.is_some_and(|check| check != violation.check) => {
                                println!("seed {seed}: {violation}");
                            }
                            Err(violation) => {
                                stop.store(true, Ordering::Relaxed);
                                if let Ok(mut failed) = failed.lock() {
                                    *failed = Some((scenario, violation));
                                }
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().ok().flatten();
        match &failed {
            Some((scenario, violation)) => self.tell(scenario, violation),
            None => println!(
                "{} seeds well in {:.1} s: {} of {} packets arrived, all connected again after {} s at most",
                self.seeds.end - self.seeds.start,
                begun.elapsed().as_secs_f64(),
                delivered.into_inner(),
                sent.into_inner(),
                slowest.into_inner() / 1_000_000_000,
            ),
        }
        failed
    }

    fn tell(&self, scenario: &Scenario, violation: &Violation) {
        println!("seed {}: {violation}", scenario.seed);
        println!("replay: cargo run -p kerntun-sim -- {} --trace", scenario.arguments());
        if !self.keep && self.expect.is_none() {
            let small = shrink(scenario, violation.check);
            println!("shrunk: cargo run -p kerntun-sim -- {} --trace", small.arguments());
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}
