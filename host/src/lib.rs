//! The user-space home of the engine.
