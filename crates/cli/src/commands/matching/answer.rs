//! What `match` found, as `--json` prints it.

use keyhaven_backup::matching::Pair;
use keyhaven_backup::pile::{KeyPlace, Pile, PileKey};
use keyhaven_backup::verdict::Verdict;
use keyhaven_fve::ProtectorKind;
use serde::Serialize;

/// The verdict on a pair that was not tried.
pub(super) const ID_MATCHES: &str = "id_matches";

/// The whole answer. Holds no key.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) drives: Vec<Drive>,
    /// Keys that no drive here was found for.
    pub(super) keys_without_drive: Vec<Key>,
    /// What is no BitLocker drive.
    pub(super) not_bitlocker: Vec<NoDrive>,
    /// Drives and places of keys that could not be read.
    pub(super) unread: Vec<Unread>,
}

#[derive(Debug, Serialize)]
pub(super) struct Drive {
    pub(super) name: String,
    volume_id: String,
    description: Option<String>,
    /// The IDs of its recovery keys: one of them is wanted.
    pub(super) key_ids: Vec<String>,
    pub(super) has_proven_key: bool,
    pub(super) matches: Vec<Match>,
}

#[derive(Debug, Serialize)]
pub(super) struct Match {
    /// The first place.
    pub(super) place: String,
    pub(super) key_id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) verdict: &'static str,
    pub(super) bad_blocks: Vec<usize>,
    pub(super) reason: Option<String>,
    pub(super) places: Vec<Place>,
}

#[derive(Debug, Serialize)]
pub(super) struct Key {
    /// The first place.
    pub(super) place: String,
    /// The likeliest; all that stand beside it are `ids`.
    pub(super) key_id: Option<String>,
    pub(super) ids: Vec<String>,
    pub(super) kind: Option<String>,
    /// Whether it is no key as it stands.
    pub(super) is_mistyped: bool,
    pub(super) places: Vec<Place>,
}

#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) file: String,
    /// Where in the file.
    pub(super) spot: Option<String>,
    /// The computer that the file names.
    pub(super) device: Option<String>,
    volume_id: Option<String>,
    date: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct NoDrive {
    pub(super) name: String,
    pub(super) what: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Unread {
    pub(super) name: String,
    pub(super) reason: String,
}

impl Answer {
    pub(super) fn new(
        drives: &[crate::drive::Drive],
        pile: &Pile,
        pairs: &[Pair],
        not_bitlocker: Vec<NoDrive>,
        unread: Vec<Unread>,
    ) -> Self {
        let mut matched = vec![false; pile.keys().len()];
        let mut answers: Vec<Drive> = drives.iter().map(Drive::of).collect();
        for pair in pairs {
            let (Some(drive), Some(key)) = (answers.get_mut(pair.drive), pile.keys().get(pair.key)) else {
                continue;
            };
            if let Some(matched) = matched.get_mut(pair.key) {
                *matched = true;
            }
            drive.has_proven_key |= pair.opens();
            drive.matches.push(Match::of(pair, key));
        }
        for drive in &mut answers {
            drive.matches.sort_by_key(|one| one.verdict != "opens");
        }
        let left = pile.keys().iter().zip(&matched).filter(|(_, matched)| !**matched);
        Self {
            drives: answers,
            keys_without_drive: left.map(|(key, _)| Key::of(key)).collect(),
            not_bitlocker,
            unread,
        }
    }
}

impl Drive {
    fn of(drive: &crate::drive::Drive) -> Self {
        let metadata = drive.volume.metadata();
        let protectors = metadata.protectors();
        let recovery = protectors
            .iter()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword);
        Self {
            name: drive.name.clone(),
            volume_id: metadata.volume_id().to_string(),
            description: metadata.description(),
            key_ids: recovery.map(|protector| protector.id().to_string()).collect(),
            has_proven_key: false,
            matches: Vec::new(),
        }
    }
}

impl Match {
    fn of(pair: &Pair, key: &PileKey) -> Self {
        let mut answer = Self {
            place: first_place(key),
            key_id: pair.marked.map(|id| id.to_string()),
            kind: kind_of(key),
            verdict: pair.verdict.as_ref().map_or(ID_MATCHES, Verdict::name),
            bad_blocks: Vec::new(),
            reason: None,
            places: places_of(key),
        };
        match &pair.verdict {
            Some(Verdict::Opens { protector_id }) => answer.key_id = Some(protector_id.to_string()),
            Some(Verdict::Mistyped { bad_blocks, problem }) => {
                answer.bad_blocks.clone_from(bad_blocks);
                answer.reason = Some(problem.clone());
            }
            Some(Verdict::Unreadable { reason }) => answer.reason = Some(reason.clone()),
            _ => {}
        }
        answer
    }
}

impl Key {
    fn of(key: &PileKey) -> Self {
        Self {
            place: first_place(key),
            key_id: key.ids.first().map(ToString::to_string),
            ids: key.ids.iter().map(ToString::to_string).collect(),
            kind: kind_of(key),
            is_mistyped: key.kind.is_none(),
            places: places_of(key),
        }
    }
}

impl Place {
    /// Writes the place as a person reads it.
    pub(super) fn to_text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(spot) = &self.spot {
            text.push_str(", ");
            text.push_str(spot);
        }
        if let Some(device) = &self.device {
            text.push_str(&format!(" ({device})"));
        }
        text
    }
}

fn first_place(key: &PileKey) -> String {
    key.places
        .first()
        .map_or(String::new(), |place| place.file.clone())
}

fn kind_of(key: &PileKey) -> Option<String> {
    key.kind.map(|kind| kind.json_name().to_string())
}

fn places_of(key: &PileKey) -> Vec<Place> {
    let place = |KeyPlace { file, source }: &KeyPlace| Place {
        file: file.clone(),
        spot: source.spot.as_ref().map(ToString::to_string),
        device: source.device.clone(),
        volume_id: source.volume_id.map(|id| id.to_string()),
        date: source.date.clone(),
    };
    key.places.iter().map(place).collect()
}
