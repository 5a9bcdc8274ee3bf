//! What needs the insides: published vectors with other nonces, and Poly1305 with numbers of one's choice.

mod poly;
mod wycheproof;

use crate::Level;
use std::println;

/// Whether this processor has that level; says so if not.
fn has(level: Level) -> bool {
    let has = crate::Vectors::at(level).is_some();
    if !has {
        println!("SKIPPED: this processor has no {level:?}");
    }
    has
}
