//! From characters to groups of places: what separates, what stands for a digit, what says "one of these".

use keyhaven_fve::keys::is_separator;
use zeroize::Zeroizing;

use super::super::digits::{DIGITS, DigitSet, Pattern};
use super::HintError;

/// Words that say that one of several is right.
const OR: &[&str] = &["or", "oder"];

/// Words that mean nothing beside "or".
const MAYBE: &[&str] = &[
    "maybe",
    "perhaps",
    "possibly",
    "probably",
    "either",
    "vielleicht",
    "evtl",
    "entweder",
];

/// Words for a block that is not there.
const MISSING: &[&str] = &[
    "missing",
    "lost",
    "unknown",
    "unreadable",
    "gone",
    "fehlt",
    "unbekannt",
    "unlesbar",
];

/// A piece of the text.
pub(super) enum Token {
    Place(DigitSet),
    /// A bracket: one of these.
    Either(Vec<Pattern>),
    /// "or", at this character.
    Or {
        at: At,
    },
    /// `/` or `|`, which is an "or" where one digit follows.
    Slash {
        at: At,
    },
    /// Separates blocks.
    Strong,
    /// Separates blocks where they are whole.
    Blank,
    /// A block or several are missing.
    Gap,
}

/// Where something stands, for errors.
#[derive(Clone, Copy)]
pub(super) struct At {
    position: usize,
    block: usize,
}

/// One place of a block, or several at once.
pub(super) enum Unit {
    Place(DigitSet),
    Either(Vec<Pattern>),
}

impl Unit {
    /// Returns how many digits it stands for.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Place(_) => 1,
            Self::Either(alternatives) => alternatives.first().map_or(0, |one| one.len()),
        }
    }
}

/// What belongs together; one without any places stands for blocks that are missing.
pub(super) struct Group {
    pub(super) units: Vec<Unit>,
}

impl Group {
    fn len(&self) -> usize {
        len_of(&self.units)
    }
}

/// Cuts a text into tokens.
pub(super) fn read(text: &str) -> Result<Vec<Token>, HintError> {
    let signs = Zeroizing::new(text.chars().collect::<Vec<char>>());
    let underscore_separates = text
        .split(is_separator)
        .filter(|group| !group.is_empty())
        .all(|group| group.chars().filter(|sign| DigitSet::of(*sign).is_some()).count() == DIGITS);
    let is_hyphen = |sign: &char| {
        matches!(
            sign,
            '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}'
        )
    };
    let mut tokens = Vec::with_capacity(signs.len());
    let (mut i, mut block, mut block_has_signs, mut has_signs) = (0, 1, false, false);
    while let Some(sign) = signs.get(i).copied() {
        let at = At {
            position: i + 1,
            block,
        };
        let run =
            |wanted: &dyn Fn(&char) -> bool| signs.iter().skip(i).take_while(|sign| wanted(sign)).count();
        let letters = run(&|sign| sign.is_alphabetic());
        let word = || {
            Zeroizing::new(
                signs
                    .iter()
                    .skip(i)
                    .take(letters)
                    .collect::<String>()
                    .to_lowercase(),
            )
        };
        let mut length = 1;
        let token = if letters > 1 && MAYBE.contains(&word().as_str()) {
            length = letters;
            Token::Blank
        } else if letters > 1 && OR.contains(&word().as_str()) {
            length = letters;
            Token::Or { at }
        } else if letters > 1 && MISSING.contains(&word().as_str()) {
            length = letters;
            Token::Gap
        } else if sign == '_' && underscore_separates {
            Token::Strong
        } else if let Some(set) = DigitSet::of(sign) {
            Token::Place(set)
        } else if is_hyphen(&sign) {
            length = run(&is_hyphen);
            // In front of everything and behind it, one says as much as two between blocks.
            let is_last = !signs.iter().skip(i + 1).any(|sign| DigitSet::of(*sign).is_some());
            if length > 1 || !has_signs || is_last {
                Token::Gap
            } else {
                Token::Strong
            }
        } else if sign == '\u{2026}' {
            Token::Gap
        } else if sign == '.' {
            length = run(&|sign| *sign == '.');
            if length > 2 { Token::Gap } else { Token::Strong }
        } else if let Some(end) = closing(sign) {
            let inside = signs.iter().skip(i + 1).position(|sign| *sign == end);
            let broken = HintError::Bracket {
                position: at.position,
                block,
            };
            let inside = inside
                .and_then(|len| signs.get(i + 1..i + 1 + len))
                .ok_or(broken)?;
            length = inside.len() + 2;
            either(inside, at)?
        } else if matches!(sign, '/' | '|' | '\\') {
            Token::Slash { at }
        } else if sign.is_whitespace() {
            Token::Blank
        } else if is_separator(sign) || matches!(sign, ';' | ':' | '"' | '\'') {
            Token::Strong
        } else {
            return Err(HintError::NotUnderstood {
                position: at.position,
                block,
            });
        };
        // A rough count, good enough to say where.
        match &token {
            Token::Place(_) | Token::Either(_) => (has_signs, block_has_signs) = (true, true),
            Token::Strong if block_has_signs => {
                block += 1;
                block_has_signs = false;
            }
            Token::Gap => {
                block += 1 + usize::from(block_has_signs);
                block_has_signs = false;
            }
            _ => {}
        }
        tokens.push(token);
        i += length;
    }
    Ok(tokens)
}

