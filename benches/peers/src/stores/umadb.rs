//! The engine inside UmaDB, driven as its server drives it.
//!
//! `UmaDb::append(&self)` takes no lock: appends of several threads overwrite each other. The server therefore has one
//! thread that writes, the crate's own `writer_thread_blocking`, which takes what waits in a channel of 1,024, up to 2,000
//! events, and commits it as one. That thread, with the server's default settings, is what is measured here; what is left
//! out is gRPC.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::pager::ReadMethod;
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};

use super::sample::{self, HISTORY, Held, Load, PAYLOAD, Sample};

/// The server's.
const QUEUE: usize = 1_024;
/// The server's `APPEND_BATCH_MAX_EVENTS`.
const BATCH: usize = 2_000;

fn open(dir: &Path, cache_mb: usize) -> Result<Arc<Mvcc>, String> {
    let options = StorageOptions::default().db_path(dir.join("uma.db")).read_method(ReadMethod::FileIo);
    let options = options.page_cache_max_mb(cache_mb);
    Mvcc::new(false, options).map(Arc::new).map_err(|error| error.to_string())
}

/// One sample: each append on the condition that nothing new has its account's tag. The server's page cache is off by
/// default.
pub async fn sample(dir: &Path, load: Load, cache_mb: usize) -> Result<Sample, String> {
    let database = open(dir, cache_mb)?;
    let (queue, requests) = mpsc::channel(QUEUE);
    let (head, _head) = watch::channel(None);
    let writer = thread::spawn(move || writer_thread_blocking(database, requests, head, BATCH));
    let seen: Arc<Vec<AtomicU64>> = Arc::new((0..load.tasks).map(|_| AtomicU64::new(0)).collect());
    let sample = sample::run(load, move |task, index| {
        let (queue, seen) = (queue.clone(), seen.clone());
        async move {
            let tag = sample::stream(task, index / HISTORY);
            // Relaxed: only this task reads and writes it.
            let after = (index % HISTORY > 0).then(|| seen[task as usize].load(Ordering::Relaxed));
            let condition = DcbAppendCondition::new(DcbQuery::new().item(DcbQueryItem::new().tags([tag.as_str()])));
            let event = DcbEvent::new().event_type("Deposited").data(PAYLOAD).tags([tag]);
            let (response_tx, answer) = oneshot::channel();
            let request = WriterThreadRequest::Append {
                events: vec![event],
                condition: Some(condition.after(after)),
                tracking_info: None,
                response_tx,
                cancel: None,
            };
            if queue.send(request).await.is_err() {
                return false;
            }
            let Ok(Ok(position)) = answer.await else { return false };
            seen[task as usize].store(position, Ordering::Relaxed);
            true
        }
    })
    .await;
    writer.join().map_err(|_| "the writer panicked")?;
    Ok(sample)
}

/// What a freshly opened database holds.
pub fn held(dir: &Path) -> Result<Held, String> {
    let database = UmaDb::from_arc(open(dir, 0)?);
    let (mut held, mut start) = (Held::default(), None);
    loop {
        let page = database.read(None, start, false, Some(1_000)).map_err(|error| error.to_string())?;
        let before = start;
        for event in page {
            let event = event.map_err(|error| error.to_string())?;
            start = Some(event.position + 1);
            *held.0.entry(event.event.tags.concat()).or_default() += 1;
        }
        if start == before {
            return Ok(held);
        }
    }
}
