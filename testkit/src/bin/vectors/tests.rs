//! What the runner makes of cases that are wrong, and of values that nobody would write.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::case::Step;

/// The project's own cases: each model with what its anchor says of it.
const OWN: [&str; 4] = [
    include_str!("../../../vectors/breakers.json"),
    include_str!("../../../vectors/limits.json"),
    include_str!("../../../vectors/rate.json"),
    include_str!("../../../vectors/retry.json"),
];

fn own() -> impl Iterator<Item = Case> {
    OWN.iter().flat_map(|text| File::parse(text).unwrap().cases).map(Result::unwrap)
}

fn file(cases: Value) -> Result<Vec<Result<Case, String>>, String> {
    let text = json!({ "format": "anchor-vectors", "version": 1, "cases": cases }).to_string();
    File::parse(&text).map(|file| file.cases)
}

/// What is said of one case.
fn said(case: Value) -> String {
    file(json!([case])).unwrap().remove(0).and_then(guarded).unwrap_err()
}

#[test]
fn each_model_has_a_case_of_its_own_and_passes_it() {
    for case in own() {
        assert_eq!(run(&case), Ok(()), "{}", case.id);
    }
    let without: Vec<_> = models::KNOWN.iter().filter(|model| own().all(|case| case.model != model.name)).collect();
    assert!(without.is_empty(), "{:?}", without.iter().map(|model| model.name).collect::<Vec<_>>());
}

#[test]
fn a_case_whose_expectation_is_off_fails_whatever_its_model() {
    // A model whose observables nobody compares would pass every case.
    for mut case in own() {
        for step in &mut case.steps {
            let Some(expect) = step.0.0.get_mut("expect").and_then(Value::as_object_mut) else { continue };
            expect.remove("tolerance");
            expect.values_mut().for_each(spoil);
        }
        assert!(run(&case).is_err(), "{} passes with wrong figures", case.id);
    }
}

/// Makes another value of one.
fn spoil(value: &mut Value) {
    match value {
        Value::Bool(yes) => *yes = !*yes,
        Value::Number(number) => *value = json!(number.as_f64().unwrap_or(0.0) + 1e6),
        Value::String(text) => text.push('!'),
        Value::Array(values) => values.push(json!("one more")),
        _ => *value = json!("something else"),
    }
}

