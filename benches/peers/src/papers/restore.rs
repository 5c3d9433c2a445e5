//! What a restore costs: the line through the cost by pages written, and that it does not depend on the memory's size.
//!
//! The warm-pool paper gives the cost of a restore as a constant for the mapping and a cost for each page that the call
//! writes. Its two constants are fitted here, for a cold start (restored into a slot that another module left, called, dropped)
//! and a warm one (called and reset), of Dormouse and of Wasmtime's pooling allocator.

use super::Setting;
use super::table::{Figure, Findings, Series, Table, Unit, axis, column};
use crate::report::Comparison;
use crate::worker::{Kind, Peer, Worker};
use crate::workload::{RESTORED, RESTORED_WRITTEN, Set};
use crate::{start, system};
use anyhow::Result;

const PEERS: [Peer; 2] = [Peer::Dormouse, Peer::Wasmtime];
const KINDS: [Kind; 2] = [Kind::Cold, Kind::Warm];

/// A line through points.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    constant: f64,
    each: f64,
    /// How far the farthest point is from it, as a part of the point's value.
    error: f64,
}

/// The line whose relative errors have the least squares: an error of a tenth counts the same at one page and at a thousand.
fn fit(points: &[(f64, f64)]) -> Line {
    let weighed = points.iter().map(|(x, y)| (*x, *y, 1.0 / (y * y)));
    let [mut w, mut wx, mut wy, mut wxx, mut wxy] = [0.0; 5];
    for (x, y, weight) in weighed {
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let each = (w * wxy - wx * wy) / (w * wxx - wx * wx);
    let constant = (wy - each * wx) / w;
    let error = |(x, y): &(f64, f64)| ((constant + each * x) / y - 1.0).abs();
    Line {
        constant,
        each,
        error: points.iter().map(error).fold(0.0, f64::max),
    }
}

struct Results(Vec<Comparison>);

impl Results {
    fn median_us(&self, workload: &str, kind: Kind, peer: Peer) -> Option<f64> {
        let comparison = self
            .0
            .iter()
            .find(|comparison| comparison.workload == workload && comparison.kind == kind)?;
        let name = peer.name();
        let timing = comparison.timings.iter().find(|timing| timing.peer == name);
        Some(timing?.operation_us.median)
    }
}

fn series_name(peer: Peer, kind: Kind) -> String {
    format!("{}, {kind:?}", peer.name()).to_lowercase()
}

pub fn run(setting: &Setting) -> Result<Findings> {
    system::pin(system::LOAD_CORE)?;
    let mut workers = PEERS
        .iter()
        .map(|peer| Worker::start(*peer, Set::Restore))
        .collect::<Result<Vec<_>>>()?;
    let rounds = setting.count(15, 3);
    let batch_ms = if setting.quick { 2.0 } else { 10.0 };
    let results = Results(start::compare(&mut workers, "", rounds, batch_ms)?);
    drop(workers);
    let (by_pages, by_size) = RESTORED.split_at(RESTORED_WRITTEN);

    let columns = |first: &str| {
        let mut columns = vec![column(first, Unit::Count)];
        for kind in KINDS {
            for peer in PEERS {
                columns.push(column(&series_name(peer, kind), Unit::Microseconds));
            }
        }
        columns
    };
    let cells = |name: &str| {
        let medians = KINDS
            .iter()
            .flat_map(|kind| PEERS.iter().map(move |peer| (*kind, *peer)));
        let medians = medians.map(|(kind, peer)| results.median_us(name, kind, peer));
        medians.collect::<Vec<_>>()
    };
    let mut pages = Table::new(
        "restore-pages",
        "Start, call and reset by the pages that the call writes (image of 4 MiB)",
        columns("pages"),
    );
    for workload in by_pages {
        let count = Some(f64::from(workload.written_pages));
        let cells = std::iter::once(count).chain(cells(workload.name)).collect();
        pages.row("", super::table::Origin::Measured, cells);
    }

    let mut lines = Table::new(
        "restore-line",
        "The same as a line: a constant, and a cost for each page",
        vec![
            column("constant", Unit::Microseconds),
            column("a page", Unit::Microseconds),
            column("largest error", Unit::Percent),
        ],
    );
    let mut series = Vec::new();
    for kind in KINDS {
        for peer in PEERS {
            let points: Vec<(f64, f64)> = by_pages
                .iter()
                .filter_map(|workload| {
                    let cost = results.median_us(workload.name, kind, peer)?;
                    Some((f64::from(workload.written_pages), cost))
                })
                .collect();
            let line = fit(&points);
            let name = series_name(peer, kind);
            lines.measured(&name, &[line.constant, line.each, line.error * 100.0]);
            series.push(Series { name, points });
        }
    }
    lines.note("relative errors are least; time of the thread on the processor, medians of batches in turns");
    lines.note(
        "a warm reset beyond 256 pages drops them, which costs the page faults of the next call",
    );

    let mut sizes = Table::new(
        "restore-size",
        "Start, call and reset by the size of the memory (4 pages written of the first MiB)",
        columns("MiB"),
    );
    for workload in by_size {
        let mebibytes = Some((workload.memory_bytes() >> 20) as f64);
        let cells = std::iter::once(mebibytes)
            .chain(cells(workload.name))
            .collect();
        let name = if workload.filled {
            "image of all of it"
        } else {
            "image of 64 KiB"
        };
        sizes.row(name, super::table::Origin::Measured, cells);
    }
    sizes.note("an image of all of it has no page of zeros; Wasmtime's images are the data segments of a module");

    let figures = vec![
        Figure {
            name: "restore-pages",
            title: "A start by the pages that the call writes".to_owned(),
            x: axis("pages written", true),
            y: axis("microseconds", true),
            series,
        },
        Figure {
            name: "restore-size",
            title: "A cold start by the size of the memory".to_owned(),
            x: axis("MiB of memory", true),
            y: axis("microseconds", true),
            series: size_series(by_size, &results),
        },
    ];
    Ok(Findings {
        tables: vec![pages, lines, sizes],
        figures,
    })
}

fn size_series(workloads: &[crate::workload::Workload], results: &Results) -> Vec<Series> {
    let of = |name: &str, peer: Peer, filled: bool| Series {
        name: name.to_owned(),
        points: workloads
            .iter()
            .filter(|workload| workload.filled == filled)
            .filter_map(|workload| {
                let cost = results.median_us(workload.name, Kind::Cold, peer)?;
                Some(((workload.memory_bytes() >> 20) as f64, cost))
            })
            .collect(),
    };
    vec![
        of("dormouse", Peer::Dormouse, false),
        of("dormouse, filled", Peer::Dormouse, true),
        of("wasmtime", Peer::Wasmtime, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_its_points() {
        let points: Vec<_> = [1.0, 2.0, 64.0, 1024.0].map(|x| (x, 7.5 + 1.25 * x)).into();
        let line = fit(&points);
        assert!((line.constant - 7.5).abs() < 1e-9 && (line.each - 1.25).abs() < 1e-9);
        assert!(line.error < 1e-9);
    }
}
