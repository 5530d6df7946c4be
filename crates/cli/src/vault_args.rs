//! What opens and closes vaults.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use keyhaven_backup::reading::Secrets;
use keyhaven_backup::vault::{DEFAULT_WORK_FACTOR, Identity, Recipient, VaultKeys};
use keyhaven_crypto::SecretText;

use crate::context::Context;
use crate::error::CliError;
use crate::secret_source::{self, SecretSource};

/// How often a wrong passphrase may be corrected.
const ATTEMPTS: u32 = 3;

/// The options for vaults.
#[derive(Args, Debug, Default)]
pub(crate) struct VaultArgs {
    /// The passphrase of vaults: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, help_heading = "Vaults")]
    passphrase: Option<Option<OsString>>,

    /// Open vaults with the secret key in this file (an age identity)
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Vaults",
        conflicts_with = "passphrase"
    )]
    identity: Option<PathBuf>,
}

impl VaultArgs {
    /// Reads what the options give; a passphrase that is to be asked for is asked for when a vault is met.
    pub(crate) fn secrets<'a>(&self, context: &'a Context) -> Result<AskVault<'a>, CliError> {
        let mut ask = AskVault::asking(context);
        if let Some(path) = &self.identity {
            let text = SecretSource::File(path.clone()).read_text("the identity", context)?;
            // Parsed anew for each vault, since nothing secret is copied.
            Identity::parse_file(&text)
                .map_err(|error| CliError::could_not("cannot use the identity").because(&error))?;
            ask.identity = Some(text);
        }
        if let Some(Some(source)) = &self.passphrase {
            ask.passphrase = Some(secret_source::required(source)?.read_line("the passphrase", context)?);
        }
        Ok(ask)
    }

    /// Returns what proves a vault that is closed to public keys: the secret key that belongs to one of them.
    pub(crate) fn keys_to_prove(&self, context: &Context) -> Result<Option<VaultKeys>, CliError> {
        let Some(path) = &self.identity else {
            return Ok(None);
        };
        let text = SecretSource::File(path.clone()).read_text("the identity", context)?;
        Identity::parse_file(&text)
            .map(|identities| Some(VaultKeys::Identities(identities)))
            .map_err(|error| CliError::could_not("cannot use the identity").because(&error))
    }

    /// Returns what a new vault is closed with: recipients, or a passphrase that is asked for twice.
    pub(crate) fn keys_to_seal(
        &self,
        recipients: &[String],
        context: &Context,
    ) -> Result<VaultKeys, CliError> {
        if !recipients.is_empty() {
            let parsed = recipients
                .iter()
                .map(|text| Recipient::parse(text))
                .collect::<Result<_, _>>();
            return parsed
                .map(VaultKeys::Recipients)
                .map_err(|error| CliError::could_not("cannot use the recipient").because(&error));
        }
        if let Some(keys) = self.keys_to_prove(context)? {
            return Ok(keys);
        }
        let passphrase = match &self.passphrase {
            Some(Some(source)) => secret_source::required(source)?.read_line("the passphrase", context)?,
            _ => new_passphrase(context)?,
        };
        if passphrase.expose_secret().is_empty() {
            return Err(CliError::could_not("the passphrase is empty"));
        }
        Ok(VaultKeys::Passphrase {
            passphrase,
            work_factor: DEFAULT_WORK_FACTOR,
        })
    }
}

fn new_passphrase(context: &Context) -> Result<SecretText, CliError> {
    if !context.ui.is_interactive() {
        return Err(CliError::could_not("a vault needs something to close it with")
            .hint("`--passphrase SOURCE`, or `--recipient age1...` for a public key"));
    }
    context
        .ui
        .say("Without its passphrase nobody can open the encrypted file, not even you.");
    loop {
        let first = context.ui.ask_password("New passphrase for it: ")?;
        if first.expose_secret().is_empty() {
            context.ui.say("An empty passphrase protects nothing.");
            continue;
        }
        let second = context.ui.ask_password("The same again: ")?;
        if first == second {
            return Ok(first);
        }
        context
            .ui
            .say("The two are not the same. Nothing is lost: type both again.");
    }
}

/// Opens vaults with what was given, else asks.
pub(crate) struct AskVault<'a> {
    context: &'a Context,
    passphrase: Option<SecretText>,
    identity: Option<SecretText>,
}

impl<'a> AskVault<'a> {
    /// Asks for each vault's passphrase at the terminal, if there is one.
    pub(crate) fn asking(context: &'a Context) -> Self {
        Self {
            context,
            passphrase: None,
            identity: None,
        }
    }
}

impl Secrets for AskVault<'_> {
    fn vault_keys(&mut self, attempt: u32) -> Option<VaultKeys> {
        let passphrase = |passphrase| VaultKeys::Passphrase {
            passphrase,
            work_factor: DEFAULT_WORK_FACTOR,
        };
        if let Some(text) = &self.identity {
            return (attempt == 0)
                .then(|| Identity::parse_file(text).ok().map(VaultKeys::Identities))
                .flatten();
        }
        if let Some(given) = &self.passphrase {
            return (attempt == 0).then(|| passphrase(SecretText::copy_of(given.expose_secret())));
        }
        if attempt >= ATTEMPTS || !self.context.ui.is_interactive() {
            return None;
        }
        self.context
            .ui
            .ask_password("Passphrase of the vault: ")
            .ok()
            .map(passphrase)
    }
}
