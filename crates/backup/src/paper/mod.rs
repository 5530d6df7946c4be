//! Recovery keys on paper: a page to print, and the way back from a page, a PDF or a photo of it.
//!
//! A page says a key twice over: as digits to read out and type, and as a QR code. [`render_pdf`] makes the pages,
//! [`read_pdf`] and [`read_picture`] find whatever keys a document or a picture shows, and [`prove_page`] holds the two halves
//! of a finished page against each other.

mod page;
mod pdf;
mod picture;
mod proof;
mod reader_thread;
mod reading;

pub use page::{PageContext, Paper};
pub use pdf::render_pdf;
pub use picture::{is_picture, read_picture};
pub use proof::prove_page;
pub use reader_thread::READER_THREAD;
pub use reading::{PageReading, is_pdf, read_pages, read_pdf};

/// Why a page could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// None of the records is a key of digits: a key file cannot be typed from paper.
    #[error("there is no recovery key of 48 digits to put on paper")]
    NothingToPrint,
    /// The PDF could not be put together.
    #[error("the page could not be made: {reason}")]
    NotMade {
        /// What the library said, without any of the content.
        reason: &'static str,
    },
    /// The file is longer than is read.
    #[error("the file has {actual} bytes, expected at most {limit}")]
    TooLarge {
        /// Length in bytes.
        actual: usize,
        /// The longest that is read, in bytes.
        limit: usize,
    },
    /// The file is not a PDF that can be read.
    #[error("not a readable PDF")]
    NotAPdf,
    /// The PDF is protected by a password.
    #[error("the PDF is protected by a password")]
    Encrypted,
    /// The PDF has more pages than are read.
    #[error("the PDF has {actual} pages, expected at most {limit}")]
    TooManyPages {
        /// How many it has.
        actual: usize,
        /// How many are read.
        limit: usize,
    },
    /// The file is not a PNG or JPEG picture that can be read, or it is too large.
    #[error("not a readable PNG or JPEG picture of at most {limit_megapixels} megapixels")]
    NotAPicture {
        /// The largest picture that is read.
        limit_megapixels: u32,
    },
    /// The document broke the library that reads it.
    #[error("the document is damaged in a way that cannot be read")]
    Broken,
    /// Reading took too long and was given up.
    #[error("the document was not read within {seconds} seconds")]
    TooSlow {
        /// How long it was tried.
        seconds: u64,
    },
    /// A page that was just made does not give its key back.
    #[error("the {half} on the page for key ID {key_id} cannot be read back")]
    NotProven {
        /// Which half of the page is missing or wrong: "digits" or "QR code".
        half: &'static str,
        /// The key ID of the page.
        key_id: String,
    },
    /// The digits and the QR code of a page are different keys.
    #[error("the digits and the QR code on the page for key ID {key_id} are different keys")]
    HalvesDiffer {
        /// The key ID of the page.
        key_id: String,
    },
    /// No page carries this key ID.
    #[error("there is no page for key ID {key_id}")]
    NoSuchPage {
        /// The key ID.
        key_id: String,
    },
}
