//! The patterns as a registry sees them.

use super::{Control, ControlError, Figure, Handle, Managed, Register};
use crate::adaptive_limit::AdaptiveLimit;
use crate::batch::Batch;
use crate::bulkhead::Bulkhead;
use crate::circuit_breaker::CircuitBreaker;
use crate::context::Criticality;
use crate::fallback::Fallback;
use crate::health::Status;
use crate::hedge::Hedge;
use crate::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use crate::rate_limit::RateLimiter;
use crate::rate_limit::client::ClientRateLimiter;
use crate::retry::{Retry, RetryBudget};
use crate::timeout::Timeout;
use crate::{ConfigError, Name};

macro_rules! managed {
    ($($policy:ty, $pattern:literal, $(config::$variant:ident,)? { $($body:tt)* })+) => { $(
        impl Managed for $policy {
            fn name(&self) -> &Name {
                <$policy>::name(self)
            }

            fn pattern(&self) -> &'static str {
                $pattern
            }

            $(#[cfg(feature = "serde")]
            fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
                crate::config::Policy::$variant(self.clone()).reconfigure(config)
            })?

            $($body)*
        }

        impl Register for $policy {
            fn handle(&self) -> Result<Handle, ConfigError> {
                self.weak().map(Handle::new)
            }
        }
    )+ };
}

/// What refuses calls does not do its work unhindered. In a dry run it refuses none.
fn shedding(share: f64, is_dry_run: bool) -> Status {
    if share > 0.0 && !is_dry_run { Status::Degraded } else { Status::Up }
}

/// Figures by the names of a snapshot's fields.
macro_rules! figures {
    ($($name:ident: $figure:expr),* $(,)?) => { vec![$((stringify!($name), $figure)),*] };
}
pub(super) use figures;

