use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_malformed_trace_parent_is_no_trace_parent() {
    for text in [
        "",
        "00",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", // upper case
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", // a version that never will be
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-", // version 00 ends after its flags
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é01",
    ] {
        assert_eq!(TraceParent::parse(text), None, "{text:?}");
    }
    assert_eq!(
        TraceParent::parse(PARENT),
        TraceParent::new(0x0af7651916cd43dd8448eb211c80319c, 0xb7ad6b7169203331, true)
    );
}

#[test]
fn a_later_version_is_read_by_what_it_shares_and_its_new_flags_are_not_passed_on() {
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-f9-what-the-future-will-be-like";
    let parent = TraceParent::parse(later).unwrap();
    assert_eq!(parent.to_string(), PARENT);
}

#[test]
fn a_trace_state_with_one_bad_entry_is_dropped_whole() {
    let long = format!("{}=1", "k".repeat(257));
    let many: Vec<_> = (0..33).map(|key| format!("k{key}=1")).collect();
    for text in
        ["a", "a=", "=1", "A=1", "1a=1", "a=1,a=2", "a=b=c", "a@b@c=1", "a@1=1", &long, &many.join(","), "", " , "]
    {
        assert_eq!(TraceState::parse(text), None, "{text:?}");
    }
    let value = format!("k={}", "v".repeat(257));
    assert_eq!((TraceState::parse(&value), TraceState::parse(&value[1..])), (None, None));
    let longest = TraceState::parse(&value[..258]).unwrap();
    assert_eq!(longest.as_str().len(), 258);
    let fits = many[..32].join(" ,\t");
    assert_eq!(TraceState::parse(&fits).unwrap().as_str(), many[..32].join(","));
    assert_eq!(TraceState::parse("0tenant@vendor=1,,b=2 ").unwrap().as_str(), "0tenant@vendor=1,b=2");
}

#[test]
fn a_long_trace_state_loses_its_large_entries_first_and_then_its_oldest() {
    let large = format!("large={}", "x".repeat(200));
    let small: Vec<_> = (0..6).map(|key| format!("k{key}={}", "y".repeat(80))).collect();
    let state = TraceState::parse(&format!("{large},{}", small.join(","))).unwrap();
    assert_eq!(state.as_str(), small.join(","));
    let state = TraceState::parse(&format!("{},k6={}", small.join(","), "z".repeat(80))).unwrap();
    assert_eq!(state.as_str(), small.join(","), "the last is the oldest");
}

#[test]
fn baggage_with_one_bad_entry_is_dropped_whole_and_too_much_of_it_from_the_end() {
    for text in ["", "a", "a=1,b", "a=1,", "a b=1", "a=\"1\"", "a=1;", "a=1;b c", "a=é", "a=\\"] {
        assert_eq!(Baggage::parse(text), None, "{text:?}");
    }
    assert_eq!(Baggage::parse("a=,b=x=y;p=1; q").unwrap().iter().collect::<Vec<_>>(), [("a", ""), ("b", "x=y")]);
    let many: Vec<_> = (0..181).map(|key| format!("k{key}=1")).collect();
    assert_eq!(Baggage::parse(&many.join(",")).unwrap().iter().count(), 180);
    let value = "v".repeat(4094);
    let exact = format!("a={value},b={}", &value[..4093]);
    assert_eq!(exact.len(), 8192);
    assert_eq!(Baggage::parse(&exact).unwrap().as_str(), exact);
    assert_eq!(
        Baggage::parse(&format!("a={value},b={value},c=1")).unwrap().iter().count(),
        1,
        "an entry is kept whole"
    );
}

proptest! {
    /// Whatever a stranger sends is read or dropped; what was read is read again as the same.
    #[test]
    fn no_text_is_too_strange_to_be_read_or_dropped(text in any::<String>(), near in "[0-9a-f@=;, \\-]{0,80}") {
        for text in [&text, &near] {
            if let Some(parent) = TraceParent::parse(text) {
                prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
            }
            if let Some(state) = TraceState::parse(text) {
                prop_assert_eq!(TraceState::parse(state.as_str()), Some(state));
            }
            if let Some(baggage) = Baggage::parse(text) {
                prop_assert_eq!(Baggage::parse(baggage.as_str()), Some(baggage));
            }
        }
    }

    #[test]
    fn a_trace_parent_survives_the_wire(trace_id in 1..u128::MAX, parent_id in 1..u64::MAX, sampled: bool) {
        let parent = TraceParent::new(trace_id, parent_id, sampled).unwrap();
        prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
    }
}
