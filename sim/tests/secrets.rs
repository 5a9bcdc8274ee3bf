//! Nine minutes after the last packet no session key, ephemeral key or shared secret is left in memory, in use or free.
//!
//! The process looks through its own heap, so nothing else may run in it: no test harness.

use kerntun_sim::run;
use kerntun_sim::scenario::{Faults, Scenario};

fn main() {
    if !std::path::Path::new("/proc/self/mem").exists() {
        println!("SKIPPED: this system does not show a process its memory");
        return;
    }
    for seed in 0..8 {
        let scenario = Scenario { faults: Faults::ALL, nodes: 4, seconds: 120, ..Scenario::of(seed) };
        if let Err(violation) = run(&scenario, false, true) {
            eprintln!("seed {seed}: {violation}");
            eprintln!("replay: cargo run -p kerntun-sim -- {} --scan --trace", scenario.arguments());
            std::process::exit(1);
        }
    }
    println!("no secrets left after 8 seeds");
}
