//! Images made by other people's programs, of content that is the same in every run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyhaven_disk::container::{self, ContainerError, Format, Image, ImageError};
use keyhaven_disk::{BlockDevice, conformance};
use keyhaven_testkit::{numbers, tool};
use proptest::strategy::Strategy;

/// Returns `len` bytes: zeros, noise and what can be packed, in pieces of many sizes.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut fill = numbers(seed);
    let mut content = vec![0; len];
    let mut at = 0;
    while at < len {
        let mut choice = [0; 3];
        fill(&mut choice).expect("it never fails");
        let sizes = [512, 4096, 65_536, 150_000, 100, 700_000];
        let piece = sizes[usize::from(choice[0]) % sizes.len()].min(len - at);
        let piece = &mut content[at..at + piece];
        match choice[1] % 3 {
            0 => fill(piece).expect("it never fails"),
            1 => piece.fill_with({
                let mut state = choice[2];
                move || {
                    state = state.wrapping_mul(5).wrapping_add(3) % 37;
                    state
                }
            }),
            _ => {}
        }
        at += piece.len();
    }
    content
}

/// How large a disk is that is written at random, in sectors.
const WRITTEN_SECTORS: u32 = 3000;
/// The same in bytes.
pub(crate) const WRITTEN_BYTES: u32 = WRITTEN_SECTORS * 512;

/// Something written: zeros, nothing any more or a byte, which byte, and where, in sectors.
pub(crate) type Write = (u8, u8, u32, u32);

/// Writes at random.
pub(crate) fn writes() -> impl Strategy<Value = Vec<Write>> {
    proptest::collection::vec((0u8..4, 1u8..=255, 0..WRITTEN_SECTORS, 1..400u32), 1..12)
}

/// A folder in which images are made.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Makes one with a file `disk.raw`.
    pub(crate) fn with_raw(content: &[u8]) -> Self {
        let folder = Self::new();
        folder.write("disk.raw", content);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("room for it");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it is there")
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it is there");
    }

    /// Changes a file.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        change(&mut bytes);
        self.write(name, &bytes);
    }

    /// Runs a program in the folder, with arguments in one string; they have no blanks in them.
    pub(crate) fn run(&self, program: &Path, arguments: &str) {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        self.run_with(program, &arguments);
    }

    /// Runs a program in the folder.
    pub(crate) fn run_with(&self, program: &Path, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{program:?} {arguments:?}: {output:?}");
    }

    /// Has QEMU write to an image.
    pub(crate) fn write_with(&self, qemu_io: &Path, image: &str, writes: &[Write]) {
        let mut arguments = Vec::new();
        for (kind, pattern, start, len) in writes {
            let (start, len) = (start * 512, (*len).min(WRITTEN_SECTORS - start) * 512);
            arguments.push("-c".to_owned());
            arguments.push(match kind {
                0 => format!("write -z {start} {len}"),
                1 => format!("discard {start} {len}"),
                _ => format!("write -P {pattern} {start} {len}"),
            });
        }
        arguments.push(image.to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run_with(qemu_io, &arguments);
    }

    /// Opens an image.
    pub(crate) fn open(&self, name: &str) -> Result<Image, ImageError> {
        container::open(&self.path(name), Format::Detected)
    }

    /// Holds an image to the suite and to its content, from one thread and from several, and returns it.
    pub(crate) fn check(&self, name: &str, content: &[u8]) -> Image {
        let image = self
            .open(name)
            .unwrap_or_else(|error| panic!("{name}: {error}: {:?}", std::error::Error::source(&error)));
        assert!(image.container.is_some(), "{name} is taken for a raw image");
        conformance::check(&*image.device, content);
        read_at_once(&*image.device, content);
        image
    }

    /// Opens an image that is of no use, and returns why.
    pub(crate) fn refusal(&self, name: &str) -> ContainerError {
        match self.open(name) {
            Err(ImageError::Container { source, .. }) => source,
            other => panic!("{name} gave {other:?}"),
        }
    }
}

/// Reads from several threads at once.
fn read_at_once(device: &dyn BlockDevice, content: &[u8]) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut buf = vec![0; 100_000];
                let starts = (thread * 7919..content.len()).step_by(content.len() / 20 + 1);
                for start in starts {
                    let len = buf.len().min(content.len() - start);
                    device.read_at(start as u64, &mut buf[..len]).expect("inside");
                    assert!(buf[..len] == content[start..start + len], "at byte {start}");
                }
            });
        }
    });
}

/// Finds the program that makes most kinds of image.
#[track_caller]
pub(crate) fn qemu_img() -> Option<PathBuf> {
    tool::find("qemu-img")
}
