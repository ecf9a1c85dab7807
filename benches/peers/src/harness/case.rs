//! One candidate in one situation, ready to be timed with one thread and with two.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower::Service;

use super::alloc;

/// Tasks over the two workers of a two-thread sample.
const TASKS: u64 = 8;
/// Calls whose answers are checked before and after the timing, and whose allocations are counted.
const CHECKED: u64 = 1_000;

/// Whose code a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bare thing, without any policy. The first floor of a group is what the others are compared with.
    Floor,
    /// This workspace.
    Ours,
    /// Somebody else's crate.
    Peer,
}

/// What every call of a case must answer; a case that answers otherwise gets no figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The service's answer.
    Ok,
    /// A refusal.
    Err,
}

/// A case that is not built yet: building ten thousand endpoints belongs to the case alone.
pub struct Spec {
    /// The table it belongs to.
    pub group: &'static str,
    /// Its row.
    pub name: String,
    /// Whose it is.
    pub kind: Kind,
    /// Calls of the pattern in one call of the case; the figures are of one of them.
    pub each: u64,
    /// Whether it is meant to allocate. A row of ours that is not meant to and does gets no figure.
    pub allocates: bool,
    /// Builds it.
    pub make: Box<dyn FnOnce(&Runtimes) -> Case>,
}

impl Spec {
    /// Of which each call is `each` calls of the pattern.
    pub fn of(self, each: u64) -> Self {
        Self { each, ..self }
    }

    /// That is meant to allocate.
    pub fn allocating(self) -> Self {
        Self { allocates: true, ..self }
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec").field("group", &self.group).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Puts every spec of a list under one heading.
pub fn group(title: &'static str, mut specs: Vec<Spec>) -> Vec<Spec> {
    for spec in &mut specs {
        spec.group = title;
    }
    specs
}

/// The runtimes the cases run on: one without worker threads, one with two.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Everything on the caller's thread.
    pub one: Arc<Runtime>,
    /// Two workers.
    pub two: Arc<Runtime>,
}

impl Runtimes {
    /// Builds both.
    pub fn new() -> std::io::Result<Self> {
        let one = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        Ok(Self { one: Arc::new(one), two: Arc::new(two) })
    }
}

/// A case that can be timed.
pub struct Case {
    one: Box<dyn FnMut(u64) -> Duration>,
    two: Option<Box<dyn FnMut(u64) -> Duration>>,
    check: Box<dyn FnMut(u64) -> u64>,
    answer: Answer,
    /// Bytes of the call's future.
    pub future_bytes: Option<usize>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("future_bytes", &self.future_bytes).finish_non_exhaustive()
    }
}

impl Case {
    /// Wall time of `calls` calls, one after the other.
    pub fn one(&mut self, calls: u64) -> Duration {
        (self.one)(calls)
    }

    /// Wall time of `calls` calls over two threads; `None` for what cannot be shared.
    pub fn two(&mut self, calls: u64) -> Option<Duration> {
        self.two.as_mut().map(|run| run(calls))
    }

    /// Whether every one of some calls answered as the case says it must.
    pub fn answers_as_it_must(&mut self, calls: u64) -> bool {
        (self.check)(calls) == if self.answer == Answer::Ok { calls } else { 0 }
    }

    /// Allocations and bytes per call.
    pub fn allocations(&mut self, calls: u64) -> (f64, f64) {
        let calls = calls.min(CHECKED);
        // What a longer run allocates more than a shorter one: what the measuring itself allocates falls out.
        let (short, short_bytes) = alloc::counted(|| _ = (self.one)(1));
        let (long, long_bytes) = alloc::counted(|| _ = (self.one)(1 + calls));
        let each = |long: u64, short: u64| long.saturating_sub(short) as f64 / calls as f64;
        (each(long, short), each(long_bytes, short_bytes))
    }
}

/// A service whose clones share one policy: two threads call clones of one instance.
pub fn service<S>(name: impl Into<String>, kind: Kind, answer: Answer, make: impl Fn() -> S + 'static) -> Spec
where
    S: Service<u64> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    spec(name, kind, move |runtimes| {
        let mut case = owned(runtimes, answer, &make);
        let shared = {
            let _in = runtimes.two.enter();
            make()
        };
        let two = runtimes.two.clone();
        case.two = Some(Box::new(move |calls| {
            let shared = &shared;
            spread(&two, move || {
                let loop_of_calls: Pin<Box<dyn Future<Output = S> + Send>> =
                    Box::pin(drive(shared.clone(), calls / TASKS));
                async move { drop(loop_of_calls.await) }
            })
        }));
        case
    })
}

