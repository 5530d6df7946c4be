//! The task that Windows' scheduler runs: are all recovery keys still backed up?

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use super::RunProgram;
use crate::error::CliError;

/// A task for the scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The program, with its whole path.
    pub(crate) program: PathBuf,
    /// Who it runs as, in the session of whoever is signed in: `COMPUTER\ann`.
    pub(crate) user: String,
    /// When it runs.
    pub(crate) triggers: Triggers,
}

/// When a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Triggers {
    pub(crate) at_logon: bool,
    pub(crate) weekly: bool,
}

/// What the task is called.
const NAME: &str = r"\Keyhaven\Check recovery keys";

/// What the program is given.
const ARGUMENTS: &str = "schedule --run";

const SCHEDULER: &str = "schtasks.exe";

impl Task {
    /// Registers it, in the place of an earlier one.
    ///
    /// # Errors
    /// The scheduler says no.
    pub(crate) fn register(&self, runner: &mut dyn RunProgram) -> Result<(), CliError> {
        let not_registered = |error: &dyn std::error::Error| {
            CliError::could_not("the task cannot be registered").because(error)
        };
        let folder = tempfile::tempdir().map_err(|error| not_registered(&error))?;
        let file = folder.path().join("task.xml");
        fs::write(&file, utf16(&self.xml())).map_err(|error| not_registered(&error))?;
        let arguments = [
            OsStr::new("/create"),
            OsStr::new("/tn"),
            OsStr::new(NAME),
            OsStr::new("/xml"),
            file.as_os_str(),
            OsStr::new("/f"),
        ];
        run(runner, &arguments, "the task cannot be registered")
    }

    /// Removes it.
    ///
    /// # Errors
    /// The scheduler says no: there may be none.
    pub(crate) fn remove(runner: &mut dyn RunProgram) -> Result<(), CliError> {
        let arguments = ["/delete", "/tn", NAME, "/f"].map(OsStr::new);
        run(runner, &arguments, "the task cannot be removed")
    }

    /// Describes it as the scheduler wants it.
    ///
    /// Source: Microsoft's "Task Scheduler Schema"; the order of the elements is that of exported tasks.
    pub(crate) fn xml(&self) -> String {
        let user = escaped(&self.user);
        let mut triggers = String::new();
        if self.triggers.at_logon {
            // Not while everything else starts.
            triggers.push_str(&format!(
                "    <LogonTrigger>\r\n      <Enabled>true</Enabled>\r\n      <UserId>{user}</UserId>\r\n      \
                 <Delay>PT3M</Delay>\r\n    </LogonTrigger>\r\n"
            ));
        }
        if self.triggers.weekly {
            triggers.push_str(
                "    <CalendarTrigger>\r\n      <StartBoundary>2026-01-05T12:00:00</StartBoundary>\r\n      \
                 <Enabled>true</Enabled>\r\n      <ScheduleByWeek>\r\n        <DaysOfWeek>\r\n          <Monday />\r\n        \
                 </DaysOfWeek>\r\n        <WeeksInterval>1</WeeksInterval>\r\n      </ScheduleByWeek>\r\n    \
                 </CalendarTrigger>\r\n",
            );
        }
        let program = escaped(&self.program.display().to_string());
        let lines = [
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?>",
            "<Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">",
            "  <RegistrationInfo>",
            "    <Description>Checks that the recovery key of every encrypted drive is backed up and proven.</Description>",
            "  </RegistrationInfo>",
            "  <Triggers>",
        ]
        .join("\r\n");
        let settings = [
            "  </Triggers>",
            "  <Principals>",
            "    <Principal id=\"Author\">",
            &format!("      <UserId>{user}</UserId>"),
            "      <LogonType>InteractiveToken</LogonType>",
            // Only an administrator may ask about BitLocker.
            "      <RunLevel>HighestAvailable</RunLevel>",
            "    </Principal>",
            "  </Principals>",
            "  <Settings>",
            "    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>",
            "    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>",
            "    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>",
            "    <StartWhenAvailable>true</StartWhenAvailable>",
            "    <ExecutionTimeLimit>PT1H</ExecutionTimeLimit>",
            "  </Settings>",
            "  <Actions Context=\"Author\">",
            "    <Exec>",
            &format!("      <Command>{program}</Command>"),
            &format!("      <Arguments>{ARGUMENTS}</Arguments>"),
            "    </Exec>",
            "  </Actions>",
            "</Task>",
            "",
        ]
        .join("\r\n");
        format!("{lines}\r\n{triggers}{settings}")
    }
}

