//! What people change about a password that they half remember, the likeliest first.

use zeroize::Zeroizing;

use super::Changed;

/// Slips are looked for in the first characters of a word only.
const SLIPS_LEN_MAX: usize = 64;

/// Years that are put behind a word.
const YEARS: std::ops::RangeInclusive<u16> = 1950..=2035;

/// One change. `None` where there is nothing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The first letter is the other case.
    FirstCase,
    /// Everything is in capitals.
    Capitals,
    /// Everything is in small letters.
    Small,
    /// Every letter is the other case: Caps Lock.
    AllCases,
    /// Y and Z changed places: the other of the German and English keyboards.
    YAndZ,
    /// What comes behind it.
    Behind(String),
    /// What comes behind it, and the first letter is a capital.
    CapitalAndBehind(String),
    /// The number at its end is this much higher.
    Count(i32),
    /// The digits and signs at its end are gone.
    WithoutEnd,
    /// The character at a place is gone.
    Without(usize),
    /// It is there twice.
    Twice(usize),
    /// It and the next changed places.
    Swapped(usize),
    /// It is the other case.
    Case(usize),
    /// It is another one.
    Instead(usize, char),
    /// Another one stands before it.
    Before(usize, char),
}

/// Lists the changes for words up to a length, the likeliest first.
pub(super) fn all(changed: Changed, longest: usize) -> Vec<Change> {
    let mut all = vec![Change::Nothing];
    if changed == Changed::Not {
        return all;
    }
    all.extend([
        Change::FirstCase,
        Change::AllCases,
        Change::Small,
        Change::Capitals,
        Change::YAndZ,
    ]);
    let digits = || (0..10).map(|digit| digit.to_string());
    let signs = ["!", ".", "?", "1!", "123", "#", "*", "$", "12", "01"].map(str::to_owned);
    let single: Vec<String> = digits().chain(signs).collect();
    all.extend(single.iter().cloned().map(Change::Behind));
    all.extend([1, -1, 2, -2, 3, -3].map(Change::Count));
    all.extend(single.into_iter().map(Change::CapitalAndBehind));
    all.push(Change::WithoutEnd);
    let slips = longest.min(SLIPS_LEN_MAX);
    if changed == Changed::BySlips {
        all.extend((0..slips).map(Change::Swapped));
        all.extend((0..slips).map(Change::Without));
        all.extend((0..slips).map(Change::Twice));
        all.extend((0..slips).map(Change::Case));
    }
    let double = (0..100).map(|number| format!("{number:02}"));
    let behind: Vec<String> = double.chain(YEARS.map(|year| year.to_string())).collect();
    all.extend(behind.iter().cloned().map(Change::Behind));
    all.extend(behind.into_iter().map(Change::CapitalAndBehind));
    if changed == Changed::BySlips {
        let printable = || ' '..='~';
        all.extend((0..slips).flat_map(|at| printable().map(move |sign| Change::Instead(at, sign))));
        all.extend((0..=slips).flat_map(|at| printable().map(move |sign| Change::Before(at, sign))));
    }
    all
}

impl Change {
    /// Changes a word; `None` where that is not possible or changes nothing.
    pub(super) fn apply(&self, word: &str) -> Option<Zeroizing<String>> {
        let signs = || Zeroizing::new(word.chars().collect::<Vec<char>>());
        let joined = |signs: &[char]| {
            let mut text = Zeroizing::new(String::with_capacity(4 * signs.len() + 8));
            text.extend(signs);
            text
        };
        let each = |change: fn(char) -> char| {
            let mut text = Zeroizing::new(String::with_capacity(2 * word.len() + 8));
            text.extend(word.chars().map(change));
            text
        };
        let edited = |edit: &dyn Fn(&mut Vec<char>) -> Option<()>| {
            let mut signs = signs();
            signs.reserve_exact(1);
            edit(&mut signs)?;
            Some(joined(&signs))
        };
        let with_first = |change: fn(char) -> char| {
            let mut signs = signs();
            if let Some(first) = signs.first_mut() {
                *first = change(*first);
            }
            joined(&signs)
        };
        let changed = match self {
            Self::Nothing => return Some(joined(&signs())),
            Self::FirstCase => with_first(other_case),
            Self::Capitals => each(upper),
            Self::Small => each(lower),
            Self::AllCases => each(other_case),
            Self::YAndZ => each(|sign| match sign {
                'y' => 'z',
                'z' => 'y',
                'Y' => 'Z',
                'Z' => 'Y',
                other => other,
            }),
            Self::Behind(end) => {
                let mut text = joined(&signs());
                text.push_str(end);
                text
            }
            Self::CapitalAndBehind(end) => {
                let mut text = with_first(upper);
                text.push_str(end);
                text
            }
            Self::Count(by) => counted(word, *by)?,
            Self::WithoutEnd => {
                let kept = word.trim_end_matches(|sign: char| !sign.is_alphabetic());
                if kept.is_empty() {
                    return None;
                }
                Zeroizing::new(kept.to_owned())
            }
            Self::Without(at) => edited(&|signs| {
                (*at < signs.len()).then(|| signs.remove(*at))?;
                (!signs.is_empty()).then_some(())
            })?,
            Self::Twice(at) => edited(&|signs| {
                let sign = *signs.get(*at)?;
                signs.insert(*at, sign);
                Some(())
            })?,
            Self::Swapped(at) => edited(&|signs| {
                signs.get(*at + 1)?;
                signs.swap(*at, *at + 1);
                Some(())
            })?,
            Self::Case(at) => edited(&|signs| {
                let sign = signs.get_mut(*at)?;
                *sign = other_case(*sign);
                Some(())
            })?,
            Self::Instead(at, other) => edited(&|signs| {
                *signs.get_mut(*at)? = *other;
                Some(())
            })?,
            Self::Before(at, other) => {
                edited(&|signs| (*at <= signs.len()).then(|| signs.insert(*at, *other)))?
            }
        };
        (*changed != word).then_some(changed)
    }
}

/// Adds to the number at the end of a word and keeps its width: `Summer2023`, `pass09`.
fn counted(word: &str, by: i32) -> Option<Zeroizing<String>> {
    let kept = word.trim_end_matches(|sign: char| sign.is_ascii_digit());
    let digits = word
        .get(kept.len()..)
        .filter(|digits| (1..=8).contains(&digits.len()))?;
    let number: i32 = digits.parse().ok()?;
    let number = number.checked_add(by).filter(|number| *number >= 0)?;
    let width = digits.len();
    Some(Zeroizing::new(format!("{kept}{number:0width$}")))
}

// Letters whose other case is several letters stay as they are.
fn upper(sign: char) -> char {
    let mut upper = sign.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => sign,
    }
}

fn lower(sign: char) -> char {
    let mut lower = sign.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => sign,
    }
}

fn other_case(sign: char) -> char {
    if sign.is_lowercase() {
        upper(sign)
    } else {
        lower(sign)
    }
}