/// A service that cannot be cloned: one thread only.
pub fn owned_service<S>(name: impl Into<String>, kind: Kind, answer: Answer, make: impl Fn() -> S + 'static) -> Spec
where
    S: Service<u64> + 'static,
{
    spec(name, kind, move |runtimes| owned(runtimes, answer, &make))
}

/// A service that is cloned for every call, as a server that hands one to each connection does.
pub fn service_cloned<S>(name: impl Into<String>, kind: Kind, make: impl Fn() -> S + 'static) -> Spec
where
    S: Service<u64> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    service(name, kind, Answer::Ok, move || Cloned(make()))
}

/// A function of a shared object, without futures.
pub fn function<T, F>(
    name: impl Into<String>,
    kind: Kind,
    answer: Answer,
    make: impl Fn() -> T + 'static,
    call: F,
) -> Spec
where
    T: Send + Sync + 'static,
    F: Fn(&T, u64) -> bool + Copy + Send + Sync + 'static,
{
    spec(name, kind, move |runtimes| {
        let runtime = runtimes.two.clone();
        let shared = Arc::new(make());
        let (one, two, check) = (shared.clone(), shared.clone(), shared);
        Case {
            one: Box::new(move |calls| {
                let start = Instant::now();
                repeat(&*one, call, calls);
                start.elapsed()
            }),
            two: Some(Box::new(move |calls| {
                let share = calls / TASKS;
                let shared = &two;
                spread(&runtime, move || {
                    let shared = shared.clone();
                    async move { repeat(&*shared, call, share) }
                })
            })),
            check: Box::new(move |calls| (0..calls).filter(|&i| call(&check, i)).count() as u64),
            answer,
            future_bytes: None,
        }
    })
}

/// Wall time of `TASKS` tasks on the two workers.
///
/// The time starts when both workers run: a worker that has not got a processor yet shows no run delay, and the sample
/// would pass for a calm one although one thread did all the work. The workers outlive the sample, because a thread that
/// ends takes its run delay with it.
fn spread<W>(runtime: &Runtime, work: impl Fn() -> W) -> Duration
where
    W: Future<Output = ()> + Send + 'static,
{
    let both = Arc::new(AtomicUsize::new(0));
    let halves: Vec<_> = (0..2)
        .map(|_| {
            let both = both.clone();
            let tasks: Vec<_> = (0..TASKS / 2).map(|_| work()).collect();
            runtime.spawn(async move {
                meet(&both).await;
                let start = Instant::now();
                let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
                for task in tasks {
                    let _ = task.await;
                }
                (start, Instant::now())
            })
        })
        .collect();
    runtime.block_on(async {
        let (mut first, mut last) = (None, None);
        for half in halves {
            let Ok((start, end)) = half.await else { continue };
            first = first.map_or(Some(start), |earliest: Instant| Some(earliest.min(start)));
            last = last.map_or(Some(end), |latest: Instant| Some(latest.max(end)));
        }
        first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first)
    })
}

/// Returns when two tasks are here at the same time, each on a worker of its own.
///
/// A task spins, because spinning holds its worker; it steps aside now and then, because the other may sit in the queue
/// of this very worker.
async fn meet(here: &AtomicUsize) {
    if here.fetch_add(1, Ordering::SeqCst) == 1 {
        return;
    }
    loop {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(200) {
            if here.load(Ordering::SeqCst) == 2 {
                return;
            }
            std::hint::spin_loop();
        }
        // Leave only while alone; having failed to leave means that the other has come.
        if here.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        tokio::task::yield_now().await;
        if here.fetch_add(1, Ordering::SeqCst) == 1 {
            return;
        }
    }
}

#[inline(never)] // One and two threads run the very same loop.
fn repeat<T, F: Fn(&T, u64) -> bool>(shared: &T, call: F, calls: u64) {
    for i in 0..calls {
        black_box(call(black_box(shared), black_box(i)));
    }
}

fn spec(name: impl Into<String>, kind: Kind, make: impl FnOnce(&Runtimes) -> Case + 'static) -> Spec {
    let allocates = kind != Kind::Ours;
    Spec { group: "", name: name.into(), kind, each: 1, allocates, make: Box::new(make) }
}

fn owned<S>(runtimes: &Runtimes, answer: Answer, make: &impl Fn() -> S) -> Case
where
    S: Service<u64> + 'static,
{
    let _in = runtimes.one.enter();
    let service = Rc::new(Cell::new(Some(make())));
    let (timed, runtime) = (service.clone(), runtimes.one.clone());
    let checking = runtimes.one.clone();
    Case {
        one: Box::new(move |calls| {
            let Some(service) = timed.take() else {
                return Duration::ZERO;
            };
            let loop_of_calls: Pin<Box<dyn Future<Output = S>>> = Box::pin(drive(service, calls));
            let start = Instant::now();
            let service = runtime.block_on(loop_of_calls);
            let wall = start.elapsed();
            timed.set(Some(service));
            wall
        }),
        two: None,
        check: Box::new(move |calls| {
            let Some(mut held) = service.take() else { return 0 };
            let ok = checking.block_on(count_ok(&mut held, calls));
            service.set(Some(held));
            ok
        }),
        answer,
        future_bytes: Some(size_of::<S::Future>()),
    }
}

/// The timed loop. Both executors poll it through a pointer, so that one and two threads run the very same code.
async fn drive<S: Service<u64>>(mut service: S, calls: u64) -> S {
    for i in 0..calls {
        if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
            continue;
        }
        let answer = service.call(black_box(i)).await;
        black_box(&answer);
    }
    service
}

async fn count_ok<S: Service<u64>>(service: &mut S, calls: u64) -> u64 {
    let mut ok = 0;
    for i in 0..calls {
        if poll_fn(|cx| service.poll_ready(cx)).await.is_ok() {
            ok += u64::from(service.call(i).await.is_ok());
        }
    }
    ok
}

#[derive(Clone)]
struct Cloned<S>(S);

impl<S: Service<u64> + Clone> Service<u64> for Cloned<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = tower::util::Oneshot<S, u64>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        tower::ServiceExt::oneshot(self.0.clone(), request)
    }
}
