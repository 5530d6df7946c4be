//! Where recovery keys are kept, and how they are found and proven again.
//!
//! Saving: a [`destination`] writes records to a place and reads them back, and [`destination::save_and_prove`] says
//! "saved" only of a copy that was tried on the drive. Finding: [`reading`] takes the keys out of any file, [`search`]
//! walks places, and [`verdict`] says what each key is worth for a drive. The [`ledger`] remembers where copies are, and
//! no secrets.

pub mod destination;
pub mod drive;
pub mod found;
pub mod guess;
pub mod key_package;
pub mod ledger;
pub mod matching;
pub mod paper;
pub mod pile;
pub mod place;
pub mod policy;
pub mod private;
pub mod reading;
pub mod receipt;
pub mod records;
pub mod search;
pub mod text;
pub mod vault;
pub mod verdict;
