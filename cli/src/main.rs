//! The `kerntun` program.

fn main() {}
