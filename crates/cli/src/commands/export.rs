//! `keyhaven export`: the decrypted drive as an image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_disk::Device;
use keyhaven_disk::copy::{self, CompareError, CopyError, CopyOptions, CopyReport};
use keyhaven_fve::salvage::first_sector_lost;
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::content::ContentArgs;
use crate::context::Context;
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::rescuing::{Rescue, RescueArgs};
use crate::target::{FormatArgs, Target};
use crate::unlocking::KeyArgs;

pub(super) const VERB: Verb = Verb::of::<Export>();

/// Decrypt a drive to an image file or another drive
///
/// The image is what the drive's file system would be without BitLocker; parts that are zero take no space. An existing
/// file is never overwritten, another drive only with --overwrite. The exit code is 0 only if the copy is complete.
#[derive(Parser)]
#[command(name = "export")]
struct Export {
    #[command(flatten)]
    drive: DriveArgs,

    /// The image to write, which must not exist yet, or the device to write over
    #[arg(value_name = "OUT")]
    out: PathBuf,

    #[command(flatten)]
    unlock: KeyArgs,

    #[command(flatten)]
    content: ContentArgs,

    #[command(flatten)]
    format: FormatArgs,

    /// Read the copy back from where it was written and compare it with the drive
    #[arg(long)]
    verify: bool,

    /// Write over OUT, if it is a device: what is on it is lost
    #[arg(long)]
    overwrite: bool,

    /// Go on where the drive cannot be read: such parts become zeros and are listed in OUT.map
    ///
    /// What reads well is read first, bad parts are skipped, looked into and tried again at the end. When it was stopped
    /// or something is missing, the same command goes on from there. The list has the format of GNU ddrescue's map
    /// files. The exit code is 2 as long as the image is not complete.
    #[arg(long)]
    keep_going: bool,

    #[command(flatten)]
    rescue: RescueArgs,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    out: String,
    size_bytes: u64,
    complete: bool,
    /// `null` if nobody asked.
    verified: Option<bool>,
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
        if self.rescue.is_given() && !self.keep_going {
            return Err(CliError::could_not(
                "`--retry` and `--map` are for drives that cannot be read whole",
            )
            .hint("add `--keep-going`"));
        }
        let drive = self.drive.open(context)?;
        if first_sector_lost(&drive.volume).is_some() {
            return Err(CliError::could_not(format!(
                "the boot sector of `{}` is lost, and on a drive of Vista that is the first sector of its file system: no \
                 image can be whole, and nothing says how large the drive is",
                drive.name
            ))
            .hint("`keyhaven repair --salvage OUT` writes what there is, and says what it rests on"));
        }
        if self.keep_going {
            self.format.refuse_container(&self.out)?;
            return self.rescue(&drive, context);
        }
        // Before a person types 48 digits.
        let target = Target::new(&self.out, self.overwrite, &self.format)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let data: Device = Arc::new(drive.content(unlocked, &self.content)?);
        target.check(&data, &self.drive.path())?;

        // Whatever ends the process, a file with the final name is whole.
        let written = self.copy(&data, &target, context).and_then(|report| {
            let read_back = || target.read_back();
            self.verify(&data, read_back, &report, target.after_failure(), context)?;
            target.keep().map(|()| report)
        });
        let report = written.inspect_err(|_| target.discard())?;
        self.tell(&drive.name, &report, None, context)
    }
}

impl Export {
    /// Copies what can be read.
    fn rescue(&self, drive: &Drive, context: &Context) -> Result<Exit, CliError> {
        let rescue = Rescue::new(&self.out, self.overwrite, &self.rescue)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let identity = unlocked.metadata().volume_id().to_string();
        let data: Device = Arc::new(drive.content(unlocked, &self.content)?);
        let report = rescue.run(&data, &self.drive.path(), &identity, context)?;
        let kept = "the image is kept";
        self.verify(&data, || rescue.read_back(), &report, kept, context)?;
        let map = (!report.is_complete()).then(|| rescue.map());
        self.tell(&drive.name, &report, map, context)
    }

    fn copy(&self, data: &Device, target: &Target, context: &Context) -> Result<CopyReport, CliError> {
        let mut out = target.create(data)?;
        let mut bar = context.ui.progress("decrypting", data.len_bytes());
        let mut watch = |progress: copy::Progress| {
            bar.set(progress.done_bytes);
            context.interrupt.flow()
        };
        copy::export(data, &mut *out, CopyOptions::default(), &mut watch).map_err(|error| match &error {
            CopyError::Stopped { .. } => CliError::stopped(),
            CopyError::Read { .. } => CliError::could_not(format!(
                "the drive cannot be read to its end; {}",
                target.after_failure()
            ))
            .because(&error)
            .hint("if the image of the drive was cut off, get the whole of it")
            .hint("`--keep-going` writes what can be read, and a map of what cannot"),
            _ => CliError::could_not(format!(
                "cannot write `{}`; {}",
                self.out.display(),
                target.after_failure()
            ))
            .because(&error),
        })
    }

    /// Reads the copy back, if that is wanted, and compares it with the drive.
    fn verify(
        &self,
        data: &Device,
        read_back: impl FnOnce() -> Result<Device, CliError>,
        report: &CopyReport,
        after_failure: &str,
        context: &Context,
    ) -> Result<(), CliError> {
        if !self.verify {
            return Ok(());
        }
        let copy = read_back()?;
        let mut bar = context.ui.progress("comparing", data.len_bytes());
        let mut watch = |progress: copy::Progress| {
            bar.set(progress.done_bytes);
            context.interrupt.flow()
        };
        copy::compare(data, &*copy, &report.bad, CopyOptions::default(), &mut watch).map_err(|error| {
            if matches!(error, CompareError::Stopped { .. }) {
                return CliError::stopped();
            }
            let refused =
                CliError::could_not(format!("the copy could not be proven; {after_failure}")).because(&error);
            match error {
                CompareError::Differs { .. } => {
                    refused.hint("the medium, its cable or the memory of this computer may be failing")
                }
                _ => refused,
            }
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
                verified: self.verify.then_some(true),
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
            if self.verify {
                context
                    .ui
                    .say("it was read back and is the same as the drive's content");
            }
        }
        match map {
            None => Ok(Exit::Done),
            Some(map) => {
                context.ui.warn(&format!(
                    "the image is not complete: {} could not be read and are zeros in it; see {}",
                    HumanBytes(report.bad_bytes()),
                    map.display()
                ));
                context
                    .ui
                    .say("the same command tries again what is missing, and nothing else");
                Ok(Exit::CouldNot)
            }
        }
    }
}
