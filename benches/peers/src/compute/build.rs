//! The programs, compiled by one clang: natively and to wasm.
//!
//! What is built is kept in `target/compute`, and built again when a source or this program is newer. A failure tells the
//! command.

use super::programs::{Library, Program};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The compiler of both. Debian's wasi-libc and compiler-rt for wasm are for this one.
const CLANG: &str = "clang-14";

/// What must be installed, and the Debian package that has it.
const NEEDED: [(&str, &str); 5] = [
    ("/usr/bin/clang-14", "clang-14"),
    ("/usr/bin/wasm-ld-14", "lld-14"),
    ("/usr/lib/wasm32-wasi/libc.a", "wasi-libc"),
    (
        "/usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a",
        "libclang-rt-14-dev-wasm32",
    ),
    ("/usr/include/stb/stb_image_resize.h", "libstb-dev"),
];

/// No contraction: a multiplication and an addition are rounded each, as they are in wasm.
const FLAGS: [&str; 4] = ["-O3", "-std=gnu17", "-ffp-contract=off", "-DNDEBUG"];

/// Ours are to be clean; libraries are others'.
const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Werror"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Native,
    Wasm,
}

impl For {
    fn extension(self) -> &'static str {
        match self {
            For::Native => "native",
            For::Wasm => "wasm",
        }
    }
}

/// A program in both forms.
pub struct Built {
    pub native: PathBuf,
    pub wasm: PathBuf,
}

pub struct Builder {
    /// `benches/peers/programs`.
    programs: PathBuf,
    out: PathBuf,
    crates: HashMap<String, PathBuf>,
    /// More flags for the native compiler, such as `-march=native`.
    native_flags: Vec<String>,
}

impl Builder {
    pub fn new(native_flags: &[String]) -> Result<Builder> {
        let missing: Vec<&str> = NEEDED
            .iter()
            .filter(|(path, _)| !Path::new(path).exists())
            .map(|(_, package)| *package)
            .collect();
        ensure!(
            missing.is_empty(),
            "the toolchain is not complete; on Debian 12: apt-get install {}",
            missing.join(" ")
        );
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let programs = manifest.join("programs");
        // Other flags, other files.
        let variant = native_flags.join("").replace(['/', '='], "_");
        let out = manifest.join(format!("target/compute{variant}"));
        // clang looks for a wasi-libc below one folder and would otherwise take the host's headers.
        for part in ["include", "lib"] {
            let folder = out.join("sysroot").join(part);
            std::fs::create_dir_all(&folder)?;
            let link = folder.join("wasm32-wasi");
            if !link.exists() {
                std::os::unix::fs::symlink(format!("/usr/{part}/wasm32-wasi"), link)?;
            }
        }
        Ok(Builder {
            crates: crates(&programs)?,
            programs,
            out,
            native_flags: native_flags.to_vec(),
        })
    }

    pub fn build(&self, program: &Program) -> Result<Built> {
        Ok(Built {
            native: self.executable(program, For::Native)?,
            wasm: self.executable(program, For::Wasm)?,
        })
    }

    fn executable(&self, program: &Program, target: For) -> Result<PathBuf> {
        let folder = self.programs.join(program.folder);
        let source = folder.join(program.name).with_extension("c");
        let mut flags: Vec<String> = WARNINGS.map(str::to_owned).to_vec();
        flags.extend(["-isystem".into(), "/usr/include/stb".into()]);
        let mut objects = Vec::new();
        if let Some(library) = program.library {
            let folder = self.folder(library)?;
            let own = self.library_flags(library, target);
            for source in library.sources {
                let source = folder.join(source).with_extension("c");
                let quiet = [&own[..], &["-w".to_owned()]].concat();
                objects.push(self.object(&source, target, &quiet, &[])?);
            }
            flags.extend(["-isystem".into(), folder.display().to_string()]);
            flags.extend(own);
        }
        let headers = [
            self.programs.join("bench.h"),
            self.programs.join("kernels/kernel.h"),
        ];
        objects.push(self.object(&source, target, &flags, &headers)?);
        let output = self
            .out
            .join(format!("{}.{}", program.name, target.extension()));
        if up_to_date(&output, objects.iter())? {
            return Ok(output);
        }
        let mut command = self.clang(target);
        // Without -O: clang would run wasm-opt where one is installed.
        if target == For::Wasm {
            command.args(["-Wl,--stack-first,--strip-debug,-z,stack-size=1048576"]);
        }
        command.args(&objects).arg("-lm").arg("-o").arg(&output);
        run(command)?;
        Ok(output)
    }

    /// The object of a source.
    fn object(
        &self,
        source: &Path,
        target: For,
        flags: &[String],
        headers: &[PathBuf],
    ) -> Result<PathBuf> {
        let stem = source.file_stem().context("a source has a name")?;
        let parent = source
            .parent()
            .and_then(Path::file_name)
            .context("a source has a folder")?;
        let object = self.out.join(format!(
            "{}-{}.{}.o",
            parent.display(),
            stem.display(),
            target.extension()
        ));
        let this = std::env::current_exe()?;
        let sources = [source.to_owned(), this];
        if up_to_date(&object, sources.iter().chain(headers))? {
            return Ok(object);
        }
        eprintln!("compiling {} ({target:?})", source.display());
        let mut command = self.clang(target);
        command.args(FLAGS);
        match target {
            For::Native => command.args(&self.native_flags),
            For::Wasm => command.arg("-msimd128"),
        };
        command
            .args(flags)
            .arg("-c")
            .arg(source)
            .arg("-o")
            .arg(&object);
        run(command)?;
        Ok(object)
    }

    fn clang(&self, target: For) -> Command {
        let mut command = Command::new(CLANG);
        if target == For::Wasm {
            command.arg("--target=wasm32-wasi");
            command.arg(format!("--sysroot={}", self.out.join("sysroot").display()));
        }
        command
    }

    fn library_flags(&self, library: &Library, target: For) -> Vec<String> {
        let more = match target {
            For::Native => &[][..],
            For::Wasm => library.wasm_flags,
        };
        library
            .flags
            .iter()
            .chain(more)
            .map(|flag| (*flag).to_owned())
            .collect()
    }

    fn folder(&self, library: &Library) -> Result<PathBuf> {
        let name = library.package;
        let root = self
            .crates
            .get(name)
            .with_context(|| format!("cargo did not say where the crate {name} is"))?;
        Ok(root.join(library.folder))
    }
}

/// Where cargo keeps the crates with the C libraries; it fetches them first if need be.
fn crates(programs: &Path) -> Result<HashMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(programs.join("Cargo.toml"))
        .output()
        .context("cargo cannot be started")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().context("cargo said nonsense");
            let manifest = Path::new(text("manifest_path")?);
            let folder = manifest.parent().context("a manifest has a folder")?;
            Ok((text("name")?.to_owned(), folder.to_owned()))
        })
        .collect()
}

/// Whether a file exists and is at least as new as what it is made of.
pub fn up_to_date<'a>(output: &Path, inputs: impl Iterator<Item = &'a PathBuf>) -> Result<bool> {
    let Ok(made) = output.metadata().and_then(|data| data.modified()) else {
        return Ok(false);
    };
    for input in inputs {
        let changed: SystemTime = input
            .metadata()
            .and_then(|data| data.modified())
            .with_context(|| format!("{}", input.display()))?;
        if changed > made {
            return Ok(false);
        }
    }
    Ok(true)
}

fn run(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
