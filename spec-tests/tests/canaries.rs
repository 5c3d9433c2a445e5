//! The runner can fail: each of these would pass unnoticed if it did not look.

use spec_tests::{Counts, Expectations, TestFile, files_at, run};

/// A module whose memory, table and global a call changes, so that what is left over from an earlier run is seen.
const COUNTER: &str = r#"
(module
  (memory 1)
  (table 1 funcref)
  (elem declare func $f)
  (global $count (export "count") (mut i32) (i32.const 10))
  (func $f)
  (func (export "next") (result i32 i32 i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (global.get $count)
    (i32.load (i32.const 8))
    (ref.is_null (table.get (i32.const 0)))
    (table.set (i32.const 0) (ref.func $f)))
  (func (export "trap") (unreachable)))
"#;

fn run_text(text: impl Into<String>, expectations: &str) -> (Counts, Vec<String>) {
    let file = TestFile {
        name: "canary.wast".to_owned(),
        text: text.into().into(),
    };
    let expectations = Expectations::parse(expectations).unwrap();
    let mut failures = Vec::new();
    let total = run(&[file], &expectations, 1, |report| {
        failures.extend(report.failures.clone());
    });
    (total, failures)
}

#[track_caller]
fn fails(text: &str, with: &str) {
    let (counts, failures) = run_text(text, "");
    assert_eq!(counts.failed, 1, "{text}: {failures:?}");
    assert!(failures[0].contains(with), "{text}: {failures:?}");
}

#[test]
fn state_of_an_earlier_run_would_be_seen() {
    let text = format!(
        r#"{COUNTER}
        (assert_return (invoke "next") (i32.const 11) (i32.const 1) (i32.const 1))
        (assert_return (invoke "next") (i32.const 12) (i32.const 2) (i32.const 0))
        (assert_return (get "count") (i32.const 12))"#
    );
    let (counts, failures) = run_text(text, "");
    assert_eq!(failures, [""; 0]);
    assert_eq!((counts.passed, counts.failed, counts.skipped), (4, 0, 0));
    assert_eq!((counts.instances, counts.restored, counts.reset), (1, 1, 1));
    assert_eq!((counts.linked, counts.relinked), (2, 1));
}

#[test]
fn wrong_values_fail() {
    let with = |directive: &str| format!("{COUNTER}{directive}");
    fails(
        &with(r#"(assert_return (invoke "next") (i32.const 11) (i32.const 1) (i32.const 0))"#),
        "canary.wast:16: expected",
    );
    fails(
        &with(r#"(assert_return (invoke "next") (i32.const 11) (i32.const 1))"#),
        "got [b, 1, 1]",
    );
    fails(
        &with(r#"(assert_return (get "count") (i32.const 11))"#),
        "got [a]",
    );
    fails(
        &with(r#"(assert_return (get "next") (i32.const 11))"#),
        "no exported global",
    );
    fails(
        &with(r#"(assert_return (invoke "absent"))"#),
        "no exported function",
    );
}

#[test]
fn wrong_ends_fail() {
    let with = |directive: &str| format!("{COUNTER}{directive}");
    fails(
        &with(r#"(assert_return (invoke "trap"))"#),
        "trapped: unreachable",
    );
    fails(&with(r#"(invoke "trap")"#), "trapped: unreachable");
    fails(
        &with(r#"(assert_trap (invoke "next") "unreachable")"#),
        "got [b, 1, 1]",
    );
    fails(
        &with(r#"(assert_trap (invoke "trap") "integer overflow")"#),
        "trapped: unreachable",
    );
    fails(
        &with(r#"(assert_exhaustion (invoke "trap") "call stack exhausted")"#),
        "unreachable",
    );
    fails(
        r#"(assert_trap (module (func $f) (start $f)) "unreachable")"#,
        "got []",
    );
}

#[test]
fn modules_that_are_wrongly_accepted_or_refused_fail() {
    fails(
        r#"(module) (assert_invalid (module (func)) "type mismatch")"#,
        "it is accepted",
    );
    fails(
        r#"(module) (assert_malformed (module binary "\00asm" "\01\00\00\00") "magic")"#,
        "it is accepted",
    );
    fails(
        r#"(module) (assert_unlinkable (module (func)) "unknown import")"#,
        "it links",
    );
    fails("(module (func (result i32)))", "refused");
    fails(
        r#"(module (import "spectest" "absent" (func)))"#,
        "is not provided",
    );
}

#[test]
fn what_cannot_be_tried_after_an_unexpected_failure_fails_too() {
    let (counts, failures) = run_text(
        r#"(module (import "spectest" "absent" (func)))
        (assert_return (invoke "f")) (assert_return (invoke "g"))"#,
        "",
    );
    assert_eq!((counts.passed, counts.failed, counts.skipped), (0, 3, 0));
    assert_eq!(failures.len(), 1);
}

#[test]
fn text_that_cannot_be_parsed_fails() {
    fails("(module (func", "cannot be parsed");
    fails("(assert_nonsense)", "cannot be parsed");
}

const TWO: &str = "(module (import \"a\" \"b\" (func)))\n(assert_return (invoke \"f\"))\n(module)";

#[test]
fn expected_failures_are_skipped_and_counted() {
    for expected in [
        "canary.wast linking",
        "canary.wast:1 linking",
        "canary.wast:1-2 linking",
    ] {
        let (counts, failures) = run_text(TWO, expected);
        assert_eq!(failures, [""; 0], "{expected}");
        assert_eq!(
            (counts.passed, counts.failed, counts.skipped),
            (1, 0, 2),
            "{expected}"
        );
    }
}

#[test]
fn an_expected_failure_that_passes_is_an_error() {
    for (expected, what) in [
        ("canary.wast:1-3 linking", "line 3 passes"),
        ("canary.wast:1,3 linking", "line 3 passes"),
        ("canary.wast:1,7-9 linking", "no directive begins in 7-9"),
        (
            "canary.wast:1 linking\nabsent.wast linking",
            "no file that was run",
        ),
    ] {
        let (counts, failures) = run_text(TWO, expected);
        assert_eq!(counts.failed, 1, "{expected}: {failures:?}");
        assert!(failures[0].contains(what), "{expected}: {failures:?}");
    }
    let (counts, failures) = run_text("(module)", "canary.wast linking");
    assert_eq!((counts.passed, counts.failed), (1, 1));
    assert!(failures[0].contains("everything passes"), "{failures:?}");
}

#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    for wrong in [
        "canary.wast",
        "canary.wast:x reason",
        "canary.wast:5-4 reason",
    ] {
        assert_eq!(Expectations::parse(wrong).unwrap_err().line, 1, "{wrong}");
    }
}

#[test]
fn a_folder_without_tests_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(files_at(folder.path()).is_err());
    assert!(files_at(&folder.path().join("absent.wast")).is_err());
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("below/a.wast"), "(module)").unwrap();
    assert_eq!(files_at(folder.path()).unwrap().len(), 1);
}
