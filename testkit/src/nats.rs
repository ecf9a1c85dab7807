//! A private NATS server with JetStream: own directory, own address, killed and started again at will.

use std::io::{self, Error, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, Running, free_address, scratch_dir};

/// How long a server may take to start; it takes a tenth of a second, where nobody else wants the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs. Gone, with everything in it, when dropped.
#[derive(Debug)]
pub struct Nats {
    server: Running,
    address: SocketAddr,
    // Dropped, and so removed, after the server.
    _directory: TempDir,
}

impl Nats {
    /// Starts a server with an empty JetStream. Call it from the test's own thread: on Linux the server ends with it.
    ///
    /// What the server has acknowledged survives its own death, not that of the machine: it does not wait for the disk.
    ///
    /// # Errors
    ///
    /// When it is not installed, or does not start; the error says which.
    pub fn start() -> io::Result<Self> {
        let directory = scratch_dir()?;
        let address = free_address(4222)?;
        let server = Process::new(binary()?, directory.path().join("nats.log"))
            .args(["-a", &address.ip().to_string(), "-p", &address.port().to_string(), "-js", "-sd"])
            .args([directory.path().join("data")])
            .start()?;
        let mut nats = Self { server, address, _directory: directory };
        nats.wait_until_ready()?;
        Ok(nats)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Kills it, as the system does when memory is out.
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
        self.server.restart()?;
        self.wait_until_ready()
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
        let address = self.address;
        self.server.wait_until(PATIENCE, || answers(address).unwrap_or(false))
    }
}

/// Whether it says `INFO` and answers a ping. JetStream is up before the server takes connections.
fn answers(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            read => heard.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
        if heard.windows(4).any(|word| word == b"PONG") {
            return Ok(true);
        }
    }
}

/// The one that `NATS_SERVER_BIN` names, or the one on the `PATH`.
fn binary() -> io::Result<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has it where only root's PATH may look.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
    places.map(|place| place.join("nats-server")).find(|binary| binary.is_file()).ok_or_else(|| {
        Error::new(
            io::ErrorKind::NotFound,
            "`nats-server` is not installed (it was looked for on the PATH and as NATS_SERVER_BIN); on Debian: \
             `apt-get install nats-server`",
        )
    })
}
