//! `keyhaven repair`: metadata that are damaged written anew, or the content of the drive saved without writing to it.

mod keeping;
mod salvage;

use std::path::PathBuf;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_crypto::SecretBytes;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::salvage::{
    Assume, Remains, Repair as Plan, RepairError, SalvageError, Salvaged, SettleError,
};
use keyhaven_fve::{Credential, OpenError, OpenOptions, Unlocked, Volume, unwatched};
use serde::Serialize;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::medium::Medium;
use crate::rescuing::RescueArgs;
use crate::unlocking::KeyArgs;

pub(super) const VERB: Verb = Verb::of::<Repair>();

/// Repair the metadata of a damaged drive, or save its content
///
/// A drive keeps what opens it in three places, and a boot sector that leads there. What is whole of them is copied over
/// what is not, after showing what will be written, and what was there is saved first. Where no copy is whole, one is put
/// together from what is left, with the recovery key, and a key package if there is one.
///
/// With --salvage nothing on the drive is changed: its content is written to OUT. The exit code is 0 only if all of it is
/// certain; what had to be assumed is said, and then it is 2.
#[derive(Parser)]
#[command(name = "repair")]
struct Repair {
    #[command(flatten)]
    drive: DriveArgs,

    /// Write the decrypted content to this image, which must not exist yet, or device, and nothing to the drive
    #[arg(long, value_name = "OUT", conflicts_with_all = ["yes", "dry_run"])]
    salvage: Option<PathBuf>,

    /// Write over OUT, if it is a device: what is on it is lost
    #[arg(long, requires = "salvage")]
    overwrite: bool,

    /// Where nothing tells how far the drive is encrypted, take all of it for encrypted
    #[arg(long)]
    assume_fully_encrypted: bool,

    #[command(flatten)]
    rescue: RescueArgs,

    #[command(flatten)]
    unlock: KeyArgs,

    #[command(flatten)]
    change: ChangeArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    /// Whether something was written.
    repaired: bool,
    /// What was written, or would be.
    steps: &'a [String],
    /// From what it is known.
    evidence: Vec<String>,
}

impl Run for Repair {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let read_only = self.salvage.is_some() || self.change.is_dry_run();
        let open = if read_only {
            Medium::open
        } else {
            Medium::open_writable
        };
        let (name, medium) = changing::medium_of_damaged(&self.drive, open, context)?;
        let job = Job {
            args: &self,
            name: &name,
            medium: &medium,
            context,
        };
        let strict = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        let opened = Volume::open(medium.device.clone(), &strict, &mut unwatched).or_else(|_| {
            let mut bar = context
                .ui
                .progress("searching for metadata", medium.device.len_bytes());
            Volume::open(medium.device.clone(), &OpenOptions::default(), &mut |scan| {
                bar.set(scan.done_bytes);
                context.interrupt.flow()
            })
        });
        match opened {
            Ok(volume) => job.with_copy(volume),
            Err(OpenError::Stopped) => Err(CliError::stopped()),
            Err(error) => job.with_remains(&error),
        }
    }
}

/// What a person's key led to.
enum Opened {
    SectorKey(SecretBytes),
    Unlocked(Unlocked),
}

/// A repair being made.
struct Job<'a> {
    args: &'a Repair,
    name: &'a str,
    medium: &'a Medium,
    context: &'a Context,
}

