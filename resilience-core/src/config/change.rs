//! A configuration applied to policies that are in use.

use crate::registry::Managed;

use super::{Config, PipelineConfig, Pipelines, Policy, PolicyConfig, Problem, Problems, RetryConfig};

impl Pipelines {
    /// Makes the policies what `config` says, while they run and without losing what they hold.
    ///
    /// # Errors
    ///
    /// If `config` cannot work, or differs in what cannot change; see the [module's table](super#changing). Nothing has
    /// changed then.
    pub fn reconfigure(&mut self, config: &Config) -> Result<(), Problems> {
        config.check()?;
        Problems::none_or(differences(&self.config, config))?;
        // All are asked before any is changed.
        let refused = self.each_changed(config, Policy::accepts);
        Problems::none_or(refused.into_iter().filter_map(Result::err).collect())?;
        self.each_changed(config, Policy::reconfigure).into_iter().collect::<Result<(), _>>()?;
        self.config = config.clone();
        Ok(())
    }

    /// Does something with each policy whose settings are others in `config`.
    fn each_changed(
        &self,
        config: &Config,
        change: impl Fn(&Policy, &PolicyConfig) -> Result<(), Problem>,
    ) -> Vec<Result<(), Problem>> {
        let mut done = Vec::new();
        for (name, pipeline) in &config.pipelines {
            for (entry, settings) in &pipeline.policies {
                let Some(policy) = self.pipeline(name).and_then(|pipeline| pipeline.policy(entry)) else { continue };
                let before = self.config.pipelines.get(name).and_then(|pipeline| pipeline.policies.get(entry));
                if before != Some(settings) {
                    let path = settings.path_in(entry);
                    let told = |problem: Problem| problem.under(&path).under(name).under("pipelines");
                    done.push(change(policy, settings).map_err(told));
                }
            }
        }
        done
    }
}

/// What stays as it was built.
const FIXED: &str = "cannot change while running";

/// What is told of settings that belong to another pattern.
pub(crate) const OTHER_PATTERN: &str = "are settings of another pattern";

/// What cannot be applied.
fn differences(before: &Config, after: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if before.budgets != after.budgets {
        problems.push(Problem::new("budgets", FIXED));
    }
    for name in before.pipelines.keys().filter(|name| !after.pipelines.contains_key(*name)) {
        problems.push(Problem::new(name, "cannot go while running").under("pipelines"));
    }
    for (name, after) in &after.pipelines {
        match before.pipelines.get(name) {
            Some(before) => {
                problems.extend(before.differences(after).into_iter().map(|it| it.under(name).under("pipelines")));
            }
            None => problems.push(Problem::new(name, "cannot come while running").under("pipelines")),
        }
    }
    problems
}

impl PipelineConfig {
    fn differences(&self, after: &Self) -> Vec<Problem> {
        if self.layers != after.layers {
            return vec![Problem::new("layers", FIXED)];
        }
        let changed = self.policies.iter().zip(&after.policies);
        let differs = |((name, before), (_, after)): ((&String, &PolicyConfig), (_, &PolicyConfig))| {
            before.difference(after).map(|problem| problem.under(&after.path_in(name)))
        };
        changed.filter_map(differs).collect()
    }
}

impl PolicyConfig {
    fn difference(&self, after: &Self) -> Option<Problem> {
        match (self, after) {
            (Self::Timeout(before), Self::Timeout(after)) => {
                (before.dry_run != after.dry_run).then(|| Problem::new("dry_run", FIXED))
            }
            (Self::Bulkhead(_), Self::Bulkhead(_)) => None,
            (Self::PartitionedBulkhead(before), Self::PartitionedBulkhead(after)) => {
                let comes_or_goes = !before.shares.keys().eq(after.shares.keys());
                comes_or_goes.then(|| Problem::new("shares", "cannot come or go while running, only change"))
            }
            (Self::Retry(before), Self::Retry(after)) => before.fixed_difference(after),
            (Self::Hedge(before), Self::Hedge(after)) => {
                (before.budget != after.budget).then(|| Problem::new("budget", FIXED))
            }
            (Self::Fallback(_), Self::Fallback(_)) => None,
            (Self::RateLimit(before), Self::RateLimit(after)) => {
                let waits = |wait: Option<super::Span>| wait.is_some_and(|wait| !wait.0.is_zero());
                let comes_or_goes = waits(before.max_wait) != waits(after.max_wait);
                comes_or_goes.then(|| Problem::new("max_wait", "cannot come or go while running, only change"))
            }
            (Self::CircuitBreaker(before), Self::CircuitBreaker(after)) => {
                before.fixed_difference(after).map(|field| Problem::new(field, FIXED))
            }
            (Self::KeyedCircuitBreaker(before), Self::KeyedCircuitBreaker(after)) => {
                let (before, after) = (before.of_each(), after.of_each());
                before.fixed_difference(&after).map(|field| Problem::new(field, FIXED))
            }
            (Self::AdaptiveLimit(before), Self::AdaptiveLimit(after)) => {
                (before.initial != after.initial).then(|| Problem::new("initial", FIXED))
            }
            (Self::ClientThrottle(before), Self::ClientThrottle(after)) => {
                (before.window != after.window).then(|| Problem::new("window", FIXED))
            }
            (Self::AdmissionControl(before), Self::AdmissionControl(after)) => {
                (before.window != after.window).then(|| Problem::new("window", FIXED))
            }
            (Self::QueueShed(_), Self::QueueShed(_))
            | (Self::SignalShed(_), Self::SignalShed(_))
            | (Self::Batch(_), Self::Batch(_)) => None,
            #[cfg(feature = "cache")]
            (Self::Cache(_), Self::Cache(_)) => None,
            (Self::Chaos(before), Self::Chaos(after)) => {
                (before.seed != after.seed).then(|| Problem::new("seed", FIXED))
            }
            (Self::ClientRateLimit(_), Self::ClientRateLimit(_))
            | (Self::DistributedRateLimit(_), Self::DistributedRateLimit(_))
            | (Self::KeyedRateLimit(_), Self::KeyedRateLimit(_)) => None,
            _ => Some(Problem::new("", "cannot become another pattern while running")),
        }
    }
}

