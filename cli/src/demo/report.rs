//! What people read while it happens, and what programs read afterwards.

use crate::failure::Failure;
use crate::show::{Paint, print};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

/// What the demo found out. `docs/cli.md` describes the JSON form.
#[derive(Debug, Default, Serialize)]
pub(super) struct Results {
    /// Version of the form.
    pub(super) schema: u32,
    /// Public keys of the two sides.
    pub(super) public_keys: [String; 2],
    /// Sizes of the handshake's messages on the wire, in bytes.
    pub(super) handshake_message_bytes: Vec<usize>,
    /// From sending the first ping to its answer: a handshake lies between. Milliseconds.
    pub(super) first_ping_ms: f64,
    /// Of those that followed.
    pub(super) ping_ms: Vec<f64>,
    /// Frames on the outer wire, and how many of them showed a known text of the pings.
    pub(super) outer_frames: u64,
    pub(super) outer_readable: u64,
    /// The same inside the tunnel, as a check of the check.
    pub(super) inner_readable: u64,
    /// The mass transfer.
    pub(super) transfer_bytes: u64,
    pub(super) transfer_seconds: f64,
    pub(super) transfer_mbit_per_second: f64,
    pub(super) blake2b: String,
}

/// Tells the story, unless only its results are wanted.
pub(super) struct Report {
    silent: bool,
    paint: Paint,
    step: u32,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { silent: json, paint: Paint::stdout(), step: 0 }
    }

    /// A new step.
    pub(super) fn step(&mut self, text: &str) -> Result<(), Failure> {
        self.step += 1;
        let gap = if self.step > 1 { "\n" } else { "" };
        self.say(format_args!("{gap}{}", self.paint.bold(format_args!("{}. {text}", self.step))))
    }

    /// A fact within a step.
    pub(super) fn fact(&self, text: impl Display) -> Result<(), Failure> {
        self.say(format_args!("   {text}"))
    }

    /// The end.
    pub(super) fn end(&self, results: &Results) -> Result<(), Failure> {
        if self.silent {
            print(&format!("{}\n", serde_json::to_string_pretty(results).unwrap_or_default()))
        } else {
            self.say(format_args!("\n{}", self.paint.green("The tunnel works.")))
        }
    }

    fn say(&self, text: impl Display) -> Result<(), Failure> {
        if self.silent { Ok(()) } else { print(&format!("{text}\n")) }
    }
}

/// The beginning of a key, enough to recognise it.
pub(super) fn short(key: impl Display) -> String {
    key.to_string().chars().take(8).chain(['…']).collect()
}

/// A time in milliseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
