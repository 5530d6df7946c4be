//! Where a recovery key is saved and proven, as several verbs have it among their arguments.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keyhaven_backup::destination::{
    Destination, FileDestination, PdfDestination, PrintDestination, ProvenCopy, SaveContext, SaveError,
    UsbDestination, VaultDestination, folder_for, save_and_prove,
};
use keyhaven_backup::drive::Drive;
use keyhaven_backup::ledger::time_text;
use keyhaven_backup::paper::Paper;
use keyhaven_backup::place::{self, Place, WindowsPlace};
use keyhaven_backup::policy;
use keyhaven_backup::receipt::{ProvenBy, Receipt};
use keyhaven_backup::text::{self, RenderContext, Style};
use keyhaven_backup::vault::Encoding;
use keyhaven_disk::os::Host;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{OpenOptions, RecordKey, RecoveryRecord, Volume, unwatched};
use keyhaven_windows::EncryptableVolume;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::ledger_file;
use crate::vault_args::VaultArgs;
use crate::windows;

/// The arguments by which a verb takes the places where keys are to be saved.
#[derive(Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    /// Save there; may be given several times
    #[arg(long = "to", value_name = "PLACE")]
    pub(crate) places: Vec<String>,

    /// Save to places that Windows refuses, too: an encrypted drive, the top folder of a built-in one
    #[arg(long)]
    force_place: bool,

    /// The paper of pages
    #[arg(long, value_name = "SIZE", value_parser = ["a4", "letter"], default_value = "a4")]
    paper: String,

    /// Close vaults to this public key (age1...); may be given several times
    #[arg(long, value_name = "AGE-KEY", help_heading = "Vaults")]
    recipient: Vec<String>,

    #[command(flatten)]
    vault: VaultArgs,
}

/// What is saved, and what proves it.
pub(crate) struct Deposit<'a> {
    /// What the person calls the drive.
    pub(crate) drive_name: &'a str,
    /// The drive on which every copy is tried.
    pub(crate) volume: &'a dyn Drive,
    /// The keys.
    pub(crate) records: &'a [RecoveryRecord],
    /// Whether startup keys go to removable drives, too.
    pub(crate) with_startup_keys: bool,
}

/// What is to be known besides of a drive that Windows has unlocked.
#[derive(Clone, Copy)]
pub(crate) struct OnWindows<'a> {
    /// The drive, to have Windows back it up itself.
    pub(crate) volume: &'a EncryptableVolume<'a>,
    /// Whether copies are tried on the drive, or held against what Windows says.
    pub(crate) proven_by: ProvenBy,
}

/// What came of saving.
#[derive(Debug)]
pub(crate) struct Deposited {
    /// A line for each copy.
    pub(crate) receipts: Vec<Receipt>,
    /// Places where nothing could be saved.
    pub(crate) failures: Vec<Failure>,
    /// Only with the place `stdout`, whose purpose it is, and `--json`.
    pub(crate) recovery_keys: Vec<PrintedKey>,
    /// Whether all copies open the drive.
    all_proven: bool,
    /// Whether Windows was asked to save it, too.
    asked_windows: bool,
}

impl Deposited {
    /// Nothing was to be saved yet.
    pub(crate) fn nothing() -> Self {
        Self {
            receipts: Vec::new(),
            failures: Vec::new(),
            recovery_keys: Vec::new(),
            all_proven: true,
            asked_windows: false,
        }
    }

    /// Returns the exit code that says it.
    ///
    /// What Windows saves itself proves nothing: it does not count among the copies, but there has to be another.
    pub(crate) fn exit(&self) -> Exit {
        let has_proven = self.receipts.iter().any(|receipt| receipt.proven);
        match (self.failures.is_empty(), self.all_proven) {
            (false, _) => Exit::CouldNot,
            (true, false) => Exit::No,
            (true, true) if self.asked_windows && !has_proven => Exit::No,
            (true, true) => Exit::Done,
        }
    }

    /// Says that every copy is good, where that is so.
    pub(crate) fn say_proven(&self, context: &Context) {
        if self.exit() == Exit::Done {
            say_proven(&self.receipts, context);
        }
    }

