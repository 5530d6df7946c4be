//! The answer of `match` as a person reads it, in lines of 80 signs.

use super::answer::{Answer, Drive, ID_MATCHES, Key, Match, Place};

const WIDTH: usize = 80;
/// The widths of drive, key ID and verdict; where the key is has the rest.
const DRIVE: usize = 26;
const KEY_ID: usize = 8;
const VERDICT: usize = 10;
const GAP: usize = 2;
const WHERE: usize = WIDTH - DRIVE - KEY_ID - VERDICT - 3 * GAP;
/// More keys of other drives are counted, not listed: a whole company's would bury the answer.
const LISTED: usize = 20;

/// Writes the table, what is left over, and the sum.
pub(super) fn lines(answer: &Answer, has_tried_all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    row(
        ["DRIVE", "KEY ID", "VERDICT", "WHERE"].map(str::to_owned),
        &mut lines,
    );
    for drive in &answer.drives {
        drive_rows(drive, &mut lines);
    }
    let keys = &answer.keys_without_drive;
    if !keys.is_empty() {
        lines.push(String::new());
        lines.push(format!("Keys for no drive here: {}", keys.len()));
        for key in keys.iter().take(LISTED) {
            row(
                [
                    String::new(),
                    short(key.key_id.as_deref()),
                    remark(key).to_owned(),
                    place(&key.places),
                ],
                &mut lines,
            );
        }
        if keys.len() > LISTED {
            lines.push(format!("and {} more, which `--json` lists", keys.len() - LISTED));
        }
    }
    lines.push(String::new());
    lines.extend(sum(answer));
    let is_any_closed = answer.drives.iter().any(|drive| !drive.has_proven_key);
    let nameless = keys
        .iter()
        .filter(|key| key.ids.is_empty() && !key.is_mistyped)
        .count();
    if !has_tried_all && is_any_closed && nameless > 0 {
        let are = if nameless == 1 {
            "1 key has"
        } else {
            &format!("{nameless} keys have")
        };
        lines.push(format!(
            "{are} no ID; `--try-all` tries them on the drives without a key."
        ));
    }
    lines
}

fn drive_rows(drive: &Drive, lines: &mut Vec<String>) {
    if drive.matches.is_empty() {
        let wanted: Vec<String> = drive.key_ids.iter().map(|id| short(Some(id))).collect();
        let wanted = match wanted.as_slice() {
            [] => "it has no recovery key".to_owned(),
            ids => format!("wanted: {}", ids.join(", ")),
        };
        row(
            [drive.name.clone(), "-".to_owned(), "no key".to_owned(), wanted],
            lines,
        );
    }
    for (number, one) in drive.matches.iter().enumerate() {
        let name = if number == 0 {
            drive.name.clone()
        } else {
            String::new()
        };
        row(
            [
                name,
                short(one.key_id.as_deref()),
                verdict(one),
                place(&one.places),
            ],
            lines,
        );
    }
}

fn verdict(one: &Match) -> String {
    match one.verdict {
        ID_MATCHES => "ID matches".to_owned(),
        "wrong_key" => "wrong key".to_owned(),
        "mistyped" => match one.bad_blocks.as_slice() {
            [] => "mistyped".to_owned(),
            [block] => format!("mistyped, block {block}"),
            blocks => {
                let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
                format!("mistyped, blocks {}", blocks.join(", "))
            }
        },
        verdict => verdict.replace('_', " "),
    }
}

fn remark(key: &Key) -> &'static str {
    if key.is_mistyped { "mistyped" } else { "" }
}

fn short(id: Option<&str>) -> String {
    id.and_then(|id| id.get(..KEY_ID)).unwrap_or("no ID").to_owned()
}

fn place(places: &[Place]) -> String {
    let first = places.first().map_or(String::new(), Place::to_text);
    match places.len() {
        0 | 1 => first,
        2 => format!("{first} and 1 more place"),
        count => format!("{first} and {} more places", count - 1),
    }
}

fn sum(answer: &Answer) -> Vec<String> {
    let drives = answer.drives.len();
    let proven = answer.drives.iter().filter(|drive| drive.has_proven_key).count();
    let matched = answer
        .drives
        .iter()
        .filter(|drive| drive.matches.iter().any(|one| one.verdict == ID_MATCHES))
        .count();
    let mut said = Vec::new();
    if matched > 0 {
        said.push(format!(
            "{matched} of {drives} drives have a key with the right ID, not tried."
        ));
    } else {
        said.push(match (proven, drives) {
            (1, 1) => "The drive has a key that opens it.".to_owned(),
            (0, 1) => "The drive has no key that opens it.".to_owned(),
            _ if proven == drives => format!("All {drives} drives have a key that opens them."),
            _ => format!(
                "{proven} of {drives} drives have a key that opens them; {} have none.",
                drives - proven
            ),
        });
    }
    match answer.unread.len() {
        0 => {}
        1 => said.push("1 drive or file could not be read; it was named above.".to_owned()),
        count => said.push(format!(
            "{count} drives or files could not be read; they were named above."
        )),
    }
    said
}

/// Writes a row, each cell in as many lines as it needs.
fn row(cells: [String; 4], lines: &mut Vec<String>) {
    let columns = [DRIVE, KEY_ID, VERDICT, WHERE];
    let mut wrapped: Vec<Vec<String>> = cells
        .iter()
        .zip(columns)
        .map(|(cell, width)| wrap(cell, width))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut line = String::new();
        for (cell, width) in wrapped.iter_mut().zip(columns) {
            let part = cell.get_mut(at).map(std::mem::take).unwrap_or_default();
            line.push_str(&format!("{part:width$}  "));
        }
        lines.push(line.trim_end().to_owned());
    }
}

/// Cuts a text into lines, at blanks or behind slashes where it can.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut lines = Vec::new();
    let mut rest = signs.as_slice();
    while rest.len() > width {
        let (line, _) = rest.split_at(width + 1);
        // A good place that leaves most of the line empty is none.
        let at = (width / 2..=width)
            .rev()
            .find(|at| {
                let is_blank = line.get(*at) == Some(&' ');
                is_blank || at.checked_sub(1).and_then(|before| line.get(before)) == Some(&'/')
            })
            .unwrap_or(width);
        let (line, after) = rest.split_at(at);
        lines.push(line.iter().collect());
        rest = after;
        while let [' ', after @ ..] = rest {
            rest = after;
        }
    }
    lines.push(rest.iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_wrapped_and_nothing_is_lost() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("abcde", 5), ["abcde"]);
        assert_eq!(wrap("abcdefg", 5), ["abcde", "fg"]);
        assert_eq!(
            wrap("keys/old/a.txt, row 3", 10),
            ["keys/old/", "a.txt, row", "3"]
        );
        let mut lines = Vec::new();
        let name = "evidence/case 17/a very long name of an image.img#2";
        row([name, "64311DEA", "opens", name].map(str::to_owned), &mut lines);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        let together: String = lines.join("");
        assert_eq!(together.matches("image.img#2").count(), 2);
    }
}
