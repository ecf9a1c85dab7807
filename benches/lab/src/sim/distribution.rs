//! How long work takes.

use std::time::Duration;

use resilience_core::config::Span;
use resilience_core::rng::Rng;
use serde::Deserialize;

/// A distribution of service times.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Always the same.
    Constant(Span),
    /// Exponential with this mean.
    Exponential(Span),
    /// Log-normal.
    Lognormal(Lognormal),
    /// A few take much longer.
    Bimodal(Box<Bimodal>),
}

/// A log-normal distribution.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// Half are shorter.
    pub median: Span,
    /// The standard deviation of the logarithm; 1 is a heavy tail (p99 at ten times the median).
    pub sigma: f64,
}

/// Two distributions: most work is of the first, a share of it of the second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bimodal {
    /// What most take.
    pub usual: Distribution,
    /// What the others take.
    pub rare: Distribution,
    /// The others' share, from 0 to 1.
    pub share: f64,
}

impl Distribution {
    /// One time. Draws the same number of random numbers whatever comes out, but for the two modes.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match self {
            Self::Constant(Span(time)) => *time,
            Self::Exponential(Span(mean)) => exponential(*mean, rng),
            Self::Lognormal(Lognormal { median: Span(median), sigma }) => {
                let factor = (sigma * normal(rng)).exp();
                Duration::try_from_secs_f64(median.as_secs_f64() * factor).unwrap_or(Duration::MAX)
            }
            Self::Bimodal(modes) if rng.unit() < modes.share => modes.rare.draw(rng),
            Self::Bimodal(modes) => modes.usual.draw(rng),
        }
    }

    /// What is wrong with it, as field and rule.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Constant(Span(time)) | Self::Exponential(Span(time)) if time.is_zero() => {
                Err("a service time must be above zero".into())
            }
            Self::Lognormal(it) if !(it.sigma.is_finite() && it.sigma >= 0.0) || it.median.0.is_zero() => {
                Err("a log-normal needs a median above zero and a sigma of at least 0".into())
            }
            Self::Bimodal(modes) if !(0.0..=1.0).contains(&modes.share) => Err("share must be from 0 to 1".into()),
            Self::Bimodal(modes) => modes.usual.check().and_then(|()| modes.rare.check()),
            Self::Constant(_) | Self::Exponential(_) | Self::Lognormal(_) => Ok(()),
        }
    }
}

/// The time between two events of a Poisson process, or the length of one exponential service.
pub(super) fn exponential(mean: Duration, rng: &mut Rng) -> Duration {
    // `unit` is below 1, so the logarithm is finite.
    mean.mul_f64(-(1.0 - rng.unit()).ln())
}

/// Box and Muller, 1958; the second of the pair is not kept.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(distribution: &Distribution) -> Vec<f64> {
        let mut rng = Rng::seeded(1);
        let mut times: Vec<_> = (0..200_000).map(|_| distribution.draw(&mut rng).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn the_means_and_tails_are_those_of_the_textbook() {
        let ms = |ms| Span(Duration::from_millis(ms));
        let times = sample(&Distribution::Exponential(ms(50)));
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((mean - 0.05).abs() < 0.000_5, "{mean}");
        let p99 = times[times.len() / 100 * 99];
        assert!((p99 - 0.05 * 100_f64.ln()).abs() < 0.005, "{p99}");

        let times = sample(&Distribution::Lognormal(Lognormal { median: ms(10), sigma: 1.0 }));
        assert!((times[times.len() / 2] - 0.01).abs() < 0.000_2);
        let p99 = times[times.len() / 100 * 99];
        assert!((p99 - 0.01 * 2.326_f64.exp()).abs() < 0.005, "{p99}");

        let modes =
            Bimodal { usual: Distribution::Constant(ms(5)), rare: Distribution::Constant(ms(500)), share: 0.01 };
        let times = sample(&Distribution::Bimodal(Box::new(modes)));
        let rare = times.iter().filter(|time| **time > 0.1).count();
        assert!((1_800..2_200).contains(&rare), "{rare}");
    }
}
