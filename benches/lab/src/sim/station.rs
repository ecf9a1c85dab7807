//! A server as queueing theory has it: some workers, a line in front of them, a time that each service takes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::context;
use resilience_core::rng::Rng;
use resilience_core::time::Timestamp;
use tokio::sync::oneshot;
use tower::Service;

use super::distribution::exponential;
use super::{Answer, Call, Clock, Failure, Faults, ServerError};
use crate::scenario;

/// A server. Clones are one server.
///
/// It does not know that a caller has left: work that nobody waits for any more is done all the same, unless the station
/// looks at deadlines and the stack has told it one. That is what makes an overload outlast its cause.
#[derive(Clone, Debug)]
pub struct Station {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spec: scenario::Station,
    faults: Faults,
    clock: Clock,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    busy: u32,
    line: VecDeque<Job>,
    seen: Seen,
}

/// What reached a station, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// When each call came, and of which load.
    pub calls: Vec<(Duration, usize)>,
    /// Services rendered, errors included.
    pub served: u64,
    /// Services rendered to callers who had left.
    pub in_vain: u64,
}

#[derive(Debug)]
struct Job {
    arrived: Duration,
    deadline: Option<Timestamp>,
    /// None for an antagonist's.
    reply: Option<oneshot::Sender<Result<(), ServerError>>>,
    work: Duration,
    /// It goes wrong if this is below the share of errors.
    luck: f64,
}

impl Station {
    /// A server whose seed fixes how long each call takes.
    pub fn new(spec: scenario::Station, clock: Clock, seed: u64) -> Self {
        let faults = Faults::new(&spec.fault);
        let state = State { busy: 0, line: VecDeque::new(), seen: Seen::default() };
        Self { shared: Arc::new(Shared { spec, faults, clock, seed, state: Mutex::new(state) }) }
    }

    /// Starts the antagonists: others' work, which takes workers and places as well.
    pub fn antagonise(&self, rng: &mut Rng) {
        for antagonist in self.shared.spec.antagonist.iter().cloned() {
            let (station, mut rng) = (self.clone(), rng.fork());
            spawn(async move {
                let mut at = antagonist.from.0;
                let gap = Duration::from_secs_f64(1.0 / antagonist.rate);
                loop {
                    at += exponential(gap, &mut rng);
                    if at >= antagonist.to.0 {
                        return;
                    }
                    station.shared.clock.sleep_until(at).await;
                    let work = antagonist.service.draw(&mut rng);
                    // Turned away or not, it has no caller to tell.
                    let _ = station.admit(Job { arrived: at, deadline: None, reply: None, work, luck: 1.0 });
                }
            });
        }
    }

    /// What it has seen.
    pub fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    fn submit(&self, call: &Call) -> oneshot::Receiver<Result<(), ServerError>> {
        let (reply, answer) = oneshot::channel();
        let arrived = self.shared.clock.now();
        let deadline = if self.shared.spec.heeds_deadlines {
            context::deadline(&self.shared.clock.timer()).map(context::Deadline::timestamp)
        } else {
            None
        };
        let mut chance = call.chance(self.shared.seed);
        let work = self.shared.spec.service.draw(&mut chance);
        let luck = chance.unit();
        self.state().seen.calls.push((arrived, call.load));
        if let Err((reply, error)) = self.admit(Job { arrived, deadline, reply: Some(reply), work, luck })
            && let Some(reply) = reply
        {
            let _gone = reply.send(Err(error));
        }
        answer
    }

    /// Gives it to a worker, or a place in the line.
    #[expect(clippy::type_complexity, reason = "what could not be taken, and why")]
    fn admit(&self, job: Job) -> Result<(), (Option<oneshot::Sender<Result<(), ServerError>>>, ServerError)> {
        if self.shared.faults.refuses(job.arrived) {
            return Err((job.reply, ServerError::Down));
        }
        let mut state = self.state();
        if state.busy < self.shared.spec.workers {
            state.busy += 1;
            drop(state);
            spawn(self.clone().work(job));
        } else if self.shared.spec.queue.is_none_or(|places| state.line.len() < places) {
            state.line.push_back(job);
        } else {
            return Err((job.reply, ServerError::Full));
        }
        Ok(())
    }

    /// One worker, until the line is empty.
    async fn work(self, first: Job) {
        let Shared { clock, faults, .. } = &*self.shared;
        let mut free = first.arrived;
        let mut next = Some(first);
        while let Some(job) = next {
            // When it really began, and not when the clock's tick told this worker.
            let begun = free.max(job.arrived);
            if job.deadline.is_some_and(|deadline| Clock::stamp(begun) >= deadline) {
                if let Some(reply) = job.reply {
                    let _gone = reply.send(Err(ServerError::Expired));
                }
            } else {
                let broken = job.luck < faults.errors(begun);
                free = faults.finish(begun, job.work);
                clock.sleep_until(free).await;
                if let Some(reply) = job.reply {
                    let gone = reply.send(if broken { Err(ServerError::Broken) } else { Ok(()) }).is_err();
                    let mut state = self.state();
                    state.seen.served += 1;
                    state.seen.in_vain += u64::from(gone);
                }
            }
            let mut state = self.state();
            next = state.line.pop_front();
            if next.is_none() {
                state.busy -= 1;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(future));
}

impl Service<Call> for Station {
    type Response = Answer;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let station = self.clone();
        Box::pin(async move {
            // Sent when first polled, as by a client that writes then: within the deadline's context.
            match station.submit(&call).await {
                Ok(answer) => answer.map(|()| Answer).map_err(Failure::Server),
                Err(_) => Err(Failure::Server(ServerError::Down)), // the end of the experiment
            }
        })
    }
}
