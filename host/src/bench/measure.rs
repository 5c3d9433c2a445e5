//! Runs a function as the server would and takes the time.

use super::report::Report;
use super::scratch::Scratch;
use crate::deploy::{Failure, initialise, kind_of, serving_limits};
use crate::interface::{Context, Kind, OutputError, Request, RequestId, drive, imports};
use crate::options::BenchOptions;
use crate::profile::{Quantiles, microseconds};
use crate::run::{RunError, load, with_progress};
use crate::store::{FunctionConfig, STACK_BYTES_MAX};
use dormouse::{
    Callable, Engine, EngineOptions, Image, ImageError, Instance, Limits, Linked, Reason,
    ResetError, RestoreError, Trap,
};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Instances over which idle memory is averaged.
const IDLE_INSTANCES: u32 = 64;

/// Samples that read from disk; each takes its time.
const DISK_COLD_CALLS: u32 = 20;

/// Calls before the first that counts.
const WARM_UP_CALLS: u32 = 10;

/// Why a function cannot be measured.
#[derive(Debug)]
pub enum BenchError {
    Run(RunError),
    /// It is no function, or its initialisation failed.
    Init(Failure),
    Image(ImageError),
    Restore(RestoreError),
    Reset(ResetError),
    /// There is no file for the image.
    Scratch(io::Error),
    Stack(io::Error),
    Trap(Trap),
    /// The function answered, and said that it failed.
    Failed(i32),
    Response(OutputError),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Run(error) => error.fmt(f),
            BenchError::Init(failure) => f.write_str(&failure.message),
            BenchError::Image(error) => error.fmt(f),
            BenchError::Restore(error) => error.fmt(f),
            BenchError::Reset(error) => error.fmt(f),
            BenchError::Scratch(error) => {
                write!(
                    f,
                    "there is no place for the image in /var/tmp or TMPDIR: {error}"
                )
            }
            BenchError::Stack(error) => write!(f, "there is no memory for a stack: {error}"),
            BenchError::Trap(trap) => write!(f, "the call failed: {trap}"),
            BenchError::Failed(code) => write!(
                f,
                "the call failed with code {code}; --data gives it the body it may expect"
            ),
            BenchError::Response(error) => write!(f, "the response is not one: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

/// The function under measurement.
struct Function<'a> {
    linked: Linked,
    limits: Limits,
    kind: Kind,
    entry: Callable,
    request: Rc<Request>,
    environment: Rc<[(String, String)]>,
    body: &'a [u8],
}

pub fn measure(options: &BenchOptions) -> Result<Report, BenchError> {
    let engine = Engine::new(&EngineOptions {
        slots_max: IDLE_INSTANCES as usize + 1,
        stack_bytes: STACK_BYTES_MAX,
        ..EngineOptions::default()
    })
    .map_err(|error| BenchError::Run(RunError::Engine(error)))?;
    let program = load(&engine, &options.file).map_err(BenchError::Run)?;
    let kind = kind_of(program.module.info()).map_err(BenchError::Init)?;
    let linked = program
        .module
        .link(&imports())
        .map_err(|error| BenchError::Run(RunError::Link(error)))?;

    let config = FunctionConfig::default();
    let scratch = Scratch::new().map_err(BenchError::Scratch)?;
    let begin = Instant::now();
    let mut instance = initialise(&linked, &config).map_err(BenchError::Init)?;
    let image = Image::capture(&mut instance, &scratch.file).map_err(BenchError::Image)?;
    let init = begin.elapsed();
    drop(instance);

    let name = match kind {
        Kind::Command => "_start",
        Kind::Reactor => "handle",
    };
    let function = Function {
        entry: linked
            .module()
            .function(name)
            .expect("its kind says that it exports this"),
        linked,
        limits: serving_limits(&config),
        kind,
        request: Rc::new(request(&options.data)),
        environment: Rc::new([]),
        body: &options.data,
    };
    let calls = options.calls.max(1);
    with_progress("measuring", || {
        let opened = Image::open(&function.linked, &scratch.file).map_err(BenchError::Image)?;
        let warm = function.warm(&opened, calls)?;
        let cold = function.cold(&opened, calls)?;
        let (idle_bytes, idle_trimmed_bytes) = function.idle(&opened)?;
        drop(opened);
        Ok(Report {
            kind,
            calls,
            wasm_bytes: program.wasm_bytes,
            compile_us: program.compile.map(microseconds),
            artifact_bytes: program.artifact_bytes,
            init_us: microseconds(init),
            image_bytes: image.file_bytes,
            image_pages: image.pages,
            memory_bytes: image.memory_bytes,
            response_status: warm.answer.status,
            response_body_bytes: warm.answer.body_bytes,
            warm_start_us: Quantiles::of(warm.start),
            warm_call_us: Quantiles::of(warm.call),
            reset_us: Quantiles::of(warm.reset),
            restore_us: Quantiles::of(cold.restore),
            cold_call_us: Quantiles::of(cold.call),
            disk_cold_us: match scratch.on_disk {
                true => Some(Quantiles::of(function.disk_cold(&scratch, calls)?)),
                false => None,
            },
            written_pages: warm.written_pages,
            idle_bytes,
            idle_trimmed_bytes,
        })
    })
}

fn request(data: &[u8]) -> Request {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Request {
        method: if data.is_empty() { "GET" } else { "POST" }.into(),
        path: String::new(),
        raw_target: "/bench".into(),
        query: String::new(),
        headers: vec![("Host".into(), b"localhost".to_vec())],
        content_length: (!data.is_empty()).then_some(data.len() as u64),
        remote: address(40000),
        local: address(8080),
        function: "bench".into(),
        id: RequestId("bench".into()),
    }
}

/// What a call answered.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    body_bytes: u64,
}

