//! Ctrl-C and SIGTERM while something is half done.

use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Remembers that the user wants out. Whoever does things in steps asks between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, signals that would end the process are only remembered.
    ///
    /// # Errors
    /// When the system does not let us.
    pub(crate) fn install() -> Result<Self, Failure> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))
                .map_err(|error| Failure::new(format!("cannot watch for signals: {error}")))?;
        }
        Ok(interrupt)
    }

    /// Fails once a signal has come.
    ///
    /// # Errors
    /// Says that this was interrupted.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::new("interrupted by a signal")) } else { Ok(()) }
    }

    /// As if a signal had come.
    #[cfg(test)]
    pub(crate) fn remember(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
