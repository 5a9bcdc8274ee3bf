//! A mirror of what comes in: what it shows must be what came, whatever the tunnel does with its own copy.

use kerntun_hostile::packet::{Datagram, Tap};
use std::collections::VecDeque;

const PORT: u16 = 1111;
const DATA: [u8; 4] = [4, 0, 0, 0];
/// Frames that are remembered until the mirror shows them.
const REMEMBERED: usize = 1024;

pub(crate) struct Mirror {
    tap: Tap,
    handed: VecDeque<Vec<u8>>,
    /// Messages with data that it showed as they came, and others.
    pub(crate) same: u64,
    pub(crate) changed: u64,
}

impl Mirror {
    pub(crate) fn new(tap: Tap) -> Self {
        Self { tap, handed: VecDeque::new(), same: 0, changed: 0 }
    }

    /// This frame comes in.
    pub(crate) fn hand(&mut self, frame: Vec<u8>) {
        if self.handed.len() == REMEMBERED {
            self.handed.pop_front();
        }
        self.handed.push_back(frame);
    }

    /// Forgets what it has shown so far.
    pub(crate) fn begin(&mut self, buffer: &mut [u8]) {
        while let Ok(Some(_)) = self.tap.read(buffer) {}
        (self.same, self.changed) = (0, 0);
    }

    /// Compares what it shows. The tunnel must have had the time to open what came.
    pub(crate) fn look(&mut self, buffer: &mut [u8]) {
        while let Ok(Some(frame)) = self.tap.read(buffer) {
            // What the kernel itself says to the mirror is not looked at.
            let is_data = |datagram: Datagram| datagram.destination_port == PORT && datagram.payload.starts_with(&DATA);
            if !Datagram::parse(&frame).is_some_and(is_data) {
                continue;
            }
            // Some may be missing: its queue is short.
            if let Some(at) = self.handed.iter().position(|handed| *handed == frame) {
                self.handed.drain(..=at);
                self.same += 1;
            } else {
                self.changed += 1;
            }
        }
    }
}
