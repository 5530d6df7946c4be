//! The options that open a drive, and what happens without any.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use keyhaven_backup::drive::Drive;
use keyhaven_crypto::{Secret, SecretBytes, SecretText};
use keyhaven_fve::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use keyhaven_fve::{Credential, Guid, KeyPackage, ProtectorKind, UnlockError, Unlocked, Volume};
use zeroize::Zeroizing;

use crate::advice;
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::key_source;
use crate::secret_source::{self, SecretSource};

/// How often a person may answer before a wrong secret is the answer.
const ATTEMPTS: u32 = 3;

/// One way to unlock a drive. Without any, a drive whose protection is suspended is opened as it is, and for others you
/// are asked.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct UnlockArgs {
    /// Unlock with the recovery key: from a SOURCE, or asked for
    ///
    /// `file:PATH` may be any file that has the key in it: the text file that Windows saves, a page, a photo of one.
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, visible_alias = "recovery-password", help_heading = "Unlocking")]
    recovery_key: Option<Option<OsString>>,

    /// Unlock with a password: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, help_heading = "Unlocking")]
    password: Option<Option<OsString>>,

    /// Unlock with a startup key file (.BEK)
    #[arg(long, value_name = "FILE", visible_alias = "bek", help_heading = "Unlocking")]
    startup_key: Option<PathBuf>,

    /// Unlock with the volume master key, 64 hexadecimal digits from a SOURCE
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, help_heading = "Unlocking")]
    vmk: Option<Option<OsString>>,

    /// Unlock with the full volume encryption key, hexadecimal digits from a SOURCE
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, help_heading = "Unlocking")]
    fvek: Option<Option<OsString>>,
}

/// The ways to unlock a drive, and a package of keys where its own are damaged.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    unlock: UnlockArgs,

    /// Take the drive's keys out of this key package, in any form, with the recovery key: its own may be damaged
    #[arg(long, value_name = "FILE", help_heading = "Unlocking")]
    key_package: Option<PathBuf>,
}

impl KeyArgs {
    /// Reads the key package that was given, if one was; of several in a file, that of `volume_id`.
    pub(crate) fn package(&self, volume_id: Option<Guid>) -> Result<Option<KeyPackage>, CliError> {
        let path = self.key_package.as_deref();
        path.map(|path| key_source::key_package(path, volume_id))
            .transpose()
    }

    /// Opens a volume, or says why not and what else there is.
    pub(crate) fn unlock(&self, volume: &Volume, context: &Context) -> Result<Unlocked, CliError> {
        let package = self.package(Some(volume.metadata().volume_id()))?;
        self.unlock.unlock_with(volume, package.as_ref(), context)
    }

    /// Tells whether the key of the sectors was given.
    pub(crate) fn has_sector_key(&self) -> bool {
        self.unlock.fvek.is_some()
    }

    /// Returns the key of the sectors, where that is what was given.
    pub(crate) fn sector_key(&self, context: &Context) -> Result<Option<SecretBytes>, CliError> {
        let source = self.unlock.fvek.as_ref();
        source
            .map(|source| hexadecimal(source, "the full volume encryption key", context))
            .transpose()
    }

    /// Tells whether a way to unlock was given.
    pub(crate) fn is_given(&self) -> bool {
        self.unlock.is_given()
    }

    /// Proves that what was given opens a volume, or a package of its keys; returns the protector that it opens.
    pub(crate) fn prove(&self, volume: &Volume, context: &Context) -> Result<Option<Guid>, CliError> {
        let package = self.package(Some(volume.metadata().volume_id()))?;
        self.unlock.prove_with(volume, package.as_ref(), context)
    }
}

impl UnlockArgs {
    /// Takes ways to unlock that a verb has among options of its own.
    pub(crate) fn of(
        password: Option<Option<OsString>>,
        recovery_key: Option<Option<OsString>>,
        startup_key: Option<PathBuf>,
    ) -> Self {
        Self {
            recovery_key,
            password,
            startup_key,
            vmk: None,
            fvek: None,
        }
    }

