//! `keyhaven encrypt`: turns a drive with files on it into a BitLocker drive.

#[cfg(target_os = "linux")]
pub(super) mod ntfs_files;

use std::time::Instant;

use clap::Parser;
use indicatif::HumanBytes;
use jiff::Timestamp;
use keyhaven_attach::files::{self, Cleanliness};
use keyhaven_attach::reserve::{self, Units};
use keyhaven_backup::place::Place;
use keyhaven_crypto::SectorSize;
use keyhaven_disk::content::{self, Content};
use keyhaven_disk::{Device, Writable};
use keyhaven_fve::convert::{self, Direction, Outcome};
use keyhaven_fve::create::{NewVolume, Placement, PreparedVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, Volume, VolumeState, unwatched};

use super::create::keys::{self, KeyArgs};
use super::create::{description, method};
use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::converting::{self, Answer, Conversion};
use crate::depositing::{Deposit, PlaceArgs, known_places};
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::medium::Medium;
use crate::randomness;
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Encrypt>();

/// Encrypt a drive in place: its files stay, and become readable with its keys only
///
/// The drive has NTFS, exFAT or FAT32 on it, and nothing uses it meanwhile. Its recovery key is saved to every PLACE
/// and proven before anything is changed. Ctrl-C, a crash or a power cut lose nothing: the drive opens with its keys at
/// any time, and the same command goes on where it stopped, with `--password`, `--recovery-key` or `--startup-key FILE`
/// to unlock it.
///
/// PLACE is file:PATH (a text file as Windows writes it; a folder, or a file name), usb or usb:MOUNTPOINT (a removable
/// drive), pdf:PATH (a page to print), print or print:PRINTER, or vault:PATH (an encrypted file that the `age` tool
/// opens).
#[derive(Parser)]
#[command(name = "encrypt")]
struct Encrypt {
    #[command(flatten)]
    drive: DriveArgs,

    /// How it is encrypted: what Windows 10 and later use, or something that older systems know
    #[arg(long, value_name = "METHOD", default_value = "aes-xts-128", value_parser = method)]
    method: EncryptionMethod,

    /// Leave out free space: faster, but what was deleted before can still be found on the drive
    #[arg(long)]
    used_space_only: bool,

    /// Go on with what was interrupted, and fail if nothing was
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    places: PlaceArgs,

    /// Save the recovery key nowhere: if you forget the password, everything on the drive is lost
    #[arg(long, conflicts_with = "places")]
    no_backup: bool,

    #[command(flatten)]
    change: ChangeArgs,
}

impl Run for Encrypt {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let open = if self.change.is_dry_run() {
            Medium::open
        } else {
            Medium::open_writable
        };
        let (name, medium) = self.drive.medium(open, context)?;
        let options = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        match Volume::open(medium.device.clone(), &options, &mut unwatched) {
            Ok(volume) => self.go_on(&name, &volume, medium.writable, context),
            Err(_) if self.resume => Err(CliError::could_not(format!(
                "`{name}` is not a drive whose encryption was interrupted: it is {}",
                content::identify(&medium.device)
            ))),
            Err(_) => self.begin(&name, &medium, context),
        }
    }
}

impl Encrypt {
    /// Takes up an encryption that was interrupted.
    fn go_on(
        self,
        name: &str,
        volume: &Volume,
        medium: Option<Writable>,
        context: &Context,
    ) -> Result<Exit, CliError> {
        match volume.state() {
            VolumeState::Encrypting | VolumeState::EncryptionPaused => {}
            VolumeState::Decrypting | VolumeState::DecryptionPaused => {
                return Err(CliError::could_not(format!("`{name}` is being decrypted"))
                    .hint("`keyhaven decrypt` goes on with that; after it the drive can be encrypted"));
            }
            VolumeState::Decrypted => {
                return Err(CliError::could_not(format!(
                    "`{name}` has what BitLocker keeps on it, and is not encrypted"
                ))
                .hint("turn BitLocker off on Windows once more (`manage-bde -off X:`), which removes that"));
            }
            _ => {
                return Err(CliError::no(format!("`{name}` is a BitLocker drive already"))
                    .hint("`keyhaven info` tells more about it"));
            }
        }
        let done = volume.encrypted_bytes().unwrap_or(0);
        let step = format!(
            "go on with the encryption that was interrupted after {} of {}",
            HumanBytes(done),
            HumanBytes(volume.size_bytes())
        );
        // It was agreed to when it began.
        context.ui.say(&format!("On {name}:\n  {step}"));
        let Some(medium) = medium else {
            context.ui.say("Nothing was changed: this is what would be done.");
            return Ok(Exit::Done);
        };
        let unlock = UnlockArgs::of(
            self.keys.password.clone(),
            self.keys.recovery_key.clone(),
            self.keys.startup_key.clone(),
        );
        let unlocked = unlock.unlock(volume, context)?;
        changing::save_metadata(volume, context)?;
        let conversion = Conversion {
            name,
            volume,
            unlocked,
            medium,
            direction: Direction::Encrypt,
            used_space_only: self.used_space_only,
        };
        finish(conversion, context)
    }

