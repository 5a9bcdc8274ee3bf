//! Names of routing tables.

use kerntun_config::{SYSTEM_TABLES, TableName};
use std::fs;
use std::path::{Path, PathBuf};

/// Where iproute2 keeps names of tables, the most specific first.
const PLACES: [&str; 3] = ["/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2"];

/// The number of the table of this name, by the names the kernel itself knows and those of `rt_tables`.
pub(crate) fn number_of(name: &TableName) -> Option<u32> {
    let name = name.as_str();
    if let Some((number, _)) = SYSTEM_TABLES.iter().find(|(_, known)| *known == name) {
        return Some(*number);
    }
    PLACES.iter().flat_map(|place| files(Path::new(place))).find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        find(&text, name)
    })
}

/// `rt_tables`, then the files of `rt_tables.d` in the order of their names.
fn files(place: &Path) -> Vec<PathBuf> {
    let more = fs::read_dir(place.join("rt_tables.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut more: Vec<PathBuf> = more.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
    more.sort();
    more.insert(0, place.join("rt_tables"));
    more
}

/// Looks a name up in lines of a number and a name; `#` starts a comment.
fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let (number, found) = (words.next()?, words.next()?);
        (found == name).then(|| match number.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        })?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_file_of_tables() {
        let text = "# reserved\n255\tlocal\n100 work # office\n0x65 play\nbad line\n";
        assert_eq!(find(text, "work"), Some(100));
        assert_eq!(find(text, "play"), Some(101));
        assert_eq!(find(text, "line"), None);
        assert_eq!(find(text, "office"), None);
        for (name, number) in [("default", 253), ("main", 254), ("local", 255)] {
            assert_eq!(number_of(&TableName::new(name).unwrap()), Some(number));
        }
    }
}
