//! Findings for people and for programs.

use super::facts::Facts;
use super::finding::{Finding, Severity};
use crate::show::Paint;
use serde::Serialize;
use std::fmt::Write;

/// Version of the JSON form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Everything<'a> {
    schema: u32,
    interfaces: Vec<Interface<'a>>,
}

#[derive(Serialize)]
struct Interface<'a> {
    name: &'a str,
    /// Whether there were counters to look at.
    counted: bool,
    findings: &'a [Finding],
}

/// One indented document, described in `docs/cli.md`.
pub(crate) fn json(diagnoses: &[(Facts, Vec<Finding>)]) -> String {
    let interfaces = diagnoses
        .iter()
        .map(|(facts, findings)| Interface { name: &facts.interface, counted: facts.counted, findings })
        .collect();
    serde_json::to_string_pretty(&Everything { schema: SCHEMA, interfaces }).unwrap_or_default() + "\n"
}

/// A paragraph for each finding.
pub(crate) fn text(diagnoses: &[(Facts, Vec<Finding>)], paint: Paint) -> String {
    let mut out = String::new();
    for (at, (facts, findings)) in diagnoses.iter().enumerate() {
        let gap = if at > 0 { "\n" } else { "" };
        let _ = writeln!(out, "{gap}{}: {}", paint.bold("interface"), facts.interface);
        let mut peer = None;
        for finding in findings {
            if finding.peer != peer {
                peer.clone_from(&finding.peer);
                if let Some(peer) = &peer {
                    let _ = writeln!(out, "\n{}: {peer}", paint.bold("peer"));
                }
            }
            write_finding(&mut out, finding, paint);
        }
        if !facts.counted && !findings.iter().any(|finding| finding.cause == "daemon-dead") {
            let _ = writeln!(out, "  (not served by kerntun: without its counters less can be said)");
        }
    }
    out
}

fn write_finding(out: &mut String, finding: &Finding, paint: Paint) {
    let mark = match finding.severity {
        Severity::Problem => paint.red(paint.bold("problem")),
        Severity::Note => paint.yellow("note"),
        Severity::Healthy => paint.green("good"),
    };
    let _ = writeln!(out, "  {mark}: {}", finding.what);
    if !finding.whose.is_empty() {
        let _ = writeln!(out, "    at fault: {}", finding.whose);
    }
    for next in &finding.next {
        let _ = writeln!(out, "    next: {next}");
    }
}
