//! The file's text as endpoints.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::Error as _;

use crate::{Address, Endpoint, EndpointId};

/// How a file lists endpoints.
///
/// ```
/// use resilience_core::time::SharedTimer;
/// use resilience_discovery::{FileSource, Format, Source, Update};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// // The name does not say what it is, and would be taken for TOML.
/// let path = directory.path().join("endpoints");
/// std::fs::write(&path, r#"{ "endpoints": [] }"#)?;
/// let mut source = FileSource::builder(&path).format(Format::Json).build()?;
/// assert_eq!(source.next(&SharedTimer::default()).await?, Update::Endpoints(vec![]));
/// assert!(FileSource::new(&path).next(&SharedTimer::default()).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A TOML file with an array of tables `endpoints`.
    Toml,
    /// A JSON object with a list `endpoints`.
    Json,
}

impl Format {
    /// JSON if the name ends in `.json`, else TOML.
    pub(super) fn of(path: &Path) -> Self {
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json { Self::Json } else { Self::Toml }
    }
}

/// A file is no list of endpoints.
///
/// ```
/// use resilience_core::time::SharedTimer;
/// use resilience_discovery::{FileSource, Source};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("endpoints.toml");
/// std::fs::write(&path, "[[endpoints]]\naddress = \"a:80\"\nwieght = 3\n")?;
/// // A source passes it on as text, after the file's name.
/// let error = FileSource::new(&path).next(&SharedTimer::default()).await.unwrap_err().to_string();
/// assert!(error.contains("endpoints.toml: line 3: unknown field `wieght`"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    line: usize,
    reason: String,
}

impl ParseError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    // Required even when empty: a truncated file must not read as an empty fleet.
    #[serde(deserialize_with = "distinct")]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Option<String>,
    address: String,
    weight: Option<u32>,
    zone: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Reads a list; an error names the line, counted from 1.
pub(super) fn parse(content: &[u8], format: Format) -> Result<Vec<Endpoint>, ParseError> {
    let listing: Result<Listing, ParseError> = match format {
        Format::Json => serde_json::from_slice(content)
            .map_err(|error| ParseError { line: error.line().max(1), reason: without_position(&error) }),
        Format::Toml => std::str::from_utf8(content)
            .map_err(|error| (error.valid_up_to(), String::from("not UTF-8")))
            .and_then(|text| toml::from_str(text).map_err(|error: toml::de::Error| position(&error, content.len())))
            .map_err(|(offset, reason)| ParseError { line: line_of(content, offset), reason }),
    };
    listing.map(|listing| listing.endpoints)
}

fn position(error: &toml::de::Error, end: usize) -> (usize, String) {
    (error.span().map_or(end, |span| span.start), error.message().to_owned())
}

/// The message of a JSON error without the position that serde_json appends.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map(str::to_owned).unwrap_or(text)
}

fn line_of(content: &[u8], offset: usize) -> usize {
    1 + content.iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

/// The endpoints, each read where it stands so that an error has its line.
fn distinct<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    struct List;

    impl<'de> serde::de::Visitor<'de> for List {
        type Value = Vec<Endpoint>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of endpoints")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut endpoints = Vec::new();
            let mut ids = HashSet::<EndpointId>::new();
            while let Some(Listed(endpoint)) = list.next_element()? {
                if !ids.insert(endpoint.id().clone()) {
                    return Err(A::Error::custom(format_args!("id {:?} is there twice", endpoint.id())));
                }
                endpoints.push(endpoint);
            }
            Ok(endpoints)
        }
    }

    deserializer.deserialize_seq(List)
}

struct Listed(Endpoint);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entry = Entry::deserialize(deserializer)?;
        let address: Address = entry.address.parse().map_err(D::Error::custom)?;
        let id = entry.id.unwrap_or_else(|| address.to_string());
        if id.is_empty() {
            return Err(D::Error::custom("id is empty"));
        }
        let mut endpoint = Endpoint::new(id, address).with_weight(entry.weight.unwrap_or(Endpoint::DEFAULT_WEIGHT));
        if let Some(zone) = entry.zone {
            endpoint = endpoint.with_zone(zone);
        }
        let with = |endpoint: Endpoint, (key, value): (String, String)| endpoint.with_metadata(key, value);
        Ok(Self(entry.metadata.into_iter().fold(endpoint, with)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
[[endpoints]]
id = "a"
address = "10.0.0.7:8080"
weight = 3
zone = "z1"
metadata = { version = "4.2" }

[[endpoints]]
address = "b.internal:80"
"#;

    const JSON: &str = r#"{ "endpoints": [
  { "id": "a", "address": "10.0.0.7:8080", "weight": 3, "zone": "z1", "metadata": { "version": "4.2" } },
  { "address": "b.internal:80" }
] }"#;

    #[test]
    fn both_formats_say_the_same() {
        let a = Endpoint::new("a", Address::try_from("10.0.0.7:8080").unwrap());
        let a = a.with_weight(3).with_zone("z1").with_metadata("version", "4.2");
        let b = Endpoint::at(Address::try_from("b.internal:80").unwrap());
        let expected = vec![a, b];
        assert_eq!(parse(TOML.as_bytes(), Format::Toml).unwrap(), expected);
        assert_eq!(parse(JSON.as_bytes(), Format::Json).unwrap(), expected);
    }

    #[test]
    fn a_truncated_file_is_no_empty_fleet() {
        for (content, format) in [("", Format::Toml), ("", Format::Json), ("{}", Format::Json), ("# a\n", Format::Toml)]
        {
            assert!(parse(content.as_bytes(), format).is_err(), "{content:?}");
        }
        assert_eq!(parse(b"endpoints = []", Format::Toml).unwrap(), []);
        assert_eq!(parse(br#"{"endpoints":[]}"#, Format::Json).unwrap(), []);
    }

    #[test]
    fn an_error_names_line_and_reason() {
        let cases: [(&str, Format, usize, &str); 8] = [
            ("[[endpoints]]\nid = \"a\"\naddress = \"nowhere\"\n", Format::Toml, 1, "\"nowhere\" is not an address"),
            ("[[endpoints]]\naddress = \"h:1\"\nwieght = 1\n", Format::Toml, 3, "unknown field `wieght`"),
            ("[[endpoints]]\naddress = \"h:1\"\n\n[[endpoints]\n", Format::Toml, 4, ""),
            ("[[endpoints]]\naddress = \"h:1\"\n[[endpoints]]\naddress = \"h:1\"\n", Format::Toml, 1, "is there twice"),
            ("[[endpoints]]\nid = \"a\"\n", Format::Toml, 1, "missing field `address`"),
            ("{\"endpoints\": [\n{\"address\": \"h:1\"},\n{\"address\": 7}]}", Format::Json, 3, "invalid type"),
            ("{\"endpoints\": [\n{\"address\": \"h:1\"},\n", Format::Json, 3, "EOF"),
            ("{\"endpoints\": [\n{\"address\": \"h:1\", \"weight\": -1}]}", Format::Json, 2, "invalid value"),
        ];
        for (content, format, line, reason) in cases {
            let error = parse(content.as_bytes(), format).unwrap_err();
            assert_eq!(error.line(), line, "{content:?}: {error}");
            assert!(error.reason().contains(reason), "{content:?}: {error}");
        }
        assert_eq!(parse(b"endpoints = [\n\n\xff", Format::Toml).unwrap_err().line(), 3);
    }
}
