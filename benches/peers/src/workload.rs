//! The modules that are measured, made as text so that a reader sees all there is to them.

/// What a call does to a memory of which size.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// Of the memory, in wasm pages.
    pub memory_pages: u32,
    /// Bytes of memory that are initialised, from the start of it, with no byte zero.
    pub data_bytes: u32,
    /// Hardware pages that a call writes a word of.
    pub written_pages: u32,
    /// The part of the memory, from its start, over which they are spread evenly.
    pub spread_bytes: u32,
    pub touch: Touch,
    /// Whether the image has a byte that is not zero in each page of the memory, which is filled before it is captured.
    pub filled: bool,
}

/// Which workloads a peer's process offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    Start,
    Restore,
}

/// How a call first touches a page that it writes.
#[derive(Clone, Copy, Debug)]
pub enum Touch {
    /// By writing: one page fault, where the page is not there yet.
    Write,
    /// By reading: one page fault for reading and another for writing.
    ReadThenWrite,
}

const WASM_PAGE_BYTES: u32 = 65536;

pub const WORKLOADS: [Workload; 7] = [
    workload("tiny, 0 pages written", 1, 64, 0, Touch::Write),
    workload("tiny, 1 page written", 1, 64, 1, Touch::Write),
    workload("2 MiB, 0 pages written", 32, 2 << 20, 0, Touch::Write),
    workload("2 MiB, 16 pages written", 32, 2 << 20, 16, Touch::Write),
    workload(
        "2 MiB, 16 pages read, written",
        32,
        2 << 20,
        16,
        Touch::ReadThenWrite,
    ),
    workload("2 MiB, 128 pages written", 32, 2 << 20, 128, Touch::Write),
    workload("64 MiB, 4 pages written", 1024, 64 << 10, 4, Touch::Write),
];

const fn workload(
    name: &'static str,
    memory_pages: u32,
    data_bytes: u32,
    written_pages: u32,
    touch: Touch,
) -> Workload {
    Workload {
        name,
        memory_pages,
        data_bytes,
        written_pages,
        spread_bytes: memory_pages * WASM_PAGE_BYTES,
        touch,
        filled: false,
    }
}

/// What the cost of a restore is measured over: pages written, and the size of the memory.
pub static RESTORED: [Workload; RESTORED_WRITTEN + 11] = [
    written("1", 1),
    written("2", 2),
    written("4", 4),
    written("8", 8),
    written("16", 16),
    written("32", 32),
    written("64", 64),
    written("128", 128),
    written("256", 256),
    written("512", 512),
    written("1024", 1024),
    sized("1 MiB", 1, false),
    sized("4 MiB", 4, false),
    sized("16 MiB", 16, false),
    sized("64 MiB", 64, false),
    sized("256 MiB", 256, false),
    sized("1 GiB", 1024, false),
    sized("1 MiB, filled", 1, true),
    sized("16 MiB, filled", 16, true),
    sized("64 MiB, filled", 64, true),
    sized("256 MiB, filled", 256, true),
    sized("1 GiB, filled", 1024, true),
];

/// How many of them, at the start, are about pages written.
pub const RESTORED_WRITTEN: usize = 11;

/// Pages that are written of an image of 4 MiB.
const fn written(name: &'static str, pages: u32) -> Workload {
    workload(name, 64, 4 << 20, pages, Touch::Write)
}

/// Four pages that are written of the first MiB of a memory of any size.
const fn sized(name: &'static str, mebibytes: u32, filled: bool) -> Workload {
    Workload {
        spread_bytes: 1 << 20,
        filled,
        ..workload(name, mebibytes * 16, 64 << 10, 4, Touch::Write)
    }
}

impl Workload {
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_pages) * u64::from(WASM_PAGE_BYTES)
    }

    /// The distance of the written pages.
    pub fn stride_bytes(&self) -> u32 {
        self.spread_bytes / self.written_pages.max(1)
    }

    /// The parameters of `run`.
    pub fn arguments(&self) -> (i32, i32) {
        (self.written_pages as i32, self.stride_bytes() as i32)
    }

    /// The workloads of a set.
    pub fn of(set: Set) -> &'static [Workload] {
        match set {
            Set::Start => &WORKLOADS,
            Set::Restore => &RESTORED,
        }
    }

    /// The module; those of different seeds differ in their data.
    ///
    /// `run(pages, stride)` adds one to a word of each page and returns the sum of what was there before, which is the same
    /// in every fresh instance and in no other.
    pub fn wasm(&self, seed: u32) -> Vec<u8> {
        let pages = self.memory_pages;
        let first = match self.touch {
            Touch::Write => "(i32.store offset=8 (local.get $address) (i32.const 1))",
            Touch::ReadThenWrite => "",
        };
        let text = format!(
            r#"(module
  (memory (export "memory") {pages})
  (data (i32.const 0) "{}")
  (func (export "fill") (local $address i32)
    (loop $next
      (i32.store8 offset=4095 (local.get $address) (i32.const 1))
      (local.set $address (i32.add (local.get $address) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $address) (i32.const {})))))
  (func (export "run") (param $pages i32) (param $stride i32) (result i32)
    (local $address i32) (local $word i32) (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $pages)))
        {first}
        (local.set $word (i32.load (local.get $address)))
        (local.set $sum (i32.add (local.get $sum) (local.get $word)))
        (i32.store (local.get $address) (i32.add (local.get $word) (i32.const 1)))
        (local.set $address (i32.add (local.get $address) (local.get $stride)))
        (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
        (br $next)))
    (local.get $sum)))"#,
            letters(self.data_bytes, seed),
            self.memory_bytes()
        );
        wat::parse_str(text).expect("the generated module is valid")
    }
}

/// A loop that runs for long: `run(iterations)` hashes a word of memory again and again.
pub fn tight_loop() -> Vec<u8> {
    let text = r#"(module
  (memory (export "memory") 1)
  (func (export "run") (param $left i64) (result i64)
    (local $hash i64)
    (local.set $hash (i64.const 88172645463325252))
    (loop $next
      (local.set $hash (i64.xor (local.get $hash) (i64.shl (local.get $hash) (i64.const 13))))
      (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 7))))
      (i64.store (i32.and (i32.wrap_i64 (local.get $hash)) (i32.const 0xfff8)) (local.get $hash))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $next (i64.ne (local.get $left) (i64.const 0))))
    (local.get $hash)))"#;
    wat::parse_str(text).expect("the module is valid")
}

fn letters(count: u32, seed: u32) -> String {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let letter = |_| {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..count).map(letter).collect()
}
