//! `keyhaven password repair`: finds a password that is nearly known.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Parser;
use keyhaven_backup::guess::{Candidates, Changed, Mask, MaskError, Words};
use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::Password;
use keyhaven_fve::{Credential, ProtectorKind};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::searching::{Search, SearchArgs, number};
use crate::secret_source::{self, SecretSource};

pub(super) const VERB: Verb = Verb::of::<Repair>();

/// Longer word lists are not read, in bytes.
const WORDS_LEN_MAX: u64 = 256 << 20;

const MASK_HELP: &str = "?l is a small letter, ?u a capital, ?d a digit, ?s a space or sign, ?a any of these, ?1 to ?4 one \
                         of your own sets, ?? a question mark; all else stands for itself";

/// Find a password that is nearly known
///
/// Tries what it may have been on the drive's own metadata, the likeliest first: the words of a list, each as it is and
/// then with what people change about passwords (capitals, digits behind, another keyboard layout); one password that was
/// nearly right, with every slip of a finger; or everything that fits a mask. Nothing is written to the drive.
///
/// The password is printed once it is found and proven. Exit codes: 0 found, 1 tried all and not found, 130 stopped; the
/// same command goes on where it was.
#[derive(Parser)]
#[command(name = "repair")]
struct Repair {
    #[command(flatten)]
    drive: DriveArgs,

    /// Try what you think that it is, and every slip of a finger in it: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, conflicts_with_all = ["words", "mask"])]
    password: Option<Option<OsString>>,

    /// Try the words of a file, one in a line; `-` for standard input; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "mask")]
    words: Vec<PathBuf>,

    /// What is changed about words: none, usual, or slips (for a few words only)
    #[arg(long, value_name = "WHICH", value_parser = ["none", "usual", "slips"])]
    changes: Option<String>,

    /// Try everything that fits a mask in hashcat's language, as in ?u?l?l?l?l?d?d
    ///
    /// ?l is a small letter, ?u a capital, ?d a digit, ?s a space or sign, ?a any of these, ?h and ?H a hexadecimal
    /// digit, ?1 to ?4 one of your own sets, ?? a question mark; all else stands for itself. A mask with parts of the
    /// password in it is given from a SOURCE: `-`, `file:PATH`, `fd:N` or `env:NAME`.
    #[arg(long, value_name = "MASK")]
    mask: Option<OsString>,

    /// The set ?1 of a mask: characters, and sets such as ?d
    #[arg(
        short = '1',
        value_name = "SET",
        requires = "mask",
        help_heading = "Sets of a mask"
    )]
    set1: Option<String>,

    /// The set ?2
    #[arg(
        short = '2',
        value_name = "SET",
        requires = "mask",
        help_heading = "Sets of a mask"
    )]
    set2: Option<String>,

    /// The set ?3
    #[arg(
        short = '3',
        value_name = "SET",
        requires = "mask",
        help_heading = "Sets of a mask"
    )]
    set3: Option<String>,

    /// The set ?4
    #[arg(
        short = '4',
        value_name = "SET",
        requires = "mask",
        help_heading = "Sets of a mask"
    )]
    set4: Option<String>,

    #[command(flatten)]
    search: SearchArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    found: bool,
    protector_id: Option<String>,
    /// To show it is the purpose of the verb.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    tried: u64,
    candidates: String,
    shard: String,
}

impl Run for Repair {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open(context)?;
        let protectors = self.search.protectors(&drive.volume, ProtectorKind::Password)?;
        if self.search.export(&protectors, context)?.is_some() {
            return Ok(Exit::Done);
        }
        if let Some(given) = &self.mask {
            let text = mask_text(given, context)?;
            let sets = self.sets();
            let mask = Mask::parse(text.expose_secret(), &sets).map_err(|error| mask_refusal(&error))?;
            let mut known: Vec<&[u8]> = vec![b"mask", text.expose_secret().as_bytes()];
            known.extend(sets.iter().map(|set| set.as_bytes()));
            return self.go(&drive, &mask, protectors, &known, context);
        }
        let (text, usual) = self.words_text(context)?;
        let changed = match self.changes.as_deref() {
            Some("none") => Changed::Not,
            Some("slips") => Changed::BySlips,
            Some(_) => Changed::Usually,
            None => usual,
        };
        let known = text.clone();
        let words = Words::new(text, changed);
        if words.is_empty() {
            return Err(CliError::could_not("there are no words to try")
                .hint("a word list has one word in each line"));
        }
        if words.len() > 1 {
            context
                .ui
                .say(&format!("{} different words", number(words.len() as u128)));
        }
        let changes = format!("{changed:?}");
        self.go(
            &drive,
            &words,
            protectors,
            &[b"words", known.as_bytes(), changes.as_bytes()],
            context,
        )
    }
}

impl Repair {
    fn sets(&self) -> Vec<Zeroizing<String>> {
        let all = [&self.set1, &self.set2, &self.set3, &self.set4];
        let last = all
            .iter()
            .rposition(|set| set.is_some())
            .map_or(0, |last| last + 1);
        let given = all.into_iter().take(last);
        given
            .map(|set| Zeroizing::new(set.clone().unwrap_or_default()))
            .collect()
    }

