//! `keyhaven cp`: files and folders of a drive, copied out of it.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_disk::free_space;
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::inside::{Found, Inside, InsideArgs, Links, shown};

mod copying;
mod destination;
mod name;
mod plan;
mod report;

use copying::Copying;
use destination::Folder;
use plan::Plan;
use report::{Report, Told};

pub(super) const VERB: Verb = Verb::of::<Cp>();

/// Copy files and folders out of a drive, without mounting it
///
/// Each file gets its name in the copy when it is whole, with its times. One that cannot be read does not stop the
/// rest: all such are listed at the end, and the exit code is 2. Names that DEST cannot hold are changed, and told.
/// Nothing that exists is overwritten unless --overwrite is given, and no link is followed, on the drive or in DEST.
///
/// `/` and `\` both separate the names in PATH, and capitals do not matter; `*` and `?` stand for any characters of a
/// name (quote them): `keyhaven cp -r DRIVE 'Users/*/Documents' DEST`. `FILE:STREAM` is an alternate data stream.
#[derive(Parser)]
#[command(
    name = "cp",
    override_usage = "keyhaven cp [OPTIONS] <DRIVE> <PATH>... <DEST>"
)]
struct Cp {
    #[command(flatten)]
    inside: InsideArgs,

    /// What to copy, such as `Users/ann`, `/` for everything; then the folder to copy into, or a new name
    #[arg(value_names = ["PATH", "DEST"], required = true, num_args = 2..)]
    paths: Vec<OsString>,

    #[command(flatten)]
    copy: CopyArgs,
}

/// What is copied, and what happens where something is there.
#[derive(Debug, clap::Args)]
struct CopyArgs {
    /// Copy folders, with all that is in them
    #[arg(short, long)]
    recursive: bool,

    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,

    /// Leave files alone that are there with the same size and time, as an earlier run copied them
    #[arg(long = "continue")]
    go_on: bool,

    /// Copy links and junctions as links, wherever they lead; without this they are left out
    #[arg(long)]
    links: bool,

    /// Copy alternate data streams too, as files `FILE:STREAM` (or `FILE_STREAM`) beside their file
    #[arg(long)]
    streams: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    dest: String,
    #[serde(flatten)]
    report: &'a Report,
}

impl Run for Cp {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let (dest, paths) = self
            .paths
            .split_last()
            .ok_or_else(|| CliError::could_not("no path was given"))?;
        // Before a person types 48 digits.
        let target = Target::of(Path::new(dest), paths.len())?;
        let inside = self.inside.open(context)?;
        let found = self.find(&inside, paths)?;
        let target = target.for_what_was_found(&found)?;
        target.refuse_what_is_there(&found, &self.copy)?;

        let plan = Plan::of(&*inside.tree, &found, &target.folder, &self.copy, context)?;
        check_space(&target, plan)?;
        let mut copying = Copying::new(
            &*inside.tree,
            &self.copy,
            &target.folder,
            plan.total_bytes,
            context,
        );
        let outcome = copying.all(&found, target.name.as_deref());
        let mut report = std::mem::take(&mut copying.report);
        drop(copying);
        report.complete = outcome.is_ok() && report.failed.count == 0;
        self.tell(&inside.name, dest, &report, context)?;
        match outcome {
            Ok(()) if report.complete => Ok(Exit::Done),
            Ok(()) => Ok(Exit::CouldNot),
            Err(error) if error.exit() == Exit::Stopped => {
                Err(error
                    .hint("what was copied is whole; the same command with `--continue` copies the rest"))
            }
            Err(error) => Err(error),
        }
    }
}

impl Cp {
    fn find(&self, inside: &Inside, paths: &[OsString]) -> Result<Vec<Found>, CliError> {
        let links = if self.copy.links {
            Links::Keep
        } else {
            Links::Follow
        };
        let mut all = Vec::new();
        for path in paths {
            all.extend(inside.find(path, links)?);
        }
        match all.iter().find(|found| found.is_folder()) {
            Some(folder) if !self.copy.recursive => Err(CliError::could_not(format!(
                "`{}` is a folder",
                folder.shown_path()
            ))
            .hint("`-r` copies it with all that is in it")),
            _ => Ok(all),
        }
    }

