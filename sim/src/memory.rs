//! Looks for secrets in the memory of this very process, through the file in which the system shows it.

use crate::journal::masked;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const CHUNK: usize = 1 << 20;

/// Addresses in the heap at which one of `secrets` (masked) stands unmasked. Empty where the system shows no memory.
///
/// Stacks are left out: registers and frames of the compiler's own hold copies that no program can name. What is free is
/// looked at like everything else, so a block that was not wiped before it was freed is found.
#[must_use]
pub fn find(secrets: &HashSet<[u8; 32]>) -> Vec<usize> {
    // By the first eight bytes, still masked.
    let starts: HashMap<[u8; 8], &[u8; 32]> = secrets.iter().filter_map(|s| Some((*s.first_chunk()?, s))).collect();
    let (Ok(maps), Ok(memory)) = (fs::read_to_string("/proc/self/maps"), File::open("/proc/self/mem")) else {
        return Vec::new();
    };
    let mut chunk = vec![0; CHUNK];
    let own = chunk.as_ptr() as usize..chunk.as_ptr() as usize + CHUNK;
    let mut found = Vec::new();
    for (start, end) in maps.lines().filter_map(writable) {
        let mut at = start;
        while at < end {
            let len = CHUNK.min(end - at);
            chunk.fill(0);
            if memory.read_exact_at(&mut chunk[..len], at as u64).is_ok() {
                for (offset, window) in chunk[..len].windows(32).enumerate() {
                    let Ok(window) = <[u8; 32]>::try_from(window) else { continue };
                    let start = masked(&window);
                    let is_secret = start.first_chunk().is_some_and(|s| starts.get(s) == Some(&&start));
                    if is_secret && !own.contains(&(at + offset)) {
                        found.push(at + offset);
                    }
                }
            }
            at += len.saturating_sub(31).max(1);
            if len < CHUNK {
                break;
            }
        }
    }
    found
}

/// Start and end of a line of `/proc/self/maps` that is writable memory without a file: the heap in all its parts.
fn writable(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, mode) = (words.next()?, words.next()?);
    let name = words.nth(3).unwrap_or("[heap]");
    if !mode.starts_with("rw") || name != "[heap]" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}
