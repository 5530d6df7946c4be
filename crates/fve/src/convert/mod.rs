//! Encrypting and decrypting a volume in place, so that nothing is lost wherever it breaks off.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::ops::{ControlFlow, Range};
//! # use keyhaven_fve::{Credential, OpenOptions, Randomness, Volume, convert::*, create::*, format::FileTime, unwatched};
//! # let (medium, new): (keyhaven_disk::Writable, NewVolume) = unimplemented!();
//! # let (placement, free): (Placement, Range<u64>) = unimplemented!();
//! # let (random, now): (&mut Randomness<'_>, FileTime) = unimplemented!();
//! let prepared = new.prepare_at(placement.clone(), random)?;
//! // Now `prepared.records()` go where they will be safe. Then, and not before:
//! begin(&prepared, &placement, &*medium)?;
//! let volume = Volume::open(medium.clone(), &OpenOptions::default(), &mut unwatched)?;
//! let unlocked = volume.unlock(&Credential::VolumeMasterKey(prepared.into_vmk()))?;
//! let converter = Converter::start(&volume, unlocked, medium, Direction::Encrypt, &free, now, random)?;
//! converter.run(&one_after_the_other, &mut |_| ControlFlow::Continue(()))?;
//! # Ok(()) }
//! ```
//!
//! A volume under conversion is a volume like any other, of which the part in front of the state offset is encrypted
//! (format spec 2.3): it opens with its keys at any time. [`begin`] makes a plain volume one of which nothing is encrypted
//! yet, [`Converter::start`] takes it up wherever it is, and [`Converter::run`] brings it to its end, or stops after a
//! step when it is told to.
//!
//! # Order of writes
//!
//! In steps of a few MiB. With *J(n)* the journal's record of step n ([`journal`]), *W(n)* the same bytes written in
//! place and *M(n)* the metadata that say that step n is done:
//!
//! ```text
//! J(0) | W(0) J(1) M2(-1) M3(-1) | M1(0) | W(1) J(2) M2(0) M3(0) | M1(1) | …        | is a flush
//! ```
//!
//! What holds at each place, with any of the writes since the last flush done, left out or torn:
//!
//! - At least two metadata copies are whole, and whoever reads takes the newest: the first, or, where that is being
//!   written, the two others, which say one step less. A torn first copy may have a right checksum, which does not cover
//!   the sealed hash; what it says is true then, and who opens it takes a copy whose hash is right.
//! - W(n) begins after J(n) was flushed, and the slot of J(n) is written again (with n+2) only after M1(n) was flushed.
//!   So from whichever metadata are read, the records of all steps that may have been begun in place are whole.
//! - A record counts only if it begins where the metadata say that the volume is converted up to. Older ones do not.
//!
//! To take up what broke off, the records that lead on are written in place again; to look at it meanwhile, they are laid
//! over the device. A step that only came to its journal may count or not: it is the same bytes either way.

mod begin;
mod converter;
mod journal;
mod plan;
mod replayed;
mod used;

use keyhaven_disk::{ReadError, WriteError};

use crate::metadata_builder::MetadataError;

pub use begin::begin;
pub use converter::{Both, Converter, Outcome, Progress, Watch, one_after_the_other};
pub use journal::{MAX_JOURNAL_LEN_BYTES, MIN_JOURNAL_LEN_BYTES};
pub(crate) use replayed::replayed;
pub use used::UsedSpace;

/// Which way a conversion goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a volume that is encrypted.
    Encrypt,
    /// Back to a plain one.
    Decrypt,
}

impl Direction {
    /// Returns the number of the state that it leads to.
    fn state(self) -> u16 {
        match self {
            Self::Encrypt => 4,
            Self::Decrypt => 1,
        }
    }

    fn to_state(state: u16) -> Option<Self> {
        match state {
            4 => Some(Self::Encrypt),
            1 => Some(Self::Decrypt),
            _ => None,
        }
    }
}

/// Why a volume is not, or not further, converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Its format is one that can be read and not converted.
    #[error("{0} cannot be converted")]
    Format(&'static str),
    /// A conversion broke off that was not ours, and what it was about to write is not known.
    #[error("another program was converting the drive and did not come to a place where it can be taken up")]
    NotOurs,
    /// The keys given do not include the master key.
    #[error("this needs the master key of the drive, which the sector key does not give")]
    NoMasterKey,
    /// Nothing proves that the metadata are as they should be, and they decide what is written where.
    #[error("nothing proves that the drive's metadata are unaltered")]
    Unproven,
    /// Its first sector is damaged.
    #[error("the drive's first sector is damaged")]
    NoBootSector,
    /// The device ends before the volume does.
    #[error("the data ends before the drive does: it has {found} bytes of {expected}")]
    CutOff {
        /// How long the volume is, in bytes.
        expected: u64,
        /// How much of it is there.
        found: u64,
    },
    /// The place for the journal is of no use.
    #[error(
        "a journal of {MIN_JOURNAL_LEN_BYTES} bytes or more cannot be kept at bytes {start:#x} to {end:#x}"
    )]
    JournalPlace {
        /// Where the place begins, in bytes.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The caller did not do the work that it was given.
    #[error("a part of the work was not done")]
    WorkLeftUndone,
    /// The metadata cannot be changed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There was no randomness.
    #[error("the source of randomness failed")]
    Randomness(#[source] std::io::Error),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was written reads differently: the medium does not keep what it is given.
    #[error("what was written at byte {offset:#x} reads differently")]
    NotKept {
        /// Where the metadata copy begins that differs, in bytes.
        offset: u64,
    },
}

/// The state in the metadata while steps are being done.
const ACTIVE: u16 = 5;
/// The state in the metadata between them.
const PAUSED: u16 = 3;