    /// Adds a copy that was made in another way.
    pub(crate) fn add(&mut self, receipt: Receipt, context: &Context) {
        self.all_proven &= receipt.proven;
        tell(&receipt, context);
        self.receipts.push(receipt);
    }

    /// Goes on only if every copy is there and opens the drive; `message` says what was not done because of that.
    pub(crate) fn or_refuse(self, message: &str, context: &Context) -> Result<Self, CliError> {
        let refused = match self.exit() {
            Exit::Done => return Ok(self),
            Exit::No => CliError::no(message),
            _ => CliError::could_not(message),
        };
        // In a text they were told one by one.
        if !context.ui.is_json() {
            return Err(refused);
        }
        let reason = |failure: &Failure| format!("{}: {}", failure.place, failure.reason);
        Err(self.failures.iter().map(reason).fold(refused, CliError::hint))
    }
}

/// A place where nothing could be saved.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    place: String,
    reason: String,
    /// What can be done about it.
    hints: Vec<String>,
}

impl Failure {
    /// Makes one of an error, and says it.
    fn of(place: String, error: &CliError, context: &Context) -> Self {
        let reason = error.message().to_owned();
        let hints = error.hints().to_vec();
        if !context.ui.is_json() {
            let named = CliError::could_not(format!("{place}: {reason}"));
            let named = hints.iter().fold(named, |error, hint| error.hint(hint.as_str()));
            context.ui.error(&named);
        }
        Self { place, reason, hints }
    }
}

/// A key that is output.
#[derive(Serialize)]
pub(crate) struct PrintedKey {
    protector_id: String,
    recovery_key: String,
}

impl std::fmt::Debug for PrintedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrintedKey({})", self.protector_id)
    }
}

impl PlaceArgs {
    /// Reads the places, so that wrong ones are told before anybody types a key.
    pub(crate) fn parse(&self) -> Result<Vec<Place>, CliError> {
        self.places.iter().map(|text| parse(text)).collect()
    }

    /// Refuses places where Windows alone saves: what it saves can be read back by nobody, so it proves nothing.
    pub(crate) fn refuse_unprovable(&self, places: &[Place]) -> Result<(), CliError> {
        if places.is_empty() || places.iter().any(|place| !matches!(place, Place::Windows(_))) {
            return Ok(());
        }
        Err(CliError::could_not(
            "what Windows saves itself cannot be read back here, so it is no proof that the new key is safe",
        )
        .hint("add a place that can be read back, such as `--to file:PATH` or `--to usb`"))
    }

    /// Saves the keys to every place, reads each copy back, tries it, and says what came of it.
    pub(crate) fn save(
        &self,
        deposit: &Deposit<'_>,
        places: &[Place],
        context: &Context,
    ) -> Result<Deposited, CliError> {
        let deposited = self.save_of(deposit, None, places, context)?;
        deposited.say_proven(context);
        Ok(deposited)
    }

    /// Does the same with the keys of a drive that Windows has unlocked, but for the last word on all copies.
    pub(crate) fn save_on_windows(
        &self,
        deposit: &Deposit<'_>,
        windows: OnWindows<'_>,
        places: &[Place],
        context: &Context,
    ) -> Result<Deposited, CliError> {
        self.save_of(deposit, Some(windows), places, context)
    }

