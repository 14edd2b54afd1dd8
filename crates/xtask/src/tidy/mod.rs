//! What no compiler checks: absences, sizes, licences, names in documents. A red line here is a red build.
//!
//! Each check returns complaints and never stops at the first one. The same checks are a unit test of this crate, so
//! `cargo test` finds what `cargo xtask tidy` finds. Lists called ratchets name what is not good yet: an entry may be
//! removed, never added without a reason beside it.

use anyhow::{Result, bail};

use crate::repo::Repo;
use metadata::Metadata;

mod edges;
mod licences;
mod metadata;
mod names;
mod packages;
mod sizes;
mod text;

/// Runs every check and prints the figures; fails when there is a complaint.
pub fn tidy(repo: &Repo) -> Result<()> {
    let (complaints, figures) = check(repo)?;
    for figure in &figures {
        println!("{figure}");
    }
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    println!("tidy: nothing to complain about");
    Ok(())
}

fn check(repo: &Repo) -> Result<(Vec<String>, Vec<String>)> {
    let metadata = Metadata::read(repo)?;
    let files = repo.text_files()?;
    let mut figures = Vec::new();
    let mut complaints = edges::check(&metadata);
    complaints.extend(packages::check(repo, &metadata, &mut figures)?);
    complaints.extend(licences::check(&metadata));
    complaints.extend(text::check(&files));
    complaints.extend(sizes::check(&files, &mut figures));
    complaints.extend(names::check(repo, &files)?);
    Ok((complaints, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let (complaints, _) = check(&Repo::here()).expect("the checks run");
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
