//! What the compute suite shows: times, ratios, geometric means.

use super::engines::Peer;
use super::process::Started;
use crate::report::Spread;
use serde::Serialize;

/// A program's times, in the order of the peers.
#[derive(Debug, Serialize)]
pub struct Row {
    pub program: &'static str,
    pub amount: u32,
    pub seconds: Vec<(Peer, Spread)>,
    /// How many times as long as Dormouse the peer takes: the median of what each round says, for a machine that others use too is not
    /// as fast in one round as in the next.
    pub ratios: Vec<(Peer, f64)>,
}

impl Row {
    /// Of each peer's seconds in each round.
    pub fn new(program: &'static str, amount: u32, rounds: Vec<(Peer, Vec<f64>)>) -> Row {
        let ours = rounds.iter().find(|(peer, _)| *peer == Peer::Dormouse);
        let ratios = ours.map_or(Vec::new(), |(_, ours)| {
            let others = rounds.iter().filter(|(peer, _)| *peer != Peer::Dormouse);
            let ratio = |theirs: &Vec<f64>| {
                let each = theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours);
                Spread::of(each.collect()).median
            };
            others
                .map(|(peer, theirs)| (*peer, ratio(theirs)))
                .collect()
        });
        let spreads = rounds.into_iter();
        Row {
            program,
            amount,
            seconds: spreads.map(|(peer, all)| (peer, Spread::of(all))).collect(),
            ratios,
        }
    }
}

/// Compiling a module on so many cores.
#[derive(Debug, Serialize)]
pub struct Compilation {
    pub module: String,
    pub wasm_bytes: u64,
    pub cores: usize,
    pub peer: Peer,
    pub wall_s: Spread,
    pub processor_s: Spread,
    pub wall_s_per_megabyte: f64,
    pub compiled_bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub programs: Vec<Row>,
    /// Over all programs, how many times as long as Dormouse each peer takes.
    pub geometric_means: Vec<(Peer, f64)>,
    pub compilations: Vec<Compilation>,
    pub starts: Vec<Started>,
}

impl Report {
    pub fn fill_in_means(&mut self) {
        let mut peers: Vec<Peer> = self
            .programs
            .iter()
            .flat_map(|row| row.ratios.iter().map(|(peer, _)| *peer))
            .collect();
        peers.sort();
        peers.dedup();
        self.geometric_means = peers
            .into_iter()
            .map(|peer| {
                let logarithms: Vec<f64> = self
                    .programs
                    .iter()
                    .flat_map(|row| &row.ratios)
                    .filter(|(other, _)| *other == peer)
                    .map(|(_, ratio)| ratio.ln())
                    .collect();
                let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
                (peer, mean.exp())
            })
            .collect();
    }

    pub fn print(&self) {
        self.print_programs();
        if !self.compilations.is_empty() {
            println!("\nCompile time");
            println!(
                "{:14} {:>5} {:15} {:>9} {:>9} {:>10}",
                "module", "cores", "peer", "wall s", "cpu s", "wall s/MB"
            );
        }
        for row in &self.compilations {
            println!(
                "{:14} {:5} {:15} {:9.3} {:9.3} {:10.3}",
                row.module,
                row.cores,
                row.peer.name(),
                row.wall_s.median,
                row.processor_s.median,
                row.wall_s_per_megabyte
            );
        }
        if !self.starts.is_empty() {
            println!("\nStart of a process that does nothing, compiled ahead");
            println!(
                "{:10} {:>9} {:>9} {:>12}",
                "peer", "wall us", "cpu us", "peak RSS KiB"
            );
        }
        for row in &self.starts {
            println!(
                "{:10} {:9.0} {:9.0} {:12.0}",
                row.peer,
                row.wall_us.median,
                row.processor_us.median,
                row.resident_bytes as f64 / 1024.0
            );
        }
    }

    fn print_programs(&self) {
        let Some(first) = self.programs.first() else {
            return;
        };
        println!("\nSeconds, and how many times as long as Dormouse");
        print!("{:15}", "program");
        for (peer, _) in &first.seconds {
            print!(" {:>15}", peer.name());
        }
        for (peer, _) in &first.ratios {
            print!(" {:>17}", format!("{}/dor.", peer.name()));
        }
        println!();
        for row in &self.programs {
            print!("{:15}", row.program);
            for (_, seconds) in &row.seconds {
                print!(" {:15.3}", seconds.median);
            }
            for (_, ratio) in &row.ratios {
                print!(" {ratio:17.3}");
            }
            println!();
        }
        print!("{:15}", "geometric mean");
        for _ in &first.seconds {
            print!(" {:15}", "");
        }
        for (_, mean) in &self.geometric_means {
            print!(" {mean:17.3}");
        }
        println!();
    }
}
