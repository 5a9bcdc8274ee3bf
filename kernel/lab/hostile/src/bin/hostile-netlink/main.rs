//! Sends requests that are wrong in one place to the interface `wg0` and says, for each, the error, what changed, and the sentence.
//!
//! ```text
//! hostile-netlink record NAME          one line for each request; NAME is ours or intree
//! hostile-netlink check NAME FILE      the same, compared with FILE; fails if anything differs
//! hostile-netlink merge INTREE OURS    one file of two records
//! ```
//!
//! A file has lines of five fields with tabs between them: whose it is (`both`, `ours`, `intree`), the request, the error's name, the change (`-`
//! for none), the sentence. The kernel's own driver says no sentences of its own, so its are not compared.

mod baseline;
mod cases;
mod expected;
mod links;
mod probe;
mod scenarios;

use expected::{Expected, Outcome};
use probe::Probe;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["record", who] => return record(who),
        ["check", who, file] => return check(who, file),
        ["merge", intree, ours] => print!("{}", expected::merge(&read(intree), &read(ours))),
        _ => {
            eprintln!("usage: hostile-netlink record NAME | check NAME FILE | merge INTREE OURS");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn outcomes(who: &str) -> Vec<Outcome> {
    let mut probe = Probe::new();
    let mut outcomes = probe.all_cases();
    outcomes.extend(probe.drops());
    outcomes.extend(scenarios::all(&mut probe, who));
    outcomes
}

fn record(who: &str) -> ExitCode {
    for outcome in outcomes(who) {
        println!("{}", outcome.line(who));
    }
    ExitCode::SUCCESS
}

fn check(who: &str, file: &str) -> ExitCode {
    let expected = Expected::parse(&read(file), who);
    let found = outcomes(who);
    let differences = expected.differences(&found);
    for difference in &differences {
        println!("{difference}");
    }
    let refused = found.iter().filter(|outcome| outcome.error != "0").count();
    let partly = found.iter().filter(|outcome| outcome.error != "0" && outcome.change != "-").count();
    println!(
        "{} requests, {refused} refused, {partly} of them with a change left behind, {} not as expected",
        found.len(),
        differences.len()
    );
    ExitCode::from(u8::from(!differences.is_empty()))
}
