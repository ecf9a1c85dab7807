//! The list itself.

use std::fmt;

use super::{Control, ControlError, Handle, Managed, Register, Snapshot};
use crate::sync::{Arc, Mutex, lock};
use crate::{ConfigError, json};

/// A list of policies that does not keep them alive. Clones are one list.
///
/// The [module](super) explains it.
#[derive(Clone, Default)]
pub struct Registry {
    /// In the order in which they were added. Those that are gone are swept out whenever one is added.
    handles: Arc<Mutex<Vec<Handle>>>,
}

impl Registry {
    /// A list of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a policy on the list, in the place of one of the same pattern and name if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be held weakly; see [`Register::handle`].
    pub fn add(&self, policy: &impl Register) -> Result<(), ConfigError> {
        let handle = policy.handle()?;
        let Some(new) = handle.get() else { return Ok(()) };
        self.rearrange(|handles, old| {
            let same: Vec<bool> = old
                .iter()
                .map(|old| old.as_ref().is_some_and(|old| old.pattern() == new.pattern() && old.name() == new.name()))
                .collect();
            // Those before it stay, so that is its index among those that stay.
            let place = same.iter().position(|same| *same);
            let place = place.map(|at| old[..at].iter().flatten().count());
            let mut stays = old.iter().zip(&same).map(|(old, same)| old.is_some() && !same);
            handles.retain(|_| stays.next().unwrap_or(true));
            handles.insert(place.unwrap_or(handles.len()), handle);
        });
        Ok(())
    }

    /// Takes all policies called `name` off the list; nothing else happens to them.
    pub fn remove(&self, name: &str) {
        self.rearrange(|handles, old| {
            let mut stays = old.iter().map(|old| old.as_ref().is_some_and(|old| old.name().as_str() != name));
            handles.retain(|_| stays.next().unwrap_or(true));
        });
    }

    /// The policies called `name`, one for each pattern.
    pub fn find(&self, name: &str) -> Vec<Box<dyn Managed>> {
        let mut found = self.policies();
        found.retain(|policy| policy.name().as_str() == name);
        found
    }

    /// All policies, in the order in which they were added.
    pub fn policies(&self) -> Vec<Box<dyn Managed>> {
        // Collected first, so that nothing found is dropped under the lock.
        lock(&self.handles).iter().filter_map(Handle::get).collect()
    }

    /// What all policies look like now.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.policies().iter().map(|policy| snapshot(&**policy)).collect()
    }

    /// What all policies look like now, as a JSON list of `{pattern, name, status, figures}`.
    ///
    /// ```
    /// use resilience_core::registry::Registry;
    /// use resilience_core::retry::Retry;
    ///
    /// let registry = Registry::new();
    /// let retry = Retry::builder().name("mail").unlimited().build()?;
    /// registry.add(&retry)?;
    /// let figures = r#"{"attempts":3,"retries":0,"recovered":0,"gave_up":0,"would_retry":0}"#;
    /// let page = format!(r#"[{{"pattern":"retry","name":"mail","status":"up","figures":{figures}}}]"#);
    /// assert_eq!(registry.to_json(), page);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        json::list(&mut out, &self.snapshots(), |object, snapshot| snapshot.write(object));
        out
    }

    /// Asks all policies called `name` for something, and says how many did it.
    ///
    /// # Errors
    ///
    /// If there is no such policy, or none of them can.
    pub fn control(&self, name: &str, control: Control) -> Result<usize, ControlError> {
        let found = self.find(name);
        if found.is_empty() {
            return Err(ControlError::Unknown);
        }
        match found.iter().filter(|policy| policy.control(control).is_ok()).count() {
            0 => Err(ControlError::Unsupported),
            done => Ok(done),
        }
    }

    /// Changes the list, given what its handles lead to now.
    fn rearrange(&self, change: impl FnOnce(&mut Vec<Handle>, &[Option<Box<dyn Managed>>])) {
        // Dropped after the lock: what was found may have become the last share in its policy, and dropping that may run
        // anything, even this.
        let found;
        let mut handles = lock(&self.handles);
        found = handles.iter().map(Handle::get).collect::<Vec<_>>();
        change(&mut handles, &found);
        drop(handles);
    }

    /// Gives the policy called `name` new settings; those of the same name and other patterns are left alone.
    ///
    /// # Errors
    ///
    /// If there is no policy of that name and pattern, or it cannot take them over.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::config::{BulkheadConfig, PolicyConfig};
    /// use resilience_core::registry::Registry;
    ///
    /// let registry = Registry::new();
    /// let bulkhead = Bulkhead::builder().name("stock").limit(8).build()?;
    /// registry.add(&bulkhead)?;
    /// let mut config = BulkheadConfig::default();
    /// config.limit = Some(4);
    /// registry.reconfigure("stock", &PolicyConfig::Bulkhead(config.clone()))?;
    /// assert_eq!(bulkhead.snapshot().limit, 4);
    /// config.limit = Some(0);
    /// let wrong = registry.reconfigure("stock", &PolicyConfig::Bulkhead(config)).unwrap_err();
    /// assert_eq!(wrong.to_string(), "stock.limit: must be above zero");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "serde")]
    pub fn reconfigure(&self, name: &str, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        let found = self.find(name);
        match found.iter().find(|policy| policy.pattern() == config.pattern()) {
            Some(policy) => policy.reconfigure(config).map_err(|problem| problem.under(name)),
            None => {
                let rule = format!("there is no {} of that name", config.pattern());
                Err(crate::config::Problem::new(name, rule))
            }
        }
    }

    /// Puts all policies of a configuration on the list. They are called `PIPELINE.ENTRY`.
    ///
    /// # Errors
    ///
    /// None as things are: what is made from data can be held weakly.
    #[cfg(feature = "serde")]
    pub fn add_all(&self, pipelines: &crate::config::Pipelines) -> Result<(), ConfigError> {
        for pipeline in pipelines.iter() {
            for (_, policy) in pipeline.policies() {
                self.add(policy)?;
            }
        }
        Ok(())
    }
}

fn snapshot(policy: &dyn Managed) -> Snapshot {
    Snapshot {
        pattern: policy.pattern(),
        name: policy.name().clone(),
        status: policy.status(),
        figures: policy.figures(),
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.policies();
        let names = names.iter().map(|policy| (policy.pattern(), policy.name()));
        f.debug_map().entries(names).finish()
    }
}