managed! {
    Timeout, "timeout", config::Timeout, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let mut figures = vec![("limit", Figure::Time(self.limit()))];
            if let Some(trial) = self.trial() {
                figures.push(("would_elapse", Figure::Count(trial.would_elapse)));
                figures.push(("would_reject", Figure::Count(trial.would_reject)));
            }
            figures
        }
    }

    Retry, "retry", config::Retry, {
        fn status(&self) -> Status {
            self.budget().map_or(Status::Up, Managed::status)
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            let mut figures = figures!(
                attempts: Figure::Count(self.attempts().into()),
                retries: Figure::Count(seen.retries),
                recovered: Figure::Count(seen.recovered),
                gave_up: Figure::Count(seen.gave_up),
                would_retry: Figure::Count(seen.would_retry),
            );
            if let Some(budget) = seen.budget {
                figures.push(("budget_available", Figure::Number(budget.available)));
                figures.push(("budget_withdrawn", Figure::Count(budget.withdrawn)));
                figures.push(("budget_refused", Figure::Count(budget.refused)));
            }
            figures
        }
    }

    Hedge, "hedge", config::Hedge, {
        fn status(&self) -> Status {
            self.budget().map_or(Status::Up, Managed::status)
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            let mut figures = figures!(
                attempts: Figure::Count(self.attempts().into()),
                measured: Figure::Count(seen.measured),
                launched: Figure::Count(seen.launched),
                won: Figure::Count(seen.won),
                cancelled: Figure::Count(seen.cancelled),
                withheld: Figure::Count(seen.withheld),
                failed: Figure::Count(seen.failed),
                would_launch: Figure::Count(seen.would_launch),
            );
            // There is none while too little is known.
            figures.extend(seen.delay.map(|delay| ("delay", Figure::Time(delay))));
            if let Some(budget) = seen.budget {
                figures.push(("budget_available", Figure::Number(budget.available)));
                figures.push(("budget_withdrawn", Figure::Count(budget.withdrawn)));
                figures.push(("budget_refused", Figure::Count(budget.refused)));
            }
            figures
        }
    }

    Fallback, "fallback", config::Fallback, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                refused: Figure::Count(seen.refused),
                timed_out: Figure::Count(seen.timed_out),
                failed: Figure::Count(seen.failed),
                failed_too: Figure::Count(seen.failed_too),
                withheld: Figure::Count(seen.withheld),
                would_fall_back: Figure::Count(seen.would_fall_back),
            )
        }
    }

    ClientRateLimiter, "client_rate_limit", config::ClientRateLimit, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            let mut figures = figures!(
                measured: Figure::Number(seen.measured),
                throttled: Figure::Count(seen.throttled),
                queued: Figure::Count(seen.queued),
                rejected: Figure::Count(seen.rejected),
                would_queue: Figure::Count(seen.would_queue),
                would_reject: Figure::Count(seen.would_reject),
            );
            figures.extend(seen.rate.map(|rate| ("rate", Figure::Number(rate))));
            figures
        }
    }

    Batch, "batch", config::Batch, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                limit: Figure::Count(seen.limit.into()),
                waiting: Figure::Count(seen.waiting.into()),
                calls: Figure::Count(seen.calls),
                batches: Figure::Count(seen.batches),
                failed: Figure::Count(seen.failed),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    RetryBudget, "retry_budget", {
        fn status(&self) -> Status {
            if self.snapshot().available < 1.0 && self.snapshot().refused > 0 { Status::Degraded } else { Status::Up }
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                available: Figure::Number(seen.available),
                withdrawn: Figure::Count(seen.withdrawn),
                refused: Figure::Count(seen.refused),
            )
        }
    }

    CircuitBreaker, "circuit_breaker", config::CircuitBreaker, {
        fn status(&self) -> Status {
            if self.state().refuses() { Status::Degraded } else { Status::Up }
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                state: Figure::Word(seen.state.label()),
                generation: Figure::Count(seen.generation.into()),
                consecutive_failures: Figure::Count(seen.consecutive_failures.into()),
                calls: Figure::Count(seen.calls),
                failures: Figure::Count(seen.failures),
                slow: Figure::Count(seen.slow),
                would_reject: Figure::Count(seen.would_reject),
                rejected: Figure::Count(seen.rejected),
                stale: Figure::Count(seen.stale),
                opened: Figure::Count(seen.opened),
            )
        }

        fn control(&self, control: Control) -> Result<(), ControlError> {
            match control {
                Control::Isolate => self.isolate(),
                Control::Open(wait) => self.open_for(wait),
                Control::Reset => self.close(),
            }
            Ok(())
        }
    }

    Bulkhead, "bulkhead", config::Bulkhead, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                limit: Figure::Count(seen.limit.into()),
                in_flight: Figure::Count(seen.in_flight.into()),
                queue: Figure::Count(seen.queue.into()),
                queued: Figure::Count(seen.queued.into()),
                queued_total: Figure::Count(seen.totals.queued),
                full: Figure::Count(seen.totals.full),
                queue_timeout: Figure::Count(seen.totals.queue_timeout),
                deadline: Figure::Count(seen.totals.deadline),
                discipline: Figure::Word(seen.discipline.label()),
                queue_delay: Figure::Count(seen.totals.queue_delay),
                displaced: Figure::Count(seen.totals.displaced),
                would_queue: Figure::Count(seen.totals.would_queue),
                would_reject: Figure::Count(seen.totals.would_reject),
            )
        }
    }

    AdaptiveLimit, "adaptive_limit", config::AdaptiveLimit, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                limit: Figure::Count(seen.limit.into()),
                in_flight: Figure::Count(seen.in_flight.into()),
                queue: Figure::Count(seen.queue.into()),
                queued: Figure::Count(seen.queued.into()),
                baseline: Figure::Time(seen.baseline.unwrap_or_default()),
                last: Figure::Time(seen.last.map_or(std::time::Duration::ZERO, |last| last.rtt)),
                windows: Figure::Count(seen.windows),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    ClientThrottle, "client_throttle", config::ClientThrottle, {
        fn status(&self) -> Status {
            shedding(self.snapshot(Criticality::Critical).probability, self.is_dry_run())
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            // Those of most calls; others have their own.
            let seen = self.snapshot(Criticality::Critical);
            figures!(
                requests: Figure::Count(seen.requests),
                accepts: Figure::Count(seen.accepts),
                probability: Figure::Number(seen.probability),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    AdmissionControl, "admission_control", config::AdmissionControl, {
        fn status(&self) -> Status {
            shedding(self.snapshot().ratio, self.is_dry_run())
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                calls: Figure::Count(seen.calls),
                successes: Figure::Count(seen.successes),
                ratio: Figure::Number(seen.ratio),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    QueueShed, "queue_shed", config::QueueShed, {
        fn status(&self) -> Status {
            shedding(self.snapshot().ratio, self.is_dry_run())
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                wait: Figure::Time(seen.wait),
                ratio: Figure::Number(seen.ratio),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    SignalShed, "signal_shed", config::SignalShed, {
        fn status(&self) -> Status {
            shedding(self.snapshot().ratio, self.is_dry_run())
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                signal: Figure::Number(seen.signal),
                ratio: Figure::Number(seen.ratio),
                rejected: Figure::Count(seen.rejected),
                would_reject: Figure::Count(seen.would_reject),
            )
        }
    }

    RateLimiter, "rate_limit", config::RateLimit, {
        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                burst: Figure::Count(seen.burst.into()),
                interval: Figure::Time(seen.interval),
                available: Figure::Balance(seen.available),
                wait: Figure::Time(seen.wait),
                queued_total: Figure::Count(seen.totals.queued),
                rate_limited: Figure::Count(seen.totals.rate_limited),
                deadline: Figure::Count(seen.totals.deadline),
                cancelled: Figure::Count(seen.totals.cancelled),
                would_queue: Figure::Count(seen.totals.would_queue),
                would_reject: Figure::Count(seen.totals.would_reject),
            )
        }
    }
}

#[cfg(feature = "serde")]
impl Register for crate::config::Policy {
    fn handle(&self) -> Result<Handle, ConfigError> {
        match self {
            Self::Timeout(policy) => policy.handle(),
            Self::Retry(policy) => policy.handle(),
            Self::Hedge(policy) => policy.handle(),
            Self::Fallback(policy) => policy.handle(),
            Self::CircuitBreaker(policy) => policy.handle(),
            Self::KeyedCircuitBreaker(policy) => policy.handle(),
            Self::Bulkhead(policy) => policy.handle(),
            Self::PartitionedBulkhead(policy) => policy.handle(),
            Self::AdaptiveLimit(policy) => policy.handle(),
            Self::ClientThrottle(policy) => policy.handle(),
            Self::AdmissionControl(policy) => policy.handle(),
            Self::QueueShed(policy) => policy.handle(),
            Self::SignalShed(policy) => policy.handle(),
            Self::RateLimit(policy) => policy.handle(),
            Self::KeyedRateLimit(policy) => policy.handle(),
            Self::Batch(policy) => policy.handle(),
            Self::Chaos(policy) => policy.handle(),
            Self::ClientRateLimit(policy) => policy.handle(),
            Self::DistributedRateLimit(policy) => policy.handle(),
            #[cfg(feature = "cache")]
            Self::Cache(policy) => policy.handle(),
        }
    }
}
