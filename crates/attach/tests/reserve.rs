//! Room is made in real file systems: their own tools find them in order afterwards, and all files are there.
#![cfg(target_os = "linux")]

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use keyhaven_attach::files;
use keyhaven_attach::reserve::{self, ReserveError, Units, Wanted};
use keyhaven_disk::Device;
use keyhaven_testkit::{kernel, tool};

const MIB: u64 = 1 << 20;

struct Image {
    folder: tempfile::TempDir,
}

impl Image {
    fn new(len_bytes: u64, program: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = Self { folder };
        fs::File::create_new(image.path())
            .unwrap()
            .set_len(len_bytes)
            .unwrap();
        run(Command::new(program).args(arguments).arg(image.path()));
        image
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn make_files(&self) -> Result<Vec<Range<u64>>, ReserveError> {
        let work = self.folder.path().join("work");
        fs::create_dir_all(&work).unwrap();
        let device = keyhaven_disk::open_writable(&self.path()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        reserve::make_files(&device, &wanted(), &work, now)
    }

    fn end_at(&self, end: u64) -> Result<(), ReserveError> {
        reserve::end_at(&keyhaven_disk::open_writable(&self.path()).unwrap(), end)
    }

    fn device(&self) -> Device {
        keyhaven_disk::open(&self.path()).unwrap()
    }

    fn free(&self) -> Vec<Range<u64>> {
        let mut free = Vec::new();
        reserve::free_runs(&self.device(), &mut |run| free.push(run)).unwrap();
        free
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn wanted() -> Vec<Wanted> {
    [("one", 65536), ("two", 8192), ("three", 65536)]
        .map(|(name, len_bytes)| Wanted {
            file_name: format!("Keyhaven.{{{name}}}"),
            len_bytes,
        })
        .to_vec()
}

/// Fails unless the places lie apart from each other and from all that is free.
fn check_places(places: &[Range<u64>], free: &[Range<u64>], len_bytes: u64) {
    let mut sorted = places.to_vec();
    sorted.sort_by_key(|place| place.start);
    assert!(sorted.array_windows().all(|[one, next]| one.end <= next.start));
    for (place, one) in places.iter().zip(wanted()) {
        assert_eq!(place.end - place.start, one.len_bytes);
        assert!(place.start.is_multiple_of(4096) && place.end <= len_bytes);
        let is_free = free
            .iter()
            .any(|run| run.start < place.end && place.start < run.end);
        assert!(!is_free, "{place:?} may be used by files");
    }
}

fn names_in_root(device: Device) -> Vec<String> {
    let tree = files::open(device).unwrap();
    let mut names = Vec::new();
    tree.list(tree.root(), &mut |entry| {
        names.push(entry.name);
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

#[test]
fn files_hold_the_places_on_ntfs() {
    let (Some(mkntfs), Some(ntfsfix)) = (tool::find("mkntfs"), tool::find("ntfsfix")) else {
        return;
    };
    if tool::find("ntfs-3g").is_none() || !kernel::has_fuse() || !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new(24 * MIB, &mkntfs, &["-Q", "-F", "-q"]);
    let before: u64 = image.free().iter().map(|run| run.end - run.start).sum();
    let places = image.make_files().unwrap();
    let units = Units {
        sector_len: 512,
        cluster_len: 4096,
    };
    assert_eq!(reserve::units(&image.device()).unwrap(), units);
    check_places(&places, &image.free(), 24 * MIB);
    let after: u64 = image.free().iter().map(|run| run.end - run.start).sum();
    assert!(before - after < 300_000, "{before} and {after}");
    assert_eq!(
        image.make_files().unwrap(),
        places,
        "what is there is found again"
    );
    run(Command::new(&ntfsfix).arg("-n").arg(image.path()));
    assert_eq!(
        reserve::longest_free(&image.device(), 4096)
            .unwrap()
            .map(|run| run.end - run.start),
        Some(4096)
    );

    let work = image.folder.path().join("work");
    let names = wanted();
    let names: Vec<&str> = names.iter().map(|one| one.file_name.as_str()).collect();
    let device = keyhaven_disk::open_writable(&image.path()).unwrap();
    reserve::remove_files(&device, &names, &work, SystemTime::UNIX_EPOCH).unwrap();
    drop(device);
    let freed: u64 = image.free().iter().map(|run| run.end - run.start).sum();
    assert!(freed > after + 139_000);
    run(Command::new(&ntfsfix).arg("-n").arg(image.path()));
}

#[test]
fn fat32_ends_where_it_should() {
    let (Some(mkfs), Some(fsck), Some(mcopy)) = (
        tool::find("mkfs.vfat"),
        tool::find("fsck.vfat"),
        tool::find("mcopy"),
    ) else {
        return;
    };
    for (len_bytes, sectors) in [(40 * MIB, "1"), (300 * MIB + 1536, "8")] {
        let image = Image::new(len_bytes, &mkfs, &["-F", "32", "-s", sectors]);
        run(Command::new(&mcopy)
            .arg("-i")
            .arg(image.path())
            .args(["/etc/passwd", "::PASSWD"]));
        let end = len_bytes - 300_000;
        image.end_at(end).unwrap();
        assert!(image.free().iter().all(|run| run.end <= end));
        image.end_at(end + 5000).unwrap();
        run(Command::new(&fsck).arg("-n").arg(image.path()));
        assert_eq!(names_in_root(image.device()), ["PASSWD"]);
        let free: u64 = image.free().iter().map(|run| run.end - run.start).sum();
        assert!(free > len_bytes * 9 / 10);
    }
    // As few clusters as there may be.
    let image = Image::new(66_764 * 512, &mkfs, &["-F", "32", "-s", "1"]);
    assert!(matches!(image.end_at(66_400 * 512), Err(ReserveError::TooSmall)));
}

#[test]
fn exfat_ends_where_it_should() {
    let (Some(mkfs), Some(fsck)) = (tool::find("mkfs.exfat"), tool::find("fsck.exfat")) else {
        return;
    };
    for len_bytes in [8 * MIB, 60 * MIB + 512] {
        let image = Image::new(len_bytes, &mkfs, &["-c", "4K"]);
        let end = len_bytes - 300_000;
        image.end_at(end).unwrap();
        assert!(image.free().iter().all(|run| run.end <= end));
        image.end_at(end + 5000).unwrap();
        let output = run(Command::new(&fsck).arg("-n").arg("-v").arg(image.path()));
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(said.contains("clean") && !said.contains("error"), "{said}");
        names_in_root(image.device());
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let device = keyhaven_disk::open_writable(&path).unwrap();
    let refused = reserve::end_at(&device, 4096);
    assert!(matches!(refused, Err(ReserveError::Unsupported(_))));
}
