//! Whom the server becomes.

use std::fs;

/// In this order. The first is for packagers to make; the second is everywhere.
const NAMES: [&str; 2] = ["kerntun", "nobody"];

/// The overflow user and group, which nothing belongs to (Linux `kernel/sys.c`).
const OVERFLOW: u32 = 65_534;

/// A user without rights.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// From the system's list of users. Read as the file it is: system users stand there, and asking the name service would
    /// load its libraries into this process.
    pub(super) fn find() -> Self {
        Self::find_in(&fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    fn find_in(list: &str) -> Self {
        let entry = |name: &str| {
            let mut fields = list.lines().map(|line| line.split(':')).find(|line| line.clone().next() == Some(name))?;
            let (user, group) = (fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?);
            // Root under another name is no user without rights.
            (user != 0 && group != 0).then_some(Self { user, group })
        };
        NAMES.into_iter().find_map(entry).unwrap_or(Self { user: OVERFLOW, group: OVERFLOW })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_there_is() {
        let nobody = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65533:65532:nobody:/:/usr/sbin/nologin\n";
        let find = |list: &str| {
            let account = Account::find_in(list);
            (account.user, account.group)
        };
        assert_eq!(find(nobody), (65_533, 65_532));
        assert_eq!(find(&format!("{nobody}kerntun:x:998:997::/:/bin/false\n")), (998, 997));
        assert_eq!(find(&format!("{nobody}kerntun:x:0:0::/:/bin/false\n")), (65_533, 65_532), "root in disguise");
        assert_eq!(find(&format!("{nobody}kerntun:x::997::/:\n")), (65_533, 65_532), "damaged");
        assert_eq!(find("kerntun2:x:5:5::/:\n"), (65_534, 65_534));
        assert_eq!(find(""), (65_534, 65_534));
    }
}
