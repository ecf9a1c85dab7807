//! Every schedule of two threads around the rules.

use std::time::Duration;

use loom::thread;

use super::{Backoff, Retry, RetryBuilder};
use crate::sync::model;
use crate::time::ManualTimer;

fn rules(attempts: u32, most: Option<Duration>) -> RetryBuilder {
    let builder = Retry::builder().attempts(attempts).backoff(Backoff::none()).unlimited().timer(ManualTimer::new());
    match most {
        Some(most) => builder.max_elapsed(most),
        None => builder,
    }
}

#[test]
fn loom_of_two_changes_at_once_one_is_what_all_read_in_the_end() {
    // The way in reads copies of the rules. With the copies of one change beside the rules of the other, a call has as
    // many attempts as nobody asked for, or a longest time that is never looked at.
    model(|| {
        let retry = rules(2, None).build().unwrap();
        let other = retry.clone();
        let theirs = thread::spawn(move || other.reconfigure(rules(3, Some(Duration::from_secs(3)))).unwrap());
        retry.reconfigure(rules(4, None)).unwrap();
        theirs.join().unwrap();
        let (shared, rules) = (retry.shared(), retry.shared().rules());
        assert_eq!((shared.attempts(), shared.is_timed()), (rules.attempts, rules.max_elapsed.is_some()));
    });
}
