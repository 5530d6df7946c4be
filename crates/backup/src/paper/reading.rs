//! Finds what a PDF says: its text, and its QR codes as a camera would see them.
//!
//! The text is what the fonts say that their glyphs mean, put back into lines by where the glyphs stand, since a PDF
//! has no lines. Both ways work on any PDF that shows a key, not only on ours.

use std::sync::Arc;

use hayro::hayro_interpret::font::GlyphRun;
use hayro::hayro_interpret::hayro_cmap::BfString;
use hayro::hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, TransformExt, interpret_page,
};
use hayro::hayro_syntax::page::Page;
use hayro::hayro_syntax::{LoadPdfError, Pdf};
use hayro::kurbo::{Affine, BezPath, Point, Rect};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use keyhaven_crypto::SecretText;
use zeroize::{Zeroize, Zeroizing};

use super::PaperError;
use super::picture::{Greyscale, codes_on_page};
use super::reader_thread::on_reader_thread;

const MAX_BYTES: usize = 16 << 20;
const MAX_PAGES: usize = 50;
const MAX_PIXELS: f32 = 25e6;
const MAX_SIDE_PIXELS: f32 = 16_000.0;

// A page of text has some ten thousand glyphs; this bounds what a hostile one makes us keep.
const MAX_GLYPHS: usize = 200_000;

// 144 dots per inch show each module of a 20 mm code as three pixels or more.
const SCALE: f32 = 2.0;

/// What one page says.
#[derive(Debug)]
pub struct PageReading {
    /// The text, line by line from top to bottom.
    pub text: SecretText,
    /// What the QR codes on it hold.
    pub codes: Vec<SecretText>,
}

/// Says whether `bytes` begin as a PDF does (within the first kilobyte, as viewers accept).
#[must_use]
pub fn is_pdf(bytes: &[u8]) -> bool {
    bytes
        .get(..bytes.len().min(1024))
        .is_some_and(|start| start.windows(5).any(|five| five == b"%PDF-"))
}

/// Returns every text of a PDF that may hold a key: the text of each page, and each QR code on it.
///
/// # Errors
/// [`PaperError`] if the PDF is too large, locked or damaged beyond reading.
pub fn read_pdf(bytes: &[u8]) -> Result<Vec<SecretText>, PaperError> {
    let pages = read_pages(bytes)?;
    Ok(pages
        .into_iter()
        .flat_map(|page| std::iter::once(page.text).chain(page.codes))
        .collect())
}

/// Reads a PDF page by page.
///
/// Reading happens on a thread of its own ([`READER_THREAD`](super::READER_THREAD)).
///
/// # Errors
/// [`PaperError`] if the PDF is too large, locked or damaged beyond reading.
pub fn read_pages(bytes: &[u8]) -> Result<Vec<PageReading>, PaperError> {
    if bytes.len() > MAX_BYTES {
        return Err(PaperError::TooLarge {
            actual: bytes.len(),
            limit: MAX_BYTES,
        });
    }
    if !is_pdf(bytes) {
        return Err(PaperError::NotAPdf);
    }
    let bytes = Arc::new(Zeroizing::new(bytes.to_vec()));
    on_reader_thread(move || read_document(bytes))
}

fn read_document(bytes: Arc<Zeroizing<Vec<u8>>>) -> Result<Vec<PageReading>, PaperError> {
    let pdf = Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(_) => PaperError::Encrypted,
        LoadPdfError::Invalid => PaperError::NotAPdf,
    })?;
    let pages = pdf.pages();
    if pages.len() > MAX_PAGES {
        return Err(PaperError::TooManyPages {
            actual: pages.len(),
            limit: MAX_PAGES,
        });
    }
    Ok(pages
        .iter()
        .map(|page| PageReading {
            text: text_of(&pdf, page),
            codes: rendered(page)
                .map(|page| codes_on_page(&page))
                .unwrap_or_default(),
        })
        .collect())
}

/// Renders a page as black on white; `None` for one without an area.
fn rendered(page: &Page<'_>) -> Option<Greyscale> {
    let (width, height) = page.render_dimensions();
    if !(width >= 1.0 && height >= 1.0) {
        return None;
    }
    let scale = SCALE
        .min((MAX_PIXELS / (width * height)).sqrt())
        .min(MAX_SIDE_PIXELS / width.max(height));
    let pixmap = hayro::render(
        page,
        &RenderCache::new(),
        &InterpreterSettings::default(),
        &RenderSettings::default(),
        &PixmapSettings {
            x_scale: scale,
            y_scale: scale,
            bg_color: WHITE,
        },
    );
    let (width, height) = (pixmap.width().into(), pixmap.height().into());
    let pixels = pixmap
        .data()
        .iter()
        .map(|pixel| ((u32::from(pixel.r) * 2 + u32::from(pixel.g) * 5 + u32::from(pixel.b)) / 8) as u8)
        .collect();
    Greyscale::new(width, height, pixels)
}

