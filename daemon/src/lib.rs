//! The user-space WireGuard daemon: workers that carry batches between Linux and the engine.