impl RetryConfig {
    fn fixed_difference(&self, after: &Self) -> Option<Problem> {
        let fields = [("budget", self.budget != after.budget), ("seed", self.seed != after.seed)];
        fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| Problem::new(field, FIXED))
    }
}

impl Policy {
    /// Whether it can do what settings ask for that are right by themselves.
    fn accepts(&self, config: &PolicyConfig) -> Result<(), Problem> {
        match (self, config) {
            // Faults that the program did not say how to make.
            (Self::Chaos(chaos), PolicyConfig::Chaos(config)) => chaos.accepts(config),
            _ => Ok(()),
        }
    }

    /// Takes over what may change.
    ///
    /// # Errors
    ///
    /// If `config` is another pattern's, cannot work, or changes what cannot; nothing has changed then. Settings that are
    /// fixed when a policy is built, such as a retry's budget, are not looked at: [`Pipelines::reconfigure`] compares
    /// them.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::config::{BulkheadConfig, Policy, PolicyConfig};
    ///
    /// let bulkhead = Bulkhead::builder().limit(8).build()?;
    /// let mut config = BulkheadConfig::default();
    /// config.limit = Some(16);
    /// Policy::Bulkhead(bulkhead.clone()).reconfigure(&PolicyConfig::Bulkhead(config))?;
    /// assert_eq!(bulkhead.snapshot().limit, 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reconfigure(&self, config: &PolicyConfig) -> Result<(), Problem> {
        match (self, config) {
            (Self::Timeout(timeout), PolicyConfig::Timeout(config)) => timeout.reconfigure(config.builder())?,
            (Self::Retry(retry), PolicyConfig::Retry(config)) => {
                config.check()?;
                retry.reconfigure(config.rules()?)?;
            }
            (Self::Hedge(hedge), PolicyConfig::Hedge(config)) => {
                config.check()?;
                hedge.reconfigure(config.rules())?;
            }
            (Self::Fallback(fallback), PolicyConfig::Fallback(config)) => fallback.reconfigure(config.builder())?,
            (Self::Bulkhead(bulkhead), PolicyConfig::Bulkhead(config)) => bulkhead.reconfigure(config.builder())?,
            (Self::PartitionedBulkhead(bulkhead), PolicyConfig::PartitionedBulkhead(config)) => {
                bulkhead.reconfigure(config.builder())?;
            }
            (Self::RateLimit(limiter), PolicyConfig::RateLimit(config)) => limiter.reconfigure(config.builder())?,
            (Self::CircuitBreaker(breaker), PolicyConfig::CircuitBreaker(config)) => {
                config.check()?;
                breaker.reconfigure(config.builder())?;
            }
            (Self::KeyedCircuitBreaker(breaker), PolicyConfig::KeyedCircuitBreaker(_)) => {
                Managed::reconfigure(breaker, config)?;
            }
            (Self::KeyedRateLimit(limiter), PolicyConfig::KeyedRateLimit(_)) => Managed::reconfigure(limiter, config)?,
            (Self::AdaptiveLimit(limit), PolicyConfig::AdaptiveLimit(config)) => {
                config.check()?;
                limit.reconfigure(config.builder())?;
            }
            (Self::ClientThrottle(shed), PolicyConfig::ClientThrottle(config)) => shed.reconfigure(config.builder())?,
            (Self::AdmissionControl(shed), PolicyConfig::AdmissionControl(config)) => {
                shed.reconfigure(config.builder())?;
            }
            (Self::QueueShed(shed), PolicyConfig::QueueShed(config)) => shed.reconfigure(config.builder())?,
            (Self::SignalShed(shed), PolicyConfig::SignalShed(config)) => shed.reconfigure(config.builder())?,
            (Self::Batch(batch), PolicyConfig::Batch(config)) => batch.reconfigure(config.builder())?,
            (Self::Chaos(chaos), PolicyConfig::Chaos(_)) => Managed::reconfigure(chaos, config)?,
            (Self::ClientRateLimit(limiter), PolicyConfig::ClientRateLimit(config)) => {
                limiter.reconfigure(config.builder())?;
            }
            (Self::DistributedRateLimit(limiter), PolicyConfig::DistributedRateLimit(_)) => {
                Managed::reconfigure(limiter, config)?;
            }
            #[cfg(feature = "cache")]
            (Self::Cache(cache), PolicyConfig::Cache(_)) => Managed::reconfigure(cache, config)?,
            _ => return Err(Problem::new("", OTHER_PATTERN)),
        }
        Ok(())
    }
}
