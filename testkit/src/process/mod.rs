//! Real processes: started, hung, killed and started again, and never left behind.
//!
//! Each runs in a process group of its own, so that a kill takes its children too, and on Linux it dies with the thread
//! that started it: a test that is itself killed leaves nothing running. Its output goes to a file, which a failure
//! shows.
//!
//! ```no_run
//! use std::time::Duration;
//! use testkit::process::{self, Process};
//!
//! # fn main() -> std::io::Result<()> {
//! let directory = process::scratch_dir()?;
//! let address = process::free_address(4222)?;
//! let mut server = Process::new("nats-server", directory.path().join("nats.log"))
//!     .args(["-a", &address.ip().to_string(), "-p", &address.port().to_string(), "-js", "-sd"])
//!     .args([directory.path()])
//!     .start()?;
//! server.wait_until(Duration::from_secs(20), || std::net::TcpStream::connect(address).is_ok())?;
//! server.kill()?;
//! server.restart()?;
//! # Ok(())
//! # }
//! ```
#![allow(unsafe_code)] // Signals to a group, and the death signal of a child, have no safe interface in std.
#![allow(clippy::disallowed_methods)] // Waits for real processes, whose time nobody drives.

mod place;
mod user;

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Error};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use self::place::{free_address, scratch_dir};
pub use self::user::User;

/// How often something outside is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A process to be started.
#[derive(Clone, Debug)]
pub struct Process {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<User>,
    log: PathBuf,
}

impl Process {
    /// The program, and the file its output is appended to.
    pub fn new(program: impl AsRef<OsStr>, log: impl Into<PathBuf>) -> Self {
        Self { program: program.as_ref().into(), args: Vec::new(), env: Vec::new(), user: None, log: log.into() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Runs it as somebody else, which only root may ask for.
    #[must_use]
    pub fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Starts it. On Linux it is killed when the calling thread ends, so start it from the test's own thread.
    ///
    /// # Errors
    ///
    /// When the program is not there or its log cannot be written.
    pub fn start(self) -> io::Result<Running> {
        let child = self.spawn()?;
        Ok(Running { process: self, child, status: None })
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        #[cfg(target_os = "linux")]
        die_with_this_thread(&mut command);
        command.spawn()
    }
}

#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: both are plain system calls without memory of ours, and allowed between fork and exec.
        let (set, parent_now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if set != 0 {
            return Err(Error::last_os_error());
        }
        // Whoever was orphaned before the request took effect hears no signal any more.
        if u32::try_from(parent_now) != Ok(parent) {
            return Err(Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock; it makes two system calls and compares numbers.
    unsafe { command.pre_exec(before_exec) };
}

/// A process that was started. Killed, with all its children, when dropped.
#[derive(Debug)]
pub struct Running {
    process: Process,
    child: Child,
    /// How it ended, once that is known; its id may be another's from then on.
    status: Option<ExitStatus>,
}

impl Running {
    /// The id of the process, and of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.process.log)?).into_owned())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn is_running(&mut self) -> io::Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status.is_none())
    }

    /// Kills it and all its children with SIGKILL, and waits until it is gone. Killing the dead is no error.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(libc::SIGKILL)?;
        self.wait()
    }

    /// Asks it to end, with SIGTERM, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`; it still runs then.
    pub fn stop(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        poll(limit, || Ok(!self.is_running()?)).map_err(|error| self.with_log(&error))?;
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        match self.status {
            Some(status) => Ok(status),
            None => Ok(*self.status.insert(self.child.wait()?)),
        }
    }

    /// Starts it again with the same arguments; kills it first if it still runs.
    ///
    /// # Errors
    ///
    /// As for [`kill`](Self::kill) and [`Process::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        self.child = self.process.spawn()?;
        self.status = None;
        Ok(())
    }

    /// Hangs it: it keeps its connections and answers nothing.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn pause(&mut self) -> io::Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Waits until `is_ready` says so; ask the server something in its own protocol, an open port is not an answer.
    ///
    /// # Errors
    ///
    /// When the process ends or `limit` passes first; the error shows the end of its log.
    pub fn wait_until(&mut self, limit: Duration, mut is_ready: impl FnMut() -> bool) -> io::Result<()> {
        poll(limit, || match is_ready() {
            true => Ok(true),
            false if self.is_running()? => Ok(false),
            false => Err(Error::other("it ended before it was ready")),
        })
        .map_err(|error| self.with_log(&error))
    }

    fn signal(&mut self, signal: libc::c_int) -> io::Result<()> {
        if !self.is_running()? && signal != libc::SIGKILL {
            return Err(Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        let group = libc::pid_t::try_from(self.child.id()).map_err(Error::other)?;
        // SAFETY: a plain system call. The group's id is not reused while a member of it, or its unreaped leader, lives.
        let sent = unsafe { libc::kill(-group, signal) };
        match sent {
            0 => Ok(()),
            _ => match Error::last_os_error() {
                // The leader was reaped and left no children: there is nobody to signal.
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    fn with_log(&self, error: &Error) -> Error {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        let program = Path::new(&self.process.program).display();
        Error::new(error.kind(), format!("{program}: {error}; its log ends with:\n{tail}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Best effort: a test that fails here would hide why it failed before.
        let _ = self.kill();
    }
}

/// Looks every few milliseconds until `done` says so.
///
/// # Errors
///
/// What `done` reports, or [`TimedOut`](io::ErrorKind::TimedOut) after `limit`.
pub fn poll(limit: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() >= limit {
            return Err(Error::new(io::ErrorKind::TimedOut, format!("not within {limit:?}")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
