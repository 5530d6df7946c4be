//! The files that an image may name: those that lie beside it, and no others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{ContainerError, Format, Image, Spec, open_device};
use crate::device::Device;
use crate::file::FileDevice;

/// How many images may build on one another.
const MAX_DEPTH: usize = 32;

/// Opens the files beside an image that its content names: parents, backing files, parts.
///
/// An image comes from anywhere, and may name anything. Only regular files in its own folder are opened, by their bare
/// names: no folders, no way up, no links that lead elsewhere, no addresses.
#[derive(Debug, Clone)]
pub struct Neighbours {
    place: Option<Place>,
    /// The images that build on this one, outermost first, and then itself.
    chain: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
struct Place {
    /// As the person named it.
    folder: PathBuf,
    /// The same without links; `None` where it cannot be found.
    real_folder: Option<PathBuf>,
    name: String,
}

impl Neighbours {
    /// Returns nothing: bytes that lie in no folder have no neighbours.
    #[must_use]
    pub fn none() -> Self {
        Self {
            place: None,
            chain: Vec::new(),
        }
    }

    /// Returns what lies beside the file at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self::of_chain(path, Vec::new())
    }

    fn of_chain(path: &Path, mut chain: Vec<PathBuf>) -> Self {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().and_then(|name| name.to_str());
        chain.push(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        Self {
            place: name.map(|name| Place {
                folder: folder.to_owned(),
                real_folder: folder.canonicalize().ok(),
                name: name.to_owned(),
            }),
            chain,
        }
    }

    /// Returns what the image file itself is called, if it is a file.
    #[must_use]
    pub fn own_name(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.name.as_str())
    }

    /// Tells whether something lies beside the image under this bare name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|path| path.symlink_metadata().is_ok())
    }

    /// Opens a file beside the image as it is: a part, an extent.
    ///
    /// # Errors
    /// [`ContainerError::Escape`] where the name leads elsewhere, [`ContainerError::Neighbour`] where it leads nowhere.
    pub fn open_file(&self, name: &str) -> Result<Device, ContainerError> {
        let (file, _) = self.file(name)?;
        Ok(Arc::new(file))
    }

    /// Opens the disk inside a file beside the image: a parent, a backing file.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file); [`ContainerError::TooDeep`] and [`ContainerError::Circle`] where images build
    /// on images without end; [`ContainerError::Parent`] where the file is a container of no use.
    pub fn open_image(&self, name: &str, format: Format) -> Result<Image, ContainerError> {
        if self.chain.len() >= MAX_DEPTH {
            return Err(ContainerError::TooDeep { limit: MAX_DEPTH });
        }
        let (file, real) = self.file(name)?;
        if self.chain.contains(&real) {
            return Err(ContainerError::Circle {
                name: name.to_owned(),
            });
        }
        let path = file.path().to_owned();
        open_device(
            Arc::new(file),
            format,
            true,
            &Self::of_chain(&path, self.chain.clone()),
        )
        .map_err(|(_, source)| match source {
            // Told once, not once for every image on the way.
            ContainerError::TooDeep { .. } | ContainerError::Circle { .. } => source,
            source => ContainerError::Parent {
                name: name.to_owned(),
                source: Box::new(source),
            },
        })
    }

    /// Opens the image on which another builds, of which that one knows several names and identifiers; returns under
    /// which name it lies here. `unnamed` is what is wrong with one that knows none.
    ///
    /// # Errors
    /// As [`open_image`](Self::open_image); [`ContainerError::OtherParent`] where the image has another identifier.
    pub(super) fn open_parent(
        &self,
        names: &[String],
        ids: &[Uuid],
        format: &'static Spec,
        unnamed: impl FnOnce() -> ContainerError,
    ) -> Result<(String, Image), ContainerError> {
        // The first is tried even where nothing lies there, to say so.
        let lies_here = names.iter().find(|name| self.has(name));
        let name = lies_here.or_else(|| names.first()).ok_or_else(unnamed)?;
        let image = self.open_image(name, Format::Of(format))?;
        let found = image.container.as_ref().and_then(|container| container.id);
        if !found.is_some_and(|found| ids.contains(&found)) {
            let expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
            return Err(ContainerError::OtherParent {
                name: name.clone(),
                expected: expected.join(" or "),
                found: found.map_or_else(|| "another".to_owned(), |id| id.to_string()),
            });
        }
        Ok((name.clone(), image))
    }

    /// Returns the open file of that name, and its path without links.
    fn file(&self, name: &str) -> Result<(FileDevice, PathBuf), ContainerError> {
        let refused = |problem| ContainerError::Escape {
            name: name.to_owned(),
            problem,
        };
        let path = self.find(name)?;
        let file = FileDevice::open(&path).map_err(|source| ContainerError::Neighbour {
            name: name.to_owned(),
            source,
        })?;
        if file.is_block_device() {
            return Err(refused("it is a device, not a file"));
        }
        let real = path
            .canonicalize()
            .map_err(|_| refused("it is gone while it was looked at"))?;
        let real_folder = self.place.as_ref().and_then(|place| place.real_folder.as_deref());
        if real.parent() != real_folder {
            return Err(refused("it is a link that leads out of the folder of the image"));
        }
        Ok((file, real))
    }

    fn find(&self, name: &str) -> Result<PathBuf, ContainerError> {
        let refused = |problem| ContainerError::Escape {
            name: name.to_owned(),
            problem,
        };
        let place = self
            .place
            .as_ref()
            .ok_or_else(|| refused("there is no folder in which it could lie"))?;
        let bare = place
            .bare_name(name)
            .ok_or_else(|| refused("only files in the folder of the image itself are opened"))?;
        Ok(place.folder.join(bare))
    }
}

