//! What a page is made for.

/// What a page says besides the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageContext {
    /// The drive, in words that its owner will know again in ten years. Any length, any script.
    pub drive_name: String,
    /// The day on which the page is made, in words: "24 November 2026". With the month as a word nobody takes it for
    /// the day.
    pub saved_on: String,
    /// The paper.
    pub paper: Paper,
}

/// A size of paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Paper {
    /// 210 x 297 mm.
    #[default]
    A4,
    /// 8.5 x 11 inches.
    Letter,
}

impl Paper {
    /// Returns width and height in points of 1/72 inch.
    #[must_use]
    pub const fn size_points(self) -> (f32, f32) {
        match self {
            Self::A4 => (595.276, 841.89),
            Self::Letter => (612.0, 792.0),
        }
    }
}
