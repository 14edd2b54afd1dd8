//! The command line: `weir` serves, `weir tenant|token|snapshot|push|query|check` work with a server or a data directory.
//!
//! What a command produces goes to stdout, what it has to say to stderr, and the exit code tells which kind of failure
//! it was (`failure.rs`), so that scripts need not read messages.

mod admin;
mod arguments;
mod check;
mod client;
mod failure;
mod generate;
mod output;
mod page;
mod push;
mod query;
mod serve;
mod snapshot;
mod terminal;
mod time;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Small, and it gives memory back; measured beside the system's in bench/.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => serve::serve(&arguments.serve),
        Some(Command::Serve(flags)) => serve::serve(&flags),
        Some(Command::Tenant(command)) => admin::tenant(command),
        Some(Command::Token(command)) => admin::token(command),
        Some(Command::Snapshot(command)) => snapshot::snapshot(command),
        Some(Command::Push(command)) => push::push(command),
        Some(Command::Query(command)) => query::query(command),
        Some(Command::Delete(command)) => admin::delete(command),
        Some(Command::Check(command)) => check::check(command),
        Some(Command::Completions { shell }) => generate::completions(shell),
        Some(Command::Man) => generate::man(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
