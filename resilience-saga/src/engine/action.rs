//! Attempts in the world: with a time limit, a slot, a context, and their panics caught.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use resilience_core::context::{Context, FencingToken};
use resilience_core::time::SharedTimer;
use tokio::sync::Semaphore;

use crate::Cx;
use crate::graph::Action;
use crate::kernel::{Attempt, Doubt};

/// What surrounds every attempt of an engine.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) timer: SharedTimer,
    pub(crate) slots: Arc<Semaphore>,
    /// How long a step may go on after it was told to stop.
    pub(crate) grace: Duration,
    pub(crate) intercept: Option<Arc<dyn Intercept>>,
}

/// Stands between the engine and the world, for tests: may run an attempt, not run it, run it twice, or later.
pub(crate) trait Intercept: Send + Sync {
    fn around(&self, cx: &Cx, make: Box<dyn Fn() -> Action<Attempt> + Send + Sync>) -> Action<Attempt>;
}

impl Surroundings {
    /// The attempt in its surroundings.
    pub(crate) async fn attempt(
        self,
        cx: Cx,
        timeout: Option<Duration>,
        limit: usize,
        action: Action<Attempt>,
    ) -> Attempt {
        // Never closed, so an error cannot be; without a slot the attempt would still be right.
        let _slot = self.slots.acquire().await;
        let context = context(&cx, timeout.map(|timeout| self.timer.now() + timeout));
        let mut guarded = AssertUnwindSafe(context.scope(action)).catch_unwind();
        let result = {
            let stop = async {
                cx.cancel.cancelled().await;
                self.timer.sleep(self.grace).await;
            };
            let expire = async {
                match timeout {
                    Some(limit) => self.timer.sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = &mut guarded => result,
                () = expire => Ok(Attempt::Unknown(Doubt::Timeout, "no answer within its time limit".into())),
                () = stop => Ok(Attempt::Unknown(Doubt::Cancelled, "it was told to stop, and did not".into())),
            }
        };
        drop_quietly(guarded);
        match result {
            Ok(Attempt::Applied(output)) if output.as_str().len() > limit => {
                let bytes = output.as_str().len();
                Attempt::Unknown(Doubt::Output, format!("the output has {bytes} bytes, at most {limit} may be"))
            }
            Ok(result) => result,
            Err(panic) => Attempt::Unknown(Doubt::Panic, panic_message(&*panic)),
        }
    }
}

/// Drops a future of the user's, whose destructors may panic as well.
fn drop_quietly<T>(future: T) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(future)));
}

/// A probe with its panics caught.
pub(crate) async fn probe<T>(action: Action<Result<T, crate::StepError>>) -> Result<T, String> {
    match AssertUnwindSafe(action).catch_unwind().await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_message(&*panic)),
    }
}

fn context(cx: &Cx, deadline: Option<resilience_core::time::Timestamp>) -> Context {
    let context = Context::new()
        .with_idempotency_key(cx.key.shared())
        .with_fencing_token(FencingToken::new(cx.epoch.0))
        .with_correlation_id(cx.saga.shared())
        .with_attempt(cx.attempt);
    match deadline {
        Some(at) => context.with_deadline(at),
        None => context,
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}