fn text_of(pdf: &Pdf, page: &Page<'_>) -> SecretText {
    let cache = InterpreterCache::new();
    let (width, height) = page.render_dimensions();
    let mut context = Context::new(
        page.initial_transform(true).to_kurbo(),
        Rect::new(0.0, 0.0, f64::from(width), f64::from(height)),
        &cache,
        pdf.xref(),
        InterpreterSettings::default(),
    );
    let mut glyphs = Glyphs::default();
    interpret_page(page, &mut context, &mut glyphs);
    glyphs.into_text()
}

/// One glyph: where it stands, and what it means.
struct Placed {
    x: f64,
    y: f64,
    /// The size of its font on the page, in points.
    size: f64,
    meaning: char,
}

/// Notes the glyphs of a page and draws nothing.
#[derive(Default)]
struct Glyphs(Vec<Placed>);

impl Device<'_> for Glyphs {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, '_>, props: DrawProps<'_>, _: &DrawMode) {
        for glyph in run.glyphs() {
            if self.0.len() >= MAX_GLYPHS {
                return;
            }
            let transform: Affine = props.transform * glyph.transform();
            let origin = transform * Point::ZERO;
            // Glyph space has 1,000 units to the font's size.
            let size = 1000.0 * transform.determinant().abs().sqrt();
            let mut note = |meaning| {
                self.0.push(Placed {
                    x: origin.x,
                    y: origin.y,
                    size,
                    meaning,
                });
            };
            match glyph.as_unicode() {
                Some(BfString::Char(meaning)) => note(meaning),
                Some(BfString::String(mut meaning)) => {
                    meaning.chars().for_each(note);
                    meaning.zeroize();
                }
                None => {}
            }
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'_>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'_>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'_, '_>, _: ImageDrawProps<'_>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}

impl Glyphs {
    /// Puts the glyphs into lines: those at one height are a line, and a gap in it is a blank.
    fn into_text(mut self) -> SecretText {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 2 + 16));
        // By height first. The order is stable: what one drew together stays together.
        self.0.sort_by(|a, b| a.y.total_cmp(&b.y));
        let same_line = |a: &Placed, b: &Placed| (a.y - b.y).abs() <= 0.2 * a.size.min(b.size).max(1.0);
        for line in self.0.chunk_by_mut(same_line) {
            line.sort_by(|a, b| a.x.total_cmp(&b.x));
            let mut previous: Option<&Placed> = None;
            for glyph in line.iter() {
                // No letter is wider than its size, but a blank may be narrow: three quarters tell digits apart.
                if previous.is_some_and(|p| glyph.x - p.x > 0.95 * p.size.max(1.0)) {
                    push_within(&mut text, ' ');
                }
                push_within(&mut text, glyph.meaning);
                previous = Some(glyph);
            }
            push_within(&mut text, '\n');
        }
        for glyph in &mut self.0 {
            glyph.meaning = '\0';
        }
        SecretText::copy_of(&text)
    }
}

/// Appends without ever growing the buffer by moving it, which would leave a copy of the text behind.
fn push_within(text: &mut Zeroizing<String>, character: char) {
    if text.capacity() - text.len() < character.len_utf8() {
        let mut larger = Zeroizing::new(String::with_capacity(text.capacity() * 2));
        larger.push_str(text);
        *text = larger;
    }
    text.push(character);
}

#[cfg(test)]
pub(super) mod tests {
    use keyhaven_testkit::tool;

    use super::super::{PageContext, Paper, prove_page, render_pdf};
    use super::*;
    use keyhaven_crypto::{Secret, SecretBytes};
    use keyhaven_fve::format::FileTime;
    use keyhaven_fve::keys::{ExternalKey, RecoveryPassword};
    use keyhaven_fve::{Guid, RecordKey, RecoveryRecord};
    use std::process::{Command, Stdio};

    pub(in super::super) fn record(number: u8) -> RecoveryRecord {
        let key = Secret::init_with(|key: &mut [u8; 16]| {
            for (i, byte) in key.iter_mut().enumerate() {
                *byte = number.wrapping_mul(67).wrapping_add((i as u8).wrapping_mul(37));
            }
        });
        RecoveryRecord {
            volume_id: Guid::from_bytes([7; 16]),
            protector_id: Guid::from_bytes([number; 16]),
            description: None,
            modified: FileTime(0),
            key: RecordKey::RecoveryPassword(RecoveryPassword::from_key(key)),
        }
    }

