//! The output directory: what was sent, what the world was at first, how the run went.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use resilience_core::time::SharedTimer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RunRecord;
use super::load::Accepted;
use super::sample::Sample;
use crate::domain::Order;
use crate::generate::World;
use crate::problem::Problem;

/// Everything a run left behind beside its stores.
#[derive(Debug, Default)]
pub(crate) struct RunFiles {
    pub(crate) record: RunRecord,
    pub(crate) samples: Vec<Sample>,
}

/// Creates `out`, or a new directory under `./shop-run`, and shows that it can be written.
pub(super) fn create(out: Option<&Path>) -> Result<PathBuf, Problem> {
    let dir = match out {
        Some(out) => out.to_owned(),
        None => Path::new("shop-run").join(stamp(SharedTimer::default().wall().as_unix_millis() / 1_000)),
    };
    if dir.join("world.json").exists() {
        return Err(Problem::new(format!("{} already holds a run; --out takes another directory", dir.display())));
    }
    std::fs::create_dir_all(dir.join("log")).map_err(|why| Problem::file("write to", &dir, why))?;
    Ok(dir)
}

pub(super) fn write_inputs(dir: &Path, orders: &[Order], world: &World) -> Result<(), Problem> {
    write_lines(&dir.join("orders.jsonl"), orders)?;
    write_json(&dir.join("world.json"), world)
}

pub(super) fn write_timeline(dir: &Path, samples: &[Sample]) -> Result<(), Problem> {
    write_lines(&dir.join("timeline.jsonl"), samples)
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(value).map_err(|why| Problem::file("write", path, why))?;
    std::fs::write(path, text + "\n").map_err(|why| Problem::file("write", path, why))
}

fn write_lines(path: &Path, values: &[impl Serialize]) -> Result<(), Problem> {
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for value in values {
            serde_json::to_writer(&mut file, value)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|why| Problem::file("write", path, why))
}

/// How a run went, as far as it came to write that down.
pub(super) fn read_run(dir: &Path) -> Result<RunFiles, Problem> {
    let record = match read_json(&dir.join("run.json")) {
        Ok(record) => record,
        // The runner was killed: the stores can be audited all the same.
        Err(_) if dir.join("world.json").exists() => RunRecord::default(),
        Err(problem) => return Err(problem),
    };
    let samples = read_lines(&dir.join("timeline.jsonl")).unwrap_or_default();
    Ok(RunFiles { record, samples })
}

/// The orders that were to be sent, the acceptances, and the world as it was at first.
pub(crate) fn read_inputs(dir: &Path) -> Result<(Vec<Order>, Vec<Accepted>, World), Problem> {
    let world = read_json(&dir.join("world.json"))?;
    Ok((read_lines(&dir.join("orders.jsonl"))?, read_lines(&dir.join("accepted.jsonl"))?, world))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Problem> {
    let text = std::fs::read(path).map_err(|why| Problem::file("read", path, why))?;
    serde_json::from_slice(&text).map_err(|why| Problem::file("use", path, why))
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|why| Problem::file("read", path, why))?;
    let parse = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|why| Problem::file("use", path, format!("line {}: {why}", at + 1)))
    };
    text.lines().enumerate().map(parse).collect()
}

/// `20261120-233401` for seconds since 1970, in UTC.
fn stamp(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; the era of 1970 and later only.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_name_the_day_also_in_leap_years() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert_eq!(stamp(951_782_400), "20000229-000000");
        assert_eq!(stamp(1_709_251_199), "20240229-235959");
        assert_eq!(stamp(1_795_217_641), "20261120-233401");
    }
}
