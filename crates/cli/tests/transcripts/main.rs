//! What the program says and how it exits, for everything that a person may try.

mod inputs;
mod key_check;
mod leaks;
mod main_job;
mod robustness;
mod transcript;
mod usage;
mod ways_in;
mod wizard;
