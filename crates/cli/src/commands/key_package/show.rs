//! `keyhaven key-package show`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Parser;
use keyhaven_backup::key_package;
use keyhaven_fve::KeyPackage;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};

pub(super) const VERB: Verb = Verb::of::<Show>();

/// Show what is in a file with key packages: of which drive, and which keys open it
///
/// Every form is read: the file of Windows' tools, what a directory exports (LDIF), base64 and hexadecimal digits, saved
/// metadata. No key is needed for that, and none is shown.
#[derive(Parser)]
#[command(name = "show")]
struct Show {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Answer {
    file: String,
    packages: Vec<Package>,
}

#[derive(Serialize)]
struct Package {
    volume_id: Option<String>,
    description: Option<String>,
    encryption_method: Option<&'static str>,
    /// Without the sector key's box a package only helps where the drive still has that.
    has_sector_key: bool,
    protectors: Vec<Protector>,
}

#[derive(Serialize)]
struct Protector {
    id: String,
    key_id: String,
    kind: String,
    #[serde(skip)]
    title: String,
}

impl Run for Show {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let name = self.file.display().to_string();
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(&self.file)
            .and_then(|file| {
                file.take(key_package::MAX_LEN_BYTES as u64)
                    .read_to_end(&mut bytes)
            })
            .map_err(|error| CliError::could_not(format!("cannot read `{name}`")).because(&error))?;
        let packages = key_package::read(&bytes)
            .map_err(|error| CliError::no(format!("`{name}` is not a key package")).because(&error))?;
        let answer = Answer {
            file: name,
            packages: packages.iter().map(Package::of).collect(),
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
            return Ok(Exit::Done);
        }
        for package in &answer.packages {
            let volume = package.volume_id.as_deref().unwrap_or("not said");
            context.ui.line(&format!("volume      {volume}"))?;
            if let Some(description) = &package.description {
                context.ui.line(&format!("description {description}"))?;
            }
            if let Some(method) = package.encryption_method {
                context.ui.line(&format!("method      {method}"))?;
            }
            for protector in &package.protectors {
                context
                    .ui
                    .line(&format!("opened by   {}  {}", protector.id, protector.title))?;
            }
            if !package.has_sector_key {
                context
                    .ui
                    .warn("it lacks the key of the sectors, and helps only where the drive still has that");
            }
        }
        Ok(Exit::Done)
    }
}

impl Package {
    fn of(package: &KeyPackage) -> Self {
        let protector = |own: &keyhaven_fve::KeyProtector<'_>| Protector {
            id: own.id().to_string(),
            key_id: own.id().key_id(),
            kind: own.kind().json_name(),
            title: own.kind().to_string(),
        };
        Self {
            volume_id: package.volume_id().map(|id| id.to_string()),
            description: package.description(),
            encryption_method: package.encryption_method().map(|method| method.name()),
            has_sector_key: package.has_sector_key(),
            protectors: package.protectors().iter().map(protector).collect(),
        }
    }
}
