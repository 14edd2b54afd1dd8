//! What must hold for whatever stands in a control file: the body of its fuzz target and of its seeded test.
//!
//! The files are under checksums, so bytes as they come would be refused at once. Here they are the JSON under a good one, or
//! changes to that of a state with something of everything in it.

use std::path::Path;

use admission::Policy;
use codec::chunk::bytes::Reader;
use codec::envelope;
use codec::exercise::change;
use env::Env;

use super::admin::{Operation, call};
use super::{Control, OpenError, check, file};

/// Puts a control file into an empty directory and opens the state. The first byte says which file it is, whether the input
/// is its body or changes one, and whether the other file is lost; the second its version.
///
/// # Panics
/// When the state does not open although one file is whole, or is another one after a restart.
pub fn exercise(env: &Env, directory: &Path, input: &[u8]) {
    let [head, version, rest @ ..] = input else { return };
    let files = &*env.files;
    files.create_dir(directory).expect("the disk works");
    fill(&open(env, directory).expect("the directory is new"));
    let names = match *head & 1 {
        0 => file::NAMES,
        _ => [file::NAMES[1], file::NAMES[0]],
    };
    let mut body = rest.to_vec();
    if *head & 2 != 0 {
        let bytes = env::read_all(files, &directory.join(names[0])).expect("it was just written");
        body = envelope::unwrap(file::MAGIC, file::VERSION, &bytes).expect("it was just written").to_vec();
        change(&mut body, &mut Reader::new(rest));
    }
    let is_lost = *head & 4 != 0;
    if is_lost {
        files.remove(&directory.join(names[1])).expect("it was just written");
    }
    let version = u16::from(*version % 3);
    let bytes = envelope::wrap(file::MAGIC, version, &body);
    env::replace(files, directory, names[0], &bytes).expect("the disk works");
    let checked = check(env, directory);
    let control = match open(env, directory) {
        Err(OpenError::Newer { .. }) if version > file::VERSION => return,
        Err(OpenError::Damaged) if is_lost => return assert!(checked.is_err()),
        opened => opened.expect("one file is whole"),
    };
    // It may have no numbers left, or be full.
    let _ = call(&control, Operation::CreateTenant, "", br#"{"name": "next"}"#);
    let _ = call(&control, Operation::ListTenants, "", b"");
    let _ = call(&control, Operation::ListTokens, "", b"");
    let again = open(env, directory).expect("what was written opens");
    assert_eq!(again.authority().state(), control.authority().state());
}

fn open(env: &Env, directory: &Path) -> Result<Control, OpenError> {
    Control::open(env.clone(), directory, Policy::default()).map(|(control, _)| control)
}

/// Makes tenants, limits and tokens.
fn fill(control: &Control) {
    let limits = r#"{"retention": "30d", "samples_per_second": 10, "active_series": 5}"#;
    let token = r#"{"tenant": "acme", "scopes": ["write", "read"], "name": "agent", "expires_in": "1h"}"#;
    let calls = [
        (Operation::CreateTenant, "", r#"{"name": "acme"}"#),
        (Operation::SetLimits, "acme", limits),
        (Operation::CreateToken, "", token),
        (Operation::CreateTenant, "", r#"{"name": "gone"}"#),
        (Operation::DeleteTenant, "gone", ""),
    ];
    for (operation, target, body) in calls {
        call(control, operation, target, body.as_bytes()).expect("the state takes it");
    }
}
