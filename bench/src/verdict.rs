//! Which of the wanted ratios are reached.
//!
//! Absolute figures move with the machine, and a machine moves with the hour. So ours is compared with others round by
//! round, and what counts is the median over the rounds.

use crate::primitives;
use crate::results::Results;
use crate::statistics::{Summary, summary};
use crate::subject::Program;

/// What was wanted, what was found, and whether that is enough.
pub(crate) struct Verdict {
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) reached: bool,
}

const OURS: &str = Program::Kerntun.name();
const GO: &str = Program::WireguardGo.name();
const LIMIT: &str = Program::Forwarder.name();

/// A wanted ratio of one number of ours to that of another.
struct Ratio {
    measure: &'static str,
    number: &'static str,
    title: &'static str,
    other: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const fn ratio(
    measure: &'static str,
    number: &'static str,
    title: &'static str,
    other: &'static str,
    bound: Bound,
) -> Ratio {
    Ratio { measure, number, title, other, bound }
}

const RATIOS: [Ratio; 7] = [
    ratio("tcp-1", "gbit_per_second", "1 TCP stream", GO, Bound::AtLeast(2.3)),
    ratio("tcp-4", "gbit_per_second", "4 TCP streams", GO, Bound::AtLeast(2.3)),
    ratio("tcp-1-plain", "gbit_per_second", "1 TCP stream without segmentation offload", GO, Bound::AtLeast(2.0)),
    ratio("tcp-1", "cpu_seconds_per_gb", "CPU per GB", GO, Bound::AtMost(0.5)),
    ratio("udp-64", "delivered_per_second", "64-byte UDP under overload", LIMIT, Bound::AtLeast(0.8)),
    ratio("loaded", "p50_us", "round trip under load, median", LIMIT, Bound::AtMost(1.5)),
    ratio("loaded", "p99_us", "round trip under load, p99", LIMIT, Bound::AtMost(1.3)),
];

/// All that can be judged by these results.
pub(crate) fn all(results: &Results) -> Vec<Verdict> {
    let mut verdicts: Vec<_> = RATIOS.iter().filter_map(|ratio| ratio.judge(results)).collect();
    verdicts.extend(cpu_above_the_limit(results));
    verdicts.extend(idle_above_the_limit(results));
    verdicts.extend(order(results));
    for (number, end) in [("responder_cpu_us", "responder"), ("initiator_cpu_us", "initiator")] {
        verdicts.extend(handshake(results, number, end));
    }
    verdicts.extend(memory(results));
    verdicts
}

impl Ratio {
    fn judge(&self, results: &Results) -> Option<Verdict> {
        let ratios = pairs(results, (self.measure, self.number), self.other).map(|(ours, other)| ours / other);
        let found = summary(ratios)?;
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => ("≥", bound),
            Bound::AtMost(bound) => ("≤", bound),
        };
        Some(Verdict {
            wanted: format!("{} {sign} {bound} × {}", self.title, self.other),
            found: spread(&found, " ×", 2),
            reached: self.bound.holds(found.median),
        })
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// The processors' time above that of the forwarder: every byte is sealed once and opened once, and 0.15 s a GB may go for the
/// protocol.
fn cpu_above_the_limit(results: &Results) -> Option<Verdict> {
    let library =
        |number| summary(results.series(primitives::SUBJECT, primitives::MEASURE, number).map(|(_, value)| value));
    let aead = 1.0 / library("seal_gb_per_second")?.median + 1.0 / library("open_gb_per_second")?.median;
    let found = summary(pairs(results, ("tcp-1", "cpu_seconds_per_gb"), LIMIT).map(|(ours, limit)| ours - limit))?;
    Some(Verdict {
        wanted: format!("CPU per GB ≤ {LIMIT} + {aead:.2} s of sealing and opening + 0.15 s"),
        found: format!("{LIMIT} + {}", spread(&found, " s", 2)),
        reached: found.median <= aead + 0.15,
    })
}

fn idle_above_the_limit(results: &Results) -> Option<Verdict> {
    let found = summary(pairs(results, ("idle", "p50_us"), LIMIT).map(|(ours, limit)| ours - limit))?;
    Some(Verdict {
        wanted: format!("round trip, idle, median ≤ {LIMIT} + 15 µs"),
        found: format!("{LIMIT} + {}", spread(&found, " µs", 0)),
        reached: found.median <= 15.0,
    })
}

fn order(results: &Results) -> Option<Verdict> {
    let of_ours = |measure| results.series(OURS, measure, "disordered").map(|(_, count)| count);
    let found = summary(["udp-64", "udp-576", "udp-1372", "udp-64-rate"].into_iter().flat_map(of_ours))?;
    Some(Verdict {
        wanted: "no datagram of a flow out of order, in any measurement".to_owned(),
        found: format!("at most {:.0} in {} measurements", found.greatest, found.count),
        reached: found.greatest <= 0.0,
    })
}

/// A handshake computes three shared secrets and one public key, timed in the same round; all the rest may take as long as 0.3 of
/// that.
fn handshake(results: &Results, number: &'static str, end: &str) -> Option<Verdict> {
    let agreement = |round| {
        let library = results.value(round, primitives::SUBJECT, primitives::MEASURE)?;
        Some(3.0 * library.get("x25519_us")? + library.get("base_us")?)
    };
    let both = |(round, cpu): (u32, f64)| Some((cpu, cpu / agreement(round)?));
    let (times, ratios): (Vec<_>, Vec<_>) = results.series(OURS, "handshakes", number).filter_map(both).unzip();
    let (time, ratio) = (summary(times)?, summary(ratios)?);
    Some(Verdict {
        wanted: format!("daemon CPU per handshake, {end}, ≤ 1.3 × its X25519 and ≤ 140 µs"),
        found: format!("{}, {:.0} µs", spread(&ratio, " ×", 2), time.median),
        reached: ratio.median <= 1.3 && time.median <= 140.0,
    })
}

fn memory(results: &Results) -> Option<Verdict> {
    let found = summary(values(results, OURS, "memory", "kib_per_peer_100k"))?;
    Some(Verdict {
        wanted: "resident memory per configured peer ≤ 1 KiB".to_owned(),
        found: format!("{:.2} KiB at 100,000 peers", found.median),
        reached: found.median <= 1.0,
    })
}

fn values<'a>(
    results: &'a Results,
    subject: &'a str,
    measure: &'a str,
    number: &'a str,
) -> impl Iterator<Item = f64> + 'a {
    results.series(subject, measure, number).map(|(_, value)| value)
}

