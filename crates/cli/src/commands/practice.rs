//! `keyhaven practice`: the bad day, rehearsed on a drive that may be lost.

mod fat16;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use jiff::{Timestamp, Zoned};
use keyhaven_attach::files;
use keyhaven_backup::destination::{
    Destination, FileDestination, PdfDestination, SaveContext, save_and_prove,
};
use keyhaven_backup::found::{FoundContent, FoundKey};
use keyhaven_backup::paper::Paper;
use keyhaven_backup::reading::NoSecrets;
use keyhaven_backup::search::{self, Event};
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_crypto::{SecretText, SectorSize};
use keyhaven_disk::{Writable, WritableDevice};
use keyhaven_fve::create::{CreateError, NewProtector, NewVolume, Placement};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, Volume, unwatched};
use serde::Serialize;
use tempfile::TempDir;

use super::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::randomness;

pub(super) const VERB: Verb = Verb::of::<Practice>();

const DRIVE: &str = "practice-drive.img";
const SAFE_PLACE: &str = "safe-place";
const PAGE: &str = "page.pdf";
const LETTER: &str = "letter.txt";

const DRIVE_LEN: usize = 16 << 20;
/// Where the file system leaves room, in front of its structures.
const GAP: std::ops::Range<usize> = 512 << 10..1 << 20;
/// What people try first.
const GUESS: &str = "Password1!";

const LETTER_TEXT: &str = "\
Dear you,

if you can read this, the way back into an encrypted drive has worked: with nothing
but a saved recovery key, and without the password.

Now do it for the drives that matter: `keyhaven drives` lists those of this computer,
and `keyhaven backup DRIVE` saves the key of one and proves every copy.
";

/// Rehearse getting back into a drive whose password is lost
///
/// It makes a small encrypted drive in a file, with a letter in it, saves its recovery key as a text file and as a page
/// to print, forgets the password, looks for the key and reads the letter with it. Each step says what it does, and how
/// to do the same for a drive of your own. It needs no BitLocker drive, no rights and no other program, and touches
/// nothing of yours.
#[derive(Parser)]
#[command(name = "practice")]
struct Practice {
    /// A new or empty folder to practise in, which is kept; without it everything is cleared away in the end
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    /// `null` if it was cleared away.
    folder: Option<String>,
    volume_id: String,
    key_id: String,
    /// Where the key was saved and proven.
    saved: Vec<String>,
    /// Where it was found.
    found: Vec<String>,
    /// Whether the letter is what was put into the drive.
    recovered: bool,
}

impl Run for Practice {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let folder = Folder::new(self.dir.as_deref())?;
        let outcome = rehearse(&folder, context);
        if outcome.is_err() && !folder.is_temporary() {
            context
                .ui
                .say(&format!("what was made so far is in `{}`", folder.path.display()));
        }
        let answer = outcome?;
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        }
        Ok(Exit::Done)
    }
}

/// Where the rehearsal takes place.
struct Folder {
    path: PathBuf,
    /// Takes the folder with it when it is dropped.
    temporary: Option<TempDir>,
}

