//! The first sector of a volume.
//!
//! Source: format spec 1.
