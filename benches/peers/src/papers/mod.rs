//! `papers`: the tables of the papers about this kind of system, with the papers' numbers, ours, and baselines that are
//! measured in the same run on the same machine.
//!
//! Each piece is an experiment of its own, gives tables and figures as data (`table`), and says in its notes how they were
//! measured. A baseline that is not installed or does not run is left out, and the table says so. The papers' own numbers
//! come from other machines: they stand for orders of magnitude, and the ratios that count are to the baselines.

mod baseline;
mod disk;
mod faasm;
mod load;
mod microvm;
mod plot;
mod pool;
mod restore;
mod server;
mod ssvm;
mod table;
mod warm_pool;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};
use table::Findings;

#[derive(clap::Args)]
pub struct Options {
    /// Pieces to run; all of them by default.
    #[arg(value_enum)]
    pieces: Vec<Piece>,
    /// The dormouse binary; by default the release build of this repository.
    #[arg(long)]
    dormouse: Option<PathBuf>,
    /// A Linux kernel for the virtual machine; by default the newest in /boot.
    #[arg(long)]
    vm_kernel: Option<PathBuf>,
    /// The files of a trace for `pool`, as `dormouse simulate` takes them; a generated one by default.
    #[arg(long, value_delimiter = ',')]
    trace: Vec<PathBuf>,
    /// Measures less, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Writes JSON and SVG files here, as PIECE.json and FIGURE.svg.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Begins the names of files in the folder, as a date does.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Piece {
    /// The warm-pool paper, Table II: cold and warm calls and idle memory, beside containers, machines, processes.
    WarmPool,
    /// What a restore costs, by the pages that calls write and by the size of the memory.
    Restore,
    /// Faasm, Table 3 and Figure 10: a no-op's start and footprint; latency of starts by their rate.
    Faasm,
    /// REAP and Spice: calls whose image is on disk, by their working set.
    Disk,
    /// The warm-pool paper, Table III and its figure: cold starts by policy and budget, simulated.
    Pool,
    /// The SSVM paper: a no-op, a copied file, four programs.
    Ssvm,
}

impl Piece {
    const ALL: [Piece; 6] = [
        Piece::WarmPool,
        Piece::Restore,
        Piece::Faasm,
        Piece::Disk,
        Piece::Ssvm,
        Piece::Pool,
    ];

    fn name(self) -> &'static str {
        match self {
            Piece::WarmPool => "warm-pool",
            Piece::Restore => "restore",
            Piece::Faasm => "faasm",
            Piece::Disk => "disk",
            Piece::Pool => "pool",
            Piece::Ssvm => "ssvm",
        }
    }

    fn run(self, setting: &Setting) -> Result<Findings> {
        match self {
            Piece::WarmPool => warm_pool::run(setting),
            Piece::Restore => restore::run(setting),
            Piece::Faasm => faasm::run(setting),
            Piece::Disk => disk::run(setting),
            Piece::Pool => pool::run(setting),
            Piece::Ssvm => ssvm::run(setting),
        }
    }
}

/// What all pieces need to know.
struct Setting {
    dormouse: PathBuf,
    /// The repository.
    root: PathBuf,
    vm_kernel: Option<PathBuf>,
    trace: Vec<PathBuf>,
    quick: bool,
}

impl Setting {
    /// So many, or a few when it is only to be seen that everything runs.
    fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    piece: &'static str,
    #[serde(flatten)]
    findings: &'a Findings,
}

pub fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dormouse = options
        .dormouse
        .clone()
        .unwrap_or_else(|| root.join("target/x86_64-unknown-linux-gnu/release/dormouse"));
    ensure!(
        dormouse.exists(),
        "{} does not exist: cargo build --release, or name the binary with --dormouse",
        dormouse.display()
    );
    let setting = Setting {
        dormouse,
        root,
        vm_kernel: options.vm_kernel.clone(),
        trace: options.trace.clone(),
        quick: options.quick,
    };
    let pieces = match &options.pieces[..] {
        [] => &Piece::ALL[..],
        pieces => pieces,
    };
    let mut all = Vec::new();
    for piece in pieces {
        let findings = piece
            .run(&setting)
            .with_context(|| format!("the piece {}", piece.name()))?;
        if !options.json {
            for table in &findings.tables {
                print!("{}", table.to_text());
            }
        }
        if let Some(folder) = &options.out {
            write(folder, &options.prefix, piece.name(), &findings)?;
        }
        all.push((piece.name(), findings));
    }
    if options.json {
        let documents: Vec<Document> = all
            .iter()
            .map(|(piece, findings)| Document {
                piece: *piece,
                findings,
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}

/// Keeps a piece's findings in files, as soon as they are there.
fn write(folder: &Path, prefix: &str, piece: &'static str, findings: &Findings) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let keep = |name: String, text: String| {
        let path = folder.join(format!("{prefix}{name}"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let document = Document { piece, findings };
    let mut json = serde_json::to_string_pretty(&document)?;
    json.push('\n');
    keep(format!("papers-{piece}.json"), json)?;
    for figure in &findings.figures {
        keep(format!("papers-{}.svg", figure.name), plot::svg(figure))?;
    }
    Ok(())
}
