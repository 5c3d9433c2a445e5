//! Short runs of every target on seeded inputs and on the committed corpus, and of every canary: what the ordinary gate runs.
//!
//! `DORMOUSE_FUZZ_RUNS` multiplies the number of inputs, `DORMOUSE_FUZZ_SEED` chooses others.

use crate::random::Random;
use crate::{Canary, Check, Verdict, run};
use std::panic::catch_unwind;
use std::path::Path;

struct Target {
    name: &'static str,
    check: Check,
    runs: usize,
    bytes_max: u64,
}

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().expect("a number"),
        Err(_) => otherwise,
    }
}

impl Target {
    /// Seeded inputs, then those that are committed.
    fn inputs(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let seed = setting("DORMOUSE_FUZZ_SEED", 1);
        let runs = self.runs as u64 * setting("DORMOUSE_FUZZ_RUNS", 1);
        let bytes_max = self.bytes_max;
        let seeded = (0..runs).map(move |run| {
            let mut random = Random::new(seed << 32 | run);
            let bytes = 16 + random.below(bytes_max) as usize;
            (format!("seed {seed}, run {run}"), random.bytes(bytes))
        });
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(self.name);
        let committed = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .map(|entry| {
                let path = entry.expect("a readable directory").path();
                (
                    path.display().to_string(),
                    std::fs::read(&path).expect("a readable file"),
                )
            });
        seeded.chain(committed)
    }

    /// Runs all inputs; most of them have to be cases with something to compare.
    fn run(&self) {
        let (mut cases, mut comparisons) = (0, 0);
        for (name, input) in self.inputs() {
            match run(self.check, &input, Canary::Absent) {
                Ok(Verdict::NoCase) => {}
                Ok(Verdict::Checked(count)) => {
                    cases += 1;
                    comparisons += count;
                }
                Err(finding) => panic!("{}: {name}: {finding}", self.name),
            }
        }
        println!("{}: {cases} cases, {comparisons} comparisons", self.name);
        assert!(cases * 2 >= self.runs, "only {cases} inputs are cases");
        assert!(
            comparisons >= cases,
            "only {comparisons} comparisons in {cases} cases"
        );
    }

    /// Runs inputs until the target's own error is found, which a few of them have to do.
    fn trip(&self) {
        let found = self.inputs().take(60).any(|(_, input)| {
            // What is wrong may also show as a panic of what is tested, which libFuzzer sees as well.
            !matches!(
                catch_unwind(|| run(self.check, &input, Canary::Present)),
                Ok(Ok(_))
            )
        });
        assert!(found, "{} does not find the error it makes", self.name);
    }
}

macro_rules! targets {
    ($($name:ident: $runs:expr, $bytes_max:expr;)*) => {$(
        mod $name {
            use super::*;

            const TARGET: Target = Target {
                name: stringify!($name),
                check: crate::$name::check,
                runs: $runs,
                bytes_max: $bytes_max,
            };

            #[test]
            fn finds_nothing() {
                TARGET.run();
            }

            #[test]
            fn finds_its_canary() {
                TARGET.trip();
            }
        }
    )*};
}

targets! {
    differential: 200, 4000;
    restore: 150, 3000;
    layers: 150, 400;
    linked: 200, 6000;
    preempt: 80, 3000;
    turns: 100, 300;
    waiting: 400, 400;
    loaders: 1500, 200;
    loops: 80, 200;
    http: 1500, 300;
    host_calls: 500, 200;
}
