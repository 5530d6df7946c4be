//! What the program says and how it exits, for everything that a person may try.

mod big;
#[cfg(unix)]
mod changing;
#[cfg(target_os = "linux")]
mod containers;
#[cfg(unix)]
mod converted;
#[cfg(target_os = "linux")]
mod cp;
#[cfg(target_os = "linux")]
mod create;
mod credentials;
mod desk;
mod export;
#[cfg(target_os = "linux")]
mod failing;
#[cfg(target_os = "linux")]
mod files_inside;
mod image_files;
mod inputs;
mod journeys;
mod key_check;
mod key_package;
mod key_pile;
mod key_repair;
mod killed;
mod leaks;
mod loop_device;
#[cfg(target_os = "linux")]
mod ls;
mod made_volume;
mod matching;
#[cfg(target_os = "linux")]
mod mounts;
mod password_repair;
mod places;
mod practice;
#[cfg(unix)]
mod repair;
mod robustness;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod shown;
#[cfg(target_os = "linux")]
mod system_driver;
mod transcript;
mod usage;
#[cfg(target_os = "linux")]
mod windows_pc;
mod wizard;
