//! Real files, paused time: each look at the file is driven by the clock.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use resilience_core::time::SharedTimer;

use super::{CONFIRM, FileSource};
use crate::testing::endpoint;
use crate::{Endpoint, Source, SourceError, Update};

struct Fixture {
    directory: tempfile::TempDir,
    source: FileSource,
    timer: SharedTimer,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = FileSource::new(directory.path().join(name));
        Self { directory, source, timer: SharedTimer::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, endpoints: &[Endpoint]) {
        fs::write(self.path(name), text(endpoints)).unwrap();
    }

    /// Puts a complete file in the place of the old one, as a careful writer does.
    fn replace(&self, endpoints: &[Endpoint]) {
        self.write("new", endpoints);
        fs::rename(self.path("new"), self.path("list.toml")).unwrap();
    }

    /// What the source says within so many looks, if anything.
    async fn within(&mut self, looks: u32) -> Option<Result<Update, SourceError>> {
        let patience = Duration::from_millis(200) * looks + Duration::from_millis(1);
        tokio::select! {
            biased;
            said = self.source.next(&self.timer) => Some(said),
            () = self.timer.sleep(patience) => None,
        }
    }

    async fn endpoints_within(&mut self, looks: u32) -> Vec<Endpoint> {
        match self.within(looks).await {
            Some(Ok(Update::Endpoints(endpoints))) => endpoints,
            other => panic!("{other:?}"),
        }
    }

    async fn error_within(&mut self, looks: u32) -> String {
        self.within(looks).await.unwrap().unwrap_err().to_string()
    }
}

fn text(endpoints: &[Endpoint]) -> String {
    let mut text = String::from("endpoints = [\n");
    for endpoint in endpoints {
        text += &format!("  {{ id = \"{}\", address = \"{}\" }},\n", endpoint.id(), endpoint.address());
    }
    text + "]\n"
}

