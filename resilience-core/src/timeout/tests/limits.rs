use super::*;
use crate::context::Criticality;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long a call may take: the time at which it is ended.
fn ended_after<S>(timer: &ManualTimer, service: S, request: u64) -> (Duration, Answer)
where
    S: Service<u64, Response = &'static str, Error = Error<&'static str>>,
{
    let start = timer.now();
    let mut call = pin!(service.oneshot(request));
    loop {
        if let Poll::Ready(answer) = poll(call.as_mut()) {
            return (timer.now() - start, answer);
        }
        timer.advance(millis(1));
    }
}

#[test]
fn each_request_may_have_a_limit_of_its_own_and_is_told_which() {
    let timer = ManualTimer::new();
    let service = timeout(&timer)
        .layer()
        .limit_by(|request: &u64| (*request > 0).then(|| millis(*request)))
        .layer(service_fn(|_: u64| pending::<Answer>()));
    for (request, limit) in [(20, millis(20)), (0, LIMIT), (900, millis(900))] {
        assert_eq!(ended_after(&timer, service.clone(), request), (limit, Err(Elapsed::new(limit).into())));
    }
}

#[test]
fn a_limit_may_come_from_the_context_and_never_outlives_its_deadline() {
    let timer = ManualTimer::new();
    let by_criticality = |_: &u64| match context::criticality() {
        Criticality::Sheddable => Some(millis(10)),
        _ => Some(Duration::MAX),
    };
    let service = timeout(&timer).layer().limit_by(by_criticality).layer(service_fn(|_: u64| pending::<Answer>()));
    let sheddable = Context::new().with_criticality(Criticality::Sheddable);
    assert_eq!(sheddable.run(|| ended_after(&timer, service.clone(), 0).0), millis(10));
    let hurried = Context::new().with_deadline(timer.now() + millis(30));
    assert_eq!(hurried.run(|| ended_after(&timer, service.clone(), 0).0), millis(30));
}

#[test]
fn what_is_inside_sees_the_limit_of_its_request() {
    let timer = ManualTimer::new();
    let shared = SharedTimer::from(timer.clone());
    let service =
        timeout(&timer).layer().limit_by(|request: &u64| Some(millis(*request))).layer(service_fn(async |_: u64| {
            Ok::<_, Error<()>>(context::deadline(&shared).and_then(|deadline| deadline.remaining(timer.now())))
        }));
    assert_eq!(poll(pin!(service.oneshot(70))), Poll::Ready(Ok(Some(millis(70)))));
}
