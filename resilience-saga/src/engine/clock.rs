//! Ticks out of a timer.

use resilience_core::time::{SharedTimer, Sleep, Timestamp, WallTime};

use crate::kernel::Tick;

/// Calendar time read once, monotonic time from there on: no tick ever jumps while the process lives.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    timer: SharedTimer,
    started: Timestamp,
    wall: WallTime,
}

impl Clock {
    pub(crate) fn new(timer: SharedTimer) -> Self {
        let (started, wall) = (timer.now(), timer.wall());
        Self { timer, started, wall }
    }

    pub(crate) fn timer(&self) -> &SharedTimer {
        &self.timer
    }

    pub(crate) fn now(&self) -> Tick {
        let elapsed = self.timer.now().since(self.started).as_millis();
        Tick::from_millis(self.wall.as_unix_millis().saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX)))
    }

    pub(crate) fn sleep_until(&self, at: Tick) -> Sleep {
        let since = at.since(Tick::from_millis(self.wall.as_unix_millis()));
        self.timer.sleep_until(self.started + since)
    }
}