    /// Encrypts a drive that is a plain one.
    fn begin(self, name: &str, medium: &Medium, context: &Context) -> Result<Exit, CliError> {
        let places = self.places.parse()?;
        if places.is_empty() && !self.no_backup {
            return Err(CliError::could_not(
                "no place to save the recovery key to was given, so nothing is encrypted",
            )
            .hint(known_places())
            .hint("`--no-backup` encrypts all the same: without its password everything on the drive would be lost"));
        }
        let found = content::identify(&medium.device);
        check_content(name, found, &medium.device)?;
        let units = reserve::units(&medium.device).map_err(|error| converting::no_room(&error))?;
        let sector_size = SectorSize::new(units.sector_len).ok_or_else(|| {
            CliError::could_not(format!("`{name}` has sectors of {} bytes", units.sector_len))
        })?;
        let sector = sector_size.bytes_u64();
        let len_bytes = keyhaven_disk::BlockDevice::len_bytes(&*medium.device) / sector * sector;
        // Where things would be behind the file system: final but for NTFS, whose driver decides.
        let (placement, end) = Placement::outside(len_bytes, sector_size, cluster_of(units), 0..0)
            .map_err(|error| CliError::could_not(format!("`{name}` is too small")).because(&error))?;
        for place in &places {
            self.places.check(place, &self.drive.path(), context)?;
        }
        self.keys.check(self.no_backup)?;

        let steps = self.steps(found, len_bytes);
        if !self.change.agree(name, &steps, context)? {
            return Ok(Exit::Done);
        }
        let Some(writable) = medium.writable.clone() else {
            return Err(CliError::could_not("the drive was opened only to be read"));
        };
        let (protectors, _) = self.keys.read(context)?.split();
        let label = files::open(medium.device.clone())
            .ok()
            .and_then(|tree| tree.label().map(str::to_owned));
        let mut new = NewVolume::new(len_bytes, self.method, FileTime::from_timestamp(Timestamp::now()));
        new.sector_size = sector_size;
        new.cluster = cluster_of(units);
        new.description = description(label.as_deref());
        new.protectors = protectors;
        let prepared = new
            .prepare_at(placement.clone(), &mut randomness::of_the_system)
            .map_err(|error| CliError::could_not("nothing was encrypted").because(&error))?;

        self.deposit(name, &prepared, &places, context)?;
        let startup_key = self.keys.save_startup_key(&prepared, context)?;
        if let Some(path) = startup_key {
            context
                .ui
                .say(&format!("saved and proven: the startup key, {}", path.display()));
        }
        context.interrupt.check()?;

        let placement = make_room(&writable, found, placement, end, units, len_bytes)?;
        convert::begin(&prepared, &placement, &*writable)
            .map_err(|error| CliError::could_not("nothing was encrypted").because(&error))?;
        let volume = Volume::open(writable.clone(), &OpenOptions::default(), &mut unwatched)
            .map_err(|error| CliError::could_not("what was written cannot be read back").because(&error))?;
        let unlocked = volume
            .unlock(&Credential::VolumeMasterKey(prepared.into_vmk()))
            .map_err(|error| CliError::could_not("what was written cannot be unlocked").because(&error))?;
        let conversion = Conversion {
            name,
            volume: &volume,
            unlocked,
            medium: writable,
            direction: Direction::Encrypt,
            used_space_only: self.used_space_only,
        };
        finish(conversion, context)
    }

    /// Returns what will be done, in the order in which it is done.
    fn steps(&self, found: Content, len_bytes: u64) -> Vec<String> {
        let saved = match self.places.places.as_slice() {
            [] => "save its recovery key NOWHERE".to_owned(),
            places => format!("save its recovery key to {}, and prove it", places.join(", ")),
        };
        let room = match found {
            Content::Ntfs => "put the files that BitLocker needs into `System Volume Information`",
            _ => "make its file system smaller by the little that BitLocker needs",
        };
        let extent = if self.used_space_only {
            "the used space"
        } else {
            "all"
        };
        vec![
            saved,
            room.to_owned(),
            format!(
                "encrypt {extent} of its {}, {}, with {}",
                HumanBytes(len_bytes),
                found,
                self.method
            ),
        ]
    }

