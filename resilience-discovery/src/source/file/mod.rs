//! Endpoints listed in a file that somebody else writes.

mod parse;
#[cfg(all(test, not(loom)))]
mod tests;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use resilience_core::ConfigError;
use resilience_core::time::{SharedTimer, Timestamp};

use self::parse::parse;
pub use self::parse::{Format, ParseError};
use self::watch::{Read, Stamp};
use super::{Source, SourceError, Update};
use crate::Endpoint;

/// Follows a file that lists endpoints.
///
/// The file is TOML, or JSON if its name ends in `.json`. It holds a list named `endpoints`; for no endpoints at all
/// the list must be there and be empty, so that a truncated file is not taken for an empty fleet. Unknown fields and
/// repeated ids are errors.
///
/// ```toml
/// [[endpoints]]
/// id = "payments-1"          # default: the address
/// address = "10.0.0.7:8080"  # host:port
/// weight = 3                 # default: 1
/// zone = "eu-1a"             # default: none
/// metadata = { version = "4.2" }
/// ```
/// ```json
/// { "endpoints": [ { "id": "payments-1", "address": "10.0.0.7:8080" } ] }
/// ```
///
/// # How changes are seen
///
/// The file's modification time, size and inode are compared once every [interval](FileSourceBuilder::interval), on a thread
/// for blocking work. That works on every file system and in every container, where notifications do not.
///
/// | what happens to the file | what the source says |
/// |---|---|
/// | replaced by a rename, or rewritten in place | the new list, once, when the file has stood still for one interval: never a half-written one |
/// | touched, or rewritten with the same list | nothing |
/// | not valid | an error with line and reason; the last good list stays in use |
/// | deleted, unreadable, over 16 MiB | an error; the last good list stays in use |
/// | made valid again | the list, even if it is the last good one |
///
/// Every ten seconds it confirms what it said last, list or error, which is what shows that the file system still answers.
///
/// ```
/// use resilience_discovery::{Discovery, FileSource};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let (path, next) = (directory.path().join("endpoints.toml"), directory.path().join("next"));
/// std::fs::write(&path, "[[endpoints]]\naddress = \"10.0.0.7:80\"\n")?;
/// let discovery = Discovery::builder().build(FileSource::new(&path))?;
/// assert_eq!(discovery.first().await.endpoints().len(), 1);
///
/// // The way to replace it: write beside it, then rename.
/// let mut changes = discovery.subscribe();
/// changes.next().await;
/// std::fs::write(&next, "[[endpoints]]\naddress = \"10.0.0.7:80\"\n[[endpoints]]\naddress = \"10.0.0.8:80\"\n")?;
/// std::fs::rename(&next, &path)?;
/// assert_eq!(changes.next().await.endpoints().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    format: Format,
    interval: Duration,
    /// The file as it was at the last look, and whether it has been read since it stands still.
    seen: Seen,
    /// What was said last, and when.
    said: Option<(Said, Timestamp)>,
    /// When to look next; `None` before the first look.
    next_look: Option<Timestamp>,
}

#[derive(Debug, PartialEq)]
enum Said {
    Endpoints(Vec<Endpoint>),
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// Not looked at yet.
    Nothing,
    /// It was not there, or could not be read.
    Absent,
    /// Changed since the look before: it may still be being written.
    Moving(Stamp),
    /// As at the look before, and read then or later.
    Settled(Stamp),
}

/// How often what was said last is confirmed.
const CONFIRM: Duration = Duration::from_secs(10);

impl FileSource {
    /// Follows `path` with the default settings.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let format = Format::of(&path);
        Self {
            path,
            format,
            interval: FileSourceBuilder::DEFAULT_INTERVAL,
            seen: Seen::Nothing,
            said: None,
            next_look: None,
        }
    }

    /// Follows `path` with settings of your own.
    pub fn builder(path: impl Into<PathBuf>) -> FileSourceBuilder {
        FileSourceBuilder { source: Self::new(path) }
    }

    /// Looks at the file, and says whether that is news.
    fn consider(&mut self, read: Read, now: Timestamp) -> Option<Result<Update, SourceError>> {
        let said = match read {
            Read::Same => return self.confirm(now),
            Read::Moving(stamp) => {
                self.seen = Seen::Moving(stamp);
                return self.confirm(now);
            }
            Read::Content { stamp, settled, content } => {
                self.seen = if settled { Seen::Settled(stamp) } else { Seen::Moving(stamp) };
                match parse(&content, self.format) {
                    Ok(endpoints) => Said::Endpoints(endpoints),
                    Err(error) => Said::Failed(format!("{}: {error}", self.path.display())),
                }
            }
            Read::Failed(error) => {
                self.seen = Seen::Absent;
                Said::Failed(format!("{}: {error}", self.path.display()))
            }
        };
        if self.said.as_ref().is_some_and(|(last, _)| *last == said) {
            return self.confirm(now);
        }
        let news = match &said {
            Said::Endpoints(endpoints) => Ok(Update::Endpoints(endpoints.clone())),
            Said::Failed(error) => Err(failed(error)),
        };
        self.said = Some((said, now));
        Some(news)
    }

    /// Says again what was said last, if that is long enough ago.
    fn confirm(&mut self, now: Timestamp) -> Option<Result<Update, SourceError>> {
        let (said, at) = self.said.as_mut()?;
        if now.since(*at) < CONFIRM {
            return None;
        }
        *at = now;
        Some(match said {
            Said::Endpoints(_) => Ok(Update::Unchanged),
            Said::Failed(error) => Err(failed(error)),
        })
    }
}

/// The source keeps looking at its own pace, whatever it has said.
fn failed(error: &str) -> SourceError {
    SourceError::new(error).with_retry_after(Duration::ZERO)
}

impl Source for FileSource {
    async fn next(&mut self, timer: &SharedTimer) -> Result<Update, SourceError> {
        loop {
            if let Some(at) = self.next_look {
                timer.sleep_until(at).await;
            }
            let read = watch::look(&self.path, &self.seen).await;
            let now = timer.now();
            self.next_look = Some(now + self.interval);
            if let Some(news) = self.consider(read, now) {
                return news;
            }
        }
    }

    fn heartbeat(&self) -> Option<Duration> {
        Some(CONFIRM + self.interval)
    }
}

/// Settings of a [`FileSource`].
#[derive(Debug)]
pub struct FileSourceBuilder {
    source: FileSource,
}

impl FileSourceBuilder {
    /// Short enough for a restart not to be noticed by people, long enough to cost nothing: one `stat` each.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(200);

    /// How long between two looks at the file; 200 ms by default.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.source.interval = interval;
        self
    }

    /// The file's format; by default JSON if its name ends in `.json`, else TOML.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.source.format = format;
        self
    }

    /// The source.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_discovery::FileSource;
    ///
    /// // Read over a network file system: look less often than every 200 ms.
    /// assert!(FileSource::builder("endpoints.toml").interval(Duration::from_secs(2)).build().is_ok());
    /// let error = FileSource::builder("endpoints.toml").interval(Duration::ZERO).build().unwrap_err();
    /// assert!(error.to_string().contains("interval"));
    /// ```
    ///
    /// # Errors
    ///
    /// When the interval is zero, which would be a busy loop.
    pub fn build(self) -> Result<FileSource, ConfigError> {
        if self.source.interval.is_zero() {
            return Err(ConfigError::new("interval", "must be above zero"));
        }
        Ok(self.source)
    }
}