    /// Opens a volume, or says why not and what else there is.
    pub(crate) fn unlock(&self, volume: &Volume, context: &Context) -> Result<Unlocked, CliError> {
        self.unlock_with(volume, None, context)
    }

    /// Opens a volume by its own keys, or by those of a package.
    fn unlock_with(
        &self,
        volume: &Volume,
        package: Option<&KeyPackage>,
        context: &Context,
    ) -> Result<Unlocked, CliError> {
        if let Some(unlocked) = volume.unlock_decrypted() {
            context
                .ui
                .say("this drive is not encrypted: nothing has to be unlocked");
            return Ok(unlocked);
        }
        let suspended = volume.metadata().is_suspended();
        if suspended {
            context.ui.warn(advice::SUSPENDED);
        }
        let mut attempts_left = if self.is_asked_for(suspended) { ATTEMPTS } else { 1 };
        loop {
            let protectors = Drive::protectors(volume);
            let (credential, what) = match self.credential(&protectors, context)? {
                Some(given) => given,
                None if suspended => (Credential::ClearKey, "the open key"),
                None => ask(&protectors, context)?,
            };
            let error = match volume.unlock(&credential) {
                Ok(unlocked) => return Ok(unlocked),
                Err(error) => error,
            };
            // The package may be older than the drive's keys, or newer.
            if let Some(Ok(unlocked)) =
                package.map(|package| volume.unlock_with_package(package, &credential))
            {
                return Ok(unlocked);
            }
            self.give_up_or_say(&error, what, volume, &mut attempts_left, context)?;
        }
    }

    /// Tells whether a person is asked for the secret, and so can correct a slip.
    fn is_asked_for(&self, suspended: bool) -> bool {
        let options = [&self.recovery_key, &self.password, &self.vmk, &self.fvek];
        let asks = |option: &Option<Option<OsString>>| matches!(option, Some(None));
        options.into_iter().any(asks) || (!self.is_given() && !suspended)
    }

    /// Says that a secret was wrong, where it can be corrected; else returns it as the error that it is.
    fn give_up_or_say(
        &self,
        error: &UnlockError,
        what: &str,
        volume: &Volume,
        attempts_left: &mut u32,
        context: &Context,
    ) -> Result<(), CliError> {
        let said = advice::unlock_error(error, what, volume);
        *attempts_left = attempts_left.saturating_sub(1);
        if *attempts_left == 0 || !matches!(error, UnlockError::WrongKey { .. }) {
            return Err(said);
        }
        // The last of the hints lists the options of the command line, which nobody needs who is being asked.
        context.ui.say(&format!("\n{}.", sentence(said.message())));
        context.ui.say(match what {
            "the password" => {
                "Check Caps Lock and the keyboard layout. What you sign in to Windows with, a PIN\n\
                 or a password, is usually not the password of the drive. Try again.\n"
            }
            "the recovery key" => {
                "It is well formed, but for another drive: the key ID that was saved or printed\n\
                 with it must be the one above. Nothing is lost; try again.\n"
            }
            _ => "It is for another drive. Try again.\n",
        });
        Ok(())
    }

    /// Tells whether a way to unlock was given.
    pub(crate) fn is_given(&self) -> bool {
        self.recovery_key.is_some()
            || self.password.is_some()
            || self.startup_key.is_some()
            || self.vmk.is_some()
            || self.fvek.is_some()
    }

