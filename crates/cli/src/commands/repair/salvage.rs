//! `keyhaven repair --salvage`: the content of a damaged drive, with nothing written to it.

use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use keyhaven_disk::Device;
use keyhaven_fve::salvage::{Salvaged, first_sector_lost};
use keyhaven_fve::{Integrity, Volume};
use serde::Serialize;

use super::Job;
use crate::error::{CliError, Exit};
use crate::rescuing::Rescue;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    out: String,
    size_bytes: u64,
    /// Everything could be read.
    complete: bool,
    bad_bytes: u64,
    /// The list of what could not be.
    map: Option<String>,
    /// Nothing was assumed.
    certain: bool,
    evidence: &'a [String],
    assumptions: &'a [String],
}

/// Saves the content of a drive of whose metadata a copy is whole.
pub(super) fn of_volume(job: &Job<'_>, volume: Volume, out: &Path) -> Result<Exit, CliError> {
    let rescue = Rescue::new(out, job.args.overwrite, &job.args.rescue)?;
    let unlocked = job.args.unlock.unlock(&volume, job.context)?;
    let mut evidence = vec!["a copy of the metadata is whole: its checksum is right".to_owned()];
    if unlocked.integrity() == Integrity::Right {
        evidence.push("the sealed hash is right; they are as Windows wrote them".to_owned());
    }
    let identity = unlocked.metadata().volume_id().to_string();
    let lost = first_sector_lost(&volume);
    let data = volume.data(unlocked).map_err(|error| {
        CliError::could_not("the key is right, but the content cannot be read").because(&error)
    })?;
    let assumptions: Vec<String> = lost.iter().map(ToString::to_string).collect();
    write(job, &rescue, Arc::new(data), &identity, &evidence, &assumptions)
}

/// Saves the content of a drive that was put together.
pub(super) fn of_remains(job: &Job<'_>, salvaged: Salvaged, out: &Path) -> Result<Exit, CliError> {
    let rescue = Rescue::new(out, job.args.overwrite, &job.args.rescue)?;
    let evidence: Vec<String> = salvaged.evidence.iter().map(ToString::to_string).collect();
    let assumptions: Vec<String> = salvaged.assumptions.iter().map(ToString::to_string).collect();
    let identity = salvaged.volume.metadata().volume_id().to_string();
    write(
        job,
        &rescue,
        Arc::new(salvaged.data),
        &identity,
        &evidence,
        &assumptions,
    )
}

fn write(
    job: &Job<'_>,
    rescue: &Rescue,
    data: Device,
    identity: &str,
    evidence: &[String],
    assumptions: &[String],
) -> Result<Exit, CliError> {
    let (context, ui) = (job.context, &job.context.ui);
    for line in evidence {
        ui.say(&format!("known: {line}"));
    }
    for line in assumptions {
        ui.warn(&format!("assumed: {line}"));
    }
    let report = rescue.run(&data, &job.args.drive.path(), identity, context)?;
    let out = job.args.salvage.as_deref().map(|out| out.display().to_string());
    let out = out.unwrap_or_default();
    let map = (!report.is_complete()).then(|| rescue.map().display().to_string());
    if ui.is_json() {
        ui.json(&Answer {
            drive: job.name,
            out: out.clone(),
            size_bytes: report.len_bytes,
            complete: report.is_complete(),
            bad_bytes: report.bad_bytes(),
            map: map.clone(),
            certain: assumptions.is_empty(),
            evidence,
            assumptions,
        })?;
    } else {
        ui.say(&format!("wrote {} to {out}", HumanBytes(report.len_bytes)));
    }
    if let Some(map) = &map {
        ui.warn(&format!(
            "the image is not complete: {} could not be read and are zeros in it; see {map}",
            HumanBytes(report.bad_bytes())
        ));
    }
    if !assumptions.is_empty() {
        ui.warn("the image rests on what was assumed above: look at what is in it before you rely on it");
    }
    Ok(if report.is_complete() && assumptions.is_empty() {
        Exit::Done
    } else {
        Exit::CouldNot
    })
}
