//! Many functions and many instances on one server, and the accounts it keeps of them.

use crate::harness::{Server, request};

/// A function that answers with its number, which is in its image.
fn numbered(number: usize) -> String {
    format!(
        r#"(module
            (import "dormouse" "write_call_output" (func $out (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 8) "number {number:05}")
            (func (export "handle") (result i32) (call $out (i32.const 8) (i32.const 12)) i32.const 0))"#
    )
}

#[test]
fn more_functions_than_can_be_open_at_a_time() {
    const FUNCTIONS: usize = 60;
    // A quarter of the files: 16.
    let server = Server::with_files(64);
    for number in 0..FUNCTIONS {
        server.deploy(&format!("f{number}"), numbered(number).as_bytes(), "");
    }
    // One that is in the middle of a call all the while must not lose its code.
    let slow = r#"(module
        (import "dormouse" "write_call_output" (func $out (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "slow")
        (func (export "handle") (result i32) (local $i i64)
            (local.set $i (i64.const 2000000000))
            (loop $l (br_if $l (i64.ne (i64.const 0) (local.tee $i (i64.sub (local.get $i) (i64.const 1))))))
            (call $out (i32.const 8) (i32.const 4)) i32.const 0))"#;
    server.deploy("slow", slow.as_bytes(), "cpu=60s&timeout=110s");
    let public = server.public;
    let waiting = std::thread::spawn(move || request(public, "GET", "/slow", &[], b""));
    let mut state = 1u64;
    for call in 0..FUNCTIONS * 5 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let number = match call {
            call if call < FUNCTIONS => call,
            _ => (state >> 33) as usize % FUNCTIONS,
        };
        let response = server.get(&format!("/f{number}")).expect(200);
        assert_eq!(response.text(), format!("number {number:05}"));
    }
    let open = server.metric("dormouse_open_functions");
    assert!((1..=16).contains(&open), "{open} functions are open");
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.child.id()))
        .unwrap()
        .count();
    assert!(files < 48, "{files} files");
    assert_eq!(waiting.join().unwrap().expect(200).text(), "slow");
}

/// A function that sleeps a little and writes so many pages, the given distance apart.
fn writer(pages: u32, distance: u32) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4000)
            (func (export "handle") (result i32) (local $i i32)
                ;; A relative sleep of a second on the monotonic clock.
                (i32.store (i32.const 1032) (i32.const 0))
                (i32.store (i32.const 1040) (i32.const 1))
                (i64.store (i32.const 1048) (i64.const 1000000000))
                (drop (call $poll (i32.const 1024) (i32.const 1100) (i32.const 1) (i32.const 1200)))
                (loop $l
                    (i32.store (i32.mul (local.get $i) (i32.const {distance})) (i32.const 1))
                    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {pages}))))
                i32.const 0))"#
    )
}

