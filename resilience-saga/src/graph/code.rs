//! The code of a step, without its types.

use std::fmt;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Effect;
use super::needs::Reader;
use crate::kernel::{Attempt, Doubt, Payload, Probed, State};
use crate::{Cx, Op, StepError};

/// An attempt in progress.
pub(crate) type Action<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Makes attempts. Fails if what the code reads from the log does not fit its type.
type Make = Box<dyn Fn(Cx, &State) -> Result<Action<Attempt>, String> + Send + Sync>;
type MakeProbe = Box<dyn Fn(Cx) -> Action<Result<Probed<Payload>, StepError>> + Send + Sync>;

pub(crate) struct StepCode {
    run: Make,
    undo: Option<Make>,
    probe: Option<MakeProbe>,
}

impl StepCode {
    pub(super) fn new<V, T, F, Fut>(read: Reader<V>, run: F) -> Self
    where
        V: Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Cx, V) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        let run = std::sync::Arc::new(run);
        let make = move |cx: Cx, state: &State| {
            let values = read(state)?;
            let run = run.clone();
            // The user's closure is called inside the future, so that its panics are caught where the future's are.
            let action: Action<Attempt> = Box::pin(async move { encoded(run(cx, values).await) });
            Ok(action)
        };
        Self { run: Box::new(make), undo: None, probe: None }
    }

    pub(super) fn set_undo<V, T, F, Fut>(&mut self, step: usize, read: Reader<V>, undo: F)
    where
        V: Send + 'static,
        T: DeserializeOwned + Send + 'static,
        F: Fn(Cx, Effect<T>, V) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        let undo = std::sync::Arc::new(undo);
        self.undo = Some(Box::new(move |cx: Cx, state: &State| {
            let effect = match state.step(step).output() {
                Some(output) => Effect::Applied(output.decode().map_err(|error| error.to_string())?),
                None => Effect::Maybe { key: cx.key.with_op(Op::Do) },
            };
            let values = read(state)?;
            let undo = undo.clone();
            let action: Action<Attempt> = Box::pin(async move { encoded(undo(cx, effect, values).await) });
            Ok(action)
        }));
    }

    pub(super) fn set_probe<F, Fut>(&mut self, probe: F)
    where
        F: Fn(Cx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Probed<Payload>, StepError>> + Send + 'static,
    {
        let probe = std::sync::Arc::new(probe);
        self.probe = Some(Box::new(move |cx| {
            let probe = probe.clone();
            Box::pin(async move { probe(cx).await })
        }));
    }

    pub(super) fn has_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// An attempt of the step.
    pub(crate) fn run(&self, cx: Cx, state: &State) -> Result<Action<Attempt>, String> {
        (self.run)(cx, state)
    }

    /// An attempt to undo it.
    pub(crate) fn undo(&self, cx: Cx, state: &State) -> Result<Action<Attempt>, String> {
        match &self.undo {
            Some(undo) => undo(cx, state),
            None => Err("the step has no undo".into()),
        }
    }

    /// A probe.
    pub(crate) fn probe(&self, cx: Cx) -> Action<Result<Probed<Payload>, StepError>> {
        match &self.probe {
            Some(probe) => probe(cx),
            None => Box::pin(std::future::ready(Err(StepError::unknown("the step has no probe")))),
        }
    }
}

fn encoded<T: Serialize>(result: Result<T, StepError>) -> Attempt {
    match result {
        Ok(output) => match Payload::encode(&output) {
            Ok(output) => Attempt::Applied(output),
            Err(error) => Attempt::Unknown(Doubt::Output, format!("the output cannot be encoded: {error}")),
        },
        Err(StepError::Retry(failure)) => Attempt::Failed(failure.message().to_owned(), failure.retry_after()),
        Err(StepError::Rejected(failure)) => Attempt::Rejected(failure.message().to_owned()),
        Err(StepError::Unknown(failure)) => Attempt::Unknown(Doubt::Reported, failure.message().to_owned()),
    }
}

impl fmt::Debug for StepCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepCode")
            .field("undo", &self.undo.is_some())
            .field("probe", &self.probe.is_some())
            .finish_non_exhaustive()
    }
}
