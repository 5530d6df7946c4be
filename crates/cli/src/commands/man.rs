//! `keyhaven man`: the manual pages, one for each verb.

use std::path::{Path, PathBuf};

use clap::{Command, Parser};
use clap_mangen::Man;

use super::{Run, Verb};
use crate::args;
use crate::context::Context;
use crate::error::{CliError, Exit};

pub(super) const VERB: Verb = Verb::of::<ManPages>();

/// Print a manual page, or write all of them to a folder
///
/// To read one: `keyhaven man key-check | man -l -`
#[derive(Parser)]
#[command(name = "man")]
struct ManPages {
    /// A verb (`key check` or `key-check`), whose page is printed, or a folder, to which all are written; without it,
    /// the page of keyhaven itself
    #[arg(value_name = "DIR|VERB", num_args = 0..)]
    target: Vec<PathBuf>,
}

impl Run for ManPages {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut command = args::command().disable_help_subcommand(true);
        command.build();
        let pages = pages(&command, "");
        let words: Vec<_> = self.target.iter().map(|word| word.to_string_lossy()).collect();
        let name = words.join("-");
        let wanted = match name.as_str() {
            "" => "keyhaven".to_owned(),
            verb => format!("keyhaven-{verb}"),
        };
        if let Some((_, page)) = pages.iter().find(|(name, _)| *name == wanted) {
            context.ui.raw(&render(page, &wanted)?)?;
            return Ok(Exit::Done);
        }
        match self.target.as_slice() {
            [folder] if folder.is_dir() => {
                for (name, page) in &pages {
                    write(folder, name, &render(page, name)?)?;
                }
                context
                    .ui
                    .say(&format!("wrote {} pages to `{}`", pages.len(), folder.display()));
                Ok(Exit::Done)
            }
            _ => Err(
                CliError::could_not(format!("`{}` is neither a verb nor a folder", words.join(" ")))
                    .hint("the verbs are listed by `keyhaven --help`; make the folder first"),
            ),
        }
    }
}

/// Lists the pages of a command and all below it, by their names.
fn pages(command: &Command, prefix: &str) -> Vec<(String, Command)> {
    let name = format!("{prefix}{}", command.get_name());
    let below = format!("{name}-");
    let mut pages = vec![(name, command.clone())];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages.extend(self::pages(verb, &below));
    }
    pages
}

fn render(command: &Command, name: &str) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .title(name)
        .render(&mut page)
        .map_err(|error| CliError::could_not(format!("cannot write the page `{name}`")).because(&error))?;
    Ok(page)
}

fn write(folder: &Path, name: &str, page: &[u8]) -> Result<(), CliError> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page)
        .map_err(|error| CliError::could_not(format!("cannot write `{}`", path.display())).because(&error))
}