    fn save_of(
        &self,
        deposit: &Deposit<'_>,
        windows: Option<OnWindows<'_>>,
        places: &[Place],
        context: &Context,
    ) -> Result<Deposited, CliError> {
        let proven_by = windows.map_or(ProvenBy::Drive, |windows| windows.proven_by);
        let now = Timestamp::now();
        let save = SaveContext {
            drive: drive_label(deposit),
            saved_on: now.strftime("%-d %B %Y").to_string(),
            saved_at: FileTime::from_timestamp(now),
        };
        let (volume, records) = (deposit.volume, deposit.records);
        let mut answer = Deposited::nothing();
        for place in places {
            context.interrupt.check()?;
            if *place == Place::Stdout {
                answer.all_proven &= self.print(deposit, &save, proven_by, &mut answer, context)?;
                continue;
            }
            let name = name_of(place);
            context.ui.detail(&format!("saving to {name}"));
            if let Place::Windows(which) = place {
                let asked = ask_windows(*which, records, windows, now);
                note_windows(&name, asked, deposit, now, &mut answer, context);
                continue;
            }
            let destination = self.destination(place, deposit.with_startup_keys, context);
            let saved = destination.and_then(|destination| {
                save_and_prove(&*destination, records, volume, &save)
                    .map_err(|error| not_saved(&error, place))
            });
            match saved {
                Ok(copies) => {
                    answer.all_proven &= copies.iter().all(ProvenCopy::is_proven);
                    note(&copies, deposit, now, context);
                    for copy in copies {
                        let receipt = receipt(copy, proven_by, now);
                        tell(&receipt, context);
                        answer.receipts.push(receipt);
                    }
                }
                Err(error) if error.exit() == Exit::Stopped => return Err(error),
                Err(error) => answer.failures.push(Failure::of(name, &error, context)),
            }
        }
        Ok(answer)
    }

    /// Prints the keys themselves: the one place where they are output. Returns whether all of them open the drive.
    fn print(
        &self,
        deposit: &Deposit<'_>,
        save: &SaveContext,
        proven_by: ProvenBy,
        answer: &mut Deposited,
        context: &Context,
    ) -> Result<bool, CliError> {
        let render = RenderContext {
            drive: save.drive.clone(),
            saved_on: save.saved_on.clone(),
        };
        let (mut is_first, mut all_proven) = (true, true);
        for record in deposit.records {
            let RecordKey::RecoveryPassword(key) = &record.key else {
                continue;
            };
            let credential = keyhaven_fve::Credential::RecoveryPassword(
                keyhaven_fve::keys::RecoveryPassword::parse(key.to_digits().expose_secret()).map_err(
                    |error| CliError::could_not("the drive's recovery key is damaged").because(&error),
                )?,
            );
            let proven = deposit
                .volume
                .try_key(&credential, Some(record.protector_id))
                .is_ok();
            if !proven {
                all_proven = false;
                context.ui.warn(&format!(
                    "the recovery key with the key ID {} was read out of the drive, but does not open it: the drive's \
                     metadata are damaged",
                    record.protector_id.key_id()
                ));
            }
            answer.receipts.push(Receipt {
                place: "stdout".to_owned(),
                path: None,
                protector_id: record.protector_id,
                saved_at: Timestamp::now(),
                proven,
                proven_by: proven.then_some(proven_by),
                already_saved: false,
                note: None,
            });
            if context.ui.is_json() {
                answer.recovery_keys.push(PrintedKey {
                    protector_id: record.protector_id.to_string(),
                    recovery_key: key.to_digits().expose_secret().to_owned(),
                });
            } else if let Some(text) = text::render(record, &render, Style::Plain) {
                if !is_first {
                    context.ui.raw(b"\n")?;
                }
                context.ui.raw(text.expose_secret())?;
                is_first = false;
            }
        }
        Ok(all_proven)
    }

    fn destination(
        &self,
        place: &Place,
        with_startup_keys: bool,
        context: &Context,
    ) -> Result<Box<dyn Destination>, CliError> {
        let paper = if self.paper == "letter" {
            Paper::Letter
        } else {
            Paper::A4
        };
        Ok(match place {
            Place::File(path) => Box::new(FileDestination::new(path.clone())),
            Place::Pdf(path) => Box::new(PdfDestination::new(path.clone(), paper)),
            Place::Print(printer) => Box::new(PrintDestination::new(printer.clone(), paper)),
            Place::Usb(mount) => Box::new(
                UsbDestination::find(&Host::system(), mount.clone(), with_startup_keys)
                    .map_err(|error| {
                        CliError::could_not("cannot use a removable drive").because(&error).hint(
                            "plug it in and mount it (most desktops do when it is opened), then try again; for a folder on \
                             any drive: `--to file:PATH`",
                        )
                    })?,
            ),
            Place::Vault(path) => {
                let keys = self.vault.keys_to_seal(&self.recipient, context)?;
                let vault = VaultDestination::new(path.clone(), keys, Encoding::Binary);
                match self.vault.keys_to_prove(context)? {
                    Some(keys) => Box::new(vault.proven_with(keys)),
                    None => Box::new(vault),
                }
            }
            other => {
                return Err(CliError::could_not(format!(
                    "{other:?} is no place that can be written"
                )));
            }
        })
    }

