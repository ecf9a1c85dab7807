//! The decisions of one call: which answer is the caller's, and whether another attempt is worth launching. Pure: time
//! and the budget's answer come in as values.

use std::time::Duration;

use crate::time::Timestamp;

/// What an attempt's answer means to the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What the caller waits for.
    Good,
    /// A failure that may pass, and after what time the server wants to be asked again.
    Failed(Option<Duration>),
    /// As [`Failed`](Self::Failed), of an attempt that the own stack refused and that was never sent.
    Refused(Option<Duration>),
    /// A failure that another attempt would meet too.
    Fatal,
    /// Never sent, and another attempt would not be either: refused by the own stack, or the service failed to get
    /// ready.
    Unsent,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether this is the best failure so far, and so to be kept in place of the one before.
    pub(crate) keep: bool,
    pub(crate) then: Then,
}

/// The step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The answer is the caller's, and whatever still runs has lost.
    Win,
    /// Launch the next attempt now, if it can be.
    Launch,
    /// Others are running; the next attempt is not due earlier than after this.
    Hold(Duration),
    /// Others are running.
    Wait,
    /// The best failure is the caller's.
    End,
}

/// How much a failure tells the caller, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Nothing: of a call one of whose attempts was sent, "never sent" is not true.
    Unsent,
    Failed,
    Fatal,
}

/// One call: how many attempts it has, and which of them may still answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    /// Attempts launched, those of a dry run included; the first, the primary, is launched as the race begins.
    launched: u32,
    /// Attempts launched beside the primary indeed.
    hedges: u32,
    /// Attempts that may still answer.
    running: u32,
    primary_runs: bool,
    /// Nothing more is launched.
    is_closed: bool,
    best: Option<(Weight, u32)>,
}

impl Race {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { launched: 1, hedges: 0, running: 1, primary_runs: true, is_closed: false, best: None }
    }

    /// The number of the attempt to launch next, of so many in all; `None` if there is to be no other.
    #[inline]
    pub(crate) fn next(&self, attempts: u32) -> Option<u32> {
        (!self.is_closed && self.launched < attempts).then_some(self.launched + 1)
    }

    /// When the next attempt is due: `delay` after `since`, and not past the deadline, when nobody would wait for it.
    pub(crate) fn due(since: Timestamp, delay: Duration, deadline: Option<Timestamp>) -> Option<Timestamp> {
        let due = since + delay;
        (due < deadline.unwrap_or(Timestamp::NEVER)).then_some(due)
    }

    /// The next attempt is launched.
    pub(crate) fn launch(&mut self) {
        self.launched += 1;
        self.hedges += 1;
        self.running += 1;
    }

    /// The next attempt would have been launched, in a dry run.
    pub(crate) fn pretend(&mut self) {
        self.launched += 1;
    }

    /// No more attempts: the budget, the deadline or the request forbids them.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether only the primary was launched, and nothing pretended.
    #[inline]
    pub(crate) fn is_single(&self) -> bool {
        self.launched == 1
    }

    /// Attempts launched beside the primary.
    pub(crate) fn hedges(&self) -> u32 {
        self.hedges
    }

    /// Attempts that may still answer.
    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    /// An attempt has answered; `attempts` is how many there may be.
    pub(crate) fn answered(&mut self, attempt: u32, answer: Answer, attempts: u32) -> Decision {
        self.running -= 1;
        self.primary_runs &= attempt != 1;
        let weight = match answer {
            Answer::Good => return Decision { keep: false, then: Then::Win },
            Answer::Failed(_) => Weight::Failed,
            Answer::Fatal => Weight::Fatal,
            Answer::Refused(_) | Answer::Unsent => Weight::Unsent,
        };
        // Of two that tell as much, the earlier attempt's: a caller sees the failure it would have seen without
        // hedging.
        let keep = self.best.is_none_or(|(best, of)| (weight, of) > (best, attempt));
        if keep {
            self.best = Some((weight, attempt));
        }
        Decision { keep, then: self.after(answer, attempts) }
    }

    fn after(&mut self, answer: Answer, attempts: u32) -> Then {
        // A service that would fail again, and a stack that refuses, would do so to the next attempt as well.
        self.is_closed |= matches!(answer, Answer::Fatal | Answer::Unsent);
        // A failing hedge does not beat a primary that may still answer; once that is gone, a verdict is a verdict.
        let is_settled = !self.primary_runs && self.best.is_some_and(|(weight, _)| weight == Weight::Fatal);
        match answer {
            _ if is_settled => Then::End,
            Answer::Failed(None) | Answer::Refused(None) if self.next(attempts).is_some() => Then::Launch,
            // With nobody asked, waiting is for a retry to do: it has the backoff, and the patience, for it.
            _ if self.running == 0 => Then::End,
            Answer::Failed(Some(after)) | Answer::Refused(Some(after)) => Then::Hold(after),
            _ => Then::Wait,
        }
    }
}
