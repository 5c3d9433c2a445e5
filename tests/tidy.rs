//! What a reviewer would have to remember: unsafe code and libc in their rooms, arrows that run one way, documents that name
//! what exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, as paths from the root.
fn sources(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "no sources in {folder}");
    let relative = found.iter().map(|path| {
        path.strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    });
    relative.collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Lines without comments, as far as a glance can tell.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
}

/// Whether a line has this word as a word.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|other| other == word)
}

fn uses_unsafe(text: &str) -> bool {
    code(text).any(|line| has_word(line, "unsafe"))
}

#[test]
fn unsafe_code_is_in_the_sandbox_or_at_the_edge_of_snapshots() {
    for path in sources("src").into_iter().chain(sources("host/src")) {
        let room = path.starts_with("src/sandbox/") || path.starts_with("src/snapshot/");
        assert!(room || !uses_unsafe(&read(&path)), "unsafe code in {path}");
    }
    // The check sees what it looks for, and not what only reads like it.
    assert!(uses_unsafe(&read("src/sandbox/os.rs")));
    assert!(!uses_unsafe("#![forbid(unsafe_code)] // unsafe"));
}

#[test]
fn libc_is_spoken_in_the_sandbox_only() {
    for path in sources("src").into_iter().chain(sources("host/src")) {
        let room = path.starts_with("src/sandbox/") || path == "src/snapshot/reset.rs";
        let speaks = code(&read(&path)).any(|line| has_word(line, "libc"));
        assert!(room || !speaks, "libc in {path}");
    }
}

/// Modules of a crate's `src` that a module refers to by `crate::`.
fn referred_to(folder: &str, module: &str) -> BTreeSet<String> {
    let prefix = format!("{folder}/{module}");
    let mut found = BTreeSet::new();
    for path in sources(folder) {
        if path != format!("{prefix}.rs") && !path.starts_with(&format!("{prefix}/")) {
            continue;
        }
        let text = read(&path);
        for line in code(&text) {
            for rest in line.split("crate::").skip(1) {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                found.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    found.remove(module);
    found
}

#[test]
fn arrows_in_the_engine_run_one_way() {
    let order = ["layout", "compile", "sandbox", "snapshot"];
    for (index, module) in order.iter().enumerate() {
        let upward: Vec<_> = referred_to("src", module)
            .into_iter()
            .filter(|other| order[index..].contains(&other.as_str()))
            .collect();
        assert!(upward.is_empty(), "{module} refers to {upward:?}");
    }
    assert!(referred_to("src", "snapshot").contains("sandbox"));
}

#[test]
fn arrows_in_the_host_run_one_way() {
    let nothing_above = |module: &str, above: &[&str]| {
        let found = referred_to("host/src", module);
        for other in above {
            assert!(!found.contains(*other), "{module} refers to {other}");
        }
    };
    let rooms = [
        "gateway",
        "scheduler",
        "pool",
        "store",
        "deploy",
        "admin",
        "interface",
        "http",
    ];
    for room in rooms {
        nothing_above(room, &["server", "cli", "run", "bench"]);
    }
    // The policies are pure: a simulation replays a day through them.
    for room in ["pool", "scheduler", "http"] {
        nothing_above(room, &["store", "deploy", "interface", "gateway", "admin"]);
        for path in sources(&format!("host/src/{room}")) {
            let text = read(&path);
            for word in ["Instant", "SystemTime", "TcpStream", "File"] {
                let used = code(&text).any(|line| has_word(line, word));
                assert!(!used, "{path} uses {word}");
            }
        }
    }
    nothing_above("server", &["cli"]);
}

#[test]
fn documents_name_what_exists() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        let mut checked = 0;
        for name in text.split('`').skip(1).step_by(2) {
            let roots = [
                "src/",
                "host/",
                "tests/",
                "benches/",
                "guests/",
                ".ci/",
                "spec-tests/",
                "fuzz/",
            ];
            if roots.iter().any(|root| name.starts_with(root)) && !name.contains([' ', '*', '{']) {
                assert!(root().join(name).exists(), "{document} names {name}");
                checked += 1;
            }
        }
        assert!(checked > 0, "{document} names no path");
    }
}

#[test]
fn files_have_a_reason_in_their_first_line_and_no_file_knows_everything() {
    for path in sources("src").into_iter().chain(sources("host/src")) {
        let text = read(&path);
        if path.ends_with("tests.rs") {
            continue;
        }
        assert!(text.starts_with("//!"), "{path} does not say why it exists");
        let lines = text.lines().count();
        assert!(
            lines <= 660,
            "{path} has {lines} lines: which noun is hiding in it?"
        );
    }
}
