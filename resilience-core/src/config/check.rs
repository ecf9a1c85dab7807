//! Whether a configuration can work. The rules are the builders': each policy is built and thrown away.

use super::{BudgetChoice, Config, PipelineConfig, PolicyConfig, Problem, Problems, RetryConfig};
use crate::ConfigError;
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
                if let PolicyConfig::Retry(RetryConfig { budget: Some(BudgetChoice::Shared(budget)), .. }) = policy
                    && !self.budgets.contains_key(budget)
                {
                    let rule = format!("there is no budget {budget:?} among `budgets`");
                    let path = policy.path_in(entry);
                    problems.push(Problem::new("budget.shared", rule).under(&path).under(name).under("pipelines"));
                }
            }
        }
        Problems::none_or(problems)
    }
}

impl PipelineConfig {
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

    pub(super) fn check(&self) -> Result<(), Problem> {
        let timer = ManualTimer::new;
        let built = match self {
            Self::Timeout(config) => config.builder().timer(timer()).build().map(drop),
            Self::Retry(config) => return config.check(),
            Self::CircuitBreaker(config) => config.check(),
            Self::Bulkhead(config) => config.builder().timer(timer()).build().map(drop),
            Self::RateLimit(config) => config.builder().timer(timer()).build().map(drop),
        };
        built.map_err(Problem::from)
    }
}

impl RetryConfig {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if let Some(BudgetChoice::Own(budget)) = &self.budget {
            budget.check().map_err(|error| Problem::from(error).under("budget.own"))?;
        }
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
