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
use super::picture::{Greyscale, codes_in};
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
            codes: rendered(page).map(codes_in).unwrap_or_default(),
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
