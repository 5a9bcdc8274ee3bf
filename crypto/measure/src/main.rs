//! Measures the primitives of the protocol in several libraries and prints a table for each.
//!
//! Candidates of a table are run in turns of a hundred microseconds or more, the order rotating from round to round, so
//! that a slow moment of the machine meets them all. What is shown is the median over the rounds, the spread between
//! the quartiles in percent of it, and the ratio to the fastest.
//!
//! `cargo run --release [ROUNDS]`

mod candidates;

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One library's way to do the operation of a table.
pub(crate) struct Candidate {
    name: &'static str,
    operation: Box<dyn FnMut()>,
}

impl Candidate {
    pub(crate) fn new<R>(name: &'static str, mut operation: impl FnMut() -> R + 'static) -> Self {
        Self { name, operation: Box::new(move || drop(black_box(operation()))) }
    }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(101);
    for (title, bytes, candidates) in candidates::tables() {
        table(title, bytes, candidates, rounds);
    }
}

fn table(title: String, bytes: usize, mut candidates: Vec<Candidate>, rounds: usize) {
    let counts: Vec<u32> = candidates.iter_mut().map(calibrate).collect();
    let mut samples = vec![Vec::with_capacity(rounds); candidates.len()];
    for round in 0..rounds {
        for turn in 0..candidates.len() {
            let at = (turn + round) % candidates.len();
            samples[at].push(run(&mut candidates[at], counts[at]).as_secs_f64() * 1e9 / f64::from(counts[at]));
        }
    }
    for sample in &mut samples {
        sample.sort_by(f64::total_cmp);
    }
    let at = |sample: &[f64], part: usize| sample[(sample.len() - 1) * part / 100];
    let best = samples.iter().map(|sample| at(sample, 50)).fold(f64::INFINITY, f64::min);
    println!("\n| {title} | ns | spread | {}ratio |", if bytes > 0 { "MB/s | " } else { "" });
    println!("|---|---:|---:|{}---:|", if bytes > 0 { "---:|" } else { "" });
    for (candidate, sample) in candidates.iter().zip(&samples) {
        let median = at(sample, 50);
        let spread = (at(sample, 75) - at(sample, 25)) / median * 100.0;
        let speed = if bytes > 0 { format!("{:.0} | ", bytes as f64 * 1e3 / median) } else { String::new() };
        println!("| {} | {median:.0} | {spread:.0} % | {speed}{:.2} |", candidate.name, median / best);
    }
}

/// How often the operation fits into a turn.
fn calibrate(candidate: &mut Candidate) -> u32 {
    let mut count = 1;
    while run(candidate, count) < Duration::from_micros(100) {
        count *= 2;
    }
    count
}

fn run(candidate: &mut Candidate, count: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        (candidate.operation)();
    }
    start.elapsed()
}
