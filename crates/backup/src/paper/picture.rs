//! Finds QR codes in photos and scans.

use std::io::Cursor;
use std::sync::Arc;

use image::{ImageFormat, ImageReader, Limits};
use keyhaven_crypto::SecretText;
use rqrr::PreparedImage;
use zeroize::Zeroizing;

use super::PaperError;
use super::reader_thread::on_reader_thread;

const MAX_BYTES: usize = 64 << 20;
const MAX_MEGAPIXELS: u32 = 64;
const MAX_DECODER_BYTES: u64 = 320 << 20;

// A code is found best where a module is three to ten pixels wide; a phone's photo has many times that.
const SIDES_TRIED: [usize; 4] = [2400, 1500, 1000, 640];

/// Says whether `bytes` begin as a PNG or a JPEG does.
#[must_use]
pub fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xff\xd8\xff")
}

/// Returns what the QR codes in a PNG or JPEG hold; none is an empty list.
///
/// The picture may be a photo: turned, at an angle, badly lit, noisy, inverted. Reading happens on a thread of its own
/// ([`READER_THREAD`](super::READER_THREAD)).
///
/// # Errors
/// [`PaperError::NotAPicture`] if it cannot be decoded or has more than 64 megapixels.
pub fn read_picture(bytes: &[u8]) -> Result<Vec<SecretText>, PaperError> {
    if bytes.len() > MAX_BYTES {
        return Err(PaperError::TooLarge {
            actual: bytes.len(),
            limit: MAX_BYTES,
        });
    }
    if !is_picture(bytes) {
        return Err(NOT_A_PICTURE);
    }
    let bytes = Arc::new(Zeroizing::new(bytes.to_vec()));
    on_reader_thread(move || Ok(codes_in(decoded(&bytes)?)))
}

const NOT_A_PICTURE: PaperError = PaperError::NotAPicture {
    limit_megapixels: MAX_MEGAPIXELS,
};

fn decoded(bytes: &[u8]) -> Result<Greyscale, PaperError> {
    let format = image::guess_format(bytes).map_err(|_| NOT_A_PICTURE)?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg) {
        return Err(NOT_A_PICTURE);
    }
    let dimensions = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions();
    let (width, height) = dimensions.map_err(|_| NOT_A_PICTURE)?;
    if u64::from(width) * u64::from(height) > u64::from(MAX_MEGAPIXELS) * 1_000_000 {
        return Err(NOT_A_PICTURE);
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let picture = reader.decode().map_err(|_| NOT_A_PICTURE)?.into_luma8();
    let (width, height) = (width as usize, height as usize);
    Greyscale::new(width, height, picture.into_raw()).ok_or(NOT_A_PICTURE)
}

/// A picture in shades of grey, wiped when dropped: it may show a key.
pub(super) struct Greyscale {
    width: usize,
    height: usize,
    pixels: Zeroizing<Vec<u8>>,
}

impl Greyscale {
    /// Returns `None` if the pixels are not `width` times `height`, or none.
    pub(super) fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let pixels = Zeroizing::new(pixels);
        let fits = width.checked_mul(height) == Some(pixels.len()) && !pixels.is_empty();
        fits.then_some(Self {
            width,
            height,
            pixels,
        })
    }

    fn longer_side(&self) -> usize {
        self.width.max(self.height)
    }

    /// Shrinks by averaging, so that noise goes and edges stay where they are.
    fn shrunk_to(&self, longer_side: usize) -> Option<Self> {
        let ratio = longer_side as f64 / self.longer_side() as f64;
        let to = |length: usize| ((length as f64 * ratio) as usize).max(1);
        let (width, height) = (to(self.width), to(self.height));
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let (top, bottom) = span(y, height, self.height);
            for x in 0..width {
                let (left, right) = span(x, width, self.width);
                let mut sum = 0u64;
                for row in top..bottom {
                    let start = row * self.width;
                    let cells = self.pixels.get(start + left..start + right)?;
                    sum += cells.iter().map(|&p| u64::from(p)).sum::<u64>();
                }
                let count = ((bottom - top) * (right - left)).max(1) as u64;
                pixels.push((sum / count) as u8);
            }
        }
        Self::new(width, height, pixels)
    }

    /// Sets each pixel against the brightness around it, which takes shadows and weak print out.
    fn levelled(&self) -> Option<Self> {
        let radius = (self.longer_side() / 24).max(8);
        let around = self.averaged(radius)?;
        let pixels = self.pixels.iter().zip(around.pixels.iter());
        let level = |(&pixel, &mean): (&u8, &u8)| {
            (128 + (i32::from(pixel) - i32::from(mean)) * 3 / 2).clamp(0, 255) as u8
        };
        Self::new(self.width, self.height, pixels.map(level).collect())
    }

    /// Replaces each pixel by the average of the square around it, which takes grain out.
    fn averaged(&self, radius: usize) -> Option<Self> {
        // Sums of everything above and left of a point; a window's sum is then four look-ups.
        let stride = self.width + 1;
        let mut sums = Zeroizing::new(vec![0u64; stride * (self.height + 1)]);
        for (y, row) in self.pixels.chunks_exact(self.width).enumerate() {
            let mut along = 0u64;
            for (x, &pixel) in row.iter().enumerate() {
                along += u64::from(pixel);
                let above = *sums.get(y * stride + x + 1)?;
                *sums.get_mut((y + 1) * stride + x + 1)? = above + along;
            }
        }
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..self.height {
            let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(self.height));
            for x in 0..self.width {
                let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(self.width));
                let at = |y: usize, x: usize| sums.get(y * stride + x).copied();
                let sum = at(bottom, right)? + at(top, left)? - at(top, right)? - at(bottom, left)?;
                pixels.push((sum / ((bottom - top) * (right - left)).max(1) as u64) as u8);
            }
        }
        Self::new(self.width, self.height, pixels)
    }

    fn inverted(&self) -> Option<Self> {
        let pixels = self.pixels.iter().map(|&pixel| 255 - pixel).collect();
        Self::new(self.width, self.height, pixels)
    }

    fn decode(&self) -> Vec<SecretText> {
        let at = |x, y| self.pixels.get(y * self.width + x).copied().unwrap_or(255);
        let mut prepared = PreparedImage::prepare_from_greyscale(self.width, self.height, at);
        prepared
            .detect_grids()
            .into_iter()
            .filter_map(|grid| grid.decode().ok())
            .map(|(_, text)| SecretText::from(text))
            .collect()
    }
}

