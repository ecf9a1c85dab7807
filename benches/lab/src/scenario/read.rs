//! Reading a scenario: every mistake in one sentence, with its line and its field.

use std::fmt;
use std::path::Path;

use super::Scenario;

/// Why a file is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    file: String,
    line: Option<usize>,
    field: String,
    rule: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        // The parser's messages may have several lines.
        write!(f, ": {}", self.rule.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for Mistake {}

/// Reads and checks a scenario file.
///
/// # Errors
///
/// If it cannot be read, is not TOML, has a field that is unknown or of the wrong kind, or a value that cannot be.
pub fn read(path: &Path) -> Result<Scenario, Mistake> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Mistake {
        file: file.clone(),
        line: None,
        field: String::new(),
        rule: error.to_string(),
    })?;
    parse(&file, &text)
}

/// The same from a text that is already there.
pub(super) fn parse(file: &str, text: &str) -> Result<Scenario, Mistake> {
    let mistake =
        |line, field: String, rule: &str| Mistake { file: file.to_owned(), line, field, rule: rule.to_owned() };
    let line = |error: &toml::de::Error| error.span().map(|span| line_of(text, span.start));
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| mistake(line(&error), String::new(), error.message()))?;
    let scenario: Scenario = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        let error = error.into_inner();
        mistake(line(&error), field, error.message())
    })?;
    scenario.check().map_err(|(field, rule)| mistake(find(text, &field), field, &rule))?;
    Ok(scenario)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The line of the deepest part of `path` (`station[1].fault[0].to`) that is there.
fn find(text: &str, path: &str) -> Option<usize> {
    use toml::de::{DeTable, DeValue};

    let root = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut value: &DeValue<'_> = &DeValue::Table(root.get_ref().clone());
    for step in path.split(['.', '[']) {
        if let (Some(index), DeValue::Array(list)) = (step.strip_suffix(']'), value) {
            let Some(item) = index.parse::<usize>().ok().and_then(|index| list.get(index)) else { break };
            found = Some(item.span().start);
            value = item.get_ref();
        } else if let DeValue::Table(table) = value {
            let Some((key, inner)) = table.iter().find(|(key, _)| *key.get_ref() == step) else { break };
            found = Some(key.span().start);
            value = inner.get_ref();
        } else {
            break;
        }
    }
    found.map(|offset| line_of(text, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "tiny"
title = "Tiny"
about = "One call after the other."
seed = 1
duration = "10s"

[[station]]
name = "stock"
workers = 1
service = { constant = "10ms" }

[[load]]
name = "orders"
station = "stock"
rate = 10.0
patience = "1s"

[[variant]]
name = "bare"

[[goal]]
say = "nothing is lost"
variant = "bare"
measure = { lost = {} }
at_most = 0
"#;

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        parse("tiny.toml", &GOOD.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_one_sentence_with_line_and_field() {
        parse("tiny.toml", GOOD).unwrap();
        let unknown = wrong("workers = 1", "worker = 1");
        assert!(unknown.starts_with("tiny.toml, line 10: station[0].worker: unknown field `worker`"), "{unknown}");
        assert_eq!(wrong("workers = 1", "workers = 0"), "tiny.toml, line 10: station[0].workers: must be above zero");
        assert_eq!(
            wrong("station = \"stock\"", "station = \"stick\""),
            "tiny.toml, line 15: load[0].station: is not the name of a station"
        );
        let unit = wrong("\"10ms\"", "\"10\"");
        assert!(unit.starts_with("tiny.toml, line 11: station[0].service.constant: "), "{unit}");
        let twice = wrong("at_most = 0", "at_most = 0\nat_least = 0");
        assert_eq!(twice, "tiny.toml, line 26: goal[0].at_most: cannot stand beside `at_least`");
        let neither = wrong("at_most = 0", "");
        assert_eq!(neither, "tiny.toml, line 22: goal[0].at_most: must be given, or `at_least`");
        let toml = wrong("seed = 1", "seed = ");
        assert!(toml.starts_with("tiny.toml, line 5"), "{toml}");
        assert!(!toml.contains('\n'));
    }

    #[test]
    fn a_layer_that_reads_the_real_clock_is_not_taken_for_one_that_does_not() {
        let layers = "name = \"bare\"\nlayers = [{ recloser = { error_rate = 0.5, closed_len = 10, half_open_len = 2, open_for = \"5s\" } }]";
        let virtual_time = wrong("name = \"bare\"", layers);
        assert!(virtual_time.contains("variant[0].layers[0]: reads the real clock itself"), "{virtual_time}");
        let text = GOOD.replacen("name = \"bare\"", &format!("{layers}\ntime = \"wall\""), 1);
        parse("tiny.toml", &text).unwrap();
    }
}
