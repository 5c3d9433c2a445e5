//! `dormouse serve`: opens the store, deploys the files that were named, serves.

use super::{Failure, ServeArguments};
use crate::deploy::Deployments;
use crate::deploy::files::{self, Failed};
use crate::options::ServeOptions;
use crate::server;
use crate::store::Store;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Progress is shown from this long after the start.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

pub fn serve(arguments: ServeArguments) -> Result<(), Failure> {
    let data = match arguments.data {
        Some(data) => data,
        None => Store::default_directory().map_err(Failure::new)?,
    };
    let mut store = Store::open(&data).map_err(Failure::new)?;
    let files = files::find(&arguments.paths).map_err(all_failed)?;
    let began = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut shown = false;
    let deployed = files::deploy(&mut store, &mut Deployments::new(), &files, |step| {
        if terminal && began.elapsed() >= PROGRESS_AFTER {
            shown = true;
            eprint!(
                "\r\x1b[Kdeploying: {} of {}, {}",
                step.done, step.total, step.name
            );
            let _ = std::io::stderr().flush();
        }
    });
    if shown {
        eprintln!();
    }
    deployed.map_err(all_failed)?;
    let options = ServeOptions {
        listen: arguments.listen,
        admin: arguments.admin,
        budget_bytes: arguments.budget,
        policy: arguments.policy,
        log: arguments.log.into(),
        drain: arguments.drain,
    };
    server::run(store, options).map_err(Failure::new)
}

/// One line a file.
fn all_failed(failed: Vec<Failed>) -> Failure {
    let lines: Vec<_> = failed
        .iter()
        .map(|(path, error)| format!("{}: {error}", path.display()))
        .collect();
    Failure(lines.join("\ndormouse: "))
}
