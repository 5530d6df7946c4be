//! From what a person calls a drive to a volume: a device, an image file, a partition of either.
//!
//! What is not BitLocker is named, what is damaged is said, and nothing is guessed where there is a choice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use keyhaven_disk::container::{Container, Format};
use keyhaven_disk::content::{self, Content};
use keyhaven_disk::partition::{self, Partition, PartitionTable, TableKind};
use keyhaven_disk::{Device, ReadError, Writable};
use keyhaven_fve::{CopyProblem, OpenError, OpenOptions, Volume};

use crate::context::Context;
use crate::drive_name::{DriveName, Part};
use crate::error::CliError;
use crate::medium::{self, Medium};
use crate::windows::Computer;

/// The arguments by which a verb takes a drive.
#[derive(Debug, clap::Args)]
pub(crate) struct DriveArgs {
    /// A block device, an image file, or a whole disk or disk image, of which `#2` picks the second partition
    ///
    /// Where the partition table is lost, `@1M` picks the volume that begins at this byte (`info --scan` finds it), and
    /// `@1M+100M` as much of the disk from there on.
    #[arg(value_name = "DRIVE")]
    pub(crate) drive: OsString,

    #[command(flatten)]
    pub(crate) metadata: MetadataArgs,
}

/// How a drive is read, where that is not plain.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MetadataArgs {
    /// Use this copy of the drive's metadata and no other
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    metadata_copy: Option<u8>,

    /// Use metadata whose checksums are wrong, for damaged or edited drives
    #[arg(long)]
    ignore_checksums: bool,

    /// Take DRIVE for this kind of image file (raw, vhd, vhdx, …) and not for what its content shows
    #[arg(long, value_name = "FORMAT", value_parser = medium::image_format)]
    image_format: Option<Format>,

    /// Take DRIVE for an image that GNU ddrescue made of a failing drive, with FILE as its map: gaps are no zeros
    #[arg(long, value_name = "FILE")]
    source_map: Option<PathBuf>,
}

impl MetadataArgs {
    /// Returns what image files are taken for.
    pub(crate) fn format(&self) -> Format {
        self.image_format.unwrap_or_default()
    }

    fn open(&self, open: OpenMedium, path: &Path) -> Result<Medium, CliError> {
        let medium = open(path, self.format())?;
        match &self.source_map {
            Some(map) => medium.with_map(map),
            None => Ok(medium),
        }
    }

    fn options(&self, scan: bool) -> OpenOptions {
        OpenOptions {
            ignore_checksums: self.ignore_checksums,
            metadata_copy: self.metadata_copy,
            scan,
        }
    }
}

/// A BitLocker volume, and what to call it.
#[derive(Debug)]
pub(crate) struct Drive {
    /// As the person would name it: `disk.img`, `disk.img#2`.
    pub(crate) name: String,
    /// The volume, locked.
    pub(crate) volume: Volume,
    /// What it lies on, to be written; only where it was opened for that.
    pub(crate) writable: Option<Writable>,
    /// The image file format that it lies in, if it does.
    pub(crate) container: Option<Container>,
}

impl Drive {
    fn new(name: String, volume: Volume, medium: Medium) -> Self {
        Self {
            name,
            volume,
            writable: medium.writable,
            container: medium.container,
        }
    }
}

impl DriveArgs {
    /// Returns the device or file itself, without the number of a partition.
    pub(crate) fn path(&self) -> PathBuf {
        DriveName::of(&self.drive).path
    }

    /// Finds the volume and says aloud what was chosen and what is damaged.
    ///
    /// # Errors
    /// It cannot be opened or is not BitLocker (and then what it is), it has several BitLocker partitions and nobody to
    /// ask, or its metadata are of no use.
    pub(crate) fn open(&self, context: &Context) -> Result<Drive, CliError> {
        self.open_with(&self.metadata, Medium::open, true, context)
    }

    /// Finds the volume as [`open`](Self::open) does, and keeps everybody else from writing it.
    pub(crate) fn open_writable(&self, context: &Context) -> Result<Drive, CliError> {
        self.open_with(&self.metadata, Medium::open_writable, false, context)
    }

