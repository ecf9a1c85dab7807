//! What goes wrong, and where.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use resilience_core::time::SharedTimer;

use crate::engine::Intercept;
use crate::graph::Action;
use crate::kernel::{Attempt, Doubt};
use crate::{Cx, Op};

/// A kind of trouble, to be switched on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hazard {
    /// A step is refused.
    Rejects,
    /// A call fails without an effect, and the next one does not.
    Failures,
    /// A call takes effect, but its answer is lost.
    LostAnswers,
    /// A call is given up as timed out, and takes effect later, perhaps after its own undo.
    LateEffects,
    /// A call is delivered twice.
    Duplicates,
    /// The code panics, before or after its effect.
    Panics,
    /// The process ends before a record is written, or after.
    Crashes,
    /// A record is written, and its acknowledgement is lost.
    LostAcks,
    /// The owner is paused, another one takes over and finishes, and the first goes on where it was.
    Zombies,
}

impl Hazard {
    pub(super) const ALL: [Self; 9] = [
        Self::Rejects,
        Self::Failures,
        Self::LostAnswers,
        Self::LateEffects,
        Self::Duplicates,
        Self::Panics,
        Self::Crashes,
        Self::LostAcks,
        Self::Zombies,
    ];
}

/// What goes wrong with one call of a step or an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mishap {
    /// It is refused, without an effect; and so is every later call.
    Reject,
    /// It fails, without an effect.
    Fail,
    /// It takes effect, and the answer is lost.
    LoseAnswer,
    /// It is given up, and takes effect a minute later.
    ComeLate,
    /// It is delivered twice.
    Repeat,
    /// It panics before it does anything.
    PanicBefore,
    /// It panics after it took effect.
    PanicAfter,
}

impl Mishap {
    pub(super) fn hazard(self) -> Hazard {
        match self {
            Self::Reject => Hazard::Rejects,
            Self::Fail => Hazard::Failures,
            Self::LoseAnswer => Hazard::LostAnswers,
            Self::ComeLate => Hazard::LateEffects,
            Self::Repeat => Hazard::Duplicates,
            Self::PanicBefore | Self::PanicAfter => Hazard::Panics,
        }
    }

    pub(super) const ALL: [Self; 7] =
        [Self::Reject, Self::Fail, Self::LoseAnswer, Self::ComeLate, Self::Repeat, Self::PanicBefore, Self::PanicAfter];
}

/// Where the owner goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crash {
    /// At which record the first owner writes, counted from 1.
    pub record: usize,
    /// When, and how.
    pub when: When,
}

/// How the owner goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum When {
    /// Before the record is written: what it says has happened, and is not known.
    Before,
    /// After the record is written: what it permits was not begun.
    After,
    /// Not at all: only the acknowledgement is lost.
    LostAck,
    /// It is paused before it writes, and goes on after its successor has finished.
    Zombie,
}

impl When {
    pub(super) fn hazard(self) -> Hazard {
        match self {
            Self::Before | Self::After => Hazard::Crashes,
            Self::LostAck => Hazard::LostAcks,
            Self::Zombie => Hazard::Zombies,
        }
    }

    pub(super) const ALL: [Self; 4] = [Self::Before, Self::After, Self::LostAck, Self::Zombie];
}

/// Everything that goes wrong in one run. Its `Display` is a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// Mishaps at the first call of a step or an undo.
    pub mishaps: Vec<(String, Op, Mishap)>,
    /// Where the owner goes down.
    pub crash: Option<Crash>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mishaps.is_empty() && self.crash.is_none() {
            return f.write_str("nothing goes wrong");
        }
        let mut separator = "";
        for (step, op, mishap) in &self.mishaps {
            let what = match op {
                Op::Do => "",
                Op::Undo => "the undo of ",
            };
            let how = match mishap {
                Mishap::Reject => "is refused",
                Mishap::Fail => "fails once",
                Mishap::LoseAnswer => "takes effect and its answer is lost",
                Mishap::ComeLate => "times out and takes effect a minute later",
                Mishap::Repeat => "is delivered twice",
                Mishap::PanicBefore => "panics before its effect",
                Mishap::PanicAfter => "panics after its effect",
            };
            write!(f, "{separator}{what}{step} {how}")?;
            separator = ", ";
        }
        if let Some(Crash { record, when }) = self.crash {
            let how = match when {
                When::Before => "the process ends before record",
                When::After => "the process ends after record",
                When::LostAck => "the acknowledgement is lost of record",
                When::Zombie => "the owner is paused until its successor has finished before record",
            };
            write!(f, "{separator}{how} {record}")?;
        }
        Ok(())
    }
}

/// How long a late call is late.
const LATE: Duration = Duration::from_secs(60);

/// Makes the mishaps of a schedule happen, and notes which calls there were.
#[derive(Debug)]
pub(super) struct Saboteur {
    mishaps: Vec<(String, Op, Mishap)>,
    calls: Mutex<HashMap<(String, Op), u32>>,
    order: Mutex<Vec<(String, Op)>>,
}

impl Saboteur {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self { mishaps: schedule.mishaps.clone(), calls: Mutex::default(), order: Mutex::default() }
    }

    /// The steps and undos that were called, in the order of their first call.
    pub(super) fn called(&self) -> Vec<(String, Op)> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for Saboteur {
    fn around(&self, cx: &Cx, make: Box<dyn Fn() -> Action<Attempt> + Send + Sync>) -> Action<Attempt> {
        let call = (cx.step().to_string(), cx.key().op());
        let nth = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = calls.entry(call.clone()).or_default();
            *nth += 1;
            *nth
        };
        if nth == 1 {
            self.order.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        }
        let planned = self.mishaps.iter().find(|(step, op, _)| (step, *op) == (&call.0, call.1));
        match planned.map(|(_, _, mishap)| *mishap) {
            // A refusal holds for good, under whatever owner; everything else happens once.
            Some(Mishap::Reject) => Box::pin(async { Attempt::Rejected("refused by the test".into()) }),
            Some(mishap) if nth == 1 => befall(mishap, make),
            _ => make(),
        }
    }
}

fn befall(mishap: Mishap, make: Box<dyn Fn() -> Action<Attempt> + Send + Sync>) -> Action<Attempt> {
    Box::pin(async move {
        match mishap {
            Mishap::Reject => Attempt::Rejected("refused by the test".into()),
            Mishap::Fail => Attempt::Failed("busy, says the test".into(), None),
            Mishap::LoseAnswer => match make().await {
                Attempt::Applied(_) => Attempt::Unknown(Doubt::Reported, "the test lost the answer".into()),
                other => other,
            },
            Mishap::ComeLate => {
                // The network's, not the process's: it survives a crash.
                tokio::spawn(async move {
                    SharedTimer::default().sleep(LATE).await;
                    make().await
                });
                Attempt::Unknown(Doubt::Timeout, "late, says the test".into())
            }
            Mishap::Repeat => {
                let first = make().await;
                let _ = make().await;
                first
            }
            Mishap::PanicBefore => std::panic::panic_any("the test panics before the effect"),
            Mishap::PanicAfter => {
                let _ = make().await;
                std::panic::panic_any("the test panics after the effect")
            }
        }
    })
}
