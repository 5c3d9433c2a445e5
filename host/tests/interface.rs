//! Guests of `guests/` on the engine with the host interface, driven as the server drives them: input pushed, output taken, in
//! fresh instances of an image.

use dormouse::compile::{CompileOptions, compile};
use dormouse::{
    Callable, Engine, EngineOptions, Image, Instance, Limits, Linked, Module, Progress, Reason,
    Trap,
};
use dormouse_host::interface::{Context, InitPolicy, Kind, Request, RequestId, Wait, imports};
use std::rc::Rc;
use std::time::Instant;

fn engine() -> Engine {
    Engine::new(&EngineOptions {
        slots_max: 4,
        ..EngineOptions::default()
    })
    .unwrap()
}

fn link(engine: &Engine, wasm: &[u8]) -> Linked {
    let artifact = compile(wasm, &CompileOptions::default()).unwrap();
    Module::from_artifact(engine, &artifact)
        .unwrap()
        .link(&imports())
        .unwrap()
}

/// A function as it is deployed: initialised, captured, opened.
struct Function {
    image: Image,
    kind: Kind,
}

impl Function {
    fn named(name: &str) -> Function {
        let path = format!("{}/../guests/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        Function::new(&std::fs::read(path).unwrap())
    }

    fn text(module: &str) -> Function {
        Function::new(&wat::parse_str(module).unwrap())
    }

    fn new(wasm: &[u8]) -> Function {
        let linked = link(&engine(), wasm);
        let module = linked.module().clone();
        let context = Context::initialising(Vec::new(), InitPolicy::Refuse);
        let mut instance = Instance::new(&linked, Limits::default(), Box::new(context)).unwrap();
        for name in ["_initialize", "dormouse_init"] {
            if let Some(function) = module.function(name) {
                instance.call(function, &[]).unwrap();
            }
        }
        let file = tempfile::tempfile().unwrap();
        Image::capture(&mut instance, &file).unwrap();
        let kind = match module.function("_start") {
            Some(_) => Kind::Command,
            None => Kind::Reactor,
        };
        Function {
            image: Image::open(&linked, &file).unwrap(),
            kind,
        }
    }

    fn entry(&self) -> Callable {
        let name = match self.kind {
            Kind::Command => "_start",
            Kind::Reactor => "handle",
        };
        self.image.linked().module().function(name).unwrap()
    }

    fn context(&self, request: Request) -> Box<Context> {
        let environment = Rc::new([("OWN".into(), "1".into())]);
        Box::new(Context::call(Rc::new(request), self.kind, environment))
    }

    /// Begins a request in a fresh instance.
    fn begin(&self, request: Request) -> Call {
        let mut instance = self
            .image
            .restore(Limits::default(), self.context(request))
            .unwrap();
        instance.begin(self.entry(), &[]).unwrap();
        Call { instance }
    }

    /// A whole request: status, headers and body.
    fn answer(&self, request: Request, body: &[u8]) -> (u16, Vec<(String, String)>, String) {
        let mut call = self.begin(request);
        call.context().input.push(body);
        call.context().input.end();
        let ended = call.run(|wait| panic!("waits for {wait:?} with all input there"));
        match ended {
            Ok(results) => assert!(results.iter().all(|&code| code == 0)),
            Err(trap) => assert_eq!(trap.reason, Reason::Exit(0), "{trap}"),
        }
        let context = call.context();
        context.finish().unwrap();
        let body = context.output.take_body();
        let (status, headers) = context.output.head().unwrap();
        let headers = headers.iter().map(|(name, value)| {
            (
                name.to_lowercase(),
                String::from_utf8(value.clone()).unwrap(),
            )
        });
        (status, headers.collect(), String::from_utf8(body).unwrap())
    }
}

struct Call {
    instance: Instance,
}

impl Call {
    fn context(&mut self) -> &mut Context {
        self.instance.data_mut()
    }

    /// Runs to the end, with `waits` told of every wait but those for a turn.
    fn run(&mut self, mut waits: impl FnMut(Wait)) -> Result<Vec<u64>, Trap> {
        loop {
            match self.instance.resume() {
                Progress::Returned(results) => return Ok(results),
                Progress::Stopped(trap) => return Err(trap),
                Progress::Preempted => {}
                Progress::Blocked => match self.context().wait {
                    Some(Wait::Yield) => {}
                    wait => waits(wait.expect("a blocked guest waits for something")),
                },
            }
        }
    }