    /// Finds the volume only to be looked at: wrong checksums are said and do not stand in the way.
    pub(crate) fn open_to_look(&self, context: &Context) -> Result<Drive, CliError> {
        let lenient = MetadataArgs {
            ignore_checksums: true,
            ..self.metadata.clone()
        };
        self.open_with(&lenient, Medium::open, true, context)
    }

    /// Finds the device or partition itself, whatever is on it, and what to call it.
    pub(crate) fn medium(&self, open: OpenMedium, context: &Context) -> Result<(String, Medium), CliError> {
        let DriveName { path, part } = DriveName::of(&self.drive);
        let disk = self.metadata.open(open, &path)?;
        let number = match part {
            Part::Any => return Ok((path.display().to_string(), disk)),
            Part::At { start, len_bytes } => {
                let rest = disk.device.len_bytes().saturating_sub(start);
                let name = self.drive.to_string_lossy().into_owned();
                return Ok((name, disk.part(start, len_bytes.unwrap_or(rest))));
            }
            Part::Number(number) => number,
        };
        let partition = read_table(&disk.device, &path)?.and_then(|table| {
            for warning in &table.warnings {
                context.ui.warn(&format!("`{}`: {warning}", path.display()));
            }
            Some(disk.partition(table.partition(number)?))
        });
        let name = format!("{}#{number}", path.display());
        match partition {
            Some(partition) => Ok((name, partition)),
            None => Err(CliError::could_not(format!("there is no `{name}`"))),
        }
    }

    fn open_with(
        &self,
        metadata: &MetadataArgs,
        open: OpenMedium,
        is_only_read: bool,
        context: &Context,
    ) -> Result<Drive, CliError> {
        let opening = Opening {
            metadata,
            open,
            context,
        };
        let DriveName { path, part } = DriveName::of(&self.drive);
        let drive = match part {
            Part::Any if is_only_read => match self.under_windows(context)? {
                Some((name, medium)) => opening.volume(name, medium, false)?,
                None => opening.device(&path)?,
            },
            Part::Any => opening.device(&path)?,
            Part::Number(number) => opening.partition(&path, number)?,
            Part::At { start, len_bytes } => {
                let name = self.drive.to_string_lossy().into_owned();
                opening.place(name, &path, start, len_bytes)?
            }
        };
        report_damage(&drive, context);
        Ok(drive)
    }

    /// Finds what lies under a drive that Windows knows by this name: through the name itself an unlocked drive reads as
    /// if it had never been encrypted.
    fn under_windows(&self, context: &Context) -> Result<Option<(String, Medium)>, CliError> {
        let Some(computer) = Computer::this() else {
            return Ok(None);
        };
        let Some(volume) = computer.volume(&self.drive, context)? else {
            return Ok(None);
        };
        if volume.volume_id().is_none() {
            return Ok(None);
        }
        let medium = computer.device_under(&volume).map(|device| Medium {
            device,
            writable: None,
            container: None,
        });
        Ok(medium.map(|medium| (volume.name().to_owned(), medium)))
    }
}

/// Opens a path to be read, or to be changed.
pub(crate) type OpenMedium = fn(&Path, Format) -> Result<Medium, CliError>;

struct Opening<'a> {
    metadata: &'a MetadataArgs,
    open: OpenMedium,
    context: &'a Context,
}

