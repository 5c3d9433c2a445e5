//! Medians, and how results are shown: a table for people, JSON for machines.

use crate::worker::Kind;
use serde::Serialize;

/// The middle of some measurements, and the quarters around it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Spread {
        assert!(!values.is_empty());
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Spread {
            median: at(2),
            lower_quartile: at(1),
            upper_quartile: at(3),
        }
    }
}

/// How long one operation takes a peer.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    pub peer: String,
    /// The best of the peer's settings, where several were tried.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub setting: String,
    pub operation_us: Spread,
    /// How many times as long as Dormouse takes for the same, if that was measured.
    pub ratio_to_dormouse: Option<f64>,
}

/// What was measured of all peers.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub workload: String,
    pub kind: Kind,
    pub timings: Vec<Timing>,
}

impl Comparison {
    pub fn fill_in_ratios(&mut self) {
        let ours = self.timings.iter().find(|timing| timing.peer == "dormouse");
        let ours = ours.map(|timing| timing.operation_us.median);
        for timing in &mut self.timings {
            timing.ratio_to_dormouse = ours.map(|ours| timing.operation_us.median / ours);
        }
    }
}

/// What idle instances take, each.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    pub peer: String,
    pub workload: String,
    pub state: String,
    pub instances: usize,
    pub resident_bytes: f64,
    pub page_table_bytes: f64,
    pub total_bytes: f64,
}

pub fn print_comparisons(title: &str, unit: &str, scale: f64, comparisons: &[Comparison]) {
    if comparisons.is_empty() {
        return;
    }
    println!("\n{title}");
    let head = ("workload", "kind", "peer", "quartiles", "ratio");
    println!(
        "{:30} {:5} {:21} {unit:>9} {:>19} {:>6}  setting",
        head.0, head.1, head.2, head.3, head.4
    );
    for comparison in comparisons {
        for timing in &comparison.timings {
            let Spread {
                median,
                lower_quartile,
                upper_quartile,
            } = timing.operation_us;
            let ratio = timing
                .ratio_to_dormouse
                .map_or(String::new(), |ratio| format!("{ratio:.2}"));
            println!(
                "{:30} {:5} {:21} {:9.2} {:9.2}-{:9.2} {ratio:>6}  {}",
                comparison.workload,
                format!("{:?}", comparison.kind).to_lowercase(),
                timing.peer,
                median * scale,
                lower_quartile * scale,
                upper_quartile * scale,
                timing.setting,
            );
        }
    }
}

pub fn print_idle(idle: &[Idle]) {
    if idle.is_empty() {
        return;
    }
    println!("\nMemory of an idle instance, KiB (Pss and page tables)");
    println!(
        "{:24} {:10} {:30} {:>9} {:>9} {:>9} {:>9}",
        "workload", "peer", "state", "instances", "resident", "tables", "total"
    );
    for row in idle {
        println!(
            "{:24} {:10} {:30} {:9} {:9.2} {:9.2} {:9.2}",
            row.workload,
            row.peer,
            row.state,
            row.instances,
            row.resident_bytes / 1024.0,
            row.page_table_bytes / 1024.0,
            row.total_bytes / 1024.0,
        );
    }
}
