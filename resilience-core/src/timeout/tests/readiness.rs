use super::*;

/// Not ready until it is told to be; answers never, or at once.
#[derive(Clone)]
struct Shy {
    ready: Rc<Cell<bool>>,
    calls: Rc<Cell<u32>>,
    answers: bool,
}

impl Shy {
    fn new(answers: bool) -> Self {
        Self { ready: Rc::default(), calls: Rc::default(), answers }
    }
}

impl Service<()> for Shy {
    type Response = &'static str;
    type Error = Error<&'static str>;
    type Future = std::pin::Pin<Box<dyn Future<Output = Answer>>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        if self.ready.get() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.calls.set(self.calls.get() + 1);
        if self.answers { Box::pin(ready(Ok("answered"))) } else { Box::pin(pending()) }
    }
}

fn refused() -> Poll<Answer> {
    Poll::Ready(Err(Rejected::new("timeout", Reason::Deadline).into()))
}

/// TO4: a service that is never ready ends at the limit, not never. tower's timeout and tower-resilience's wait for
/// ever.
#[test]
fn a_service_that_is_never_ready_is_refused_at_the_limit_and_not_sent() {
    let (timer, shy) = (ManualTimer::new(), Shy::new(true));
    let service = timeout(&timer).layer().covers_readiness().layer(shy.clone());
    let mut call = pin!(service.oneshot(()));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT - Duration::from_nanos(1));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_nanos(1));
    assert_eq!(poll(call.as_mut()), refused());
    assert_eq!((shy.calls.get(), timer.sleepers()), (0, 0));
}

/// TO4, its other half: what readiness has used up the call does not get again.
#[test]
fn the_call_has_what_the_wait_has_left() {
    let (timer, shy) = (ManualTimer::new(), Shy::new(false));
    let service = timeout(&timer).layer().covers_readiness().layer(shy.clone());
    let mut call = pin!(service.oneshot(()));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_millis(300));
    shy.ready.set(true);
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(shy.calls.get(), 1);
    timer.advance(Duration::from_millis(200) - Duration::from_nanos(1));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_nanos(1));
    assert_eq!(poll(call.as_mut()), Poll::Ready(Err(Elapsed::new(LIMIT).into())));
}

#[test]
fn the_deadline_of_the_context_ends_the_wait_too() {
    let (timer, shy) = (ManualTimer::new(), Shy::new(true));
    let service = timeout(&timer).layer().covers_readiness().layer(shy.clone());
    let hurried = Context::new().with_deadline(timer.now() + Duration::from_millis(20));
    let mut call = pin!(hurried.scope(async { service.oneshot(()).await }));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_millis(20));
    assert_eq!(poll(call.as_mut()), refused());
}

#[test]
fn readiness_in_the_poll_that_finds_time_up_wins() {
    let (timer, shy) = (ManualTimer::new(), Shy::new(true));
    let mut service = timeout(&timer).layer().covers_readiness().layer(shy.clone());
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    timer.advance(LIMIT);
    shy.ready.set(true);
    assert!(service.poll_ready(&mut cx).is_ready());
    // Sent, though its time is up: the timeout inside is the one to refuse it.
    assert_eq!(poll(pin!(service.call(()))), refused());
    assert_eq!(shy.calls.get(), 0);
}

#[test]
fn after_a_refusal_the_next_wait_begins_anew_and_a_clone_has_its_own() {
    let (timer, shy) = (ManualTimer::new(), Shy::new(true));
    let mut service = timeout(&timer).layer().covers_readiness().layer(shy.clone());
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    timer.advance(LIMIT / 2);
    let mut clone = service.clone();
    assert!(clone.poll_ready(&mut cx).is_pending());
    timer.advance(LIMIT / 2);
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
    assert!(clone.poll_ready(&mut cx).is_pending(), "it began later");
    assert_eq!(poll(pin!(service.call(()))), refused());
    assert!(service.poll_ready(&mut cx).is_pending());
    timer.advance(LIMIT - Duration::from_nanos(1));
    assert!(service.poll_ready(&mut cx).is_pending(), "a whole limit again");
    shy.ready.set(true);
    assert!(service.poll_ready(&mut cx).is_ready());
    assert_eq!(poll(pin!(service.call(()))), Poll::Ready(Ok("answered")));
}

#[test]
fn a_service_that_is_ready_at_once_costs_neither_clock_nor_timer() {
    let (asked, shy) = (Asked::default(), Shy::new(true));
    shy.ready.set(true);
    let timeout = Timeout::builder().limit(LIMIT).timer(asked.shared()).build().unwrap();
    let service = timeout.layer().covers_readiness().layer(shy);
    assert_eq!(poll(pin!(service.oneshot(()))), Poll::Ready(Ok("answered")));
    assert_eq!(asked.counts(), (0, 0));
    let shy = Shy::new(true);
    let timeout = Timeout::builder().limit(Duration::MAX).timer(asked.shared()).build().unwrap();
    let mut call = pin!(timeout.layer().covers_readiness().layer(shy.clone()).oneshot(()));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(asked.counts(), (1, 0), "a wait without end needs no timer");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_wait_wakes_the_caller() {
    let timer = SharedTimer::default();
    let start = timer.now();
    let layer = TimeoutLayer::new(LIMIT).covers_readiness();
    let answer = layer.layer(Shy::new(true)).oneshot(()).await;
    assert!(answer.unwrap_err().is_rejected());
    assert_eq!(timer.now() - start, LIMIT);
}
