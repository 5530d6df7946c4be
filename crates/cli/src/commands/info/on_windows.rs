//! What Windows tells of a drive, beside what the drive itself does.

use serde::Serialize;

use super::Told;
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::windows::{self, BackupNote, Live};

/// What `--json` prints where the medium is read, too.
#[derive(Serialize)]
struct Both<'a> {
    #[serde(flatten)]
    told: Told,
    windows: &'a windows::Told,
    differences: &'a [String],
}

/// What `--json` prints where Windows' word is all there is; the names are those of drives that are read.
#[derive(Serialize)]
struct Asked<'a> {
    drive: &'a str,
    volume_id: String,
    format: Option<&'static str>,
    encryption_method: Option<&'a str>,
    state: &'static str,
    size_bytes: Option<u64>,
    encrypted_bytes: Option<u64>,
    sector_size: Option<u64>,
    description: Option<String>,
    created: Option<String>,
    metadata_copies: [(); 0],
    protectors: Vec<Protector<'a>>,
    windows: &'a windows::Told,
}

#[derive(Serialize)]
struct Protector<'a> {
    id: String,
    key_id: String,
    kind: String,
    name: Option<&'a str>,
    modified: Option<String>,
    backup_hints: [(); 0],
    windows_backups: Option<&'a [BackupNote]>,
}

/// Tells what is known of a drive that Windows knows.
pub(super) fn tell(live: &Live<'_>, context: &Context) -> Result<Exit, CliError> {
    let told = live
        .beneath
        .as_ref()
        .map(|volume| (volume, Told::by_volume(live.name().to_owned(), volume, None)));
    match told {
        Some((_, told)) if context.ui.is_json() => context.ui.json(&Both {
            told,
            windows: &live.told,
            differences: &live.differences,
        })?,
        Some((volume, told)) => {
            context.ui.line(&told.to_text(volume))?;
            context.ui.line(&format!("\n{}", windows_text(live, false)))?;
        }
        None if context.ui.is_json() => context.ui.json(&asked(live)?)?,
        None => context.ui.line(&asked_text(live)?)?,
    }
    Ok(Exit::Done)
}

fn asked<'a>(live: &'a Live<'_>) -> Result<Asked<'a>, CliError> {
    let told = &live.told;
    let protector = |own: &'a windows::Protector| Protector {
        id: own.id.to_string(),
        key_id: own.id.key_id(),
        kind: own.kind.json_name(),
        name: own.name.as_deref(),
        modified: None,
        backup_hints: [],
        windows_backups: own.backups.as_deref(),
    };
    Ok(Asked {
        drive: live.name(),
        volume_id: live.volume_id()?.to_string(),
        format: told.format,
        encryption_method: told.method.as_deref(),
        state: told.state.as_on_the_drive().name(),
        size_bytes: None,
        encrypted_bytes: None,
        sector_size: None,
        description: None,
        created: None,
        metadata_copies: [],
        protectors: told.protectors.iter().map(protector).collect(),
        windows: told,
    })
}

fn asked_text(live: &Live<'_>) -> Result<String, CliError> {
    let unknown = "unknown";
    let told = &live.told;
    Ok(format!(
        "Drive        {}\nVolume ID    {}\nMethod       {} ({})\n\n{}",
        live.name(),
        live.volume_id()?,
        told.method.as_deref().unwrap_or(unknown),
        told.format.unwrap_or(unknown),
        windows_text(live, true)
    ))
}

/// Says what Windows says; the ways to unlock as well, where nobody else did.
fn windows_text(live: &Live<'_>, with_protectors: bool) -> String {
    let told = &live.told;
    let mut lines = vec![
        "Windows says".to_owned(),
        format!("  BitLocker is {}", told.state.to_text()),
        format!(
            "  it is {}",
            match told.kind {
                "system" => "the drive of the Windows that is running",
                "fixed" => "a built-in data drive",
                "removable" => "a removable drive",
                _ => "a drive of an unknown kind",
            }
        ),
    ];
    if told.unlocks_by_itself == Some(true) {
        lines.push("  it unlocks by itself when Windows starts".to_owned());
    }
    for own in &told.protectors {
        if with_protectors {
            lines.push(format!("  {}  {}", own.id.key_id(), own.kind.title()));
        }
        for note in own.backups.iter().flatten() {
            lines.push(format!(
                "  {}  a backup to {} is remembered: read, not proven",
                own.id.key_id(),
                note.to_text()
            ));
        }
    }
    lines.join("\n")
}
