//! Recovery keys in text: finding them in anybody's, and writing our own.

use std::fmt::Write as _;

use keyhaven_crypto::SecretBytes;
use keyhaven_fve::keys::{BLOCKS, MistypedRecoveryPassword, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, RecordKey, RecoveryRecord};
use zeroize::Zeroizing;

use crate::found::{FoundContent, FoundKey, Spot};

/// The longest text that is looked through, in bytes.
pub const MAX_LEN_BYTES: usize = 8 << 20;

/// The most keys that are taken out of one text.
///
/// Each key lies on a page of memory that is locked by itself, and a process may have some 65,000 kinds of pages
/// (`vm.max_map_count`): a made-up file of more keys than that would end the process.
pub const MAX_KEYS: usize = 10_000;

/// Text is told from other data by how few control signs it has in its first bytes.
const PROBE_LEN_BYTES: usize = 64 << 10;

/// Decodes the bytes of a text file: UTF-16 of either order with or without its mark, UTF-8, or one byte a letter.
///
/// `None` if they are no text, or more than [`MAX_LEN_BYTES`].
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Zeroizing<String>> {
    if bytes.len() > MAX_LEN_BYTES {
        return None;
    }
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        // Room for all of it at once, so that no grown-out-of buffer stays behind.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() / 2 * 3));
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        text.extend(char::decode_utf16(units).map(|sign| sign.unwrap_or(char::REPLACEMENT_CHARACTER)));
        is_text(&text).then_some(text)
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        _ => {}
    }
    let probe = &bytes[..bytes.len().min(PROBE_LEN_BYTES)];
    // Digits and identifiers in UTF-16 have a zero in every other byte; the sentences around them may have none.
    let zeros = |odd: usize| {
        probe
            .iter()
            .skip(odd)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    let enough = probe.len() / 32;
    if odd > enough && odd / 4 >= even {
        return utf16(bytes, u16::from_le_bytes);
    }
    if even > enough && even / 4 >= odd {
        return utf16(bytes, u16::from_be_bytes);
    }
    // Said before all of it is turned into letters: most files are something else.
    if !may_be_text(probe) {
        return None;
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    match std::str::from_utf8(bytes) {
        Ok(utf8) => text.push_str(utf8),
        // What matters is ASCII in every Windows code page.
        Err(_) => text.extend(bytes.iter().map(|byte| char::from(*byte))),
    }
    is_text(&text).then_some(text)
}

/// Tells of the first bytes of a file whether they may be text of one byte a letter, or UTF-8.
fn may_be_text(probe: &[u8]) -> bool {
    let odd = probe
        .iter()
        .filter(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0C | 0x1A))
        .count();
    odd * 20 <= probe.len().max(20)
}

fn is_text(text: &str) -> bool {
    let mut signs = 0usize;
    let mut odd = 0usize;
    for sign in text.chars().take(PROBE_LEN_BYTES) {
        signs += 1;
        // Windows ends the title of its own file with U+0000. Letters of other code pages stand where Latin-1 has control
        // signs, so that only those of ASCII tell.
        let expected = !sign.is_ascii_control() || matches!(sign, '\n' | '\r' | '\t' | '\u{c}' | '\u{1a}');
        odd += usize::from(!expected || sign == char::REPLACEMENT_CHARACTER);
    }
    odd * 20 <= signs.max(20)
}

