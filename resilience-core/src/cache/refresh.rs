//! Who fetches a new answer while the old one is served.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::load::{Load, Loading};

/// Decides who runs the call for a new answer while the old one may still be served.
///
/// A caller that is served cannot go on polling. So the first caller past expiry either makes the call inside its own and
/// waits for it, while all others are served at once ([`InCall`], which asks nothing of anybody), or hands it to a
/// runtime and is served at once too ([`Background`]).
pub trait Refresh<T> {
    /// Takes the task over, or gives it back to the caller, whose call then runs it.
    fn begin(&self, task: T) -> Option<T>;
}

/// The first caller past expiry fetches the new answer; if that fails, it is served the old one. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InCall;

impl<T> Refresh<T> for InCall {
    fn begin(&self, task: T) -> Option<T> {
        Some(task)
    }
}

/// A task of its own fetches the new answer. Nobody waits for it, and it has the context of nobody: no caller's deadline.
#[derive(Clone)]
pub struct Background {
    spawn: Arc<dyn Spawn>,
}

impl Background {
    /// Tasks of this spawner.
    pub fn new(spawn: impl Spawn) -> Self {
        Self { spawn: Arc::new(spawn) }
    }

    /// Tasks of the tokio runtime the caller is in. Outside of any, as in one that shuts down, a task is dropped: callers
    /// are served the old answer until they may no longer be, and then make the call themselves.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Self {
        Self::new(crate::time::spawn_or_drop)
    }
}

impl<T: Future<Output = ()> + Send + 'static> Refresh<T> for Background {
    fn begin(&self, task: T) -> Option<T> {
        self.spawn.spawn(Box::pin(task));
        None
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

/// What a [`Spawn`] is given to run.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks. Any `Fn(Task)` does.
///
/// ```
/// use resilience_core::cache::{Background, Task};
///
/// let background = Background::new(|task: Task| drop(tokio::spawn(task)));
/// # let _ = background;
/// ```
pub trait Spawn: Send + Sync + 'static {
    /// Runs it to its end. A task that is dropped leaves its work to the next caller.
    fn spawn(&self, task: Task);
}

impl<F: Fn(Task) + Send + Sync + 'static> Spawn for F {
    fn spawn(&self, task: Task) {
        self(task);
    }
}

pin_project! {
    /// The call for a new answer, as a task.
    #[must_use = "futures do nothing unless polled"]
    pub struct Refreshing<K, V, E, L>
    where
        K: Hash,
        K: Eq,
        K: Clone,
        L: Load,
    {
        #[pin]
        pub(super) loading: Loading<K, V, E, L>,
    }
}

impl<K, V, E, L> Future for Refreshing<K, V, E, L>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone,
    L: Load,
    L::Future: Future<Output = Result<V, E>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().loading.poll(cx).map(drop)
    }
}

impl<K: Hash + Eq + Clone, V, E, L: Load> fmt::Debug for Refreshing<K, V, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshing").finish_non_exhaustive()
    }
}
