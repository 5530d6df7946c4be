//! `keyhaven export`: the decrypted drive as an image.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_disk::copy::{self, CopyError, CopyOptions, CopyReport, FileTarget};
use keyhaven_disk::{Device, free_space, map};
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Export>();

/// Decrypt a drive to an image file
///
/// The image is what the drive's file system would be without BitLocker; parts that are zero take no space. An existing
/// file is never overwritten. The exit code is 0 only if the image is complete.
#[derive(Parser)]
#[command(name = "export")]
struct Export {
    #[command(flatten)]
    drive: DriveArgs,

    /// The image to write; it must not exist yet
    #[arg(value_name = "OUT")]
    out: PathBuf,

    #[command(flatten)]
    unlock: UnlockArgs,

    /// Go on where the drive cannot be read: such parts become zeros and are listed in OUT.map
    ///
    /// The list has the format of GNU ddrescue's map files. The exit code is still 2, since the image is not complete.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    out: String,
    size_bytes: u64,
    complete: bool,
    bad_bytes: u64,
    bad_ranges: Vec<RangeAnswer>,
    map: Option<String>,
}

#[derive(Serialize)]
struct RangeAnswer {
    offset: u64,
    len_bytes: u64,
}

impl Run for Export {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open(context)?;
        // Before a person types 48 digits.
        refuse_existing(&self.out)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let data: Device = Arc::new(drive.content(unlocked)?);
        check_space(&self.out, data.len_bytes())?;

        // Whatever ends the process, a file with the final name is whole.
        let partial = with_suffix(&self.out, ".partial");
        let mut target = create(&partial)?;
        let copied = self.copy(&data, &mut target, context);
        drop(target);
        let report = match copied.and_then(|report| give_name(&partial, &self.out).map(|()| report)) {
            Ok(report) => report,
            Err(error) => {
                // What is there is not an image of anything.
                let _ = std::fs::remove_file(&partial);
                return Err(error);
            }
        };
        let map = if report.is_complete() {
            None
        } else {
            Some(write_map(&self.out, &report)?)
        };
        self.tell(&drive.name, &report, map.as_deref(), context)
    }
}

impl Export {
    fn copy(
        &self,
        data: &Device,
        target: &mut FileTarget,
        context: &Context,
    ) -> Result<CopyReport, CliError> {
        let mut bar = context.ui.progress("decrypting", data.len_bytes());
        let mut watch = |progress: copy::Progress| {
            bar.set(progress.done_bytes);
            context.interrupt.flow()
        };
        let options = CopyOptions::default().keep_going(self.keep_going);
        copy::export(data, target, options, &mut watch).map_err(|error| match &error {
            CopyError::Stopped { .. } => CliError::stopped(),
            CopyError::Read { .. } => {
                CliError::could_not("the drive cannot be read to its end; no image was left behind")
                    .because(&error)
                    .hint("if the image of the drive was cut off, get the whole of it")
                    .hint("`--keep-going` writes what can be read, and a map of what cannot")
            }
            _ => CliError::could_not(format!(
                "cannot write `{}`; no part of it was left behind",
                self.out.display()
            ))
            .because(&error),
        })
    }

    fn tell(
        &self,
        name: &str,
        report: &CopyReport,
        map: Option<&Path>,
        context: &Context,
    ) -> Result<Exit, CliError> {
        let out = self.out.display();
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: name,
                out: out.to_string(),
                size_bytes: report.len_bytes,
                complete: report.is_complete(),
                bad_bytes: report.bad_bytes(),
                bad_ranges: report
                    .bad
                    .iter()
                    .map(|range| RangeAnswer {
                        offset: range.start,
                        len_bytes: range.len_bytes,
                    })
                    .collect(),
                map: map.map(|map| map.display().to_string()),
            })?;
        } else {
            context
                .ui
                .say(&format!("wrote {} to {out}", HumanBytes(report.len_bytes)));
        }
        match map {
            None => Ok(Exit::Done),
            Some(map) => {
                context.ui.warn(&format!(
                    "the image is not complete: {} could not be read and are zeros in it; see {}",
                    HumanBytes(report.bad_bytes()),
                    map.display()
                ));
                Ok(Exit::CouldNot)
            }
        }
    }
}

fn refuse_existing(out: &Path) -> Result<(), CliError> {
    // Whoever writes this means standard output, and would look for the image there.
    if out == Path::new("-") {
        return Err(
            CliError::could_not("an image cannot be written to standard output")
                .hint("give the name of a file; for a file that is called so: `./-`"),
        );
    }
    match out.symlink_metadata() {
        Ok(_) => Err(CliError::could_not(format!(
            "`{}` exists already and is not overwritten",
            out.display()
        ))
        .hint("give another name")),
        Err(_) => Ok(()),
    }
}

fn check_space(out: &Path, needed: u64) -> Result<(), CliError> {
    let folder = out
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(CliError::could_not(format!(
            "there is no folder `{}`",
            folder.display()
        )));
    }
    // Zeros take no space, so this may be too strict; running full half-way is worse.
    match free_space(folder) {
        Ok(free) if free < needed => Err(CliError::could_not(format!(
            "the image needs {}, and `{}` has {} free",
            HumanBytes(needed),
            folder.display(),
            HumanBytes(free)
        ))),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Gives the finished image its name, over nothing.
fn give_name(partial: &Path, out: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::could_not(format!("cannot name the finished image `{}`", out.display())).because(&error)
    };
    // Some file systems cannot rename without overwriting; somebody would have to make the file this very moment.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;

        match renameat_with(CWD, partial, CWD, out, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            outcome => return outcome.map_err(|error| failed(error.into())),
        }
    }
    refuse_existing(out)?;
    std::fs::rename(partial, out).map_err(failed)
}

fn create(out: &Path) -> Result<FileTarget, CliError> {
    let file: std::io::Result<File> = OpenOptions::new().write(true).create_new(true).open(out);
    file.and_then(FileTarget::new)
        .map_err(|error| CliError::could_not(format!("cannot create `{}`", out.display())).because(&error))
}

fn write_map(out: &Path, report: &CopyReport) -> Result<PathBuf, CliError> {
    let path = with_suffix(out, ".map");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        map::write(&mut file, report.len_bytes, &report.bad)?;
        file.sync_all()
    };
    write().map_err(|error| {
        CliError::could_not(format!(
            "the image is not complete ({}), and the list of what is missing cannot be written to `{}`",
            HumanBytes(report.bad_bytes()),
            path.display()
        ))
        .hint(CliError::chain(&error))
    })?;
    Ok(path)
}