    pub(in super::super) fn digits(record: &RecoveryRecord) -> String {
        match &record.key {
            RecordKey::RecoveryPassword(key) => key.to_digits().expose_secret().to_owned(),
            _ => panic!("not a recovery key"),
        }
    }

    pub(in super::super) fn page(records: &[RecoveryRecord], drive_name: &str, paper: Paper) -> SecretBytes {
        let context = PageContext {
            drive_name: drive_name.to_owned(),
            saved_on: "24 November 2026".to_owned(),
            paper,
        };
        render_pdf(records, &context).unwrap()
    }

    #[test]
    fn every_page_gives_its_key_back_in_both_ways() {
        let records = [record(1), record(2)];
        let pdf = page(&records, "Anna's laptop (C:)", Paper::A4);
        let pages = read_pages(pdf.expose_secret()).unwrap();
        assert_eq!(pages.len(), 2);
        for (page, record) in pages.iter().zip(&records) {
            let text = page.text.expose_secret();
            assert!(
                text.contains("Anna's laptop (C:)") && text.contains("24 November 2026"),
                "{text}"
            );
            assert!(text.contains(&digits(record)));
            let codes: Vec<&str> = page.codes.iter().map(SecretText::expose_secret).collect();
            assert_eq!(codes, [digits(record)]);
            let key = prove_page(pdf.expose_secret(), record.protector_id).unwrap();
            assert_eq!(key.to_digits().expose_secret(), digits(record));
        }
        let found = crate::text::scan(pages[1].text.expose_secret());
        assert!(
            found
                .iter()
                .any(|key| key.ids.first() == Some(&records[1].protector_id))
        );
        for key in found {
            assert!(
                matches!(key.content, crate::found::FoundContent::Key(_)),
                "nothing reads as mistyped"
            );
        }
    }

    #[test]
    fn any_drive_name_fits_on_the_page() {
        let long = "W".repeat(300);
        let sixty = "The external drive with all of the photos since 2009 (white)";
        assert_eq!(sixty.len(), 60);
        let names = [
            "",
            "\u{6f22}\u{5b57}\u{1f600} \u{645}\u{631}\u{62d}\u{628}\u{627}",
            "a\0b\nc\u{202e}d",
            sixty,
            &long,
        ];
        for (name, paper) in names
            .into_iter()
            .flat_map(|name| [(name, Paper::A4), (name, Paper::Letter)])
        {
            let records = [record(3)];
            let pdf = page(&records, name, paper);
            assert!(
                prove_page(pdf.expose_secret(), records[0].protector_id).is_ok(),
                "{name:?}"
            );
            if name == sixty {
                let pages = read_pages(pdf.expose_secret()).unwrap();
                assert!(pages[0].text.expose_secret().contains(sixty), "it is not cut");
            }
        }
    }

    #[test]
    fn the_file_says_nothing_but_the_page() {
        let records = [record(4)];
        let pdf = page(&records, "drive", Paper::A4);
        let again = page(&records, "drive", Paper::A4);
        assert_eq!(
            pdf.expose_secret(),
            again.expose_secret(),
            "the same page is the same file"
        );
        assert!(
            pdf.expose_secret().len() < 64 << 10,
            "{}",
            pdf.expose_secret().len()
        );
        let raw = String::from_utf8_lossy(pdf.expose_secret()).into_owned();
        for leak in [
            "CreationDate",
            "ModDate",
            "/Author",
            "/Creator",
            &digits(&records[0]),
        ] {
            assert!(!raw.contains(leak), "{leak}");
        }
    }

    #[test]
    fn key_files_are_not_for_paper() {
        let context = PageContext {
            drive_name: String::new(),
            saved_on: String::new(),
            paper: Paper::A4,
        };
        let key = ExternalKey::new(
            Guid::from_bytes([9; 16]),
            None,
            None,
            FileTime(0),
            Secret::from([1; 32]),
        );
        let records = [RecoveryRecord {
            key: RecordKey::ExternalKey(key),
            ..record(5)
        }];
        assert_eq!(
            render_pdf(&records, &context).unwrap_err(),
            PaperError::NothingToPrint
        );
    }

