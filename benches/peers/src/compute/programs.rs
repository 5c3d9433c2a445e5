//! The programs of the compute suite: what each is made of, and how much it does.

/// Sources of others that go into a program, compiled without warnings.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// The crate that has it; `programs/Cargo.toml` names it.
    pub package: &'static str,
    /// The folder, within the crate, of sources and headers.
    pub folder: &'static str,
    /// Without their `.c`.
    pub sources: &'static [&'static str],
    /// Flags for the sources and for what includes the headers.
    pub flags: &'static [&'static str],
    /// More of them where the target is wasm.
    pub wasm_flags: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// The folder of `NAME.c` within `programs`.
    pub folder: &'static str,
    /// What it is given as its argument: some 1 s natively.
    pub amount: u32,
    /// With `--quick`.
    pub quick: u32,
    pub library: Option<&'static Library>,
}

const SQLITE: Library = Library {
    package: "libsqlite3-sys",
    folder: "sqlite3",
    sources: &["sqlite3"],
    flags: &[
        "-DSQLITE_THREADSAFE=0",
        "-DSQLITE_OMIT_LOAD_EXTENSION",
        "-DSQLITE_OMIT_WAL",
        "-DSQLITE_DEFAULT_MEMSTATUS=0",
        "-DSQLITE_TEMP_STORE=3",
    ],
    wasm_flags: &[],
};

const QUICKJS: Library = Library {
    package: "rquickjs-sys",
    folder: "quickjs",
    sources: &["quickjs", "libregexp", "libunicode", "dtoa"],
    flags: &["-D_GNU_SOURCE", "-DNDEBUG"],
    // EMSCRIPTEN is how QuickJS says: no atomics, no stack pointer to look at.
    wasm_flags: &["-DEMSCRIPTEN=1", "-DFE_DOWNWARD=0", "-DFE_UPWARD=0"],
};

const ZLIB: Library = Library {
    package: "libz-sys",
    folder: "src/zlib",
    sources: &[
        "adler32", "compress", "crc32", "deflate", "inffast", "inflate", "inftrees", "trees",
        "uncompr", "zutil",
    ],
    flags: &[],
    wasm_flags: &[],
};

const YYJSON: Library = Library {
    package: "yyjson-sys",
    folder: "yyjson/src",
    sources: &["yyjson"],
    flags: &[],
    wasm_flags: &[],
};

const fn program(name: &'static str, amount: u32, quick: u32) -> Program {
    Program {
        name,
        folder: "",
        amount,
        quick,
        library: None,
    }
}

const fn kernel(name: &'static str, amount: u32, quick: u32) -> Program {
    Program {
        folder: "kernels",
        ..program(name, amount, quick)
    }
}

const fn with(library: &'static Library, program: Program) -> Program {
    Program {
        library: Some(library),
        ..program
    }
}

pub const PROGRAMS: [Program; 22] = [
    program("nbody", 20_000_000, 500_000),
    program("fannkuch", 11, 9),
    program("mandelbrot", 4000, 600),
    program("binary_trees", 19, 14),
    kernel("gemm", 400, 20),
    kernel("2mm", 100, 5),
    kernel("atax", 300, 15),
    kernel("bicg", 350, 15),
    kernel("mvt", 350, 15),
    kernel("cholesky", 130, 6),
    kernel("lu", 160, 8),
    kernel("jacobi-2d", 200, 10),
    kernel("seidel-2d", 100, 5),
    kernel("floyd-warshall", 80, 4),
    kernel("nussinov", 150, 8),
    kernel("durbin", 560, 30),
    with(&SQLITE, program("sqlite", 30, 2)),
    with(&QUICKJS, program("quickjs", 18, 1)),
    with(&ZLIB, program("zlib", 32, 2)),
    with(&YYJSON, program("json", 400, 20)),
    program("sha256", 280, 15),
    program("resize", 36, 2),
];

/// The programs whose modules are compiled to measure how fast that is: the largest.
pub const LARGEST: [&str; 2] = ["sqlite", "quickjs"];
