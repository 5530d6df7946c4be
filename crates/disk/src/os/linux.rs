//! Drives from sysfs, mounts from `/proc/self/mountinfo`.
//!
//! Sources: the kernel's Documentation/ABI/stable/sysfs-block, Documentation/filesystems/proc.rst section 3.5;
//! proc(5) for the escapes in mountinfo.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Backing, DeviceNumber, DriveInfo, DriveKind, Host, Mount};

/// The unit of a length in sysfs, whatever the sector size of the device, in bytes.
const SYSFS_SECTOR_LEN: u64 = 512;

/// More devices than any stack of them has.
const MAX_STACK: usize = 256;

/// Devices in memory: nothing to keep, nothing to lose.
const MEMORY_DEVICES: [&str; 2] = ["ram", "zram"];

impl Host {
    /// Returns the block devices of this computer, by name.
    ///
    /// Left out are those of length zero (a card reader without a card), loop devices without a file, and disks in
    /// memory (ram, zram).
    ///
    /// # Errors
    /// What the operating system says about the list of devices or of mounts. A device that disappears while it is
    /// being looked at is left out.
    pub fn block_devices(&self) -> io::Result<Vec<DriveInfo>> {
        let mut drives = self.unmounted_drives()?;
        for mount in self.mount_lines()? {
            let is_its_drive = |drive: &&mut DriveInfo| self.is_mount_of(&mount, drive);
            if let Some(drive) = drives.iter_mut().find(is_its_drive) {
                drive.mount_points.push(mount.mount_point);
            }
        }
        Ok(drives)
    }

    /// Returns the drive whose device file is at `path`, which may be a link to it (`/dev/disk/by-id/…`).
    ///
    /// `None` if `path` is not a block device, or one that [`Host::block_devices`] leaves out.
    #[must_use]
    pub fn drive_at(&self, path: &Path) -> Option<DriveInfo> {
        let drives = self.block_devices().ok()?;
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        let number = metadata.file_type().is_block_device().then(|| DeviceNumber {
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
        });
        let is_it = |drive: &DriveInfo| match number {
            Some(number) => drive.number == number,
            None => fs::canonicalize(&drive.path).is_ok_and(|device_file| device_file == path),
        };
        drives.into_iter().find(is_it)
    }

    /// Returns all mounts, in the order in which they were made.
    ///
    /// # Errors
    /// What the operating system says about the list of devices or of mounts.
    pub fn mounts(&self) -> io::Result<Vec<Mount>> {
        let drives = self.block_devices()?;
        let mut mounts = self.mount_lines()?;
        for mount in &mut mounts {
            mount.drive = drives
                .iter()
                .find(|drive| self.is_mount_of(mount, drive))
                .cloned();
        }
        Ok(mounts)
    }

    /// Returns the mount that holds `path`, which must be absolute and need not exist yet.
    ///
    /// Links in the part that exists are followed. `None` if the mounts cannot be read or none holds the path.
    #[must_use]
    pub fn mount_of(&self, path: &Path) -> Option<Mount> {
        let path = canonical_as_far_as_it_exists(path)?;
        let mounts = self.mounts().ok()?;
        // Of several mounts at the same place the last one is seen: `max_by_key` returns the last of equals.
        mounts
            .into_iter()
            .filter(|mount| path.starts_with(&mount.mount_point))
            .max_by_key(|mount| mount.mount_point.components().count())
    }

    /// Returns the mounts that are on a drive with a removable medium or on USB.
    ///
    /// # Errors
    /// What the operating system says about the list of devices or of mounts.
    pub fn removable_mounts(&self) -> io::Result<Vec<Mount>> {
        let mut mounts = self.mounts()?;
        mounts.retain(|mount| mount.drive.as_ref().is_some_and(DriveInfo::is_portable));
        Ok(mounts)
    }