/// Finds the recovery keys in a text of any language, with the identifiers that stand beside them.
///
/// Keys are eight groups of digits with dashes or blanks between them (over a line's end too), or 48 digits in a row.
/// Groups that are nearly right make a key that is reported as mistyped. Identifiers are GUIDs, with or without braces;
/// those in front of a key come first, the nearest before others, then those behind it. Those on the key's own line are
/// its only ones; and where a text has them in front of all its keys, or behind all, the next key's are not this one's.
///
/// The short identifiers of Windows 7 (the first 16 characters) name no key here: a key beside them is tried.
///
/// More than [`MAX_KEYS`] keys come back only if the text has more of them than that: one more, the rest is left out.
#[must_use]
pub fn scan(text: &str) -> Vec<FoundKey> {
    let guids = guids_in(text);
    let keys = keys_in(text, &guids);
    // Between two keys, before the first and after the last: one more than there are keys.
    let ends = std::iter::once(0).chain(keys.iter().map(|key| key.end));
    let starts = keys
        .iter()
        .map(|key| key.start)
        .chain(std::iter::once(text.len()));
    let between: Vec<&[GuidSpan]> = ends
        .zip(starts)
        .map(|(from, to)| {
            let first = guids.partition_point(|guid| guid.start < from);
            let end = guids.partition_point(|guid| guid.start < to);
            guids.get(first..end).unwrap_or_default()
        })
        .collect();
    let side = Side::of(&between);

    let mut found = Vec::new();
    let mut line = 1;
    let mut counted_to = 0;
    for (key, around) in keys.iter().zip(between.windows(2)) {
        if found.len() > MAX_KEYS {
            break;
        }
        line += text
            .get(counted_to..key.start)
            .map_or(0, |passed| passed.matches('\n').count());
        counted_to = key.start;
        let [in_front, behind] = around else { continue };
        let Some(digits) = text.get(key.start..key.end) else {
            continue;
        };
        let content = match RecoveryPassword::parse(digits) {
            Ok(password) => FoundContent::Key(Credential::RecoveryPassword(password)),
            Err(mistyped @ MistypedRecoveryPassword::Blocks(_)) => FoundContent::Mistyped(mistyped),
            Err(mistyped) if key.is_certain => FoundContent::Mistyped(mistyped),
            Err(_) => continue,
        };
        let (mut near_front, mut near_behind) = on_its_line(text, key, in_front, behind);
        if near_front.is_empty() && near_behind.is_empty() {
            (near_front, near_behind) = match side {
                Side::InFront => (*in_front, Default::default()),
                Side::Behind => (Default::default(), *behind),
                Side::Unknown => (*in_front, *behind),
            };
        }
        let mut ids: Vec<Guid> = Vec::new();
        for guid in near_front.iter().rev().chain(near_behind).take(MAX_IDS) {
            if !ids.contains(&guid.id) {
                ids.push(guid.id);
            }
        }
        found.push(FoundKey {
            ids,
            content,
            source: Spot::Line(line).into(),
        });
    }
    found
}

/// Finds the identifiers in a text, in their order.
pub(crate) fn ids_in(text: &str) -> impl Iterator<Item = Guid> {
    guids_in(text).into_iter().map(|span| span.id)
}

/// More identifiers beside one key say nothing.
const MAX_IDS: usize = 64;

/// On which side of its keys a text has their identifiers.
#[derive(Clone, Copy)]
enum Side {
    InFront,
    Behind,
    Unknown,
}

impl Side {
    /// Tells the side where there is no doubt: a wrong guess would hide the key from whoever looks for its identifier.
    fn of(between: &[&[GuidSpan]]) -> Self {
        match between {
            [before @ .., last] if last.is_empty() && before.iter().all(|ids| !ids.is_empty()) => {
                Self::InFront
            }
            [first, after @ ..] if first.is_empty() && after.iter().all(|ids| !ids.is_empty()) => {
                Self::Behind
            }
            _ => Self::Unknown,
        }
    }
}

/// Returns those identifiers in front of and behind a key that stand on its line.
fn on_its_line<'a>(
    text: &str,
    key: &KeySpan,
    in_front: &'a [GuidSpan],
    behind: &'a [GuidSpan],
) -> (&'a [GuidSpan], &'a [GuidSpan]) {
    let joined = |from: usize, to: usize| text.get(from..to).is_some_and(|gap| !gap.contains(['\n', '\r']));
    let mut start = key.start;
    let near = in_front.iter().rev().take_while(|guid| {
        let is_near = joined(guid.end, start);
        start = guid.start;
        is_near
    });
    let first = in_front.len() - near.count();
    let mut end = key.end;
    let near = behind.iter().take_while(|guid| {
        let is_near = joined(end, guid.start);
        end = guid.end;
        is_near
    });
    let last = near.count();
    (
        in_front.get(first..).unwrap_or_default(),
        behind.get(..last).unwrap_or_default(),
    )
}

struct GuidSpan {
    start: usize,
    end: usize,
    id: Guid,
}

