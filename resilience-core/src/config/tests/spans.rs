use std::time::Duration;

use proptest::prelude::*;

use crate::config::{Span, SpanError};

fn parse(text: &str) -> Result<Duration, SpanError> {
    text.parse::<Span>().map(|span| span.0)
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, nanos) in [
        ("250ms", 250_000_000),
        ("5s", 5_000_000_000),
        ("1m30s", 90_000_000_000),
        (" 1m 30 s ", 90_000_000_000),
        ("0", 0),
        ("0s", 0),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("7μs", 7_000),
        ("1d1h1m1s1ms1us1ns", 90_061_001_001_001),
        ("999ns", 999),
        ("90m", 5_400_000_000_000),
        ("1500ms", 1_500_000_000),
    ] {
        assert_eq!(parse(text).map(|it| it.as_nanos()), Ok(nanos), "{text}");
    }
    assert_eq!(parse("forever"), Ok(Duration::MAX));
}

#[test]
fn what_is_not_a_duration_is_refused_by_what_is_wrong_with_it() {
    use SpanError::*;
    for (text, error) in [
        ("", Empty),
        ("   ", Empty),
        ("5", NoUnit),
        ("5.5s", Number),
        ("-5s", Number),
        ("s", Number),
        ("5s5", NoUnit),
        ("5x", Unit),
        ("5S", Unit),
        ("5seconds", Unit),
        ("1s1m", Order),
        ("1s1s", Order),
        ("18446744073709551616s", TooLong),
        ("18446744073709551615d", TooLong),
        ("18446744073709551615s1000ms", TooLong),
        ("1e3s", Unit),
        ("٣s", Number),
        ("5 , 3s", Number),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    assert_eq!(parse("18446744073709551615s"), Ok(Duration::from_secs(u64::MAX)));
    assert_eq!(parse("18446744073709551615ms"), Ok(Duration::from_millis(u64::MAX)));
    assert_eq!(parse("18446744073709551615ns"), Ok(Duration::from_nanos(u64::MAX)));
}

proptest! {
    /// What is written is read as what it was, to the nanosecond.
    #[test]
    fn a_duration_survives_being_written(seconds: u64, nanos in 0..1_000_000_000_u32) {
        let duration = Duration::new(seconds, nanos);
        prop_assert_eq!(parse(&Span(duration).to_string()), Ok(duration));
    }

    /// A hostile text is refused, not a panic.
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,40}", close in "[0-9a-zµ ]{0,12}") {
        let _ = parse(&text);
        let _ = parse(&close);
    }
}
