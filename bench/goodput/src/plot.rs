//! The course of every run, one field for each link and direction.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::report::{Group, Report, median};
use crate::transfer::{Direction, STEP, Sample, Server};

/// Size of a field in pixels.
const FIELD: (u32, u32) = (460, 300);

/// Writes the picture.
///
/// # Errors
/// The file could not be written.
pub(crate) fn write(report: &Report, file: &Path, duration: Duration) -> Result<()> {
    let columns = Direction::ALL.len().min(report.groups().len()).max(1);
    let rows = report.groups().len().div_ceil(columns).max(1);
    let size = (FIELD.0 * columns as u32, FIELD.1 * rows as u32);
    let draw = || -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(file, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, group) in root.split_evenly((rows, columns)).iter().zip(report.groups()) {
            field(area, group, duration)?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn field(area: &Area<'_>, group: &Group, duration: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<(Server, Vec<f64>)> =
        group.rows.iter().map(|(server, runs)| (*server, median_course(runs))).collect();
    let top = lines.iter().flat_map(|(_, course)| course).fold(1.0, |top: f64, rate| top.max(*rate));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}, {}", group.condition, group.direction), ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..duration.as_secs_f64(), 0.0..top * 1.1)?;
    chart.configure_mesh().x_desc("seconds").y_desc("Mbit/s").light_line_style(TRANSPARENT).draw()?;
    for (server, course) in lines {
        let style = ShapeStyle { color: color(server).to_rgba(), filled: false, stroke_width: 2 };
        let points = course.into_iter().enumerate();
        let points = points.map(|(step, rate)| ((step as f64 + 0.5) * STEP.as_secs_f64(), rate));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(server.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// Step by step the median of the runs.
fn median_course(runs: &[Sample]) -> Vec<f64> {
    let steps = runs.iter().map(|run| run.course.len()).max().unwrap_or(0);
    (0..steps)
        .map(|step| median(runs.iter().filter_map(|run| run.course.get(step).copied()).collect()))
        .collect()
}

/// Told apart also by people who see red and green alike.
fn color(server: Server) -> RGBColor {
    match server {
        Server::Redis => RGBColor(0, 0, 0),
        Server::None => RGBColor(0, 114, 178),
        Server::Lifecycle => RGBColor(213, 94, 0),
    }
}
