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
        for (y, row) in self.pixels.chunks_exact(self.width).enumerate() {
            let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(self.height));
            for (x, &pixel) in row.iter().enumerate() {
                let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(self.width));
                let at = |y: usize, x: usize| sums.get(y * stride + x).copied();
                let sum = at(bottom, right)? + at(top, left)? - at(top, right)? - at(bottom, left)?;
                let mean = (sum / ((bottom - top) * (right - left)) as u64) as i32;
                pixels.push((128 + (i32::from(pixel) - mean) * 3 / 2).clamp(0, 255) as u8);
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
    let inverted = candidates.iter().filter_map(|c| Some(c.inverted()?.decode()));
    plain
        .chain(levelled)
        .chain(inverted)
        .find(|codes| !codes.is_empty())
        .unwrap_or_default()
}
