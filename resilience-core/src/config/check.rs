//! Whether a configuration can work. The rules are the builders': each policy is built and thrown away.

use super::{BudgetChoice, Config, HedgeConfig, PipelineConfig, PolicyConfig, Problem, Problems, RetryConfig};
use crate::ConfigError;
use crate::lint::{Finding, Layer, Level, Lint, Stack};
use crate::time::ManualTimer;

impl Config {
    /// Whether everything could be built.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with its path.
    ///
    /// ```
    /// # #[cfg(feature = "toml")] {
    /// use resilience_core::config::Config;
    ///
    /// let wrong = Config::from_toml(r#"
    /// [pipelines.payments]
    /// layers = ["retry", "bulkhead"]
    /// retry.attempts = 0
    /// bulkhead.limit = 0
    /// "#).unwrap_err();
    /// let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    /// assert_eq!(told, [
    ///     "line 4: pipelines.payments.retry.attempts: must be at least 1: the first attempt counts",
    ///     "line 5: pipelines.payments.bulkhead.limit: must be above zero",
    /// ]);
    /// # }
    /// ```
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, budget) in &self.budgets {
            problems.extend(named(name).err().map(|problem| problem.under("budgets")));
            let wrong = budget.check().err().map(Problem::from);
            problems.extend(wrong.map(|problem| problem.under(name).under("budgets")));
        }
        for (name, pipeline) in &self.pipelines {
            problems.extend(named(name).err().map(|problem| problem.under("pipelines")));
            for problem in pipeline.problems() {
                problems.push(problem.under(name).under("pipelines"));
            }
            for (entry, policy) in &pipeline.policies {
                if let Some(BudgetChoice::Shared(budget)) = policy.budget()
                    && !self.budgets.contains_key(budget)
                {
                    let rule = format!("there is no budget {budget:?} among `budgets`");
                    let path = policy.path_in(entry);
                    problems.push(Problem::new("budget.shared", rule).under(&path).under(name).under("pipelines"));
                }
            }
        }
        for name in self.lints.keys().filter(|name| Lint::named(name).is_none()) {
            problems.push(Problem::new("", "there is no such lint").under(name).under("lints"));
        }
        for finding in self.findings(Level::Deny) {
            let path = format!("pipelines.{}.layers", finding.stack);
            let layers = finding.inner.map_or(String::new(), |inner| format!(" outside of `{inner}`"));
            let (lint, outer) = (finding.lint, finding.outer);
            let rule = format!("{}: `{outer}`{layers}: {}; {}", lint.name(), lint.reason(), lint.fix());
            problems.push(Problem::new(path, rule));
        }
        Problems::none_or(problems)
    }

    /// What is doubtful about the order of layers, though it is not denied: for the log, when the program starts.
    ///
    /// ```
    /// # #[cfg(feature = "toml")] {
    /// use resilience_core::config::Config;
    ///
    /// const FILE: &str = r#"
    ///     [lints]
    ///     no-total-timeout = "deny"
    ///     no-attempt-timeout = "allow"
    ///     [pipelines.mail]
    ///     layers = ["total", "bulkhead", "retry"]
    ///     total.timeout.limit = "9s"
    ///     bulkhead.limit = 8
    ///     retry.attempts = 3
    /// "#;
    /// let warnings = Config::from_toml(FILE)?.lint();
    /// assert_eq!(warnings.len(), 1);
    /// assert!(warnings[0].to_string().starts_with("mail: bulkhead-outside-retry: `bulkhead` is outside of `retry`"));
    ///
    /// let without = FILE.replace("\"total\", ", "").replace("total.timeout.limit = \"9s\"", "");
    /// let denied = Config::from_toml(&without).unwrap_err().to_string();
    /// assert!(denied.starts_with("line 6: pipelines.mail.layers: no-total-timeout: `retry`: attempts"), "{denied}");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lint(&self) -> Vec<Finding> {
        self.findings(Level::Warn)
    }

    fn findings(&self, level: Level) -> Vec<Finding> {
        let found = self.pipelines.iter().flat_map(|(name, pipeline)| pipeline.stack(name).findings());
        found.filter(|finding| self.lints.get(finding.lint.name()).copied().unwrap_or_default() == level).collect()
    }
}

impl PipelineConfig {
    /// The pipeline as the [linter](crate::lint) sees it.
    pub fn stack(&self, name: &str) -> Stack {
        self.in_order().fold(Stack::new(name), |stack, (entry, policy)| stack.layer(&policy.layer(entry)))
    }

    /// All that is wrong, with paths from here.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (at, name) in self.layers.iter().enumerate() {
            if !self.policies.contains_key(name) {
                problems.push(Problem::new("layers", format!("there is no policy {name:?} in this pipeline")));
            }
            if self.layers[..at].contains(name) {
                problems.push(Problem::new("layers", format!("{name:?} must be listed once")));
            }
        }
        // In the order of the layers, as they are read.
        let listed = self.in_order();
        let unlisted = self.policies.iter().filter(|(name, _)| !self.layers.contains(*name));
        for (name, policy) in listed.chain(unlisted.map(|(name, policy)| (name.as_str(), policy))) {
            problems.extend(named(name).err());
            if !self.layers.iter().any(|layer| layer == name) {
                problems.push(Problem::new(name, "must be listed in `layers`"));
            }
            let wrong = policy.check().err();
            problems.extend(wrong.map(|problem| problem.under(&policy.path_in(name))));
        }
        problems
    }
}

