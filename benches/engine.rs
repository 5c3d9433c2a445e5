//! Micro benchmarks of the engine: what a call in a fresh instance costs, warm (reset after the last call) and cold
//! (restored into a free slot), by pages written and size of memory.
//!
//! `cargo bench --bench engine` prints medians. Run without `--bench`, as `cargo test --benches` does, every measurement
//! is made once.

use dormouse::compile::{CompileOptions, compile};
use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
use std::time::Instant;

/// A module with `pages` wasm pages of memory of which `filled_bytes` are not zero, and a function that writes to
/// `written` pages, `step` bytes apart.
fn source(pages: u32, filled_bytes: u32, written: u32, step: u32) -> String {
    let writes: String = (0..written)
        .map(|page| format!("(i32.store8 (i32.const {}) (i32.const 1))", page * step))
        .collect();
    format!(
        r#"(module (memory {pages})
            (func (export "init") (local i32)
                (loop $l
                    (if (i32.lt_u (local.get 0) (i32.const {filled_bytes})) (then
                        (i64.store (local.get 0) (i64.const 0x0101010101010101))
                        (local.set 0 (i32.add (local.get 0) (i32.const 8)))
                        (br $l)))))
            (func (export "f") {writes}))"#
    )
}

fn image(engine: &Engine, source: &str) -> Image {
    let wasm = wat::parse_str(source).expect("the text is valid");
    let artifact = compile(&wasm, &CompileOptions::default()).expect("the module compiles");
    let module = Module::from_artifact(engine, &artifact).expect("the artifact loads");
    let linked = module.link(&Imports::new()).expect("there are no imports");
    let mut instance =
        Instance::new(&linked, Limits::default(), Box::new(())).expect("there is a slot");
    let init = module.function("init").expect("the module exports it");
    instance.call(init, &[]).expect("init does not trap");
    let file = tempfile::tempfile().expect("there is a temporary directory");
    Image::capture(&mut instance, &file).expect("the instance is idle");
    Image::open(&linked, &file).expect("the image was just written")
}

fn median_us(rounds: usize, mut once: impl FnMut()) -> f64 {
    let mut samples: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            once();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { 20_000 } else { 1 };
    let engine = Engine::new(&EngineOptions::default()).expect("the engine starts");
    println!("{:32} {:>12} {:>12}", "medians in us", "warm", "cold");
    for (name, pages, filled, written, step) in [
        ("tiny, 1 page", 1, 0, 0, 0),
        ("2 MiB image, 0 pages written", 32, 2 << 20, 0, 0),
        ("2 MiB image, 16 pages written", 32, 2 << 20, 16, 128 << 10),
        ("2 MiB image, 16 pages in a row", 32, 2 << 20, 16, 4096),
        ("2 MiB image, 128 pages written", 32, 2 << 20, 128, 16 << 10),
        ("64 MiB memory, 4 pages written", 1024, 4096, 4, 16 << 20),
    ] {
        let image = image(&engine, &source(pages, filled, written, step));
        let function = image
            .linked()
            .module()
            .function("f")
            .expect("the module exports it");
        let restore = || {
            image
                .restore(Limits::default(), Box::new(()))
                .expect("there is a slot")
        };
        let mut instance = restore();
        let warm = median_us(rounds, || {
            instance.call(function, &[]).expect("it does not trap");
            instance.reset(Box::new(())).expect("it can be reset");
        });
        let cold = median_us(rounds, || {
            restore().call(function, &[]).expect("it does not trap");
        });
        println!("{name:32} {warm:12.2} {cold:12.2}");
    }
}
