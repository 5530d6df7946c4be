//! Copying what can be read of a failing drive, and going on with that another time.
//!
//! While it lasts, the image is called OUT.partial and its map OUT.map. When everything was tried, the image is called
//! OUT; the map stays as long as something is missing. The same command goes on from whatever it finds.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use keyhaven_disk::Device;
use keyhaven_disk::copy::{
    self, CopyError, CopyReport, CopyTarget, FileTarget, Next, RescueOptions, RescueProgress, ResumedFile,
    Watcher,
};
use keyhaven_disk::map::{Map, Mapfile, Phase, Place, Status};

use crate::context::Context;
use crate::error::CliError;
use crate::map_file;
use crate::target::{Target, with_suffix};
use crate::ui::Progress;

/// How a failing drive is copied.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RescueArgs {
    /// With --keep-going, try bad sectors N more times at the end [default: 1]
    #[arg(long, value_name = "N")]
    retry: Option<u32>,

    /// With --keep-going, keep the map in FILE instead of OUT.map
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
}

impl RescueArgs {
    /// Tells whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.retry.is_some() || self.map.is_some()
    }
}

/// What is copied to an image, as far as it can be read.
pub(crate) struct Rescue {
    out: PathBuf,
    map: PathBuf,
    retries: u32,
    state: State,
}

/// What there is of the image.
enum State {
    /// Nothing: it is made. Or a device, which is there.
    New(Target),
    /// What another run left, which had not tried everything.
    Partial(Target),
    /// What another run could read.
    Incomplete,
    /// A device that another run has written to.
    Device(Target),
}

impl Rescue {
    /// Finds out what there is of the image, before a person types 48 digits. Nothing is changed yet.
    pub(crate) fn new(out: &Path, overwrite: bool, args: &RescueArgs) -> Result<Self, CliError> {
        let map = args.map.clone().unwrap_or_else(|| with_suffix(out, ".map"));
        let has_map = map.exists();
        let state = if out.is_file() && has_map {
            State::Incomplete
        } else {
            let target = Target::raw(out, overwrite)?;
            match &target {
                Target::Device { .. } if args.map.is_none() => {
                    return Err(CliError::could_not(
                        "beside a device there is no place for the map of what could not be read",
                    )
                    .hint("say where to keep it: `--map FILE`"));
                }
                Target::Device { .. } if has_map => State::Device(target),
                Target::File { partial, .. } => match (partial.exists(), has_map) {
                    (true, true) => State::Partial(target),
                    (false, true) => return Err(map_without_image(&map, out)),
                    _ => State::New(target),
                },
                _ => State::New(target),
            }
        };
        Ok(Self {
            out: out.to_owned(),
            map,
            retries: args.retry.unwrap_or(1),
            state,
        })
    }

    /// Returns where the map is.
    pub(crate) fn map(&self) -> &Path {
        &self.map
    }

    /// Copies what is not there yet of `content`, that of the drive at `drive`.
    ///
    /// `identity` names the volume, so that no other is mixed into its image.
    pub(crate) fn run(
        &self,
        content: &Device,
        drive: &Path,
        identity: &str,
        context: &Context,
    ) -> Result<CopyReport, CliError> {
        let (mut map, mut out) = match &self.state {
            State::New(target) => {
                target.check(content, drive)?;
                (Map::new(content.len_bytes()), self.create(target, content)?)
            }
            State::Device(target) => {
                target.check(content, drive)?;
                (self.go_on(content, identity, context)?, target.create(content)?)
            }
            State::Partial(_) | State::Incomplete => {
                let file = self.reopen()?;
                let map = self.go_on(content, identity, context)?;
                (map, Box::new(ResumedFile::new(file)) as Box<dyn CopyTarget>)
            }
        };
        let mut keeper = Keeper {
            map: &self.map,
            notes: vec![
                "Mapfile. Created by Keyhaven".to_owned(),
                format!("{IDENTITY}{identity}"),
            ],
            bar: context.ui.progress("rescuing", map.len_bytes()),
            last_saved: Instant::now(),
            context,
        };
        let begin = Place {
            position: 0,
            phase: Phase::Copying,
            pass: 1,
        };
        // From the first byte on, whatever ends the process leaves something to go on with.
        if let Err(source) = keeper.save(&map, begin) {
            if let State::New(Target::File { partial, .. }) = &self.state {
                let _ = std::fs::remove_file(partial);
            }
            let place = self.map.display();
            return Err(CliError::could_not(format!("cannot write the map `{place}`")).because(&source));
        }
        let options = RescueOptions::default().retries(self.retries);
        let report = copy::rescue(content, &mut *out, &mut map, options, &mut keeper)
            .map_err(|error| self.failure(error))?;
        drop((keeper, out));
        if let State::New(target) | State::Partial(target) = &self.state {
            target.keep()?;
        }
        if report.is_complete() {
            let _ = std::fs::remove_file(&self.map);
        }
        Ok(report)
    }

