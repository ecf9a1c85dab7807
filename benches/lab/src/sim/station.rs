//! A server as queueing theory has it: some workers, a line in front of them, a time that each service takes.

use std::collections::{BTreeMap, VecDeque};
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
    /// The number of the quota's window, and what it has taken in it.
    window: (u128, u32),
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
    /// When a call was refused because there were too many, and of which load.
    pub throttled: Vec<(Duration, usize)>,
    /// For each load and key, the number of the call that was served last: what a store would hold.
    pub held: BTreeMap<(usize, u64), u64>,
}

#[derive(Debug)]
struct Job {
    arrived: Duration,
    deadline: Option<Timestamp>,
    /// None for an antagonist's.
    reply: Option<oneshot::Sender<Result<(), ServerError>>>,
    work: Duration,
    /// Whose it is: load, key and number.
    of: Option<(usize, u64, u64)>,
    /// It goes wrong if this is below the share of errors.
    luck: f64,
}

impl Station {
    /// A server whose seed fixes how long each call takes.
    pub fn new(spec: scenario::Station, clock: Clock, seed: u64) -> Self {
        let faults = Faults::new(&spec.fault);
        let state = State { busy: 0, line: VecDeque::new(), window: (0, 0), seen: Seen::default() };
        Self { shared: Arc::new(Shared { spec, faults, clock, seed, state: Mutex::new(state) }) }
    }

    /// Lets workers that are added begin with the line.
    pub fn change_shifts(&self) {
        for at in self.shared.faults.shifts() {
            let station = self.clone();
            spawn(async move {
                station.shared.clock.sleep_until(at).await;
                while let Some(job) = station.take_up(at) {
                    spawn(station.clone().work(job, at));
                }
            });
        }
    }

    /// The next in line, for a worker who has none, if there is one.
    fn take_up(&self, at: Duration) -> Option<Job> {
        let mut state = self.state();
        let job = if state.busy < self.workers(at) { state.line.pop_front() } else { None };
        state.busy += u32::from(job.is_some());
        job
    }

    fn workers(&self, at: Duration) -> u32 {
        (f64::from(self.shared.spec.workers) * self.shared.faults.workers(at)).round() as u32
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
                    let _ = station.admit(Job { arrived: at, deadline: None, reply: None, work, of: None, luck: 1.0 });
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
        let items = self.shared.spec.per_item.0.saturating_mul(call.items.saturating_sub(1));
        let work = self.shared.spec.service.draw(&mut chance) + items;
        let luck = chance.unit();
        self.state().seen.calls.push((arrived, call.load));
        if self.is_over_quota(arrived) {
            self.state().seen.throttled.push((arrived, call.load));
            let _gone = reply.send(Err(ServerError::Throttled));
            return answer;
        }
        let of = Some((call.load, call.key, call.id));
        if let Err((reply, error)) = self.admit(Job { arrived, deadline, reply: Some(reply), work, of, luck })
            && let Some(reply) = reply
        {
            let _gone = reply.send(Err(error));
        }
        answer
    }

    /// Counts a call of the quota's window; whether there were enough already.
    fn is_over_quota(&self, at: Duration) -> bool {
        let Some(quota) = self.shared.spec.quota else { return false };
        let mut state = self.state();
        let window = at.as_nanos() / quota.per.0.as_nanos().max(1);
        if state.window.0 != window {
            state.window = (window, 0);
        }
        let most = (f64::from(quota.calls) * self.shared.faults.quota(at)).round() as u32;
        let is_over = state.window.1 >= most;
        state.window.1 += u32::from(!is_over);
        is_over
    }

    /// Gives it to a worker, or a place in the line.
    #[expect(clippy::type_complexity, reason = "what could not be taken, and why")]
    fn admit(&self, job: Job) -> Result<(), (Option<oneshot::Sender<Result<(), ServerError>>>, ServerError)> {
        if self.shared.faults.refuses(job.arrived) {
            return Err((job.reply, ServerError::Down));
        }
        let mut state = self.state();
        if state.busy < self.workers(job.arrived) {
            state.busy += 1;
            drop(state);
            let at = job.arrived;
            spawn(self.clone().work(job, at));
        } else if self.shared.spec.queue.is_none_or(|places| state.line.len() < places) {
            state.line.push_back(job);
        } else {
            return Err((job.reply, ServerError::Full));
        }
        Ok(())
    }

    /// One worker, from a moment until the line is empty or the shift is over.
    async fn work(self, first: Job, from: Duration) {
        let Shared { clock, faults, .. } = &*self.shared;
        let mut free = from;
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
                if let Some((load, key, id)) = job.of.filter(|_| !broken) {
                    self.state().seen.held.insert((load, key), id);
                }
                if let Some(reply) = job.reply {
                    let result = if broken { Err(ServerError::Broken) } else { Ok(()) };
                    let delay = faults.delay(free);
                    if delay.is_zero() {
                        self.answer(reply, result);
                    } else {
                        let (station, at) = (self.clone(), free + delay);
                        spawn(async move {
                            station.shared.clock.sleep_until(at).await;
                            station.answer(reply, result);
                        });
                    }
                }
            }
            let is_over = self.state().busy > self.workers(free);
            let mut state = self.state();
            next = if is_over { None } else { state.line.pop_front() };
            if next.is_none() {
                state.busy -= 1;
            }
        }
    }

    fn answer(&self, reply: oneshot::Sender<Result<(), ServerError>>, result: Result<(), ServerError>) {
        let gone = reply.send(result).is_err();
        let mut state = self.state();
        state.seen.served += 1;
        state.seen.in_vain += u64::from(gone);
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
