//! A computer that answers as Windows would, described by a file.
//!
//! Made for tests, also for those of programs that run: what a call changes is written back to the file, so that the
//! next run finds it. Which code a method answers with can be set in the file (`faults`).

mod answers;
mod scene;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use scene::{Backup, Protector, Scene, Volume};

use crate::code::Code;
use crate::error::Error;
use crate::method::Method;
use crate::provider::{Found, Provider};
use crate::value::{Arguments, Outputs};

/// `WBEM_E_INVALID_METHOD_PARAMETERS`: what Windows answers to arguments that a method does not take.
pub const INVALID_METHOD_PARAMETERS: Code = Code(0x8004_102F);

/// A fake computer.
#[derive(Debug)]
pub struct FakeComputer {
    scene: RefCell<Scene>,
    file: Option<PathBuf>,
}

impl FakeComputer {
    /// Makes one that only this process knows.
    #[must_use]
    pub fn new(scene: Scene) -> Self {
        Self {
            scene: RefCell::new(scene),
            file: None,
        }
    }

    /// Reads one from a file of JSON, to which its changes are written.
    ///
    /// # Errors
    /// The file cannot be read, or is not a [`Scene`].
    pub fn open(file: &Path) -> io::Result<Self> {
        let scene = serde_json::from_slice(&fs::read(file)?)?;
        Ok(Self {
            scene: RefCell::new(scene),
            file: Some(file.to_owned()),
        })
    }

    /// Returns what the computer is like now.
    #[must_use]
    pub fn scene(&self) -> Scene {
        self.scene.borrow().clone()
    }

    fn save(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => fs::write(file, serde_json::to_vec_pretty(&*self.scene.borrow())?),
            None => Ok(()),
        }
    }
}

impl Provider for FakeComputer {
    fn volumes(&self) -> Result<Vec<Found>, Error> {
        let scene = self.scene.borrow();
        scene.reachable().map_err(Error::Unreachable)?;
        Ok(scene.volumes.iter().map(Volume::found).collect())
    }

    fn call(
        &self,
        device_id: &str,
        method: &'static Method,
        arguments: &Arguments,
    ) -> Result<(Code, Outputs), Error> {
        let answer = {
            let mut scene = self.scene.borrow_mut();
            scene.reachable().map_err(Error::Unreachable)?;
            if !takes(method, arguments) {
                return Err(Error::Unreachable(INVALID_METHOD_PARAMETERS));
            }
            if scene.missing_methods.iter().any(|name| name == method.name) {
                return Err(Error::Unreachable(Code::WMI_INVALID_METHOD));
            }
            scene
                .answer(device_id, method, arguments)
                .ok_or(Error::Unreachable(Code::WMI_NOT_FOUND))?
        };
        self.save().map_err(|error| Error::Answer {
            what: "the fake computer's file",
            expected: "writable".to_owned(),
            found: error.to_string(),
        })?;
        Ok(match answer {
            Ok(outputs) => (Code::OK, outputs),
            Err(code) => (code, Outputs::default()),
        })
    }
}

/// Returns whether a method takes these arguments: all that it needs, none that it does not know, each of its type.
fn takes(method: &Method, arguments: &Arguments) -> bool {
    let known = arguments.iter().all(|(name, value)| {
        let input = method.inputs.iter().find(|input| input.name == name);
        input.is_some_and(|input| input.kind == value.kind())
    });
    let needed = method.inputs.iter().filter(|input| !input.optional);
    known
        && needed
            .into_iter()
            .all(|input| arguments.get(input.name).is_some())
}