/// What the kernel says the server's process holds alone, page tables included, and what the pool's accounts say: once
/// neither changes any more, for what is given up goes when there is time, which on a busy machine may be in between.
fn held(server: &Server) -> (u64, u64) {
    let (mut last, mut same) = ((0, 0), 0);
    loop {
        let private = server.kernel_bytes("smaps_rollup", "Private_Dirty:");
        let tables = server.kernel_bytes("status", "VmPTE:");
        let now = (
            private + tables,
            server.metric("dormouse_budget_used_bytes"),
        );
        same = if now == last { same + 1 } else { 0 };
        if same == 5 {
            return now;
        }
        last = now;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn the_budget_counts_what_the_kernel_counts() {
    const CALLS: usize = 64;
    let server = Server::start();
    let call_all = |name: &'static str| {
        for _ in 0..3 {
            let public = server.public;
            let calls: Vec<_> = (0..CALLS)
                .map(|_| {
                    std::thread::spawn(move || {
                        request(public, "GET", &format!("/{name}"), &[], b"").expect(200)
                    })
                })
                .collect();
            calls
                .into_iter()
                .for_each(|call| drop(call.join().unwrap()));
        }
    };
    server.deploy(
        "heavy",
        writer(240, 1 << 20).as_bytes(),
        "concurrency=64&memory=256MiB",
    );
    call_all("heavy");
    let (kernel, accounts) = held(&server);
    let warm = server.metric("dormouse_warm_instances");
    assert!(warm >= 8, "{warm} instances are warm");
    // What they held is what is there no more when they are gone.
    server.admin("DELETE", "/v1/functions/heavy").expect(204);
    let (kernel_without, accounts_without) = held(&server);
    assert_eq!(accounts_without, 0);
    let (kernel, accounts) = (kernel as f64 - kernel_without as f64, accounts as f64);
    assert!(
        accounts > (8 * 240 * 4096) as f64,
        "{accounts} bytes for {warm} instances"
    );
    let ratio = kernel / accounts;
    assert!(
        (0.85..1.15).contains(&ratio),
        "the kernel says {kernel} bytes, the accounts {accounts}, for {warm} instances"
    );
}

/// 16 MiB in the image; a call reads one word of each of 64 pages and writes to 64 others, all far apart.
const SCATTERED: &str = r#"(module
    (import "dormouse" "write_call_output" (func $out (param i32 i32)))
    (memory (export "memory") 256)
    (func (export "dormouse_init") (local $at i32)
        (loop $l
            (i64.store (local.get $at) (i64.const 0x0101010101010101))
            (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x1000000)))))
    (func (export "handle") (result i32) (local $at i32) (local $sum i32)
        (local.set $at (i32.const 0x100000))
        (loop $l
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u offset=0x808000 (local.get $at))))
            (i32.store8 offset=0x808000 (local.get $at) (i32.const 9))
            (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 0x10000))) (i32.const 0x500000))))
        ;; "128\n" when every byte was 1.
        (i32.store (i32.const 0) (i32.const 0x0a000000))
        (i32.store8 (i32.const 0) (i32.add (i32.const 48) (i32.div_u (local.get $sum) (i32.const 100))))
        (i32.store8 (i32.const 1) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $sum) (i32.const 10)) (i32.const 10))))
        (i32.store8 (i32.const 2) (i32.add (i32.const 48) (i32.rem_u (local.get $sum) (i32.const 10))))
        (call $out (i32.const 0) (i32.const 4)) i32.const 0))"#;

/// Page faults of the server's main thread that waited for the disk.
fn major_faults(server: &Server) -> u64 {
    let id = server.child.id();
    let stat = std::fs::read_to_string(format!("/proc/{id}/task/{id}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    fields.split(' ').nth(9).unwrap().parse().unwrap()
}

#[test]
fn a_function_that_left_memory_is_read_from_disk_in_one_go_and_not_by_faults() {
    // On a disk, where the page cache can let go of files.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut server = Server::on(directory.path(), &[]);
    server.deploy("scattered", SCATTERED.as_bytes(), "memory=32MiB");
    // Recorded calls, in instances restored for them.
    for _ in 0..4 {
        assert_eq!(server.get("/scattered").expect(200).text(), "128\n");
    }
    let versions = directory.path().join("versions/scattered");
    let version = std::fs::read_dir(versions)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let note = version.path().join("working-set");
    while !note.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Twice, since the kernel may have let go of the server's own code for this as well, which the first time brings back.
    let mut faults = 1;
    for _ in 0..2 {
        server.kill();
        for file in ["artifact", "image"] {
            evict(&version.path().join(file));
        }
        server = Server::on(directory.path(), &[]);
        let before = major_faults(&server);
        assert_eq!(server.get("/scattered").expect(200).text(), "128\n");
        server.log_line(&["scattered", "disk-cold"]);
        faults = major_faults(&server) - before;
    }
    assert_eq!(faults, 0);
    // What no call needs was not read: of 4,096 pages.
    let read = pages_cached(&version.path().join("image"));
    assert!((129..1500).contains(&read), "{read} pages were read");
    drop(server);

    // A note that says nothing of use costs a whole read, and the answer is the same.
    std::fs::write(&note, b"not a note").unwrap();
    evict(&version.path().join("image"));
    let server = Server::on(directory.path(), &[]);
    assert_eq!(server.get("/scattered").expect(200).text(), "128\n");
    assert!(pages_cached(&version.path().join("image")) > 4000);
}

/// Takes a file out of the page cache.
fn evict(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(
        pages_cached(path),
        0,
        "the page cache keeps {}",
        path.display()
    );
}

/// Pages of a file in the page cache, by fincore(1).
fn pages_cached(path: &std::path::Path) -> usize {
    let output = std::process::Command::new("fincore")
        .args(["--noheadings", "--output", "PAGES"])
        .arg(path)
        .output()
        .expect("fincore (util-linux) runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
