//! The engine passes the official test suite, except for what is listed as an expected failure.

use spec_tests::{EXPECTED_FAILURES, Expectations, official, run};

#[test]
fn the_official_suite_passes_on_fresh_restored_reset_and_linked_instances() {
    let files = official();
    let expectations = Expectations::parse(EXPECTED_FAILURES).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let mut failures = Vec::new();
    let total = run(&files, &expectations, threads, |report| {
        failures.extend(report.failures.clone());
    });
    println!("{total}");
    assert!(total.failed == 0, "{}", failures.join("\n"));
    assert!(total.passed > total.skipped, "{total}");
    assert_eq!(total.restored, total.instances);
    assert_eq!(total.reset, total.instances);
    // All but those whose restoring would not be the same instance: see `Mode::LinkedRestored`.
    assert!(total.linked > total.instances && total.relinked > total.instances);
}