    /// Runs until it waits.
    fn run_until_blocked(&mut self) -> Wait {
        loop {
            match self.instance.resume() {
                Progress::Blocked => return self.context().wait.unwrap(),
                Progress::Preempted => {}
                end => panic!("ended instead of waiting: {end:?}"),
            }
        }
    }
}

fn request(method: &str, path: &str, query: &str) -> Request {
    Request {
        method: method.into(),
        path: path.into(),
        raw_target: format!("/f{path}?{query}"),
        query: query.into(),
        headers: vec![("Host".into(), b"example.org".to_vec())],
        content_length: None,
        remote: "192.0.2.7:4711".parse().unwrap(),
        local: "127.0.0.1:8080".parse().unwrap(),
        function: "f".into(),
        id: RequestId("id-1".into()),
    }
}

#[test]
fn every_function_of_preview_1_is_there() {
    let i32s = |count: usize| vec!["i32"; count];
    let mut functions: Vec<(&str, Vec<&str>)> = vec![
        ("args_get", i32s(2)),
        ("args_sizes_get", i32s(2)),
        ("environ_get", i32s(2)),
        ("environ_sizes_get", i32s(2)),
        ("clock_res_get", i32s(2)),
        ("clock_time_get", vec!["i32", "i64", "i32"]),
        ("fd_advise", vec!["i32", "i64", "i64", "i32"]),
        ("fd_allocate", vec!["i32", "i64", "i64"]),
        ("fd_close", i32s(1)),
        ("fd_datasync", i32s(1)),
        ("fd_fdstat_get", i32s(2)),
        ("fd_fdstat_set_flags", i32s(2)),
        ("fd_fdstat_set_rights", vec!["i32", "i64", "i64"]),
        ("fd_filestat_get", i32s(2)),
        ("fd_filestat_set_size", vec!["i32", "i64"]),
        ("fd_filestat_set_times", vec!["i32", "i64", "i64", "i32"]),
        ("fd_pread", vec!["i32", "i32", "i32", "i64", "i32"]),
        ("fd_prestat_get", i32s(2)),
        ("fd_prestat_dir_name", i32s(3)),
        ("fd_pwrite", vec!["i32", "i32", "i32", "i64", "i32"]),
        ("fd_read", i32s(4)),
        ("fd_readdir", vec!["i32", "i32", "i32", "i64", "i32"]),
        ("fd_renumber", i32s(2)),
        ("fd_seek", vec!["i32", "i64", "i32", "i32"]),
        ("fd_sync", i32s(1)),
        ("fd_tell", i32s(2)),
        ("fd_write", i32s(4)),
        ("path_create_directory", i32s(3)),
        ("path_filestat_get", i32s(5)),
        (
            "path_filestat_set_times",
            vec!["i32", "i32", "i32", "i32", "i64", "i64", "i32"],
        ),
        ("path_link", i32s(7)),
        (
            "path_open",
            vec![
                "i32", "i32", "i32", "i32", "i32", "i64", "i64", "i32", "i32",
            ],
        ),
        ("path_readlink", i32s(6)),
        ("path_remove_directory", i32s(3)),
        ("path_rename", i32s(6)),
        ("path_symlink", i32s(5)),
        ("path_unlink_file", i32s(3)),
        ("poll_oneoff", i32s(4)),
        ("proc_raise", i32s(1)),
        ("sched_yield", i32s(0)),
        ("random_get", i32s(2)),
        ("sock_accept", i32s(3)),
        ("sock_recv", i32s(6)),
        ("sock_send", i32s(5)),
        ("sock_shutdown", i32s(2)),
    ];
    assert_eq!(functions.len(), 45);
    functions.sort();
    let mut module = String::from("(module\n");
    for (name, parameters) in &functions {
        let parameters = parameters.join(" ");
        module += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func (param {parameters}) (result i32)))\n"
        );
    }
    module += "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32))))";
    link(&engine(), &wat::parse_str(&module).unwrap());
}

