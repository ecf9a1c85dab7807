use proptest::prelude::*;

use crate::config::{Config, Setup};

const FILE: &str = r#"
[budgets.outgoing]
ratio = 0.1
reserve = 20

[pipelines.payments]
layers = ["rate_limit", "total", "retry", "circuit_breaker", "bulkhead", "attempt"]
rate_limit = { quota = { permits = 100, per = "1s" }, burst = 20 }
total.timeout.limit = "2s"
circuit_breaker = { consecutive_failures = 5, open_for = "10s", abandoned = "ignore" }
bulkhead = { limit = 32, queue = 8, max_wait = "50ms" }
attempt.timeout.limit = "forever"

[pipelines.payments.retry]
attempts = 4
backoff = { curve = "exponential", base = "50ms", cap = "2s", factor = 3.0, jitter = { around = 0.2 } }
throttled_backoff = { curve = "sequence", delays = ["1s", "2s"] }
hint = { within = "5s" }
max_elapsed = "10s"
budget = { shared = "outgoing" }
seed = 7

[pipelines.mail]
layers = ["retry"]
retry = { backoff = { curve = "none" }, budget = { own = { rule = { throttle = { max_tokens = 10, ratio = 0.1 } } } } }
"#;

fn problems(text: &str) -> Vec<String> {
    match Config::from_toml(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn pipeline(lines: &str) -> String {
    format!("[pipelines.payments]\n{lines}")
}

#[test]
fn a_whole_file_is_read_written_and_read_again_as_the_same() {
    let config = Config::from_toml(FILE).unwrap();
    let json = serde_json::to_string_pretty(&config).unwrap();
    assert_eq!(Config::from_json(&json).unwrap(), config);
    let toml = toml::to_string(&config).unwrap();
    assert_eq!(Config::from_toml(&toml).unwrap(), config);
}

#[test]
fn what_a_file_says_is_what_the_policies_are() {
    let pipelines = Config::from_toml(FILE).unwrap().build(&Setup::new()).unwrap();
    let payments = pipelines.pipeline("payments").unwrap();
    let order: Vec<&str> = payments.policies().map(|(name, _)| name).collect();
    assert_eq!(order, ["rate_limit", "total", "retry", "circuit_breaker", "bulkhead", "attempt"]);
    assert_eq!(payments.timeout("total").unwrap().limit().as_secs(), 2);
    assert_eq!(payments.timeout("attempt").unwrap().limit(), std::time::Duration::MAX);
    assert_eq!(payments.timeout("total").unwrap().name().as_str(), "payments.total");
    let seen = payments.bulkhead("bulkhead").unwrap().snapshot();
    assert_eq!((seen.limit, seen.queue), (32, 8));
    assert_eq!(payments.rate_limit("rate_limit").unwrap().snapshot().burst, 20);
    assert!(payments.retry("bulkhead").is_none() && payments.retry("mail").is_none());
}

#[test]
fn the_linter_knows_the_attempts_that_are_not_written_down() {
    let unset = Config::from_toml("[pipelines.p]\nlayers = ['retry']\nretry = {}").unwrap();
    let built = unset.build(&Setup::new()).unwrap();
    let attempts = built.pipeline("p").unwrap().retry("retry").unwrap().attempts();
    let written =
        Config::from_toml(&format!("[pipelines.p]\nlayers = ['retry']\nretry.attempts = {attempts}")).unwrap();
    assert_eq!(written.pipelines["p"].stack("p"), unset.pipelines["p"].stack("p"));
}

#[test]
fn a_shared_budget_is_one_budget() {
    let text = FILE
        .replace("{ own = { rule = { throttle = { max_tokens = 10, ratio = 0.1 } } } }", "{ shared = \"outgoing\" }");
    let pipelines = Config::from_toml(&text).unwrap().build(&Setup::new()).unwrap();
    let budget = |name: &str| pipelines.pipeline(name).unwrap().retry("retry").unwrap().budget().unwrap().clone();
    assert_eq!(budget("payments").snapshot().available, 20.0);
    budget("payments").withdraw(Default::default()).unwrap().spend();
    assert_eq!(budget("mail").snapshot().available, 19.0);
    assert_eq!(pipelines.budget("outgoing").unwrap().snapshot().available, 19.0);
}

#[test]
fn every_mistake_in_a_file_is_told_with_its_line_and_path() {
    for (lines, told) in [
        (
            "layers = ['retry']\nretry.attempts = 0",
            "line 3: pipelines.payments.retry.attempts: must be at least 1: the first attempt counts",
        ),
        ("layers = ['bulkhead']\nbulkhead.limit = 0", "line 3: pipelines.payments.bulkhead.limit: must be above zero"),
        (
            "layers = ['bulkhead']\n[pipelines.payments.bulkhead]\n",
            "line 3: pipelines.payments.bulkhead.limit: must be set",
        ),
        (
            "layers = ['bulkhead']\nbulkhead = { limit = 1, discipline = 'priority' }",
            "line 3: pipelines.payments.bulkhead.discipline: needs a queue to order",
        ),
        (
            "layers = ['partitioned_bulkhead']\npartitioned_bulkhead = { limit = 1, shares = { gold = 0.7, silver = 0.7 } }",
            "line 3: pipelines.payments.partitioned_bulkhead.shares: must add up to at most 1 with all others",
        ),
        ("layers = ['a']\na.timeout = {}", "line 3: pipelines.payments.a.timeout.limit: must be set"),
        ("layers = ['a']\na.timeout.limit = '0s'", "line 3: pipelines.payments.a.timeout.limit: must be above zero"),
        (
            "layers = ['a']\na.timeout.limit = 5",
            "line 3: pipelines.payments.a.timeout.limit: invalid type: integer `5`, expected a duration with its unit, as in \"250ms\" or \"5s\"",
        ),
        (
            "layers = ['a']\na.timeout.limit = '5'",
            "line 3: pipelines.payments.a.timeout.limit: a duration needs a unit, as in \"250ms\" or \"5s\"",
        ),
        (
            "layers = ['retry']\n\nretry.attempts = -1",
            "line 4: pipelines.payments.retry.attempts: invalid value: integer `-1`, expected u32",
        ),
        (
            "layers = ['retry']\nretry.backoff.base = '1s'",
            "line 3: pipelines.payments.retry.backoff.cap: must be set for this curve",
        ),
        (
            "layers = ['retry']\nretry.throttled_backoff = { base = '1s', cap = '2s', factor = nan }",
            "line 3: pipelines.payments.retry.throttled_backoff.factor: must be a finite number of at least 1",
        ),
        (
            "layers = ['retry']\nretry.backoff = { curve = 'constant', base = '1s', factor = 2.0 }",
            "line 3: pipelines.payments.retry.backoff.factor: is not a setting of this curve",
        ),
        (
            "layers = ['retry']\nretry.budget.shared = 'nobody'",
            "line 3: pipelines.payments.retry.budget.shared: there is no budget \"nobody\" among `budgets`",
        ),
        (
            "layers = ['retry']\nretry.budget.own.ratio = nan",
            "line 3: pipelines.payments.retry.budget.own.ratio: must be a number between 0 and 1000",
        ),
        (
            "layers = ['circuit_breaker']\ncircuit_breaker.failure_rate = nan",
            "line 3: pipelines.payments.circuit_breaker.failure_rate: must be above 0 and at most 1",
        ),
        (
            "layers = ['hosts']\nhosts.keyed_circuit_breaker = { consecutive_failures = 5, max_keys = 0 }",
            "line 3: pipelines.payments.hosts.keyed_circuit_breaker.max_keys: must be above zero",
        ),
        (
            "layers = ['hosts']\n\nhosts.keyed_circuit_breaker.probe_failure_rate = nan",
            "line 4: pipelines.payments.hosts.keyed_circuit_breaker.probe_failure_rate: must be above 0 and at most 1",
        ),
        (
            "layers = ['hosts']\nhosts.keyed_circuit_breaker = { window = '1s', count_window = 9 }",
            "line 3: pipelines.payments.hosts.keyed_circuit_breaker.count_window: must not be combined with window",
        ),
        (
            "layers = ['users']\nusers.keyed_rate_limit.max_keys = 10",
            "line 3: pipelines.payments.users.keyed_rate_limit.quota: must be set",
        ),
        (
            "layers = ['users']\nusers.keyed_rate_limit = { quota = { permits = 1, per = '1s' }, max_keys = 0 }",
            "line 3: pipelines.payments.users.keyed_rate_limit.max_keys: must be above zero",
        ),
        (
            "layers = ['rate_limit']\nrate_limit.quota = { permits = 0, per = '1s' }",
            "line 3: pipelines.payments.rate_limit.quota: must be above zero",
        ),
        (
            "layers = ['adaptive_limit']\nadaptive_limit = { max = 9, rule.aimd.backoff = 1.0 }",
            "line 3: pipelines.payments.adaptive_limit.rule.aimd.backoff: must be above 0 and below 1",
        ),
        (
            "layers = ['client_throttle']\nclient_throttle.rule.k = 0.0",
            "line 3: pipelines.payments.client_throttle.rule.k: must be a number above zero",
        ),
        (
            "layers = ['front']\nfront.queue_shed = { target = '1s', interval = '1s' }",
            "line 3: pipelines.payments.front.queue_shed.target: must be below interval",
        ),
        (
            "layers = ['batch']\nbatch = { size = 9, delay = '0s' }",
            "line 3: pipelines.payments.batch.delay: must be above zero",
        ),
        (
            "layers = ['prices']\nprices.cache = { ttl = 'forever', jitter = nan }",
            "line 3: pipelines.payments.prices.cache.jitter: must be between 0 and 1",
        ),
        (
            "layers = ['chaos']\nchaos.faults = { error = 0.7, response = 0.7 }",
            "line 3: pipelines.payments.chaos.faults: must not add up to more than 1",
        ),
        (
            "layers = ['chaos']\nchaos.faults.delay = -0.1",
            "line 3: pipelines.payments.chaos.faults.delay: must be between 0 and 1",
        ),
        (
            "layers = ['chaos']\nchaos.script = [{ calls = 9 }, { faults.error = 1.0 }]",
            "line 3: pipelines.payments.chaos.script: phase 2 must say either `calls` or `lasting`",
        ),
        (
            "layers = ['agreed']\nagreed.distributed_rate_limit = { quota = { permits = 9, per = '1s' }, handful = 10 }",
            "line 3: pipelines.payments.agreed.distributed_rate_limit.handful: must be above zero and at most the burst",
        ),
        ("layers = ['retry']", "line 2: pipelines.payments.layers: there is no policy \"retry\" in this pipeline"),
        ("layers = []\nretry = {}", "line 3: pipelines.payments.retry: must be listed in `layers`"),
        ("layers = ['retry', 'retry']\nretry = {}", "line 2: pipelines.payments.layers: \"retry\" must be listed once"),
        ("retry = {}", "line 1: pipelines.payments: missing field `layers`"),
        ("layers = []\n[lints]\nno-such = 'deny'", "line 4: lints.no-such: there is no such lint"),
    ] {
        assert_eq!(problems(&pipeline(lines)), [told]);
    }
    let [typo] = &problems(&pipeline("layers = ['retry']\nretry.attemps = 3"))[..] else { panic!("one problem") };
    assert!(
        typo.starts_with("line 3: pipelines.payments.retry.attemps: unknown field `attemps`, expected one of"),
        "{typo}"
    );
    // A keyed limiter does not wait.
    let wait = "layers = ['users']\nusers.keyed_rate_limit = { quota = { permits = 1, per = '1s' }, max_wait = '1s' }";
    let [wait] = &problems(&pipeline(wait))[..] else { panic!("one problem") };
    let path = "line 3: pipelines.payments.users.keyed_rate_limit.max_wait: unknown field `max_wait`";
    assert!(wait.starts_with(path), "{wait}");
    let [typo] = &problems(&pipeline("layers = ['retyr']\nretyr.attempts = 3"))[..] else { panic!("one problem") };
    assert!(typo.starts_with("line 3: pipelines.payments.retyr: unknown variant `attempts`"), "{typo}");
    let [broken] = &problems("[pipelines.payments\nlayers = []")[..] else { panic!("one problem") };
    assert!(broken.starts_with("line 1: "), "{broken}");
    assert_eq!(problems("[pipeline.payments]\nlayers = []").len(), 1);
}

#[test]
fn the_lines_of_json_are_found_too() {
    let text = r#"{
  "budgets": {"a\"}": {}, "b": {"ratio": -1}},
  "pipelines": {
    "mail": {"layers": [], "x": [1, {"y": "}"}]},
    "payments": {
      "layers": ["retry"],
      "retry": {
        "attempts": 0
      }
    }
  }
}"#;
    let wrong = |text: &str| Config::from_json(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    let told = wrong(text);
    assert!(told[0].starts_with("line 4: pipelines.mail.x: "), "{told:?}");
    let told = wrong(&text.replace(r#", "x": [1, {"y": "}"}]"#, ""));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("must be named by letters"), "{told:?}");
    assert_eq!(told[1], "line 2: budgets.b.ratio: must be a number between 0 and 1000");
    assert_eq!(told[2], "line 8: pipelines.payments.retry.attempts: must be at least 1: the first attempt counts");
    assert_eq!(wrong("{\n \"pipelines\": {}\n} x"), ["line 3: trailing characters"]);
    assert!(wrong("{\"pipelines\": {},\n}")[0].starts_with("line 2: "));
}

proptest! {
    /// A file damaged anywhere is read or refused, and what is refused says why.
    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic(at in 0..FILE.len(), with in "[\\PC\n]{0,3}", len in 0..20_usize) {
        let end = (at + len).min(FILE.len());
        let damaged = format!("{}{with}{}", &FILE[..at], &FILE[end..]);
        if let Err(problems) = Config::from_toml(&damaged) {
            prop_assert!(problems.iter().count() > 0);
        }
        let json = serde_json::to_string_pretty(&Config::from_toml(FILE).unwrap()).unwrap();
        let at = at.min(json.len() - 1);
        let damaged = format!("{}{with}{}", &json[..at], &json[(at + len).min(json.len())..]);
        if let Err(problems) = Config::from_json(&damaged) {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}