impl Place {
    /// Returns the name of a file in the folder of the image, if it is one.
    fn bare_name<'a>(&self, name: &'a str) -> Option<&'a str> {
        let bare = match name.strip_prefix("./").or_else(|| name.strip_prefix(".\\")) {
            Some(bare) => bare,
            // The whole path of a file that lies here is as good as its name.
            None => match Path::new(name).parent() {
                Some(folder)
                    if folder.is_absolute()
                        && (folder == self.folder || Some(folder) == self.real_folder.as_deref()) =>
                {
                    Path::new(name).file_name()?.to_str()?
                }
                _ => name,
            },
        };
        // A colon is a drive letter, a protocol, or an alternate stream.
        let is_bare =
            !bare.is_empty() && bare != "." && bare != ".." && !bare.contains(['/', '\\', ':', '\0']);
        is_bare.then_some(bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_beside_the_image_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("a folder");
        for path in ["outside.img", "inner/image", "inner/base.img"] {
            std::fs::write(folder.path().join(path), path).expect("room for it");
        }
        let neighbours = Neighbours::of(&inner.join("image"));
        let whole = inner.join("base.img").display().to_string();
        for name in ["base.img", "./base.img", ".\\base.img", whole.as_str()] {
            let device = neighbours.open_file(name).expect("it lies beside it");
            assert_eq!(device.len_bytes(), 14, "{name}");
        }
        let outside = folder.path().join("outside.img").display().to_string();
        for name in [
            outside.as_str(),
            "../outside.img",
            "..\\outside.img",
            "./../outside.img",
            "../inner/base.img",
            "/etc/passwd",
            "C:\\base.img",
            "nbd:localhost:10809",
            "json:{\"driver\":\"file\"}",
            "base.img:stream",
            "base.img\0",
            "",
            ".",
            "..",
            "./",
        ] {
            let error = neighbours.open_file(name).expect_err("refused");
            assert!(
                matches!(error, ContainerError::Escape { .. }),
                "{name:?}: {error:?}"
            );
            assert!(!neighbours.has(name), "{name:?}");
        }
        assert!(neighbours.has("base.img"));
        assert!(!neighbours.has("other.img"));
        assert!(matches!(
            neighbours.open_file("other.img"),
            Err(ContainerError::Neighbour { .. })
        ));
        assert!(matches!(
            Neighbours::none().open_file("base.img"),
            Err(ContainerError::Escape { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_refused() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("a folder");
        std::fs::write(folder.path().join("outside.img"), "outside").expect("room for it");
        std::fs::write(inner.join("base.img"), "base").expect("room for it");
        symlink("../outside.img", inner.join("out")).expect("a link");
        symlink("base.img", inner.join("in")).expect("a link");
        symlink("inner", folder.path().join("other-name")).expect("a link");
        // The folder itself may be reached by a link: the person named it so.
        let neighbours = Neighbours::of(&folder.path().join("other-name/image"));
        assert!(neighbours.open_file("in").is_ok());
        assert!(matches!(
            neighbours.open_file("out"),
            Err(ContainerError::Escape { .. })
        ));
    }
}