/// Returns the source cells that cell `index` of `to` covers, of `from` cells in all.
fn span(index: usize, to: usize, from: usize) -> (usize, usize) {
    let start = (index * from / to).min(from - 1);
    (start, ((index + 1) * from / to).clamp(start + 1, from))
}

/// Looks for codes on a page that was rendered, not photographed: it is straight and clean unless it shows a scan.
pub(super) fn codes_on_page(page: &Greyscale) -> Vec<SecretText> {
    let codes = page.decode();
    if !codes.is_empty() {
        return codes;
    }
    page.shrunk_to(page.longer_side().min(1000))
        .and_then(|smaller| smaller.levelled())
        .map(|levelled| levelled.decode())
        .unwrap_or_default()
}

/// Looks for codes in ever more forgiving ways and stops at the first that finds some.
pub(super) fn codes_in(picture: Greyscale) -> Vec<SecretText> {
    let longer = picture.longer_side();
    let sides = SIDES_TRIED.into_iter().filter(|&side| side < longer);
    let shrunk: Vec<Greyscale> = sides.filter_map(|side| picture.shrunk_to(side)).collect();
    // The largest is left out where it is so large that shrinking it loses nothing.
    let whole = (longer <= 4000).then_some(picture);
    let candidates: Vec<Greyscale> = whole.into_iter().chain(shrunk).collect();

    let plain = candidates.iter().map(Greyscale::decode);
    let levelled = candidates.iter().filter_map(|c| Some(c.levelled()?.decode()));
    let smooth = [1, 2].into_iter().flat_map(|radius| {
        candidates
            .iter()
            .filter_map(move |c| Some(c.averaged(radius)?.levelled()?.decode()))
    });
    let inverted = candidates.iter().filter_map(|c| Some(c.inverted()?.decode()));
    plain
        .chain(levelled)
        .chain(inverted)
        .chain(smooth)
        .find(|codes| !codes.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, GrayImage, ImageEncoder, Luma};
    use keyhaven_fve::{RecordKey, RecoveryRecord};
    use qrcode::{EcLevel, QrCode};

    use super::super::reading::tests::{digits, record};
    use super::*;

    /// How a photo is taken.
    #[derive(Debug, Clone, Copy)]
    struct Camera {
        /// Turned by this many degrees.
        degrees: f64,
        /// Pixels for each module of the code, at its middle.
        pixels_per_module: f64,
        /// How much nearer the lower edge is than the upper one.
        tilt: f64,
        /// Brightness of the dark and the light, before the shadow.
        shades: (f64, f64),
        /// How much darker the right edge is.
        shadow: f64,
        /// The widest that noise goes.
        noise: f64,
        /// JPEG quality.
        quality: u8,
    }

    const GOOD: Camera = Camera {
        degrees: 3.0,
        pixels_per_module: 7.0,
        tilt: 0.0,
        shades: (35.0, 225.0),
        shadow: 0.0,
        noise: 8.0,
        quality: 85,
    };

    impl Camera {
        /// Takes a JPEG of a sheet with the code of `record` in its middle.
        fn photograph(self, record: &RecoveryRecord) -> Vec<u8> {
            let code = QrCode::with_error_correction_level(digits(record), EcLevel::Q).unwrap();
            let modules = code.width() as f64;
            let colors = code.to_colors();
            let side = ((modules + 30.0) * self.pixels_per_module) as u32;
            let (sin, cos) = self.degrees.to_radians().sin_cos();
            let mut seed = 12345u32;
            let image = GrayImage::from_fn(side, side, |x, y| {
                // Four samples a pixel, as a lens would mix them.
                let mut light = 0.0;
                for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                    let u = (f64::from(x) + dx) / f64::from(side) - 0.5;
                    let v = (f64::from(y) + dy) / f64::from(side) - 0.5;
                    let depth = 1.0 + self.tilt * v;
                    let (u, v) = (u / depth, v / depth);
                    let scale = f64::from(side) / self.pixels_per_module;
                    let column = (u * cos - v * sin) * scale + modules / 2.0;
                    let row = (u * sin + v * cos) * scale + modules / 2.0;
                    let inside = (0.0..modules).contains(&column) && (0.0..modules).contains(&row);
                    let dark = inside
                        && colors[row as usize * code.width() + column as usize] == qrcode::Color::Dark;
                    light += if dark { self.shades.0 } else { self.shades.1 } / 4.0;
                }
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (f64::from(seed >> 8) / f64::from(1 << 24) - 0.5) * 2.0 * self.noise;
                let shadow = 1.0 - self.shadow * f64::from(x) / f64::from(side);
                Luma([(light * shadow + noise).clamp(0.0, 255.0) as u8])
            });
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, self.quality)
                .write_image(image.as_raw(), side, side, ExtendedColorType::L8)
                .unwrap();
            jpeg
        }

        fn is_read(self) -> bool {
            let record = record(11);
            assert!(matches!(record.key, RecordKey::RecoveryPassword(_)));
            let codes = read_picture(&self.photograph(&record)).unwrap();
            codes.iter().any(|code| code.expose_secret() == digits(&record))
        }
    }

    #[test]
    fn photos_of_all_kinds_are_read() {
        for degrees in [0.0, 12.0, 45.0, 90.0, 171.0, 300.0] {
            assert!(Camera { degrees, ..GOOD }.is_read(), "turned by {degrees}");
        }
        for pixels_per_module in [3.0, 5.0, 16.0, 40.0] {
            assert!(
                Camera {
                    pixels_per_module,
                    ..GOOD
                }
                .is_read(),
                "{pixels_per_module} pixels a module"
            );
        }
        for tilt in [0.2, 0.4] {
            assert!(Camera { tilt, ..GOOD }.is_read(), "tilted by {tilt}");
        }
        for (name, camera) in [
            (
                "inverted",
                Camera {
                    shades: (225.0, 35.0),
                    ..GOOD
                },
            ),
            (
                "faint",
                Camera {
                    shades: (130.0, 175.0),
                    ..GOOD
                },
            ),
            ("in shadow", Camera { shadow: 0.7, ..GOOD }),
            ("noisy", Camera { noise: 60.0, ..GOOD }),
            ("a poor JPEG", Camera { quality: 20, ..GOOD }),
            (
                "all of it",
                Camera {
                    degrees: 25.0,
                    tilt: 0.25,
                    shadow: 0.5,
                    noise: 25.0,
                    quality: 50,
                    ..GOOD
                },
            ),
        ] {
            assert!(camera.is_read(), "{name}");
        }
    }

    /// Prints how often photos are read, over many ways of taking them.
    #[test]
    #[ignore = "a measurement"]
    fn measure_photos() {
        for (name, tilt, noise, shadow, quality) in [
            ("good", 0.0, 8.0, 0.0, 85),
            ("fair", 0.2, 25.0, 0.4, 60),
            ("bad", 0.4, 50.0, 0.7, 30),
            ("awful", 0.6, 80.0, 0.8, 15),
        ] {
            let (mut read, mut all) = (0, 0);
            for turn in 0..12 {
                for pixels_per_module in [3.0, 4.5, 8.0, 14.0] {
                    let degrees = f64::from(turn) * 31.0;
                    let camera = Camera {
                        degrees,
                        pixels_per_module,
                        tilt,
                        noise,
                        shadow,
                        quality,
                        ..GOOD
                    };
                    all += 1;
                    read += i32::from(camera.is_read());
                }
            }
            eprintln!("{name}: {read} of {all}");
        }
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert_eq!(read_picture(b"hello").unwrap_err(), NOT_A_PICTURE);
        assert_eq!(
            read_picture(b"\xff\xd8\xff\xe0broken").unwrap_err(),
            NOT_A_PICTURE
        );
        let jpeg = GOOD.photograph(&record(11));
        for len in (3..jpeg.len()).step_by(jpeg.len() / 20) {
            // Cut off, it is half a picture or none.
            let _ = read_picture(&jpeg[..len]).map(|codes| codes.len());
        }
        // A header that claims more than is read is refused before anything is decoded.
        let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        huge.extend_from_slice(&100_000u32.to_be_bytes());
        huge.extend_from_slice(&100_000u32.to_be_bytes());
        huge.extend_from_slice(&[8, 0, 0, 0, 0]);
        huge.extend_from_slice(&[0; 64]);
        assert_eq!(read_picture(&huge).unwrap_err(), NOT_A_PICTURE);
    }

    #[test]
    fn a_blank_picture_has_no_code() {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&[255; 64 * 48], 64, 48, ExtendedColorType::L8)
            .unwrap();
        assert!(read_picture(&png).unwrap().is_empty());
    }
}