fn closing(sign: char) -> Option<char> {
    Some(match sign {
        '[' => ']',
        '(' => ')',
        '{' => '}',
        '<' => '>',
        _ => return None,
    })
}

/// Reads the inside of a bracket: `17`, `1,7`, `1-4`, `1 or 7`, `12/21`.
fn either(inside: &[char], at: At) -> Result<Token, HintError> {
    let At { position, block } = at;
    if let [from, '-', to] = inside
        && let (Some(from), Some(to)) = (
            DigitSet::of(*from).and_then(DigitSet::known),
            DigitSet::of(*to).and_then(DigitSet::known),
        )
        && from < to
    {
        let range = (from..=to).map(DigitSet::one).reduce(DigitSet::or);
        return Ok(range.map_or(Token::Blank, Token::Place));
    }
    let mut alternatives: Vec<Pattern> = Vec::new();
    let mut is_new = true;
    let mut in_word = String::new();
    for sign in inside {
        // The letters of "or" are not digits in here.
        if sign.is_alphabetic() && DigitSet::of(*sign) != Some(DigitSet::ANY) {
            in_word.push(sign.to_ascii_lowercase());
            is_new = true;
            continue;
        }
        if !in_word.is_empty() && !OR.contains(&in_word.as_str()) && !MAYBE.contains(&in_word.as_str()) {
            return Err(HintError::NotUnderstood { position, block });
        }
        in_word.clear();
        match DigitSet::of(*sign) {
            Some(set) => {
                match alternatives.last_mut().filter(|_| !is_new) {
                    Some(last) => last.push(set),
                    None => {
                        let mut one = Zeroizing::new(Vec::with_capacity(inside.len()));
                        one.push(set);
                        alternatives.push(one);
                    }
                }
                is_new = false;
            }
            None if sign.is_whitespace() || is_separator(*sign) || matches!(sign, '|' | '\\' | ';') => {
                is_new = true;
            }
            None => return Err(HintError::NotUnderstood { position, block }),
        }
    }
    match alternatives.as_slice() {
        [] => Err(HintError::Bracket { position, block }),
        // `[17]`: each sign is one of them.
        [one] => Ok(one
            .iter()
            .copied()
            .reduce(DigitSet::or)
            .map_or(Token::Blank, Token::Place)),
        [first, ..] if alternatives.iter().any(|one| one.len() != first.len()) => {
            Err(HintError::Or { position, block })
        }
        [first, ..] if first.len() == 1 => {
            let all = alternatives.iter().flat_map(|one| one.iter().copied());
            Ok(all.reduce(DigitSet::or).map_or(Token::Blank, Token::Place))
        }
        _ => Ok(Token::Either(alternatives)),
    }
}