    /// Opens what was written, to be read back from the medium.
    pub(crate) fn read_back(&self) -> Result<Device, CliError> {
        match &self.state {
            State::New(target @ Target::Device { .. }) | State::Device(target) => target.read_back(),
            _ => keyhaven_disk::open_uncached(&self.out).map_err(|error| {
                CliError::could_not(format!("cannot read `{}` back", self.out.display())).because(&error)
            }),
        }
    }

    fn image(&self) -> PathBuf {
        match &self.state {
            State::New(Target::File { partial, .. }) | State::Partial(Target::File { partial, .. }) => {
                partial.clone()
            }
            _ => self.out.clone(),
        }
    }

    fn create(&self, target: &Target, content: &Device) -> Result<Box<dyn CopyTarget>, CliError> {
        let Target::File { partial, .. } = target else {
            return target.create(content);
        };
        let cannot = |error: &io::Error| {
            let refused =
                CliError::could_not(format!("cannot create `{}`", partial.display())).because(error);
            match error.kind() {
                io::ErrorKind::AlreadyExists => refused.hint(
                    "another Keyhaven may be writing it; if none is, it has no map to go on with: delete it",
                ),
                _ => refused,
            }
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(partial)
            .map_err(|error| cannot(&error))?;
        self.lock(&file)?;
        Ok(Box::new(FileTarget::new(file).map_err(|error| cannot(&error))?))
    }

    fn reopen(&self) -> Result<File, CliError> {
        let image = self.image();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&image)
            .map_err(|error| {
                CliError::could_not(format!("cannot go on with `{}`", image.display())).because(&error)
            })?;
        self.lock(&file)?;
        Ok(file)
    }

    /// Keeps other runs out, until the file is closed.
    fn lock(&self, file: &File) -> Result<(), CliError> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(CliError::could_not(format!(
                "another Keyhaven is writing `{}`",
                self.image().display()
            ))),
            // Some file systems know no locks.
            _ => Ok(()),
        }
    }

    /// Reads the map of an earlier run, and holds it and the image against the drive.
    fn go_on(&self, content: &Device, identity: &str, context: &Context) -> Result<Map, CliError> {
        let mapfile = map_file::read(&self.map)?;
        let other = |what: &str| {
            CliError::could_not(format!(
                "`{}` and `{}` {what}",
                self.image().display(),
                self.map.display()
            ))
            .hint("give another name for the image, or remove both to begin anew")
        };
        let noted = mapfile.notes.iter().find_map(|note| note.strip_prefix(IDENTITY));
        if noted.is_some_and(|noted| noted.trim() != identity) {
            return Err(other("belong to another drive"));
        }
        if mapfile.map.len_bytes() > content.len_bytes() {
            return Err(other("belong to a larger drive"));
        }
        let mut map = Map::new(content.len_bytes());
        for run in mapfile.map.runs() {
            map.set(run.start, run.end, run.status);
        }
        let image = keyhaven_disk::open(&self.image()).map_err(|error| {
            CliError::could_not(format!("cannot go on with `{}`", self.image().display())).because(&error)
        });
        match image {
            Ok(image) if !is_same(&map, content, &image) => {
                return Err(other("were not made from this drive, or with other options"));
            }
            Err(error) if map.bytes(Status::Finished) > 0 => return Err(error),
            _ => {}
        }
        context.ui.say(&format!(
            "going on with `{}`: {} of {} are there",
            self.image().display(),
            HumanBytes(map.bytes(Status::Finished)),
            HumanBytes(map.len_bytes())
        ));
        Ok(map)
    }

    fn failure(&self, error: CopyError) -> CliError {
        let kept = format!(
            "what was read so far is in `{}`; the same command goes on from there",
            self.image().display()
        );
        match &error {
            CopyError::Stopped { .. } => CliError::stopped().hint(kept),
            CopyError::Save { .. } => {
                CliError::could_not(format!("cannot write the map `{}`", self.map.display()))
                    .because(&error)
                    .hint(kept)
            }
            _ => CliError::could_not(format!("cannot write `{}`", self.image().display()))
                .because(&error)
                .hint(kept),
        }
    }
}

