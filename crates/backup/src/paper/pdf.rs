//! The page, drawn.
//!
//! Everything is vector: the QR code is squares, the digits are text that can be copied. Nothing in the file tells
//! who made it or when, beyond what the page itself says, and the same input gives the same bytes.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{RecordKey, RecoveryRecord};
use krilla::color::luma;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};
use krilla::{Document, SerializeSettings};
use qrcode::{EcLevel, QrCode};
use ttf_parser::Face;

use super::{PageContext, PaperError};

const TITLE: &str = "BitLocker recovery key";

// Lengths in points of 1/72 inch. A4 is 595 wide: 475 are left between the margins, as on Letter within 17.
const MARGIN: f32 = 60.0;
const DIGITS_SIZE: f32 = 27.0;
const QR_SIDE: f32 = 127.6; // 45 mm
const MODULE_QUIET_ZONE: f32 = 4.0;

const BLACK: u8 = 0;
const GREY: u8 = 95;
const PANEL: u8 = 244;

/// Makes a PDF with one page for each recovery key in `records`; key files are left out.
///
/// # Errors
/// [`PaperError::NothingToPrint`] if there is no recovery key among the records.
pub fn render_pdf(records: &[RecoveryRecord], context: &PageContext) -> Result<SecretBytes, PaperError> {
    let printable: Vec<(&RecoveryRecord, &RecoveryPassword)> = records
        .iter()
        .filter_map(|record| match &record.key {
            RecordKey::RecoveryPassword(key) => Some((record, key)),
            _ => None,
        })
        .collect();
    if printable.is_empty() {
        return Err(PaperError::NothingToPrint);
    }

    let typefaces = Typefaces::load()?;
    let (width, height) = context.paper.size_points();
    let mut document = Document::new_with(SerializeSettings {
        // It would repeat the title and add nothing but identifiers.
        xmp_metadata: false,
        ..SerializeSettings::default()
    });
    document.set_metadata(Metadata::new().title(TITLE.to_owned()).language("en".to_owned()));
    for (index, (record, key)) in printable.iter().enumerate() {
        let settings = PageSettings::from_wh(width, height).ok_or(PaperError::NotMade {
            reason: "the paper has no size",
        })?;
        let mut page = document.start_page_with(settings);
        let mut sheet = Sheet {
            surface: page.surface(),
            typefaces: &typefaces,
            width,
            height,
        };
        sheet.draw(record, key, context, index + 1, printable.len())?;
        drop(sheet);
        page.finish();
    }
    let bytes = document.finish().map_err(|_| PaperError::NotMade {
        reason: "the fonts could not be embedded",
    })?;
    Ok(SecretBytes::from(bytes))
}

/// A typeface with what is needed to measure a line of it.
struct Typeface {
    font: Font,
    face: Face<'static>,
}

impl Typeface {
    fn load(data: &'static [u8]) -> Result<Self, PaperError> {
        let reason = "a built-in font cannot be read";
        Ok(Self {
            font: Font::new(data.into(), 0).ok_or(PaperError::NotMade { reason })?,
            face: Face::parse(data, 0).map_err(|_| PaperError::NotMade { reason })?,
        })
    }

    fn has(&self, character: char) -> bool {
        self.face.glyph_index(character).is_some_and(|glyph| glyph.0 != 0)
    }

    /// Returns `text` with every character that would print as nothing replaced by one that shows.
    fn printable(&self, text: &str) -> String {
        let stand_in = ['\u{25a1}', '\u{fffd}']
            .into_iter()
            .find(|&c| self.has(c))
            .unwrap_or('?');
        text.chars()
            .map(|c| match c {
                c if c.is_whitespace() => ' ',
                c if self.has(c) && !c.is_control() => c,
                _ => stand_in,
            })
            .collect()
    }

    /// Returns the width of a line in points. Kerning is left out: it makes lines shorter, if anything.
    fn width(&self, text: &str, size: f32) -> f32 {
        let units: f32 = text
            .chars()
            .filter_map(|c| self.face.glyph_hor_advance(self.face.glyph_index(c)?))
            .map(f32::from)
            .sum();
        units * size / f32::from(self.face.units_per_em())
    }

    /// Returns the largest size down to `least` at which `text` is at most `width` wide; below that, it is cut.
    fn fit(&self, text: &str, width: f32, most: f32, least: f32) -> (String, f32) {
        let mut size = most;
        while size > least && self.width(text, size) > width {
            size -= 0.5;
        }
        let mut text = text.to_owned();
        if self.width(&text, size) > width {
            while !text.is_empty() && self.width(&text, size) + self.width("…", size) > width {
                text.pop();
            }
            text.push('…');
        }
        (text, size)
    }

    /// Breaks `text` into lines of at most `width`, at blanks.
    fn wrap(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let Some(line) = lines.last_mut() else { break };
            let longer = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            if line.is_empty() || self.width(&longer, size) <= width {
                *line = longer;
            } else {
                lines.push(word.to_owned());
            }
        }
        lines
    }
}

