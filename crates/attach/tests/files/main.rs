//! The files on real file systems, byte for byte: made by the makers of other programs, damaged, and of Windows.

#![cfg(target_os = "linux")]

mod damage;
mod exfat;
mod fat;
mod garbage;
mod made;
mod model;
mod ntfs;
mod real_volumes;
mod split_table;
