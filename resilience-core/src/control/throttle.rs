//! How likely a request is refused here, because the other side would refuse it there.

/// Refusal in proportion to what the backend did not accept.
///
/// With `requests` and `accepts` of the last while: `(requests - k * accepts) / (requests + pad)`, to the power of
/// `1 / aggression`, at most `most`. Google's SRE book, chapter 21, "Client-side throttling"; the others are variations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// How many requests are sent for each that is accepted, before any is refused here. 2: the backend hears enough to
    /// show that it is well again.
    pub k: f64,
    /// Keeps a few requests from deciding.
    pub pad: f64,
    /// The highest probability.
    pub most: f64,
    /// Above 1, refusal sets in earlier and rises more gently.
    pub aggression: f64,
    /// With fewer requests than this, none is refused.
    pub min_requests: u64,
}

impl Throttle {
    /// The SRE book's: K = 2.
    pub const SRE: Self = Self { k: 2.0, pad: 1.0, most: 1.0, aggression: 1.0, min_requests: 0 };
    /// failsafe-go's adaptive throttler: a failure rate of 10 % is fine, and one request in ten is always sent.
    pub const FAILSAFE: Self = Self { k: 1.0 / 0.9, most: 0.9, ..Self::SRE };
    /// kratos aegis: 60 % of success is fine, from 100 requests on.
    pub const AEGIS: Self = Self { k: 1.0 / 0.6, min_requests: 100, ..Self::SRE };
    /// Envoy's admission control: a success rate of 95 % is fine, at most 80 % are refused.
    pub const ENVOY: Self = Self { k: 1.0 / 0.95, most: 0.8, ..Self::SRE };

    /// The probability of refusal.
    pub fn refusal(&self, requests: u64, accepts: u64) -> f64 {
        if requests < self.min_requests {
            return 0.0;
        }
        let (requests, accepts) = (requests as f64, accepts as f64);
        let share = ((requests - self.k * accepts) / (requests + self.pad)).max(0.0);
        let share = if self.aggression == 1.0 { share } else { share.powf(1.0 / self.aggression) };
        share.min(self.most)
    }
}

/// Refusal by the share of requests that the backend did not refuse, as an average over time.
///
/// Finagle's `NackAdmissionFilter`: it lets everything pass below `min_rate`, or while at least `threshold` are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NackThrottle {
    /// The share of refusals that is fine. Default: 0.5.
    pub threshold: f64,
    /// The highest probability. Default: 0.75.
    pub most: f64,
    /// Requests a second below which nothing is refused. Default: 5.
    pub min_rate: f64,
}

impl Default for NackThrottle {
    fn default() -> Self {
        Self { threshold: 0.5, most: 0.75, min_rate: 5.0 }
    }
}

impl NackThrottle {
    /// The probability of refusal, `taken` being the share that was not refused and `rate` the requests a second.
    ///
    /// ```
    /// use resilience_core::control::NackThrottle;
    ///
    /// let refusal = |taken| NackThrottle::default().refusal(taken, 100.0);
    /// assert_eq!([refusal(0.5), refusal(0.25), refusal(0.0)], [0.0, 0.5, 0.75]);
    /// ```
    pub fn refusal(&self, taken: f64, rate: f64) -> f64 {
        if rate < self.min_rate {
            return 0.0;
        }
        (1.0 - taken / (1.0 - self.threshold)).max(0.0).min(self.most)
    }
}
