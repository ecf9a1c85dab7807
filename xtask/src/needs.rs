//! What the tests need beside Rust, and how a bare Debian machine gets it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A program the tests use.
#[derive(Debug)]
struct Need {
    /// Looked up on the `PATH`, or an absolute path.
    binary: &'static str,
    /// The Debian package that has it.
    package: &'static str,
    /// Who would miss it.
    used_by: &'static str,
}

/// One line a program, and none before a test uses it.
const NEEDS: &[Need] = &[
    Need { binary: "cc", package: "build-essential", used_by: "the bundled SQLite" },
    Need { binary: "initdb", package: "postgresql-15", used_by: "the tests of the PostgreSQL engine" },
    Need { binary: "nats-server", package: "nats-server", used_by: "the tests of the bus on NATS" },
];

/// Where Debian keeps programs that are not on the `PATH`, a directory a version.
const VERSIONED: &str = "/usr/lib/postgresql";

/// Installs what is missing where that is possible, and says what to install where it is not.
pub(crate) fn meet() -> Result<(), String> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| find(need.binary).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if can_install() {
        install(&missing)?;
    }
    let still: Vec<String> = missing.iter().filter(|need| find(need.binary).is_none()).map(|need| plea(need)).collect();
    if still.is_empty() { Ok(()) } else { Err(still.join("\n")) }
}

fn plea(need: &Need) -> String {
    let Need { binary, package, used_by } = need;
    format!(
        "`{binary}` is missing, and {used_by} needs it. On Debian: `apt-get install {package}` as root; \
         elsewhere install the package of your system that has it, and put it on the PATH."
    )
}

/// Where a program is, if it is.
pub(crate) fn find(binary: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(VERSIONED).into_iter().flatten().flatten();
    let versioned = versions.map(|version| version.path().join("bin"));
    env::split_paths(&path).chain(versioned).map(|place| place.join(binary)).find(|candidate| candidate.is_file())
}

fn can_install() -> bool {
    Path::new("/etc/debian_version").exists() && find("apt-get").is_some() && is_root()
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn install(missing: &[&Need]) -> Result<(), String> {
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    println!("==> installing {}", packages.join(" "));
    // Tests start servers of their own, on addresses of their own; a package's daemon would only be in their way.
    let _quiet = NoDaemons::until_dropped(Path::new("/usr/sbin/policy-rc.d")).map_err(|error| error.to_string())?;
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())
}

fn apt(args: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`apt-get {}` failed ({status})", args.join(" "))),
        Err(error) => Err(format!("`apt-get {}` did not start: {error}", args.join(" "))),
    }
}

/// Keeps packages from starting their daemons, the way Debian means it: a policy that answers 101, "forbidden".
#[derive(Debug)]
struct NoDaemons<'a> {
    ours: Option<&'a Path>,
}

impl<'a> NoDaemons<'a> {
    fn until_dropped(policy: &'a Path) -> std::io::Result<Self> {
        if policy.exists() {
            return Ok(Self { ours: None });
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        let guard = Self { ours: Some(policy) };
        #[cfg(unix)]
        fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoDaemons<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.ours {
            let _ = fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_was_there_before_survives_and_ours_does_not() {
        let policy = env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        drop(NoDaemons::until_dropped(&policy).unwrap());
        assert!(!policy.exists());
        fs::write(&policy, "theirs").unwrap();
        drop(NoDaemons::until_dropped(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "theirs");
        fs::remove_file(&policy).unwrap();
    }

    #[test]
    fn a_plea_names_the_binary_and_the_package() {
        let plea = plea(&Need { binary: "brokerd", package: "brokerd-pkg", used_by: "a test" });
        assert!(plea.contains("`brokerd`") && plea.contains("brokerd-pkg"), "{plea}");
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(find("no program has this name"), None);
        assert!(find("sh").is_some());
    }
}
