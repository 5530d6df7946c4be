//! The questions that `backup` asks at a terminal.

use std::ffi::OsString;
use std::path::PathBuf;

use keyhaven_backup::place::Place;
use keyhaven_disk::os::Host;
use keyhaven_fve::{OpenOptions, Volume};

use crate::context::Context;
use crate::drive::Drive;
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
                .hint("drives can only be read by root: put `sudo` before the command"),
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

/// Asks where to save, several places at once; a place that is refused is asked for again.
pub(super) fn choose_places(
    context: &Context,
    drive: &Drive,
    check: &mut dyn FnMut(&Place) -> Result<(), CliError>,
) -> Result<Vec<Place>, CliError> {
    context.ui.say(&format!(
        "{} is unlocked for this; nothing on it is changed.",
        drive.name
    ));
    let choices = [
        "save to a USB flash drive",
        "save to a file",
        "save a page to print (PDF)",
        "print the recovery key",
        "save to an encrypted vault",
        "show it here",
    ]
    .map(str::to_owned);
    let chosen = context
        .ui
        .choose_several("How do you want to back up your recovery key?", &choices)?;
    let mut places = Vec::new();
    for choice in chosen {
        let place = match choice {
            0 => Place::Usb(None),
            1 => ask_path(context, "Folder for the file: ", Place::File, check)?,
            2 => ask_path(
                context,
                "Folder for the page, or its file name: ",
                Place::Pdf,
                check,
            )?,
            3 => Place::Print(None),
            4 => ask_path(context, "File name of the vault: ", Place::Vault, check)?,
            _ => Place::Stdout,
        };
        places.push(place);
    }
    Ok(super::without_repeats(places))
}

fn ask_path(
    context: &Context,
    question: &str,
    place: fn(PathBuf) -> Place,
    check: &mut dyn FnMut(&Place) -> Result<(), CliError>,
) -> Result<Place, CliError> {
    loop {
        let answer = context.ui.ask_line(question)?;
        let answer = answer.trim();
        if answer.is_empty() {
            continue;
        }
        let path = match (answer.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(answer),
        };
        let place = place(path);
        match check(&place) {
            Ok(()) => return Ok(place),
            Err(error) => {
                context.ui.say(error.message());
                context.ui.say("Choose another place.");
            }
        }
    }
}
