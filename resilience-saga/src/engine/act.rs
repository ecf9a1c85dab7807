//! The two things a run does to the outside: it appends a record, and then acts on it.

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use resilience_cqrs::EventStore;

use super::action;
use super::event::Event as Fact;
use super::log::{Failed, Head, Record};
use super::run::Run;
use crate::cx::CancelToken;
use crate::graph::Action;
use crate::kernel::{Attempt, Event, Observation, StepKey};
use crate::{Cx, Error, IdempotencyKey, Op};

impl<S: EventStore> Run<S> {
    /// Appends what was decided as one record, and then acts on it. What is in progress goes on meanwhile.
    pub(super) async fn commit(&mut self) -> Result<(), Failed> {
        let events = std::mem::take(&mut self.unsaid);
        if !events.is_empty() {
            let head = Head::of(&self.state, self.wake_at);
            let record =
                Record::new(&self.id, self.version, &events, &head, self.head.as_ref()).map_err(Failed::Error)?;
            self.append(&record).await?;
            self.head = Some(head);
            self.version = self.version.next();
        }
        for reply in self.replies.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(Ok(()));
        }
        for event in &events {
            self.act_on(event);
            self.report(event);
        }
        Ok(())
    }

    async fn append(&mut self, record: &Record) -> Result<(), Failed> {
        let shared = self.shared.clone();
        let id = self.id.clone();
        let trouble = |error: &resilience_cqrs::AppendError| {
            shared.emit(|| Fact::StoreUnavailable { saga: id.clone(), why: error.to_string() });
        };
        let mut append = std::pin::pin!(shared.log.append(record, trouble));
        loop {
            tokio::select! {
                biased;
                appended = &mut append => return appended,
                Some(seen) = self.actions.next(), if !self.actions.is_empty() => self.seen.push_back((seen, None)),
            }
        }
    }

    /// Runs what an event permits, now that it is durable.
    fn act_on(&mut self, event: &Event) {
        match event {
            Event::Started { step, attempt } => self.start(step, *attempt, Op::Do),
            Event::UndoStarted { step, attempt } => self.start(step, *attempt, Op::Undo),
            _ => {}
        }
    }

    fn start(&mut self, key: &StepKey, attempt: u32, op: Op) {
        let Some(step) = self.state.plan().find(key) else {
            return;
        };
        let ended = move |result| match op {
            Op::Do => Observation::Ended { step, attempt, result },
            Op::Undo => Observation::UndoEnded { step, attempt, result },
        };
        let cx = self.cx(step, attempt, op);
        let code = &self.definition.code[step];
        let make = || match op {
            Op::Do => code.run(cx.clone(), &self.state),
            Op::Undo => code.undo(cx.clone(), &self.state),
        };
        let action = match make() {
            Ok(action) => self.intercepted(&cx, op, step, action),
            Err(why) => {
                self.seen.push_back((ended(Attempt::Undecodable(why)), None));
                return;
            }
        };
        let plan = &self.state.plan().steps()[step];
        let limit = self.state.plan().limits().output;
        let attempt = self.shared.surroundings.clone().attempt(cx, plan.timeout, limit, action);
        self.actions.push(attempt.map(ended).boxed());
    }

    /// The attempt as a test wants it to be; as it is, outside of tests.
    fn intercepted(&self, cx: &Cx, op: Op, step: usize, action: Action<Attempt>) -> Action<Attempt> {
        let Some(intercept) = &self.shared.surroundings.intercept else {
            return action;
        };
        let (definition, state, of) = (self.definition.clone(), self.state.clone(), cx.clone());
        let again = move || {
            let code = &definition.code[step];
            let made = match op {
                Op::Do => code.run(of.clone(), &state),
                Op::Undo => code.undo(of.clone(), &state),
            };
            made.unwrap_or_else(|why| Box::pin(std::future::ready(Attempt::Undecodable(why))))
        };
        intercept.around(cx, Box::new(again))
    }

    /// Starts a probe, unless it is running.
    pub(super) fn probe(&mut self, step: usize) {
        if !self.probing.insert(step) {
            return;
        }
        let cx = self.cx(step, self.state.step(step).attempts(), Op::Do);
        let probe = action::probe(self.definition.code[step].probe(cx));
        let seen: BoxFuture<'static, Observation> =
            probe.map(move |result| Observation::Probed { step, result }).boxed();
        self.actions.push(seen);
    }

    fn cx(&self, step: usize, attempt: u32, op: Op) -> Cx {
        let step = self.state.plan().steps()[step].key.clone();
        Cx {
            key: IdempotencyKey::new(&self.id, &step, op),
            saga: self.id.clone(),
            step,
            epoch: self.shared.log.epoch,
            attempt,
            // An undo runs because the saga unwinds; telling it to stop for the same reason would undo nothing.
            cancel: if op == Op::Do { self.cancel.clone() } else { CancelToken::never() },
            services: self.shared.services.clone(),
        }
    }

    fn report(&self, event: &Event) {
        let saga = || self.id.clone();
        let failed = |step: &StepKey, error: &str| Fact::AttemptFailed {
            saga: saga(),
            step: step.clone(),
            outcome: event.name(),
            error: error.to_owned(),
        };
        match event {
            Event::Rejected { step, error, .. }
            | Event::Failed { step, error, .. }
            | Event::Unknown { step, error, .. }
            | Event::UndoFailed { step, error, .. }
            | Event::ProbeFailed { step, error, .. } => self.shared.emit(|| failed(step, error)),
            Event::Stuck { step, cause, .. } => {
                self.shared.emit(|| Fact::Stuck { saga: saga(), step: step.clone(), cause: cause.label() });
            }
            Event::Completed {} | Event::Compensated {} | Event::Abandoned { .. } => {
                let after = self.shared.clock.now().since(self.began);
                self.shared.emit(|| Fact::Finished { saga: saga(), outcome: event.name(), after });
            }
            _ => {}
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
