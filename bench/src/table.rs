//! Medians in a table.

use crate::results::{Results, Values};
use crate::statistics::{Summary, summary};
use crate::subject::Program;
use crate::verdict;
use std::fmt::Write as _;

/// A line of the table: one number of one measurement.
pub(crate) struct Row {
    pub(crate) measure: &'static str,
    pub(crate) number: &'static str,
    pub(crate) title: &'static str,
    /// What a value is multiplied with to be shown.
    scale: f64,
    digits: usize,
    /// Whether more of it is better; none if it is neither.
    pub(crate) more_is_better: Option<bool>,
}

const fn row(
    measure: &'static str,
    number: &'static str,
    title: &'static str,
    (scale, digits): (f64, usize),
    more_is_better: Option<bool>,
) -> Row {
    Row { measure, number, title, scale, digits, more_is_better }
}

const MORE: Option<bool> = Some(true);
const LESS: Option<bool> = Some(false);
const GBIT: &str = "gbit_per_second";
const CPU: &str = "cpu_seconds_per_gb";
const PACKETS: &str = "delivered_per_second";

/// All lines.
pub(crate) const ROWS: [Row; 51] = [
    row("tcp-1", GBIT, "1 TCP stream, Gb/s", (1.0, 2), MORE),
    row("tcp-1-back", GBIT, "1 TCP stream back, Gb/s", (1.0, 2), MORE),
    row("tcp-both", GBIT, "1 TCP stream each way, sum, Gb/s", (1.0, 2), MORE),
    row("tcp-4", GBIT, "4 TCP streams, Gb/s", (1.0, 2), MORE),
    row("tcp-4-back", GBIT, "4 TCP streams back, Gb/s", (1.0, 2), MORE),
    row("tcp-1-plain", GBIT, "1 TCP stream, path without segmentation offload, Gb/s", (1.0, 2), MORE),
    row("tcp-1", CPU, "CPU per GB, 1 stream, s", (1.0, 2), LESS),
    row("tcp-4", CPU, "CPU per GB, 4 streams, s", (1.0, 2), LESS),
    row("tcp-1-plain", CPU, "CPU per GB, path without segmentation offload, s", (1.0, 2), LESS),
    row("udp-64", PACKETS, "64-byte UDP delivered, overload, thousands/s", (1e-3, 0), MORE),
    row("udp-64", "loss_percent", "– of them lost, %", (1.0, 0), None),
    row("udp-64", "disordered", "– of them out of order", (1.0, 0), LESS),
    row("udp-576", PACKETS, "576-byte UDP delivered, overload, thousands/s", (1e-3, 0), MORE),
    row("udp-576", "loss_percent", "– of them lost, %", (1.0, 0), None),
    row("udp-576", "disordered", "– of them out of order", (1.0, 0), LESS),
    row("udp-1372", PACKETS, "1,372-byte UDP delivered, overload, thousands/s", (1e-3, 0), MORE),
    row("udp-1372", "loss_percent", "– of them lost, %", (1.0, 0), None),
    row("udp-1372", "disordered", "– of them out of order", (1.0, 0), LESS),
    row("udp-64-rate", "packets_per_second", "64-byte UDP, highest rate with ≤ 1 % lost, thousands/s", (1e-3, 0), MORE),
    row("udp-64-rate", "disordered", "– of them out of order", (1.0, 0), LESS),
    row("idle", "p50_us", "round trip, idle, median, µs", (1.0, 0), LESS),
    row("idle", "p99_us", "round trip, idle, p99, µs", (1.0, 0), LESS),
    row("loaded", "p50_us", "round trip under 1 TCP stream, median, ms", (1e-3, 2), LESS),
    row("loaded", "p99_us", "round trip under 1 TCP stream, p99, ms", (1e-3, 2), LESS),
    row("wake-ups", "per_second", "wake-ups of both daemons, idle, per second", (1.0, 1), LESS),
    row("crowd", GBIT, "1 TCP stream beside 100,000 idle peers, Gb/s", (1.0, 2), MORE),
    row("crowd", "share_of_alone", "– as a share of that without them, %", (100.0, 0), MORE),
    row("handshakes", "answered_per_second", "handshakes answered per second", (1.0, 0), MORE),
    row("handshakes", "responder_cpu_us", "daemon CPU per handshake, responder, µs", (1.0, 0), LESS),
    row(
        "handshakes",
        "initiator_cpu_us",
        "daemon CPU per handshake of 16 and first packet, initiator, µs",
        (1.0, 0),
        LESS,
    ),
    row(
        "handshakes",
        "initiator_alone_cpu_us",
        "daemon CPU per handshake alone and first packet, initiator, µs",
        (1.0, 0),
        LESS,
    ),
    row("memory", "kib_per_peer_1k", "resident memory per peer, 1,000 peers, KiB", (1.0, 1), LESS),
    row("memory", "kib_per_peer_10k", "resident memory per peer, 10,000 peers, KiB", (1.0, 1), LESS),
    row("memory", "kib_per_peer_100k", "resident memory per peer, 100,000 peers, KiB", (1.0, 1), LESS),
    row("memory", "set_seconds_10k", "time to configure 10,000 peers, s", (1.0, 2), LESS),
    row("memory", "set_seconds_100k", "time to configure 100,000 peers, s", (1.0, 2), LESS),
    row("memory", "get_seconds_10k", "time to list 10,000 peers, s", (1.0, 3), LESS),
    row("memory", "get_seconds_100k", "time to list 100,000 peers, s", (1.0, 3), LESS),
    row("hub", "in_per_second", "hub with 10,000 peers at work: packets delivered, thousands/s", (1e-3, 0), MORE),
    row("hub", "in_cpu_us", "– its CPU for each, µs", (1.0, 2), LESS),
    row(
        "hub",
        "through_per_second",
        "hub with 10,000 peers: packets from one to another, thousands/s",
        (1e-3, 0),
        MORE,
    ),
    row("hub", "through_cpu_us", "– its CPU for each, µs", (1.0, 2), LESS),
    row("hub", "all_connected_seconds", "– time until all have a session, s", (1.0, 2), LESS),
    row("hub", "kib_per_active_peer", "– resident memory for each, KiB", (1.0, 1), LESS),
    row("hub", "first_answer_us_10k", "time to the answer to an initiation, 10,000 peers, µs", (1.0, 0), LESS),
    row("hub", "first_answer_us_100k", "time to the answer to an initiation, 100,000 peers, µs", (1.0, 0), LESS),
    row("primitives", "seal_gb_per_second", "sealing full packets, one processor, GB/s", (1.0, 2), MORE),
    row("primitives", "open_gb_per_second", "opening full packets, one processor, GB/s", (1.0, 2), MORE),
    row("primitives", "x25519_us", "X25519 shared secret, µs", (1.0, 1), LESS),
    row("primitives", "base_us", "X25519 public key, µs", (1.0, 1), LESS),
    row("tcp-1", "stolen_percent", "time taken by the hypervisor, % of a processor", (1.0, 1), None),
];

