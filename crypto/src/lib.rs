//! Implementations of the kerntun engine's crypto trait: fast for user space, portable for no_std.
