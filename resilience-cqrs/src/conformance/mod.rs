//! The laws every engine keeps, as tests that run on yours.
//!
//! An engine says how to make a store and how to open it again; [`conformance_tests!`](crate::conformance_tests) makes a
//! test of each law. The laws use threads and block, so no runtime is needed, and an engine may bring its own.
//!
//! ```
//! use resilience_cqrs::MemoryStore;
//! use resilience_cqrs::conformance::Engine;
//!
//! struct Memory;
//!
//! impl Engine for Memory {
//!     type Store = MemoryStore;
//!
//!     fn fresh(&self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//! }
//!
//! resilience_cqrs::conformance_tests!(Memory);
//! # fn main() {}
//! ```

mod appends;
mod commands;
mod queries;
mod reads;
mod rows;

use std::fmt::Debug;
use std::future::Future;
use std::thread;

use crate::log::{Append, AppendError, Appended, Conflict, Expected, NewEvent, Recorded, Version};
use crate::store::EventStore;

pub use self::appends::*;
pub use self::commands::*;
pub use self::queries::*;
pub use self::reads::*;
pub use self::rows::*;

/// How to make stores of one kind.
pub trait Engine: Sync {
    /// The store.
    type Store: EventStore;

    /// An empty store that shares nothing with any other.
    fn fresh(&self) -> Self::Store;

    /// Closes the store and opens what it left behind; `None` if it leaves nothing behind.
    fn reopen(&self, store: Self::Store) -> Option<Self::Store> {
        let _ = store;
        None
    }
}

/// Makes a test of each law of [`conformance`](crate::conformance), for an engine that is an expression.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:expr) => {
        $crate::conformance_tests! { $engine;
            of_two_exact_writers_one_wins_and_the_other_learns_what_it_missed
            writers_without_expectation_leave_no_hole
            an_expectation_ahead_of_the_stream_conflicts
            a_stream_is_made_once_and_a_missing_one_does_not_exist
            an_append_over_two_streams_is_all_or_nothing
            a_conflict_costs_its_neighbours_nothing
            ten_thousand_events_are_one_append
            an_empty_append_tells_the_current_version
            a_conflict_lists_every_violation_and_bounds_what_was_missed
            an_invalid_append_is_refused_and_changes_nothing
            a_command_appended_twice_happens_once
            attempts_at_one_command_at_once_happen_once
            a_command_is_remembered_after_a_restart
            a_command_id_serves_one_command_only
            a_command_that_conflicted_may_try_again
            of_two_students_one_gets_the_last_place
            writers_on_disjoint_tags_never_conflict
            a_type_alone_is_a_boundary
            an_unconditional_append_is_seen_by_a_condition
            a_marker_of_half_the_events_conflicts_with_the_other_half
            queries_match_any_item_all_tags_and_any_type
            a_filtered_read_moves_past_what_it_does_not_match
            random_queries_agree_with_their_definition
            what_is_read_is_what_was_written
            a_poller_sees_what_was_acknowledged_in_order_and_once
            catching_up_and_going_live_have_no_seam
            a_page_ends_at_its_limit_and_says_where_to_go_on
            a_stream_is_read_in_order_from_any_version
            several_streams_are_read_as_each_would_be_alone
            a_tag_that_is_given_twice_is_there_once
            the_log_is_there_after_a_restart
            rows_are_ordered_by_key_and_kept_apart_by_space
            of_two_owners_behind_one_fence_one_commits
            a_refused_append_changes_no_row
            row_changes_happen_in_order
            rows_are_there_after_a_restart
        }
    };
    ($engine:expr; $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                $crate::conformance::$law(&$engine);
            }
        )*
    };
}

/// Runs a future to its end on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

/// Runs the same work on several threads, each with its number, and returns what each returned.
fn each<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|n| {
                let work = &work;
                scope.spawn(move || work(n))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("the law holds on each thread")).collect()
    })
}

fn event(payload: impl ToString) -> NewEvent {
    NewEvent::new("Happened", payload.to_string())
}

fn to(stream: &str, expected: Expected, payloads: impl IntoIterator<Item = impl ToString>) -> Append {
    Append::new().events(stream, expected, payloads.into_iter().map(event))
}

fn append<S: EventStore>(store: &S, append: Append) -> Appended {
    wait(store.append(append)).expect("the append meets its conditions")
}

#[track_caller]
fn conflict(result: Result<Appended, AppendError>) -> Conflict {
    match result {
        Err(AppendError::Conflict(conflict)) => conflict,
        other => panic!("should conflict: {other:?}"),
    }
}

fn stream<S: EventStore>(store: &S, name: &str) -> Vec<Recorded> {
    ok(wait(store.read_stream(&name.into(), Version::EMPTY, 100_000)))
}

#[track_caller]
fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("the store can be read")
}

fn payloads(events: &[Recorded]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(&event.payload).expect("payloads here are texts")).collect()
}

#[track_caller]
fn assert_versions(events: &[Recorded]) {
    let versions: Vec<u64> = events.iter().map(|event| event.version.get()).collect();
    assert_eq!(versions, (1..=events.len() as u64).collect::<Vec<_>>());
}
