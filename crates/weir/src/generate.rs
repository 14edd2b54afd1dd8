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
