//! Small multiples: a row a variant, goodput at the left, the latency of the answered at the right.

use std::time::Duration;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::Figures;
use crate::scenario::{Scenario, Time};
use crate::sim::Run;

const WIDTH: u32 = 920;
const ROW: u32 = 130;
const INK: RGBColor = RGBColor(0x5d, 0x6b, 0x7a);
const GRID: RGBColor = RGBColor(0xe8, 0xec, 0xf0);
const FAULT: RGBColor = RGBColor(0xfb, 0xe9, 0xe7);
const OTHERS: RGBColor = RGBColor(0xf6, 0xee, 0xd8);
const SURGE: RGBColor = RGBColor(0xee, 0xf3, 0xfb);
/// One for each load.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0x2f, 0x6f, 0xd0), RGBColor(0x18, 0x79, 0x4e), RGBColor(0xc9, 0x8a, 0x1b), RGBColor(0x8b, 0x4f, 0xb8)];

type Drawn<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The charts of all variants that were run, as one SVG. Shaded: faults red, antagonists amber, surges blue.
///
/// # Errors
///
/// If plotters cannot draw, which it says only of devices.
pub fn charts(scenario: &Scenario, runs: &[Option<Run>]) -> Drawn<String> {
    let drawn: Vec<_> =
        scenario.variant.iter().zip(runs).filter_map(|(variant, run)| Some((variant, run.as_ref()?))).collect();
    let height = 26 + ROW * drawn.len().max(1) as u32;
    let (slowest, fastest) = latencies(scenario, &drawn.iter().map(|(_, run)| *run).collect::<Vec<_>>());
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let (head, body) = area.split_vertically(26);
        legend(&head, scenario)?;
        for ((variant, run), row) in drawn.iter().zip(body.split_evenly((drawn.len().max(1), 1))) {
            let clock = if variant.time == Time::Wall { " (real clock)" } else { "" };
            row.draw(&Text::new(
                format!("{}{clock}", variant.name),
                (8, 2),
                ("sans-serif", 14).into_font().color(&INK),
            ))?;
            let (left, right) = row.split_horizontally(WIDTH / 2);
            let percent = |y: &f64| format!("{:.0} %", y * 100.0);
            panel(&left, scenario, 0.0..1.05, (0.0, 1.05), percent, |load| {
                let goodput = Figures::new(scenario, run, Some(load)).goodput_by_second();
                goodput.into_iter().enumerate().filter_map(|(at, it)| Some((at as f64 + 0.5, it?))).collect()
            })?;
            let millis = |y: &f64| if *y < 1.0 { format!("{:.0} ms", y * 1e3) } else { format!("{y:.0} s") };
            panel(&right, scenario, (fastest..slowest).log_scale(), (fastest, slowest), millis, |load| {
                p99(scenario, run, load)
            })?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// The p99 of each second, in seconds.
fn p99(scenario: &Scenario, run: &Run, load: usize) -> Vec<(f64, f64)> {
    let figures = Figures::new(scenario, run, Some(load));
    let seconds = scenario.duration.0.as_secs();
    let second = Duration::from_secs;
    (0..seconds)
        .filter_map(|at| {
            let p99 = figures.latency(0.99, (second(at), second(at + 1)))?;
            Some((at as f64 + 0.5, p99.as_secs_f64().max(0.001)))
        })
        .collect()
}

/// The same vertical axis for all variants.
fn latencies(scenario: &Scenario, runs: &[&Run]) -> (f64, f64) {
    let loads = 0..scenario.load.len();
    let all = loads.flat_map(|load| runs.iter().flat_map(move |run| p99(scenario, run, load))).map(|(_, y)| y);
    let (low, high) = all.fold((f64::INFINITY, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    // From a power of ten, so that the axis has two of them.
    if low > high { (1.0, 0.01) } else { (high * 1.3, 10_f64.powf(low.log10().floor())) }
}

fn panel<Y>(
    area: &Area<'_>,
    scenario: &Scenario,
    axis: Y,
    (bottom, top): (f64, f64),
    label: impl Fn(&f64) -> String,
    points: impl Fn(usize) -> Vec<(f64, f64)>,
) -> Drawn<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let end = scenario.duration.0.as_secs_f64();
    let mut chart = ChartBuilder::on(area)
        .margin_right(12)
        .margin_top(18)
        .x_label_area_size(20)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end, axis)?;
    let stations = || scenario.station.iter();
    let surges = scenario.load.iter().flat_map(|load| &load.surge).map(|it| (it.from, it.to, SURGE));
    let others = stations().flat_map(|station| &station.antagonist).map(|it| (it.from, it.to, OTHERS));
    let faults = stations().flat_map(|station| &station.fault).map(|it| (it.from, it.to, FAULT));
    for (from, to, colour) in surges.chain(others).chain(faults) {
        let corners = [(from.0.as_secs_f64(), bottom), (to.0.as_secs_f64().min(end), top)];
        chart.draw_series(std::iter::once(Rectangle::new(corners, colour.filled())))?;
    }
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .y_labels(4)
        .x_labels(8)
        .label_style(("sans-serif", 12).into_font().color(&INK))
        .x_label_formatter(&|x| format!("{x:.0} s"))
        .y_label_formatter(&label)
        .draw()?;
    for load in 0..scenario.load.len() {
        let colour = COLOURS[load % COLOURS.len()];
        // A second without a figure is a gap, not a line across it.
        for line in points(load).chunk_by(|(a, _), (b, _)| b - a < 1.5) {
            match line {
                [lone] => chart.draw_series(std::iter::once(Circle::new(*lone, 1, colour.filled())))?,
                line => chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?,
            };
        }
    }
    Ok(())
}

/// What the colours and the columns are.
fn legend(area: &Area<'_>, scenario: &Scenario) -> Drawn<()> {
    let style = || ("sans-serif", 13).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new("goodput: callers answered in time", (52, 12), style()))?;
    area.draw(&Text::new("p99 of the answered", (WIDTH as i32 / 2 + 52, 12), style()))?;
    let shades = [
        (FAULT, "fault", scenario.station.iter().any(|station| !station.fault.is_empty())),
        (OTHERS, "others", scenario.station.iter().any(|station| !station.antagonist.is_empty())),
        (SURGE, "surge", scenario.load.iter().any(|load| !load.surge.is_empty())),
    ];
    let mut x = 280;
    for (colour, name, _) in shades.into_iter().filter(|(_, _, is_drawn)| *is_drawn) {
        area.draw(&Rectangle::new([(x, 6), (x + 14, 17)], colour.filled()))?;
        area.draw(&Text::new(name, (x + 19, 12), style()))?;
        x += 36 + 7 * name.len() as i32;
    }
    let mut x = WIDTH as i32 / 2 + 200;
    if scenario.load.len() > 1 {
        for (index, load) in scenario.load.iter().enumerate() {
            area.draw(&Rectangle::new([(x, 9), (x + 14, 14)], COLOURS[index % COLOURS.len()].filled()))?;
            area.draw(&Text::new(load.name.clone(), (x + 19, 12), style()))?;
            x += 36 + 7 * load.name.chars().count() as i32;
        }
    }
    Ok(())
}
