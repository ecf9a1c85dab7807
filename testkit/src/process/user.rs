//! Somebody else to run a server as: some refuse to be root.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A user of this system, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl User {
    /// Whom to run a server as that refuses to be root: the first of `names` there is, when this process is root, and
    /// nobody else otherwise.
    ///
    /// # Errors
    ///
    /// When this is root and there is none of them.
    pub fn instead_of_root(names: &[&str]) -> io::Result<Option<Self>> {
        if std::fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let user = names.iter().find_map(|name| users.lines().find_map(|line| parse(line, name)));
        user.map(Some).ok_or_else(|| io::Error::other(format!("no user of {names:?} on this system")))
    }

    /// Makes a file or directory this user's.
    ///
    /// # Errors
    ///
    /// When this process may not.
    pub fn own(self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}

/// The numbers in a line of the user database, if it is about `name`.
fn parse(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    if fields.next() != Some(name) {
        return None;
    }
    let mut numbers = fields.skip(1).map(str::parse);
    Some(User { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_user_database_is_read_and_a_prefix_is_not_a_name() {
        let line = "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash";
        assert_eq!(parse(line, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(parse(line, "post"), None);
        assert_eq!(parse("broken", "broken"), None);
    }
}