    /// Reads the words to be tried, and returns how much is usually changed about such.
    fn words_text(&self, context: &Context) -> Result<(Zeroizing<String>, Changed), CliError> {
        if let Some(source) = &self.password {
            let password = match source.as_deref() {
                Some(source) => secret_source::required(source)?.read_line("the password", context)?,
                None => context.ui.ask_password("What you think that the password is: ")?,
            };
            return Ok((
                Zeroizing::new(password.expose_secret().to_owned()),
                Changed::BySlips,
            ));
        }
        if !self.words.is_empty() {
            let mut all = Zeroizing::new(String::new());
            for path in &self.words {
                let text = read_words(path, context)?;
                all.reserve_exact(text.len() + 1);
                all.push_str(&text);
                all.push('\n');
            }
            return Ok((all, Changed::Usually));
        }
        if !context.ui.is_interactive() {
            return Err(CliError::could_not("nothing is known of the password").hint(
                "give `--password` (nearly right), `--words FILE` (a list of words) or `--mask MASK` (kinds of characters)",
            ));
        }
        let password = context.ui.ask_password("What you think that the password is: ")?;
        Ok((
            Zeroizing::new(password.expose_secret().to_owned()),
            Changed::BySlips,
        ))
    }

    fn go<C: Candidates<Guess = SecretText>>(
        &self,
        drive: &Drive,
        candidates: &C,
        protectors: keyhaven_backup::guess::Protectors,
        known: &[&[u8]],
        context: &Context,
    ) -> Result<Exit, CliError> {
        let search = Search {
            candidates,
            protectors,
            known,
            things: "passwords",
            stages: Vec::new(),
            hints: Vec::new(),
        };
        let found = self.search.search(&search, &drive.volume, context)?;
        let mut answer = Answer {
            drive: &drive.name,
            found: false,
            protector_id: None,
            password: None,
            tried: found.tried,
            candidates: found.candidates.to_string(),
            shard: self.search.shard().to_string(),
        };
        let Some((password, protector_id)) = found.found else {
            if context.ui.is_json() {
                context.ui.json(&answer)?;
            } else {
                let tried = number(found.tried.into());
                context.ui.line(&format!(
                    "not found: none of {tried} passwords opens {}",
                    drive.name
                ))?;
            }
            return Ok(Exit::No);
        };
        let copy = Password::new(SecretText::copy_of(password.expose_secret()));
        drive
            .volume
            .prove_protector(&Credential::Password(copy), protector_id)
            .map_err(|error| {
                CliError::could_not(
                    "a password was found and does not open the drive: its metadata are damaged",
                )
                .because(&error)
            })?;
        answer.found = true;
        answer.protector_id = Some(protector_id.to_string());
        answer.password = Some(password.expose_secret());
        context.ui.say(&format!(
            "Found after {} passwords, and it opens the drive.",
            number(found.tried.into())
        ));
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            let line = Zeroizing::new(format!("{}\n", password.expose_secret()));
            context.ui.raw(line.as_bytes())?;
        }
        Ok(Exit::Done)
    }
}

/// Reads a mask: from a SOURCE, or as it is where there is no part of the password in it.
fn mask_text(given: &OsString, context: &Context) -> Result<SecretText, CliError> {
    if let Some(source) = SecretSource::parse(given) {
        return source.read_line("the mask", context);
    }
    let literal = given.to_str().map(|text| Zeroizing::new(text.to_owned()));
    // Sets are named, not said: that they exist is all that matters here.
    let any_sets = ["ab", "ab", "ab", "ab"].map(|set| Zeroizing::new(set.to_owned()));
    match literal {
        Some(text) if !Mask::parse(&text, &any_sets).is_ok_and(|mask| mask.has_known_characters()) => {
            Ok(SecretText::copy_of(&text))
        }
        _ => Err(CliError::could_not(
            "a mask with parts of the password in it is a secret, and is not repeated here",
        )
        .hint("give it from a SOURCE: `--mask -` (standard input), `file:PATH`, `fd:N` or `env:NAME`")
        .hint("arguments can be seen by other users and stay in the shell's history")),
    }
}

fn mask_refusal(error: &MaskError) -> CliError {
    CliError::could_not(format!("the mask is not understood: {error}")).hint(MASK_HELP)
}

fn read_words(path: &PathBuf, context: &Context) -> Result<Zeroizing<String>, CliError> {
    let failed = |error: &io::Error| {
        CliError::could_not(format!("cannot read the words in `{}`", path.display())).because(error)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if path.as_os_str() == "-" {
        context.take_stdin("the words")?;
        io::stdin().lock().take(WORDS_LEN_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(|error| failed(&error))?;
        file.take(WORDS_LEN_MAX + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > WORDS_LEN_MAX {
        return Err(CliError::could_not(format!(
            "the words in `{}` are more than {} MiB",
            path.display(),
            WORDS_LEN_MAX >> 20
        ))
        .hint("cut the list into several files, and search one after the other"));
    }
    Ok(Words::decode(&bytes))
}
