//! A private PostgreSQL: own directory, own address, never root, killed and started again at will.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, Running, User, free_address, poll, scratch_dir};

/// How long a server may take to start; it takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs. Gone, with everything in it, when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Running,
    address: SocketAddr,
    bin: PathBuf,
    // Dropped, and so removed, after the server.
    _directory: TempDir,
}

/// The address of a server that all tests of a program share. It lives on a thread of its own, because it dies with its
/// thread.
///
/// # Panics
///
/// When PostgreSQL is not installed, or does not start.
pub fn shared() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let server = Postgres::start().expect("a private server starts");
            tell.send(server.url()).expect("somebody waits for it");
            loop {
                std::thread::park();
            }
        });
        told.recv().expect("the server started")
    })
}

impl Postgres {
    /// Makes a cluster and starts a server on it. Call it from the test's own thread: on Linux the server ends with it.
    ///
    /// What the server has acknowledged survives its own death, not that of the machine: it does not wait for the disk.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed, or does not start; the error says which.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[("fsync", "off")])
    }

    /// The same with settings of the caller's, and the server's own otherwise: it does wait for the disk then.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        let bin = binaries()?;
        let user = User::instead_of_root(&["postgres", "nobody"])?;
        let directory = scratch_dir()?;
        let data = directory.path().join("data");
        for made in [directory.path(), &data] {
            std::fs::create_dir_all(made)?;
            if let Some(user) = user {
                user.own(made)?;
            }
        }
        let address = free_address(5432)?;
        let mut init = Process::new(bin.join("initdb"), directory.path().join("initdb.log"))
            .args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .args([&data])
            .user(user)
            .start()?;
        if !init.wait()?.success() {
            return Err(Error::other(format!("initdb failed:\n{}", init.log()?)));
        }
        let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let sockets = directory.path().display().to_string();
        let server = Process::new(bin.join("postgres"), directory.path().join("postgres.log"))
            .args([Path::new("-D"), &data])
            .args(setting("listen_addresses", &address.ip().to_string()))
            .args(setting("port", &address.port().to_string()))
            .args(setting("unix_socket_directories", &sockets))
            .args(setting("shared_buffers", "32MB"))
            .args(setting("max_connections", "60"))
            .args(settings.iter().flat_map(|(name, value)| setting(name, value)))
            .user(user)
            .start()?;
        let mut postgres = Self { server, address, bin, _directory: directory };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    /// Where the database `postgres` is, for its superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}:{}/postgres", self.address.ip(), self.address.port())
    }

    /// Kills it with all its children, as the system does when memory is out.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.server.kill().map(drop)
    }

    /// Starts it again at the same address with the same data; kills it first if it runs.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        // Each backend has a process group of its own and notices a moment later that its postmaster is gone; until then
        // a new one refuses to start.
        poll(PATIENCE, || {
            self.server.restart()?;
            match self.wait_until_ready() {
                Ok(()) => Ok(true),
                Err(error) if error.to_string().contains("pre-existing shared memory block") => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Hangs it: connections stay, answers do not come.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn pause(&mut self) -> io::Result<()> {
        self.server.pause()
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        self.server.resume()
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let (bin, address) = (self.bin.join("pg_isready"), self.address);
        self.server.wait_until(PATIENCE, || {
            let mut asks = Command::new(&bin);
            asks.args(["-q", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
            asks.status().is_ok_and(|status| status.success())
        })
    }
}

/// Where `initdb` is: Debian keeps it off the `PATH`, in a directory a version.
fn binaries() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
        versions.sort();
        // The newest, before whatever single program lies on the `PATH`.
        places.splice(0..0, versions.into_iter().rev());
    }
    let has_all = |place: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|name| place.join(name).is_file());
    places.into_iter().find(has_all).ok_or_else(|| {
        Error::new(
            io::ErrorKind::NotFound,
            "PostgreSQL is not installed (`initdb` was looked for on the PATH and in /usr/lib/postgresql); on Debian: \
             `apt-get install postgresql-15`",
        )
    })
}