    /// Proves that what was given opens a volume, or a package of its keys; returns the protector that it opens.
    fn prove_with(
        &self,
        volume: &Volume,
        package: Option<&KeyPackage>,
        context: &Context,
    ) -> Result<Option<Guid>, CliError> {
        let mut attempts_left = if self.is_asked_for(true) { ATTEMPTS } else { 1 };
        loop {
            let Some((credential, what)) = self.credential(&Drive::protectors(volume), context)? else {
                return Ok(None);
            };
            let error = match volume.prove(&credential) {
                Ok(proof) => return Ok(proof.protector_id),
                Err(error) => error,
            };
            if let Some(package) = package
                && volume.unlock_with_package(package, &credential).is_ok()
            {
                return Ok(package.open(&credential).ok().and_then(|keys| keys.protector_id));
            }
            self.give_up_or_say(&error, what, volume, &mut attempts_left, context)?;
        }
    }

    /// Returns what the options give, or what the person answers, for a drive with these key protectors that another
    /// program unlocks; and its name for messages.
    pub(crate) fn credential_or_ask(
        &self,
        protectors: &[(Guid, ProtectorKind)],
        context: &Context,
    ) -> Result<(Credential, &'static str), CliError> {
        match self.credential(protectors, context)? {
            Some(given) => Ok(given),
            None => ask(protectors, context),
        }
    }

    /// Returns the credential that the options give, and its name for messages.
    fn credential(
        &self,
        protectors: &[(Guid, ProtectorKind)],
        context: &Context,
    ) -> Result<Option<(Credential, &'static str)>, CliError> {
        if let Some(source) = &self.recovery_key {
            let key = match source_of(source)? {
                Some(source) => key_source::recovery_key(&source, &recovery_keys_among(protectors), context)?,
                None => ask_recovery_key(protectors, context)?,
            };
            return Ok(Some((Credential::RecoveryPassword(key), "the recovery key")));
        }
        if let Some(source) = &self.password {
            let password = match source_of(source)? {
                Some(source) => source.read_line("the password", context)?,
                None => context.ui.ask_password("Password of the drive: ")?,
            };
            return Ok(Some((
                Credential::Password(Password::new(password)),
                "the password",
            )));
        }
        if let Some(path) = &self.startup_key {
            return Ok(Some((
                Credential::ExternalKey(key_source::startup_key(path)?),
                "the startup key",
            )));
        }
        if let Some(source) = &self.vmk {
            let bytes = hexadecimal(source, "the volume master key", context)?;
            let key = Secret::from_slice(bytes.expose_secret()).ok_or_else(|| {
                CliError::could_not(format!(
                    "a volume master key has 32 bytes (64 hexadecimal digits), not {}",
                    bytes.expose_secret().len()
                ))
                .hint("the key that the data are encrypted with is another one: `--fvek`")
            })?;
            let key = VolumeMasterKey::new(key);
            return Ok(Some((Credential::VolumeMasterKey(key), "the volume master key")));
        }
        if let Some(source) = &self.fvek {
            let bytes = hexadecimal(source, "the full volume encryption key", context)?;
            return Ok(Some((
                Credential::FullVolumeEncryptionKey(bytes),
                "the full volume encryption key",
            )));
        }
        Ok(None)
    }
}

/// Reads what follows an option: a SOURCE, or nothing.
fn source_of(value: &Option<OsString>) -> Result<Option<SecretSource>, CliError> {
    value.as_deref().map(secret_source::required).transpose()
}

fn recovery_keys_among(protectors: &[(Guid, ProtectorKind)]) -> Vec<Guid> {
    let with_digits = protectors
        .iter()
        .filter(|(_, kind)| *kind == ProtectorKind::RecoveryPassword);
    with_digits.map(|(id, _)| *id).collect()
}

fn ask_recovery_key(
    protectors: &[(Guid, ProtectorKind)],
    context: &Context,
) -> Result<RecoveryPassword, CliError> {
    let ids: Vec<String> = recovery_keys_among(protectors)
        .into_iter()
        .map(Guid::key_id)
        .collect();
    if !ids.is_empty() {
        context.ui.say(&format!(
            "The recovery key of this drive has the key ID {}.",
            ids.join(" or ")
        ));
    }
    context.ui.ask_recovery_key()
}

