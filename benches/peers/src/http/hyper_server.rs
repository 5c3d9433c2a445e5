//! The peers that serve HTTP: hyper on one thread, alone and with a fresh Wasmtime instance per request.

use crate::system;
use crate::wasmtime_peer::{self, SCAN_ALL};
use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use wasmtime::{Caller, Engine, Extern, InstancePre, Linker, Memory, Module, ModuleExport, Store};

/// What both answer: what `guests/hello.wasm` writes.
pub const HELLO: &str = "Hello from Dormouse!\n";

/// The most instances at a time; each lives only while its request is answered.
const INSTANCES: u32 = 64;

/// The memory that an instance may have.
const MEMORY_BYTES: u64 = 64 << 20;

/// Serves until it is killed.
pub fn serve(port: u16, guest: Option<&Path>) -> Result<()> {
    system::pin(system::MEASURED_CORE)?;
    let function = guest.map(Function::new).transpose()?.map(Rc::new);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let function = function.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let function = function.clone();
                    async move { Ok::<_, Infallible>(respond(function.as_deref(), request).await) }
                });
                // A client that breaks off is none of the measurement's business.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

async fn respond(function: Option<&Function>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let result = match function {
        None => Ok((StatusCode::OK, Bytes::from_static(HELLO.as_bytes()))),
        Some(function) => {
            let (parts, body) = request.into_parts();
            match body.collect().await {
                Ok(body) => function.call(parts, body.to_bytes()),
                Err(error) => Err(error.into()),
            }
        }
    };
    let (status, body) = result.unwrap_or_else(|error| {
        let text = Bytes::from(format!("{error:#}\n"));
        (StatusCode::INTERNAL_SERVER_ERROR, text)
    });
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// A guest, ready to be instantiated.
struct Function {
    engine: Engine,
    instantiate: InstancePre<Call>,
    /// What has to be called before `handle` in every instance, since there are no snapshots of initialised ones.
    initialise: Vec<ModuleExport>,
    handle: ModuleExport,
}

/// What the guest's imports work on.
struct Call {
    request: Parts,
    input: Bytes,
    output: Vec<u8>,
    status: StatusCode,
    memory: Option<Memory>,
}

impl Function {
    fn new(path: &Path) -> Result<Function> {
        let engine = wasmtime_peer::engine(SCAN_ALL, INSTANCES, MEMORY_BYTES, false)?;
        let wasm =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let module = Module::new(&engine, wasm)?;
        let handle = module
            .get_export_index("handle")
            .context("the guest exports no handle")?;
        let initialise = ["_initialize", "dormouse_init"];
        let initialise = initialise
            .iter()
            .filter_map(|name| module.get_export_index(name));
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("dormouse", "write_call_output", write_call_output)?
            .func_wrap("dormouse", "read_call_input", read_call_input)?
            .func_wrap("dormouse", "call_header", call_header)?
            .func_wrap("dormouse", "set_status", set_status)?
            // Which headers a response has changes nothing of what is measured.
            .func_wrap(
                "dormouse",
                "set_header",
                |_: u32, _: u32, _: u32, _: u32| {},
            )?;
        let instantiate = linker.instantiate_pre(&module)?;
        Ok(Function {
            engine,
            instantiate,
            initialise: initialise.collect(),
            handle,
        })
    }

    fn call(&self, request: Parts, input: Bytes) -> Result<(StatusCode, Bytes)> {
        let call = Call {
            request,
            input,
            output: Vec::new(),
            status: StatusCode::OK,
            memory: None,
        };
        let mut store = Store::new(&self.engine, call);
        let instance = self.instantiate.instantiate(&mut store)?;
        for initialise in &self.initialise {
            let function = instance.get_module_export(&mut store, initialise);
            let function = function.and_then(Extern::into_func);
            let function = function.context("an initialisation is no function")?;
            function.typed::<(), ()>(&store)?.call(&mut store, ())?;
        }
        let handle = instance.get_module_export(&mut store, &self.handle);
        let handle = handle
            .and_then(Extern::into_func)
            .context("handle is no function")?;
        let status = handle.typed::<(), i32>(&store)?.call(&mut store, ())?;
        anyhow::ensure!(status == 0, "the function failed: {status}");
        let call = store.into_data();
        Ok((call.status, call.output.into()))
    }
}

/// The guest's memory, and what its calls work on.
fn memory_and_call<'a>(
    caller: &'a mut Caller<'_, Call>,
) -> wasmtime::Result<(&'a mut [u8], &'a mut Call)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let memory =
                memory.ok_or_else(|| wasmtime::Error::msg("the guest exports no memory"))?;
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    Ok(memory.data_and_store_mut(caller))
}

fn part(memory: &mut [u8], address: u32, bytes: usize) -> wasmtime::Result<&mut [u8]> {
    memory
        .get_mut(address as usize..)
        .and_then(|rest| rest.get_mut(..bytes))
        .ok_or_else(|| wasmtime::Error::msg("out of bounds"))
}

fn write_call_output(
    mut caller: Caller<'_, Call>,
    address: u32,
    bytes: u32,
) -> wasmtime::Result<()> {
    let (memory, call) = memory_and_call(&mut caller)?;
    let bytes = part(memory, address, bytes as usize)?;
    call.output.extend_from_slice(bytes);
    Ok(())
}

fn read_call_input(
    mut caller: Caller<'_, Call>,
    address: u32,
    bytes: u32,
) -> wasmtime::Result<u32> {
    let (memory, call) = memory_and_call(&mut caller)?;
    let count = call.input.len().min(bytes as usize);
    let taken = call.input.split_to(count);
    part(memory, address, count)?.copy_from_slice(&taken);
    Ok(count as u32)
}

fn call_header(
    mut caller: Caller<'_, Call>,
    name: u32,
    name_bytes: u32,
    buffer: u32,
    buffer_bytes: u32,
) -> wasmtime::Result<i32> {
    let (memory, call) = memory_and_call(&mut caller)?;
    let name = part(memory, name, name_bytes as usize)?;
    let uri = &call.request.uri;
    let value = match &*name {
        b":method" => call.request.method.as_str().as_bytes(),
        b":query" => uri.query().unwrap_or_default().as_bytes(),
        b":path" => {
            let rest = uri.path().get(1..).unwrap_or_default();
            let end = rest.find('/').unwrap_or(rest.len());
            &rest.as_bytes()[end..]
        }
        name => match header(call, name) {
            Some(value) => value,
            None => return Ok(-1),
        },
    };
    let count = value.len().min(buffer_bytes as usize);
    part(memory, buffer, count)?.copy_from_slice(&value[..count]);
    Ok(value.len() as i32)
}

fn header<'a>(call: &'a Call, name: &[u8]) -> Option<&'a [u8]> {
    let name = std::str::from_utf8(name).ok()?;
    Some(call.request.headers.get(name)?.as_bytes())
}

fn set_status(mut caller: Caller<'_, Call>, code: i32) -> wasmtime::Result<()> {
    caller.data_mut().status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| wasmtime::Error::msg("no status"))?;
    Ok(())
}
