//! Keys and bytes in, bytes out: the ciphers and key derivations that BitLocker volumes are made of.
//!
//! Nothing here does I/O or knows an on-disk structure. Where the processor has the instructions, `arch` works on
//! whole runs of sectors with them; everything has a portable twin. The twins' block functions, CCM and SHA-256 come
//! from RustCrypto; what is ours is how BitLocker strings them together:
//!
//! - [`Secret`], [`SecretBytes`], [`SecretText`]: memory that is locked, left out of core dumps and wiped;
//! - [`ccm`]: the boxes that keys are wrapped in;
//! - [`stretch`], [`stretch_many`]: the 2^20 rounds between a password and a key;
//! - [`SectorCipher`]: chosen once per volume, works on runs of sectors.

mod arch;
mod block;
mod cbc;
pub mod ccm;
mod digest;
mod elephant;
#[doc(hidden)]
pub mod paths;
mod secret;
mod sector;
mod stretch;
mod xts;

pub use digest::sha256;
pub use secret::{Secret, SecretBytes, SecretText};
pub use sector::{SectorCipher, SectorSize};
pub use stretch::{STRETCH_BATCH, STRETCH_ROUNDS, stretch, stretch_many};
