//! How long what is served.

use super::*;

#[test]
fn an_answer_is_fresh_to_the_last_nanosecond_and_no_longer() {
    // CC7: the boundary is exact. A peer that reads the system's clock cannot be tested for it.
    let (cache, timer) = prices(SECOND);
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    timer.advance(SECOND - NANO);
    assert_eq!(served(&cache), Ok(1));
    timer.advance(NANO);
    assert_eq!(fetch(&cache, Ok(2)), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn the_boundary_is_exact_on_the_clock_of_the_runtime() {
    // CC7, on tokio's clock.
    let cache = Cache::<u32, u32, &str>::builder().ttl(SECOND).build().unwrap();
    cache.insert(1, 1);
    tokio::time::advance(SECOND - NANO).await;
    assert_eq!(cache.get(&1), Some(Ok(1)));
    tokio::time::advance(NANO).await;
    assert_eq!(cache.get(&1), None);
}

#[test]
fn errors_are_kept_only_where_that_is_asked_for_and_for_their_own_time() {
    // CC7: an absent row is worth remembering, a broken connection is not; and not for as long as a row.
    let absent = |error: &&'static str| (*error == "absent").then_some(2 * SECOND);
    let (cache, timer) = built(|builder| builder.ttl(60 * SECOND).negative_ttl(absent));
    assert_eq!(fetch(&cache, Err("reset")), Err("reset"));
    assert_eq!(fetch(&cache, Err("absent")), Err("absent"));
    timer.advance(2 * SECOND - NANO);
    assert_eq!(served(&cache), Err("absent"));
    timer.advance(NANO);
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    timer.advance(59 * SECOND);
    assert_eq!(served(&cache), Ok(1));
}

#[test]
fn each_answer_may_say_how_long_it_is_good_for() {
    let (cache, timer) = built(|builder| builder.ttl_of(|price| Ttl::fresh(SECOND * *price)));
    assert_eq!(fetch(&cache, Ok(3)), Ok(3));
    timer.advance(3 * SECOND - NANO);
    assert_eq!(served(&cache), Ok(3));
    timer.advance(NANO);
    assert_eq!(fetch(&cache, Ok(0)), Ok(0));
    assert_eq!(cache.snapshot().entries, 0, "an answer that is not to be kept ends the older one");
}

#[test]
fn answers_that_came_together_do_not_expire_together() {
    // A thousand rows are read at start; without jitter they are all read again in the same second, each minute.
    let (cache, timer) = built(|builder| builder.ttl(100 * SECOND).jitter(0.5).seed(7));
    (0..1_000).for_each(|key| cache.insert(key, key));
    let fresh = || (0..1_000).filter(|key| cache.get(key).is_some()).count();
    timer.advance(50 * SECOND - NANO);
    assert_eq!(fresh(), 1_000, "none loses more than its share");
    timer.advance(25 * SECOND);
    assert!((400..600).contains(&fresh()), "{} of 1,000 at half time", fresh());
    timer.advance(25 * SECOND + NANO);
    assert_eq!(fresh(), 0, "none gains");
}

#[test]
fn what_is_kept_is_bounded_and_what_goes_is_counted() {
    let (cache, _) = built(|builder| builder.capacity(100));
    (0..10_000).for_each(|key| cache.insert(key, key));
    let seen = cache.snapshot();
    assert!(seen.entries <= 128, "{} entries", seen.entries);
    assert_eq!(seen.evictions, 10_000 - seen.entries as u64);
    cache.resize(10).unwrap();
    assert!(cache.snapshot().entries <= 16, "{} entries", cache.snapshot().entries);
}

#[test]
fn what_weighs_nothing_takes_a_place_all_the_same() {
    // The map never evicts what weighs nothing: a weigher that says zero would undo the bound.
    let (cache, _) = built(|builder| builder.capacity(100).weigh(100, |_, _| 0));
    (0..1_000).for_each(|key| cache.insert(key, key));
    assert!(cache.snapshot().entries <= 128);
    let (cache, _) = built(|builder| builder.capacity(1_000).weigh(100, |_, price| *price));
    (0..1_000).for_each(|key| cache.insert(key, 10));
    assert!(cache.snapshot().weight <= 1_100, "{}", cache.snapshot().weight);
}

#[test]
fn what_is_gone_is_purged_and_what_may_be_served_on_an_error_is_not() {
    let (cache, timer) = prices(SECOND);
    cache.insert(1, 1);
    cache.insert_for(2, 2, Ttl::fresh(SECOND).stale_if_error(SECOND));
    timer.advance(SECOND);
    assert_eq!((cache.purge(), cache.snapshot().entries), (1, 1));
}

#[test]
fn an_answer_kept_for_ever_needs_no_clock() {
    let (cache, timer) = prices(Ttl::FOREVER);
    cache.insert(1, 1);
    timer.advance(Duration::MAX);
    assert_eq!(served(&cache), Ok(1));
}

#[test]
fn a_dry_run_serves_nobody_and_tells_what_it_would_have_served() {
    let (cache, _) = built(|builder| builder.dry_run(true));
    assert_eq!((fetch(&cache, Ok(1)), fetch(&cache, Ok(2)), fetch(&cache, Err("reset"))), (Ok(1), Ok(2), Err("reset")));
    let seen = cache.snapshot();
    assert_eq!((seen.hits, seen.would_hit, seen.misses), (0, 2, 1));
}

#[test]
fn an_answer_in_place_of_an_older_one_evicts_nothing() {
    // The map hands out what was replaced as it hands out what had to go. Counted alike, each refresh of a hot key looks
    // as if the cache were too small.
    let (cache, timer) = prices(Ttl::fresh(SECOND).stale_while_revalidate(SECOND));
    assert_eq!(fetch(&cache, Ok(1)), Ok(1));
    timer.advance(SECOND);
    assert_eq!(fetch(&cache, Ok(2)), Ok(2));
    cache.insert(1, 3);
    assert_eq!((cache.snapshot().evictions, cache.snapshot().entries), (0, 1));
}

#[test]
fn what_was_declared_wrong_during_a_dry_run_is_not_served_after_it() {
    // The answer was asked for before the row changed. A trial keeps it for nobody, but a trial may end.
    let (cache, _) = built(|builder| builder.dry_run(true));
    let backend = Backend::default();
    let mut before = ask(&cache, &backend);
    assert!(before.run().is_pending());
    cache.invalidate(&1);
    backend.answer(Ok(1));
    assert_eq!(before.run(), Poll::Ready(Ok(1)));
    cache.reconfigure(Prices::builder()).unwrap();
    assert_eq!(fetch(&cache, Ok(2)), Ok(2));
}

#[test]
fn a_dry_run_makes_each_call_and_answers_each_with_what_its_own_came_to() {
    let ttl = Ttl::fresh(SECOND).stale_if_error(60 * SECOND);
    let (cache, timer) = built(|builder| builder.ttl(ttl).dry_run(true));
    let backend = Backend::default();
    let mut callers = [ask(&cache, &backend), ask(&cache, &backend)];
    assert!(callers.iter_mut().all(|caller| caller.run().is_pending()));
    assert_eq!(backend.calls(), 2, "nobody waits for another's");
    backend.answer(Ok(1));
    backend.answer(Err("reset"));
    assert_eq!(callers.each_mut().map(Task::run), [Poll::Ready(Ok(1)), Poll::Ready(Err("reset"))]);
    timer.advance(SECOND);
    assert_eq!(fetch(&cache, Err("reset")), Err("reset"), "though the older one might be served");
    assert_eq!((cache.snapshot().stale_on_error, cache.snapshot().loading), (0, 0));
}
