//! Runs cargo, shows what it says, and counts the tests in it.

use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::tally::Tally;

/// One call of cargo. Its `Display` is what a person would type to repeat it.
#[derive(Clone, Debug)]
pub(crate) struct Cargo {
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Cargo {
    /// `cargo` with these arguments, split at spaces.
    pub(crate) fn new(args: &str) -> Self {
        Self { args: args.split_whitespace().map(String::from).collect(), env: Vec::new() }
    }

    pub(crate) fn args<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(more.into_iter().map(Into::into));
        self
    }

    /// Sets a variable unless whoever called has set it.
    pub(crate) fn default_env(self, name: &'static str, value: &str) -> Self {
        if std::env::var_os(name).is_some() { self } else { self.env(name, value) }
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn command(&self) -> Command {
        // The cargo that runs us, so that a toolchain chosen on the command line holds for every step.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(&self.args).current_dir(root());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it on this terminal.
    pub(crate) fn run(&self) -> Result<(), String> {
        println!("    {self}");
        let status = self.command().status().map_err(|error| self.unstarted(&error))?;
        if status.success() { Ok(()) } else { Err(self.failed()) }
    }

    /// Runs it, passes on what it says line by line, and counts the tests.
    pub(crate) fn run_tests(&self, total: &mut Tally) -> Result<(), String> {
        println!("    {self}");
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if std::io::stdout().is_terminal() {
            // It sees a pipe and would drop its colours. Libtest has no variable for this and stays plain.
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut child = command.spawn().map_err(|error| self.unstarted(&error))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let tally = thread::scope(|scope| {
            let err = scope.spawn(|| forward(err, std::io::stderr()));
            let mut tally = forward(out, std::io::stdout());
            tally.add(err.join().unwrap_or_default());
            tally
        });
        total.add(tally);
        let status = child.wait().map_err(|error| self.unstarted(&error))?;
        if status.success() && tally.failed == 0 { Ok(()) } else { Err(self.failed()) }
    }

    /// Runs it and returns what it wrote to standard output.
    pub(crate) fn output(&self) -> Result<String, String> {
        let output = self.command().stderr(Stdio::inherit()).output().map_err(|error| self.unstarted(&error))?;
        if !output.status.success() {
            return Err(self.failed());
        }
        String::from_utf8(output.stdout).map_err(|error| format!("`{self}` wrote something that is no text: {error}"))
    }

    fn unstarted(&self, error: &std::io::Error) -> String {
        format!("`{self}` did not start: {error}")
    }

    fn failed(&self) -> String {
        format!("failed: {self}")
    }
}

impl fmt::Display for Cargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            if value.contains(' ') {
                write!(f, "{name}=\"{value}\" ")?;
            } else {
                write!(f, "{name}={value} ")?;
            }
        }
        write!(f, "cargo {}", self.args.join(" "))
    }
}

fn forward(from: Option<impl Read>, mut to: impl Write) -> Tally {
    let mut tally = Tally::default();
    let Some(from) = from else { return tally };
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        // If nobody reads what we print, the tests still count.
        let _ = writeln!(to, "{line}");
        tally.add(Tally::of_line(&line));
    }
    tally
}

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let loom = Cargo::new("test --lib").env("RUSTFLAGS", "--cfg loom").env("CARGO_INCREMENTAL", "0");
        assert_eq!(loom.to_string(), "RUSTFLAGS=\"--cfg loom\" CARGO_INCREMENTAL=0 cargo test --lib");
    }

    #[test]
    fn forwarded_lines_are_kept_whole_and_counted() {
        let mut shown = Vec::new();
        let said = "running 2 tests\ntest result: ok. 2 passed; 0 failed;\nno newline at the end";
        assert_eq!(forward(Some(said.as_bytes()), &mut shown).passed, 2);
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{said}\n"));
    }
}
