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
            (memory (export "memory") 1024)
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
/// neither changes any more, for what is given up goes when there is time.
fn held(server: &Server) -> (u64, u64) {
    let mut last = (0, 0);
    loop {
        let private = server.kernel_bytes("smaps_rollup", "Private_Dirty:");
        let tables = server.kernel_bytes("status", "VmPTE:");
        let now = (
            private + tables,
            server.metric("dormouse_budget_used_bytes"),
        );
        if now == last {
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
    server.deploy("light", writer(1, 4096).as_bytes(), "concurrency=64");
    server.deploy("heavy", writer(40, 1 << 20).as_bytes(), "concurrency=64");
    // Stacks, buffers and whatever else a server under load has are there before it is measured.
    call_all("light");
    let (kernel_before, accounts_before) = held(&server);
    call_all("heavy");
    let (kernel, accounts) = held(&server);
    let warm = server.metric("dormouse_warm_instances");
    assert!(warm >= 8, "{warm} instances are warm");
    let kernel = kernel as f64 - kernel_before as f64;
    let accounts = accounts as f64 - accounts_before as f64;
    assert!(
        accounts > (8 * 40 * 4096) as f64,
        "{accounts} bytes for {warm} instances"
    );
    let ratio = kernel / accounts;
    assert!(
        (0.9..1.1).contains(&ratio),
        "the kernel says {kernel} bytes, the accounts {accounts}, for {warm} instances"
    );
}