struct Warm {
    start: Vec<Duration>,
    call: Vec<Duration>,
    reset: Vec<Duration>,
    written_pages: u64,
    answer: Answer,
}

struct Cold {
    restore: Vec<Duration>,
    call: Vec<Duration>,
}

impl Function<'_> {
    fn context(&self) -> Box<Context> {
        let (request, environment) = (self.request.clone(), self.environment.clone());
        let mut context = Context::call(request, self.kind, environment);
        context.input.push(self.body);
        context.input.end();
        Box::new(context)
    }

    fn restore(&self, image: &Image) -> Result<Instance, BenchError> {
        let context = self.context();
        image
            .restore(self.limits, context)
            .map_err(BenchError::Restore)
    }

    /// Calls the function once: how long it took, and what it answered.
    fn call(&self, instance: &mut Instance) -> Result<(Duration, Answer), BenchError> {
        let begin = Instant::now();
        let result = drive(instance, self.entry, &[]).map_err(BenchError::Stack)?;
        let elapsed = begin.elapsed();
        match result {
            Ok(results) => match results.first() {
                Some(&code) if code as i32 != 0 => return Err(BenchError::Failed(code as i32)),
                _ => {}
            },
            Err(Trap {
                reason: Reason::Exit(0),
                ..
            }) => {}
            Err(Trap {
                reason: Reason::Exit(code),
                ..
            }) => return Err(BenchError::Failed(code)),
            Err(trap) => return Err(BenchError::Trap(trap)),
        }
        let context = instance.data_mut::<Context>();
        context.finish().map_err(BenchError::Response)?;
        let (status, _) = context
            .output
            .head()
            .expect("the head is known of a finished response");
        Ok((
            elapsed,
            Answer {
                status,
                body_bytes: context.output.body_bytes(),
            },
        ))
    }

    fn warm(&self, image: &Image, calls: u32) -> Result<Warm, BenchError> {
        let mut instance = self.restore(image)?;
        let (mut start, mut call) = (Vec::new(), Vec::new());
        let (mut reset, mut written) = (Vec::new(), Vec::new());
        let mut answer = None;
        for index in 0..WARM_UP_CALLS + calls {
            let begin = Instant::now();
            instance.replace_data(self.context());
            let start_time = begin.elapsed();
            let (call_time, answered) = self.call(&mut instance)?;
            let begin = Instant::now();
            let report = instance.reset(Box::new(())).map_err(BenchError::Reset)?;
            let reset_time = begin.elapsed();
            if index >= WARM_UP_CALLS {
                start.push(start_time);
                call.push(call_time);
                reset.push(reset_time);
                written.push(report.pages_kept + report.pages_dropped);
            }
            answer = Some(answered);
        }
        written.sort_unstable();
        let written_pages = written[written.len() / 2] as u64;
        Ok(Warm {
            start,
            call,
            reset,
            written_pages,
            answer: answer.expect("there was a call"),
        })
    }

    fn cold(&self, image: &Image, calls: u32) -> Result<Cold, BenchError> {
        let mut cold = Cold {
            restore: Vec::new(),
            call: Vec::new(),
        };
        for index in 0..WARM_UP_CALLS + calls {
            let context = self.context();
            let begin = Instant::now();
            let mut instance = image
                .restore(self.limits, context)
                .map_err(BenchError::Restore)?;
            let restore_time = begin.elapsed();
            let (call_time, _) = self.call(&mut instance)?;
            if index >= WARM_UP_CALLS {
                cold.restore.push(restore_time);
                cold.call.push(call_time);
            }
        }
        Ok(cold)
    }

    fn disk_cold(&self, scratch: &Scratch, calls: u32) -> Result<Vec<Duration>, BenchError> {
        let mut samples = Vec::new();
        for _ in 0..calls.min(DISK_COLD_CALLS) {
            scratch.make_cold().map_err(BenchError::Scratch)?;
            let context = self.context();
            let begin = Instant::now();
            let image = Image::open(&self.linked, &scratch.file).map_err(BenchError::Image)?;
            let mut instance = image
                .restore(self.limits, context)
                .map_err(BenchError::Restore)?;
            self.call(&mut instance)?;
            samples.push(begin.elapsed());
        }
        Ok(samples)
    }

    /// What instances that have served a call and wait for the next hold, before and after they are trimmed.
    fn idle(&self, image: &Image) -> Result<(u64, u64), BenchError> {
        let mut instances = Vec::new();
        for _ in 0..IDLE_INSTANCES {
            let mut instance = self.restore(image)?;
            self.call(&mut instance)?;
            instance.reset(self.context()).map_err(BenchError::Reset)?;
            instances.push(instance);
        }
        let average = |instances: &[Instance]| {
            instances.iter().map(Instance::held_bytes).sum::<u64>() / instances.len() as u64
        };
        let warm = average(&instances);
        for instance in &mut instances {
            instance.trim().map_err(BenchError::Reset)?;
        }
        Ok((warm, average(&instances)))
    }
}
