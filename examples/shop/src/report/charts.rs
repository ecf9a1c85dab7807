//! The charts, as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::runner::directory::RunFiles;
use crate::runner::sample::Sample;

const WIDTH: u32 = 920;
const HEIGHT: u32 = 240;
const INK: RGBColor = RGBColor(0x5d, 0x6b, 0x7a);
const GRID: RGBColor = RGBColor(0xe8, 0xec, 0xf0);
const GOOD: RGBColor = RGBColor(0x18, 0x79, 0x4e);
const BLUE: RGBColor = RGBColor(0x2f, 0x6f, 0xd0);
const AMBER: RGBColor = RGBColor(0xc9, 0x8a, 0x1b);
const BAD: RGBColor = RGBColor(0xc0, 0x26, 0x2d);

/// A line of a chart: its name, its colour, its points.
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

/// Title, note and SVG of each chart. One that cannot be drawn is left out.
pub(crate) fn all(run: &RunFiles) -> Vec<(&'static str, &'static str, String)> {
    let samples = &run.samples;
    let line = |pick: fn(&Sample) -> Option<f64>| {
        samples.iter().filter_map(|sample| Some((sample.at, pick(sample)?))).collect::<Vec<_>>()
    };
    let goodput = [
        ("accepted/s", BLUE, rate(samples, |sample| sample.accepted)),
        ("completed/s", GOOD, rate(samples, |sample| sample.completed)),
        ("undone/s", AMBER, rate(samples, |sample| sample.cancelled)),
    ];
    let latency = [("p99", AMBER, line(|sample| sample.p99)), ("p50", BLUE, line(|sample| sample.p50))];
    let sagas = [("in flight", BLUE, line(|sample| Some(sample.in_flight as f64)))];
    let breakers = breakers(run);
    let charts = [
        ("Goodput", "orders a second, over three seconds; red lines are kills", lines(run, &goodput)),
        ("Latency", "from arrival to acceptance, repeats and waits included; logarithmic", log_lines(run, &latency)),
        ("Checkouts", "sagas under way", lines(run, &sagas)),
        ("Circuit breakers", "green is closed, red open, amber half-open", timeline(run, &breakers)),
    ];
    charts.into_iter().filter_map(|(title, note, chart)| Some((title, note, chart.ok()?))).collect()
}

/// A count's growth per second over the six samples before each.
fn rate(samples: &[Sample], count: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    const WINDOW: usize = 6;
    let point = |at: usize| {
        let (now, then) = (&samples[at], &samples[at.saturating_sub(WINDOW)]);
        let span = (now.at - then.at).max(0.5);
        (now.at, count(now).saturating_sub(count(then)) as f64 / span)
    };
    (0..samples.len()).map(point).collect()
}

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// Lines over time, with the kills.
fn lines(run: &RunFiles, lines: &[Line]) -> Drawn<String> {
    let top = highest(lines) * 1.1;
    draw(run, lines, 0.0..top, (0.0, top), |y| format!("{y:.0}"))
}

/// The same with a logarithmic scale: a kill makes a thousand of what was one.
fn log_lines(run: &RunFiles, lines: &[Line]) -> Drawn<String> {
    let top = highest(lines) * 1.5;
    let label = |millis: &f64| match *millis {
        millis if millis >= 1e3 => format!("{:.0} s", millis / 1e3),
        millis => format!("{millis:.0} ms"),
    };
    draw(run, lines, (1.0..top).log_scale(), (1.0, top), label)
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|(_, _, points)| points).map(|(_, y)| *y).fold(1.0, f64::max)
}

