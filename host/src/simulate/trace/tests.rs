//! Traces of either format, whole and broken, and made up ones.

use super::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const MINUTE_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn calls(mut trace: Trace) -> Vec<Call> {
    std::iter::from_fn(|| trace.next_call().unwrap()).collect()
}

/// The error that the files give, at once or on the way.
fn error(paths: &[PathBuf]) -> String {
    let mut trace = match Trace::open(paths, Duration::ZERO, 1) {
        Ok(trace) => trace,
        Err(error) => return error.to_string(),
    };
    loop {
        match trace.next_call() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => return error.to_string(),
        }
    }
}

const COUNTS: &str = "\
HashOwner,HashApp,HashFunction,Trigger,1,2,3
o,a,f,http,2,0,1000
o,a,g,timer,0,1,0
o,b,f,queue,0,0,3
";

const RUNS: &str = "\
HashFunction,HashApp,HashOwner,Count,Average,percentile_Average_0,percentile_Average_1,percentile_Average_25,\
percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100
f,a,o,1,1,100,100,200,300,400,500,1000
g,a,o,1,1,7,7,7,7,7,7,7
";

const MEMORY: &str = "HashApp,HashOwner,SampleCount,AverageAllocatedMb\na,o,5,120\n";

#[test]
fn counts_a_minute_become_calls_within_it_with_run_times_of_the_percentiles() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [
        file(directory.path(), "memory", MEMORY),
        file(directory.path(), "counts", COUNTS),
        file(directory.path(), "runs", RUNS),
    ];
    let trace = Trace::open(&paths, Duration::ZERO, 1).unwrap();
    assert_eq!(trace.functions(), 3);
    let memory: Vec<_> = (0..3)
        .map(|function| trace.memory_bytes(function))
        .collect();
    assert_eq!(memory, [Some(120_000_000), Some(120_000_000), None]);
    let found = calls(trace);
    assert!(found.is_sorted_by_key(|call| call.at_ns));
    let in_minute = |minute: u64, function: u32| {
        let of = |call: &&Call| (call.at_ns / MINUTE_NS, call.function) == (minute, function);
        found.iter().filter(of).count()
    };
    let counts: Vec<_> = (0..3)
        .map(|function| [0, 1, 2].map(|minute| in_minute(minute, function)))
        .collect();
    assert_eq!(counts, [[2, 0, 1000], [0, 1, 0], [0, 0, 3]]);
    // The calls of a minute spread over it, and the run times over the percentiles.
    let (mut early, mut short) = (0, 0);
    for call in found.iter().filter(|call| call.function == 0) {
        let run_ms = call.run_ns.unwrap() / 1_000_000;
        assert!((100..=1000).contains(&run_ms));
        early += u32::from(call.at_ns % MINUTE_NS < MINUTE_NS / 4);
        short += u32::from(run_ms < 300);
    }
    assert!((200..300).contains(&early), "{early}");
    assert!((450..550).contains(&short), "{short}");
    for call in &found {
        match call.function {
            1 => assert_eq!(call.run_ns, Some(7_000_000)),
            2 => assert_eq!(call.run_ns, None),
            _ => {}
        }
    }
}

#[test]
fn a_seed_gives_the_same_calls_and_another_gives_others() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [file(directory.path(), "counts", COUNTS)];
    let with = |seed| calls(Trace::open(&paths, Duration::ZERO, seed).unwrap());
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
    // A later beginning cuts what lies before it, and counts from there.
    let begin = Duration::from_secs(150);
    let late = calls(Trace::open(&paths, begin, 1).unwrap());
    assert!((400..600).contains(&late.len()), "{}", late.len());
    assert!(late.iter().all(|call| call.at_ns < MINUTE_NS / 2));
}

#[test]
fn lines_in_the_order_of_ends_become_calls_in_the_order_of_starts() {
    let directory = tempfile::tempdir().unwrap();
    let text =
        "app,func,end_timestamp,duration\r\na,f,3.5,0.5\r\n\r\na,g,4,3.25\r\nb,f,5.0,1e-3\r\n";
    let path = file(directory.path(), "calls", text);
    let found = calls(Trace::open(&[path], Duration::ZERO, 1).unwrap());
    let expected = [
        (750_000_000, 3_250_000_000, 1),
        (3_000_000_000, 500_000_000, 0),
        (4_999_000_000, 1_000_000, 2),
    ];
    let found: Vec<_> = found
        .iter()
        .map(|call| (call.at_ns, call.run_ns.unwrap(), call.function))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_mistake_is_told_with_file_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str, words: &[&str]| {
        let path = file(directory.path(), "trace.csv", text);
        let message = error(&[path]);
        for word in ["trace.csv"].iter().chain(words) {
            assert!(message.contains(word), "no {word} in: {message}");
        }
    };
    let head = "app,func,end_timestamp,duration\n";
    let broken = |line: &str| format!("{head}a,f,1,0.5\n{line}\n");
    check("", &["empty"]);
    check("name,age\n", &["2019", "2021"]);
    check(&broken("a,f,2"), &["line 3", "3 columns", "has 4"]);
    check(
        &broken("a,f,soon,0.5"),
        &["line 3", "column 3 (end_timestamp)", "\"soon\"", "seconds"],
    );
    for duration in ["-1", "NaN", "inf", ""] {
        check(
            &broken(&format!("a,f,2,{duration}")),
            &["column 4 (duration)"],
        );
    }
    check(
        "HashOwner,HashApp,HashFunction,1,2\no,a,f,1,many\n",
        &["line 2", "column 5 (2)", "\"many\""],
    );
    check(
        "HashOwner,HashApp,HashFunction,1\no,a,f,4000000000\n",
        &["line 2", "mistake"],
    );
    check("HashOwner,HashApp,HashFunction\n", &["minutes"]);
    check("HashFunction,1\nf,1\n", &["HashOwner"]);
    let long = "x".repeat(2 << 20);
    check(&long, &["line 1", "MiB"]);
    let path = directory.path().join("trace.csv");
    fs::write(&path, b"app,func,end_timestamp,duration\n\xff,f,1,1\n").unwrap();
    assert!(error(&[path]).contains("line 2: it is not text"));
    assert!(error(&[directory.path().join("nowhere")]).contains("nowhere"));
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let counts = file(directory.path(), "counts", COUNTS);
    let runs = file(directory.path(), "runs", RUNS);
    let one = file(
        directory.path(),
        "one",
        "app,func,end_timestamp,duration\na,f,1,1\n",
    );
    assert!(error(std::slice::from_ref(&runs)).contains("missing"));
    assert!(error(&[counts.clone(), counts.clone()]).contains("another file"));
    assert!(error(&[counts, one.clone()]).contains("2021"));
    assert!(error(&[one, runs]).contains("2021"));
}

