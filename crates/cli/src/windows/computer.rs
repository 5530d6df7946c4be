//! The Windows of this computer.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use keyhaven_disk::Device;
use keyhaven_windows::{EncryptableVolume, Error, Provider};

use super::{Live, has_no_bitlocker, is_name_of_a_volume, raw, refusal};
use crate::context::Context;
use crate::error::CliError;

/// Windows, to be asked.
// Elsewhere there is none, and what is said to one is compiled all the same.
#[cfg_attr(not(any(windows, debug_assertions)), allow(dead_code))]
#[derive(Debug)]
pub(crate) struct Computer {
    /// Connected when it is first asked: most drives are none of Windows'.
    provider: OnceCell<Result<Box<dyn Provider>, Error>>,
    /// What lies under the volumes of a made-up computer, by their paths; none for a real one.
    images: Option<BTreeMap<String, PathBuf>>,
}

impl Computer {
    /// Returns the Windows that this program runs on; none on other systems.
    pub(crate) fn this() -> Option<Self> {
        #[cfg(debug_assertions)]
        if let Some(made_up) = made_up::computer() {
            return Some(made_up);
        }
        #[cfg(windows)]
        return Some(Self {
            provider: OnceCell::new(),
            images: None,
        });
        #[cfg(not(windows))]
        None
    }

    /// Lists all volumes, also those without a letter.
    ///
    /// # Errors
    /// Windows cannot be asked: the program is not elevated, or this Windows has no BitLocker.
    pub(crate) fn volumes(&self) -> Result<Vec<EncryptableVolume<'_>>, Error> {
        match self.provider.get_or_init(connect) {
            Ok(provider) => keyhaven_windows::volumes(&**provider),
            Err(Error::Unreachable(code)) => Err(Error::Unreachable(*code)),
            Err(error) => Err(Error::Answer {
                what: "WMI",
                expected: "an answer".to_owned(),
                found: error.to_string(),
            }),
        }
    }

    /// Finds the volume that a person names as Windows does; none if it is no such name, or that of no volume.
    ///
    /// # Errors
    /// It is such a name, and Windows does not answer though it has BitLocker.
    pub(crate) fn volume(
        &self,
        name: &OsStr,
        context: &Context,
    ) -> Result<Option<EncryptableVolume<'_>>, CliError> {
        let Some(name) = name.to_str().filter(|name| is_name_of_a_volume(name)) else {
            return Ok(None);
        };
        let name = name.replace('/', r"\");
        match self.volumes() {
            Ok(volumes) => Ok(volumes.into_iter().find(|volume| volume.is_called(&name))),
            Err(error) if has_no_bitlocker(&error) => {
                context
                    .ui
                    .detail(&format!("{error}; `{name}` is read as it lies"));
                Ok(None)
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Finds the drive that a person names as Windows does, and all that is told of it.
    ///
    /// # Errors
    /// As [`volume`](Self::volume), and when Windows says nothing about this drive.
    pub(crate) fn drive(&self, name: &OsStr, context: &Context) -> Result<Option<Live<'_>>, CliError> {
        match self.volume(name, context)? {
            Some(volume) => Live::of(volume, self, context).map(Some),
            None => Ok(None),
        }
    }

    /// Returns what lies under a volume, where everything is encrypted still; none where it cannot be read.
    pub(crate) fn device_under(&self, volume: &EncryptableVolume<'_>) -> Option<Device> {
        match &self.images {
            Some(images) => keyhaven_disk::open(images.get(&volume.found().device_id)?).ok(),
            None => raw::device_under(volume),
        }
    }
}

#[cfg(windows)]
fn connect() -> Result<Box<dyn Provider>, Error> {
    keyhaven_windows::Wmi::connect().map(|wmi| -> Box<dyn Provider> { Box::new(wmi) })
}

#[cfg(not(windows))]
fn connect() -> Result<Box<dyn Provider>, Error> {
    Err(Error::Unreachable(keyhaven_windows::Code::WMI_INVALID_NAMESPACE))
}

/// Tells whether the computer that is asked is a made-up one.
pub(super) fn is_made_up() -> bool {
    #[cfg(debug_assertions)]
    return made_up::file().is_some();
    #[cfg(not(debug_assertions))]
    false
}

/// A computer that a file describes, for tests of the whole program on any system.
///
/// Never in a program that is released: there nobody can be led to believe that Windows has answered.
#[cfg(debug_assertions)]
mod made_up {
    use std::path::{Path, PathBuf};

    use keyhaven_windows::Provider;
    use keyhaven_windows::fake::FakeComputer;

    use super::{Computer, Error, OnceCell};

    /// Returns the file that describes it.
    pub(super) fn file() -> Option<PathBuf> {
        std::env::var_os("KEYHAVEN_FAKE_WINDOWS").map(PathBuf::from)
    }

    pub(super) fn computer() -> Option<Computer> {
        Some(read(&file()?))
    }

    fn read(file: &Path) -> Computer {
        match FakeComputer::open(file) {
            Ok(fake) => {
                let volumes = fake.scene().volumes.into_iter();
                let images = volumes
                    .filter_map(|volume| Some((volume.device_id, volume.raw?.into())))
                    .collect();
                let provider: Box<dyn Provider> = Box::new(fake);
                Computer {
                    provider: OnceCell::from(Ok(provider)),
                    images: Some(images),
                }
            }
            Err(error) => Computer {
                provider: OnceCell::from(Err(Error::Answer {
                    what: "the made-up computer",
                    expected: "the description of one".to_owned(),
                    found: error.to_string(),
                })),
                images: None,
            },
        }
    }
}
