//! Starts the services as processes, kills them when the script says so, and starts them again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resilience_core::time::SharedTimer;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::endpoints::Endpoints;
use crate::domain::ServiceName;
use crate::faults::{self, Faults};
use crate::problem::Problem;

/// Longest time from starting a process to its `ready`.
const START: Duration = Duration::from_secs(60);
/// Longest time a process may take to stop when asked to.
const STOP: Duration = Duration::from_secs(12);
/// Times in a row a process may end by itself before the run is given up.
const CRASHES: u32 = 5;

/// What every process is started with.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) dir: PathBuf,
    pub(crate) endpoints: PathBuf,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    /// The gateway's port; 0 takes any.
    pub(crate) port: u16,
}

/// How one service's process stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// Where it listens; `None` while it is down.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) kills: u32,
    /// Times it ended although nobody asked it to.
    pub(crate) crashes: u32,
}

/// The processes of a run.
#[derive(Debug)]
pub(crate) struct Fleet {
    services: BTreeMap<ServiceName, Kept>,
    board: Board,
}

/// One service, as the runner holds it.
#[derive(Debug)]
struct Kept {
    orders: mpsc::UnboundedSender<Order>,
    keeper: JoinHandle<Result<(), Problem>>,
}

/// How all of them stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<ServiceName, Status>>>);

#[derive(Debug)]
enum Order {
    Kill { down: Duration, done: oneshot::Sender<()> },
    Stop,
}

impl Board {
    pub(crate) fn all(&self) -> BTreeMap<ServiceName, Status> {
        self.lock().clone()
    }

