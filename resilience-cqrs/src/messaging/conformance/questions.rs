//! Requests and their answers.

use std::time::Duration;

use futures::future::join;
use resilience_core::context::Context;
use resilience_core::time::SharedTimer;
use resilience_core::{AsRejected as _, Reason};

use super::{TRIES, message, soon, unique};
use crate::messaging::bus::{Bus, Requests as _};
use crate::messaging::error::BusError;

/// For an answer that comes at once, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Two that answer, in one group: each question goes to one of them, with all that it carries.
pub async fn a_question_is_answered_by_one(bus: impl Bus) {
    let (subject, group) = (unique("question"), unique("group"));
    let mut one = soon(bus.answer(group.clone(), subject.as_str())).await.unwrap();
    let mut two = soon(bus.answer(group, subject.as_str())).await.unwrap();
    for n in 0..4 {
        let question = message(&subject, &n.to_string()).with_key("k");
        let sent = question.clone();
        let answers = async {
            let either = async {
                let (one, two) = (std::pin::pin!(one.next()), std::pin::pin!(two.next()));
                futures::future::select(one, two).await.factor_first().0
            };
            let request = soon(either).await.unwrap();
            assert_eq!((&request.message.id, request.message.key()), (&sent.id, Some("k")));
            assert!(request.within <= PATIENCE && request.within > PATIENCE / 2, "{:?}", request.within);
            let context = request.context(&SharedTimer::default());
            assert_eq!(context.causation_id().map(|id| &**id), Some(sent.id.as_str()));
            assert!(context.deadline().is_some());
            let payload = [request.message.payload(), &b"!"[..]].concat();
            request.reply(payload).await.unwrap();
        };
        let (answer, ()) = join(soon(bus.request(question, PATIENCE)), answers).await;
        assert_eq!(answer.unwrap(), format!("{n}!"));
    }
}

/// At once, and as something that was never sent.
pub async fn a_question_to_nobody_is_refused(bus: impl Bus) {
    let refused = soon(bus.request(message(&unique("question"), ""), PATIENCE)).await.unwrap_err();
    assert_eq!(refused.as_rejected().map(|rejected| rejected.reason()), Some(Reason::NoEndpoint));
}

/// Nobody knows what became of it.
pub async fn a_question_without_an_answer_ends_in_time(bus: impl Bus) {
    let subject = unique("question");
    let mut answers = soon(bus.answer(unique("group"), subject.as_str())).await.unwrap();
    let (timer, within) = (SharedTimer::default(), Duration::from_millis(800));
    let mut late = Vec::new();
    while late.len() < TRIES as usize {
        let before = timer.now();
        let asked = bus.request(message(&subject, ""), within);
        let ended = async { (soon(asked).await, timer.now() - before) };
        let ((answer, took), request) = join(ended, soon(answers.next())).await;
        assert!(matches!(answer, Err(BusError::Elapsed(_))), "{answer:?}");
        assert!(took >= within, "{took:?}");
        // Nobody waits any more, which is no error of the one who answers.
        request.unwrap().reply("late").await.unwrap();
        if took < within * 4 {
            return;
        }
        late.push(took);
    }
    panic!("{late:?} and not {within:?}");
}

/// Which is earlier than what this call would wait for; and one that has passed asks nobody.
pub async fn a_question_goes_by_the_callers_deadline(bus: impl Bus) {
    let subject = unique("question");
    let mut answers = soon(bus.answer(unique("group"), subject.as_str())).await.unwrap();
    let (timer, within) = (SharedTimer::default(), Duration::from_millis(800));
    let before = timer.now();
    let short = Context::new().with_deadline(before + within);
    let asked = short.clone().scope(bus.request(message(&subject, ""), PATIENCE));
    let (answer, request) = join(soon(asked), soon(answers.next())).await;
    assert!(matches!(answer, Err(BusError::Elapsed(_))), "{answer:?}");
    assert!(timer.now() - before < PATIENCE);
    assert!(request.unwrap().within <= within);
    let refused = soon(short.scope(bus.request(message(&subject, ""), PATIENCE))).await.unwrap_err();
    assert_eq!(refused.as_rejected().map(|rejected| rejected.reason()), Some(Reason::Deadline));
}