/// Lets the protectors on the drive decide what is asked.
fn ask(
    protectors: &[(Guid, ProtectorKind)],
    context: &Context,
) -> Result<(Credential, &'static str), CliError> {
    let options = advice::options_among(protectors);
    if options.is_empty() {
        let present: Vec<ProtectorKind> = protectors.iter().map(|(_, kind)| *kind).collect();
        return Err(CliError::no("the drive cannot be unlocked here").hint(advice::no_way_in(&present)));
    }
    if !context.ui.is_interactive() {
        return Err(
            CliError::could_not("the drive is locked and no way to unlock it was given")
                .hint(format!("this drive can be opened with {}", options.join(", "))),
        );
    }
    let kinds = [
        (ProtectorKind::Password, "With its password"),
        (
            ProtectorKind::RecoveryPassword,
            "With its recovery key, 48 digits",
        ),
        (ProtectorKind::StartupKey, "With a startup key file (.BEK)"),
    ];
    let present: Vec<_> = kinds
        .iter()
        .filter(|(kind, _)| protectors.iter().any(|(_, own)| own == kind))
        .collect();
    let choice = match present.as_slice() {
        [_] => 0,
        several => {
            let choices: Vec<String> = several.iter().map(|(_, name)| (*name).to_owned()).collect();
            context
                .ui
                .choose("How do you want to unlock the drive?", &choices)?
        }
    };
    match present.get(choice).map(|(kind, _)| *kind) {
        Some(ProtectorKind::RecoveryPassword) => Ok((
            Credential::RecoveryPassword(ask_recovery_key(protectors, context)?),
            "the recovery key",
        )),
        Some(ProtectorKind::StartupKey) => {
            let key = ask_startup_key(context)?;
            Ok((Credential::ExternalKey(key), "the startup key"))
        }
        _ => {
            let password = context.ui.ask_password("Password of the drive: ")?;
            Ok((Credential::Password(Password::new(password)), "the password"))
        }
    }
}

/// Asks for a startup key file until there is one.
fn ask_startup_key(context: &Context) -> Result<ExternalKey, CliError> {
    loop {
        let path = context.ui.ask_line("Startup key file (.BEK): ")?;
        match key_source::startup_key(path.trim().as_ref()) {
            Ok(key) => return Ok(key),
            Err(error) if error.exit() == Exit::Stopped => return Err(error),
            Err(error) => context.ui.say(&format!("{}.", sentence(error.message()))),
        }
    }
}

/// Makes a sentence of an error's message: people who are asked are talked to.
fn sentence(message: &str) -> String {
    let mut signs = message.chars();
    match signs.next() {
        Some(first) => first.to_uppercase().chain(signs).collect(),
        None => String::new(),
    }
}

/// Reads hexadecimal digits, with or without blanks and colons between them.
fn hexadecimal(
    source: &Option<OsString>,
    what: &'static str,
    context: &Context,
) -> Result<SecretBytes, CliError> {
    let text: SecretText = match source_of(source)? {
        Some(source) => source.read_text(what, context)?,
        None => context
            .ui
            .ask_password(&format!("Hexadecimal digits of {what}: "))?,
    };
    let not_hex = || {
        CliError::could_not(format!("{what} is not a row of hexadecimal digits")).hint(
            "two of the digits 0 to 9 and a to f for each byte; blanks and colons between them do not matter",
        )
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    let mut high = None;
    for sign in text
        .expose_secret()
        .chars()
        .filter(|sign| !sign.is_whitespace() && *sign != ':')
    {
        let digit = u8::try_from(sign.to_digit(16).ok_or_else(not_hex)?).map_err(|_| not_hex())?;
        high = match high {
            None => Some(digit),
            Some(high) => {
                bytes.push(high << 4 | digit);
                None
            }
        };
        if bytes.len() > 1024 {
            return Err(not_hex());
        }
    }
    if high.is_some() || bytes.is_empty() {
        return Err(not_hex());
    }
    Ok(SecretBytes::copy_of(&bytes))
}
