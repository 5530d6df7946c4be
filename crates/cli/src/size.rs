//! Sizes as people write them: `64M`, `1.5T`, `32GB`.

/// Reads a size in bytes. K, M, G and T count in 1024s, as do KiB, MiB and so on; KB, MB, GB and TB count in 1000s.
///
/// # Errors
/// What is wrong with the text, for a person.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let problem =
        || format!("`{text}` is no size: give bytes, or a number with K, M, G or T, such as 64M or 1.5T");
    let digits = text
        .find(|sign: char| !sign.is_ascii_digit() && sign != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(problem()),
    };
    // In whole numbers: what comes behind the point counts in thousandths of the unit.
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.is_empty() || part.len() > 3 || part.contains('.') {
        return Err(problem());
    }
    let whole: u64 = whole.parse().map_err(|_| problem())?;
    let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| problem())?;
    whole
        .checked_mul(factor)
        .and_then(|bytes| bytes.checked_add((u128::from(factor) * u128::from(thousandths) / 1000) as u64))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_meant() {
        for (text, bytes) in [
            ("1", 1),
            ("512b", 512),
            ("64M", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64MB", 64_000_000),
            ("1.5G", 3 << 29),
            ("0.5k", 512),
            ("1t", 1 << 40),
            ("2.25TB", 2_250_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "0",
            "M",
            "-1",
            "1.M",
            "1.2.3",
            "1.2345G",
            "12X",
            "99999999999999999999",
            "99999999T",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
