//! `cargo run -p xtask -- dist`: makes what is released, from what is checked out, the same bytes each time.
//!
//! [`dist`] builds for each platform and gathers the files of an [`archive`]; [`licences`] collects the terms of all that
//! is in the program, and [`winget`] fills in the manifests by which Windows installs it. `docs/windows.md` and
//! `docs/releasing.md` say what to do with it.

mod archive;
mod dist;
mod licences;
mod platform;
mod winget;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::platform::Platform;

#[derive(Parser)]
#[command(name = "xtask", about = "Makes what is released of Keyhaven")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the release archives and their checksums
    Dist(Dist),
}

/// What `dist` is told.
#[derive(clap::Args)]
struct Dist {
    /// Which platforms to build for; those that this computer can, if none is named
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<Platform>,

    /// Where the archives go; what is there already by their names is replaced
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    out: PathBuf,

    /// Use this program for the platform instead of building it: `windows=PATH`
    #[arg(long = "program", value_name = "PLATFORM=PATH", value_parser = platform::parse_program)]
    programs: Vec<(Platform, PathBuf)>,

    /// Where the archives will be downloaded from, for the winget manifests
    #[arg(long, value_name = "URL")]
    download_url: Option<String>,
}

fn main() -> ExitCode {
    let Task::Dist(dist) = Arguments::parse().task;
    match dist::make(&dist) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
