//! `keyhaven cat`: the content of files inside a drive, on standard output.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::Parser;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::inside::{Content, Found, Inside, InsideArgs, Links, PIECE_LEN};

pub(super) const VERB: Verb = Verb::of::<Cat>();

/// Write files of a drive to standard output, without mounting it
///
/// `/` and `\` both separate the names in PATH, and capitals do not matter. `*` and `?` stand for any characters of a
/// name (quote them), and `FILE:STREAM` is an alternate data stream of a file.
#[derive(Parser)]
#[command(name = "cat")]
struct Cat {
    #[command(flatten)]
    inside: InsideArgs,

    /// A file on the drive, such as `Users/ann/letter.txt`
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
}

impl Run for Cat {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let inside = self.inside.open(context)?;
        let mut files = Vec::new();
        for path in &self.paths {
            files.extend(inside.find(path, Links::Follow)?);
        }
        // Before the first byte of another file is written.
        for found in &files {
            refuse_folder(found)?;
        }
        let is_terminal = std::io::stdout().is_terminal();
        for found in &files {
            write(&inside, found, is_terminal, context)?;
        }
        Ok(Exit::Done)
    }
}

fn refuse_folder(found: &Found) -> Result<(), CliError> {
    if !found.is_folder() {
        return Ok(());
    }
    let path = found.shown_path();
    Err(CliError::could_not(format!("`{path}` is a folder"))
        .hint("`keyhaven ls` lists it, and `keyhaven cp -r` copies it"))
}

fn write(inside: &Inside, found: &Found, is_terminal: bool, context: &Context) -> Result<(), CliError> {
    let content: Content<'_> = found.content(&*inside.tree);
    let mut piece = vec![0; PIECE_LEN];
    let mut offset = 0u64;
    loop {
        context.interrupt.check()?;
        let len = content.read(offset, &mut piece).map_err(|error| {
            let path = found.shown_path();
            CliError::could_not(format!("cannot read `{path}` from byte {offset} on")).because(&error)
        })?;
        let bytes = piece.get(..len).unwrap_or_default();
        if is_terminal && bytes.iter().any(|byte| steers_terminal(*byte)) {
            return Err(CliError::could_not(format!(
                "`{}` is not plain text, and could upset the terminal",
                found.shown_path()
            ))
            .hint("write it to a file (`> FILE`), or copy it with `keyhaven cp`"));
        }
        context.ui.raw(bytes)?;
        offset = offset.saturating_add(len as u64);
        if len < PIECE_LEN {
            return Ok(());
        }
    }
}

/// Tells what plain text does not have.
fn steers_terminal(byte: u8) -> bool {
    byte == 0x7F || (byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0C))
}