#[test]
fn a_call_far_out_of_order_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = "app,func,end_timestamp,duration\n".to_owned();
    for second in 0..70_000 {
        let _ = writeln!(text, "a,f,{},1", 1000 + second);
    }
    let _ = writeln!(text, "a,f,5,1");
    let path = file(directory.path(), "calls", &text);
    let message = error(&[path]);
    assert!(
        message.contains("line 70002") && message.contains("sort"),
        "{message}"
    );
}

fn generated(text: &str) -> (GeneratorOptions, Vec<Call>) {
    let options: GeneratorOptions = text.parse().unwrap();
    (options, calls(Trace::Generated(Generator::new(options))))
}

#[test]
fn a_made_up_trace_has_the_shape_that_was_asked_for() {
    let (options, found) = generated("functions=500,rate=50,span=2h,seed=3,swing=0");
    assert!(found.is_sorted_by_key(|call| call.at_ns));
    assert!(found.iter().all(|call| call.at_ns < 7200 * SECOND_NS));
    let expected = 50.0 * 7200.0;
    let count = found.len() as f64;
    assert!((count / expected - 1.0).abs() < 0.1, "{count}");
    let mut by_function = vec![0u32; options.functions as usize];
    for call in &found {
        by_function[call.function as usize] += 1;
    }
    // A few hot functions make nearly all calls; most are called less than once a minute.
    let hot: u32 = by_function[..50].iter().sum();
    assert!(f64::from(hot) > count * 0.85, "{hot}");
    let rare = by_function.iter().filter(|calls| **calls < 120).count();
    assert!(rare > 250, "{rare}");
    assert_eq!(
        generated("functions=500,rate=50,span=2h,seed=3,swing=0").1,
        found
    );
    assert_ne!(
        generated("functions=500,rate=50,span=2h,seed=4,swing=0").1,
        found
    );
}

#[test]
fn the_load_follows_the_day() {
    let (_, found) = generated("functions=20,rate=2,span=24h,swing=0.8");
    let half = found
        .iter()
        .filter(|call| call.at_ns < 12 * 3600 * SECOND_NS);
    let part = half.count() as f64 / found.len() as f64;
    // Half a sine above the mean: 1/2 + 0.8 / pi.
    assert!((part - 0.755).abs() < 0.03, "{part}");
}

#[test]
fn rare_functions_are_called_in_bursts_or_by_the_clock() {
    // 10 calls an hour each.
    let gaps = |text: &str| {
        let (_, found) = generated(text);
        let one: Vec<_> = found.iter().filter(|call| call.function == 3).collect();
        let gaps = one.windows(2).map(|pair| pair[1].at_ns - pair[0].at_ns);
        gaps.collect::<Vec<_>>()
    };
    let bursts = gaps("functions=10,skew=0,rate=0.0278,span=400h,timers=0,burst=5,swing=0");
    let short = bursts.iter().filter(|gap| **gap < 20 * SECOND_NS).count() as f64;
    let part = short / bursts.len() as f64;
    assert!(
        (0.7..0.9).contains(&part),
        "{part} of the gaps are within a burst"
    );
    let timers = gaps("functions=10,skew=0,rate=0.0278,span=100h,timers=1");
    let even = timers.iter().all(|gap| gap.abs_diff(timers[0]) < 1000);
    assert!(even && timers.len() > 900);
}

#[test]
fn mistakes_in_a_shape_are_named() {
    for (text, word) in [
        ("functions", "NAME=VALUE"),
        ("functions=0", "functions=0"),
        ("rate=fast", "rate=fast"),
        ("span=6", "duration"),
        ("colour=red", "there are functions"),
        ("timers=2", "from 0 to 1"),
    ] {
        let message = text.parse::<GeneratorOptions>().unwrap_err();
        assert!(message.contains(word), "{message}");
    }
    assert_eq!("".parse(), Ok(GeneratorOptions::default()));
}
