//! What is made of the command line's own description: completions and the man page.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::terminal::put;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "weir", &mut script);
    put(&String::from_utf8_lossy(&script))
}

pub(crate) fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let command = Arguments::command();
    let man = clap_mangen::Man::new(command.clone());
    man.render(&mut page)?;
    // One page for everything: the subcommands' own pages would be twenty files.
    for sub in command.get_subcommands() {
        describe(sub, &format!("weir {}", sub.get_name()), &mut page)?;
    }
    put(&String::from_utf8_lossy(&page))
}

fn describe(command: &clap::Command, name: &str, page: &mut Vec<u8>) -> Result<(), Failure> {
    let subcommands: Vec<_> = command.get_subcommands().collect();
    for sub in &subcommands {
        describe(sub, &format!("{name} {}", sub.get_name()), page)?;
    }
    if subcommands.is_empty() {
        let command = command.clone().disable_help_flag(true).bin_name(name);
        let man = clap_mangen::Man::new(command);
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
    }
    Ok(())
}

/// docs/cli.md.
#[cfg(test)]
fn markdown() -> String {
    use std::fmt::Write;

    let mut text = String::from(INTRODUCTION);
    let mut pending = vec![(String::from("weir"), Arguments::command().term_width(100))];
    while let Some((name, mut command)) = pending.pop() {
        let help = command.clone().bin_name(&name).render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
        command.build();
        let subcommands: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
        for sub in subcommands.into_iter().rev() {
            pending.push((format!("{name} {}", sub.get_name()), sub.clone().term_width(100)));
        }
    }
    text
}

#[cfg(test)]
const INTRODUCTION: &str = "\
# Command line

What a command produces goes to stdout, what it has to say to stderr. `NO_COLOR` is honoured, progress is shown on a
terminal only.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | the command line makes no sense |
| 3 | a check found something |
| 4 | some samples were refused, the others are stored |
| 5 | the server cannot be reached |
| 6 | no token, an unknown one, or one that may not do this |
| 78 | the configuration is wrong |

Commands that talk to a server take `--url` (`WEIR_URL`). The token is the first of `--token`, `--token-file`,
`WEIR_TOKEN`, `WEIR_TOKEN_FILE`; with none of them and a server on this machine, it is read from the data directory.
`weir tenant`, `weir token` and `weir snapshot` work on the data directory itself when no URL is given and no server
holds it.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_are_those_of_the_command_line() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
            let directory = path.parent().unwrap();
            env::replace(&env::real::OsFiles, directory, "cli.md", markdown().as_bytes()).unwrap();
        }
        let found = env::real::read_text(&path).unwrap_or_default();
        assert!(found == markdown(), "docs/cli.md is old: run this test once with WEIR_WRITE_DOCS=1");
    }
}
