//! Ctrl-C, a closed window, `kill`: the first asks long work to stop where nothing is lost, the second ends the process.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{CliError, Exit};

/// Whether the process was asked to stop. Cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches Ctrl-C from now on. Where the system has no signals, Ctrl-C ends the process as it always did.
    pub(crate) fn install() -> Self {
        let interrupt = Self::default();
        for signal in [
            SIGINT,
            SIGTERM,
            #[cfg(unix)]
            SIGHUP,
        ] {
            // In this order: at the first signal the flag is still off when the shutdown looks at it.
            let second_ends = flag::register_conditional_shutdown(
                signal,
                i32::from(Exit::Stopped as u8),
                Arc::clone(&interrupt.0),
            );
            if second_ends.is_ok() {
                // If this fails, the flag stays off, the other never fires, and the signal would do nothing: it cannot
                // fail where the line above did not.
                let _ = flag::register(signal, Arc::clone(&interrupt.0));
            }
        }
        interrupt
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells whether the process was asked to stop, and forgets it: the next time asks again, and ends nothing by force.
    #[cfg(target_os = "linux")]
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Returns an error with exit code 130 once Ctrl-C was pressed.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        if self.is_set() {
            Err(CliError::stopped())
        } else {
            Ok(())
        }
    }

    /// Waits until there is something to read, or Ctrl-C: a read would go on after the signal and never notice.
    #[cfg(unix)]
    pub(crate) fn wait_for_input(&self, input: &impl std::os::fd::AsFd) -> Result<(), CliError> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        // The signal may come to another thread, or just before the call.
        const LOOK_AGAIN: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        loop {
            let ready = poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&LOOK_AGAIN));
            self.check()?;
            match ready {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // Some systems cannot poll a terminal; the read then waits by itself.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// Does not wait where the system has no signals: Ctrl-C ends the process there.
    #[cfg(not(unix))]
    pub(crate) fn wait_for_input<T>(&self, _: &T) -> Result<(), CliError> {
        self.check()
    }

    /// Tells a library's progress callback whether to go on.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_flag_stops_with_130() {
        let interrupt = Interrupt::default();
        assert!(interrupt.check().is_ok() && interrupt.flow().is_continue());
        interrupt.0.store(true, Ordering::Relaxed);
        assert!(interrupt.flow().is_break());
        assert_eq!(interrupt.check().unwrap_err().exit(), Exit::Stopped);
    }
}
