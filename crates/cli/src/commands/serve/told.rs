//! What is said while a drive is served: troubles once of each kind, since one bad cable breaks every read.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use keyhaven_attach::nbd::Event;
use keyhaven_disk::WriteError;

use crate::error::CliError;
use crate::ui::Ui;

/// Tells of what happens, from whatever thread it happens on.
pub(super) struct Told<'a> {
    ui: &'a Ui,
    reading: AtomicBool,
    writing: AtomicBool,
    fixed: AtomicBool,
    turned_away: AtomicBool,
    accepting: AtomicBool,
}

impl<'a> Told<'a> {
    pub(super) fn new(ui: &'a Ui) -> Self {
        Self {
            ui,
            reading: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            fixed: AtomicBool::new(false),
            turned_away: AtomicBool::new(false),
            accepting: AtomicBool::new(false),
        }
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Connected { clients } => {
                self.ui
                    .detail(&format!("a client has connected; there are {clients} now"));
            }
            Event::Left { problem: None } => self.ui.detail("a client has left"),
            Event::Left {
                problem: Some(problem),
            } => self.ui.detail(&CliError::chain(*problem)),
            Event::TurnedAway => {
                if is_first(&self.turned_away) {
                    self.ui.warn("there are too many clients; more are turned away");
                }
            }
            Event::ReadFailed(error) => {
                let said = "the drive cannot be read everywhere; who reads there gets an error";
                self.once(&self.reading, said, *error);
            }
            Event::WriteFailed(error @ WriteError::Fixed { .. }) => {
                let said = "BitLocker keeps a part of the drive for itself; who writes there gets an error";
                self.once(&self.fixed, said, *error);
            }
            Event::WriteFailed(error) => {
                let said = "the drive cannot be written; who writes gets an error";
                self.once(&self.writing, said, *error);
            }
            Event::AcceptFailed(error) => {
                self.once(&self.accepting, "a client could not be let in", *error);
            }
            other => self.ui.detail(&format!("{other:?}")),
        }
    }

    fn once(&self, told: &AtomicBool, said: &str, error: &dyn Error) {
        if is_first(told) {
            self.ui
                .warn(&format!("{said}. The first time: {}", CliError::chain(error)));
        }
    }
}

fn is_first(told: &AtomicBool) -> bool {
    !told.swap(true, Ordering::Relaxed)
}