/// Names are labels of metrics and parts of paths.
fn named(name: &str) -> Result<(), Problem> {
    let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(fits) {
        Ok(())
    } else {
        Err(Problem::new(name, "must be named by letters, digits, `_` and `-`"))
    }
}

impl PolicyConfig {
    /// The path of the settings of the entry `name`.
    pub(super) fn path_in(&self, name: &str) -> String {
        if name == self.pattern() { name.to_owned() } else { format!("{name}.{}", self.pattern()) }
    }

    /// The budget it draws on, if it is one that can and says so.
    pub(super) fn budget(&self) -> Option<&BudgetChoice> {
        match self {
            Self::Retry(config) => config.budget.as_ref(),
            Self::Hedge(config) => config.budget.as_ref(),
            _ => None,
        }
    }

    fn layer(&self, name: &str) -> Layer {
        let mut layer = Layer::new(self.pattern(), name);
        layer.has_budget = self.budget() != Some(&BudgetChoice::Unlimited);
        match self {
            Self::Timeout(config) => layer.limit = config.limit.map(|limit| limit.0),
            Self::Retry(config) => {
                // Three, unless set: the builder's default.
                layer.attempts = config.attempts.unwrap_or(3);
            }
            // As many as a schedule has delays for, or two.
            Self::Hedge(config) => layer.attempts = config.rules().attempts_in_all(),
            Self::Bulkhead(config) => layer.has_queue = config.queue.is_some_and(|queue| queue > 0),
            Self::AdaptiveLimit(config) => layer.has_queue = config.queue.is_some_and(|queue| queue > 0),
            Self::Fallback(_)
            | Self::CircuitBreaker(_)
            | Self::KeyedCircuitBreaker(_)
            | Self::PartitionedBulkhead(_)
            | Self::RateLimit(_)
            | Self::KeyedRateLimit(_)
            | Self::ClientThrottle(_)
            | Self::AdmissionControl(_)
            | Self::QueueShed(_)
            | Self::SignalShed(_)
            | Self::DistributedRateLimit(_)
            | Self::Batch(_) => {}
            #[cfg(feature = "cache")]
            Self::Cache(_) => {}
            // Twenty seconds, unless set.
            Self::ClientRateLimit(config) => layer.has_queue = config.max_wait.is_none_or(|wait| !wait.0.is_zero()),
            Self::Chaos(config) => layer.makes_faults = config.is_on(),
        }
        layer
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let timer = ManualTimer::new;
        let built = match self {
            Self::Timeout(config) => config.builder().timer(timer()).build().map(drop),
            Self::Retry(config) => return config.check(),
            Self::Hedge(config) => return config.check(),
            Self::Fallback(config) => config.builder().timer(timer()).build().map(drop),
            Self::CircuitBreaker(config) => config.check(),
            Self::KeyedCircuitBreaker(config) => return config.check(),
            Self::Bulkhead(config) => config.builder().timer(timer()).build().map(drop),
            Self::PartitionedBulkhead(config) => config.builder().timer(timer()).build().map(drop),
            Self::AdaptiveLimit(config) => return config.check(),
            Self::ClientThrottle(config) => config.builder().timer(timer()).build().map(drop),
            Self::AdmissionControl(config) => config.builder().timer(timer()).build().map(drop),
            Self::QueueShed(config) => config.builder().timer(timer()).build().map(drop),
            Self::SignalShed(config) => config.builder().timer(timer()).build().map(drop),
            Self::RateLimit(config) => config.builder().timer(timer()).build().map(drop),
            Self::KeyedRateLimit(config) => return config.check(),
            Self::Chaos(config) => return config.check(),
            Self::ClientRateLimit(config) => config.builder().timer(timer()).build().map(drop),
            Self::DistributedRateLimit(config) => return config.check(),
            Self::Batch(config) => config.builder().timer(timer()).build().map(drop),
            #[cfg(feature = "cache")]
            Self::Cache(config) => return config.check(),
        };
        built.map_err(Problem::from)
    }
}

impl BudgetChoice {
    fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Own(budget) => budget.check().map_err(|error| Problem::from(error).under("budget.own")),
            Self::Unlimited | Self::Shared(_) => Ok(()),
        }
    }
}

impl HedgeConfig {
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.budget.as_ref().map_or(Ok(()), BudgetChoice::check)?;
        Ok(self.rules().timer(ManualTimer::new()).build().map(drop)?)
    }
}

impl RetryConfig {
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.budget.as_ref().map_or(Ok(()), BudgetChoice::check)?;
        if let Some(backoff) = &self.throttled_backoff {
            let alone = Self { backoff: Some(backoff.clone()), ..Self::default() };
            alone.check_rules().map_err(|error| {
                // The builder calls every backoff by the same name.
                Problem::new(error.field().replacen("backoff", "throttled_backoff", 1), error.rule())
            })?;
        }
        self.check_rules().map_err(Problem::from)
    }

    fn check_rules(&self) -> Result<(), ConfigError> {
        self.rules()?.timer(ManualTimer::new()).build().map(drop)
    }
}
