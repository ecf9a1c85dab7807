//! Files, with errors that name line and field.

use super::{Config, Problem, Problems};

impl Config {
    /// Reads TOML and checks it.
    ///
    /// # Errors
    ///
    /// The first thing in the text that is not a configuration, or everything in it that cannot work.
    ///
    /// ```
    /// use resilience_core::config::Config;
    ///
    /// let typo = "[pipelines.stock]\nlayers = ['bulkhead']\nbulkhead.limits = 8";
    /// let wrong = Config::from_toml(typo).unwrap_err().to_string();
    /// assert!(wrong.starts_with("line 3: pipelines.stock.bulkhead.limits: unknown field `limits`"), "{wrong}");
    /// ```
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        let config = parse_toml(text)?;
        config.check().map_err(|problems| problems.located(|path| super::locate::in_toml(text, path)))?;
        Ok(config)
    }

    /// Reads JSON and checks it.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml).
    ///
    /// ```
    /// use resilience_core::config::Config;
    ///
    /// let wrong = Config::from_json(r#"{"pipelines": {"stock": {
    ///     "layers": ["timeout"],
    ///     "timeout": {"limit": "0s"}
    /// }}}"#).unwrap_err();
    /// assert_eq!(wrong.to_string(), "line 3: pipelines.stock.timeout.limit: must be above zero");
    /// ```
    #[cfg(feature = "json")]
    pub fn from_json(text: &str) -> Result<Self, Problems> {
        let config = parse_json(text)?;
        config.check().map_err(|problems| problems.located(|path| super::locate::in_json(text, path)))?;
        Ok(config)
    }
}

#[cfg(feature = "toml")]
fn parse_toml(text: &str) -> Result<Config, Problem> {
    let line = |error: &toml::de::Error| error.span().map(|span| super::locate::line_of(text, span.start));
    let deserializer = toml::Deserializer::parse(text)
        .map_err(|error| Problem { line: line(&error), ..Problem::new("", error.message()) })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = path(error.path());
        let error = error.into_inner();
        Problem { line: line(&error), ..Problem::new(path, error.message()) }
    })
}

#[cfg(feature = "json")]
fn parse_json(text: &str) -> Result<Config, Problem> {
    let problem = |path: String, error: serde_json::Error| {
        // The position is a field of its own here.
        let (message, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
        let rule = message.strip_suffix(&place).unwrap_or(&message);
        Problem { line: (error.line() > 0).then_some(error.line()), ..Problem::new(path, rule) }
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let config = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| problem(path(error.path()), error.into_inner()))?;
    deserializer.end().map_err(|error| problem(String::new(), error))?;
    Ok(config)
}

#[cfg(any(feature = "toml", feature = "json"))]
fn path(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        root if root == "." => String::new(),
        path => path,
    }
}
