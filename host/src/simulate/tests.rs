//! Replays whose outcome can be worked out by hand, and what must hold of any.

use super::*;
use crate::pool::PolicyOptions;
use trace::GeneratorOptions;

const SECOND_NS: u64 = 1_000_000_000;

fn profile(restore_us: f64, held_bytes: u64) -> Profile {
    Profile {
        name: "made up".into(),
        restore_us: Quantiles::constant(restore_us),
        first_call_us: 10.0,
        open_us: 0.0,
        warm_us: 1.0,
        run_us: Quantiles::constant(1000.0),
        held_bytes,
        image_bytes: 0,
    }
}

fn play(policy: &str, budget_bytes: u64, profile: Profile, calls: &[(u64, u64, u32)]) -> Outcome {
    let limits = Limits {
        budget_bytes,
        instances_max: 1000,
    };
    let mut replay = Replay::new(policy.parse().unwrap(), limits, vec![profile], 1);
    for &(at_s, run_s, function) in calls {
        let call = Call {
            at_ns: at_s * SECOND_NS,
            run_ns: Some(run_s * SECOND_NS),
            function,
        };
        replay.call(call, |_| None);
    }
    replay.pass_to(1000 * SECOND_NS);
    replay.outcome()
}

#[test]
fn calls_are_cold_or_warm_and_held_as_worked_out_by_hand() {
    // Two calls at once, one after them, one long after: cold, cold, warm, cold.
    let calls = [(0, 10, 0), (5, 10, 0), (20, 1, 0), (700, 1, 0)];
    let outcome = play("keepalive:100s", 1 << 30, profile(100.0, 4096), &calls);
    assert_eq!((outcome.cold, outcome.warm), (3, 1));
    assert_eq!(
        (outcome.expired, outcome.displaced, outcome.dropped),
        (3, 0, 0)
    );
    assert_eq!(outcome.running_peak, 2);
    // A restore and what the first call takes longer; a hand-over.
    assert!((outcome.start_us.max - 110.0).abs() < 0.01);
    assert!((outcome.start_us.mean - (3.0 * 110.0 + 1.0) / 4.0).abs() < 0.01);
    assert!((outcome.response_us.max - 10_000_110.0).abs() < 0.01);
    // One waits from 10 s to 110 s; the other from 15 to 20 and from 21 to 121; the last from 701 to 801.
    let waited_s = 100.0 + 5.0 + 100.0 + 100.0;
    assert!((outcome.waiting_mean - waited_s / 1000.0).abs() < 0.001);
    assert!((outcome.held_bytes_mean as f64 - waited_s / 1000.0 * 4096.0).abs() < 4.0);
    assert_eq!(outcome.held_bytes_peak, 8192);
    assert!((outcome.running_mean - 22.0 / 1000.0).abs() < 0.001);
    let sampled: u64 = outcome.samples.iter().map(|sample| sample.calls).sum();
    let cold: u64 = outcome.samples.iter().map(|sample| sample.cold).sum();
    assert_eq!((sampled, cold), (4, 3));
    assert!(outcome.samples.len() < 1000);
    assert_eq!(outcome.samples.last().unwrap().at_s, 1000);
}

#[test]
fn a_budget_of_one_instance_holds_the_last_function_that_was_called() {
    let calls = [(0, 1, 0), (10, 1, 1), (20, 1, 1), (30, 1, 0)];
    let outcome = play("keepalive", 4096, profile(100.0, 4096), &calls);
    assert_eq!((outcome.cold, outcome.warm), (3, 1));
    assert_eq!(outcome.displaced, 2);
    let nothing = play("keepalive", 4095, profile(100.0, 4096), &calls);
    assert_eq!((nothing.cold, nothing.dropped), (4, 4));
}

#[test]
fn an_instance_made_ahead_is_there_when_its_restore_is_over() {
    // Two instances for each function: the second is made during the first call, in 5 s.
    let calls = [(0, 100, 0), (4, 100, 0), (20, 100, 0)];
    let outcome = play("fixed:2", 1 << 30, profile(5e6, 4096), &calls[..2]);
    assert_eq!((outcome.cold, outcome.warm, outcome.prewarmed), (2, 0, 1));
    let late = [calls[0], calls[2]];
    let outcome = play("fixed:2", 1 << 30, profile(5e6, 4096), &late);
    assert_eq!((outcome.cold, outcome.warm), (1, 1));
}

fn options(generator: &str) -> SimulateOptions {
    SimulateOptions {
        traces: Vec::new(),
        generate: Some(generator.parse::<GeneratorOptions>().unwrap()),
        begin: Duration::ZERO,
        span: None,
        speed: 1.0,
        policies: [
            "predicted",
            "fixed:2",
            "keepalive",
            "histogram",
            "greedy-dual",
        ]
        .map(|policy| policy.parse::<PolicyOptions>().unwrap())
        .to_vec(),
        budgets: vec![1 << 20, 1 << 30],
        profiles: vec!["dormouse".into()],
        trace_memory: false,
        seed: 1,
        write: None,
        json: false,
        plot: None,
        live: None,
    }
}

#[test]
fn every_policy_sees_the_same_calls_and_keeps_to_the_budget() {
    let options = options("functions=300,rate=20,span=30m");
    let report = replay(&options).unwrap();
    assert_eq!(report.runs.len(), 10);
    for run in &report.runs {
        assert_eq!(run.calls, report.trace.calls);
        assert_eq!(run.warm + run.cold, run.calls);
        assert_eq!(run.run_us, report.runs[0].run_us);
        assert!(run.held_bytes_peak <= run.budget_bytes, "{}", run.policy);
        assert!(run.cold >= report.trace.functions_called, "{}", run.policy);
        assert!(run.cold_rate < 1.0);
    }
    let again = replay(&options).unwrap();
    assert_eq!(again.to_json(), report.to_json());
    let table = report.to_table();
    assert!(
        table.contains("histogram") && table.contains("1 MiB"),
        "{table}"
    );
    let svg = plot::pictures(&report);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
}

#[test]
fn a_trace_that_is_written_and_read_again_gives_the_same_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.csv");
    // With one profile, for functions are numbered in the order of their first calls when they are read.
    let made = SimulateOptions {
        profiles: vec!["container".into()],
        budgets: vec![1 << 30],
        ..options("functions=50,rate=5,span=20m")
    };
    let calls = write_trace(&made, &path).unwrap();
    let read = SimulateOptions {
        traces: vec![path],
        generate: None,
        ..made.clone()
    };
    let (made, read) = (replay(&made).unwrap(), replay(&read).unwrap());
    assert_eq!(read.trace.calls, calls);
    for (made, read) in made.runs.iter().zip(&read.runs) {
        assert_eq!(made.calls, read.calls);
        let difference = made.cold.abs_diff(read.cold);
        assert!(
            difference <= made.calls / 100,
            "{}: {} {}",
            made.policy,
            made.cold,
            read.cold
        );
    }
}

#[test]
fn at_twice_the_speed_everything_takes_half_the_time() {
    let once = options("functions=50,rate=5,span=20m");
    let twice = SimulateOptions {
        speed: 2.0,
        ..once.clone()
    };
    let (once, twice) = (replay(&once).unwrap(), replay(&twice).unwrap());
    assert_eq!(once.trace.calls, twice.trace.calls);
    assert!((once.trace.seconds / twice.trace.seconds - 2.0).abs() < 1e-6);
    let (slow, fast) = (once.runs[0].run_us.mean, twice.runs[0].run_us.mean);
    assert!((slow / fast - 2.0).abs() < 1e-3);
}
