//! Golden files of what the compiler makes of small modules: `tests/disas/NAME.wat` and, beside it, the CLIF
//! (`NAME.clif`) and the x86-64 code (`NAME.asm`) of its functions.
//!
//! `DORMOUSE_BLESS=1 cargo test -p dormouse --test disas` writes the files anew; read the difference before committing it.
//! Modules named `linkable-...` are compiled to be linked. The code is that for x86-64-v2, whatever the test runs on.

use dormouse::compile::{CompileOptions, inspect};
use std::fs;
use std::path::{Path, PathBuf};

fn modules() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disas");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the folder of golden files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn code_is_as_expected() {
    let bless = std::env::var_os("DORMOUSE_BLESS").is_some();
    let modules = modules();
    assert!(!modules.is_empty(), "there are golden files");
    let mut differences = Vec::new();
    for path in modules {
        let wasm = wat::parse_file(&path).expect("valid text");
        let name = path.file_name().expect("a file").to_string_lossy();
        let options = CompileOptions {
            linkable: name.starts_with("linkable"),
            ..CompileOptions::default()
        };
        let functions = inspect(&wasm, &options).expect("compiles");
        let (mut clif, mut assembly) = (String::new(), String::new());
        for function in &functions {
            clif.push_str(&function.clif);
            clif.push('\n');
            assembly.push_str(&format!(
                "function {}:\n{}\n",
                function.index, function.assembly
            ));
        }
        for (extension, actual) in [("clif", clif), ("asm", assembly)] {
            let golden = path.with_extension(extension);
            if bless {
                fs::write(&golden, actual).expect("the golden file can be written");
            } else if fs::read_to_string(&golden).unwrap_or_default() != actual {
                differences.push(format!(
                    "--- {} is not what is compiled now:\n{actual}",
                    golden.display()
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{}\nset DORMOUSE_BLESS=1 to accept",
        differences.join("\n")
    );
}