    /// Returns what lies directly beneath the block device of this kernel name: the devices that a device-mapper or
    /// RAID device is made of, the file of a loop device. Empty for anything else; a partition has its disk beneath
    /// it only in [`Host::all_backing_of`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such device; what else the operating system says.
    pub fn backing_of(&self, name: &str) -> io::Result<Vec<Backing>> {
        let device = self.device_folder(name)?;
        let mut found = Vec::new();
        match fs::read_dir(device.join("slaves")) {
            Ok(entries) => {
                for entry in entries {
                    found.push(Backing::Device(kernel_name(&entry?.file_name())));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        found.sort_by(|left, right| match (left, right) {
            (Backing::Device(left), Backing::Device(right)) => left.cmp(right),
            _ => std::cmp::Ordering::Equal,
        });
        found.extend(backing_file(&device).map(Backing::File));
        Ok(found)
    }

    /// Returns everything beneath the block device of this kernel name, nearest first: what [`Host::backing_of`]
    /// returns, what lies beneath that, and for each partition the disk it is on.
    ///
    /// # Errors
    /// See [`Host::backing_of`].
    pub fn all_backing_of(&self, name: &str) -> io::Result<Vec<Backing>> {
        let mut found = self.next_layer(name)?;
        let mut looked_at = 0;
        while let Some(next) = found.get(looked_at).cloned() {
            looked_at += 1;
            if let Backing::Device(below) = next {
                for backing in self.next_layer(&below)? {
                    if !found.contains(&backing) && found.len() < MAX_STACK {
                        found.push(backing);
                    }
                }
            }
        }
        Ok(found)
    }

    fn next_layer(&self, name: &str) -> io::Result<Vec<Backing>> {
        let mut found = self.backing_of(name)?;
        if let DriveKind::Partition { parent, .. } = kind(&self.device_folder(name)?) {
            found.push(Backing::Device(parent));
        }
        Ok(found)
    }

    /// Returns the folder of a device, free of links: its place in the tree of hardware.
    fn device_folder(&self, name: &str) -> io::Result<PathBuf> {
        // Sysfs writes an exclamation mark where a device's name has a slash.
        let name = name.replace('/', "!");
        if name.is_empty() || name == "." || name == ".." {
            return Err(io::ErrorKind::NotFound.into());
        }
        fs::canonicalize(self.sysfs.join("class").join("block").join(name))
    }

    fn unmounted_drives(&self) -> io::Result<Vec<DriveInfo>> {
        let mut drives = Vec::new();
        for entry in fs::read_dir(self.sysfs.join("class").join("block"))? {
            let name = kernel_name(&entry?.file_name());
            if let Some(drive) = self
                .device_folder(&name)
                .ok()
                .and_then(|folder| self.drive(name, &folder))
            {
                drives.push(drive);
            }
        }
        drives.sort_by(|left, right| natural_order(&left.name).cmp(&natural_order(&right.name)));
        Ok(drives)
    }

    /// Describes one device, `None` if it is not worth listing or just went away.
    fn drive(&self, name: String, folder: &Path) -> Option<DriveInfo> {
        let is_in_memory = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if MEMORY_DEVICES.iter().any(|prefix| is_in_memory(prefix)) {
            return None;
        }
        let len_bytes = number(&folder.join("size"))?
            .checked_mul(SYSFS_SECTOR_LEN)
            .filter(|len| *len > 0)?;
        let kind = kind(folder);
        let is_loop_without_file = name.starts_with("loop") && matches!(kind, DriveKind::Disk);
        if is_loop_without_file {
            return None;
        }
        // One of several paths to the same disk; it has no device file.
        if number(&folder.join("hidden")) == Some(1) {
            return None;
        }
        // A partition has no queue, no removability and no maker of its own: its disk is the folder around it.
        let disk = match kind {
            DriveKind::Partition { .. } => folder.parent()?,
            _ => folder,
        };
        Some(DriveInfo {
            path: self.dev.join(&name),
            number: device_number(&line(&folder.join("dev"))?)?,
            len_bytes,
            sector_size: number(&disk.join("queue/logical_block_size"))
                .and_then(|size| u32::try_from(size).ok())
                .unwrap_or(512),
            removable: number(&disk.join("removable")) == Some(1) || is_sd_card(disk),
            usb: is_on_usb(folder),
            read_only: number(&folder.join("ro")) == Some(1),
            vendor: line(&disk.join("device/vendor")).filter(|vendor| !vendor.starts_with("0x")),
            model: line(&disk.join("device/model")).or_else(|| line(&disk.join("device/name"))),
            mount_points: Vec::new(),
            kind,
            name,
        })
    }

    fn mount_lines(&self) -> io::Result<Vec<Mount>> {
        let content = fs::read(&self.mountinfo)?;
        Ok(content
            .split(|byte| *byte == b'\n')
            .filter_map(parse_mount)
            .collect())
    }

    /// Returns whether this mount is of this drive.
    fn is_mount_of(&self, mount: &Mount, drive: &DriveInfo) -> bool {
        if mount.number == drive.number {
            return true;
        }
        // Some file systems (btrfs, some drivers on FUSE) mount under a number of their own but name the device.
        let Some(source) = mount
            .source
            .strip_prefix("/dev/")
            .filter(|_| mount.number.major == 0)
        else {
            return false;
        };
        let mapped = match &drive.kind {
            DriveKind::DeviceMapper { name: Some(name) } => source.strip_prefix("mapper/") == Some(name),
            _ => false,
        };
        mapped
            || source == drive.name
            || fs::canonicalize(self.dev.join(source)).is_ok_and(|path| path == drive.path)
    }
}

fn kernel_name(file_name: &std::ffi::OsStr) -> String {
    file_name.to_string_lossy().replace('!', "/")
}

fn kind(folder: &Path) -> DriveKind {
    let parent = folder.parent().and_then(Path::file_name);
    if let (Some(parent), Some(number)) = (parent, number(&folder.join("partition"))) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        return DriveKind::Partition {
            parent: kernel_name(parent),
            number,
        };
    }
    if folder.join("dm").is_dir() {
        return DriveKind::DeviceMapper {
            name: line(&folder.join("dm/name")),
        };
    }
    match backing_file(folder) {
        Some(backing_file) => DriveKind::Loop { backing_file },
        None => DriveKind::Disk,
    }
}

fn backing_file(folder: &Path) -> Option<PathBuf> {
    let content = fs::read(folder.join("loop/backing_file")).ok()?;
    let path = content.strip_suffix(b"\n").unwrap_or(&content);
    (!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
}

/// The hardware that a disk hangs on is in the path of its folder: `…/usb2/2-1/…`.
fn is_on_usb(folder: &Path) -> bool {
    folder.components().any(|part| {
        let number = part.as_os_str().as_bytes().strip_prefix(b"usb");
        number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    })
}

/// The kernel does not call an SD card removable: to it, the card and not the slot is the disk.
fn is_sd_card(disk: &Path) -> bool {
    line(&disk.join("device/type")).as_deref() == Some("SD")
}

fn line(path: &Path) -> Option<String> {
    let content = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&content).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: &Path) -> Option<u64> {
    line(path)?.parse().ok()
}

fn device_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// Orders sdb2 before sdb10.
fn natural_order(name: &str) -> (Vec<(String, u64)>, &str) {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (letters, tail) = rest.split_at(word);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        parts.push((letters.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    (parts, name)
}

/// Reads one line: ID, parent, major:minor, root, mount point, options, optional fields, "-", type, source, options.
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = device_number(std::str::from_utf8(fields.nth(2)?).ok()?)?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let options = fields.next()?;
    fields.by_ref().find(|field| *field == b"-")?;
    let file_system = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    Some(Mount {
        source: source.to_string_lossy().into_owned(),
        number,
        root: root.into(),
        mount_point: mount_point.into(),
        file_system: file_system.to_string_lossy().into_owned(),
        read_only: options.split(|byte| *byte == b',').any(|option| option == b"ro"),
        drive: None,
    })
}

/// Undoes the octal escapes of the bytes that would break the line: space, tab, line feed, backslash, number sign.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match rest {
            [
                b'\\',
                high @ b'0'..=b'3',
                middle @ b'0'..=b'7',
                low @ b'0'..=b'7',
                ..,
            ] => Some(((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0')),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

/// Follows the links of the part of a path that exists, and appends the part that does not.
fn canonical_as_far_as_it_exists(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    path.ancestors().find_map(|ancestor| {
        let existing = fs::canonicalize(ancestor).ok()?;
        let rest = path.strip_prefix(ancestor).ok()?;
        // Joining an empty rest would leave a slash behind the name.
        Some(if rest.as_os_str().is_empty() {
            existing
        } else {
            existing.join(rest)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const PCI: &str = "pci0000:00/0000:00:14.0";

    /// A computer in a folder: a USB stick with one mounted partition, an NVMe disk with three, a LUKS volume on the
    /// third, a loop device with a file and one without, memory devices, a card reader without a card.
    struct FakeComputer {
        root: tempfile::TempDir,
    }

    impl FakeComputer {
        fn new() -> Self {
            let computer = Self {
                root: tempfile::tempdir().expect("a folder"),
            };
            let usb = format!("{PCI}/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb");
            computer.device(
                &usb,
                "8:16",
                62_333_952,
                &[
                    ("removable", "1"),
                    ("device/vendor", "SanDisk "),
                    ("device/model", "Ultra           "),
                    ("queue/logical_block_size", "512"),
                ],
            );
            computer.device(
                &format!("{usb}/sdb1"),
                "8:17",
                62_331_904,
                &[("partition", "1"), ("ro", "1")],
            );

            let nvme = format!("{PCI}/nvme/nvme0/nvme0n1");
            computer.device(
                &nvme,
                "259:0",
                2_000_409_264,
                &[
                    ("removable", "0"),
                    ("device/model", "Samsung SSD 970"),
                    ("queue/logical_block_size", "4096"),
                ],
            );
            for (number, sectors) in [(1, 204_800), (2, 999_000_000), (10, 1_001_000_000)] {
                let partition = format!("{nvme}/nvme0n1p{number}");
                computer.device(
                    &partition,
                    &format!("259:{number}"),
                    sectors,
                    &[("partition", &number.to_string())],
                );
            }

            let mapper = "virtual/block/dm-0";
            computer.device(
                mapper,
                "254:0",
                1_000_967_232,
                &[("dm/name", "cryptroot"), ("dm/uuid", "CRYPT-LUKS2")],
            );
            fs::create_dir_all(computer.sys(&format!("devices/{mapper}/slaves/nvme0n1p10")))
                .expect("a folder");

            computer.device(
                "virtual/block/loop0",
                "7:0",
                2048,
                &[("loop/backing_file", "/home/a b/disk.img")],
            );
            computer.device("virtual/block/loop0/loop0p1", "7:1", 1024, &[("partition", "1")]);
            computer.device("virtual/block/loop1", "7:2", 2048, &[]);
            computer.device("virtual/block/zram0", "252:0", 2048, &[]);
            computer.device("virtual/block/ram0", "1:0", 2048, &[]);
            computer.device(&format!("{PCI}/mmc/mmcblk0"), "179:0", 0, &[]);
            let card = [
                ("removable", "0"),
                ("device/type", "SD"),
                ("device/name", "SC64G"),
            ];
            computer.device(&format!("{PCI}/mmc/mmcblk1"), "179:8", 4096, &card);
            computer.device(
                "virtual/nvme-subsystem/nvme1c0n1",
                "259:20",
                4096,
                &[("hidden", "1")],
            );
            computer.device(&format!("{PCI}/cciss/cciss!c0d0"), "104:0", 4096, &[]);

            computer.mounts(&[
                "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/cryptroot rw",
                "23 22 0:22 / /proc rw - proc proc rw",
                "24 22 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw",
                r"25 22 8:17 / /media/ann/MY\040STICK\134 ro,nosuid shared:2 master:3 - fuseblk /dev/sdb1 rw",
                "26 22 0:50 /@home /home rw - btrfs /dev/nvme0n1p2 rw",
                "27 22 0:60 / /srv rw - tmpfs tmpfs rw",
                "28 27 7:1 / /srv/inner rw - ext4 /dev/loop0p1 rw",
                "29 27 0:61 / /srv/inner rw - tmpfs tmpfs rw",
                "broken line",
            ]);
            computer
        }

        fn host(&self) -> Host {
            Host::at(self.root.path())
        }

        fn sys(&self, path: &str) -> PathBuf {
            self.root.path().join("sys").join(path)
        }

        fn device(&self, place: &str, number: &str, sectors: u64, files: &[(&str, &str)]) {
            let folder = self.sys("devices").join(place);
            let mut all = vec![("dev", number.to_owned()), ("size", sectors.to_string())];
            all.extend(files.iter().map(|(name, content)| (*name, (*content).to_owned())));
            for (name, content) in all {
                let file = folder.join(name);
                fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
                fs::write(file, format!("{content}\n")).expect("a file");
            }
            let name = folder.file_name().expect("a name");
            fs::create_dir_all(self.sys("class/block")).expect("a folder");
            symlink(&folder, self.sys("class/block").join(name)).expect("a link");
            let dev = self.root.path().join("dev");
            let device_file = dev.join(name.to_string_lossy().replace('!', "/"));
            fs::create_dir_all(device_file.parent().expect("a parent")).expect("a folder");
            fs::write(device_file, "").expect("a file");
        }

        fn mounts(&self, lines: &[&str]) {
            let folder = self.root.path().join("proc/self");
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("mountinfo"), lines.join("\n") + "\n").expect("a file");
        }

        fn drive(&self, name: &str) -> DriveInfo {
            let drives = self.host().block_devices().expect("readable");
            drives
                .into_iter()
                .find(|drive| drive.name == name)
                .unwrap_or_else(|| panic!("no {name}"))
        }
    }

    #[test]
    fn drives_worth_listing_are_listed_in_order() {
        let drives = FakeComputer::new().host().block_devices().expect("readable");
        let names: Vec<_> = drives.iter().map(|drive| drive.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "cciss/c0d0",
                "dm-0",
                "loop0",
                "loop0p1",
                "mmcblk1",
                "nvme0n1",
                "nvme0n1p1",
                "nvme0n1p2",
                "nvme0n1p10",
                "sdb",
                "sdb1"
            ]
        );
    }

    #[test]
    fn a_stick_and_its_partition_are_described() {
        let computer = FakeComputer::new();
        let partition = computer.drive("sdb1");
        assert_eq!(
            partition,
            DriveInfo {
                name: "sdb1".to_owned(),
                path: computer.root.path().join("dev/sdb1"),
                number: DeviceNumber { major: 8, minor: 17 },
                len_bytes: 62_331_904 * 512,
                sector_size: 512,
                kind: DriveKind::Partition {
                    parent: "sdb".to_owned(),
                    number: 1
                },
                removable: true,
                usb: true,
                read_only: true,
                vendor: Some("SanDisk".to_owned()),
                model: Some("Ultra".to_owned()),
                mount_points: vec![PathBuf::from("/media/ann/MY STICK\\")],
            }
        );
        assert_eq!(computer.drive("sdb").kind, DriveKind::Disk);
        assert!(!computer.drive("sdb").read_only);
    }

    #[test]
    fn other_kinds_are_described() {
        let computer = FakeComputer::new();
        let nvme = computer.drive("nvme0n1p10");
        assert_eq!((nvme.sector_size, nvme.usb, nvme.removable), (4096, false, false));
        let card = computer.drive("mmcblk1");
        assert_eq!((card.removable, card.model.as_deref()), (true, Some("SC64G")));
        assert_eq!(nvme.model.as_deref(), Some("Samsung SSD 970"));
        assert_eq!(
            computer.drive("dm-0").kind,
            DriveKind::DeviceMapper {
                name: Some("cryptroot".to_owned())
            }
        );
        let backing_file = PathBuf::from("/home/a b/disk.img");
        assert_eq!(computer.drive("loop0").kind, DriveKind::Loop { backing_file });
        assert_eq!(
            computer.drive("cciss/c0d0").path,
            computer.root.path().join("dev/cciss/c0d0")
        );
    }

    #[test]
    fn mounts_find_their_drives_by_number_or_by_name() {
        let computer = FakeComputer::new();
        assert_eq!(computer.drive("dm-0").mount_points, [PathBuf::from("/")]);
        assert_eq!(
            computer.drive("nvme0n1p2").mount_points,
            [PathBuf::from("/home")],
            "btrfs has its own number"
        );
        assert!(computer.drive("nvme0n1").mount_points.is_empty());
    }

    #[test]
    fn a_path_is_held_by_its_nearest_mount() {
        let host = FakeComputer::new();
        let mount_of = |path: &str| host.host().mount_of(Path::new(path)).expect("a mount");
        let stick = mount_of("/media/ann/MY STICK\\/keys/new.txt");
        assert_eq!(
            (stick.source.as_str(), stick.file_system.as_str(), stick.read_only),
            ("/dev/sdb1", "fuseblk", true)
        );
        assert_eq!(stick.drive.map(|drive| drive.name), Some("sdb1".to_owned()));
        assert_eq!(
            mount_of("/media/ann/MY STICKY").mount_point,
            Path::new("/"),
            "no part of a name"
        );
        let home = mount_of("/home/nobody-here/x");
        assert_eq!(
            (home.root, home.drive.map(|drive| drive.name)),
            (PathBuf::from("/@home"), Some("nvme0n1p2".to_owned()))
        );
        let hidden = mount_of("/srv/inner/x");
        assert_eq!(
            (hidden.file_system.as_str(), hidden.drive),
            ("tmpfs", None),
            "the later mount hides the earlier"
        );
        assert_eq!(host.host().mount_of(Path::new("relative")), None);
    }

    #[test]
    fn links_on_the_way_are_followed() {
        let computer = FakeComputer::new();
        let folder = fs::canonicalize(computer.root.path()).expect("there");
        let stick = folder.join("stick");
        fs::create_dir(&stick).expect("a folder");
        symlink(&stick, folder.join("link")).expect("a link");
        computer.mounts(&[
            "22 1 254:0 / / rw - ext4 /dev/mapper/cryptroot rw",
            &format!("25 22 8:17 / {} rw - vfat /dev/sdb1 rw", stick.display()),
        ]);
        let mount = computer
            .host()
            .mount_of(&folder.join("link/to be made/key.txt"))
            .expect("a mount");
        assert_eq!(mount.mount_point, stick);
    }

    #[test]
    fn removable_mounts_are_those_of_the_stick() {
        let mounts = FakeComputer::new().host().removable_mounts().expect("readable");
        let points: Vec<_> = mounts.iter().map(|mount| mount.mount_point.as_path()).collect();
        assert_eq!(points, [Path::new("/media/ann/MY STICK\\")]);
    }

    #[test]
    fn what_lies_beneath_is_found_layer_by_layer() {
        let host = FakeComputer::new();
        let device = |name: &str| Backing::Device(name.to_owned());
        let file = Backing::File(PathBuf::from("/home/a b/disk.img"));
        assert_eq!(
            host.host().backing_of("dm-0").expect("there"),
            [device("nvme0n1p10")]
        );
        assert_eq!(
            host.host().backing_of("loop0").expect("there"),
            std::slice::from_ref(&file)
        );
        assert_eq!(host.host().backing_of("sdb1").expect("there"), []);
        assert_eq!(
            host.host().all_backing_of("dm-0").expect("there"),
            [device("nvme0n1p10"), device("nvme0n1")]
        );
        assert_eq!(
            host.host().all_backing_of("loop0p1").expect("there"),
            [device("loop0"), file]
        );
        for missing in ["sdz", "", ".."] {
            let error = host.host().backing_of(missing).expect_err("no such device");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn devices_that_stand_on_each_other_in_a_circle_end() {
        let computer = FakeComputer::new();
        fs::create_dir_all(computer.sys("devices/virtual/block/dm-0/slaves/dm-0")).expect("a folder");
        let found = computer.host().all_backing_of("dm-0").expect("there");
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_device_file_leads_to_its_drive_through_links() {
        let computer = FakeComputer::new();
        let by_id = computer.root.path().join("dev/by-id-stick");
        symlink(computer.root.path().join("dev/sdb1"), &by_id).expect("a link");
        assert_eq!(computer.host().drive_at(&by_id), Some(computer.drive("sdb1")));
        assert_eq!(computer.host().drive_at(computer.root.path()), None);
    }

    #[test]
    fn a_computer_without_sysfs_is_an_error_not_an_empty_list() {
        let empty = tempfile::tempdir().expect("a folder");
        assert!(Host::at(empty.path()).block_devices().is_err());
    }

    #[test]
    fn this_computer_answers() {
        let mount = Host::system().mount_of(Path::new("/"));
        assert_eq!(mount.map(|mount| mount.mount_point), Some(PathBuf::from("/")));
    }

    fn escape(name: &[u8]) -> Vec<u8> {
        let must_be_escaped = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#');
        name.iter()
            .flat_map(|byte| match must_be_escaped(*byte) {
                true => format!("\\{byte:03o}").into_bytes(),
                false => vec![*byte],
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn escapes_are_undone(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unescape(&escape(&name)).into_vec(), name);
        }

        #[test]
        fn any_line_is_safe(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_mount(&line);
        }
    }
}