#[test]
fn a_command_answers_by_cgi() {
    let echo = Function::named("echo");
    let (status, headers, body) = echo.answer(request("POST", "/a%20b", "status=418"), b"the body");
    assert_eq!((status, body.as_str()), (418, "the body"));
    assert!(
        headers.contains(&("x-echo-path".into(), "/a b".into())),
        "{headers:?}"
    );
    let mut with_proxy = request("GET", "/", "env");
    with_proxy
        .headers
        .push(("Proxy".into(), b"http://evil/".to_vec()));
    let (_, _, variables) = echo.answer(with_proxy, b"");
    let lines: Vec<&str> = variables.lines().collect();
    for line in [
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_HOST=example.org",
        "OWN=1",
        "SCRIPT_NAME=/f",
    ] {
        assert!(lines.contains(&line), "{line} in {variables}");
    }
    assert!(!variables.contains("evil"));
    let (status, headers, body) = echo.answer(request("POST", "", "bare"), b"plain");
    assert_eq!((status, headers.len(), body.as_str()), (200, 0, "plain"));
}

#[test]
fn a_guest_waits_for_input_and_for_room() {
    let echo = Function::named("echo");
    let mut call = echo.begin(request("POST", "", "bare"));
    let body: Vec<u8> = (0..300_000u32)
        .map(|index| (index % 251) as u8 | 1)
        .collect();
    call.context().output.window_bytes = 1000;
    let (mut sent, mut received) = (0, Vec::new());
    let mut waits = 0;
    let end = loop {
        match call.instance.resume() {
            Progress::Blocked => {
                waits += 1;
                let context = call.context();
                match context.wait {
                    Some(Wait::Input) if sent < body.len() => {
                        let piece = &body[sent..][..(body.len() - sent).min(70_000)];
                        context.input.push(piece);
                        sent += piece.len();
                    }
                    Some(Wait::Input) => context.input.end(),
                    Some(Wait::OutputSpace) => {
                        assert!(context.output.buffered() <= 1000);
                        received.extend(context.output.take_body());
                    }
                    wait => panic!("waits for {wait:?}"),
                }
            }
            Progress::Preempted => {}
            end => break end,
        }
    };
    assert!(matches!(
        end,
        Progress::Returned(_)
            | Progress::Stopped(Trap {
                reason: Reason::Exit(0),
                ..
            })
    ));
    call.context().finish().unwrap();
    received.extend(call.context().output.take_body());
    assert!(received == body);
    assert!(waits > 300);
}

#[test]
fn a_client_that_breaks_off_ends_the_read_with_an_error() {
    let echo = Function::named("echo");
    let mut call = echo.begin(request("POST", "", "bare"));
    assert_eq!(call.run_until_blocked(), Wait::Input);
    call.context().input.error();
    let code = match call.run(|wait| panic!("waits for {wait:?}")) {
        Ok(_) => 0,
        Err(trap) => match trap.reason {
            Reason::Exit(code) => code,
            _ => panic!("{trap}"),
        },
    };
    assert_ne!(code, 0);
    let json = Function::named("json");
    let mut call = json.begin(request("POST", "", ""));
    assert_eq!(call.run_until_blocked(), Wait::Input);
    call.context().input.push(*b"{\"a\":");
    call.context().input.error();
    let trap = call.run(|wait| panic!("waits for {wait:?}")).unwrap_err();
    assert!(
        trap.reason.to_string().contains("the client broke off"),
        "{trap}"
    );
}

#[test]
fn a_reactor_answers_by_calls() {
    let hello = Function::named("hello");
    let (status, _, body) = hello.answer(request("GET", "", ""), b"");
    assert_eq!((status, body.as_str()), (200, "Hello from Dormouse!\n"));
    let json = Function::named("json");
    let (status, headers, body) = json.answer(request("POST", "", ""), b"{\"a\": [1, 2}");
    assert_eq!(status, 400, "{body}");
    assert!(headers.iter().any(|(name, _)| name == "content-type"));
}

#[test]
fn randomness_is_fresh_after_every_restore() {
    let random = Function::named("random");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let (_, _, bytes) = random.answer(request("GET", "", ""), b"");
        assert_eq!(bytes.trim().len(), 64);
        assert!(seen.insert(bytes), "two requests saw the same bytes");
    }
}

