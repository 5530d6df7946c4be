//! What the program says and how it exits, for everything that a person may try.

mod inputs;
mod key_check;
mod leaks;
mod robustness;
mod transcript;
mod usage;
mod wizard;