/// A vertical axis of either scale.
fn draw<Y>(
    run: &RunFiles,
    lines: &[Line],
    axis: Y,
    (bottom, top): (f64, f64),
    label: impl Fn(&f64) -> String,
) -> Drawn<String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_right(16)
            .margin_top(26)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end(run), axis)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GRID)
            .y_labels(5)
            .x_labels(10)
            .label_style(("sans-serif", 15).into_font().color(&INK))
            .x_label_formatter(&|x| format!("{x:.0} s"))
            .y_label_formatter(&label)
            .draw()?;
        // Named only as long as the names have room.
        let named = run.record.kills.len() <= 10;
        for (at, killed) in &run.record.kills {
            let line = PathElement::new(vec![(*at, bottom), (*at, top)], BAD.mix(0.45));
            chart.draw_series(std::iter::once(line))?;
            if named {
                let style = ("sans-serif", 13).into_font().color(&BAD);
                chart.draw_series(std::iter::once(
                    EmptyElement::at((*at, top)) + Text::new(killed.as_str(), (3, 1), style),
                ))?;
            }
        }
        for (_, colour, points) in lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        }
        legend(&area, lines)?;
        area.present()?;
    }
    Ok(svg)
}

/// The lines' names, in their colours, above the chart.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, lines: &[Line]) -> Drawn<()> {
    let mut x = 70;
    for (name, colour, _) in lines {
        area.draw(&Rectangle::new([(x, 8), (x + 14, 13)], colour.filled()))?;
        let style = ("sans-serif", 15).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(*name, (x + 20, 11), style))?;
        x += 40 + 8 * name.len() as i32;
    }
    Ok(())
}

/// A breaker's states: from, to, state.
type Spans = Vec<(String, Vec<(f64, f64, String)>)>;

/// Each breaker's states over the run. A breaker is closed until it says otherwise, and again after its process died.
fn breakers(run: &RunFiles) -> Spans {
    let mut names: Vec<&String> = run.record.changes.iter().map(|(_, name, _)| name).collect();
    names.extend(run.samples.iter().flat_map(|sample| sample.breakers.keys()));
    names.sort_unstable();
    names.dedup();
    let end = end(run);
    let spans = |name: &String| {
        let owner = name.split('-').next().unwrap_or_default();
        let deaths = run.record.kills.iter().filter(|(_, killed)| killed.as_str() == owner);
        let mut changes: Vec<(f64, &str)> = deaths.map(|(at, _)| (*at, "closed")).collect();
        for (at, changed, state) in &run.record.changes {
            if changed == name {
                changes.push((at.saturating_sub(run.record.started) as f64 / 1e3, state.as_str()));
            }
        }
        changes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut spans = Vec::new();
        let (mut from, mut now) = (0.0, "closed");
        for (at, state) in changes {
            spans.push((from, at.min(end), now.to_owned()));
            (from, now) = (at.min(end), state);
        }
        spans.push((from, end, now.to_owned()));
        (name.clone(), spans)
    };
    names.into_iter().map(spans).collect()
}

/// One row a breaker, coloured by its state.
fn timeline(run: &RunFiles, breakers: &Spans) -> Drawn<String> {
    const ROW: i32 = 26;
    const LEFT: i32 = 150;
    let height = (breakers.len().max(1) as i32 * ROW + 30) as u32;
    let scale = f64::from(WIDTH as i32 - LEFT - 16) / end(run);
    let x = |at: f64| LEFT + (at * scale) as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let text = |align| ("sans-serif", 15).into_font().color(&INK).pos(Pos::new(align, VPos::Center));
        for (row, (name, spans)) in breakers.iter().enumerate() {
            let top = row as i32 * ROW + 4;
            area.draw(&Text::new(name.replace('-', " \u{2192} "), (LEFT - 10, top + 9), text(HPos::Right)))?;
            for (from, to, state) in spans {
                let colour = match state.as_str() {
                    "closed" => GOOD.mix(0.35),
                    "open" => BAD.mix(0.9),
                    "half_open" => AMBER.mix(0.9),
                    _ => INK.mix(0.6),
                };
                // A state of a few milliseconds is still worth a stroke.
                let right = x(*to).max(x(*from) + 1);
                area.draw(&Rectangle::new([(x(*from), top), (right, top + 18)], colour.filled()))?;
            }
        }
        let seconds = end(run);
        for tick in 0..=10 {
            let at = seconds * f64::from(tick) / 10.0;
            area.draw(&Text::new(format!("{at:.0} s"), (x(at), height as i32 - 12), text(HPos::Center)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// The last second of the charts.
fn end(run: &RunFiles) -> f64 {
    run.samples.last().map_or(1.0, |sample| sample.at).max(1.0)
}
