use super::*;

fn sleep(millis: u64) -> Sleep {
    SharedTimer::default().sleep(Duration::from_millis(millis))
}

/// TO3: a panic in a detached call is a panic of its caller, not a timeout. tower-resilience reports a call that
/// panicked as one that took too long, and the bug hides behind a metric about slowness.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_detached_call_stays_a_panic() {
    let service = TimeoutLayer::new(LIMIT).detached().layer(service_fn(async |(): ()| {
        sleep(5).await;
        std::panic::resume_unwind(Box::new("out of paper"));
        #[allow(unreachable_code)]
        Answer::Ok("never")
    }));
    let caller = tokio::spawn(service.oneshot(()));
    let panic = caller.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"out of paper"));
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_goes_on_when_it_is_late_or_its_caller_is_gone() {
    let done = Arc::new(AtomicU32::new(0));
    let counting = done.clone();
    let service = TimeoutLayer::new(LIMIT).detached().layer(service_fn(move |millis: u64| {
        let done = counting.clone();
        async move {
            sleep(millis).await;
            done.fetch_add(1, Ordering::Relaxed);
            Answer::Ok("done")
        }
    }));
    assert_eq!(service.clone().oneshot(5).await, Ok("done"));
    let start = SharedTimer::default().now();
    assert_eq!(service.clone().oneshot(800).await, Err(Elapsed::new(LIMIT).into()));
    assert_eq!(SharedTimer::default().now() - start, LIMIT);
    drop(service.clone().call(50));
    assert_eq!(done.load(Ordering::Relaxed), 1);
    sleep(400).await;
    assert_eq!(done.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_detached_call_sees_its_callers_context_and_the_limit() {
    let timer = SharedTimer::default();
    let service = TimeoutLayer::new(LIMIT).detached().layer(service_fn(async |(): ()| {
        sleep(5).await;
        Ok::<_, Error<()>>((context::idempotency_key(), context::deadline(&SharedTimer::default())))
    }));
    let until = Deadline::at(timer.now() + LIMIT);
    let seen =
        Context::new().with_idempotency_key("order-17").scope(async { service.oneshot(()).await }).await.unwrap();
    assert_eq!(seen, (Some("order-17".into()), Some(until)));
}

#[test]
fn a_task_that_is_thrown_away_ends_at_the_limit() {
    let timer = ManualTimer::new();
    let service = timeout(&timer).layer().detached_on(drop).layer(service_fn(async |(): ()| Answer::Ok("never")));
    let mut call = pin!(service.oneshot(()));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT);
    assert_eq!(poll(call.as_mut()), Poll::Ready(Err(Elapsed::new(LIMIT).into())));
}

#[test]
fn a_call_after_its_deadline_starts_no_task() {
    let timer = ManualTimer::new();
    let mut service = timeout(&timer)
        .layer()
        .detached_on(|_| unreachable!("no task is started"))
        .layer(service_fn(async |(): ()| Answer::Ok("never")));
    let call = Context::new().with_deadline(timer.now()).run(|| service.call(()));
    assert!(matches!(poll(pin!(call)), Poll::Ready(Err(Error::Rejected(_)))));
}