impl Row {
    /// The number over all rounds.
    pub(crate) fn of(&self, results: &Results, subject: &str) -> Option<Summary> {
        summary(results.series(subject, self.measure, self.number).map(|(_, value)| value))
    }

    /// A value as it is shown.
    pub(crate) fn shown(&self, value: f64) -> String {
        format!("{:.*}", self.digits, value * self.scale)
    }

    /// What stands for itself, without the line before it.
    pub(crate) fn whole_title(&self) -> String {
        let before = ROWS
            .iter()
            .take_while(|row| (row.measure, row.number) != (self.measure, self.number))
            .filter(|row| !row.is_detail())
            .last();
        match before.filter(|_| self.is_detail()) {
            Some(before) => {
                format!("{} {}", before.title.rsplit_once(", ").map_or(before.title, |it| it.0), self.title)
            }
            None => self.title.to_owned(),
        }
    }

    /// Whether this belongs to a part of a measurement that was named in a line before.
    fn is_detail(&self) -> bool {
        self.title.starts_with('–')
    }
}

/// The subjects that there are results of, in the order of tables.
pub(crate) fn subjects(results: &Results) -> Vec<&'static str> {
    let measured = |name: &&str| results.samples.iter().any(|sample| sample.subject == **name);
    Program::ALL.map(Program::name).into_iter().filter(measured).collect()
}

/// The rows that there are results of, but for those of the library alone.
pub(crate) fn rows(results: &Results) -> impl Iterator<Item = &'static Row> {
    let subjects = subjects(results);
    ROWS.iter().filter(move |row| subjects.iter().any(|subject| row.of(results, subject).is_some()))
}

/// The table for a terminal.
pub(crate) fn text(results: &Results) -> String {
    let subjects = subjects(results);
    let mut text = String::new();
    let _ = write!(text, "\n{:<56}", "median of the rounds");
    for subject in &subjects {
        let _ = write!(text, "{:>width$}", subject, width = subject.len().max(8) + 2);
    }
    text.push('\n');
    for row in rows(results) {
        let title = if row.is_detail() { format!("  {}", row.title) } else { row.title.to_owned() };
        // The width is counted in letters, of which some have two bytes.
        let _ = write!(text, "{title:<56}");
        for subject in &subjects {
            let value = row.of(results, subject).map_or_else(|| "·".to_owned(), |all| row.shown(all.median));
            let _ = write!(text, "{:>width$}", value, width = subject.len().max(8) + 2);
        }
        text.push('\n');
    }
    let verdicts = verdict::all(results);
    if !verdicts.is_empty() {
        let _ = writeln!(text, "\nwanted, by the medians of the quiet rounds (least to greatest):");
    }
    for verdict in verdicts {
        let mark = if verdict.reached { "reached    " } else { "NOT reached" };
        let _ = writeln!(text, "  {mark}  {}: {}", verdict.wanted, verdict.found);
    }
    text
}

/// The main numbers of one measurement.
pub(crate) fn brief(values: &Values) -> String {
    let number = |name: &str| values.get(name).copied();
    if let Some(gigabit) = number(GBIT) {
        return format!("{gigabit:.2} Gb/s");
    }
    if let Some(packets) = number(PACKETS).or_else(|| number("packets_per_second")) {
        return format!("{:.0}k/s", packets / 1e3);
    }
    if let (Some(p50), Some(p99)) = (number("p50_us"), number("p99_us")) {
        return format!("{p50:.0}/{p99:.0} µs");
    }
    if let Some(rate) = number("answered_per_second") {
        return format!("{rate:.0}/s");
    }
    if let (Some(rate), Some(through)) = (number("in_per_second"), number("through_per_second")) {
        return format!("{:.0}k/s in, {:.0}k/s through", rate / 1e3, through / 1e3);
    }
    if let Some(memory) = number("kib_per_peer_10k") {
        return format!("{memory:.1} KiB");
    }
    number("per_second").map(|rate| format!("{rate:.1}/s")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_told_with_what_it_is_a_detail_of() {
        let titles: Vec<_> = ROWS.iter().filter(|row| row.measure == "hub").map(Row::whole_title).collect();
        assert_eq!(titles[2], "hub with 10,000 peers: packets from one to another, thousands/s");
        assert_eq!(titles[3], "hub with 10,000 peers: packets from one to another – its CPU for each, µs");
    }
}
