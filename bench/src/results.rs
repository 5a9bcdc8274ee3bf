//! The file of results: everything measured, and where.

use crate::machine::Machine;
use kerntun_lab::Trouble;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What one measurement gives: numbers by name, their unit in the name.
pub(crate) type Values = BTreeMap<String, f64>;

/// Time that others took during a measurement, in percent of one processor: programs that are not part of it.
pub(crate) const FOREIGN: &str = "foreign_percent";
/// And a hypervisor.
pub(crate) const STOLEN: &str = "stolen_percent";

/// A measurement during which others took more than this, together, is called disturbed.
pub(crate) const DISTURBED_PERCENT: f64 = 10.0;

/// Of this file's form.
const SCHEMA: u32 = 1;

/// A file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    /// What each subject says of itself, by its name.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Counted from 1. Samples of one round were taken soon after each other and are compared with each other.
    pub(crate) round: u32,
    pub(crate) subject: String,
    pub(crate) measure: String,
    /// Seconds of the window.
    pub(crate) window: f64,
    pub(crate) values: Values,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(machine: Machine) -> Self {
        Self { schema: SCHEMA, machine, versions: BTreeMap::new(), samples: Vec::new() }
    }

    /// Reads a file; none if it is not there.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Trouble> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::new(format!("{}: {error}", path.display()))),
        };
        let results: Self = serde_json::from_str(&text)
            .map_err(|error| Trouble::new(format!("{} is no file of results: {error}", path.display())))?;
        if results.schema != SCHEMA {
            return Err(Trouble::new(format!("{} has schema {}, not {SCHEMA}", path.display(), results.schema)));
        }
        Ok(Some(results))
    }

    /// Writes the file as a whole, or leaves it as it was.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Trouble> {
        let fail = |error: &dyn std::fmt::Display| Trouble::new(format!("cannot write {}: {error}", path.display()));
        let mut text = String::from("{\n");
        let [machine, versions] = [json(&self.machine), json(&self.versions)];
        let (machine, versions) = (machine.map_err(|error| fail(&error))?, versions.map_err(|error| fail(&error))?);
        text += &format!("\"schema\": {SCHEMA},\n\"machine\": {machine},\n\"versions\": {versions},\n\"samples\": [\n");
        // A line for each sample, so that a difference between two files can be read.
        let samples = self.samples.iter().map(json).collect::<Result<Vec<_>, _>>();
        text += &samples.map_err(|error| fail(&error))?.join(",\n");
        text += "\n]\n}\n";
        let temporary = path.with_extension("new");
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).map_err(|error| fail(&error))
    }

    /// Whether there is a sample of this.
    pub(crate) fn has(&self, round: u32, subject: &str, measure: &str) -> bool {
        self.value(round, subject, measure).is_some()
    }

    /// The values of one measurement.
    pub(crate) fn value(&self, round: u32, subject: &str, measure: &str) -> Option<&Values> {
        let is_it = |sample: &&Sample| (sample.round, &*sample.subject, &*sample.measure) == (round, subject, measure);
        self.samples.iter().find(is_it).map(|sample| &sample.values)
    }

    /// One number of all rounds, with the round's number.
    pub(crate) fn series<'a>(
        &'a self,
        subject: &'a str,
        measure: &'a str,
        number: &'a str,
    ) -> impl Iterator<Item = (u32, f64)> + 'a {
        let is_it = move |sample: &&Sample| sample.subject == subject && sample.measure == measure;
        self.samples.iter().filter(is_it).filter_map(move |sample| Some((sample.round, *sample.values.get(number)?)))
    }
}

/// Whether others did more than nothing meanwhile. Samples of files from before this was recorded are not known to be.
pub(crate) fn disturbed(values: &Values) -> bool {
    let of = |name| values.get(name).copied().unwrap_or_default();
    of(FOREIGN) + of(STOLEN) > DISTURBED_PERCENT
}

fn json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value)
}
