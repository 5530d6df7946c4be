//! Shape without meaning: bytes on one side, structures on the other, one file per on-disk structure.
//!
//! Parsing here fails on shape (a size that overruns, a signature that is missing) and never on meaning (an unknown
//! entry type, an odd state): what is not understood is kept as it is, to be shown and written back.

pub mod block;
pub mod boot_sector;
pub mod boot_template;
mod cursor;
pub mod datum;
pub mod eow;
pub mod external_key_file;
mod file_time;
pub mod fragments;
pub mod key_package;
pub mod virtualization;

pub use cursor::ShapeError;
pub use file_time::FileTime;
