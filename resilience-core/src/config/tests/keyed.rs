//! Policies with a state for each key, by a file.

use std::time::Duration;

use crate::Class;
use crate::circuit_breaker::State;
use crate::config::{Config, Pipelines, Setup};
use crate::health::Status;
use crate::registry::{Control, ControlError, Figure, Registry};
use crate::time::ManualTimer;

const FILE: &str = r#"
[pipelines.crawler]
layers = ["users", "hosts"]
users.keyed_rate_limit = { quota = { permits = 10, per = "1s" }, max_keys = 10_000 }
hosts.keyed_circuit_breaker = { consecutive_failures = 1, probes = 1, max_keys = 10_000 }
"#;

fn pipelines() -> (Pipelines, ManualTimer) {
    let timer = ManualTimer::new();
    (Config::from_toml(FILE).unwrap().build(&Setup::new().timer(timer.clone())).unwrap(), timer)
}

fn change(pipelines: &mut Pipelines, text: &str) {
    pipelines.reconfigure(&Config::from_toml(text).unwrap()).unwrap();
}

#[test]
fn keys_that_are_in_use_follow_the_file_with_what_they_hold() {
    let (mut pipelines, timer) = pipelines();
    let crawler = pipelines.pipeline("crawler").unwrap().clone();
    let template = crawler.keyed_circuit_breaker("hosts").unwrap();
    let (hosts, numbers) = (template.build::<String>().unwrap(), template.build::<u32>().unwrap());
    let users = crawler.keyed_rate_limit("users").unwrap().build::<u64>().unwrap();
    users.try_acquire_n(&1, 8).unwrap();
    hosts.try_acquire("down").unwrap().settle(Class::Failure);
    hosts.try_acquire("up").unwrap().settle(Class::Success);
    timer.advance(Duration::from_secs(5));
    let probe = hosts.try_acquire("down").unwrap();
    let text = FILE
        .replace("permits = 10,", "permits = 20,")
        .replace("10_000", "70")
        .replace("failures = 1, probes = 1", "failures = 4, probes = 2");
    change(&mut pipelines, &text);
    assert_eq!((users.available(&1), users.available(&2)), (20, 20), "five seconds later all is back");
    assert_eq!((hosts.snapshot().max_keys, numbers.snapshot().max_keys, users.snapshot().max_keys), (70, 70, 70));
    // The probe that was out has a place among two, and its answer counts.
    let second = hosts.try_acquire("down").unwrap();
    assert!(hosts.try_acquire("down").is_err());
    probe.settle(Class::Success);
    second.settle(Class::Success);
    assert_eq!(hosts.get("down").unwrap().state(), State::Closed);
    for host in ["down", "up", "new"] {
        let opened_by = (1..9).find(|_| hosts.try_acquire(host).map(|permit| permit.settle(Class::Failure)).is_err());
        assert_eq!(opened_by, Some(5), "{host}");
    }
    // What is built later is as the others are.
    assert_eq!(template.build::<u8>().unwrap().snapshot().max_keys, 70);
}

#[test]
fn what_was_taken_of_a_keys_quota_stays_taken() {
    let (mut pipelines, _) = pipelines();
    let crawler = pipelines.pipeline("crawler").unwrap().clone();
    let users = crawler.keyed_rate_limit("users").unwrap().build::<u64>().unwrap();
    users.try_acquire_n(&1, 8).unwrap();
    change(&mut pipelines, &FILE.replace("permits = 10,", "permits = 20,").replace("10_000", "1"));
    assert_eq!((users.available(&1), users.available(&2), users.snapshot().max_keys), (12, 20, 1));
    assert!(users.try_acquire(&2).is_err(), "a limit that forgot the first one for it would be none");
    change(&mut pipelines, &FILE.replace("max_keys = 10_000 }\nhosts", "max_keys = 1, dry_run = true }\nhosts"));
    assert!(users.try_acquire(&2).is_ok());
    assert_eq!((users.available(&1), users.snapshot().crowded, users.snapshot().would_reject), (2, 1, 1));
}

#[test]
fn what_is_fixed_for_each_key_is_refused_with_its_path_and_nothing_changes() {
    let (mut pipelines, _) = pipelines();
    let crawler = pipelines.pipeline("crawler").unwrap().clone();
    let users = crawler.keyed_rate_limit("users").unwrap().build::<u64>().unwrap();
    for (to, field) in [
        ("consecutive_failures = 1, count_window = 9", "count_window"),
        ("failure_rate = 0.5", "consecutive_failures"),
        ("consecutive_failures = 1, profile = 'polly'", "profile"),
        ("consecutive_failures = 1, abandoned = 'failure'", "abandoned"),
    ] {
        let text = FILE.replace("consecutive_failures = 1", to).replace("permits = 10,", "permits = 20,");
        let refused = pipelines.reconfigure(&Config::from_toml(&text).unwrap()).unwrap_err();
        let path = format!("pipelines.crawler.hosts.keyed_circuit_breaker.{field}: cannot change while running");
        assert_eq!(refused.to_string(), path);
    }
    let plain = FILE.replace("keyed_circuit_breaker", "circuit_breaker").replace("probes = 1, max_keys = 10_000", "");
    assert!(pipelines.reconfigure(&Config::from_toml(&plain).unwrap()).is_err());
    assert_eq!(users.available(&1), 10);
}

#[test]
fn a_registry_shows_keys_closes_their_circuits_and_changes_their_rules() {
    let (pipelines, _) = pipelines();
    let registry = Registry::new();
    registry.add_all(&pipelines).unwrap();
    let crawler = pipelines.pipeline("crawler").unwrap();
    let hosts = crawler.keyed_circuit_breaker("hosts").unwrap().build::<u32>().unwrap();
    let users = crawler.keyed_rate_limit("users").unwrap().build::<u32>().unwrap();
    (0..3).for_each(|host| hosts.try_acquire(&host).unwrap().settle(Class::Failure));
    assert!(hosts.try_acquire(&0).is_err());
    users.try_acquire(&1).unwrap();
    let shown = |name: &str, figure: &str| {
        let shown = registry.snapshots().into_iter().find(|shown| shown.name.as_str() == name).unwrap();
        (shown.status, shown.figure(figure))
    };
    assert_eq!(shown("crawler.hosts", "not_closed"), (Status::Degraded, Some(Figure::Count(3))));
    assert_eq!(shown("crawler.hosts", "rejected").1, Some(Figure::Count(1)));
    assert_eq!(shown("crawler.users", "keys"), (Status::Up, Some(Figure::Count(1))));
    assert_eq!(registry.control("crawler.users", Control::Reset), Err(ControlError::Unsupported));
    registry.control("crawler.hosts", Control::Reset).unwrap();
    assert_eq!(shown("crawler.hosts", "not_closed"), (Status::Up, Some(Figure::Count(0))));
    // One that no file knows is changed by itself, and by settings of its own pattern.
    let own = crate::circuit_breaker::CircuitBreaker::builder().consecutive_failures(1).name("own");
    let own = own.build_keyed::<u8>().unwrap();
    registry.add(&own).unwrap();
    let settings = &pipelines.config().pipelines["crawler"].policies;
    registry.reconfigure("own", &settings["hosts"]).unwrap();
    assert_eq!(own.snapshot().max_keys, 10_000);
    let refused = registry.reconfigure("own", &settings["users"]).unwrap_err();
    assert!(refused.to_string().contains("there is no keyed_rate_limit of that name"), "{refused}");
    drop((hosts, users, own));
    assert_eq!(registry.snapshots().len(), 2, "the templates, and nothing else");
}