impl Job<'_> {
    /// At least one copy is whole.
    fn with_copy(&self, volume: Volume) -> Result<Exit, CliError> {
        if let Some(out) = &self.args.salvage {
            return salvage::of_volume(self, volume, out);
        }
        let (plan, unlocked) = match Plan::from_copy(&volume, None) {
            // The boot sector is made of the file system's own, which is encrypted.
            Err(RepairError::NoMasterKey) => {
                self.context
                    .ui
                    .say("The boot sector is made of what the drive holds encrypted: it has to be unlocked.");
                let unlocked = self.args.unlock.unlock(&volume, self.context)?;
                (Plan::from_copy(&volume, Some(&unlocked)), Some(unlocked))
            }
            plan => (plan, None),
        };
        let plan = match plan {
            Err(RepairError::NothingToDo) => return self.nothing_to_do(),
            plan => plan.map_err(|error| refusal(&error))?,
        };
        let mut evidence = Vec::new();
        let used = volume.copies().iter().find(|copy| copy.used);
        if let Some(used) = used {
            evidence.push(format!(
                "copy {} of the metadata is whole: its checksum is right",
                used.number
            ));
        }
        for copy in volume.copies() {
            if let Some(problem) = &copy.problem {
                evidence.push(format!(
                    "copy {} is damaged: {}",
                    copy.number,
                    CliError::chain(problem)
                ));
            }
        }
        if !volume.has_boot_sector() {
            evidence.push("the boot sector is damaged".to_owned());
        }
        self.write(&plan, &evidence, unlocked.as_ref())
    }

    /// No copy is whole.
    fn with_remains(&self, why: &OpenError) -> Result<Exit, CliError> {
        let context = self.context;
        let package = self.args.unlock.package(None)?;
        let mut bar = context
            .ui
            .progress("searching for what is left", self.medium.device.len_bytes());
        let mut watch = |scan: keyhaven_fve::ScanProgress| {
            bar.set(scan.done_bytes);
            context.interrupt.flow()
        };
        let device = self.medium.device.clone();
        let has_sector_key = self.args.unlock.has_sector_key();
        let remains = if has_sector_key {
            Remains::collect_any(device, package.as_ref(), &mut watch).map_err(SalvageError::from)
        } else {
            Remains::collect(device, package.as_ref(), &mut watch)
        };
        let volume = remains.and_then(|remains| {
            let volume = remains.volume(&mut watch)?;
            Ok((remains, volume))
        });
        drop(bar);
        context.interrupt.check()?;
        let (remains, volume) = volume.map_err(|error| {
            CliError::could_not(format!("`{}` cannot be repaired: {why}", self.name))
                .because(&error)
                .hint("with a key package and its recovery key nothing of the drive's metadata is needed: `--key-package FILE`")
                .hint("metadata that were saved with `keyhaven metadata save` are put back with `keyhaven metadata restore`")
        })?;
        context.ui.say(&format!(
            "No copy of the metadata of `{}` is whole: what is left is put together.",
            self.name
        ));
        for evidence in remains.evidence() {
            context.ui.detail(&format!("left: {evidence}"));
        }
        let assume = Assume {
            fully_encrypted: self.args.assume_fully_encrypted,
        };
        let opened = match self.args.unlock.sector_key(context)? {
            Some(key) => Opened::SectorKey(key),
            None => Opened::Unlocked(self.args.unlock.unlock(&volume, context)?),
        };
        let mut bar = context
            .ui
            .progress("trying the key on the drive", self.medium.device.len_bytes());
        let mut watch = |scan: keyhaven_fve::ScanProgress| {
            bar.set(scan.done_bytes);
            context.interrupt.flow()
        };
        let settled = match opened {
            Opened::SectorKey(key) => remains.settle_with_sector_key(&key, assume, &mut watch),
            Opened::Unlocked(unlocked) => remains.settle(volume, unlocked, assume, &mut watch),
        };
        drop(bar);
        context.interrupt.check()?;
        let salvaged = settled.map_err(|error| self.unsettled(&error))?;
        if let Some(out) = &self.args.salvage {
            return salvage::of_remains(self, salvaged, out);
        }
        self.rewrite(&remains, &salvaged)
    }

    fn rewrite(&self, remains: &Remains, salvaged: &Salvaged) -> Result<Exit, CliError> {
        let now = FileTime::from_timestamp(Timestamp::now());
        let plan = Plan::from_remains(remains, salvaged, now).map_err(|error| refusal(&error))?;
        let evidence: Vec<String> = salvaged.evidence.iter().map(ToString::to_string).collect();
        self.write(&plan, &evidence, Some(&salvaged.unlocked))
    }

    /// Shows what will be written, asks, saves what is there, writes, and proves it.
    fn write(&self, plan: &Plan, evidence: &[String], unlocked: Option<&Unlocked>) -> Result<Exit, CliError> {
        let context = self.context;
        for line in evidence {
            context.ui.say(&format!("known: {line}"));
        }
        let steps = steps(plan);
        let goes_on = self.args.change.agree(self.name, &steps, context)?;
        if goes_on {
            context.interrupt.check()?;
            let Some(writable) = &self.medium.writable else {
                return Err(CliError::could_not("the drive was opened only to be read"));
            };
            let folder = keeping::keep(&plan.replaced(&*self.medium.device))?;
            context
                .ui
                .say(&format!("What was there was saved in `{}`.", folder.display()));
            plan.write(&**writable).map_err(|error| refusal(&error))?;
            self.prove(unlocked)?;
            context.ui.say("The drive was repaired, and opens again.");
        }
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: self.name,
                repaired: goes_on,
                steps: &steps,
                evidence: evidence.to_vec(),
            })?;
        }
        Ok(Exit::Done)
    }

    /// Opens the drive as everybody will, and unlocks it with the same master key.
    fn prove(&self, unlocked: Option<&Unlocked>) -> Result<(), CliError> {
        let failed = || CliError::could_not("the drive was repaired, but does not open");
        let strict = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        let volume = Volume::open(self.medium.device.clone(), &strict, &mut unwatched)
            .map_err(|error| failed().because(&error))?;
        if let Some(problem) = volume.copies().iter().find_map(|copy| copy.problem.as_ref()) {
            return Err(failed().because(problem));
        }
        let Some(vmk) = unlocked.and_then(Unlocked::vmk) else {
            return Ok(());
        };
        let credential = Credential::VolumeMasterKey(changing::copy_of(vmk));
        let unlocked = volume
            .unlock(&credential)
            .map_err(|error| failed().because(&error))?;
        volume
            .data(unlocked)
            .map(|_| ())
            .map_err(|error| failed().because(&error))
    }

    fn nothing_to_do(&self) -> Result<Exit, CliError> {
        self.context.ui.say(
            "Nothing is damaged: the boot sector and the three copies of the metadata are whole. `keyhaven check` looks \
             closer.",
        );
        if self.context.ui.is_json() {
            self.context.ui.json(&Answer {
                drive: self.name,
                repaired: false,
                steps: &[],
                evidence: Vec::new(),
            })?;
        }
        Ok(Exit::Done)
    }

    fn unsettled(&self, error: &SettleError) -> CliError {
        let said = CliError::could_not(format!(
            "the key is right, but `{}` cannot be put together",
            self.name
        ))
        .because(error);
        match error {
            SettleError::Extent(_) => said
                .hint("if you know that all of it was encrypted: `--assume-fully-encrypted`")
                .hint("a drive that was being encrypted or decrypted was not: then parts of the image would be noise"),
            SettleError::NoGeometry(_) => {
                said.hint("is this the partition itself? `keyhaven info --scan` finds where volumes begin on a disk")
            }
            SettleError::Contradiction { .. } => {
                said.hint("the metadata may be older than the state of the drive; nothing was written")
            }
            _ => said,
        }
    }
}

/// Says what a plan writes.
fn steps(plan: &Plan) -> Vec<String> {
    let what = if plan.is_rebuilt() {
        "made anew of the entries that open"
    } else {
        "as the whole copy has it"
    };
    let copies = plan
        .copies()
        .iter()
        .map(|(number, offset)| format!("write copy {number} of the metadata at byte {offset:#x}, {what}"));
    let boot = plan
        .writes_boot_sector()
        .then(|| "write the boot sector, made of the file system's own".to_owned());
    copies.chain(boot).collect()
}

fn refusal(error: &RepairError) -> CliError {
    let said = CliError::could_not("the drive is not repaired").because(error);
    let salvage = "its content can still be saved: `--salvage OUT`";
    match error {
        RepairError::CopiesDiffer(_) => said
            .hint("a change that was interrupted looks like this; the next change of the drive makes them the same")
            .hint("`keyhaven check` tells more, and `keyhaven metadata restore` puts saved metadata back"),
        RepairError::Write { .. } | RepairError::NotKept { .. } => {
            said.hint("run it again; what was there before is saved, and what could be written is whole")
        }
        _ => said.hint(salvage),
    }
}
