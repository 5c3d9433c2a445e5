//! The pictures of a simulation, as SVG: cold-start rate over budget, and memory over time.
//!
//! A picture is text of a page, so it is written here rather than by a library.

use super::Report;
use crate::units::format_size;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
/// Room for axes: left, right (for the legend), top, bottom.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart also by those who see no red or green (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933",
];

/// A line in a picture.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

struct Picture {
    title: &'static str,
    x: &'static str,
    lines: Vec<Line>,
    x_text: fn(f64) -> String,
    y_text: fn(f64) -> String,
}

/// All pictures, one below the other.
pub fn pictures(report: &Report) -> String {
    let mut pictures = Vec::new();
    let mut rates: Vec<Line> = Vec::new();
    for run in &report.runs {
        let point = (run.budget_bytes as f64, run.cold_rate * 100.0);
        match rates.iter_mut().find(|line| line.name == run.policy) {
            Some(line) => {
                let place = line.points.partition_point(|other| other.0 < point.0);
                line.points.insert(place, point);
            }
            None => rates.push(Line {
                name: run.policy.clone(),
                points: vec![point],
            }),
        }
    }
    pictures.push(Picture {
        title: "Cold starts over budget",
        x: "memory for warm instances",
        lines: rates,
        x_text: |bytes| format_size(bytes as u64),
        y_text: |percent| format!("{percent:.2}%"),
    });
    let several = report
        .runs
        .iter()
        .any(|run| run.budget_bytes != report.runs[0].budget_bytes);
    let held = report.runs.iter().map(|run| Line {
        name: match several {
            true => format!("{}, {}", run.policy, format_size(run.budget_bytes)),
            false => run.policy.clone(),
        },
        points: run
            .samples
            .iter()
            .map(|sample| (sample.at_s as f64 / 60.0, sample.held_bytes as f64))
            .collect(),
    });
    pictures.push(Picture {
        title: "Memory that warm instances hold",
        x: "minutes",
        lines: held.collect(),
        x_text: |minutes| format!("{minutes:.0}"),
        y_text: |bytes| format_size(bytes as u64),
    });
    let height = HEIGHT * pictures.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, picture) in pictures.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<g transform=\"translate(0 {})\">",
            index as f64 * HEIGHT
        );
        let _ = picture.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round number at least as large: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let mut power = 1e-9;
    while power * 10.0 <= value {
        power *= 10.0;
    }
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = steps.into_iter().find(|step| step * power >= value);
    fits.unwrap_or(10.0) * power
}

impl Picture {
    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let least_x = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most_x = points().map(|point| point.0).fold(0.0, f64::max);
        let most_y = round_up(points().map(|point| point.1).fold(0.0, f64::max));
        let least_x = if least_x < most_x { least_x } else { 0.0 };
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x_of = |x: f64| LEFT + (x - least_x) / (most_x - least_x).max(1e-9) * (right - LEFT);
        let y_of = |y: f64| bottom - y / most_y * (bottom - TOP);
        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>",
            self.title
        )?;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 12.0,
            self.x
        )?;
        for tick in 0..=5 {
            let part = f64::from(tick) / 5.0;
            let (value, y) = (most_y * part, y_of(most_y * part));
            writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                (self.y_text)(value)
            )?;
            let value = least_x + (most_x - least_x) * part;
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x_of(value),
                bottom + 16.0,
                (self.x_text)(value)
            )?;
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let mut path = String::new();
            for (index, (x, y)) in line.points.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                write!(path, "{command}{:.1} {:.1}", x_of(*x), y_of(*y))?;
                if line.points.len() < 20 {
                    writeln!(
                        svg,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                        x_of(*x),
                        y_of(*y)
                    )?;
                }
            }
            writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
            )?;
            let y = TOP + 18.0 * index as f64;
            writeln!(
                svg,
                "<path d=\"M{} {y}h18\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{}\">{}</text>",
                right + 12.0,
                right + 36.0,
                y + 4.0,
                line.name
            )?;
        }
        writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>"
        )
    }
}
