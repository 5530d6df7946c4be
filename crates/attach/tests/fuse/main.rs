//! What others see of a device and of a tree of files through FUSE: a real mount, the kernel in between.
#![cfg(target_os = "linux")]

mod files;
mod image;
mod mounting;
mod place;