impl Opening<'_> {
    fn partition(&self, path: &Path, number: u32) -> Result<Drive, CliError> {
        let disk = self.metadata.open(self.open, path)?;
        let name = path.display();
        let Some(table) = read_table(&disk.device, path)? else {
            return Err(CliError::could_not(format!(
                "`{name}` has no partitions, so there is no `#{number}`: it is {}",
                self.describe(&disk.device)
            ))
            .hint(format!("name it without `#{number}`")));
        };
        self.warn_of_table(&table, path);
        let Some(partition) = table.partition(number) else {
            return Err(
                CliError::could_not(format!("`{name}` has no partition {number}")).hint(format!(
                    "it is {} disk with {}",
                    with_article(table.kind),
                    describe_partitions(&table)
                )),
            );
        };
        // Named by hand, so it is worth a search even if it looks like nothing.
        self.volume(format!("{name}#{number}"), disk.partition(partition), true)
    }

    /// Opens the volume that begins at a byte of a disk; where it ends, its metadata say.
    fn place(
        &self,
        name: String,
        path: &Path,
        start: u64,
        len_bytes: Option<u64>,
    ) -> Result<Drive, CliError> {
        let disk = self.metadata.open(self.open, path)?;
        let rest = disk.device.len_bytes().saturating_sub(start);
        if rest == 0 {
            return Err(CliError::could_not(format!(
                "there is no `{name}`: `{}` ends at byte {}",
                path.display(),
                disk.device.len_bytes()
            )));
        }
        if !start.is_multiple_of(512) {
            return Err(CliError::could_not(format!(
                "no volume begins at `{name}`: byte {start} is not the start of a sector"
            )));
        }
        if let Some(len_bytes) = len_bytes {
            return self.volume(name, disk.part(start, len_bytes), true);
        }
        let drive = self.volume(name.clone(), disk.part(start, rest), true)?;
        match drive.volume.stated_size_bytes() {
            Some(len_bytes) => self.volume(name, disk.part(start, len_bytes), true),
            None if drive.writable.is_some() => Err(CliError::could_not(format!(
                "nothing says where `{name}` ends, so it is not changed"
            ))
            .hint("if you know its size, name it too, as in `disk.img@1M+100M`")),
            None => {
                self.context.ui.warn(&format!(
                    "nothing says where `{name}` ends; what follows it on the disk is shown as if it belonged to it"
                ));
                Ok(drive)
            }
        }
    }

    fn device(&self, path: &Path) -> Result<Drive, CliError> {
        let medium = self.metadata.open(self.open, path)?;
        let name = path.display().to_string();
        if let Some(volume) = self.quick(&medium.device, &name)? {
            return Ok(Drive::new(name, volume, medium));
        }
        if let Some(table) = read_table(&medium.device, path)? {
            self.warn_of_table(&table, path);
            return self.one_of(&medium, &table, &name);
        }
        // A whole disk would be read to its end for nothing.
        let lost = self.in_backup_table(&medium, &name);
        if !lost.is_empty() {
            let refused = CliError::could_not(format!("`{name}` has lost its partition table"));
            return Err(lost.into_iter().fold(refused, CliError::hint));
        }
        self.volume(name, medium, false)
    }

    /// Says which BitLocker volumes the backup of a partition table leads to, where the table does not.
    fn in_backup_table(&self, disk: &Medium, name: &str) -> Vec<String> {
        let table = partition::backup_table(&disk.device);
        let partitions = table.iter().flat_map(|table| &table.partitions);
        let leads_to_one = |partition: &&Partition| self.is_bitlocker(partition, disk);
        partitions
            .filter(leads_to_one)
            .map(|partition| {
                format!(
                    "the backup of a partition table at its end leads to a BitLocker volume, which can be named \
                     `{name}@{}+{}`",
                    partition.start, partition.len_bytes
                )
            })
            .collect()
    }

    fn is_bitlocker(&self, partition: &Partition, disk: &Medium) -> bool {
        let opened = Volume::open(
            partition.device(&disk.device),
            &self.metadata.options(false),
            &mut |_| self.context.interrupt.flow(),
        );
        // What is damaged is told when it is opened for good.
        matches!(
            opened,
            Ok(_) | Err(OpenError::NoMetadata { .. } | OpenError::SectorSize(_))
        )
    }

    /// Takes the only BitLocker partition, or lets the person choose.
    fn one_of(&self, disk: &Medium, table: &PartitionTable, name: &str) -> Result<Drive, CliError> {
        let partitions = table.partitions.iter();
        let found: Vec<&Partition> = partitions
            .filter(|partition| self.is_bitlocker(partition, disk))
            .collect();
        let chosen = match found.as_slice() {
            [] => {
                let refused = CliError::could_not(format!(
                    "`{name}` is {} disk with no BitLocker partition ({})",
                    with_article(table.kind),
                    describe_partitions(table)
                ));
                let lost = self.in_backup_table(disk, name);
                let refused = lost.into_iter().fold(refused, CliError::hint).hint(format!(
                    "if the table is not the one that the disk had, {}",
                    look_for_lost(name)
                ));
                return Err(match table.partitions.first() {
                    Some(first) => refused.hint(format!(
                        "if the start of a BitLocker partition is overwritten, name it, as in `{name}#{}`; it is \
                         then searched",
                        first.number
                    )),
                    None => refused,
                });
            }
            [only] => *only,
            several => {
                let lines: Vec<String> = several
                    .iter()
                    .map(|partition| {
                        format!("{name}#{}  {}", partition.number, describe_partition(partition))
                    })
                    .collect();
                if !self.context.ui.is_interactive() {
                    let mut error =
                        CliError::could_not(format!("`{name}` has {} BitLocker partitions", several.len()));
                    for line in lines {
                        error = error.hint(line);
                    }
                    return Err(error);
                }
                let question = format!("`{name}` has several BitLocker partitions. Which one?");
                let index = self.context.ui.choose(&question, &lines)?;
                several
                    .get(index)
                    .ok_or_else(|| CliError::could_not("no partition was chosen"))?
            }
        };
        let name = format!("{name}#{}", chosen.number);
        if found.len() == 1 {
            self.context
                .ui
                .say(&format!("using {name}, {}", describe_partition(chosen)));
        }
        self.volume(name, disk.partition(chosen), false)
    }

    /// Opens a volume whose boot sector leads to metadata; `None` where there is no sign of one.
    fn quick(&self, device: &Device, name: &str) -> Result<Option<Volume>, CliError> {
        match Volume::open(device.clone(), &self.metadata.options(false), &mut |_| {
            self.context.interrupt.flow()
        }) {
            Ok(volume) => Ok(Some(volume)),
            Err(OpenError::NotBitLocker { .. } | OpenError::Read(_) | OpenError::NoMetadata { .. }) => {
                Ok(None)
            }
            Err(error) => Err(refusal(error, name, device)),
        }
    }

    /// Opens a volume, searching for its metadata where the boot sector is gone.
    fn volume(&self, name: String, medium: Medium, search_anything: bool) -> Result<Drive, CliError> {
        let device = &medium.device;
        if let Some(volume) = self.quick(device, &name)? {
            return Ok(Drive::new(name, volume, medium));
        }
        let content = content::identify(device);
        let looks_like_nothing = matches!(
            content,
            Content::Unknown | Content::Random | Content::Zeros | Content::Unreadable
        );
        if !looks_like_nothing && !search_anything {
            // It may still have the boot sector of BitLocker, with no metadata where it says.
            let opened = Volume::open(device.clone(), &self.metadata.options(false), &mut |_| {
                self.context.interrupt.flow()
            });
            if matches!(
                opened,
                Err(OpenError::NotBitLocker { .. }) | Err(OpenError::Read(_))
            ) {
                return Err(not_bitlocker(&name, content));
            }
        }
        self.context
            .ui
            .detail(&format!("searching `{name}` for the metadata of BitLocker"));
        let mut progress = self
            .context
            .ui
            .progress("searching for metadata", device.len_bytes());
        let opened = Volume::open(device.clone(), &self.metadata.options(true), &mut |scan| {
            progress.set(scan.done_bytes);
            self.context.interrupt.flow()
        });
        drop(progress);
        match opened {
            Ok(volume) => Ok(Drive::new(name, volume, medium)),
            Err(OpenError::NotBitLocker { .. }) => Err(not_bitlocker(&name, content)),
            Err(error) => Err(refusal(error, &name, device)),
        }
    }

    /// Names what is there instead of partitions.
    fn describe(&self, device: &Device) -> String {
        match self.quick(device, "") {
            Ok(Some(_)) => "a BitLocker volume by itself".to_owned(),
            _ => content::identify(device).to_string(),
        }
    }

    fn warn_of_table(&self, table: &PartitionTable, path: &Path) {
        for warning in &table.warnings {
            self.context.ui.warn(&format!("`{}`: {warning}", path.display()));
        }
    }
}

