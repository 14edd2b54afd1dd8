//! `weir check`.

use crate::arguments::Check;
use crate::failure::Failure;
use crate::serve;
use crate::terminal::put;

pub(crate) fn check(command: Check) -> Result<(), Failure> {
    match command {
        Check::Config { serve: flags } => {
            let sources = serve::sources(&flags);
            serve::config(&sources)?;
            match sources.path() {
                Some(path) => put(&format!("{}: in order\n", path.display())),
                None => put("no weir.yaml: the defaults hold\n"),
            }
        }
    }
}