fn run(runner: &mut dyn RunProgram, arguments: &[&OsStr], message: &str) -> Result<(), CliError> {
    let outcome = runner.run(SCHEDULER, arguments).map_err(|error| {
        CliError::could_not(format!("{message}: {SCHEDULER} does not start")).because(&error)
    })?;
    if outcome.success {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&outcome.complaint).trim().to_owned();
    Err(CliError::could_not(format!("{message}: {complaint}"))
        .hint("start the terminal with a right click, \"Run as administrator\", and try again"))
}

/// Writes a text as Windows' own programs do: UTF-16 with a mark in front.
fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::runner::Noted;
    use super::*;

    fn task(at_logon: bool, weekly: bool) -> Task {
        Task {
            program: PathBuf::from(r"C:\Program Files\A & B\keyhaven.exe"),
            user: r"PC\ann".to_owned(),
            triggers: Triggers { at_logon, weekly },
        }
    }

    fn outcome(success: bool, complaint: &str) -> Outcome {
        Outcome {
            success,
            output: Vec::new(),
            complaint: complaint.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_task_says_when_what_and_as_whom() {
        let xml = task(true, true).xml();
        for part in [
            "<LogonTrigger>",
            "<ScheduleByWeek>",
            r"<UserId>PC\ann</UserId>",
            "<RunLevel>HighestAvailable</RunLevel>",
            r"<Command>C:\Program Files\A &amp; B\keyhaven.exe</Command>",
            "<Arguments>schedule --run</Arguments>",
        ] {
            assert!(xml.contains(part), "{part} is not in\n{xml}");
        }
        assert!(!task(false, true).xml().contains("LogonTrigger"));
        assert!(!task(true, false).xml().contains("CalendarTrigger"));
        // Every element that begins ends, in order.
        let mut open = Vec::new();
        for tag in xml.split('<').skip(2).filter_map(|rest| rest.split('>').next()) {
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap_or_default()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_scheduler_is_given_a_file_and_nothing_else() {
        let mut system = Noted {
            answers: vec![outcome(true, ""), outcome(true, "")],
            ..Noted::default()
        };
        task(true, true).register(&mut system).expect("registered");
        Task::remove(&mut system).expect("removed");
        let [(program, register), (_, remove)] = system.runs.as_slice() else {
            panic!("{:?}", system.runs)
        };
        assert_eq!(program, "schtasks.exe");
        assert_eq!(register[..4], ["/create", "/tn", NAME, "/xml"]);
        assert!(register[4].ends_with("task.xml"));
        assert_eq!(register[5], "/f");
        assert_eq!(remove[..], ["/delete", "/tn", NAME, "/f"]);
    }

    #[test]
    fn what_the_scheduler_complains_of_is_said() {
        let mut system = Noted {
            answers: vec![outcome(false, "ERROR: Access is denied.\r\n")],
            ..Noted::default()
        };
        let error = task(true, true).register(&mut system).expect_err("refused");
        assert_eq!(
            error.message(),
            "the task cannot be registered: ERROR: Access is denied."
        );
        let error = Task::remove(&mut system).expect_err("there is no such program");
        assert!(error.message().contains("does not start"), "{}", error.message());
    }

    #[test]
    fn texts_are_written_as_windows_does() {
        assert_eq!(utf16("aé"), [0xFF, 0xFE, b'a', 0, 0xE9, 0]);
    }
}
