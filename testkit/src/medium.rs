//! A disk that breaks or fills up when it is told to, for programs that are none of ours.
//!
//! A library is loaded into the program before the C library and answers its writes and syncs with an error while a file
//! says so. The program starts on a medium that works.

use std::io::{self, Error};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::scratch_dir;

/// A medium that can be made to fail. Works again when dropped.
#[derive(Debug)]
pub struct Medium {
    directory: TempDir,
}

impl Medium {
    /// Builds the library with the system's C compiler.
    ///
    /// # Errors
    ///
    /// When there is no compiler, or it refuses the source.
    pub fn build(source: impl AsRef<Path>) -> io::Result<Self> {
        let medium = Self { directory: scratch_dir()? };
        // Servers that refuse to be root are somebody else, and load it all the same.
        std::fs::set_permissions(medium.directory.path(), std::fs::Permissions::from_mode(0o755))?;
        let mut compiles = Command::new("cc");
        compiles.args(["-shared", "-fPIC", "-O1", "-o"]).arg(medium.library()).arg(source.as_ref()).arg("-ldl");
        match compiles.status()?.success() {
            true => Ok(medium),
            false => Err(Error::other(format!("cc refuses {}", source.as_ref().display()))),
        }
    }

    /// What a program's environment has to say for it to be on this medium.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library()), ("MEDIUM_SWITCH", self.switch())]
    }

    /// Fails from now on: `EIO` fails syncs, `ENOSPC` writes that need room; a word after it is a part of the paths that
    /// are meant.
    ///
    /// # Errors
    ///
    /// When the directory for temporary files cannot be written.
    pub fn fail(&self, how: &str) -> io::Result<()> {
        std::fs::write(self.switch(), how)
    }

    /// Works again.
    ///
    /// # Errors
    ///
    /// When it did.
    pub fn mend(&self) -> io::Result<()> {
        std::fs::remove_file(self.switch())
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("medium.so")
    }

    fn switch(&self) -> PathBuf {
        self.directory.path().join("switch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_built_is_said_with_its_name() {
        let error = Medium::build("/no/such.c").unwrap_err().to_string();
        assert!(error.contains("/no/such.c"), "{error}");
    }
}
