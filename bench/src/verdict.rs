//! Which of the wanted ratios are reached.
//!
//! Absolute figures move with the machine, and a machine moves with the hour. So ours is compared with others round by
//! round, and what counts is the median over the quiet rounds: those in which nobody else disturbed either measurement. Where
//! there is none, it is over all, and said.

use crate::primitives;
use crate::results::{Results, Values, disturbed};
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
        let found = compared(results, (self.measure, self.number), self.other, |ours, other| ours / other)?;
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => ("≥", bound),
            Bound::AtMost(bound) => ("≤", bound),
        };
        Some(Verdict {
            wanted: format!("{} {sign} {bound} × {}", self.title, self.other),
            found: found.told(" ×", 2),
            reached: self.bound.holds(found.summary.median),
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
    let found = compared(results, ("tcp-1", "cpu_seconds_per_gb"), LIMIT, |ours, limit| ours - limit)?;
    Some(Verdict {
        wanted: format!("CPU per GB ≤ {LIMIT} + {aead:.2} s of sealing and opening + 0.15 s"),
        found: format!("{LIMIT} + {}", found.told(" s", 2)),
        reached: found.summary.median <= aead + 0.15,
    })
}

fn idle_above_the_limit(results: &Results) -> Option<Verdict> {
    let found = compared(results, ("idle", "p50_us"), LIMIT, |ours, limit| ours - limit)?;
    Some(Verdict {
        wanted: format!("round trip, idle, median ≤ {LIMIT} + 15 µs"),
        found: format!("{LIMIT} + {}", found.told(" µs", 0)),
        reached: found.summary.median <= 15.0,
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
    let agreement = |library: &Values| Some(3.0 * library.get("x25519_us")? + library.get("base_us")?);
    let (us, library) = ((OURS, "handshakes"), (primitives::SUBJECT, primitives::MEASURE));
    let time = in_quiet_rounds(results, us, library, |ours, _| ours.get(number).copied())?.summary;
    let ratio = in_quiet_rounds(results, us, library, |ours, library| Some(ours.get(number)? / agreement(library)?))?;
    Some(Verdict {
        wanted: format!("daemon CPU per handshake, {end}, ≤ 1.3 × its X25519 and ≤ 140 µs"),
        found: format!("{}, {:.0} µs", ratio.told(" ×", 2), time.median),
        reached: ratio.summary.median <= 1.3 && time.median <= 140.0,
    })
}

fn memory(results: &Results) -> Option<Verdict> {
    let found = summary(results.series(OURS, "memory", "kib_per_peer_100k").map(|(_, value)| value))?;
    Some(Verdict {
        wanted: "resident memory per configured peer ≤ 1 KiB".to_owned(),
        found: format!("{:.2} KiB at 100,000 peers", found.median),
        reached: found.median <= 1.0,
    })
}

/// A comparison in several rounds.
struct Found {
    summary: Summary,
    /// Whether it is of quiet rounds only.
    is_quiet: bool,
}

impl Found {
    fn told(&self, unit: &str, digits: usize) -> String {
        let Summary { median, least, greatest, count } = self.summary;
        let how = if self.is_quiet { "quiet" } else { "disturbed" };
        let rounds = if count == 1 { "round" } else { "rounds" };
        format!("{median:.digits$}{unit} ({least:.digits$} to {greatest:.digits$} in {count} {how} {rounds})")
    }
}

/// Our number with the other's.
fn compared(
    results: &Results,
    (measure, number): (&str, &str),
    other: &str,
    by: impl Fn(f64, f64) -> f64,
) -> Option<Found> {
    in_quiet_rounds(results, (OURS, measure), (other, measure), |ours, theirs| {
        let (ours, theirs) = (*ours.get(number)?, *theirs.get(number)?);
        (theirs > 0.0).then(|| by(ours, theirs))
    })
}

/// Two measurements, each a subject's, of every round that has both.
fn in_quiet_rounds(
    results: &Results,
    (ours, measure): (&str, &str),
    (other, their_measure): (&str, &str),
    by: impl Fn(&Values, &Values) -> Option<f64>,
) -> Option<Found> {
    let (mut quiet, mut all) = (Vec::new(), Vec::new());
    for sample in results.samples.iter().filter(|sample| sample.subject == ours && sample.measure == measure) {
        let Some(theirs) = results.value(sample.round, other, their_measure) else { continue };
        let Some(value) = by(&sample.values, theirs) else { continue };
        all.push(value);
        if !disturbed(&sample.values) && !disturbed(theirs) {
            quiet.push(value);
        }
    }
    let is_quiet = !quiet.is_empty();
    Some(Found { summary: summary(if is_quiet { quiet } else { all })?, is_quiet })
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
        assert_eq!(verdict.found, "2.40 × (2.00 to 3.00 in 3 quiet rounds)");
        assert!(verdict.reached);
        assert!(!RATIOS[0].judge(&results(&[(1, "kerntun", 2.2), (1, "wireguard-go", 1.0)])).unwrap().reached);
        assert!(RATIOS[0].judge(&results(&[(1, "kerntun", 2.2), (2, "wireguard-go", 1.0)])).is_none());
    }

    #[test]
    fn disturbed_rounds_count_only_where_there_are_no_others() {
        let mut all = results(&[
            (1, "kerntun", 4.0),
            (1, "wireguard-go", 2.0),
            (2, "kerntun", 6.0),
            (2, "wireguard-go", 1.0),
            (3, "kerntun", 9.0),
            (3, "wireguard-go", 1.0),
        ]);
        all.samples[2].values.insert("foreign_percent".to_owned(), 11.0);
        all.samples[5].values.insert("stolen_percent".to_owned(), 11.0);
        assert_eq!(RATIOS[0].judge(&all).unwrap().found, "2.00 × (2.00 to 2.00 in 1 quiet round)");
        all.samples[0].values.insert("foreign_percent".to_owned(), 11.0);
        assert_eq!(RATIOS[0].judge(&all).unwrap().found, "6.00 × (2.00 to 9.00 in 3 disturbed rounds)");
    }
}
