//! Sizes as a person reads them.

/// Returns a size in the largest unit that leaves a whole part, and the exact bytes: "100.0 MiB (104857600 bytes)".
pub(crate) fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = None;
    let mut tenths = u128::from(bytes) * 10;
    for next in UNITS {
        if tenths < 10240 {
            break;
        }
        tenths /= 1024;
        unit = Some(next);
    }
    match unit {
        Some(unit) => format!("{}.{} {unit} ({bytes} bytes)", tenths / 10, tenths % 10),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_exact() {
        assert_eq!(size_text(512), "512 bytes");
        assert_eq!(size_text(104_857_600), "100.0 MiB (104857600 bytes)");
        assert_eq!(size_text(1_536), "1.5 KiB (1536 bytes)");
        assert_eq!(size_text(u64::MAX), "15.9 EiB (18446744073709551615 bytes)");
    }
}
