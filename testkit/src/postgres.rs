//! A private PostgreSQL: own directory, own address, never root, killed and started again at will.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::medium::Medium;
use crate::process::{Process, Running, User, free_address, poll, scratch_dir};

/// How long a server may take to start; it takes a tenth of a second, where nobody else wants the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs. Gone, with everything in it, when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Running,
    address: SocketAddr,
    bin: PathBuf,
    settings: Vec<(String, String)>,
    environment: Vec<(&'static str, PathBuf)>,
    user: Option<User>,
    // Dropped, and so removed, after the server.
    directory: TempDir,
}

/// A copy of a server's data, as `pg_basebackup` makes it while the server goes on.
#[derive(Debug)]
pub struct Backup {
    bin: PathBuf,
    settings: Vec<(String, String)>,
    environment: Vec<(&'static str, PathBuf)>,
    user: Option<User>,
    directory: TempDir,
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
        Self::start_in(settings, Vec::new())
    }

    /// The same, on a disk that can be made to fail. The data is made on one that works.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_on(medium: &Medium, settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_in(settings, medium.environment().into())
    }

    fn start_in(settings: &[(&str, &str)], environment: Vec<(&'static str, PathBuf)>) -> io::Result<Self> {
        let bin = binaries()?;
        let user = User::instead_of_root(&["postgres", "nobody"])?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let fresh = Backup { bin, settings, environment, user, directory: own_directory(user)? };
        let arguments = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"];
        fresh.fill("initdb", &arguments.map(String::from))?;
        fresh.restore()
    }

    /// Copies its data while it runs; what is committed before this is called is in the copy.
    ///
    /// # Errors
    ///
    /// When `pg_basebackup` fails.
    pub fn backup(&self) -> io::Result<Backup> {
        self.copy(&[])
    }

    /// A second server that follows this one: it has everything a moment later, and can be read from.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start), and when `pg_basebackup` fails.
    pub fn standby(&self) -> io::Result<Self> {
        self.copy(&["-R"])?.restore()
    }

    fn copy(&self, more: &[&str]) -> io::Result<Backup> {
        let copy = Backup {
            bin: self.bin.clone(),
            settings: self.settings.clone(),
            environment: self.environment.clone(),
            user: self.user,
            directory: own_directory(self.user)?,
        };
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let from = ["-h", &host, "-p", &port, "-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync"];
        let arguments: Vec<String> = from.iter().chain(more).chain(&["-D"]).map(|part| (*part).to_owned()).collect();
        copy.fill("pg_basebackup", &arguments)?;
        Ok(copy)
    }

    /// Makes a standby a server of its own that can be written to, and waits until it is.
    ///
    /// # Errors
    ///
    /// When it is no standby, or does not get there.
    pub fn promote(&self) -> io::Result<()> {
        let log = self.directory.path().join("promote.log");
        let mut promotes = Process::new(self.bin.join("pg_ctl"), log)
            .args(["promote", "-w", "-D"])
            .args([self.directory.path().join("data")])
            .user(self.user)
            .start()?;
        succeed(&mut promotes, "pg_ctl promote")
    }

    /// Where the database `postgres` is, for its superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}:{}/postgres", self.address.ip(), self.address.port())
    }

    /// One of PostgreSQL's own client programs (`pg_dump`, `psql`), about to connect to this server.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        command.args(["-h", &host, "-p", &port, "-U", "postgres"]);
        command
    }

    /// Kills it with all its children, as the system does when memory is out.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.server.kill()?;
        // Each child has a process group of its own and would notice a moment later; until then it goes on answering.
        // They are found by where they work: the system's list of children may leave one out while another ends.
        poll(PATIENCE, || {
            let left = self.at_work();
            if !left.is_empty() {
                Command::new("kill").arg("-KILL").args(&left).output()?;
            }
            Ok(left.is_empty())
        })
    }

    /// The ids of all processes that work in the data directory, as only the server's own do.
    fn at_work(&self) -> Vec<String> {
        let data = self.directory.path().join("data");
        let data = data.canonicalize().unwrap_or(data);
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours =
            processes.filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|at| at == data));
        ours.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Starts it again at the same address with the same data; kills it first if it runs.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        // Where a kill cannot find the backends they end a moment later, and until then a new server refuses to start.
        poll(PATIENCE, || {
            self.server.restart()?;
            match self.wait_until_ready() {
                Ok(()) => Ok(true),
                Err(error) if error.to_string().contains("pre-existing shared memory block") => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Starts it again if it has ended by itself, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn revive(&mut self) -> io::Result<()> {
        if self.server.is_running()? { self.wait_until_ready() } else { self.restart() }
    }

    /// Where its files are.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What it has said so far.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        self.server.log()
    }

    /// Hangs it: connections stay, answers do not come.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn pause(&mut self) -> io::Result<()> {
        self.server.pause()?;
        self.signal_backends("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        self.signal_backends("-CONT")?;
        self.server.resume()
    }

    /// A signal to the server's process group does not reach its backends: each has one of its own.
    fn signal_backends(&self, signal: &str) -> io::Result<()> {
        // One may have ended meanwhile: what `kill` thinks of that does not matter.
        Command::new("kill").arg(signal).args(self.at_work()).output().map(drop)
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

impl Backup {
    /// Where it is, for `pg_verifybackup`.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts a server on it, at an address of its own. Call it from the test's own thread, as [`Postgres::start`].
    ///
    /// # Errors
    ///
    /// When it does not start; the error says why.
    pub fn restore(self) -> io::Result<Postgres> {
        let address = free_address(5432)?;
        let Self { bin, settings, environment, user, directory } = self;
        let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let process = Process::new(bin.join("postgres"), directory.path().join("postgres.log"));
        let process = environment.iter().fold(process, |process, (name, value)| process.env(name, value));
        let server = process
            .args([Path::new("-D"), &directory.path().join("data")])
            .args(setting("listen_addresses", &address.ip().to_string()))
            .args(setting("port", &address.port().to_string()))
            .args(setting("unix_socket_directories", &directory.path().display().to_string()))
            .args(setting("shared_buffers", "32MB"))
            // Of clients that have gone, too: a server that has little time of the machine notices that late.
            .args(setting("max_connections", "200"))
            .args(settings.iter().flat_map(|(name, value)| setting(name, value)))
            .user(user)
            .start()?;
        let mut postgres = Postgres { server, address, bin, settings, environment, user, directory };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    /// Runs a program that makes the data; its last argument is where.
    fn fill(&self, program: &str, arguments: &[String]) -> io::Result<()> {
        let data = self.data();
        std::fs::create_dir_all(&data)?;
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700))?;
        if let Some(user) = self.user {
            user.own(&data)?;
        }
        let mut running = Process::new(self.bin.join(program), self.directory.path().join(format!("{program}.log")))
            .args(arguments)
            .args([&data])
            .user(self.user)
            .start()?;
        succeed(&mut running, program)
    }
}

fn own_directory(user: Option<User>) -> io::Result<TempDir> {
    let directory = scratch_dir()?;
    if let Some(user) = user {
        user.own(directory.path())?;
    }
    Ok(directory)
}

fn succeed(running: &mut Running, what: &str) -> io::Result<()> {
    match running.wait()?.success() {
        true => Ok(()),
        false => Err(Error::other(format!("{what} failed:\n{}", running.log()?))),
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