    #[test]
    fn other_programs_read_the_page_the_same_way() {
        let (Some(text), Some(raster), Some(code)) = (
            tool::find("pdftotext"),
            tool::find("pdftoppm"),
            tool::find("zbarimg"),
        ) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let record = record(6);
        let pdf = page(std::slice::from_ref(&record), "drive", Paper::A4);
        std::fs::write(folder.path().join("page.pdf"), pdf.expose_secret()).unwrap();
        let run = |program, arguments: &[&str]| {
            let output = Command::new(program)
                .args(arguments)
                .current_dir(folder.path())
                .stderr(Stdio::null())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let found = crate::text::scan(&run(text, &["-layout", "page.pdf", "-"]));
        assert!(!found.is_empty());
        for key in found {
            match key.content {
                crate::found::FoundContent::Key(keyhaven_fve::Credential::RecoveryPassword(key)) => {
                    assert_eq!(key.to_digits().expose_secret(), digits(&record));
                }
                other => panic!("{other:?}"),
            }
        }
        run(raster, &["-r", "100", "-png", "page.pdf", "page"]);
        assert_eq!(run(code, &["-q", "--raw", "page-1.png"]).trim(), digits(&record));
        let png = std::fs::read(folder.path().join("page-1.png")).unwrap();
        let codes = super::super::read_picture(&png).unwrap();
        assert!(
            codes.iter().any(|code| code.expose_secret() == digits(&record)),
            "the whole page as a picture"
        );
    }

    /// A page as plain programs make them: a font that every viewer has, words moved apart, lines drawn bottom up.
    #[test]
    fn pages_of_other_programs_are_read() {
        let record = record(8);
        let digits = digits(&record);
        let (above, below) = digits.split_at(28);
        let spaced = above.replace('-', ") -20 (-) -30 (");
        let content = format!(
            "BT /F1 12 Tf 72 660 Td ({below}) Tj ET\nBT /F1 12 Tf 72 700 Td [(Key ) -250 (ID: )] TJ ({}) Tj ET\n\
             BT /F1 12 Tf 72 674 Td [({spaced})] TJ ET",
            record.protector_id
        );
        let objects = [
            "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
            "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
            format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
        ];
        let mut pdf = "%PDF-1.4\n".to_owned();
        for (index, object) in objects.iter().enumerate() {
            pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
        }
        // Without a table of where things are: such files exist, and viewers open them.
        pdf.push_str("trailer<</Root 1 0 R/Size 6>>\n%%EOF\n");
        let texts = read_pdf(pdf.as_bytes()).unwrap();
        let found = crate::text::scan(texts[0].expose_secret());
        assert_eq!(found.len(), 1, "{}", texts[0].expose_secret());
        assert_eq!(found[0].ids, [record.protector_id]);
        match &found[0].content {
            crate::found::FoundContent::Key(keyhaven_fve::Credential::RecoveryPassword(key)) => {
                assert_eq!(key.to_digits().expose_secret(), digits);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_pdf_is_refused() {
        assert_eq!(read_pdf(b"hello").unwrap_err(), PaperError::NotAPdf);
        let error = read_pdf(&vec![0; MAX_BYTES + 1]).unwrap_err();
        assert!(matches!(error, PaperError::TooLarge { .. }));
        let records: Vec<RecoveryRecord> = (0..51).map(record).collect();
        let pdf = page(&records, "drive", Paper::A4);
        assert_eq!(
            read_pdf(pdf.expose_secret()).unwrap_err(),
            PaperError::TooManyPages {
                actual: 51,
                limit: 50
            }
        );
    }

    /// Damages a page in many ways: each is read or refused, and takes nothing down.
    fn survive(rounds: u64) -> (usize, usize) {
        let pdf = page(&[record(7)], "drive", Paper::A4);
        let (mut read, mut refused) = (0, 0);
        // A generator of our own keeps the rounds the same on every machine.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..rounds {
            let mut bytes = pdf.expose_secret().to_vec();
            for _ in 0..=next(12) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = next(256) as u8,
                    1 => bytes.truncate(at.max(64)),
                    2 => bytes[at] ^= 1 << next(8),
                    _ => {
                        let (from, len) = (next(bytes.len()), next(64));
                        let piece: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            match read_pdf(&bytes) {
                Ok(_) => read += 1,
                Err(PaperError::NotAPdf | PaperError::Encrypted) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (read, refused)
    }

    #[test]
    fn damaged_pdfs_are_survived() {
        let (read, refused) = survive(12);
        assert_eq!(read + refused, 12);
    }

    #[test]
    #[ignore = "takes minutes"]
    fn thousands_of_damaged_pdfs_are_survived() {
        let (read, refused) = survive(2000);
        eprintln!("{read} read, {refused} refused");
    }
}
