//! How far long work is, with its speed and the time left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Ui, printable};

/// Work that is done before this needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on standard error, drawn only where that is a terminal and only once the work takes longer than a second.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    may_be_seen: bool,
}

impl Progress {
    /// Moves to `done` bytes.
    pub(crate) fn set(&mut self, done_bytes: u64) {
        if self.may_be_seen && self.bar.is_hidden() && self.started.elapsed() >= PATIENCE {
            // Indicatif itself draws nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
        self.bar.set_position(done_bytes);
    }

    /// Says what the work is now; fits before a colon.
    pub(crate) fn describe(&mut self, what: &str) {
        if self.bar.message() != what {
            self.bar.set_message(printable(what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Ui {
    /// Starts a bar for work on `total_bytes`; `what` fits before a colon: "decrypting".
    pub(crate) fn progress(&self, what: &str, total_bytes: u64) -> Progress {
        const TEMPLATE: &str =
            "{msg}: {percent:>3}% [{bar:20}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        self.start(TEMPLATE, what, Some(total_bytes))
    }

    /// Starts a bar for work on `total` things, or a count of those that are done where it is not known how many come.
    pub(crate) fn count(&self, what: &str, total: Option<u64>) -> Progress {
        match total {
            Some(_) => self.start(
                "{msg}: {percent:>3}% [{bar:20}] {pos} of {len}, {eta} left",
                what,
                total,
            ),
            None => self.start("{msg}: {pos}", what, total),
        }
    }

    fn start(&self, template: &str, what: &str, total: Option<u64>) -> Progress {
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_style(style);
        bar.set_message(printable(what));
        Progress {
            bar,
            started: Instant::now(),
            may_be_seen: !self.options.quiet && !self.options.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Interrupt;
    use crate::ui::OutputOptions;

    #[test]
    fn short_work_shows_nothing() {
        let ui = Ui::new(OutputOptions::default(), Interrupt::default());
        let mut progress = ui.progress("decrypting", 1000);
        progress.set(500);
        assert!(progress.bar.is_hidden());
        assert_eq!(progress.bar.position(), 500);
    }
}
