use std::time::Duration;

use crate::Error;
use crate::config::{Config, Pipelines, Setup};
use crate::retry::{self, Backoff, Jitter, Reason, Retry};
use crate::time::{ManualTimer, SharedTimer};

const FILE: &str = r#"
[pipelines.payments]
layers = ["timeout", "retry", "circuit_breaker", "bulkhead", "rate_limit"]
timeout.limit = "2s"
retry = { attempts = 3, backoff = { curve = "none" } }
circuit_breaker = {}
bulkhead = { limit = 4, queue = 2 }
rate_limit = { quota = { permits = 10, per = "1s" } }
"#;

fn pipelines() -> Pipelines {
    Config::from_toml(FILE).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap()
}

fn told(pipelines: &mut Pipelines, text: &str) -> Vec<String> {
    let refused = pipelines.reconfigure(&Config::from_toml(text).unwrap()).unwrap_err();
    refused.iter().map(ToString::to_string).collect()
}

#[test]
fn a_changed_file_changes_what_is_in_use_and_keeps_its_state() {
    let mut pipelines = pipelines();
    let payments = pipelines.pipeline("payments").unwrap().clone();
    let (bulkhead, limiter) = (payments.bulkhead("bulkhead").unwrap(), payments.rate_limit("rate_limit").unwrap());
    let _running = bulkhead.try_acquire().unwrap();
    limiter.try_acquire_n(8).unwrap();
    let text =
        FILE.replace("\"2s\"", "\"5s\"").replace("limit = 4", "limit = 7").replace("permits = 10", "permits = 20");
    pipelines.reconfigure(&Config::from_toml(&text.replace("attempts = 3", "attempts = 5")).unwrap()).unwrap();
    assert_eq!(payments.timeout("timeout").unwrap().limit(), Duration::from_secs(5));
    assert_eq!((bulkhead.snapshot().limit, bulkhead.snapshot().in_flight), (7, 1));
    assert_eq!(limiter.snapshot().available, 12);
    let retry = payments.retry("retry").unwrap();
    let (_, report) =
        futures::executor::block_on(retry::report(retry.run(async |_| Err::<(), _>(Error::Service("down")))));
    assert_eq!(report.unwrap().attempts, 5);
    assert_eq!(retry.snapshot().retries, 4);
    // A default is a setting like any other: what the file no longer says is the default again.
    let unset = text.replace(", queue = 2", "");
    pipelines.reconfigure(&Config::from_toml(&unset).unwrap()).unwrap();
    assert_eq!(bulkhead.snapshot().queue, 0);
    assert_eq!(pipelines.config(), &Config::from_toml(&unset).unwrap());
    let reversed = text.replace("queue = 2", "queue = 2, discipline.adaptive_lifo.timeout = \"10ms\"");
    pipelines.reconfigure(&Config::from_toml(&reversed).unwrap()).unwrap();
    let (interval, timeout) = (Duration::from_millis(100), Duration::from_millis(10));
    let discipline = crate::bulkhead::Discipline::AdaptiveLifo { interval, timeout };
    assert_eq!(bulkhead.snapshot().discipline, discipline);
}

#[test]
fn what_cannot_change_is_refused_with_its_path_and_nothing_changes() {
    let mut pipelines = pipelines();
    let changed = FILE.replace("limit = 4", "limit = 7");
    for (from, to, path) in [
        (
            "circuit_breaker = {}",
            "circuit_breaker.count_window = 9",
            "pipelines.payments.circuit_breaker.count_window: cannot change while running",
        ),
        (
            "curve = \"none\" } }",
            "curve = \"none\" }, budget = \"unlimited\" }",
            "pipelines.payments.retry.budget: cannot change while running",
        ),
        (
            "per = \"1s\" } }",
            "per = \"1s\" }, max_wait = \"1s\" }",
            "pipelines.payments.rate_limit.max_wait: cannot come or go while running, only change",
        ),
        ("\"timeout\", \"retry\"", "\"retry\", \"timeout\"", "pipelines.payments.layers: cannot change while running"),
        ("[pipelines.payments]", "[budgets.b]\n[pipelines.payments]", "budgets: cannot change while running"),
    ] {
        let text = changed.replace(from, to);
        assert_ne!(text, changed, "{from}");
        assert_eq!(told(&mut pipelines, &text), [path]);
    }
    let renamed = changed.replace("payments", "refunds");
    assert_eq!(told(&mut pipelines, &renamed).len(), 2);
    let bulkhead = pipelines.pipeline("payments").unwrap().bulkhead("bulkhead").unwrap();
    assert_eq!(bulkhead.snapshot().limit, 4);
    assert_eq!(pipelines.config(), &Config::from_toml(FILE).unwrap());
}