#[tokio::test(start_paused = true)]
async fn a_file_replaced_by_a_rename_is_one_update() {
    let mut fixture = Fixture::new("list.toml");
    fixture.replace(&[endpoint("a", 1)]);
    assert_eq!(fixture.endpoints_within(0).await, [endpoint("a", 1)]);
    assert!(fixture.within(5).await.is_none());
    fixture.replace(&[endpoint("a", 1), endpoint("b", 2)]);
    assert_eq!(fixture.endpoints_within(2).await.len(), 2);
    assert!(fixture.within(20).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_read_before_it_stands_still() {
    let mut fixture = Fixture::new("list.toml");
    let all: Vec<Endpoint> = (1..=4).map(|n| endpoint(&format!("e{n}"), n)).collect();
    fixture.write("list.toml", &all);
    assert_eq!(fixture.endpoints_within(0).await, all);
    // Each prefix that ends here is a valid, shorter list: reading it would drop endpoints.
    let tables: Vec<String> =
        all.iter().map(|e| format!("[[endpoints]]\nid = \"{}\"\naddress = \"{}\"\n", e.id(), e.address())).collect();
    for end in 1..4 {
        fs::write(fixture.path("list.toml"), tables[..end].concat()).unwrap();
        assert!(fixture.within(1).await.is_none(), "read a prefix of {end}");
    }
    fs::write(fixture.path("list.toml"), tables.concat()).unwrap();
    assert!(fixture.within(10).await.is_none(), "the list is what it was");
    fs::write(fixture.path("list.toml"), tables[..3].concat()).unwrap();
    assert_eq!(fixture.endpoints_within(2).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_file_deleted_and_written_anew_is_not_read_half() {
    let mut fixture = Fixture::new("list.toml");
    fixture.write("list.toml", &[endpoint("a", 1), endpoint("b", 2)]);
    fixture.endpoints_within(0).await;
    fs::remove_file(fixture.path("list.toml")).unwrap();
    fixture.error_within(1).await;
    fixture.write("list.toml", &[endpoint("a", 1)]);
    assert!(fixture.within(1).await.is_none());
    fixture.write("list.toml", &[endpoint("a", 1), endpoint("b", 2), endpoint("c", 3)]);
    assert_eq!(fixture.endpoints_within(2).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_file_is_an_error_with_line_and_reason_told_once() {
    let mut fixture = Fixture::new("list.toml");
    fixture.replace(&[endpoint("a", 1)]);
    fixture.endpoints_within(0).await;
    fs::write(fixture.path("list.toml"), "endpoints = [\n  { id = \"a\", address = \"127.0.0.1:1\" },\n  { id = ")
        .unwrap();
    let error = fixture.error_within(2).await;
    assert!(error.contains("list.toml: line 3: "), "{error}");
    assert!(fixture.within(20).await.is_none());
    // The list that was good before is good news again.
    fixture.replace(&[endpoint("a", 1)]);
    assert_eq!(fixture.endpoints_within(2).await, [endpoint("a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_an_error_and_its_return_is_noticed() {
    let mut fixture = Fixture::new("list.toml");
    assert!(fixture.error_within(0).await.contains("list.toml: "));
    fixture.replace(&[endpoint("a", 1)]);
    assert_eq!(fixture.endpoints_within(2).await, [endpoint("a", 1)]);
    fs::remove_file(fixture.path("list.toml")).unwrap();
    fixture.error_within(1).await;
    fixture.replace(&[endpoint("a", 1)]);
    assert_eq!(fixture.endpoints_within(2).await, [endpoint("a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_touched_file_is_no_news() {
    let mut fixture = Fixture::new("list.toml");
    fixture.replace(&[endpoint("a", 1)]);
    fixture.endpoints_within(0).await;
    for _ in 0..3 {
        fixture.replace(&[endpoint("a", 1)]);
        assert!(fixture.within(4).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_last_is_confirmed_list_or_error() {
    let mut fixture = Fixture::new("list.toml");
    fixture.replace(&[endpoint("a", 1)]);
    fixture.endpoints_within(0).await;
    let looks = u32::try_from(CONFIRM.as_millis() / 200).unwrap();
    assert_eq!(fixture.within(looks + 1).await.unwrap().unwrap(), Update::Unchanged);
    fs::remove_file(fixture.path("list.toml")).unwrap();
    let first = fixture.error_within(1).await;
    assert_eq!(fixture.error_within(looks + 1).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_json_file_is_followed_like_a_toml_file() {
    let mut fixture = Fixture::new("list.json");
    fs::write(fixture.path("list.json"), r#"{"endpoints": [{"id": "a", "address": "127.0.0.1:1"}]}"#).unwrap();
    assert_eq!(fixture.endpoints_within(0).await, [endpoint("a", 1)]);
    fs::write(fixture.path("list.json"), r#"{"endpoints": []}"#).unwrap();
    assert_eq!(fixture.endpoints_within(2).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_file_too_large_to_be_a_list_is_refused_unread() {
    let mut fixture = Fixture::new("list.toml");
    fs::File::create(fixture.path("list.toml")).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(fixture.error_within(0).await.contains("more than"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_look_loses_no_news() {
    let mut fixture = Fixture::new("list.toml");
    fixture.replace(&[endpoint("a", 1)]);
    for _ in 0..5 {
        // The look itself is on another thread and may be done by now; then there is nothing to cancel.
        let next = std::pin::pin!(fixture.source.next(&fixture.timer));
        if let std::task::Poll::Ready(said) = futures::poll!(next) {
            assert_eq!(said.unwrap(), Update::Endpoints(vec![endpoint("a", 1)]));
            return;
        }
    }
    assert_eq!(fixture.endpoints_within(1).await, [endpoint("a", 1)]);
}

#[test]
fn an_interval_of_zero_is_refused() {
    let error = FileSource::builder("x").interval(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "interval must be above zero");
}
