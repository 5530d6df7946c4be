//! Disks inside image files: what other people's programs make is read as they mean it, and what is damaged is said.

mod ewf;
mod making;
mod mutants;
mod qcow2;
mod split;
mod vhd;
mod vmdk;
