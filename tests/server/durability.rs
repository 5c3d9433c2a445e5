//! What was answered survives, whatever happens to the process and to its files.

use crate::harness::{Server, guest, request};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[test]
fn a_deployment_that_was_answered_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut answered: Vec<String> = Vec::new();
    for round in 0..6 {
        let mut server = Server::on(directory.path(), &[]);
        for name in &answered {
            server.get(&format!("/{name}")).expect(200);
        }
        // Killed at a different moment of a deployment each time, with others answered just before.
        let name = format!("f{round}");
        server.deploy(&name, &guest("hello"), "");
        answered.push(name);
        let admin = server.admin;
        let module = guest("text");
        let deploying = std::thread::spawn(move || {
            // The server dies in the middle: there may be no answer, and then nothing is promised.
            std::panic::catch_unwind(|| {
                request(admin, "PUT", "/v1/functions/big", &[], &module).status
            })
            .is_ok_and(|status| status / 100 == 2)
        });
        std::thread::sleep(std::time::Duration::from_millis(round * 60));
        server.kill();
        if deploying.join().unwrap() && !answered.iter().any(|name| name == "big") {
            answered.push("big".to_owned());
        }
    }
    let server = Server::on(directory.path(), &[]);
    for name in &answered {
        server.get(&format!("/{name}")).expect(200);
    }
    let staging = directory.path().join("staging");
    let left = staging.read_dir().map_or(0, Iterator::count);
    assert_eq!(left, 0, "leftovers are swept at the start");
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[test]
fn damaged_artifacts_and_images_are_rebuilt_and_damaged_manifests_named() {
    let directory = tempfile::tempdir().unwrap();
    {
        let server = Server::on(directory.path(), &[]);
        server.deploy("hello", &guest("hello"), "");
        server.deploy("nop", &guest("nop"), "");
    }
    for damaged in ["artifact", "image"] {
        let file = files(&directory.path().join("versions"))
            .into_iter()
            .find(|path| path.to_string_lossy().contains("hello") && path.ends_with(damaged))
            .unwrap_or_else(|| panic!("no {damaged} among {:?}", files(directory.path())));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&file)
            .unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], middle).unwrap();
        let server = Server::on(directory.path(), &[]);
        server.get("/hello").expect(200);
        server.get("/nop").expect(200);
    }
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let server = Server::start();
    let output = crate::harness::dormouse(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--data",
        server.data.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(server.data.to_str().unwrap()), "{message}");
}

#[test]
fn restarting_serves_what_was_deployed_without_compiling_again() {
    let directory = tempfile::tempdir().unwrap();
    let version = {
        let server = Server::on(directory.path(), &[]);
        server.deploy("hello", &guest("hello"), "").json()["version"].clone()
    };
    let server = Server::on(directory.path(), &[]);
    server.get("/hello").expect(200);
    assert_eq!(
        server
            .admin("GET", "/v1/functions/hello")
            .expect(200)
            .json()["version"],
        version
    );
}
