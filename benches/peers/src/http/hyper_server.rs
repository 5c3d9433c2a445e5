//! The peers that serve HTTP: hyper on one thread, alone and with a fresh Wasmtime instance per request.

use crate::system;
use crate::wasmtime_peer::{self, SCAN_ALL};
use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
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
                    let response = respond(function.as_deref(), &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                // A client that breaks off is none of the measurement's business.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

fn respond(function: Option<&Function>, _: &Request<Incoming>) -> Response<Full<Bytes>> {
    let result = match function {
        None => Ok(Bytes::from_static(HELLO.as_bytes())),
        Some(function) => function.call().map(Bytes::from),
    };
    result.map_or_else(
        |error| {
            let mut response = Response::new(Full::new(Bytes::from(format!("{error:#}\n"))));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        },
        |body| Response::new(Full::new(body)),
    )
}

/// A guest, ready to be instantiated.
struct Function {
    engine: Engine,
    instantiate: InstancePre<Call>,
    handle: ModuleExport,
}

/// What the guest's imports work on.
struct Call {
    output: Vec<u8>,
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
        let mut linker = Linker::new(&engine);
        linker.func_wrap("dormouse", "write_call_output", write_call_output)?;
        let instantiate = linker.instantiate_pre(&module)?;
        Ok(Function {
            engine,
            instantiate,
            handle,
        })
    }

    fn call(&self) -> Result<Vec<u8>> {
        let mut store = Store::new(
            &self.engine,
            Call {
                output: Vec::new(),
                memory: None,
            },
        );
        let instance = self.instantiate.instantiate(&mut store)?;
        let handle = instance.get_module_export(&mut store, &self.handle);
        let handle = handle
            .and_then(Extern::into_func)
            .context("handle is no function")?;
        let status = handle.typed::<(), i32>(&store)?.call(&mut store, ())?;
        anyhow::ensure!(status == 0, "the function failed: {status}");
        Ok(store.into_data().output)
    }
}

fn write_call_output(
    mut caller: Caller<'_, Call>,
    address: u32,
    bytes: u32,
) -> wasmtime::Result<()> {
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
    let (bytes_of_memory, call) = memory.data_and_store_mut(&mut caller);
    let end = address as usize + bytes as usize;
    let slice = bytes_of_memory.get(address as usize..end);
    call.output
        .extend_from_slice(slice.ok_or_else(|| wasmtime::Error::msg("out of bounds"))?);
    Ok(())
}