fn read_table(disk: &Device, path: &Path) -> Result<Option<PartitionTable>, CliError> {
    partition::table(disk).or_else(|error| match error {
        // A first sector that cannot be read may hide a volume whose metadata can.
        partition::PartitionError::Read { .. } => Ok(None),
        error => Err(
            CliError::could_not(format!("cannot read the partitions of `{}`", path.display()))
                .because(&error),
        ),
    })
}

fn with_article(kind: TableKind) -> String {
    match kind {
        TableKind::Mbr { .. } => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn describe_partitions(table: &PartitionTable) -> String {
    if table.partitions.is_empty() {
        return "no partitions".to_owned();
    }
    let parts: Vec<String> = table
        .partitions
        .iter()
        .map(|partition| {
            format!(
                "partition {}: {}",
                partition.number,
                describe_partition(partition)
            )
        })
        .collect();
    parts.join(", ")
}

fn describe_partition(partition: &Partition) -> String {
    match &partition.name {
        Some(name) => format!(
            "{}, {}, {name:?}",
            partition.kind,
            HumanBytes(partition.len_bytes)
        ),
        None => format!("{}, {}", partition.kind, HumanBytes(partition.len_bytes)),
    }
}

fn not_bitlocker(name: &str, content: Content) -> CliError {
    let error = CliError::could_not(format!("`{name}` is not a BitLocker drive: it is {content}"));
    match content {
        Content::Ntfs | Content::ExFat | Content::Fat12 | Content::Fat16 | Content::Fat32 | Content::ReFs => {
            error
                .hint("it needs no key: it was never encrypted, or is decrypted, or is unlocked here already")
        }
        Content::Luks1 | Content::Luks2 => error.hint("`cryptsetup open` opens it"),
        Content::TooShort { .. } => error.hint("a copy that broke off looks like this: make it again"),
        Content::Unknown | Content::Random | Content::Zeros | Content::Unreadable => error
            .hint("it was searched to its end for the metadata of a volume that begins where it does")
            .hint(format!(
                "if it is a whole disk that lost its partition table, {}",
                look_for_lost(name)
            )),
        _ => error,
    }
}

/// Says how volumes are found that no table lists.
fn look_for_lost(name: &str) -> String {
    format!("`keyhaven info --scan {name}` looks for volumes that begin anywhere on it")
}

fn refusal(error: OpenError, name: &str, device: &Device) -> CliError {
    match &error {
        OpenError::Stopped => CliError::stopped(),
        OpenError::NoMetadata {
            copies,
            checksums_only,
        } => {
            let mut refused = CliError::could_not(format!("`{name}` is {error}"));
            for copy in copies {
                if let Some(problem) = &copy.problem {
                    let place = copy.offset.map(|offset| format!(" at byte {offset:#x}"));
                    refused = refused.hint(format!(
                        "copy {}{}: {}",
                        copy.number,
                        place.unwrap_or_default(),
                        CliError::chain(problem)
                    ));
                }
            }
            let cut_off = copies.iter().any(|copy| {
                matches!(
                    &copy.problem,
                    Some(
                        CopyProblem::Unreadable(ReadError::PastEnd { .. })
                            | CopyProblem::OutsideVolume { .. }
                    )
                )
            });
            if cut_off {
                refused = refused.hint(format!(
                    "it ends after {} bytes: a copy that broke off looks like this; make it again",
                    device.len_bytes()
                ));
            }
            if *checksums_only {
                refused = refused.hint("`--ignore-checksums` uses it all the same");
            }
            refused
        }
        _ => CliError::could_not(format!("cannot read `{name}`")).because(&error),
    }
}

/// Says what was worked around, and what will be missing.
fn report_damage(drive: &Drive, context: &Context) {
    let ui = &context.ui;
    let Drive { name, volume, .. } = drive;
    if !volume.has_boot_sector() {
        ui.warn(&format!(
            "the boot sector of `{name}` is damaged; the metadata were found by searching for them"
        ));
    }
    let used = volume
        .copies()
        .iter()
        .find(|copy| copy.used)
        .map(|copy| copy.number);
    for copy in volume.copies() {
        if let Some(problem) = &copy.problem {
            let instead = match used {
                Some(used) if used != copy.number => format!("; copy {used} is used"),
                _ => String::new(),
            };
            let number = copy.number;
            let reason = CliError::chain(problem);
            ui.warn(&format!(
                "metadata copy {number} of `{name}` is damaged: {reason}{instead}"
            ));
        }
    }
    let there = volume.device().len_bytes();
    if let Some(missing) = volume
        .size_bytes()
        .checked_sub(there)
        .filter(|missing| *missing > 0)
    {
        ui.warn(&format!(
            "`{name}` is cut off: the volume has {} bytes, the last {missing} of them are missing",
            volume.size_bytes()
        ));
    }
    if let Some(problem) = volume.eow_problem() {
        ui.warn(&format!("`{name}`: {problem}"));
    }
}
