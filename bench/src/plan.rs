//! What is measured when.

use crate::args::Choice;
use crate::measure::{Care, Measure};
use crate::subject::{self, Program, Subject};
use kerntun_lab::Trouble;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Time to build a stage and to take it down.
const SETUP: Duration = Duration::from_millis(1500);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whether anything works at all.
    Smoke,
    /// The main measurements, once.
    Quick,
    /// Everything.
    Full,
}

/// A plan.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) subjects: Vec<Subject>,
    pub(crate) missing: Vec<Program>,
    pub(crate) measures: Vec<Measure>,
    pub(crate) rounds: u32,
    pub(crate) care: Care,
    /// The file of results.
    pub(crate) into: PathBuf,
    /// Whether to go on with what is in it.
    pub(crate) resume: bool,
}

impl Plan {
    /// What `extent` means here, as the choice changes it.
    pub(crate) fn new(extent: Extent, choice: &Choice) -> Result<Self, Trouble> {
        let (mut subjects, missing) = subject::find()?;
        let known = |name: &String| Program::ALL.iter().any(|program| program.name() == name);
        if let Some(name) = choice.only.iter().find(|name| !known(name)) {
            let names = Program::ALL.map(Program::name).join(", ");
            return Err(Trouble::new(format!("there is no subject '{name}'")).help(format!("there are {names}")));
        }
        if let Some(program) = missing.iter().find(|program| choice.only.iter().any(|name| name == program.name())) {
            let trouble = Trouble::new(format!("'{}' is not installed", program.name()));
            return Err(trouble.help(program.how_to_install()));
        }
        if !choice.only.is_empty() {
            subjects.retain(|subject| choice.only.iter().any(|name| name == subject.name()));
        } else if extent == Extent::Smoke {
            let few = [Program::Kerntun, Program::WireguardGo, Program::Forwarder, Program::Bare];
            subjects.retain(|subject| few.contains(&subject.program));
        }
        let (rounds, seconds) = match extent {
            Extent::Smoke => (1, 0.3),
            Extent::Quick => (1, 1.0),
            Extent::Full => (5, 2.0),
        };
        let care = Care {
            window: Duration::from_secs_f64(choice.seconds.unwrap_or(seconds)),
            verify: choice.verify || extent == Extent::Smoke,
        };
        let measures = measures(extent, choice)?;
        let into = choice.into.clone().unwrap_or_else(|| match extent {
            Extent::Full => "bench-full.json".into(),
            Extent::Quick | Extent::Smoke => "bench-quick.json".into(),
        });
        let resume = !choice.fresh && (choice.into.is_some() || extent == Extent::Full);
        Ok(Self { subjects, missing, measures, rounds: choice.rounds.unwrap_or(rounds), care, into, resume })
    }

    /// The measurements of a subject in a round, counted from 1.
    pub(crate) fn of(&self, round: u32, program: Program) -> impl Iterator<Item = Measure> {
        let in_round = move |measure: &Measure| round <= measure.rounds();
        self.measures.iter().copied().filter(move |measure| measure.applies_to(program) && in_round(measure))
    }

    /// The subjects of a round: each round begins with another one.
    pub(crate) fn order(&self, round: u32) -> impl Iterator<Item = &Subject> {
        let count = self.subjects.len();
        self.subjects.iter().cycle().skip(round as usize % count.max(1)).take(count)
    }

    /// About how long these measurements of one subject take.
    pub(crate) fn takes(&self, measures: &[Measure]) -> Duration {
        let sum: Duration = measures.iter().map(|measure| measure.takes(self.care)).sum();
        if measures.is_empty() { sum } else { sum + SETUP }
    }

    /// About how long all of it takes.
    pub(crate) fn takes_in_all(&self) -> Duration {
        let rounds = (1..=self.rounds).flat_map(|round| self.subjects.iter().map(move |subject| (round, subject)));
        rounds.map(|(round, subject)| self.takes(&self.of(round, subject.program).collect::<Vec<_>>())).sum()
    }
}

fn measures(extent: Extent, choice: &Choice) -> Result<Vec<Measure>, Trouble> {
    use Measure::{Idle, Loaded, Tcp1, Tcp1Plain, Tcp4, TcpBoth, Udp64};
    let default: &[Measure] = match extent {
        Extent::Smoke => &[Tcp1, TcpBoth, Udp64, Idle, Loaded, Tcp1Plain],
        Extent::Quick => &[Tcp1, Tcp4, Udp64, Idle, Loaded, Tcp1Plain],
        Extent::Full => &Measure::ALL,
    };
    if choice.measure.is_empty() {
        return Ok(default.to_vec());
    }
    let known = |name: &String| Measure::ALL.iter().any(|measure| measure.name() == name);
    if let Some(name) = choice.measure.iter().find(|name| !known(name)) {
        let names = Measure::ALL.map(Measure::name).join(", ");
        return Err(Trouble::new(format!("there is no measurement '{name}'")).help(format!("there are {names}")));
    }
    let chosen = |measure: &Measure| choice.measure.iter().any(|name| name == measure.name());
    Ok(Measure::ALL.into_iter().filter(chosen).collect())
}

/// Says what is there and what would be done.
pub(crate) fn tell() -> Result<ExitCode, Trouble> {
    let choice = Choice {
        only: Vec::new(),
        measure: Vec::new(),
        rounds: None,
        seconds: None,
        into: None,
        fresh: false,
        limit: None,
        verify: false,
        inside: false,
    };
    let plans = [Extent::Smoke, Extent::Quick, Extent::Full].map(|extent| Plan::new(extent, &choice));
    let [smoke, quick, full] = plans;
    let (smoke, quick, full) = (smoke?, quick?, full?);
    println!("Measures tunnels between two network namespaces of this machine, in turns, round by round.\n");
    println!("Here:");
    for subject in &full.subjects {
        let what = match subject.program {
            Program::Forwarder => "the daemon's way of packets without cryptography: the limit",
            Program::Bare => "the wire without a tunnel",
            _ => &subject.version,
        };
        println!("  {:<17} {what}", subject.name());
    }
    if !full.missing.is_empty() {
        println!("\nMissing:");
        for program in &full.missing {
            println!("  {:<17} {}", program.name(), program.how_to_install());
        }
    }
    println!("\nMeasurements:");
    for measure in Measure::ALL {
        println!("  {:<17} {}", measure.name(), measure.title());
    }
    println!("\nCommands, as root:");
    for (name, plan) in [("smoke", smoke), ("quick", quick), ("full", full)] {
        let time = minutes(plan.takes_in_all());
        let (rounds, window) = (plan.rounds, plan.care.window.as_secs_f64());
        println!("  kerntun-bench {name:<7} {time}: {rounds} round(s), {window} s a window");
    }
    println!("\nThe machine should have nothing else to do meanwhile. 'kerntun-bench help' has the options.");
    Ok(ExitCode::SUCCESS)
}

/// A time for people.
pub(crate) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("about {seconds} s"),
        seconds => format!("about {} min", (seconds + 30) / 60),
    }
}
