//! What Keyhaven's tests share: real volumes made by Windows, cheap copies of them to damage, and
//! other people's tools as judges.
//!
//! The volumes are not part of the repository. [`corpus`] finds them, or says how to get them:
//!
//! ```no_run
//! use keyhaven_testkit::corpus::{self, SecretKind};
//!
//! let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else { return };
//! let image = volume.image();
//! let password = volume.secret(SecretKind::Password).expect("the manifest lists one");
//! # let _ = (image, password);
//! ```
//!
//! Where a test cannot run for want of a volume or a tool it says so in one line on standard error
//! and passes. With `CI=true` or `KEYHAVEN_REQUIRE_CORPUS=1` it fails instead, so that a green run
//! there means that everything ran.
//!
//! This is a dev-dependency only; it panics where a test would.

pub mod corpus;
mod image;
pub mod kernel;
mod numbers;
mod skip;
pub mod tool;
mod unpack;

pub use image::{copy_of, patch, sha256_of};
pub use numbers::numbers;
