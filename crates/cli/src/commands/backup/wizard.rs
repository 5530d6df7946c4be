//! The questions that `backup` asks at a terminal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use keyhaven_backup::destination::folder_for;
use keyhaven_backup::place::{Place, WindowsPlace};
use keyhaven_disk::os::Host;
use keyhaven_fve::{OpenOptions, Volume};

use crate::context::Context;
use crate::depositing::without_repeats;
use crate::elevation;
use crate::error::CliError;

/// Lists the BitLocker drives of this computer and lets the person choose one.
pub(super) fn choose_drive(context: &Context) -> Result<OsString, CliError> {
    let devices = Host::system()
        .block_devices()
        .map_err(|error| CliError::could_not("cannot list the drives of this computer").because(&error))?;
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    let mut found = Vec::new();
    for device in devices {
        context.interrupt.check()?;
        let Ok(opened) = keyhaven_disk::open(&device.path) else {
            continue;
        };
        if let Ok(volume) = Volume::open(opened, &options, &mut |_| context.interrupt.flow()) {
            let description = volume
                .metadata()
                .description()
                .unwrap_or_else(|| "no description".to_owned());
            found.push((
                device.path.clone(),
                format!("{}  {description}", device.path.display()),
            ));
        }
    }
    match found.as_slice() {
        [] => Err(
            CliError::could_not("no BitLocker drive was found on this computer")
                .hint("name an image file or a device: `keyhaven backup DRIVE`")
                .hint(elevation::TO_READ_DRIVES),
        ),
        [(path, name)] => {
            if context
                .ui
                .confirm(&format!("Back up the recovery key of {name}?"))?
            {
                Ok(path.clone().into())
            } else {
                Err(CliError::stopped())
            }
        }
        several => {
            let names: Vec<String> = several.iter().map(|(_, name)| name.clone()).collect();
            let index = context
                .ui
                .choose("Which drive's recovery key do you want to back up?", &names)?;
            several
                .get(index)
                .map(|(path, _)| path.clone().into())
                .ok_or_else(CliError::stopped)
        }
    }
}

/// Says what is going to happen, before the first question.
pub(super) fn say_hello(context: &Context, drive: &str) {
    context.ui.say(&format!(
        "This backs up the recovery key of {drive}. To find the key, the drive has to\n\
         be unlocked once. Nothing on it is changed, and Ctrl-C stops at any time.\n"
    ));
}

/// Asks where to save, several places at once; a place that cannot be is asked for again.
///
/// `drives` are those whose keys are saved, `by_windows` the places that Windows saves to itself.
pub(super) fn choose_places(
    context: &Context,
    drives: &[String],
    by_windows: &[(WindowsPlace, &str)],
    check: &mut dyn FnMut(&Place) -> Result<(), CliError>,
) -> Result<Vec<Place>, CliError> {
    context.ui.say(&match drives {
        [drive] => format!("\nThe recovery key of {drive} is found.\n"),
        several => format!("\nThe recovery keys of {} are found.\n", several.join(", ")),
    });
    let mut choices = [
        "Save it to a USB flash drive",
        "Save it to a file",
        "Save a page to print later (PDF)",
        "Print it now",
        "Save it to an encrypted file, which a passphrase opens",
        "Show it on this screen, to write it down",
    ]
    .map(str::to_owned)
    .to_vec();
    let first_by_windows = choices.len();
    choices.extend(by_windows.iter().map(|(_, title)| (*title).to_owned()));
    loop {
        let chosen = context
            .ui
            .choose_several("How do you want to back up your recovery key?", &choices)?;
        let mut places = Vec::new();
        for choice in chosen {
            let home = home_folder();
            let place = match choice {
                0 => ask_stick(context)?,
                1 => Some(ask_path(
                    context,
                    "Folder for the text file",
                    home.as_deref(),
                    Place::File,
                    check,
                )?),
                2 => Some(ask_path(
                    context,
                    "Folder for the page",
                    home.as_deref(),
                    Place::Pdf,
                    check,
                )?),
                3 => Some(Place::Print(None)),
                4 => {
                    let name = home.map(|home| home.join("BitLocker recovery key.age"));
                    let question = "Name of the encrypted file";
                    Some(ask_path(context, question, name.as_deref(), Place::Vault, check)?)
                }
                5 => Some(Place::Stdout),
                other => other
                    .checked_sub(first_by_windows)
                    .and_then(|index| by_windows.get(index))
                    .map(|(place, _)| Place::Windows(*place)),
            };
            places.extend(place);
        }
        if !places.is_empty() {
            return Ok(without_repeats(places));
        }
    }
}

/// Says what to do with the copies.
pub(super) fn say_goodbye(context: &Context) {
    context.ui.say(
        "\nKeep the copies away from this computer and from the drive, where you find them\n\
         in a year. Whoever has one can open the drive.",
    );
}

/// Waits for a removable drive; `None` where the person does without.
fn ask_stick(context: &Context) -> Result<Option<Place>, CliError> {
    loop {
        let mounts = Host::system()
            .removable_mounts()
            .map_err(|error| CliError::could_not("cannot list the removable drives").because(&error))?;
        let mut folders: Vec<PathBuf> = mounts
            .into_iter()
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.mount_point)
            .collect();
        folders.sort();
        folders.dedup();
        match folders.as_slice() {
            [] => {
                context.ui.say("There is no USB flash drive to write to.");
                let answer = context
                    .ui
                    .ask_line("Plug one in, wait until it is mounted, and press Enter; or type `no`: ")?;
                if matches!(answer.trim().to_lowercase().as_str(), "n" | "no") {
                    return Ok(None);
                }
            }
            [_] => return Ok(Some(Place::Usb(None))),
            several => {
                let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
                let index = context.ui.choose("Which USB flash drive?", &names)?;
                return Ok(several.get(index).cloned().map(|path| Place::Usb(Some(path))));
            }
        }
    }
}

/// Asks for a path until it can be saved to; no answer means the one that is offered.
fn ask_path(
    context: &Context,
    question: &str,
    offered: Option<&Path>,
    place: fn(PathBuf) -> Place,
    check: &mut dyn FnMut(&Place) -> Result<(), CliError>,
) -> Result<Place, CliError> {
    let question = match offered {
        Some(path) => format!("{question} (Enter: {}): ", path.display()),
        None => format!("{question}: "),
    };
    loop {
        let answer = context.ui.ask_line(&question)?;
        let answer = answer.trim();
        let path = match (answer, offered) {
            ("", None) => continue,
            ("", Some(offered)) => offered.to_owned(),
            _ => expand(answer),
        };
        let folder = folder_for(&path);
        let place = place(path.clone());
        // A name without an extension is a folder that is misspelt, rather than the name of a new file.
        let is_misspelt = !matches!(place, Place::Vault(_)) && path.extension().is_none() && !path.exists();
        if is_misspelt || !folder.is_dir() {
            let missing = if is_misspelt { &path } else { &folder };
            context
                .ui
                .say(&format!("  there is no folder `{}`", missing.display()));
            continue;
        }
        match check(&place) {
            Ok(()) => return Ok(place),
            Err(error) => {
                context.ui.say(&format!("  {}", error.message()));
                context.ui.say("  choose another place");
            }
        }
    }
}

/// Reads `~/…` as a shell would.
fn expand(answer: &str) -> PathBuf {
    match (answer.strip_prefix('~'), home_folder()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(answer),
    }
}

fn home_folder() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_dir())
}