    fn tell(&self, drive: &str, dest: &OsStr, report: &Report, context: &Context) -> Result<(), CliError> {
        let ui = &context.ui;
        if ui.is_json() {
            return ui.json(&Answer {
                drive,
                dest: dest.display().to_string(),
                report,
            });
        }
        for renamed in &report.renamed.listed {
            ui.say(&format!(
                "`{}` is `{}` in the copy",
                shown(&renamed.path),
                shown(&renamed.name)
            ));
        }
        tell_others(&report.renamed, "have another name in the copy", context);
        for failed in &report.failed.listed {
            let path = if failed.path.is_empty() { "/" } else { &failed.path };
            ui.warn(&format!("`{}` was not copied: {}", shown(path), failed.reason));
        }
        tell_others(&report.failed, "were not copied", context);
        if report.times_lost > 0 {
            ui.warn(&format!(
                "{} do not have their own times: the target did not take them",
                counted(report.times_lost, "file", "files")
            ));
        }
        if report.left_out > 0 {
            let hint = if self.copy.links {
                ""
            } else {
                "; `--links` copies links"
            };
            ui.say(&format!(
                "left out {}{hint}",
                counted(
                    report.left_out,
                    "link or entry without content",
                    "links and entries without content"
                )
            ));
        }
        if report.already_there > 0 {
            ui.say(&format!(
                "{} there already",
                counted(report.already_there, "file was", "files were")
            ));
        }
        let mut parts = vec![counted(report.copied_files, "file", "files")];
        if report.copied_folders > 0 {
            parts.push(counted(report.copied_folders, "folder", "folders"));
        }
        if report.copied_links > 0 {
            parts.push(counted(report.copied_links, "link", "links"));
        }
        ui.say(&format!(
            "copied {} ({}) to {}",
            parts.join(", "),
            HumanBytes(report.copied_bytes),
            dest.display()
        ));
        if report.failed.count > 0 {
            ui.warn(&format!(
                "not complete: {} could not be copied, see above",
                counted(report.failed.count, "file or folder", "files and folders")
            ));
        }
        Ok(())
    }
}

fn tell_others<T>(told: &Told<T>, what: &str, context: &Context) {
    if told.untold() > 0 {
        context.ui.warn(&format!("{} others {what}", told.untold()));
    }
}

fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Where the copy goes: a folder, and a new name in it if the person gave one.
struct Target {
    folder: Folder,
    /// The path of the folder.
    path: PathBuf,
    /// As the person wrote it.
    dest: PathBuf,
    name: Option<String>,
}

impl Target {
    /// Finds out what DEST is. Nothing is made yet.
    fn of(dest: &Path, paths: usize) -> Result<Self, CliError> {
        let cannot_use = |path: &Path, error: &std::io::Error| {
            CliError::could_not(format!("cannot copy to `{}`", path.display())).because(error)
        };
        let open = |path: &Path| Folder::open(path).map_err(|error| cannot_use(path, &error));
        match dest.metadata() {
            Ok(found) if found.is_dir() => {
                return Ok(Self {
                    folder: open(dest)?,
                    path: dest.to_owned(),
                    dest: dest.to_owned(),
                    name: None,
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_use(dest, &error)),
        }
        let text = dest.to_str();
        let wants_folder = paths > 1 || text.is_some_and(|text| text.ends_with(std::path::is_separator));
        let folder = match dest.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => dest,
        };
        let name = dest.file_name().and_then(OsStr::to_str);
        match name {
            _ if wants_folder => Err(
                CliError::could_not(format!("there is no folder `{}`", dest.display()))
                    .hint("make it first: `mkdir` makes folders"),
            ),
            None => Err(CliError::could_not(format!(
                "`{}` cannot be the name of a copy",
                dest.display()
            ))),
            Some(_) if !folder.is_dir() => Err(CliError::could_not(format!(
                "there is no folder `{}`",
                folder.display()
            ))),
            Some(name) => Ok(Self {
                folder: open(folder)?,
                path: folder.to_owned(),
                dest: dest.to_owned(),
                name: Some(name.to_owned()),
            }),
        }
    }

    /// A pattern may have found more than one new name can be for.
    fn for_what_was_found(self, found: &[Found]) -> Result<Self, CliError> {
        match &self.name {
            Some(_) if found.len() > 1 => Err(CliError::could_not(format!(
                "there is no folder `{}`, and {} things to copy",
                self.dest.display(),
                found.len()
            ))
            .hint("make it first: `mkdir` makes folders")),
            _ => Ok(self),
        }
    }

    /// One file that is not to be replaced is told before anything is read.
    fn refuse_what_is_there(&self, found: &[Found], args: &CopyArgs) -> Result<(), CliError> {
        let Some(name) = &self.name else { return Ok(()) };
        let is_there = !matches!(self.folder.look(Path::new(name)), Ok(destination::There::Nothing));
        let is_folder = found.iter().any(Found::is_folder);
        if is_there && (is_folder || !(args.overwrite || args.go_on)) {
            let refused = CliError::could_not(format!(
                "`{}` exists already and is not overwritten",
                self.dest.display()
            ));
            return Err(if is_folder {
                refused.hint("a folder can only be copied into a folder, or under a new name")
            } else {
                refused.hint("give another name, or `--overwrite`")
            });
        }
        Ok(())
    }
}

fn check_space(target: &Target, plan: Plan) -> Result<(), CliError> {
    match free_space(&target.path) {
        Ok(free) if plan.stored_bytes > free => Err(CliError::could_not(format!(
            "the files need {}, and `{}` has {} free",
            HumanBytes(plan.stored_bytes),
            target.path.display(),
            HumanBytes(free)
        ))
        .hint("nothing was copied; copy fewer of them, or to another place")),
        // Nobody knows, and a full disk leaves no half file.
        _ => Ok(()),
    }
}