    /// Refuses the places that Windows refuses.
    pub(crate) fn check(&self, place: &Place, drive: &Path, context: &Context) -> Result<(), CliError> {
        let folder = match place {
            Place::File(path) | Place::Pdf(path) | Place::Vault(path) => folder_for(path),
            _ => return Ok(()),
        };
        if policy::is_in_memory(&folder, &Host::system()) {
            context.ui.warn(&format!(
                "`{}` is in memory, and gone when the computer is switched off: copy the key from there",
                folder.display()
            ));
        }
        if self.force_place {
            return Ok(());
        }
        let is_bitlocker = |path: &Path| is_bitlocker(path) || windows::is_encrypted(path);
        policy::check(&folder, drive, &Host::system(), &is_bitlocker).map_err(|refusal| {
            CliError::could_not(refusal.to_string()).hint(
                "choose another folder, a removable drive or paper; `--force-place` saves there all the same",
            )
        })
    }
}

/// Says what was done to every one of these copies, if any is kept.
pub(crate) fn say_proven<'a>(receipts: impl IntoIterator<Item = &'a Receipt>, context: &Context) {
    let kept = receipts.into_iter().filter(|receipt| receipt.place != "stdout");
    let by: Vec<ProvenBy> = kept.filter_map(|receipt| receipt.proven_by).collect();
    if by.is_empty() || context.ui.is_json() {
        return;
    }
    context.ui.say(
        match (by.contains(&ProvenBy::Drive), by.contains(&ProvenBy::Windows)) {
            (true, true) => {
                "Every copy was read back, and opens its drive or has the key that Windows says opens it."
            }
            (false, true) => "Every copy was read back, and has the key that Windows says opens the drive.",
            _ => "Every copy was read back and opens the drive.",
        },
    );
}