impl Folder {
    fn new(wanted: Option<&Path>) -> Result<Self, CliError> {
        let Some(wanted) = wanted else {
            let temporary = tempfile::Builder::new()
                .prefix("keyhaven-practice-")
                .tempdir()
                .map_err(|error| {
                    CliError::could_not("cannot make a folder to practise in")
                        .because(&error)
                        .hint("name one: `keyhaven practice DIR`")
                })?;
            return Ok(Self {
                path: temporary.path().to_owned(),
                temporary: Some(temporary),
            });
        };
        let cannot = |error: &std::io::Error| {
            CliError::could_not(format!("cannot practise in `{}`", wanted.display())).because(error)
        };
        match fs::read_dir(wanted).map(Iterator::count) {
            Ok(0) => {}
            Ok(_) => {
                return Err(CliError::could_not(format!(
                    "`{}` is not empty, and nothing is put beside what you have",
                    wanted.display()
                ))
                .hint("name a new folder, or none"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir(wanted).map_err(|error| cannot(&error))?;
            }
            Err(error) => return Err(cannot(&error)),
        }
        Ok(Self {
            path: wanted.to_owned(),
            temporary: None,
        })
    }

    fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

fn rehearse(folder: &Folder, context: &Context) -> Result<Answer, CliError> {
    let ui = &context.ui;
    let (drive, safe_place) = (folder.path.join(DRIVE), folder.path.join(SAFE_PLACE));
    fs::create_dir(&safe_place)
        .map_err(|error| CliError::could_not("cannot make a folder for the key").because(&error))?;
    ui.say(&format!(
        "This is a rehearsal, in `{}`. Nothing of yours is touched.",
        folder.path.display()
    ));

    ui.say(&format!(
        "\n1. A drive. `{DRIVE}` is made, a drive in a file, encrypted as Windows does it. A password\n   opens it. In it is a letter."
    ));
    let password = make_drive(&drive)?;
    context.interrupt.check()?;

    ui.say(
        "\n2. The backup. The password opens the drive once more, its recovery key (48 digits) is read\n   out of it, \
         and saved as a text file and as a page to print. Each copy is read back and tried.\n   For a drive of yours: \
         keyhaven backup DRIVE --to file:FOLDER --to pdf:PAGE.pdf",
    );
    let volume = open(&drive)?;
    let (saved, key_id) = back_up(&volume, password, &safe_place, context)?;
    context.interrupt.check()?;

    ui.say(&format!(
        "\n3. The bad day. The password is gone: it was 20 characters that nobody wrote down. What people\n   try first, \
         `{GUESS}`, is tried ..."
    ));
    let guess = Credential::Password(Password::new(SecretText::copy_of(GUESS)));
    if volume.prove(&guess).is_ok() {
        return Err(CliError::could_not(
            "a wrong password opened the drive: this is a bug",
        ));
    }
    ui.say("   ... and does not open it. Without the backup the letter would be lost for good.");
    context.interrupt.check()?;

    ui.say(
        "\n4. The search. Every file in the safe place is looked into, and every key in them tried.\n   For a drive of \
         yours: keyhaven find DRIVE FOLDER",
    );
    let (places, credential) = find_key(&volume, &safe_place)?;
    for place in &places {
        ui.say(&format!("   opens the drive: {}", place.display()));
    }
    context.interrupt.check()?;

    // Where nothing can be mounted, an image of the whole drive has the files.
    let for_yours = if cfg!(target_os = "linux") {
        "keyhaven unlock DRIVE FOLDER --recovery-key file:KEY.TXT"
    } else {
        "keyhaven export DRIVE IMAGE --recovery-key file:KEY.TXT"
    };
    ui.say(&format!(
        "\n5. The way back. The key opens the drive, and the letter is read.\n   For a drive of yours: {for_yours}"
    ));
    let letter = read_letter(&volume, &credential)?;
    if letter != LETTER_TEXT.as_bytes() {
        return Err(CliError::could_not(
            "the letter is not what was put into the drive: this is a bug",
        ));
    }
    ui.say("   it is the same, to the last letter:\n");
    for line in LETTER_TEXT.lines() {
        ui.say(&format!("   | {line}"));
    }
    end(folder, &letter, context)?;
    Ok(Answer {
        folder: (!folder.is_temporary()).then(|| folder.path.display().to_string()),
        volume_id: volume.metadata().volume_id().to_string(),
        key_id,
        saved,
        found: places.iter().map(|place| place.display().to_string()).collect(),
        recovered: true,
    })
}

/// Makes the drive with its letter; returns its password.
fn make_drive(path: &Path) -> Result<Password, CliError> {
    let cannot =
        |error: &dyn std::error::Error| CliError::could_not("cannot make the practice drive").because(error);
    let front = GAP.start as u64..GAP.end as u64;
    let (placement, end) = Placement::outside(DRIVE_LEN as u64, SectorSize::B512, 4096, front)
        .map_err(|error| cannot(&error))?;
    let today = Zoned::now();
    let content = fat16::Content {
        label: b"PRACTICE   ",
        name: b"LETTER  TXT",
        bytes: LETTER_TEXT.as_bytes(),
        date: (
            today.year().unsigned_abs(),
            today.month().unsigned_abs().into(),
            today.day().unsigned_abs().into(),
        ),
    };
    let image = usize::try_from(end)
        .ok()
        .and_then(|end| fat16::image(end, GAP.end, &content))
        .ok_or_else(|| CliError::could_not("the practice drive has no room for its letter: this is a bug"))?;

    let random = &mut randomness::of_the_system;
    let password = draw_password().map_err(|error| cannot(&error))?;
    let mut new = NewVolume::new(
        DRIVE_LEN as u64,
        EncryptionMethod::AesXts128,
        FileTime::from_timestamp(Timestamp::now()),
    );
    new.description = format!("KEYHAVEN Practice {}", today.strftime("%-m/%-d/%Y"));
    let recovery_key = RecoveryPassword::generate(random).map_err(|error| cannot(&error))?;
    new.protectors = vec![
        NewProtector::Password(Password::new(SecretText::copy_of(password.expose_secret()))),
        NewProtector::RecoveryPassword(recovery_key),
    ];
    let prepared = new
        .prepare_at(placement, random)
        .map_err(|error| cannot(&error))?;
    // Closed at once: where files are shared by agreement, one that is open could not be taken for this program alone.
    fs::File::create_new(path)
        .and_then(|file| file.set_len(DRIVE_LEN as u64))
        .map_err(|error| cannot(&error))?;
    let medium: Writable = keyhaven_disk::open_writable(path).map_err(|error| cannot(&error))?;
    prepared
        .write_with(&medium, |inside| {
            Ok::<(), CreateError>(inside.write_at(0, &image)?)
        })
        .map_err(|error| cannot(&error))?;
    Ok(Password::new(password))
}

/// Draws a password that nobody could guess or has seen.
fn draw_password() -> std::io::Result<SecretText> {
    const SIGNS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut numbers = [0; 20];
    randomness::of_the_system(&mut numbers)?;
    // The number of signs divides that of bytes: all are equally likely.
    let signs = numbers.map(|number| char::from(SIGNS[usize::from(number) % SIGNS.len()]));
    Ok(SecretText::from(signs.iter().collect::<String>()))
}

fn open(drive: &Path) -> Result<Volume, CliError> {
    let cannot =
        |error: &dyn std::error::Error| CliError::could_not("cannot open the practice drive").because(error);
    let device = keyhaven_disk::open(drive).map_err(|error| cannot(&error))?;
    Volume::open(device, &OpenOptions::default(), &mut unwatched).map_err(|error| cannot(&error))
}

/// Saves the recovery key to the safe place as `backup` does, but for the list of saved keys: this one is for nothing.
fn back_up(
    volume: &Volume,
    password: Password,
    safe_place: &Path,
    context: &Context,
) -> Result<(Vec<String>, String), CliError> {
    let cannot =
        |error: &dyn std::error::Error| CliError::could_not("the key could not be saved").because(error);
    let unlocked = volume
        .unlock(&Credential::Password(password))
        .map_err(|error| cannot(&error))?;
    let records = volume.records(&unlocked);
    drop(unlocked);
    let now = Timestamp::now();
    let save = SaveContext {
        drive: DRIVE.to_owned(),
        saved_on: now.strftime("%-d %B %Y").to_string(),
        saved_at: FileTime::from_timestamp(now),
    };
    let places: [Box<dyn Destination>; 2] = [
        Box::new(FileDestination::new(safe_place.to_owned())),
        Box::new(PdfDestination::new(safe_place.join(PAGE), Paper::A4)),
    ];
    let (mut saved, mut key_id) = (Vec::new(), String::new());
    for place in places {
        for copy in save_and_prove(&*place, &records, volume, &save).map_err(|error| cannot(&error))? {
            if let Some(problem) = &copy.problem {
                return Err(CliError::no(format!("a copy could not be proven: {problem}")));
            }
            let path = copy.saved.path.unwrap_or_default().display().to_string();
            context.ui.say(&format!("   saved and proven: {path}"));
            saved.push(path);
            key_id = copy.saved.protector_id.key_id();
        }
    }
    Ok((saved, key_id))
}

/// Looks into everything in a folder for keys that open the volume; returns the files, and the key of the first.
fn find_key(volume: &Volume, folder: &Path) -> Result<(Vec<PathBuf>, Credential), CliError> {
    let (mut places, mut credential) = (Vec::new(), None);
    let _ = search::look(folder, &mut NoSecrets, &mut |file, event| {
        let Event::Read(keys) = event else {
            return ControlFlow::Continue(());
        };
        let opens = |key: &FoundKey| matches!(judge(volume, key, Effort::Everything), Verdict::Opens { .. });
        if let Some(FoundContent::Key(key)) = keys.into_iter().find(opens).map(|key| key.content) {
            places.push(file.to_owned());
            credential.get_or_insert(key);
        }
        ControlFlow::Continue(())
    });
    match credential {
        Some(credential) => Ok((places, credential)),
        None => Err(CliError::no("the saved key was not found again: this is a bug")),
    }
}

fn read_letter(volume: &Volume, credential: &Credential) -> Result<Vec<u8>, CliError> {
    let cannot =
        |error: &dyn std::error::Error| CliError::could_not("the letter cannot be read").because(error);
    let unlocked = volume.unlock(credential).map_err(|error| cannot(&error))?;
    let content = volume.data(unlocked).map_err(|error| cannot(&error))?;
    let tree = files::open(Arc::new(content)).map_err(|error| cannot(&error))?;
    let node = tree
        .lookup(tree.root(), LETTER)
        .map_err(|error| cannot(&error))?
        .ok_or_else(|| CliError::could_not("there is no letter in the drive: this is a bug"))?;
    let mut letter = vec![0; 2 * LETTER_TEXT.len()];
    let len = tree.read(node, 0, &mut letter).map_err(|error| cannot(&error))?;
    letter.truncate(len);
    Ok(letter)
}

/// Says what is left, or that nothing is.
fn end(folder: &Folder, letter: &[u8], context: &Context) -> Result<(), CliError> {
    if folder.is_temporary() {
        context
            .ui
            .say("\nThat was all. The practice drive and its key are cleared away.");
        return Ok(());
    }
    let path = folder.path.join(LETTER);
    fs::write(&path, letter)
        .map_err(|error| CliError::could_not(format!("cannot write `{}`", path.display())).because(&error))?;
    let (drive, safe_place) = (folder.path.join(DRIVE), folder.path.join(SAFE_PLACE));
    context.ui.say(&format!(
        "\nThat was all. The drive, its key and the letter stay in `{}`, to play with:\n   keyhaven info '{}'\n   \
         keyhaven verify '{}' '{}'\nDelete the folder when you are done.",
        folder.path.display(),
        drive.display(),
        drive.display(),
        safe_place.display()
    ));
    Ok(())
}