#[test]
fn a_file_that_is_none_is_told_in_one_line() {
    let table = [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("{", "not JSON: "),
        ("[]", "not an object"),
        ("{}", "format is missing"),
        (r#"{"format": 7}"#, "format is no text: 7"),
        (r#"{"format": "anchor-vectors"}"#, "version is missing"),
        (r#"{"format": "anchor-vectors", "version": 2, "cases": []}"#, "version 2 is not known"),
        (r#"{"format": "other", "version": 1, "cases": []}"#, "format \"other\""),
        (r#"{"format": "anchor-vectors", "version": 1}"#, "cases is missing"),
        (r#"{"format": "anchor-vectors", "version": 1, "cases": 5}"#, "cases is no list"),
        (r#"{"format": "anchor-vectors", "version": 1, "cases": []}"#, "there are no cases"),
    ];
    for (text, expected) in table {
        let why = File::parse(text).err().unwrap();
        assert!(why.contains(expected) && !why.contains('\n'), "{text}: {why}");
    }
    assert!(File::parse(&"[".repeat(100_000)).is_err(), "deeper than anybody reads");
}

#[test]
fn a_case_that_is_none_is_told_by_its_id_and_does_not_hide_its_neighbours() {
    let good = json!({ "id": "good", "model": "bbr", "steps": [
        { "op": "max_inflight", "max_pass": 100, "min_rt_ms": 10, "expect": { "n": 10 } }
    ] });
    let cases = file(json!([good, 7, { "id": "bad" }, good])).unwrap();
    let told: Vec<_> = cases.into_iter().map(|case| case.and_then(guarded)).collect();
    let bad = |why: &str| Err(why.to_owned());
    assert_eq!(told, [Ok(()), bad("case 2: not an object"), bad("bad: model is missing"), Ok(())]);
}

#[test]
fn what_is_unknown_missing_empty_or_out_of_all_bounds_fails_by_name() {
    let step = json!([{ "op": "max_inflight", "max_pass": 100, "min_rt_ms": 10, "expect": { "n": 10 } }]);
    let of = |model: &str, setup: Value, steps: Value| {
        said(json!({ "id": "x", "model": model, "setup": setup, "steps": steps }))
    };
    let table = [
        (of("no_such_thing", json!({}), step.clone()), "unknown model \"no_such_thing\""),
        (of("bbr", json!({ "profile": "no_such" }), step.clone()), "unknown profile \"no_such\""),
        (of("breaker", json!({ "profile": "envoy" }), step.clone()), "unknown profile \"envoy\""),
        (of("breaker", json!({ "profile": 7 }), step.clone()), "unknown profile 7"),
        (of("breaker", json!({}), step.clone()), "profile is missing"),
        (of("bbr", json!([]), step.clone()), "x: setup is not an object"),
        (of("bbr", json!({}), json!([])), "x: nothing is expected"),
        (of("bbr", json!({}), json!([{ "op": "max_inflight" }])), "x: nothing is expected"),
        (of("bbr", json!({}), json!([{ "op": "check", "expect": { "tolerance": 1 } }])), "x: nothing is expected"),
        (of("bbr", json!({}), json!([{ "expect": { "n": 1 } }])), "x: step 1: op is missing"),
        (of("bbr", json!({}), json!([{ "op": "max_inflight", "expect": 5 }])), "x: step 1: expect is not an object"),
        (
            of("bbr", json!({}), json!([{ "op": "dance", "min_rt_ms": 1, "expect": { "n": 1 } }])),
            "step 1 (dance): unknown op \"dance\"",
        ),
        (
            of("bbr", json!({}), json!([{ "op": "max_inflight", "min_rt_ms": 1, "expect": { "n": 1 } }])),
            "max_pass is missing",
        ),
        (
            of(
                "bbr",
                json!({}),
                json!([{ "op": "max_inflight", "max_pass": "many", "min_rt_ms": 1, "expect": { "n": 1 } }]),
            ),
            "max_pass is no number: \"many\"",
        ),
        (
            of(
                "bbr",
                json!({}),
                json!([{ "op": "max_inflight", "max_pass": 1, "min_rt_ms": 1, "expect": { "m": 1 } }]),
            ),
            "m is not observable",
        ),
        (
            of(
                "bbr",
                json!({}),
                json!([{ "op": "max_inflight", "max_pass": 1e300, "min_rt_ms": 1, "expect": { "n": 1 } }]),
            ),
            "x: step 1: max_pass is too large: 1e300",
        ),
        (
            of(
                "bbr",
                json!({}),
                json!([{ "op": "max_inflight", "max_pass": 1, "min_rt_ms": -1, "expect": { "n": 1 } }]),
            ),
            "x: step 1: min_rt_ms is negative: -1",
        ),
        (
            of(
                "codel",
                json!({ "interval_ms": -5 }),
                json!([{ "op": "request", "delay_ms": 1, "expect": { "drop": true } }]),
            ),
            "x: setup: interval_ms is negative: -5",
        ),
        (
            of("codel", json!({}), json!([{ "at": -1, "op": "request", "delay_ms": 1, "expect": { "drop": true } }])),
            "x: step 1: at is negative: -1",
        ),
        (
            of(
                "quota_raw",
                json!({ "capacity": 5 }),
                json!([{ "op": "acquire", "n": 1e15, "expect": { "ok": false } }]),
            ),
            "n must be from 0 to 10000000",
        ),
    ];
    for (told, expected) in table {
        assert!(told.contains(expected) && !told.contains('\n'), "{expected}: {told}");
    }
}

#[test]
fn a_step_without_a_time_is_at_that_of_the_one_before() {
    let case = json!({ "id": "x", "model": "breaker", "setup": { "profile": "polly", "min_throughput": 2, "break_ms": 100 },
        "steps": [
            { "op": "record", "at": 1_000, "outcomes": "FF", "expect": { "state": "open" } },
            { "op": "call", "outcome": "S", "expect": { "permit": false, "retry_after_ms": 100 } }
        ] });
    assert_eq!(file(json!([case])).unwrap().remove(0).and_then(guarded), Ok(()));
}

/// Values that nobody would write in a case, and some that somebody did by mistake.
fn strange() -> Vec<Value> {
    let numbers = [0.0, -1.0, 0.5, 1e-9, 3.0, 1e6, 4_294_967_296.0, 1e12, 1.8e19].map(|number| json!(number));
    let others =
        [json!(null), json!(true), json!(""), json!("x"), json!([]), json!({}), json!([1, "x"]), json!([-1e9])];
    numbers.into_iter().chain(others).collect()
}

#[test]
fn no_value_in_a_case_makes_a_model_panic() {
    let (mut tried, mut panicked) = (0, BTreeMap::new());
    let mut test = |case: &Case, key: &str| {
        tried += 1;
        if let Some(why) = panics(case) {
            panicked.entry((case.model.clone(), key.to_owned())).or_insert(why);
        }
    };
    for case in own() {
        for value in strange() {
            for key in case.setup.0.keys() {
                let mut changed = case.clone();
                changed.setup.0.insert(key.clone(), value.clone());
                test(&changed, key);
            }
            for (nth, step) in case.steps.iter().enumerate().take(3) {
                for key in step.0.0.keys().filter(|key| *key != "expect") {
                    let mut changed = case.clone();
                    changed.steps[nth].0.0.insert(key.clone(), value.clone());
                    test(&changed, key);
                }
            }
        }
    }
    assert!(panicked.is_empty(), "{panicked:#?}");
    assert!(tried > 2_000, "{tried}");
}

/// Reads the case anew, as it would be read from a file, and runs it to its end or to its first error. What is expected
/// is left out: it is not met, and would end it early.
fn panics(case: &Case) -> Option<String> {
    let without = |(nth, step): (usize, &Step)| {
        let mut fields = step.0.0.clone();
        if nth + 1 < case.steps.len() {
            fields.remove("expect");
        }
        fields
    };
    let steps: Vec<_> = case.steps.iter().enumerate().map(without).collect();
    let again = json!({ "id": case.id, "model": case.model, "setup": case.setup.0, "steps": steps });
    let why = file(json!([again])).unwrap().remove(0).and_then(guarded).err()?;
    (why.contains("panicked") || why.contains("does not end")).then(|| format!("{why} of {again}"))
}
