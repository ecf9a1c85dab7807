//! What a builder refuses, and what it survives.

use super::*;

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    let refused = |builder: CacheBuilder<u32, u32, &'static str>| builder.build().unwrap_err().to_string();
    let builder = Prices::builder;
    assert_eq!(refused(builder().capacity(0)), "capacity must be between 1 and 2^32");
    assert_eq!(refused(builder().capacity(u64::MAX)), "capacity must be between 1 and 2^32");
    assert_eq!(refused(builder().weigh(0, |_, _| 1)), "weigh.expected must be between 1 and 2^32");
    for jitter in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        assert_eq!(refused(builder().jitter(jitter)), "jitter must be between 0 and 1");
    }
    assert!(built(|builder| builder).0.resize(0).is_err());
}

#[test]
fn the_largest_and_smallest_figures_break_nothing() {
    for (capacity, ttl) in [(1, Duration::MAX), (1 << 32, NANO), (1, Duration::from_nanos(u64::MAX - 1))] {
        for jitter in [0.0, 1.0] {
            let ttl = Ttl::fresh(ttl).stale_while_revalidate(Duration::MAX).stale_if_error(Duration::MAX);
            let (cache, timer) =
                built(|builder| builder.capacity(capacity).ttl(ttl).jitter(jitter).pause_after_failure(Duration::MAX));
            assert_eq!(fetch(&cache, Ok(1)), Ok(1));
            timer.advance(SECOND);
            assert!(fetch(&cache, Err("down")).is_ok());
        }
    }
}

#[test]
fn a_cache_of_one_keeps_one() {
    let (cache, _) = built(|builder| builder.capacity(1));
    cache.insert(1, 1);
    assert_eq!((cache.get(&1), cache.snapshot().entries), (Some(Ok(1)), 1));
}

#[test]
fn a_cache_is_told_anew_while_it_is_in_use() {
    let (cache, timer) = prices(SECOND);
    cache.insert(1, 1);
    let anew = || Prices::builder().ttl(60 * SECOND).capacity(50);
    let error = cache.reconfigure(anew().jitter(2.0)).unwrap_err();
    assert_eq!(error.to_string(), "jitter must be between 0 and 1");
    cache.insert(2, 2);
    cache.reconfigure(anew()).unwrap();
    cache.insert(3, 3);
    timer.advance(SECOND);
    assert_eq!(
        (cache.get(&1), cache.get(&2), cache.get(&3)),
        (None, None, Some(Ok(3))),
        "each by the time it came with"
    );
    (0..10_000).for_each(|key| cache.insert(key, key));
    assert!(cache.snapshot().entries <= 64, "{} entries", cache.snapshot().entries);
    cache.reconfigure(anew().dry_run(true)).unwrap();
    cache.insert(1, 1);
    assert_eq!((fetch(&cache, Ok(7)), cache.snapshot().would_hit), (Ok(7), 1));
    cache.reconfigure(anew()).unwrap();
    assert_eq!(served(&cache), Ok(7), "what a trial fetched");
}