struct Typefaces {
    /// For words.
    text: Typeface,
    /// For digits and commands: every character as wide as the next, and a zero that is no O.
    mono: Typeface,
}

impl Typefaces {
    fn load() -> Result<Self, PaperError> {
        Ok(Self {
            text: Typeface::load(epaint_default_fonts::UBUNTU_LIGHT)?,
            mono: Typeface::load(epaint_default_fonts::HACK_REGULAR)?,
        })
    }
}

/// One page while it is drawn. Coordinates run from the top left corner.
struct Sheet<'a> {
    surface: Surface<'a>,
    typefaces: &'a Typefaces,
    width: f32,
    height: f32,
}

impl Sheet<'_> {
    fn draw(
        &mut self,
        record: &RecoveryRecord,
        key: &RecoveryPassword,
        context: &PageContext,
        number: usize,
        total: usize,
    ) -> Result<(), PaperError> {
        let inner = self.width - 2.0 * MARGIN;

        self.heading(MARGIN, 88.0, 31.0, TITLE);
        if total > 1 {
            let note = format!("key {number} of {total}");
            let x = self.width - MARGIN - self.typefaces.text.width(&note, 12.0);
            self.text(x, 88.0, 12.0, GREY, &note);
        }
        self.rule(103.0, 1.2, BLACK);

        self.text(MARGIN, 127.0, 10.0, GREY, "Drive");
        let name = self.typefaces.text.printable(context.drive_name.trim());
        let (name, size) = self.typefaces.text.fit(&name, inner, 19.0, 11.0);
        self.text(MARGIN, 151.0, size, BLACK, &name);

        self.text(MARGIN, 180.0, 10.0, GREY, "Key ID");
        self.mono(MARGIN - 2.0, 222.0, 44.0, BLACK, &record.protector_id.key_id());
        self.mono(MARGIN, 240.0, 10.5, GREY, &record.protector_id.to_string());
        let date = self.typefaces.text.printable(context.saved_on.trim());
        let (date, size_of_date) = self.typefaces.text.fit(&date, inner / 2.0, 15.0, 9.0);
        let saved_x = self.width - MARGIN - self.typefaces.text.width(&date, size_of_date);
        self.text(saved_x, 180.0, 10.0, GREY, "Saved on");
        self.text(saved_x, 201.0, size_of_date, BLACK, &date);

        self.key_panel(262.0, key);
        self.code(MARGIN, 470.0, &key.to_digits())?;
        self.steps(MARGIN + QR_SIDE + 30.0, 470.0);
        self.warning(self.height - MARGIN - 44.0);
        Ok(())
    }

    /// The key in eight blocks, each with its number, and once more in one line to copy.
    fn key_panel(&mut self, top: f32, key: &RecoveryPassword) {
        const PADDING: f32 = 14.0;
        let mono = &self.typefaces.mono;
        let left = MARGIN;
        let inner = self.width - 2.0 * MARGIN - 2.0 * PADDING;
        self.rectangle(left, top, self.width - 2.0 * MARGIN, 182.0, PANEL);
        self.text(left + PADDING, top + 22.0, 10.0, GREY, "Recovery key");

        let block_width = mono.width("000000", DIGITS_SIZE);
        let pitch = (inner - block_width) / 3.0;
        // Drawn in reading order, so that a reader of the text alone meets the blocks in the right order.
        for (row, blocks) in key.blocks().collect::<Vec<_>>().chunks(4).enumerate() {
            let baseline = top + 66.0 + row as f32 * 54.0;
            for (column, block) in blocks.iter().enumerate() {
                let x = left + PADDING + column as f32 * pitch;
                self.mono(x, baseline, DIGITS_SIZE, BLACK, block.expose_secret());
            }
            // The numbers are shapes and no text: someone who copies or reads the text gets the key and nothing else.
            for column in 0..blocks.len() {
                let label = (row * 4 + column + 1).to_string();
                let x = left + PADDING + column as f32 * pitch;
                let centred = x + (block_width - self.typefaces.text.width(&label, 10.0)) / 2.0;
                self.shape(centred, baseline + 15.0, 10.0, &label);
            }
        }
        let line = key.to_digits();
        let size = 10.5;
        let x = left + PADDING;
        self.mono(x, top + 165.0, size, GREY, line.expose_secret());
    }

    /// The same digits as a QR code: vector squares inside a quiet zone.
    fn code(&mut self, left: f32, top: f32, digits: &SecretText) -> Result<(), PaperError> {
        // Level Q survives a fold or a coffee stain over a quarter of it.
        let code = QrCode::with_error_correction_level(digits.expose_secret(), EcLevel::Q).map_err(|_| {
            PaperError::NotMade {
                reason: "the key does not fit in a QR code",
            }
        })?;
        let modules = code.width();
        let module = QR_SIDE / modules as f32;
        let quiet = MODULE_QUIET_ZONE * module;
        debug_assert!(quiet < MARGIN, "the margin is part of the quiet zone");
        let mut path = PathBuilder::new();
        for (row, colors) in code.to_colors().chunks(modules).enumerate() {
            let mut column = 0;
            // Neighbours are drawn as one bar, so that no viewer shows hairlines between them.
            for run in colors.chunk_by(|a, b| a == b) {
                if run.first() == Some(&qrcode::Color::Dark) {
                    let bar = Rect::from_xywh(
                        left + column as f32 * module,
                        top + row as f32 * module,
                        run.len() as f32 * module,
                        module,
                    );
                    if let Some(bar) = bar {
                        path.push_rect(bar);
                    }
                }
                column += run.len();
            }
        }
        self.fill(path, BLACK);
        self.text(
            left,
            top + QR_SIDE + 16.0,
            9.5,
            GREY,
            "The same key, for a camera",
        );
        Ok(())
    }

    fn steps(&mut self, left: f32, top: f32) {
        let width = self.width - MARGIN - left;
        self.heading(left, top + 11.0, 14.0, "How to use it");
        let steps = [
            "At the blue BitLocker recovery screen, compare the key ID there with the one above.",
            "If it is the same, type the eight blocks in the order of their numbers.",
            "On another computer, Keyhaven proves the key and gets the files back. It reads this page from a \
             photo or a PDF:",
        ];
        let mut baseline = top + 35.0;
        for (index, step) in steps.iter().enumerate() {
            self.heading(left, baseline, 11.0, &(index + 1).to_string());
            for line in self.typefaces.text.wrap(step, 11.0, width - 16.0) {
                self.text(left + 16.0, baseline, 11.0, BLACK, &line);
                baseline += 15.0;
            }
            baseline += 4.0;
        }
        for command in [
            "keyhaven verify DRIVE photo.jpg",
            "keyhaven export DRIVE copy.img \\",
            "    --recovery-key file:photo.jpg",
        ] {
            self.mono(left + 16.0, baseline, 9.0, BLACK, command);
            baseline += 13.0;
        }
    }

    fn warning(&mut self, top: f32) {
        self.rectangle(MARGIN, top, 3.0, 34.0, BLACK);
        self.heading(
            MARGIN + 14.0,
            top + 12.0,
            12.5,
            "Anyone who has this page can open the drive.",
        );
        self.text(
            MARGIN + 14.0,
            top + 29.0,
            11.0,
            BLACK,
            "Keep it like cash: somewhere safe, away from the computer.",
        );
    }

    fn text(&mut self, x: f32, baseline: f32, size: f32, shade: u8, text: &str) {
        self.line(
            x,
            baseline,
            size,
            shade,
            0.0,
            self.typefaces.text.font.clone(),
            text,
        );
    }

    fn mono(&mut self, x: f32, baseline: f32, size: f32, shade: u8, text: &str) {
        self.line(
            x,
            baseline,
            size,
            shade,
            0.0,
            self.typefaces.mono.font.clone(),
            text,
        );
    }

    /// Text with an outline as well: the typeface has no bold of its own.
    fn heading(&mut self, x: f32, baseline: f32, size: f32, text: &str) {
        self.line(
            x,
            baseline,
            size,
            BLACK,
            size * 0.028,
            self.typefaces.text.font.clone(),
            text,
        );
    }

    /// Text for the eye only, drawn as outlines.
    fn shape(&mut self, x: f32, baseline: f32, size: f32, text: &str) {
        self.surface.set_fill(Some(fill_of(GREY)));
        let font = self.typefaces.text.font.clone();
        let start = Point::from_xy(x, baseline);
        self.surface
            .draw_text(start, font, size, text, true, TextDirection::LeftToRight);
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a line is drawn")]
    fn line(&mut self, x: f32, baseline: f32, size: f32, shade: u8, outline: f32, font: Font, text: &str) {
        self.surface.set_fill(Some(fill_of(shade)));
        self.surface.set_stroke((outline > 0.0).then(|| Stroke {
            paint: luma::Color::new(shade).into(),
            width: outline,
            ..Stroke::default()
        }));
        let start = Point::from_xy(x, baseline);
        self.surface
            .draw_text(start, font, size, text, false, TextDirection::LeftToRight);
        self.surface.set_stroke(None);
    }

    fn rule(&mut self, y: f32, thickness: f32, shade: u8) {
        self.rectangle(MARGIN, y, self.width - 2.0 * MARGIN, thickness, shade);
    }

    fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, shade: u8) {
        let mut path = PathBuilder::new();
        if let Some(rectangle) = Rect::from_xywh(x, y, width, height) {
            path.push_rect(rectangle);
        }
        self.fill(path, shade);
    }

    fn fill(&mut self, path: PathBuilder, shade: u8) {
        self.surface.set_fill(Some(fill_of(shade)));
        self.surface.set_stroke(None);
        if let Some(path) = path.finish() {
            self.surface.draw_path(&path);
        }
    }
}

fn fill_of(shade: u8) -> Fill {
    Fill {
        paint: luma::Color::new(shade).into(),
        ..Fill::default()
    }
}
