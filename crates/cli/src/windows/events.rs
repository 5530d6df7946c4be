//! What Windows' event log says of backups and changes: read, not trusted. A success of long ago proves nothing, the
//! key may have been replaced and the copy deleted since.

use std::ffi::OsStr;

use keyhaven_fve::Guid;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::RunProgram;

/// The log in which BitLocker writes.
const LOG: &str = "Microsoft-Windows-BitLocker/BitLocker Management";

/// At most so many entries are looked at, the newest.
const MOST: usize = 200;

/// What a number stands for. Source: the provider's manifest.
const MEANINGS: &[(u32, &str)] = &[
    (775, "a way to unlock was added"),
    (776, "a way to unlock was removed"),
    (773, "protection was suspended"),
    (774, "protection was resumed"),
    (783, "the key was in Active Directory already"),
    (784, "the key was saved to Active Directory"),
    (785, "the key could not be saved to Active Directory"),
    (828, "the key was saved to the Microsoft account"),
    (829, "the key could not be saved to the Microsoft account"),
    (830, "the key was in the Microsoft account already"),
    (831, "the key could not be saved to the Microsoft account"),
    (845, "the key was saved to the work or school account"),
    (846, "the key could not be saved to the work or school account"),
    (847, "the key could not be saved to the work or school account"),
    (869, "the recovery key of the Windows drive is not backed up"),
];

/// An entry of the log that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedEvent {
    /// When, as Windows writes it.
    pub(crate) time: String,
    /// What happened.
    pub(crate) what: &'static str,
    /// The identifiers that the entry names: of a key protector, of a volume.
    pub(crate) ids: Vec<Guid>,
}

/// Asks the log for its newest entries about keys; none where there is no such log.
pub(crate) fn logged_events(runner: &mut dyn RunProgram) -> Vec<LoggedEvent> {
    let count = format!("/c:{MOST}");
    let arguments = ["qe", LOG, "/rd:true", "/f:xml", count.as_str()].map(OsStr::new);
    match runner.run("wevtutil.exe", &arguments) {
        Ok(outcome) if outcome.success => read(&String::from_utf8_lossy(&outcome.output)),
        _ => Vec::new(),
    }
}

/// Reads what `wevtutil` prints: one `Event` after the other, without anything around them. What is not understood is
/// left out, and what is damaged ends the list.
fn read(xml: &str) -> Vec<LoggedEvent> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = false;
    let mut events = Vec::new();
    let (mut number, mut time, mut ids) = (None, None, Vec::new());
    let mut inside = String::new();
    while events.len() < MOST {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => {
                start.local_name().into_inner().clone_into(&mut inside);
                if inside == "TimeCreated" {
                    time = start
                        .attributes()
                        .with_checks(false)
                        .flatten()
                        .find(|attribute| attribute.key.local_name().as_ref() == "SystemTime")
                        .map(|attribute| attribute.value.into_owned());
                }
            }
            Ok(Event::Text(text)) => match inside.as_str() {
                "EventID" => number = text.trim().parse::<u32>().ok(),
                "Data" => ids.extend(text.trim().parse::<Guid>().ok()),
                _ => {}
            },
            Ok(Event::End(end)) => {
                inside.clear();
                if end.local_name().into_inner() != "Event" {
                    continue;
                }
                let ended = number.take();
                let what = MEANINGS.iter().find(|(known, _)| Some(*known) == ended);
                if let (Some((_, what)), Some(time)) = (what, time.take()) {
                    events.push(LoggedEvent {
                        time,
                        what,
                        ids: std::mem::take(&mut ids),
                    });
                }
                ids.clear();
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::runner::Noted;
    use super::*;

    const LOGGED: &str = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
        <Provider Name='Microsoft-Windows-BitLocker-API' Guid='{5d674230-ca9f-11da-a94d-0800200c9a66}'/>\
        <EventID>845</EventID><Version>0</Version><Level>4</Level>\
        <TimeCreated SystemTime='2026-11-20T08:15:30.1234567Z'/><Computer>PC</Computer></System>\
        <EventData><Data Name='ProtectorGUID'>{64311dea-1111-4222-8333-444455556666}</Data>\
        <Data Name='VolumeName'>C:</Data></EventData></Event>\
        <Event><System><EventID>1</EventID><TimeCreated SystemTime='2026-11-19T08:15:30Z'/></System>\
        <EventData><Data>{64311dea-1111-4222-8333-444455556666}</Data></EventData></Event>\
        <Event><System><EventID Qualifiers=''>776</EventID><TimeCreated SystemTime='2026-11-18T08:15:30Z'/></System>\
        <EventData/></Event>";

    #[test]
    fn entries_about_keys_are_understood_and_others_left_out() {
        let events = read(LOGGED);
        assert_eq!(
            events,
            [
                LoggedEvent {
                    time: "2026-11-20T08:15:30.1234567Z".to_owned(),
                    what: "the key was saved to the work or school account",
                    ids: vec!["64311DEA-1111-4222-8333-444455556666".parse().expect("an ID")],
                },
                LoggedEvent {
                    time: "2026-11-18T08:15:30Z".to_owned(),
                    what: "a way to unlock was removed",
                    ids: Vec::new(),
                },
            ]
        );
    }

    #[test]
    fn a_damaged_log_is_read_as_far_as_it_goes() {
        for end in 0..LOGGED.len() {
            let events = read(&LOGGED[..end]);
            assert!(events.len() <= 2);
        }
        assert!(read("no XML < at all").is_empty());
    }

    #[test]
    fn the_log_is_asked_for_its_newest_entries() {
        let mut system = Noted {
            answers: vec![Outcome {
                success: true,
                output: LOGGED.as_bytes().to_vec(),
                complaint: Vec::new(),
            }],
            ..Noted::default()
        };
        assert_eq!(logged_events(&mut system).len(), 2);
        assert_eq!(system.runs[0].0, "wevtutil.exe");
        assert_eq!(system.runs[0].1[..2], ["qe", LOG]);
        assert!(logged_events(&mut system).is_empty(), "there is no such program");
    }
}
