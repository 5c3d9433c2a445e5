use std::path::PathBuf;
use std::process::ExitCode;
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments
        .get(1)
        .is_some_and(|a| a == crate::deploy::worker::SUBCOMMAND)
    {
        return crate::deploy::worker::main(&PathBuf::from(&arguments[2]));
    }
    ExitCode::FAILURE
}