#[test]
fn a_hedge_and_a_fallback_follow_the_file() {
    const FILE: &str = r#"
        [budgets.outgoing]
        reserve = 7
        [pipelines.search]
        layers = ["fallback", "hedge"]
        fallback.timeouts = false
        hedge = { delay = "50ms", budget.shared = "outgoing" }
    "#;
    let mut pipelines = Config::from_toml(FILE).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap();
    let search = pipelines.pipeline("search").unwrap().clone();
    let (hedge, fallback) = (search.hedge("hedge").unwrap(), search.fallback("fallback").unwrap());
    assert_eq!(hedge.snapshot().budget.unwrap().available, 7.0);
    for (delay, attempts, millis) in [
        (r#"["0s", "100ms"]"#, 3, Some(0)),
        (r#"{ quantile = 0.9, before = "70ms" }"#, 2, Some(70)),
        ("{ quantile = 0.9 }", 2, None),
    ] {
        let text = FILE.replace("\"50ms\"", delay).replace("timeouts = false", "dry_run = true");
        pipelines.reconfigure(&Config::from_toml(&text).unwrap()).unwrap();
        assert_eq!((hedge.attempts(), hedge.snapshot().delay), (attempts, millis.map(Duration::from_millis)));
    }
    let down = async { Err(Error::Service("down")) };
    assert!(futures::executor::block_on(fallback.run_or(down, ())).is_err());
    assert_eq!(fallback.snapshot().would_fall_back, 1);
    let paid = FILE.replace("budget.shared = \"outgoing\"", "budget = \"unlimited\"");
    assert_eq!(told(&mut pipelines, &paid), ["pipelines.search.hedge.budget: cannot change while running"]);
}

#[test]
fn a_wrong_delay_is_told_for_what_is_wrong_with_it() {
    for (delay, told) in [
        ("\"50\"", "a duration needs a unit"),
        ("50", "invalid type: integer `50`, expected a delay: \"50ms\", a list of such, or { quantile = 0.95 }"),
        ("[\"1s\", \"2\"]", "a duration needs a unit"),
        ("{ quantil = 0.9 }", "unknown field `quantil`"),
        ("{ quantile = 1.5 }", "pipelines.p.hedge.delay.quantile: must be above 0 and below 1"),
        ("[]", "pipelines.p.hedge.delay: must have at least one delay"),
    ] {
        let text = format!("[pipelines.p]\nlayers = [\"hedge\"]\nhedge.delay = {delay}");
        let refused = Config::from_toml(&text).unwrap_err().to_string();
        assert!(refused.starts_with("line 3: ") && refused.contains(told), "{refused}");
    }
    let text = "[pipelines.p]\nlayers = [\"hedge\"]\nhedge.budget.shared = \"none\"";
    let refused = Config::from_toml(text).unwrap_err().to_string();
    assert!(refused.contains("pipelines.p.hedge.budget.shared: there is no budget \"none\""), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_comes_while_a_call_is_under_way_does_not_end_it_for_its_past() {
    // A call that began without a longest time has not looked at the clock. Taken as begun at the clock's origin it
    // would have failed at once, with hours on the clock.
    tokio::time::advance(Duration::from_secs(7200)).await;
    let rules = || Retry::builder().attempts(9).backoff(Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None));
    let retry = rules().build().unwrap();
    let changing = retry.clone();
    let (_, report) = retry::report(retry.run(async |attempt| {
        if attempt == 1 {
            changing.reconfigure(rules().max_elapsed(Duration::from_millis(2500))).unwrap();
        }
        Err::<(), _>(Error::Service("down"))
    }))
    .await;
    let report = report.unwrap();
    assert_eq!((report.attempts, report.gave_up), (3, Some(Reason::MaxElapsed)));
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_limit_it_began_with() {
    use crate::timeout::Timeout;

    let limit = |seconds| Timeout::builder().limit(Duration::from_secs(seconds));
    let timeout = limit(5).reconfigurable().build().unwrap();
    let timer = SharedTimer::default();
    let start = timer.now();
    let mut call = Box::pin(timeout.call(std::future::pending::<Result<(), Error<&str>>>()));
    assert!(futures::poll!(call.as_mut()).is_pending());
    timeout.reconfigure(limit(1)).unwrap();
    let late = call.await.unwrap_err();
    assert_eq!((late.to_string(), timer.now().since(start).as_secs()), ("no answer within 5s".to_owned(), 5));
    let late = timeout.call(std::future::pending::<Result<(), Error<&str>>>()).await.unwrap_err();
    assert_eq!((late.to_string(), timer.now().since(start).as_secs()), ("no answer within 1s".to_owned(), 6));
}

#[test]
fn changed_shares_are_those_of_their_keys_and_none_comes_or_goes() {
    let file = "[pipelines.search]\nlayers = ['tenants']\n[pipelines.search.tenants.partitioned_bulkhead]\n";
    let shares = |lines: &str| format!("{file}limit = 10\n{lines}");
    let config = Config::from_toml(&shares("shares = { gold = 0.5, silver = 0.3 }")).unwrap();
    let mut pipelines = config.build(&Setup::new()).unwrap();
    let tenants = pipelines.pipeline("search").unwrap().partitioned_bulkhead("tenants").unwrap().clone();
    let _running = tenants.try_acquire("silver").unwrap();
    let changed = Config::from_toml(&shares("shares = { silver = 0.6, gold = 0.1 }\nothers = 0.2")).unwrap();
    pipelines.reconfigure(&changed).unwrap();
    let guaranteed = (tenants.partition("gold").guaranteed, tenants.partition("silver").guaranteed);
    assert_eq!((guaranteed, tenants.others().guaranteed), ((1, 6), 2));
    assert_eq!(tenants.partition("silver").in_flight, 1);
    assert_eq!(
        told(&mut pipelines, &shares("shares = { gold = 0.5 }")),
        ["pipelines.search.tenants.partitioned_bulkhead.shares: cannot come or go while running, only change"]
    );
    let registry = crate::registry::Registry::new();
    registry.add(&tenants).unwrap();
    let pipeline = &Config::from_toml(&shares("shares = { gold = 1.0, silver = 1e-9 }")).unwrap().pipelines["search"];
    registry.reconfigure("search.tenants", &pipeline.policies["tenants"]).unwrap();
    assert_eq!(tenants.partition("gold").guaranteed, 10);
}

#[test]
fn limits_that_find_themselves_and_what_sheds_load_follow_a_file() {
    const FILE: &str = r#"
[pipelines.front]
layers = ["signal_shed", "queue_shed", "adaptive_limit", "admission_control", "client_throttle"]
signal_shed = { from = 0.5 }
queue_shed = { target = "5ms" }
adaptive_limit = { max = 50, queue = 4 }
admission_control = { success_rate = 0.9 }
client_throttle = { rule.k = 2.0 }
"#;
    let build = |file: &str| Config::from_toml(file).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap();
    let mut pipelines = build(FILE);
    let front = pipelines.pipeline("front").unwrap().clone();
    let (limit, shed) = (front.adaptive_limit("adaptive_limit").unwrap(), front.signal_shed("signal_shed").unwrap());
    let _running: Vec<_> = (0..20).map(|_| limit.try_acquire().unwrap()).collect();
    shed.signal().set(0.75);
    assert_eq!(shed.snapshot().ratio, 0.5);
    let admission = front.admission_control("admission_control").unwrap();
    for _ in 0..200 {
        drop(admission.try_acquire());
    }
    let ratio = admission.snapshot().ratio;
    let text = FILE
        .replace("from = 0.5", "from = 0.0, most = 0.4")
        .replace("max = 50, queue = 4", "max = 10, rule.gradient2 = {}")
        .replace("success_rate = 0.9", "success_rate = 0.9, most = 0.1")
        .replace("5ms", "7ms");
    pipelines.reconfigure(&Config::from_toml(&text).unwrap()).unwrap();
    let seen = limit.snapshot();
    assert_eq!((seen.limit, seen.in_flight, seen.queue), (10, 20, 0));
    assert!((shed.snapshot().ratio - 0.3).abs() < 1e-9);
    assert!(ratio > 0.5 && admission.snapshot().ratio == 0.1 && admission.snapshot().calls > 100);
    for (from, to, path) in [
        ("max = 10", "max = 10, initial = 5", "adaptive_limit.initial"),
        ("success_rate = 0.9", "window = \"1s\"", "admission_control.window"),
        ("rule.k = 2.0", "window = \"1s\"", "client_throttle.window"),
    ] {
        let fixed = format!("pipelines.front.{path}: cannot change while running");
        assert_eq!(told(&mut pipelines, &text.replace(from, to)), [fixed]);
    }
}

const STORE: &str = r#"
[pipelines.shop]
layers = ["prices", "batch"]
prices.cache = { ttl = "10s", capacity = 10_000 }
batch = { size = 100, limit = 2 }
"#;

#[test]
fn what_was_built_from_a_file_follows_it_and_keeps_what_it_holds() {
    let timer = ManualTimer::new();
    let mut pipelines = Config::from_toml(STORE).unwrap().build(&Setup::new().timer(timer.clone())).unwrap();
    let shop = pipelines.pipeline("shop").unwrap().clone();
    let template = shop.cache("prices").unwrap();
    let prices = template.build::<u32, u32, ()>(|cache| cache).unwrap();
    let names = template.build::<u32, String, ()>(|cache| cache).unwrap();
    prices.insert(1, 499);
    let capacity = prices.snapshot().capacity;
    let waiting = shop.batch("batch").unwrap().snapshot().waiting;
    let text = STORE.replace("10s", "20s").replace("10_000", "5_000").replace("limit = 2", "limit = 7");
    pipelines.reconfigure(&Config::from_toml(&text).unwrap()).unwrap();
    // Capacities are rounded up to the parts of the map, of which there are as many as the machine's processors want.
    let changed = prices.snapshot().capacity;
    assert!(changed < capacity && names.snapshot().capacity == changed);
    assert_eq!(prices.get(&1), Some(Ok(499)));
    let batch = shop.batch("batch").unwrap().snapshot();
    assert_eq!((batch.limit, batch.waiting), (7, waiting));
    prices.insert(2, 1);
    timer.advance(Duration::from_secs(15));
    assert_eq!((prices.get(&1), prices.get(&2)), (None, Some(Ok(1))), "what is kept keeps the time it was given");
    // What is built later is as the others are, and what is gone is not asked any more.
    let later = template.build::<u8, u8, ()>(|cache| cache).unwrap();
    assert_eq!(later.snapshot().capacity, changed);
    drop(names);
    let registry = crate::registry::Registry::new();
    registry.add_all(&pipelines).unwrap();
    let seen = registry.snapshots();
    assert_eq!(seen[0].figure("built"), Some(crate::registry::Figure::Count(2)));
    assert_eq!(seen[0].figure("entries"), Some(crate::registry::Figure::Count(2)));
    registry.control("shop.prices", crate::registry::Control::Reset).unwrap();
    assert_eq!(prices.get(&2), None);
}

const REHEARSAL: &str = r#"
[pipelines.stock]
layers = ["timeout", "client_rate_limit", "agreed", "chaos"]
timeout.limit = "1s"
client_rate_limit.max_wait = "1s"
agreed.distributed_rate_limit = { quota = { permits = 10, per = "1s" }, handful = 10 }
chaos = { faults = { error = 1.0 } }
"#;

#[test]
fn chaos_from_a_file_is_off_until_the_file_says_otherwise() {
    let mut pipelines = Config::from_toml(REHEARSAL).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap();
    let stock = pipelines.pipeline("stock").unwrap().clone();
    let template = stock.chaos("chaos").unwrap();
    let refused = template.build::<(), (), &str>(|chaos| chaos).unwrap_err();
    assert_eq!(refused.to_string(), "error must be given before it can happen");
    let chaos = template.build::<(), (), &str>(|chaos| chaos.error(|()| "injected")).unwrap();
    let call = || futures::executor::block_on(chaos.call(&(), async { Ok(()) }));
    assert_eq!(call(), Ok(()));
    assert_eq!(pipelines.config().lint(), []);
    let on = REHEARSAL.replace("chaos = {", "chaos = { enabled = true,");
    pipelines.reconfigure(&Config::from_toml(&on).unwrap()).unwrap();
    assert_eq!(call(), Err("injected"));
    let warned = pipelines.config().lint();
    assert!(warned.iter().any(|finding| finding.lint.name() == "chaos-is-on"), "{warned:?}");
    let dry = on.replace("enabled = true,", "enabled = true, dry_run = true,");
    pipelines.reconfigure(&Config::from_toml(&dry).unwrap()).unwrap();
    assert_eq!((call(), chaos.snapshot().would_inject), (Ok(()), 1));
}

#[test]
fn a_file_that_asks_for_faults_nobody_makes_changes_nothing_at_all() {
    let mut pipelines = Config::from_toml(REHEARSAL).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap();
    let stock = pipelines.pipeline("stock").unwrap().clone();
    let _chaos = stock.chaos("chaos").unwrap().build::<(), (), &str>(|chaos| chaos.error(|()| "injected")).unwrap();
    let text = REHEARSAL.replace("limit = \"1s\"", "limit = \"2s\"").replace("error = 1.0", "response = 0.5");
    assert_eq!(
        told(&mut pipelines, &text),
        ["pipelines.stock.chaos.faults.response: must be given before it can happen"]
    );
    assert_eq!(stock.timeout("timeout").unwrap().limit(), Duration::from_secs(1));
}

#[test]
fn limits_that_the_server_or_other_nodes_set_follow_a_file() {
    let timer = ManualTimer::new();
    let mut pipelines = Config::from_toml(REHEARSAL).unwrap().build(&Setup::new().timer(timer.clone())).unwrap();
    let stock = pipelines.pipeline("stock").unwrap().clone();
    let store = crate::rate_limit::distributed::LocalStore::with_timer(timer.clone());
    let agreed = stock.distributed_rate_limit("agreed").unwrap().build(store).unwrap();
    let ask = || futures::executor::block_on(agreed.acquire()).is_ok();
    assert_eq!((0..12).filter(|_| ask()).count(), 10);
    let client = stock.client_rate_limit("client_rate_limit").unwrap();
    client.answered(true);
    let text = REHEARSAL
        .replace("handful = 10", "handful = 3, dry_run = true")
        .replace("max_wait = \"1s\"", "max_wait = \"0s\"");
    pipelines.reconfigure(&Config::from_toml(&text).unwrap()).unwrap();
    assert!(ask() && agreed.snapshot().would_reject == 1 && agreed.snapshot().rejected == 2);
    timer.advance(Duration::from_millis(500));
    assert!(ask());
    assert_eq!(agreed.snapshot().at_hand, 2);
    assert!(client.rate().is_some(), "the rate that was found stays");
    let refused = (0..3).filter_map(|_| futures::FutureExt::now_or_never(client.acquire()).unwrap().err()).count();
    assert!(refused > 0, "who finds no token is refused at once");
}

#[test]
fn a_seed_is_told_and_not_added_up() {
    // Two of one template draw from one seed, and whoever wants to see a run again needs that one.
    let file = REHEARSAL.replace("chaos = {", "chaos = { seed = 7,");
    let pipelines = Config::from_toml(&file).unwrap().build(&Setup::new().timer(ManualTimer::new())).unwrap();
    let template = pipelines.pipeline("stock").unwrap().chaos("chaos").unwrap();
    let _both = (
        template.build::<(), (), &str>(|chaos| chaos.error(|()| "injected")).unwrap(),
        template.build::<u8, u8, &str>(|chaos| chaos.error(|_| "injected")).unwrap(),
    );
    let registry = crate::registry::Registry::new();
    registry.add(template).unwrap();
    let told = registry.to_json();
    assert!(told.contains(r#""built":2"#) && told.contains(r#""seed":7"#), "{told}");
}