    /// Saves the recovery key everywhere and proves it on the drive that is not there yet.
    fn deposit(
        &self,
        name: &str,
        prepared: &PreparedVolume,
        places: &[Place],
        context: &Context,
    ) -> Result<(), CliError> {
        if places.is_empty() {
            return Ok(());
        }
        let preview = prepared
            .preview()
            .map_err(|error| CliError::could_not("nothing was encrypted").because(&error))?;
        let deposit = Deposit {
            drive_name: name,
            volume: &preview,
            records: keys::recovery_records(prepared.records()),
            with_startup_keys: false,
        };
        let deposited = self.places.save(&deposit, places, context)?;
        let message = "the recovery key could not be saved and proven everywhere, so nothing was encrypted";
        deposited.or_refuse(message, context).map(drop)
    }
}

fn cluster_of(units: Units) -> u32 {
    // The boot sector cannot say more than 64 KiB, and nothing depends on it.
    units.cluster_len.clamp(units.sector_len, 65536)
}

/// Refuses what cannot be encrypted in place, with what to do instead.
fn check_content(name: &str, found: Content, device: &Device) -> Result<(), CliError> {
    if !matches!(found, Content::Ntfs | Content::ExFat | Content::Fat32) {
        let refused = CliError::could_not(format!("`{name}` cannot be encrypted in place: it is {found}"));
        return Err(match found {
            Content::Luks1 | Content::Luks2 => refused.hint("it is encrypted already, in another way"),
            _ if keyhaven_disk::partition::table(device).is_ok_and(|table| table.is_some()) => {
                refused.hint(format!("name a partition of it, as in `{name}#1`"))
            }
            _ => refused.hint(
                "NTFS, exFAT and FAT32 can be; otherwise copy the files away, and use `keyhaven create`",
            ),
        });
    }
    let refused = |reason: &str| CliError::could_not(format!("`{name}` cannot be encrypted now: {reason}"));
    match files::state(device) {
        Ok(Cleanliness::Clean) => Ok(()),
        Ok(state @ Cleanliness::Hibernated) => Err(refused(&state.to_string())
            .hint("shut Windows down completely: hold Shift while you click \"Shut down\"")),
        Ok(state) => Err(refused(&state.to_string()).hint(check_hint(found))),
        Err(error) => Err(refused(&CliError::chain(&error)).hint(check_hint(found))),
    }
}

fn check_hint(found: Content) -> &'static str {
    match found {
        Content::Ntfs => "have Windows check it: `chkdsk /f` with its drive letter",
        Content::ExFat => "check it: `chkdsk /f` on Windows, `fsck.exfat` on Linux",
        _ => "check it: `chkdsk /f` on Windows, `fsck.vfat -a` on Linux",
    }
}

/// Reserves the places that the volume will keep.
fn make_room(
    writable: &Writable,
    found: Content,
    placement: Placement,
    end: u64,
    units: Units,
    len_bytes: u64,
) -> Result<Placement, CliError> {
    if found != Content::Ntfs {
        reserve::end_at(writable, end).map_err(|error| converting::no_room(&error))?;
        return Ok(placement);
    }
    let [first, second, third, moved, spare] = make_ntfs_files(writable)?;
    let sector_size = SectorSize::new(units.sector_len).unwrap_or(SectorSize::B512);
    Placement::at(
        [first.start, second.start, third.start],
        moved.start,
        spare,
        len_bytes,
        sector_size,
        cluster_of(units),
    )
    .map_err(|error| CliError::could_not("nothing was encrypted").because(&error))
}

#[cfg(target_os = "linux")]
use ntfs_files::make as make_ntfs_files;

#[cfg(not(target_os = "linux"))]
fn make_ntfs_files(_: &Writable) -> Result<[std::ops::Range<u64>; 5], CliError> {
    Err(
        CliError::could_not("NTFS can be encrypted in place on Linux only, where its files can be made")
            .hint("on Windows, its own settings do it; exFAT and FAT32 can be encrypted here"),
    )
}

fn finish(conversion: Conversion<'_>, context: &Context) -> Result<Exit, CliError> {
    let (name, size_bytes) = (conversion.name, conversion.volume.size_bytes());
    let verb = if conversion.used_space_only {
        "encrypt --used-space-only"
    } else {
        "encrypt"
    };
    let started = Instant::now();
    let outcome = conversion.run(context)?;
    if outcome == Outcome::Paused {
        return Err(converting::paused(name, verb));
    }
    let answer = Answer {
        drive: name,
        state: "encrypted",
        size_bytes,
        seconds: started.elapsed().as_secs_f64(),
    };
    converting::tell(
        &answer,
        &format!("`{name}` is encrypted. Unplug it, or lock it, and only its keys open it."),
        context,
    )
}
