//! What the program says and how it exits, for everything that a person may try.

mod big;
mod credentials;
mod desk;
mod export;
mod inputs;
mod journeys;
mod key_check;
mod killed;
mod leaks;
mod made_volume;
mod places;
mod robustness;
mod transcript;
mod usage;
mod wizard;
