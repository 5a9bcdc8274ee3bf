//! A few hundred seeds in every test run, and what makes their failures worth something.

use kerntun_sim::checks::Check;
use kerntun_sim::run;
use kerntun_sim::scenario::{Fault, Faults, Scenario};

/// In the seconds that a test run may take; ranges of any length are the program's.
const SEEDS: u64 = 300;

#[test]
fn every_invariant_holds() {
    let halves: Vec<_> = (0..2)
        .map(|half| std::thread::spawn(move || (0..SEEDS).filter(|seed| seed % 2 == half).for_each(holds)))
        .collect();
    for half in halves {
        if let Err(panic) = half.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn holds(seed: u64) {
    let scenario = Scenario::of(seed);
    if let Err(violation) = run(&scenario, false, false) {
        panic!("seed {seed}: {violation}\nreplay: cargo run -p kerntun-sim -- {} --trace", scenario.arguments());
    }
}

#[test]
fn the_same_scenario_is_the_same_run() {
    for seed in [1, 5, 9] {
        let scenario = Scenario { faults: Faults::ALL, seconds: 60, ..Scenario::of(seed) };
        let (one, other) = (run(&scenario, false, false).unwrap(), run(&scenario, false, false).unwrap());
        assert_eq!((one.sent, one.delivered, one.digest), (other.sent, other.delivered, other.digest));
    }
}

#[test]
fn without_faults_nothing_is_lost() {
    for seed in 0..20 {
        let scenario = Scenario { faults: Faults(0), ..Scenario::of(seed) };
        let outcome = run(&scenario, false, false).unwrap();
        // What has no route, or a source that the other side does not know, is an eighth of the packets.
        assert!(outcome.delivered * 10 > outcome.sent * 8, "{outcome:?}");
        assert!(outcome.reconnected <= 1_000_000_000, "{outcome:?}");
    }
}

#[test]
fn names_are_distinct_and_read_back() {
    for fault in Fault::ALL {
        let alone = Faults::parse(fault.name()).unwrap();
        assert!(alone.has(*fault) && alone.without(*fault) == Faults(0));
        assert_eq!(alone.to_string(), fault.name());
    }
    assert_eq!(Faults::parse(&Faults::ALL.to_string()), Ok(Faults::ALL));
    for (at, check) in Check::ALL.iter().enumerate() {
        assert!(Check::ALL[at + 1..].iter().all(|other| other.name() != check.name()));
    }
}
