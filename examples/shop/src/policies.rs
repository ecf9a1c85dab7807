//! The policies of a service, from a file it reads again while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use resilience_core::config::{Config, Pipeline, Problems, Setup};
use resilience_core::registry::Registry;
use resilience_core::time::SharedTimer;

use crate::domain::ServiceName;
use crate::faults::Change;
use crate::problem::Problem;
use crate::stats::Stats;

/// The file used when none is given; `--print-policies` writes it.
pub(crate) const DEFAULT: &str = include_str!("../policies.toml");

/// Where a run keeps its copy, which its services read.
const FILE: &str = "policies.toml";

/// The pipeline in front of every service.
const SERVER: &str = "server";

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What services count when they take a changed file over, and when they cannot.
pub(crate) const TAKEN_OVER: &str = "policies.taken_over";
const REFUSED: &str = "policies.refused";

/// The text in `path`, or the built-in one, if its policies can work.
pub(crate) fn load(path: Option<&Path>) -> Result<String, Problem> {
    let Some(path) = path else { return Ok(DEFAULT.to_owned()) };
    let text = std::fs::read_to_string(path).map_err(|why| Problem::file("read the policies", path, why))?;
    parse(&text).map_err(|why| Problem::file("use the policies", path, first(&why)))?;
    Ok(text)
}

/// Puts a run's copy where its services find it.
pub(crate) fn write(dir: &Path, text: &str) -> Result<(), Problem> {
    let (path, fresh) = (dir.join(FILE), dir.join("policies.toml.new"));
    // Renamed, so that nobody reads half of it.
    let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path));
    written.map_err(|why| Problem::file("write", &path, why))
}

/// `text` with a change of the script applied, if the policies can still work.
pub(crate) fn changed(text: &str, change: &Change) -> Result<String, String> {
    let mut file: toml::Table = toml::from_str(text).map_err(|why| why.message().to_owned())?;
    for (path, value) in &change.set {
        set(&mut file, path, value.clone())?;
    }
    let text = toml::to_string(&file).map_err(|why| why.to_string())?;
    parse(&text).map_err(|why| first(&why))?;
    Ok(text)
}

/// Sets the entry at a dotted path.
fn set(file: &mut toml::Table, path: &str, value: toml::Value) -> Result<(), String> {
    // What TOML takes for a path is one: let it say so.
    let line = format!("{path} = 0");
    let mut path = toml::from_str::<toml::Table>(&line).map_err(|_| format!("{path:?} is no path"))?;
    let mut here = file;
    loop {
        let Some((key, rest)) = path.into_iter().next() else { return Err("a path is missing".to_owned()) };
        match rest {
            toml::Value::Table(rest) => {
                let next = here.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                here = next.as_table_mut().ok_or_else(|| format!("{key:?} holds no entries"))?;
                path = rest;
            }
            _ => {
                here.insert(key, value);
                return Ok(());
            }
        }
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    let config = Config::from_toml(text)?;
    config.check()?;
    Ok(config)
}

/// The first of several problems, for one sentence.
fn first(problems: &Problems) -> String {
    let text = problems.to_string();
    text.lines().next().unwrap_or_default().trim_end_matches([';', ',', '.']).to_owned()
}

/// The policies of one service process.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    name: ServiceName,
    pipelines: Arc<Vec<Pipeline>>,
    pub(crate) registry: Registry,
    stats: Stats,
}

impl Policies {
    /// What the run's file says for `name`; by the built-in one if there is no file. Watches it from now on.
    pub(crate) fn watch(name: ServiceName, dir: &Path, stats: &Stats) -> Result<Self, Problem> {
        let path = dir.join(FILE);
        let text = read(&path).map_err(|why| Problem::file("read", &path, why))?;
        let use_it = |why: Problems| Problem::file("use", &path, first(&why));
        let config = of_service(name, parse(&text).map_err(use_it)?);
        let mut pipelines = config.build(&Setup::new().listener(stats.clone())).map_err(use_it)?;
        let registry = Registry::new();
        registry.add_all(&pipelines).map_err(|why| Problem::new(format!("a policy cannot be listed: {why}")))?;
        let all = pipelines.iter().cloned().collect();
        let policies = Self { name, pipelines: Arc::new(all), registry, stats: stats.clone() };
        let (stats, mut seen) = (stats.clone(), text);
        tokio::spawn(async move {
            let timer = SharedTimer::default();
            loop {
                timer.sleep(LOOK).await;
                // A file that is gone, or cannot be read, changes nothing: what is built in is for the start alone.
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                if text == seen {
                    continue;
                }
                seen = text;
                match parse(&seen).and_then(|config| pipelines.reconfigure(&of_service(name, config))) {
                    Ok(()) => {
                        tracing::info!(service = %name, "policies taken over");
                        stats.count(TAKEN_OVER);
                    }
                    Err(why) => {
                        tracing::warn!(service = %name, %why, "policies not taken over");
                        stats.count(REFUSED);
                    }
                }
            }
        });
        Ok(policies)
    }

    /// The pipeline from this service to another.
    pub(crate) fn to(&self, to: ServiceName) -> Result<&Pipeline, Problem> {
        self.pipeline(&format!("{}-{to}", self.name), &["total", "retry", "circuit_breaker", "bulkhead", "attempt"])
    }

    /// The pipeline in front of this service.
    pub(crate) fn server(&self) -> Result<&Pipeline, Problem> {
        self.pipeline(SERVER, &["timeout", "bulkhead"])
    }

    pub(crate) const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn pipeline(&self, name: &str, layers: &[&str]) -> Result<&Pipeline, Problem> {
        let found = self.pipelines.iter().find(|pipeline| pipeline.name() == name);
        let found = found.ok_or_else(|| Problem::new(format!("the policies have no pipeline {name:?}")))?;
        found.expect(layers).map_err(|why| Problem::new(format!("the policies do not fit: {why}")))?;
        Ok(found)
    }
}

/// The part of a configuration that concerns one service.
fn of_service(name: ServiceName, mut config: Config) -> Config {
    let mine = |pipeline: &str| {
        pipeline == SERVER || pipeline.strip_prefix(name.as_str()).is_some_and(|it| it.starts_with('-'))
    };
    config.pipelines.retain(|pipeline, _| mine(pipeline));
    config
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DEFAULT.to_owned()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn change(path: &str, value: toml::Value) -> Change {
        Change { at: 1.0, set: BTreeMap::from([(path.to_owned(), value)]) }
    }

    #[test]
    fn the_default_policies_have_every_edge_and_no_lint_against_them() {
        let config = parse(DEFAULT).unwrap();
        for edge in ["gateway-orders", "orders-inventory", "orders-payments", "orders-shipping", SERVER] {
            assert!(config.pipelines.contains_key(edge), "{edge}");
        }
        assert!(config.lint().is_empty(), "{:?}", config.lint());
    }

    #[test]
    fn a_change_is_applied_where_its_path_leads_and_a_wrong_one_is_told() {
        let limit = "pipelines.orders-payments.bulkhead.limit";
        let text = changed(DEFAULT, &change(limit, 7.into())).unwrap();
        let text_of = |text: &str| format!("{:?}", parse(text).unwrap().pipelines["orders-payments"]);
        assert!(text_of(&text).contains("limit: Some(7)"), "{}", text_of(&text));
        let refused = changed(DEFAULT, &change(limit, 0.into())).unwrap_err();
        assert!(refused.contains("pipelines.orders-payments.bulkhead.limit"), "{refused}");
        assert_eq!(changed(DEFAULT, &change("a..b", 1.into())).unwrap_err(), "\"a..b\" is no path");
    }
}