/// The note in a map that says what it is of.
const IDENTITY: &str = "Volume: ";

fn map_without_image(map: &Path, out: &Path) -> CliError {
    CliError::could_not(format!(
        "there is a map `{}`, but no image `{}` that it could be of",
        map.display(),
        out.display()
    ))
    .hint("if it says which parts of the encrypted image are there: `--source-map` takes it")
    .hint("else remove it, or keep ours elsewhere: `--map FILE`")
}

/// Compares a few places of an image with the drive. What the drive cannot read any more proves nothing.
fn is_same(map: &Map, content: &Device, image: &Device) -> bool {
    const PLACES: u64 = 16;
    const LEN: u64 = 4096;

    let step = (map.len_bytes() / PLACES).max(1);
    (0..PLACES).all(|number| {
        let Some(run) = map.next(number.saturating_mul(step), Status::Finished) else {
            return true;
        };
        let len = run.len_bytes().min(LEN) as usize;
        let (mut expected, mut found) = (vec![0; len], vec![0; len]);
        match content.read_at(run.start, &mut expected) {
            Ok(()) => image.read_at(run.start, &mut found).is_ok() && expected == found,
            Err(_) => true,
        }
    })
}

/// Shows how far a rescue is, and keeps its map.
struct Keeper<'a> {
    map: &'a Path,
    notes: Vec<String>,
    bar: Progress,
    last_saved: Instant,
    context: &'a Context,
}

impl Watcher for Keeper<'_> {
    fn look(&mut self, progress: &RescueProgress) -> Next {
        /// What a loss of power may cost.
        const UNSAVED: Duration = Duration::from_secs(30);

        self.bar.describe(&described(progress));
        self.bar.set(progress.finished_bytes);
        if self.context.interrupt.flow() == ControlFlow::Break(()) {
            Next::Stop
        } else if self.last_saved.elapsed() >= UNSAVED {
            Next::Save
        } else {
            Next::GoOn
        }
    }

    fn save(&mut self, map: &Map, place: Place) -> io::Result<()> {
        let mapfile = Mapfile {
            map: map.clone(),
            place,
            notes: self.notes.clone(),
        };
        map_file::write(self.map, &mapfile)?;
        self.last_saved = Instant::now();
        Ok(())
    }
}

fn described(progress: &RescueProgress) -> String {
    let doing = match progress.place.phase {
        _ if progress.is_waiting => "waiting for the drive",
        Phase::Copying => "rescuing",
        Phase::Trimming => "finding the edges of bad parts",
        Phase::Scraping => "reading between bad sectors",
        Phase::Retrying => "trying bad sectors again",
        Phase::Finished => "finishing",
    };
    if progress.failed_bytes == 0 {
        return doing.to_owned();
    }
    format!("{doing} ({} failed so far)", HumanBytes(progress.failed_bytes))
}