#[test]
fn state_is_fresh_after_every_restore_and_reset() {
    let counter = Function::named("counter");
    for _ in 0..3 {
        let mut call = counter.begin(request("GET", "", ""));
        for _ in 0..3 {
            call.context().input.end();
            call.run(|wait| panic!("waits for {wait:?}")).unwrap();
            assert_eq!(call.context().output.take_body(), b"1\n");
            call.instance
                .reset(counter.context(request("GET", "", "")))
                .unwrap();
            call.instance.begin(counter.entry(), &[]).unwrap();
        }
    }
}

#[test]
fn sleeping_suspends_the_guest_and_not_the_thread() {
    let sleep = Function::named("sleep");
    let before = Instant::now();
    let mut call = sleep.begin(request("GET", "", "ms=50000"));
    let Wait::Until(deadline) = call.run_until_blocked() else {
        panic!("must wait for time")
    };
    assert!(deadline > before + std::time::Duration::from_secs(40));
    // It may be resumed for no reason, and waits on for the same time.
    assert_eq!(call.run_until_blocked(), Wait::Until(deadline));
    let trap = call.instance.stop(Reason::Host("the test ends it".into()));
    assert!(!trap.backtrace.is_empty());
}

#[test]
fn a_guest_that_yields_can_be_stopped_and_its_slot_used_again() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (func (export "handle") (result i32) (loop $again (drop (call $yield)) (br $again)) unreachable))"#;
    let function = Function::text(module);
    for _ in 0..20 {
        let mut call = function.begin(request("GET", "", ""));
        assert_eq!(call.run_until_blocked(), Wait::Yield);
        assert_eq!(call.run_until_blocked(), Wait::Yield);
        call.instance.stop(Reason::Host("enough".into()));
    }
}

/// Calls one function with the arguments given, in one page of memory, and stores its result at 65532.
fn call_once(import: &str, parameters: &str, arguments: &str) -> Result<i32, String> {
    let module = format!(
        r#"(module
            (import {import} (func $f {parameters}))
            (memory (export "memory") 1)
            (data (i32.const 0) "Status: 200\n\nX-Name: v")
            (func (export "handle") (result i32) (call $f {arguments})))"#
    );
    let function = Function::text(&module);
    let mut call = function.begin(request("GET", "/p", "q"));
    call.context().input.push(*b"0123456789");
    call.context().input.end();
    match call.run(|wait| panic!("waits for {wait:?}")) {
        Ok(results) => Ok(results[0] as u32 as i32),
        Err(trap) => Err(trap.reason.to_string()),
    }
}

