//! The physical floor: one thread appends what has gathered to a file, calls fdatasync and acknowledges.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::sample::{self, HISTORY, Held, Load, PAYLOAD, Sample};

/// Records that may wait for the writer.
const QUEUE: usize = 1_024;

type Entry = (String, oneshot::Sender<()>);

/// One sample.
pub async fn sample(dir: &Path, load: Load) -> Result<Sample, String> {
    let file = File::create(dir.join("log")).map_err(|error| error.to_string())?;
    let (queue, entries) = mpsc::channel(QUEUE);
    let writer = thread::spawn(move || write(file, entries));
    let sample = sample::run(load, move |task, index| {
        let queue = queue.clone();
        async move {
            let (done, acknowledged) = oneshot::channel();
            let record = format!("{}\tDeposited\t{PAYLOAD}\n", sample::stream(task, index / HISTORY));
            queue.send((record, done)).await.is_ok() && acknowledged.await.is_ok()
        }
    })
    .await;
    match writer.join() {
        Ok(result) => result.map(|()| sample).map_err(|error| error.to_string()),
        Err(_) => Err("the writer panicked".into()),
    }
}

fn write(mut file: File, mut entries: mpsc::Receiver<Entry>) -> std::io::Result<()> {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while entries.blocking_recv_many(&mut batch, QUEUE) > 0 {
        bytes.clear();
        batch.iter().for_each(|(record, _)| bytes.extend_from_slice(record.as_bytes()));
        file.write_all(&bytes)?;
        file.sync_data()?;
        for (_, done) in batch.drain(..) {
            let _ = done.send(());
        }
    }
    Ok(())
}

/// What the file holds.
pub fn held(dir: &Path) -> Result<Held, String> {
    let text = std::fs::read_to_string(dir.join("log")).map_err(|error| error.to_string())?;
    let mut held = Held::default();
    for line in text.lines() {
        let stream = line.split('\t').next().unwrap_or_default();
        *held.0.entry(stream.to_owned()).or_default() += 1;
    }
    Ok(held)
}