/// Finds GUIDs: 8-4-4-4-12 hexadecimal digits that do not go on before or after.
fn guids_in(text: &str) -> Vec<GuidSpan> {
    const LEN: usize = 36;
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(candidate) = bytes.get(at..at + LEN) {
        let shape = candidate.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let alone =
            !goes_on(at.checked_sub(1).and_then(|before| bytes.get(before))) && !goes_on(bytes.get(at + LEN));
        let id = (shape && alone)
            .then(|| text.get(at..at + LEN)?.parse().ok())
            .flatten();
        match id {
            Some(id) => {
                spans.push(GuidSpan {
                    start: at,
                    end: at + LEN,
                    id,
                });
                at += LEN;
            }
            None => at += 1,
        }
    }
    spans
}

struct KeySpan {
    start: usize,
    end: usize,
    /// It cannot be anything else, even if it is wrong.
    is_certain: bool,
}

/// A run of digits, and what stands between it and the one before.
struct Group {
    start: usize,
    end: usize,
    digits: usize,
    /// How many runs of six digits in it can be blocks of a key.
    right_blocks: usize,
    /// The number that the digits make which belong to the next such run.
    block: u32,
    gap: Gap,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    Dash,
    Blank,
    /// A line's end, maybe with a dash before it.
    Line,
    Other,
}

fn keys_in(text: &str, guids: &[GuidSpan]) -> Vec<KeySpan> {
    let groups = groups_in(text, guids);
    let mut keys = Vec::new();
    let mut i = 0;
    while let Some(first) = groups.get(i) {
        if first.digits == BLOCKS * DIGITS
            && first.gap != Gap::Dash
            && groups.get(i + 1).is_none_or(|next| next.gap != Gap::Dash)
        {
            if first.right_blocks >= ENOUGH_RIGHT {
                keys.push(KeySpan {
                    start: first.start,
                    end: first.end,
                    is_certain: true,
                });
            }
            i += 1;
            continue;
        }
        let eight_from = |at: usize| groups.get(at..at + BLOCKS).filter(|eight| is_key(eight));
        if eight_from(i).is_none() {
            i += 1;
            continue;
        }
        // A number in front of a key may look like its first group: of all ways to cut, the first of the best.
        let best = (i..i + BLOCKS)
            .rev()
            .filter_map(|at| Some((at, eight_from(at)?)))
            .max_by_key(|(_, eight)| fit(eight));
        if let Some((at, eight)) = best
            && let [first, .., last] = eight
        {
            keys.push(KeySpan {
                start: first.start,
                end: last.end,
                is_certain: inner_gaps(eight).all(|gap| gap != Gap::Blank),
            });
            i = at + BLOCKS;
        }
    }
    keys
}

/// Digits in a block.
const DIGITS: usize = 6;

/// One block in about fifteen is right by chance. Numbers that are not set like a key need this many to count as one.
const ENOUGH_RIGHT: usize = 5;

/// Tells whether eight groups are a key, right or nearly so: phone numbers, dates and account numbers are not, and
/// neither are the numbers of a table.
fn is_key(eight: &[Group]) -> bool {
    let whole = eight.iter().filter(|group| group.digits == DIGITS).count();
    let near = eight
        .iter()
        .all(|group| (DIGITS - 1..=DIGITS + 1).contains(&group.digits));
    let count = |wanted| inner_gaps(eight).filter(|gap| *gap == wanted).count();
    // A key is broken once at most, unless it is written as a column.
    let is_set_as_key = count(Gap::Dash) + 1 >= BLOCKS - 1 && count(Gap::Line) <= 1 && count(Gap::Blank) == 0;
    let right: usize = eight.iter().map(|group| group.right_blocks).sum();
    near && count(Gap::Other) == 0
        && if is_set_as_key {
            whole >= BLOCKS - 2
        } else {
            whole >= BLOCKS - 1 && right >= ENOUGH_RIGHT
        }
}

/// Says how well eight groups belong together: by what stands between them, then by how many are right.
fn fit(eight: &[Group]) -> (bool, usize) {
    let first = inner_gaps(eight).next();
    let is_even = inner_gaps(eight).all(|gap| Some(gap) == first);
    (is_even, eight.iter().map(|group| group.right_blocks).sum())
}

