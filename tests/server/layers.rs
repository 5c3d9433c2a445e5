//! Many functions of one module: what they have in common is there once, on disk and in memory.

use crate::harness::Server;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An interpreter, as far as its memory is concerned: 4 MiB that are the same whatever the script, and the script, which a function finds in
/// its environment. A call writes a few pages and answers with the script.
const INTERPRETER: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "dormouse" "write_call_output" (func $out (param i32 i32)))
    (memory (export "memory") 80)
    (global $length (mut i32) (i32.const 0))
    (func (export "dormouse_init") (local $at i32)
        (local.set $at (i32.const 0x10000))
        (loop $l
            (i64.store (local.get $at) (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9E3779B97F4A7C15)))
            (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x410000))))
        (drop (call $sizes (i32.const 16) (i32.const 20)))
        (global.set $length (i32.load (i32.const 20)))
        (drop (call $environ (i32.const 1024) (i32.const 0x420000))))
    (func (export "handle") (result i32)
        (i64.store (i32.const 0x20000) (i64.const -1))
        (i64.store (i32.const 0x421000) (i64.const -1))
        (call $out (i32.const 0x420000) (global.get $length))
        i32.const 0))"#;

/// What the files below a directory take on the disk, each once however many names it has.
fn disk_bytes(directory: &Path, seen: &mut HashSet<u64>) -> u64 {
    let entries = directory
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                disk_bytes(&path, seen)
            } else if seen.insert(metadata.ino()) {
                metadata.blocks() * 512
            } else {
                0
            }
        })
        .sum()
}

fn name(number: usize) -> String {
    format!("script{number}")
}

fn deploy(server: &Server, number: usize, script: &str) {
    let query = format!("env.SCRIPT={script}&memory=16MiB");
    server.deploy(&name(number), INTERPRETER.as_bytes(), &query);
}

fn expect(server: &Server, number: usize, script: &str) {
    // Cold, after a reset, and again.
    for _ in 0..3 {
        let response = server.get(&format!("/{}", name(number))).expect(200);
        assert_eq!(response.text(), format!("SCRIPT={script}\0"));
    }
}

#[test]
fn functions_of_one_module_share_what_they_have_in_common() {
    const FUNCTIONS: usize = 12;
    let directory = tempfile::tempdir().unwrap();
    let used = || disk_bytes(&directory.path().join("versions"), &mut HashSet::new());
    let mut server = Server::on(directory.path(), &[]);
    deploy(&server, 0, "number0");
    expect(&server, 0, "number0");
    let one = used();
    assert!(one > 4 << 20, "{one} bytes");
    for number in 1..FUNCTIONS {
        deploy(&server, number, &format!("number{number}"));
        expect(&server, number, &format!("number{number}"));
    }
    let all = used();
    let each = (all - one) / (FUNCTIONS as u64 - 1);
    assert!(each < 64 << 10, "{each} bytes each, the first {one}");

    // The first goes, and with it the names of what the others need.
    server.admin("DELETE", "/v1/functions/script0").expect(204);
    for number in 1..FUNCTIONS {
        expect(&server, number, &format!("number{number}"));
    }
    // A version that replaces another, and one that comes back.
    deploy(&server, 3, "changed");
    expect(&server, 3, "changed");
    server
        .admin("POST", "/v1/functions/script3/rollback")
        .expect(200);
    expect(&server, 3, "number3");
    // Another server finds all of it.
    server.kill();
    let server = Server::on(directory.path(), &[]);
    for number in 1..FUNCTIONS {
        expect(&server, number, &format!("number{number}"));
    }
    for number in 1..FUNCTIONS {
        let target = format!("/v1/functions/{}", name(number));
        server.admin("DELETE", &target).expect(204);
    }
    assert_eq!(used(), 0);
}

#[test]
fn a_damaged_base_is_made_again_and_every_function_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::on(directory.path(), &[]);
    for number in 0..3 {
        deploy(&server, number, &format!("number{number}"));
    }
    server.kill();
    let versions = directory.path().join("versions").join(name(2));
    let version = versions.read_dir().unwrap().next().unwrap().unwrap().path();
    let base = std::fs::OpenOptions::new()
        .write(true)
        .open(version.join("base"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&base, b"damage", 1 << 20).unwrap();
    let server = Server::on(directory.path(), &[]);
    for number in 0..3 {
        expect(&server, number, &format!("number{number}"));
        server.log_line(&["compiled again", &name(number)]);
    }
    drop(server);
    // For good.
    let server = Server::on(directory.path(), &[]);
    for number in 0..3 {
        expect(&server, number, &format!("number{number}"));
    }
}
