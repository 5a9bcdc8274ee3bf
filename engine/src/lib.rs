//! The WireGuard protocol and cryptokey routing, without I/O, clock, allocation on the packet path or panics.