    fn update(&self, name: ServiceName, change: impl FnOnce(&mut Status)) {
        change(self.lock().entry(name).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    /// Starts all five and waits until each is ready.
    pub(crate) async fn start(spec: Spec, endpoints: Endpoints) -> Result<Self, Problem> {
        let (spec, board) = (Arc::new(spec), Board::default());
        let mut services = BTreeMap::new();
        let mut ready = Vec::new();
        for name in ServiceName::ALL {
            let (orders, inbox) = mpsc::unbounded_channel();
            let (first, started) = oneshot::channel();
            let keeper = Keeper {
                name,
                spec: spec.clone(),
                endpoints: endpoints.clone(),
                board: board.clone(),
                timer: SharedTimer::default(),
                inbox,
                first: Some(first),
            };
            services.insert(name, Kept { orders, keeper: tokio::spawn(keeper.keep()) });
            ready.push((name, started));
        }
        let mut fleet = Self { services, board };
        for (name, started) in ready {
            if started.await.is_err() {
                let why = match fleet.services.remove(&name) {
                    Some(kept) => kept.keeper.await.ok().and_then(Result::err),
                    None => None,
                };
                fleet.stop().await;
                return Err(why.unwrap_or_else(|| Problem::new(format!("{name} did not start"))));
            }
        }
        Ok(fleet)
    }

    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Kills a process with SIGKILL, to be started again after `down`; returns once it is dead.
    pub(crate) fn kill(&self, name: ServiceName, down: Duration) -> oneshot::Receiver<()> {
        let (done, dead) = oneshot::channel();
        if let Some(kept) = self.services.get(&name) {
            // A keeper that is gone has given up; `failed` tells.
            let _ = kept.orders.send(Order::Kill { down, done });
        }
        dead
    }

    /// Whether a process has been given up for good.
    pub(crate) fn failed(&self) -> bool {
        self.services.values().any(|kept| kept.keeper.is_finished())
    }

    /// Asks every process to stop, the callers before the called, and waits for each.
    pub(crate) async fn stop(self) {
        let mut services = self.services;
        for name in ServiceName::ALL.into_iter().rev() {
            if let Some(kept) = services.remove(&name) {
                let _ = kept.orders.send(Order::Stop);
                match kept.keeper.await {
                    Ok(Ok(())) => {}
                    Ok(Err(problem)) => tracing::error!(service = %name, %problem, "given up"),
                    Err(panic) => tracing::error!(service = %name, %panic, "its keeper panicked"),
                }
            }
        }
    }
}

/// Keeps one service running.
struct Keeper {
    name: ServiceName,
    spec: Arc<Spec>,
    endpoints: Endpoints,
    board: Board,
    timer: SharedTimer,
    inbox: mpsc::UnboundedReceiver<Order>,
    first: Option<oneshot::Sender<()>>,
}

/// What came first while a process was up.
enum Next {
    Order(Option<Order>),
    Ended,
}

impl Keeper {
    async fn keep(mut self) -> Result<(), Problem> {
        let mut crashes = 0;
        loop {
            let (mut child, stdin) = self.spawn()?;
            let next = match self.until_ready(&mut child).await {
                Some(next) => next,
                None => {
                    crashes = 0;
                    tokio::select! {
                        order = self.inbox.recv() => Next::Order(order),
                        _ = child.wait() => Next::Ended,
                    }
                }
            };
            self.board.update(self.name, |status| status.address = None);
            match next {
                Next::Order(Some(Order::Kill { down, done })) => {
                    // The stale address stays published: whoever calls it now finds nobody there.
                    let _ = child.start_kill();
                    let _ = child.wait().await;
                    self.board.update(self.name, |status| status.kills += 1);
                    let _ = done.send(());
                    self.timer.sleep(down).await;
                }
                Next::Order(Some(Order::Stop) | None) => {
                    drop(stdin);
                    tokio::select! {
                        _ = child.wait() => {}
                        () = self.timer.sleep(STOP) => {
                            let _ = child.start_kill();
                            let _ = child.wait().await;
                        }
                    }
                    return Ok(());
                }
                Next::Ended => {
                    crashes += 1;
                    self.board.update(self.name, |status| status.crashes += 1);
                    if self.first.is_some() || crashes >= CRASHES {
                        return Err(Problem::new(format!("{} does not stay up: {}", self.name, self.last_words())));
                    }
                    self.timer.sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Waits for `ready ADDRESS` and publishes the address; or says what came instead.
    async fn until_ready(&mut self, child: &mut Child) -> Option<Next> {
        let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let line = async {
            match &mut lines {
                Some(lines) => lines.next_line().await.ok().flatten(),
                None => None,
            }
        };
        let line = tokio::select! {
            line = line => line,
            order = self.inbox.recv() => return Some(Next::Order(order)),
            () = self.timer.sleep(START) => None,
        };
        let address = line.as_deref().and_then(|line| line.strip_prefix("ready ")).and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = child.start_kill();
            let _ = child.wait().await;
            return Some(Next::Ended);
        };
        if let Err(problem) = self.endpoints.publish(self.name, address) {
            tracing::error!(%problem, "endpoints not published");
        }
        self.board.update(self.name, |status| status.address = Some(address));
        if let Some(first) = self.first.take() {
            let _ = first.send(());
        }
        None
    }

    fn spawn(&self) -> Result<(Child, Option<ChildStdin>), Problem> {
        let start = |why: std::io::Error| Problem::new(format!("cannot start {}: {why}", self.name));
        let program = std::env::current_exe().map_err(start)?;
        let port = if self.name == ServiceName::Gateway { self.spec.port } else { 0 };
        let mut command = Command::new(program);
        command
            .arg(self.name.as_str())
            .arg("--dir")
            .arg(&self.spec.dir)
            .arg("--endpoints")
            .arg(&self.spec.endpoints)
            .args(["--listen", &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()])
            .args(["--seed", &self.spec.seed.to_string()])
            .args(["--trouble", &faults::to_argument(&self.spec.faults.trouble(self.name))])
            .arg("--attached")
            // A group of its own: Ctrl-C in the terminal is for this program, which then stops them in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log()?)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(start)?;
        let stdin = child.stdin.take();
        Ok((child, stdin))
    }

    fn log(&self) -> Result<File, Problem> {
        let path = self.log_path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|why| Problem::file("write the log", &path, why))
    }

    fn log_path(&self) -> PathBuf {
        log_path(&self.spec.dir, self.name)
    }

    /// The last line the process wrote to its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it left no word");
        line.trim_start_matches("shop: ").trim_end_matches('.').to_owned()
    }
}

/// Where a service's log is.
pub(crate) fn log_path(dir: &Path, name: ServiceName) -> PathBuf {
    dir.join("log").join(format!("{name}.log"))
}
