//! Settings of the process that keep secrets in and noise out.

#[cfg(windows)]
mod windows;

use std::io::Write;
use std::panic::{self, PanicHookInfo};

/// Sets up the process, before anything secret is read.
///
/// No memory goes into a core dump, files made from now on are for their owner alone, and a panic is one line.
pub(crate) fn harden() {
    panic::set_hook(Box::new(report_bug));
    #[cfg(unix)]
    {
        use rustix::fs::Mode;
        use rustix::process::{Resource, Rlimit, setrlimit, umask};

        // Lowering a limit is always allowed, and there is nothing better to do where it is not.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        umask(Mode::RWXG | Mode::RWXO);
    }
    #[cfg(windows)]
    windows::harden();
    // A core dump that goes to a program (a pipe in core_pattern) ignores the limit above; this one it heeds. It also
    // keeps other processes of the same user from reading our memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Says where the bug is and never what the panic says: its message may quote what was being worked on.
fn report_bug(info: &PanicHookInfo<'_>) {
    // A damaged document that breaks a parser ends that parser's thread, and is reported as what it is.
    if std::thread::current().name() == Some(keyhaven_backup::paper::READER_THREAD) {
        return;
    }
    let place = info.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    let _ = writeln!(
        std::io::stderr(),
        "error: this is a bug in keyhaven {}, at {place}\nhint: please report it with this line; it holds no secret",
        env!("CARGO_PKG_VERSION"),
    );
}
