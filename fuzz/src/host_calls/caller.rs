//! A guest that makes every host call, in the settings that guests are in.

use super::calls::*;
use crate::{Finding, finding, guest};
use dormouse::{Engine, Instance, Linked, Module, Progress, Reason};
use dormouse_host::interface::{
    Context, InitPolicy, Kind, Request, RequestId, Stdio, Wait, imports,
};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

pub const MEMORY_BYTES: u64 = 2 << 16;
/// Times one call may wait.
const WAITS_MAX: usize = 64;

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::from_millis(1), 256);
    static LINKED: Linked = ENGINE.with(guest_that_calls);
}

/// A module with a function for every call, of its name, that makes it.
fn guest_that_calls(engine: &Engine) -> Linked {
    let (mut imported, mut exported) = (String::new(), String::new());
    let modules = [("wasi_snapshot_preview1", WASI), ("dormouse", DORMOUSE)];
    for (module, call) in modules
        .iter()
        .flat_map(|(module, calls)| calls.iter().map(move |call| (module, call)))
    {
        let name = call.name;
        let types: Vec<&str> = call
            .operands
            .iter()
            .map(|operand| {
                if matches!(operand, Long | Extent) {
                    "i64"
                } else {
                    "i32"
                }
            })
            .collect();
        let parameters = types.join(" ");
        let result = if has_result(name) { "(result i32)" } else { "" };
        imported += &format!(
            "(import \"{module}\" \"{name}\" (func ${name} (param {parameters}) {result}))\n"
        );
        let operands: String = (0..types.len())
            .map(|index| format!("local.get {index} "))
            .collect();
        exported += &format!(
            "(func (export \"{name}\") (param {parameters}) {result} {operands} call ${name})\n"
        );
    }
    let text = format!("(module {imported} (memory (export \"memory\") 2) {exported})");
    let wasm = wat::parse_str(text).expect("a valid module");
    let artifact = guest::artifact(&wasm)
        .expect("it compiles")
        .expect("it is small");
    let module = Module::from_artifact(engine, &artifact).expect("just made");
    module.link(&imports()).expect("every call is there")
}

/// Whose calls they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Command,
    Reactor,
    Initialising,
    /// A program of its own, with a directory.
    Program,
}

pub struct Guest {
    pub instance: Instance,
    /// Dropped after the instance.
    _directory: Option<TempDir>,
}

impl Guest {
    pub fn new(setting: Setting) -> Result<Guest, Finding> {
        let mut directory = None;
        let context = match setting {
            Setting::Initialising => {
                Context::initialising(vec![("OWN".into(), "value".into())], InitPolicy::Refuse)
            }
            Setting::Program => {
                let arguments = vec![b"program".to_vec(), b"argument".to_vec()];
                let mut context = Context::command(arguments, Vec::new(), Stdio::Buffered);
                let made = directory_of_files();
                context
                    .preopen(&made.path().join("in"), "/")
                    .map_err(|error| finding!("{error}"))?;
                directory = Some(made);
                context
            }
            Setting::Command | Setting::Reactor => {
                let kind = match setting {
                    Setting::Command => Kind::Command,
                    _ => Kind::Reactor,
                };
                Context::call(
                    Rc::new(request()),
                    kind,
                    Rc::new([("OWN".into(), "1".into())]),
                )
            }
        };
        let instance = LINKED
            .with(|linked| Instance::new(linked, guest::limits(), Box::new(context)))
            .map_err(|error| finding!("no instance: {error}"))?;
        Ok(Guest {
            instance,
            _directory: directory,
        })
    }

    /// How a call ended, in comparable words, and the number it returned.
    pub fn call(
        &mut self,
        name: &str,
        arguments: &[u64],
    ) -> Result<(String, Option<u64>), Finding> {
        let function = self
            .instance
            .linked()
            .module()
            .function(name)
            .expect("it is exported");
        self.instance
            .begin(function, arguments)
            .map_err(|error| finding!("a call does not begin: {error}"))?;
        for turn in 0..WAITS_MAX {
            match self.instance.resume() {
                Progress::Returned(words) => {
                    return Ok((format!("{words:?}"), words.first().copied()));
                }
                Progress::Stopped(trap) => {
                    if let Reason::HostPanic(message) = trap.reason {
                        return Err(finding!(
                            "{name}{arguments:x?} makes the host panic: {message}"
                        ));
                    }
                    return Ok((trap.reason.to_string(), None));
                }
                Progress::Preempted => {}
                Progress::Blocked => {
                    let context: &mut Context = self.instance.data_mut();
                    match context.wait {
                        Some(Wait::Input | Wait::InputOrUntil(_)) if turn % 3 == 2 => {
                            context.input.end()
                        }
                        Some(Wait::Input | Wait::InputOrUntil(_)) => {
                            context.input.push(*b"some input")
                        }
                        Some(Wait::OutputSpace) => drop(context.output.take_body()),
                        Some(Wait::Yield) => {}
                        Some(Wait::Until(_)) => break,
                        None => return Err(finding!("{name} waits for nothing")),
                    }
                }
            }
        }
        let trap = self
            .instance
            .stop(Reason::Host("it waited for long enough".to_owned()));
        Ok((trap.reason.to_string(), None))
    }
}

/// `in` has files and links; a guest that gets beside it has left its directory.
fn directory_of_files() -> TempDir {
    let made = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory");
    let fill = |root: &Path| -> std::io::Result<()> {
        std::fs::write(root.join("out"), b"not for guests")?;
        let inside = root.join("in");
        std::fs::create_dir_all(inside.join("dir"))?;
        std::fs::write(inside.join("a"), b"the contents of a file")?;
        std::fs::write(inside.join("dir/b"), [7; 5000])?;
        std::os::unix::fs::symlink("dir", inside.join("link"))?;
        std::os::unix::fs::symlink("loop", inside.join("loop"))
    };
    fill(made.path()).expect("room for some files");
    made
}

fn request() -> Request {
    Request {
        method: "POST".into(),
        path: "/a%20b".into(),
        raw_target: "/f/a%20b?q=1".into(),
        query: "q=1".into(),
        headers: vec![
            ("Host".into(), b"example.org".to_vec()),
            ("X-Long".into(), vec![b'v'; 300]),
        ],
        content_length: None,
        remote: "192.0.2.7:4711".parse().expect("an address"),
        local: "127.0.0.1:8080".parse().expect("an address"),
        function: "f".into(),
        id: RequestId("id".into()),
    }
}