/// Puts the places together that belong to one block, or to several without separators between them.
///
/// A blank separates whole blocks; parts of one are joined over it as long as they make no more than six.
pub(super) fn groups(tokens: Vec<Token>) -> Result<Vec<Group>, HintError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut may_join = false;
    for piece in choose(pieces(tokens))? {
        match piece {
            Piece::Units(units) => {
                match groups.last_mut() {
                    Some(last) if may_join && last.len() + len_of(&units) <= DIGITS => {
                        last.units.extend(units)
                    }
                    _ => groups.push(Group { units }),
                }
                may_join = true;
            }
            Piece::Gap => {
                groups.push(Group { units: Vec::new() });
                may_join = false;
            }
            Piece::Strong | Piece::Or { .. } => may_join = false,
        }
    }
    Ok(groups)
}

/// What stands between blanks.
enum Piece {
    Units(Vec<Unit>),
    Or { at: At, needs_one: bool },
    Strong,
    Gap,
}

fn pieces(tokens: Vec<Token>) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(tokens.len());
    let mut is_open = false;
    for token in tokens {
        let unit = match token {
            Token::Place(set) => Some(Unit::Place(set)),
            Token::Either(alternatives) => Some(Unit::Either(alternatives)),
            Token::Or { at } => {
                pieces.push(Piece::Or { at, needs_one: false });
                None
            }
            Token::Slash { at } => {
                pieces.push(Piece::Or { at, needs_one: true });
                None
            }
            Token::Strong => {
                pieces.push(Piece::Strong);
                None
            }
            Token::Gap => {
                pieces.push(Piece::Gap);
                None
            }
            Token::Blank => None,
        };
        match (unit, pieces.last_mut()) {
            (Some(unit), Some(Piece::Units(units))) if is_open => {
                units.push(unit);
                continue;
            }
            (Some(unit), _) => {
                pieces.push(Piece::Units(vec![unit]));
                is_open = true;
            }
            (None, _) => is_open = false,
        }
    }
    pieces
}

/// Joins what stands on both sides of an "or".
fn choose(pieces: Vec<Piece>) -> Result<Vec<Piece>, HintError> {
    let mut chosen: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let Piece::Or { at, needs_one } = piece else {
            chosen.push(piece);
            continue;
        };
        let right = match pieces.peek() {
            Some(Piece::Units(units)) if !needs_one || len_of(units) == 1 => pieces.next(),
            _ => None,
        };
        match (chosen.last_mut(), right) {
            (Some(Piece::Units(left)), Some(Piece::Units(right))) => {
                let (position, block) = (at.position, at.block);
                either_side(left, right).ok_or(HintError::Or { position, block })?;
            }
            (_, right) if needs_one => {
                chosen.push(Piece::Strong);
                chosen.extend(right);
            }
            _ => {
                let (position, block) = (at.position, at.block);
                return Err(HintError::Or { position, block });
            }
        }
    }
    Ok(chosen)
}

/// Makes the end of `left` one of two; `None` where it is shorter than `right`, or itself made of such.
fn either_side(left: &mut Vec<Unit>, right: Vec<Unit>) -> Option<()> {
    let places = |units: &[Unit]| {
        let mut pattern: Pattern = Zeroizing::new(Vec::with_capacity(units.len()));
        for unit in units {
            match unit {
                Unit::Place(set) => pattern.push(*set),
                Unit::Either(_) => return None,
            }
        }
        Some(pattern)
    };
    let right = places(&right)?;
    if let Some(Unit::Either(alternatives)) = left.last_mut()
        && alternatives.first().is_some_and(|one| one.len() == right.len())
    {
        alternatives.push(right);
        return Some(());
    }
    let start = left.len().checked_sub(right.len())?;
    let end = places(left.get(start..)?)?;
    left.truncate(start);
    left.push(match (end.as_slice(), right.as_slice()) {
        ([one], [other]) => Unit::Place(one.or(*other)),
        _ => Unit::Either(vec![end, right]),
    });
    Some(())
}

fn len_of(units: &[Unit]) -> usize {
    units.iter().map(Unit::len).sum()
}