/// Asks whether a device or file is a BitLocker volume; what cannot be read is taken not to be.
fn is_bitlocker(path: &Path) -> bool {
    let options = OpenOptions {
        scan: false,
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    keyhaven_disk::open(path).is_ok_and(|device| Volume::open(device, &options, &mut unwatched).is_ok())
}

/// Has Windows save the recovery keys itself; a receipt for each, none of them proven.
fn ask_windows(
    which: WindowsPlace,
    records: &[RecoveryRecord],
    windows: Option<OnWindows<'_>>,
    now: Timestamp,
) -> Result<Vec<Receipt>, CliError> {
    let Some(windows) = windows else {
        return Err(
            CliError::could_not("only the Windows that has unlocked a drive can save its key there")
                .hint("on that computer, name the drive by its letter: `keyhaven backup C:`"),
        );
    };
    let recovery_keys = records
        .iter()
        .filter(|record| matches!(record.key, RecordKey::RecoveryPassword(_)));
    recovery_keys
        .map(|record| {
            let note = windows::hand_over(windows.volume, which, record.protector_id)?;
            Ok(Receipt {
                place: name_of(&Place::Windows(which)),
                path: None,
                protector_id: record.protector_id,
                saved_at: time_text(now).parse().unwrap_or(now),
                proven: false,
                proven_by: None,
                already_saved: false,
                note: Some(note.to_owned()),
            })
        })
        .collect()
}

/// Notes and says what Windows made of it.
fn note_windows(
    name: &str,
    asked: Result<Vec<Receipt>, CliError>,
    deposit: &Deposit<'_>,
    now: Timestamp,
    answer: &mut Deposited,
    context: &Context,
) {
    match asked {
        Ok(receipts) => {
            let copy = |receipt: &Receipt| ledger_file::Copy {
                protector_id: receipt.protector_id,
                place: name,
                path: None,
                proven: false,
            };
            let copies: Vec<_> = receipts.iter().map(copy).collect();
            ledger_file::note(deposit.volume, deposit.drive_name, &copies, now, context);
            for receipt in receipts {
                tell(&receipt, context);
                answer.receipts.push(receipt);
            }
            answer.asked_windows = true;
        }
        Err(error) => answer
            .failures
            .push(Failure::of(name.to_owned(), &error, context)),
    }
}

fn note(copies: &[ProvenCopy], deposit: &Deposit<'_>, now: Timestamp, context: &Context) {
    let copies: Vec<_> = copies
        .iter()
        .map(|copy| ledger_file::Copy {
            protector_id: copy.saved.protector_id,
            place: &copy.place,
            path: copy.saved.path.as_deref(),
            proven: copy.is_proven() && copy.saved.path.is_some(),
        })
        .collect();
    ledger_file::note(deposit.volume, deposit.drive_name, &copies, now, context);
}

/// Returns what a copy calls the drive: what Windows called it, and what it is called here.
fn drive_label(deposit: &Deposit<'_>) -> String {
    let description = deposit
        .records
        .first()
        .and_then(|record| record.description.clone());
    description.unwrap_or_else(|| deposit.drive_name.to_owned())
}

fn parse(text: &str) -> Result<Place, CliError> {
    Place::parse(text).map_err(|error| {
        let refused = CliError::could_not(error.to_string());
        if Path::new(text).exists() || text.contains('/') {
            refused.hint(format!("for a file or folder: `--to file:{text}`"))
        } else {
            refused.hint(known_places())
        }
    })
}

/// Lists the forms of places.
pub(crate) fn known_places() -> String {
    let forms: Vec<&str> = place::ALL
        .iter()
        .map(|kind| kind.form)
        .filter(|form| windows::is_here() || !form.starts_with("windows:"))
        .collect();
    format!("`--to` with one of {}", forms.join(", "))
}

fn not_saved(error: &SaveError, place: &Place) -> CliError {
    let said = CliError::could_not("not saved").because(error);
    match place {
        Place::Print(_) => {
            said.hint("`--to pdf:PATH` makes the page, which any computer with a printer can print")
        }
        _ => said,
    }
}

fn name_of(place: &Place) -> String {
    let path = |kind: &str, path: &PathBuf| format!("{kind}:{}", path.display());
    match place {
        Place::File(file) => path("file", file),
        Place::Pdf(file) => path("pdf", file),
        Place::Vault(file) => path("vault", file),
        Place::Usb(None) => "usb".to_owned(),
        Place::Usb(Some(mount)) => path("usb", mount),
        Place::Print(None) => "print".to_owned(),
        Place::Print(Some(printer)) => format!("print:{printer}"),
        Place::Windows(which) => format!("windows:{}", which.name()),
        _ => "stdout".to_owned(),
    }
}

fn receipt(copy: ProvenCopy, proven_by: ProvenBy, now: Timestamp) -> Receipt {
    let proven = copy.is_proven();
    Receipt {
        place: copy.place,
        path: copy.saved.path.map(|path| path.display().to_string()),
        protector_id: copy.saved.protector_id,
        saved_at: time_text(now).parse().unwrap_or(now),
        proven,
        proven_by: proven.then_some(proven_by),
        already_saved: copy.saved.already_there,
        note: copy.problem.or(copy.saved.note),
    }
}

fn tell(receipt: &Receipt, context: &Context) {
    if context.ui.is_json() {
        return;
    }
    let key_id = receipt.protector_id.key_id();
    let place = receipt.path.as_ref().unwrap_or(&receipt.place);
    let by_windows = receipt.path.is_none() && receipt.place.starts_with("windows:");
    let done = match (receipt.proven, receipt.already_saved) {
        (true, true) => "already saved, proven",
        (true, false) => "saved and proven",
        (false, _) if by_windows => "handed to Windows, not proven",
        (false, _) => "SAVED, NOT PROVEN",
    };
    context.ui.say(&format!("{done}: key ID {key_id}, {place}"));
    if let Some(note) = &receipt.note {
        context.ui.say(&format!("  {note}"));
    }
}

/// Returns the places without repeats.
pub(crate) fn without_repeats(places: Vec<Place>) -> Vec<Place> {
    let mut seen = HashSet::new();
    places
        .into_iter()
        .filter(|place| seen.insert(name_of(place)))
        .collect()
}
