//! Policies of a file whose types only the program knows.

use std::fmt;

use super::{PolicyConfig, Problem, Setup};
use crate::health::Status;
use crate::registry::{Control, ControlError, Figure, Handle, Managed, Register};
use crate::sync::{Arc, Mutex, lock};
use crate::{ConfigError, Name};

/// A policy of a file whose types only the program knows: what a cache keeps, which errors chaos makes. Clones are one.
///
/// A file holds its figures, and the program builds it, once or for several types. Whatever it has built follows the file
/// from then on.
///
/// ```
/// # #[cfg(all(feature = "toml", feature = "tokio"))] {
/// use resilience_core::config::{Config, Setup};
///
/// const FILE: &str = r#"
///     [pipelines.stock]
///     layers = ["retry", "chaos"]
///     retry.attempts = 3
///     chaos = { enabled = false, faults = { error = 0.01 } }
/// "#;
/// let mut pipelines = Config::from_toml(FILE)?.build(&Setup::new())?;
/// let stock = pipelines.pipeline("stock").unwrap().clone();
/// let chaos = stock.chaos("chaos").unwrap().build::<u32, String, &str>(|chaos| chaos.error(|_| "injected"))?;
/// assert!(!chaos.snapshot().enabled);
///
/// pipelines.reconfigure(&Config::from_toml(&FILE.replace("enabled = false", "enabled = true"))?)?;
/// assert!(chaos.snapshot().enabled);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Template<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    name: Name,
    pattern: &'static str,
    pick: fn(&PolicyConfig) -> Option<&C>,
    setup: Setup,
    config: Mutex<C>,
    built: Mutex<Vec<Built<C>>>,
    /// Held while what was built is changed: they all have the same settings, and what is built meanwhile has them too.
    changing: Mutex<()>,
}

/// One policy that was built, held weakly.
struct Built<C> {
    handle: Handle,
    accepts: Accepts<C>,
}

/// What it says of settings that are right by themselves: whether it can do what they ask for.
pub(super) type Accepts<C> = Box<dyn Fn(&C) -> Result<(), Problem> + Send + Sync>;

impl<C: Clone + PartialEq> Template<C> {
    pub(super) fn new(
        name: String,
        pattern: &'static str,
        pick: fn(&PolicyConfig) -> Option<&C>,
        setup: &Setup,
        config: &C,
    ) -> Self {
        let (config, built, changing) = (Mutex::new(config.clone()), Mutex::new(Vec::new()), Mutex::new(()));
        let (name, setup) = (name.into(), setup.clone());
        Self { shared: Arc::new(Shared { name, pattern, pick, setup, config, built, changing }) }
    }

    /// The name of what is built.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings as they are now.
    pub fn config(&self) -> C {
        lock(&self.shared.config).clone()
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.shared.setup
    }

    /// Makes a policy that was built by the settings `by` follow the file.
    pub(super) fn adopt(
        &self,
        by: &C,
        policy: &(impl Register + Managed),
        accepts: Accepts<C>,
        wrap: fn(C) -> PolicyConfig,
    ) -> Result<(), ConfigError> {
        let handle = policy.handle()?;
        // Dropped after the locks: what was found may have become the last share in its policy.
        let found: Vec<_>;
        let _turn = lock(&self.shared.changing);
        let config = self.config();
        // The file has changed while it was built.
        if *by != config {
            let beyond = |_| ConfigError::new("file", "must not change to what this policy cannot do");
            policy.reconfigure(&wrap(config)).map_err(beyond)?;
        }
        let mut built = lock(&self.shared.built);
        found = built.iter().map(|built| built.handle.get()).collect();
        let mut lives = found.iter().map(Option::is_some);
        built.retain(|_| lives.next().unwrap_or(true));
        built.push(Built { handle, accepts });
        Ok(())
    }

    /// Whether all that was built can do what these settings ask for.
    pub(super) fn accepts(&self, config: &C) -> Result<(), Problem> {
        lock(&self.shared.built).iter().try_for_each(|built| (built.accepts)(config))
    }

    /// Makes all that was built follow `config`, which is what `settings` holds.
    pub(super) fn apply(&self, config: &C, settings: &PolicyConfig) -> Result<(), Problem> {
        // As above.
        let found;
        let _turn = lock(&self.shared.changing);
        self.accepts(config)?;
        found = self.found();
        for policy in &found {
            policy.reconfigure(settings)?;
        }
        *lock(&self.shared.config) = config.clone();
        Ok(())
    }
}

impl<C> Template<C> {
    fn found(&self) -> Vec<Box<dyn Managed>> {
        lock(&self.shared.built).iter().filter_map(|built| built.handle.get()).collect()
    }
}

/// As many policies as were built, as one: counts are added up, of other figures the first policy's is told.
impl<C: Clone + PartialEq + Send + Sync + 'static> Managed for Template<C> {
    fn name(&self) -> &Name {
        &self.shared.name
    }

    fn pattern(&self) -> &'static str {
        self.shared.pattern
    }

    fn status(&self) -> Status {
        let statuses = self.found().iter().map(|policy| policy.status()).collect::<Vec<_>>();
        statuses.into_iter().find(|status| *status != Status::Up).unwrap_or(Status::Up)
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let found = self.found();
        let mut figures = vec![("built", Figure::Count(found.len() as u64))];
        for (name, figure) in found.iter().flat_map(|policy| policy.figures()) {
            match (figures.iter_mut().find(|(known, _)| *known == name), figure) {
                (None, figure) => figures.push((name, figure)),
                (Some((_, Figure::Count(sum))), Figure::Count(count)) => *sum = sum.wrapping_add(count),
                (Some(_), _) => {}
            }
        }
        figures
    }

    fn control(&self, control: Control) -> Result<(), ControlError> {
        let done: Vec<_> = self.found().iter().map(|policy| policy.control(control)).collect();
        if done.iter().any(Result::is_ok) { Ok(()) } else { Err(ControlError::Unsupported) }
    }

    fn reconfigure(&self, settings: &PolicyConfig) -> Result<(), Problem> {
        settings.check()?;
        let config = (self.shared.pick)(settings).ok_or_else(|| Problem::new("", super::OTHER_PATTERN))?;
        self.apply(config, settings)
    }
}

impl<C: Clone + PartialEq + Send + Sync + 'static> Register for Template<C> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(Handle::new(move || weak.upgrade().map(|shared| Self { shared })))
    }
}

impl<C> Clone for Template<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C: fmt::Debug> fmt::Debug for Template<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("name", &self.shared.name).field("config", &self.shared.config).finish()
    }
}
