//! The race against lists of who was launched and who has answered what.

use proptest::prelude::*;

use super::super::machine::{Answer, Decision, Race, Then};
use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Launch,
    Pretend,
    Close,
    /// The nth of those that run answers.
    Answer(usize, Answer),
}

fn step() -> impl Strategy<Value = Step> {
    let hint = prop_oneof![2 => Just(None), 1 => (0..50u64).prop_map(|millis| Some(ms(millis)))];
    let answer = prop_oneof![
        1 => Just(Answer::Good),
        4 => hint.clone().prop_map(Answer::Failed),
        2 => hint.prop_map(Answer::Refused),
        1 => Just(Answer::Fatal),
        1 => Just(Answer::Unsent),
    ];
    prop_oneof![
        5 => Just(Step::Launch),
        1 => Just(Step::Pretend),
        1 => Just(Step::Close),
        8 => (0..4usize, answer).prop_map(|(nth, answer)| Step::Answer(nth, answer)),
    ]
}

/// How much an answer tells: what was never sent least, a verdict most.
fn tells(answer: Answer) -> u32 {
    match answer {
        Answer::Good => 3,
        Answer::Fatal => 2,
        Answer::Failed(_) => 1,
        Answer::Refused(_) | Answer::Unsent => 0,
    }
}

proptest! {
    #[test]
    fn the_race_does_what_lists_of_attempts_and_answers_say(
        attempts in 1..6u32, steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut race = Race::new();
        let (mut running, mut failures) = (vec![1], Vec::<(u32, Answer)>::new());
        let (mut numbered, mut launched, mut is_closed) = (1, 1, false);
        for step in steps {
            let has_more = !is_closed && numbered < attempts;
            prop_assert_eq!(race.next(attempts), has_more.then_some(numbered + 1));
            prop_assert_eq!(race.is_single(), numbered == 1);
            prop_assert_eq!((race.running() as usize, race.hedges()), (running.len(), launched - 1));
            match step {
                Step::Launch if has_more => {
                    race.launch();
                    (numbered, launched) = (numbered + 1, launched + 1);
                    running.push(numbered);
                }
                Step::Pretend if has_more => {
                    race.pretend();
                    numbered += 1;
                }
                Step::Launch | Step::Pretend => {}
                Step::Close => {
                    race.close();
                    is_closed = true;
                }
                Step::Answer(nth, answer) => {
                    if nth >= running.len() {
                        continue;
                    }
                    let attempt = running.remove(nth);
                    let decision = race.answered(attempt, answer, attempts);
                    if answer == Answer::Good {
                        prop_assert_eq!(decision, Decision { keep: false, then: Then::Win });
                        return Ok(());
                    }
                    failures.push((attempt, answer));
                    // The one that tells most, and of those the one of the earliest attempt.
                    let best = failures.iter().rev().max_by_key(|(of, answer)| (tells(*answer), u32::MAX - of)).unwrap();
                    prop_assert_eq!(decision.keep, *best == (attempt, answer));
                    is_closed |= matches!(answer, Answer::Fatal | Answer::Unsent);
                    let has_verdict = failures.iter().any(|(_, answer)| *answer == Answer::Fatal);
                    let hint = match answer {
                        Answer::Failed(hint) | Answer::Refused(hint) => hint,
                        _ => None,
                    };
                    let may_pass = matches!(answer, Answer::Failed(_) | Answer::Refused(_));
                    let then = if has_verdict && !running.contains(&1) {
                        Then::End
                    } else if may_pass && hint.is_none() && !is_closed && numbered < attempts {
                        Then::Launch
                    } else if running.is_empty() {
                        Then::End
                    } else {
                        hint.map_or(Then::Wait, Then::Hold)
                    };
                    prop_assert_eq!(decision.then, then, "{:?} after {:?}", answer, &failures);
                }
            }
        }
    }

    #[test]
    fn an_attempt_is_due_after_its_delay_and_never_past_the_deadline(
        since in 0..100u64, delay in 0..100u64, deadline in proptest::option::of(0..200u64),
    ) {
        let due = since + delay;
        let expected = deadline.is_none_or(|deadline| due < deadline).then_some(Timestamp::from_nanos(due));
        let deadline = deadline.map(Timestamp::from_nanos);
        prop_assert_eq!(Race::due(Timestamp::from_nanos(since), Duration::from_nanos(delay), deadline), expected);
        prop_assert_eq!(Race::due(Timestamp::from_nanos(since), Duration::MAX, None), None, "never");
    }
}