fn inner_gaps(groups: &[Group]) -> impl Iterator<Item = Gap> {
    groups.iter().skip(1).map(|group| group.gap)
}

fn groups_in(text: &str, guids: &[GuidSpan]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut gap = Gap::Other;
    let mut signs_between = 0;
    let mut guids = guids.iter().peekable();
    let mut current: Option<Group> = None;
    for (at, sign) in text.char_indices() {
        while guids.peek().is_some_and(|guid| guid.end <= at) {
            guids.next();
        }
        let in_guid = guids.peek().is_some_and(|guid| guid.start <= at);
        if let Some(digit) = digit_of(sign).filter(|_| !in_guid) {
            let group = current.get_or_insert(Group {
                start: at,
                end: at,
                digits: 0,
                right_blocks: 0,
                block: 0,
                gap,
            });
            group.end = at + sign.len_utf8();
            group.digits += 1;
            group.block = group.block * 10 + digit;
            if group.digits.is_multiple_of(DIGITS) {
                group.right_blocks +=
                    usize::from(group.block.is_multiple_of(11) && group.block / 11 <= 0xFFFF);
                group.block = 0;
            }
            continue;
        }
        if let Some(group) = current.take() {
            groups.push(group);
            gap = Gap::Blank;
            signs_between = 0;
        }
        signs_between += 1;
        gap = match (gap, sign) {
            (Gap::Other, _) => Gap::Other,
            // Nothing that belongs together stands this far apart.
            _ if signs_between > 12 || in_guid => Gap::Other,
            (Gap::Line, sign) if is_dash(sign) || sign.is_whitespace() => Gap::Line,
            (_, '\n' | '\r') => Gap::Line,
            (_, sign) if is_dash(sign) => Gap::Dash,
            (gap, sign) if sign.is_whitespace() => gap,
            _ => Gap::Other,
        };
    }
    groups.extend(current);
    groups
}

fn digit_of(sign: char) -> Option<u32> {
    match sign {
        '\u{FF10}'..='\u{FF19}' => Some(u32::from(sign) - 0xFF10),
        _ => sign.to_digit(10),
    }
}

fn is_dash(sign: char) -> bool {
    matches!(
        sign,
        '-' | '\u{00AD}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}'
    )
}

/// What a text says besides the key.
#[derive(Debug, Clone)]
pub struct RenderContext {
    /// What the person calls the drive.
    pub drive: String,
    /// The date, as it is to be shown.
    pub saved_on: String,
}

/// The two forms of our text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// UTF-16 with its mark and Windows' line ends: what Windows itself writes, so that its users' tools read it.
    Windows,
    /// UTF-8 with plain line ends.
    Plain,
}

