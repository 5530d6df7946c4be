//! What Windows itself says and does about its BitLocker drives.
//!
//! Windows answers through WMI: one class, `Win32_EncryptableVolume`, has an instance for every volume that could be
//! encrypted and a method for everything that Control Panel and `manage-bde` do. [`EncryptableVolume`] has one function
//! per method under its WMI name, [`method::ALL`] says what goes in and comes out, [`Code`] what its answers mean.
//!
//! All of it goes through a [`Provider`], so that what is built on it can be tried on any system: on Windows that is
//! `Wmi`, in tests a [`fake`] computer.
//!
//! Source for names, types and codes: Microsoft's documentation of the class, corrected by the class itself where
//! the two differ; methods that are not documented are marked so.

pub mod code;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod method;
mod provider;
mod record;
pub mod state;
mod value;
mod volume;
#[cfg(windows)]
mod wmi;

pub use code::Code;
pub use error::Error;
pub use method::Method;
pub use provider::{Found, Provider};
pub use record::{RecordsError, recovery_records};
pub use value::{Arguments, Kind, Outputs, Value};
pub use volume::{Certificate, EncryptableVolume, volumes};
#[cfg(windows)]
pub use wmi::Wmi;