#[test]
fn hostile_arguments_end_in_an_error_or_a_stop_and_never_in_a_panic() {
    let numbers = [
        "0",
        "1",
        "7",
        "65528",
        "65535",
        "65536",
        "-1",
        "-8",
        "0x7fffffff",
        "0x80000000",
    ];
    let wasi: &[(&str, usize)] = &[
        ("args_get", 2),
        ("args_sizes_get", 2),
        ("environ_get", 2),
        ("environ_sizes_get", 2),
        ("clock_res_get", 2),
        ("fd_fdstat_get", 2),
        ("fd_filestat_get", 2),
        ("fd_prestat_get", 2),
        ("fd_renumber", 2),
        ("fd_fdstat_set_flags", 2),
        ("fd_prestat_dir_name", 3),
        ("fd_read", 4),
        ("fd_write", 4),
        ("poll_oneoff", 4),
        ("path_create_directory", 3),
        ("path_filestat_get", 5),
        ("path_readlink", 6),
        ("sock_recv", 6),
    ];
    let engine = engine();
    for (name, count) in wasi {
        let parameters = "i32 ".repeat(*count);
        let forwarded: String = (0..*count)
            .map(|index| format!("(local.get {index})"))
            .collect();
        let module = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "{name}" (func $f (param {parameters}) (result i32)))
                (memory (export "memory") 1)
                (func (export "call") (param {parameters}) (result i32) (call $f {forwarded})))"#
        );
        let linked = link(&engine, &wat::parse_str(&module).unwrap());
        let function = linked.module().function("call").unwrap();
        // Every number in every place, the others small.
        for base in ["0", "1", "1024"] {
            for place in 0..*count {
                for number in numbers {
                    let word = |text: &str| {
                        u64::from(match text.strip_prefix("0x") {
                            Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
                            None => text.parse::<i64>().unwrap() as u32,
                        })
                    };
                    let mut arguments = vec![word(base); *count];
                    arguments[place] = word(number);
                    let mut context =
                        Context::call(Rc::new(request("GET", "", "")), Kind::Reactor, Rc::new([]));
                    context.input.push(*b"input");
                    context.input.end();
                    let limits = Limits::default();
                    let mut instance = Instance::new(&linked, limits, Box::new(context)).unwrap();
                    instance.begin(function, &arguments).unwrap();
                    loop {
                        match instance.resume() {
                            Progress::Returned(results) => {
                                assert!(results[0] <= 76, "{name} {arguments:?}");
                                break;
                            }
                            Progress::Stopped(trap) => {
                                assert!(
                                    !matches!(trap.reason, Reason::HostPanic(_)),
                                    "{name} {arguments:?}: {trap}"
                                );
                                break;
                            }
                            Progress::Preempted => {}
                            Progress::Blocked => {
                                instance.stop(Reason::Host("waits".into()));
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn calls_of_the_dormouse_module_are_checked() {
    let i32s = |count: usize| format!("(param {}) (result i32)", "i32 ".repeat(count));
    let two = i32s(2);
    let read = |arguments: &str| call_once(r#""dormouse" "read_call_input""#, &two, arguments);
    assert_eq!(read("(i32.const 100) (i32.const 4)"), Ok(4));
    assert_eq!(read("(i32.const 100) (i32.const 50)"), Ok(10));
    assert_eq!(read("(i32.const 65536) (i32.const 0)"), Ok(0));
    for arguments in [
        "(i32.const 65535) (i32.const 2)",
        "(i32.const -1) (i32.const -1)",
    ] {
        let message = read(arguments).unwrap_err();
        assert!(message.starts_with("read_call_input:"), "{message}");
    }
    let header = |arguments: &str| call_once(r#""dormouse" "call_header""#, &i32s(4), arguments);
    let name = "(i32.const 0) (i32.const 6)";
    assert_eq!(
        header(&format!("{name} (i32.const 0) (i32.const 0)")),
        Ok(-1)
    );
    assert!(header(&format!("{name} (i32.const 65530) (i32.const 7)")).is_err());
}

#[test]
fn a_status_or_header_that_is_none_stops_the_guest_with_a_message() {
    let stops = |body: &str| {
        let module = format!(
            r#"(module
                (import "dormouse" "set_status" (func $set_status (param i32)))
                (import "dormouse" "set_header" (func $set_header (param i32 i32 i32 i32)))
                (import "dormouse" "write_call_output" (func $write (param i32 i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "X-Good\r\nX: y")
                (func (export "handle") (result i32) {body} (i32.const 0)))"#
        );
        let mut call = Function::text(&module).begin(request("GET", "", ""));
        call.run(|wait| panic!("waits for {wait:?}"))
            .unwrap_err()
            .reason
            .to_string()
    };
    assert!(stops("(call $set_status (i32.const 99))").contains("99 is not a status"));
    let injection = "(call $set_header (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 12))";
    assert!(stops(injection).contains("control characters"));
    let name = "(call $set_header (i32.const 0) (i32.const 12) (i32.const 0) (i32.const 1))";
    assert!(stops(name).contains("the name of a header field"));
    let late = "(call $write (i32.const 0) (i32.const 1)) (call $set_status (i32.const 404))";
    assert!(stops(late).contains("before the first byte"));
    let beyond = "(call $write (i32.const 65535) (i32.const 2))";
    assert!(stops(beyond).contains("write_call_output"));
}

#[test]
fn initialisation_may_not_freeze_time_or_randomness() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "dormouse_init") (drop (call $random (i32.const 0) (i32.const 8)))))"#;
    let linked = link(&engine(), &wat::parse_str(module).unwrap());
    let init = linked.module().function("dormouse_init").unwrap();
    for (policy, allowed) in [(InitPolicy::Refuse, false), (InitPolicy::Allow, true)] {
        let context = Box::new(Context::initialising(Vec::new(), policy));
        let mut instance = Instance::new(&linked, Limits::default(), context).unwrap();
        let result = instance.call(init, &[]);
        assert_eq!(result.is_ok(), allowed);
        if let Err(trap) = result {
            assert!(trap.to_string().contains("init-entropy=allow"), "{trap}");
        }
    }
}
