//! The WireGuard cross-platform configuration protocol: parser, writer and client.