/// Writes a recovery key with its identifier, laid out as Windows does: a label, then the value behind a tab.
///
/// `None` for a record that holds a key file, which is not text.
#[must_use]
pub fn render(record: &RecoveryRecord, context: &RenderContext, style: Style) -> Option<SecretBytes> {
    let RecordKey::RecoveryPassword(password) = &record.key else {
        return None;
    };
    let digits = password.to_digits();
    let mut text = Zeroizing::new(String::with_capacity(2048));
    let one_line = |value: &str| value.replace(|sign: char| sign.is_control(), " ");
    let _ = write!(
        text,
        "BitLocker recovery key\n\
         \n\
         Drive: {}\n\
         Saved: {}\n\
         \n\
         Identifier:\n\
         \n\
         \t{}\n\
         \n\
         The recovery screen shows a key ID. If it starts like the identifier above, this is the key to type:\n\
         \n\
         Recovery Key:\n\
         \n\
         \t{}\n\
         \n\
         If it starts differently, this key is for another drive. Whoever has this file can open the drive: keep it \
         away from the computer.\n\
         `keyhaven verify DRIVE FILE` proves at any time that this file still opens the drive.\n",
        one_line(&context.drive),
        one_line(&context.saved_on),
        record.protector_id,
        digits.expose_secret(),
    );
    Some(match style {
        Style::Plain => SecretBytes::copy_of(text.as_bytes()),
        Style::Windows => {
            let text = Zeroizing::new(text.replace('\n', "\r\n"));
            let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
            SecretBytes::from(units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
        }
    })
}

#[cfg(test)]
mod tests {
    use keyhaven_crypto::Secret;
    use keyhaven_fve::format::FileTime;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

    fn keys(text: &str) -> Vec<(Vec<String>, Option<String>)> {
        scan(text)
            .into_iter()
            .map(|found| {
                let ids = found.ids.iter().map(Guid::to_string).collect();
                match found.content {
                    FoundContent::Key(Credential::RecoveryPassword(key)) => {
                        (ids, Some(key.to_digits().expose_secret().to_owned()))
                    }
                    _ => (ids, None),
                }
            })
            .collect()
    }

    fn one(text: &str) {
        assert_eq!(
            keys(text),
            [(vec![ID.to_owned()], Some(KEY.to_owned()))],
            "{text}"
        );
    }

    #[test]
    fn keys_are_found_in_all_forms() {
        one(&format!(
            "Bezeichner:\r\n\r\n\t{ID}\r\n\r\nWiederherstellungsschlüssel:\r\n\r\n\t{KEY}\r\n"
        ));
        one(&format!(
            "    Numerical Password:\n      ID: {{{}}}\n      Password:\n        {KEY}\n",
            ID.to_lowercase()
        ));
        one(&format!("\"{ID}\";\"{KEY}\""));
        one(&format!("{KEY},PC-7,{ID}\n"));
        one(&format!(
            "{{\"id\":\"{ID}\",\"key\":\"{}\"}}",
            KEY.replace('-', "")
        ));
        one(&format!("{ID} {}", KEY.replace('-', " ")));
        one(&format!("{ID} {}", KEY.replace('-', "\u{2011}")));
        one(&format!("{ID}\n{}", KEY.replacen("422114-", "422114-\r\n", 1)));
        one(&format!("{ID}\n{}", KEY.replacen("422114-", "422114\n", 1)));
        let full_width: String = KEY
            .chars()
            .map(|sign| {
                sign.to_digit(10)
                    .and_then(|digit| char::from_u32(0xFF10 + digit))
                    .unwrap_or(sign)
            })
            .collect();
        one(&format!("{ID}\n{full_width}"));
    }

    #[test]
    fn each_key_has_its_own_identifiers() {
        let other = "11111111-2222-3333-4444-555555555555";
        let text = format!("{ID}\n{KEY}\n{other}\n{KEY}\n");
        let ids = |text: &str| -> Vec<Vec<String>> { keys(text).into_iter().map(|(ids, _)| ids).collect() };
        assert_eq!(ids(&text), [[ID], [other]], "in front");
        assert_eq!(
            ids(&format!("{KEY}\n{ID}\n{KEY}\n{other}\n")),
            [[ID], [other]],
            "behind"
        );
        assert_eq!(
            ids(&format!("{KEY},a,{ID}\r\n{KEY},b,{other}\r\n")),
            [[ID], [other]],
            "rows of a table"
        );
        assert_eq!(
            ids(&format!("tenant {other}\n{KEY}\n{ID}\n{KEY}\n{other}\n")),
            [[other, ID], [ID, other]],
            "in doubt, all"
        );
    }

    #[test]
    fn numbers_in_front_of_a_key_are_not_its_first_block() {
        let spaced = KEY.replace('-', " ");
        for number in ["123456", "10115", "1234567", "123456 123456", "2026"] {
            for gap in [" ", "\t", "\n", " - ", "-"] {
                one(&format!("{ID}\n{number}{gap}{KEY}\n"));
                one(&format!("{ID}\n{number}{gap}{spaced}\n{number}"));
            }
        }
        let typo = KEY.replace("284867", "284866");
        let found = keys(&format!("123456\n{typo}\n{KEY}\n"));
        assert_eq!(found.len(), 2, "a mistyped key takes nothing of the next");
        assert_eq!((&found[0].1, found[1].1.as_deref()), (&None, Some(KEY)));
    }

    #[test]
    fn a_text_of_nothing_but_keys_and_identifiers_is_read_in_one_go() {
        // Looking at each pair of key and identifier would take minutes, and a page for each key more than there are.
        for text in [
            format!("{ID}\n{KEY}\n"),
            format!("{ID} {KEY} "),
            format!("{KEY} "),
        ] {
            let text = text.repeat(MAX_LEN_BYTES / text.len());
            assert_eq!(scan(&text).len(), MAX_KEYS + 1);
        }
    }

    #[test]
    fn nearly_keys_are_mistyped_and_other_numbers_are_nothing() {
        let mistyped = |text: &str| match scan(text).remove(0).content {
            FoundContent::Mistyped(mistyped) => mistyped.bad_blocks(),
            FoundContent::Key(_) => panic!("{text}"),
        };
        assert_eq!(mistyped(&KEY.replace("514998", "514996")), [3]);
        assert_eq!(mistyped(&KEY.replace("514998", "51499")), [3]);
        assert_eq!(mistyped(&KEY.replace('-', " ").replace("660297", "660298")), [5]);
        for text in [
            "030 123456-78, 2021-10-08 18:10:06, IBAN DE02 1203 0000 0000 2020 51",
            "123456 123456 123456 123456 123456 123456 123456",
            "100200 100300 100400 100500 100600 100700 100800 100900 101000",
            &"100200\n".repeat(40),
            &"40123456\n".repeat(40),
            "3.141592 653589 793238 462643 383279 502884 197169 399375 105820",
            &"123456".repeat(8),
            &"9".repeat(47),
            &"9".repeat(60),
            "",
        ] {
            assert!(scan(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn every_encoding_is_decoded_and_data_are_not_text() {
        let text = "Schlüssel\r\n\t284867";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [&[0xEF, 0xBB, 0xBF], text.as_bytes()].concat(),
            [&[0xFF, 0xFE], &le[..]].concat(),
            [&[0xFE, 0xFF], &be[..]].concat(),
            le,
            be,
            text.chars().map(|sign| sign as u8).collect(),
        ] {
            assert_eq!(decode(&bytes).as_deref().map(String::as_str), Some(text));
        }
        let shift_jis = [
            &[0x89, 0xF1, 0x95, 0x9C, 0x83, 0x4C, 0x81, 0x5B, b'\n'],
            KEY.as_bytes(),
        ]
        .concat();
        let decoded = decode(&shift_jis).expect("text");
        assert_eq!(keys(&decoded)[0].1.as_deref(), Some(KEY), "another code page");
        let mixed = [
            &[0xFF, b'\n'],
            "Ключ восстановления ".repeat(9).as_bytes(),
            KEY.as_bytes(),
        ]
        .concat();
        let decoded = decode(&mixed).expect("text");
        assert_eq!(keys(&decoded)[0].1.as_deref(), Some(KEY), "UTF-8 with a flaw");
        let japanese: String = "回復キーを入力してください。".repeat(9) + KEY;
        let le: Vec<u8> = japanese.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode(&le).as_deref(), Some(&japanese), "few letters of ASCII");
        assert!(decode(&(0..=255).cycle().take(4096).collect::<Vec<u8>>()).is_none());
        assert!(decode(&[0; 1000]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_we_write_we_find(key in any::<[u8; 16]>(), id in any::<[u8; 16]>(), drive in ".{0,40}") {
            let record = RecoveryRecord {
                volume_id: Guid::from_bytes([3; 16]),
                protector_id: Guid::from_bytes(id),
                description: None,
                modified: FileTime(0),
                key: RecordKey::RecoveryPassword(RecoveryPassword::from_key(Secret::from(key))),
            };
            // A drive whose name is a key would be a second one.
            let drive = drive.replace(|sign| digit_of(sign).is_some(), "x");
            let context = RenderContext { drive, saved_on: "24 November 2026".to_owned() };
            for style in [Style::Windows, Style::Plain] {
                let bytes = render(&record, &context, style).expect("text");
                let found = scan(&decode(bytes.expose_secret()).expect("text"));
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(found[0].ids.first(), Some(&record.protector_id));
                let FoundContent::Key(Credential::RecoveryPassword(again)) = &found[0].content else {
                    panic!("not a key")
                };
                prop_assert_eq!(again.key(), &Secret::from(key));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[0-9 \\-\u{ff11}\n]{0,120}") {
            if let Some(decoded) = decode(&bytes) {
                let _ = scan(&decoded);
            }
            let _ = scan(&text);
        }
    }
}
