//! Figures as SVG: lines with dots, logarithmic or linear axes, a legend. Nothing of it is interactive, so that the files are
//! small, alike from run to run, and show in any browser.

use super::table::{Axis, Figure};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Colours that also those tell apart who do not see all of them (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];

/// Maps values to a part of the picture.
struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Scale {
        let most = values.clone().fold(f64::MIN, f64::max);
        let (least, most) = if axis.logarithmic {
            let positive = values.filter(|value| *value > 0.0);
            let least = positive.fold(f64::MAX, f64::min);
            let most = if most > 0.0 { most } else { 1.0 };
            let least = if least <= most { least } else { most };
            let floor = 10f64.powf(least.log10().floor());
            (floor, 10f64.powf(most.log10().ceil()).max(floor * 10.0))
        } else {
            let step = step(most);
            (0.0, (most / step).ceil().max(1.0) * step)
        };
        Scale {
            logarithmic: axis.logarithmic,
            least,
            most,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> Option<f64> {
        let part = if self.logarithmic {
            if value <= 0.0 {
                return None;
            }
            (value / self.least).log10() / (self.most / self.least).log10()
        } else {
            value / self.most
        };
        Some(self.from + part * (self.to - self.from))
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.most / self.least).log10().round() as i32;
            return (0..=decades)
                .map(|decade| self.least * 10f64.powi(decade))
                .collect();
        }
        let step = step(self.most);
        let count = (self.most / step).round() as usize;
        (0..=count).map(|tick| tick as f64 * step).collect()
    }
}

/// A round distance of about a fifth.
fn step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let rough = most / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    step.into_iter().find(|step| *step >= rough).unwrap_or(most)
}

fn label(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 1e6 => format!("{}M", round(value / 1e6)),
        value if value >= 1e3 => format!("{}k", round(value / 1e3)),
        value => round(value),
    }
}

/// Without digits that only binary fractions have.
fn round(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

pub fn svg(figure: &Figure) -> String {
    let points = || figure.series.iter().flat_map(|series| &series.points);
    let x = Scale::new(
        &figure.x,
        points().map(|point| point.0),
        LEFT,
        WIDTH - RIGHT,
    );
    let y = Scale::new(
        &figure.y,
        points().map(|point| point.1),
        HEIGHT - BOTTOM,
        TOP,
    );
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut put = |line: std::fmt::Arguments<'_>| {
        let _ = out.write_fmt(line);
        out.push('\n');
    };
    put(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    ));
    put(format_args!(
        r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##
    ));
    put(format_args!(
        r#"<text x="{LEFT}" y="22" font-size="14">{}</text>"#,
        escaped(&figure.title)
    ));
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in x.ticks() {
        let Some(at) = x.at(tick) else { continue };
        put(format_args!(
            r##"<path d="M{at:.1} {TOP}V{bottom}" stroke="#ddd"/><text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"##,
            bottom + 18.0,
            label(tick)
        ));
    }
    for tick in y.ticks() {
        let Some(at) = y.at(tick) else { continue };
        put(format_args!(
            r##"<path d="M{LEFT} {at:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            LEFT - 8.0,
            at + 4.0,
            label(tick)
        ));
    }
    put(format_args!(
        r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333"/>"##
    ));
    put(format_args!(
        r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
        (LEFT + right) / 2.0,
        HEIGHT - 16.0,
        escaped(&figure.x.name)
    ));
    put(format_args!(
        r#"<text transform="translate(20 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        (TOP + bottom) / 2.0,
        escaped(&figure.y.name)
    ));
    for (number, series) in figure.series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<(f64, f64)> = series
            .points
            .iter()
            .filter_map(|point| Some((x.at(point.0)?, y.at(point.1)?)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        put(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.join(" ")
        ));
        for (x, y) in places {
            put(format_args!(
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
            ));
        }
        let line = TOP + 16.0 * number as f64 + 8.0;
        put(format_args!(
            r#"<rect x="{}" y="{:.1}" width="12" height="4" fill="{colour}"/><text x="{}" y="{:.1}">{}</text>"#,
            right + 14.0,
            line - 6.0,
            right + 32.0,
            line,
            escaped(&series.name)
        ));
    }
    put(format_args!("</svg>"));
    out
}

#[cfg(test)]
mod tests {
    use super::super::table::{Series, axis};
    use super::*;

    fn figure(points: Vec<(f64, f64)>, logarithmic: bool) -> Figure {
        Figure {
            name: "f",
            title: "a < b".to_owned(),
            x: axis("x", logarithmic),
            y: axis("y", logarithmic),
            series: vec![Series {
                name: "s".to_owned(),
                points,
            }],
        }
    }

    #[test]
    fn points_of_any_size_stay_in_the_picture() {
        for logarithmic in [false, true] {
            for points in [
                vec![],
                vec![(0.0, 0.0)],
                vec![(1.0, 1.0)],
                vec![(0.001, 1e9), (5e5, 3.0)],
            ] {
                let text = svg(&figure(points, logarithmic));
                assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
                for part in text.split("<circle cx=\"").skip(1) {
                    let x: f64 = part[..part.find('"').unwrap()].parse().unwrap();
                    assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
                }
            }
        }
    }

    #[test]
    fn titles_do_not_become_markup() {
        assert!(svg(&figure(vec![], false)).contains("a &lt; b"));
    }
}