/// Our number and the other's in each round that has both.
fn pairs<'a>(
    results: &'a Results,
    (measure, number): (&'static str, &'static str),
    other: &'static str,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    results.series(OURS, measure, number).filter_map(move |(round, ours)| {
        let other = *results.value(round, other, measure)?.get(number)?;
        (other > 0.0).then_some((ours, other))
    })
}

fn spread(all: &Summary, unit: &str, digits: usize) -> String {
    let Summary { median, least, greatest, count } = all;
    format!("{median:.digits$}{unit} ({least:.digits$} to {greatest:.digits$} in {count} rounds)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::{Sample, Values};

    fn results(samples: &[(u32, &str, f64)]) -> Results {
        let mut results = Results::new(Machine::here());
        for (round, subject, value) in samples {
            results.samples.push(Sample {
                round: *round,
                subject: (*subject).to_owned(),
                measure: "tcp-1".to_owned(),
                window: 1.0,
                values: Values::from([("gbit_per_second".to_owned(), *value)]),
            });
        }
        results
    }

    #[test]
    fn only_rounds_with_both_are_compared_and_their_median_counts() {
        let all = results(&[
            (1, "kerntun", 4.0),
            (1, "wireguard-go", 2.0),
            (2, "kerntun", 6.0),
            (2, "wireguard-go", 2.5),
            (3, "kerntun", 9.0),
            (3, "wireguard-go", 3.0),
            (4, "kerntun", 1.0),
        ]);
        let verdict = RATIOS[0].judge(&all).unwrap();
        assert_eq!(verdict.found, "2.40 × (2.00 to 3.00 in 3 rounds)");
        assert!(verdict.reached);
        assert!(!RATIOS[0].judge(&results(&[(1, "kerntun", 2.2), (1, "wireguard-go", 1.0)])).unwrap().reached);
        assert!(RATIOS[0].judge(&results(&[(1, "kerntun", 2.2), (2, "wireguard-go", 1.0)])).is_none());
    }
}
