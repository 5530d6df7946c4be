//! What is left of a damaged volume, put together again.
//!
//! A journey reads: [`Search::run`] goes through a disk whose partition table is gone, and [`Search::volume_starts`] says
//! where volumes begin; [`Remains::collect`] takes up all that a volume has left, with a [`KeyPackage`] if there is one;
//! [`Remains::volume`] makes a locked volume of it, which a person's key opens as any other; [`Remains::settle`] then finds
//! out, with the key, what the metadata no longer say, and shows the plaintext with a list of what that rests on: each
//! [`Evidence`], and each [`Assumption`], of which there is none that was not asked for. [`Repair`] writes metadata that
//! are whole again.
//!
//! What counts as evidence: [docs/decisions/repairing.md](../../../../docs/decisions/repairing.md).

mod combine;
mod extent;
mod geometry;
mod remains;
mod repair;
mod report;
mod search;
mod settle;

pub use extent::Unknown;
pub use geometry::NoGeometry;
pub use remains::{Remains, SalvageError};
pub use repair::{Repair, RepairError, Replaced};
pub use report::{Assumption, Evidence};
pub use search::{Search, Stopped, VolumeStart};
pub use settle::{Assume, Salvaged, SettleError, first_sector_lost};

#[cfg(doc)]
use crate::KeyPackage;
