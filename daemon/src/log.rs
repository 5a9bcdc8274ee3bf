//! The log: lines on standard error.

use crate::options::LogLevel;
use tracing::level_filters::LevelFilter;

/// Sends the log to standard error. Without time stamps: whoever collects it adds them. If the program has a log of its
/// own already, that one stays.
pub(crate) fn start(level: LogLevel) {
    let filter = match level {
        LogLevel::Silent => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Verbose => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        // Told on standard error too, and whoever cannot write there panics: a terminal that was closed is no reason to end.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // Fails only if there is one already.
    let _ = tracing::subscriber::set_global_default(log.finish());
}
