//! Twice what fits, in virtual time: what each discipline makes of it.

use std::task::Poll;

use super::disciplines::{CRITICAL, Caller, SHEDDABLE, bulkhead, level, ms};
use crate::Reason;
use crate::bulkhead::*;
use crate::context::Criticality;
use crate::time::ManualTimer;

/// A second in which a call comes every 5 ms and takes 10: twice what fits.
#[derive(Debug, Default)]
struct Overload {
    /// Milliseconds that the served ones waited.
    served: Vec<(Criticality, u64)>,
    refused: Vec<(Criticality, Reason)>,
}

impl Overload {
    fn of(discipline: Discipline) -> Self {
        let timer = ManualTimer::new();
        let bulkhead = bulkhead(64, discipline, &timer);
        let mut seen = Self::default();
        let mut running: Option<(u64, Permit)> = None;
        let mut waiting: Vec<(u64, Criticality, Caller)> = Vec::new();
        for now in 0..1_000 {
            running.take_if(|(end, _)| *end <= now);
            if now % 5 == 0 {
                let criticality = if now % 20 == 0 { CRITICAL } else { SHEDDABLE };
                let mut caller = Caller::new(&bulkhead);
                match level(criticality).run(|| caller.poll()) {
                    Poll::Ready(Ok(permit)) => {
                        seen.served.push((criticality, 0));
                        running = Some((now + 10, permit));
                    }
                    Poll::Ready(Err(refused)) => seen.refused.push((criticality, refused.reason())),
                    Poll::Pending => waiting.push((now, criticality, caller)),
                }
            }
            waiting.retain_mut(|(since, criticality, caller)| match caller.poll() {
                Poll::Pending => true,
                Poll::Ready(Ok(permit)) => {
                    seen.served.push((*criticality, now - *since));
                    running = Some((now + 10, permit));
                    false
                }
                Poll::Ready(Err(refused)) => {
                    seen.refused.push((*criticality, refused.reason()));
                    false
                }
            });
            assert!(bulkhead.snapshot().in_flight <= 1);
            assert!(running.is_some(), "a slot lies idle while calls wait, at {now} ms");
            timer.advance(ms(1));
        }
        seen
    }

    fn median(&self) -> u64 {
        let mut waits: Vec<_> = self.served.iter().map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        waits[waits.len() / 2]
    }

    fn refused(&self, reason: Reason) -> usize {
        self.refused.iter().filter(|(_, known)| *known == reason).count()
    }

    /// Served of a level, and refused.
    fn of_level(&self, level: Criticality) -> (usize, usize) {
        let served = self.served.iter().filter(|(known, _)| *known == level).count();
        (served, self.refused.iter().filter(|(known, _)| *known == level).count())
    }
}

#[test]
fn under_overload_codel_refuses_reversal_keeps_the_median_low_and_the_less_critical_fail_first() {
    // LS1: what a queue should do when more comes than fits, each by its own means. In order of arrival, the served have
    // waited longer and longer; that is the baseline to be better than.
    let fifo = Overload::of(Discipline::fifo());
    assert!(fifo.median() > 200, "{fifo:?}");

    let codel = Overload::of(Discipline::codel(ms(5), ms(100)));
    assert!(codel.refused(Reason::QueueDelay) > 50, "{codel:?}");
    assert!(codel.median() < fifo.median() / 2, "{codel:?}");

    let lifo = Overload::of(Discipline::adaptive_lifo());
    assert!(lifo.median() <= 10, "{lifo:?}");
    assert_eq!(lifo.refused.len(), lifo.refused(Reason::QueueTimeout), "{lifo:?}");
    // Reversed, it serves as many as before.
    assert_eq!(lifo.served.len(), fifo.served.len());

    let priority = Overload::of(Discipline::priority());
    let ((critical, none), (_, shed)) = (priority.of_level(CRITICAL), priority.of_level(SHEDDABLE));
    assert_eq!((critical, none), (50, 0), "{priority:?}");
    assert!(shed > 0 && priority.served.len() == fifo.served.len(), "{priority:?}");
}
