//! A volume, and one function for each method of its class.

mod adding;
mod auto_unlock;
mod backups;
mod changing;
mod conversion;
mod protectors;
mod state;
mod unlocking;

pub use protectors::Certificate;

use keyhaven_fve::Guid;

use crate::error::Error;
use crate::method::Method;
use crate::provider::{Found, Provider};
use crate::state::VolumeType;
use crate::value::{Arguments, Outputs};

/// A volume that is or could be encrypted.
#[derive(Debug)]
pub struct EncryptableVolume<'p> {
    provider: &'p dyn Provider,
    found: Found,
}

/// Lists all volumes, also those without a letter: letters first, in their order, then the others.
///
/// # Errors
/// [`Error::Unreachable`] when Windows cannot be asked.
pub fn volumes(provider: &dyn Provider) -> Result<Vec<EncryptableVolume<'_>>, Error> {
    let mut found = provider.volumes()?;
    found.sort_by(|a, b| {
        let key = |found: &Found| (found.drive_letter.is_none(), found.drive_letter.clone());
        key(a).cmp(&key(b)).then_with(|| a.device_id.cmp(&b.device_id))
    });
    Ok(found
        .into_iter()
        .map(|found| EncryptableVolume { provider, found })
        .collect())
}

impl EncryptableVolume<'_> {
    /// Returns the properties that Windows lists it with.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Returns what a person calls it: its letter, or its path if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.found
            .drive_letter
            .as_deref()
            .unwrap_or(&self.found.device_id)
    }

    /// Returns the identifier in its metadata; none if it is not encrypted.
    #[must_use]
    pub fn volume_id(&self) -> Option<Guid> {
        in_braces(&self.found.persistent_volume_id)
    }

    /// Returns what kind of drive it is, if Windows says so.
    #[must_use]
    pub fn volume_type(&self) -> Option<VolumeType> {
        self.found.volume_type.map(VolumeType::from_number)
    }

    /// Returns whether a person means it by `name`: a letter with or without colon and backslash, or a path, in
    /// any case.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let bare = |name: &str| {
            name.trim_start_matches(r"\\.\")
                .trim_end_matches('\\')
                .trim_end_matches(':')
                .to_uppercase()
        };
        let letter = self.found.drive_letter.as_deref();
        letter.is_some_and(|letter| bare(letter) == bare(name)) || bare(&self.found.device_id) == bare(name)
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`Error`]: WMI failed, the method answered with another code than success, or in an unknown way.
    fn call(&self, method: &'static Method, arguments: &Arguments) -> Result<Outputs, Error> {
        let (code, outputs) = self.provider.call(&self.found.device_id, method, arguments)?;
        if code != crate::code::Code::OK {
            return Err(Error::Refused {
                method: method.name,
                volume: self.name().to_owned(),
                code,
            });
        }
        Ok(outputs)
    }
}

/// Begins the arguments of a method about one key protector.
fn about(id: Guid) -> Arguments {
    Arguments::none().text("VolumeKeyProtectorID", braced(id))
}

/// Windows wants braces around every identifier.
pub(crate) fn braced(id: Guid) -> String {
    format!("{{{id}}}")
}

pub(crate) fn in_braces(text: &str) -> Option<Guid> {
    text.trim_start_matches('{').trim_end_matches('}').parse().ok()
}

fn protector_id(outputs: &mut Outputs, name: &'static str) -> Result<Guid, Error> {
    let text = outputs.text(name)?;
    in_braces(&text).ok_or_else(|| Error::Answer {
        what: name,
        expected: "an identifier in braces".to_owned(),
        found: format!("`{text}`"),
    })
}
