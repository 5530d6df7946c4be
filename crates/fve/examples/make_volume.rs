//! Makes a volume in an image file, for tests and measurements: any size, every method, with or without content.
//!
//! ```text
//! make_volume OUT SIZE METHOD SECTOR-SIZE WAY... [OPTION...]
//! make_volume --places SIZE [--cluster BYTES]
//!
//! SIZE       bytes, or a number with K, M, G or T; the file is sparse
//! METHOD     aes-xts-128, aes-xts-256, aes-cbc-128, aes-cbc-256, aes-cbc-128-diffuser or aes-cbc-256-diffuser
//! WAY        password=FILE   the file's first line
//!            recovery        a new recovery key
//!            key-file=FOLDER a new key file, put there
//!            clear           nothing is needed
//! --plain IMAGE         fills the volume with a file system's image of exactly its size
//! --skip-holes          writes nothing where the image has holes: there the volume reads as noise
//! --cluster BYTES       the cluster size of the file system inside (4096)
//! --outside FROM:TO     keeps what belongs to the volume outside of the file system: behind it, and in front of it
//!                       between these bytes that it leaves out (0:0 for none)
//! --hidden SECTORS      sectors in front of the volume (0)
//! --description TEXT    the volume's description
//! --places              only prints what a file system has to leave alone, as START:COUNT in sectors of 512 bytes
//! ```
//!
//! It prints the secrets that it makes: never use it for a drive that matters.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use keyhaven_crypto::{SecretText, SectorSize};
use keyhaven_disk::{BlockDevice, Device, WritableDevice};
use keyhaven_fve::create::{NewProtector, NewVolume, Placement};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, RecordKey, Volume, WritableVolume, unwatched};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How much of a plain image is copied at once.
const CHUNK: usize = 4 << 20;
/// And between holes that are left.
const SMALL_CHUNK: usize = 64 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!("\nThe first lines of crates/fve/examples/make_volume.rs say how to use it.");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Request {
    /// What is not an option: OUT SIZE METHOD SECTOR-SIZE WAY...
    words: Vec<String>,
    plain: Option<PathBuf>,
    skip_holes: bool,
    cluster: Option<u32>,
    outside: Option<Range<u64>>,
    hidden: u32,
    description: Option<String>,
    only_places: bool,
}

fn run() -> Outcome<()> {
    let request = Request::read(env::args().skip(1))?;
    if request.only_places {
        let [size] = request.words.as_slice() else {
            return Err("expected one size".into());
        };
        let cluster = request.cluster.unwrap_or(4096);
        println!(
            "{}",
            places(&Placement::new(bytes_of(size)?, SectorSize::B512, cluster)?)
        );
        return Ok(());
    }
    make(&request)
}

impl Request {
    fn read(mut args: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut request = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--plain" => request.plain = Some(value()?.into()),
                "--skip-holes" => request.skip_holes = true,
                "--cluster" => request.cluster = Some(value()?.parse()?),
                "--outside" => {
                    let range = value()?;
                    let (from, to) = range.split_once(':').ok_or("expected FROM:TO")?;
                    request.outside = Some(from.parse()?..to.parse()?);
                }
                "--hidden" => request.hidden = value()?.parse()?,
                "--description" => request.description = Some(value()?),
                "--places" => request.only_places = true,
                option if option.starts_with("--") => return Err(format!("unknown option {option}").into()),
                _ => request.words.push(arg),
            }
        }
        Ok(request)
    }
}

fn make(request: &Request) -> Outcome<()> {
    let [out, size, method, sector_size, ways @ ..] = request.words.as_slice() else {
        return Err("expected OUT SIZE METHOD SECTOR-SIZE WAY...".into());
    };
    let out = Path::new(out);
    let method = EncryptionMethod::ALL
        .iter()
        .find(|known| known.name() == method)
        .ok_or(format!("unknown method {method}"))?;
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other);

    let now = FileTime::from_timestamp(jiff::Timestamp::now());
    let mut new = NewVolume::new(bytes_of(size)?, *method, now);
    new.sector_size = SectorSize::new(sector_size.parse()?).ok_or("sectors have 512 or 4096 bytes")?;
    new.cluster = request.cluster.unwrap_or(4096);
    new.hidden_sectors = request.hidden;
    new.description = request
        .description
        .clone()
        .unwrap_or_else(|| "KEYHAVEN Test volume".to_owned());
    let mut folder = None;
    for way in ways {
        new.protectors.push(match way.split_once('=') {
            Some(("password", file)) => {
                let text = fs::read_to_string(file)?;
                let line = text.lines().next().unwrap_or_default();
                NewProtector::Password(Password::new(SecretText::copy_of(line)))
            }
            Some(("key-file", path)) => {
                folder = Some(PathBuf::from(path));
                NewProtector::ExternalKey
            }
            None if way == "recovery" => {
                NewProtector::RecoveryPassword(RecoveryPassword::generate(&mut random)?)
            }
            None if way == "clear" => NewProtector::ClearKey,
            _ => return Err(format!("unknown way to unlock: {way}").into()),
        });
    }
    let prepared = match &request.outside {
        None => new.prepare(&mut random)?,
        Some(front) => {
            let (len, sector_size, cluster) = (new.len_bytes, new.sector_size, new.cluster);
            let (placement, end) = Placement::outside(len, sector_size, cluster, front.clone())?;
            println!("file_system_end={end}");
            new.prepare_at(placement, &mut random)?
        }
    };
    let plain = request
        .plain
        .as_ref()
        .map(|path| plain_image(path, prepared.len_bytes(), prepared.placement()))
        .transpose()?;

    fs::File::create(out)?.set_len(prepared.len_bytes())?;
    let medium = keyhaven_disk::open_writable(out)?;
    prepared.write(&*medium)?;

    println!("# A volume for tests: these secrets have been seen. Keep nothing on it that matters.");
    println!("volume_id={}", prepared.volume_id());
    println!("reserved={}", places(prepared.placement()));
    for record in prepared.records() {
        match &record.key {
            RecordKey::RecoveryPassword(key) => println!("recovery_key={}", key.to_digits().expose_secret()),
            RecordKey::ExternalKey(key) => {
                let path = folder.clone().unwrap_or_default().join(key.file_name());
                fs::write(&path, &*key.to_bek(now))?;
                println!("key_file={}", path.display());
            }
            _ => {}
        }
    }

    if let Some(plain) = plain {
        let volume = Volume::open(medium.clone(), &OpenOptions::default(), &mut unwatched)?;
        let unlocked = volume.unlock(&Credential::VolumeMasterKey(prepared.into_vmk()))?;
        copy_into(
            &volume.data(unlocked)?.writable(medium)?,
            &*plain,
            request.skip_holes,
        )?;
    }
    Ok(())
}

fn copy_into(inside: &WritableVolume, plain: &dyn BlockDevice, skip_holes: bool) -> Outcome<()> {
    // Holes begin and end anywhere; what is written are whole sectors.
    const LARGEST_SECTOR: u64 = 4096;
    let end = inside.len_bytes();
    let mut chunk = vec![0; if skip_holes { SMALL_CHUNK } else { CHUNK }];
    let mut at = 0;
    while at < end {
        if skip_holes {
            at += plain.hole_at(at, end - at) / LARGEST_SECTOR * LARGEST_SECTOR;
        }
        let len = usize::try_from(end - at).map_or(chunk.len(), |left| left.min(chunk.len()));
        plain.read_at(at, &mut chunk[..len])?;
        inside.write_at(at, &chunk[..len])?;
        at += len as u64;
    }
    inside.flush()?;
    Ok(())
}

/// Opens the image of a file system, if it leaves alone what the volume keeps for itself.
fn plain_image(path: &Path, len_bytes: u64, placement: &Placement) -> Outcome<Device> {
    let image = keyhaven_disk::open(path)?;
    if image.len_bytes() != len_bytes {
        return Err(format!(
            "the image has {} bytes, expected {len_bytes} as the volume has",
            image.len_bytes()
        )
        .into());
    }
    for range in placement.reserved() {
        let mut content = vec![0; usize::try_from(range.end - range.start)?];
        image.read_at(range.start, &mut content)?;
        if content.iter().any(|byte| *byte != 0) {
            return Err(format!(
                "the file system uses bytes {} to {}, which the volume keeps for itself",
                range.start, range.end
            )
            .into());
        }
    }
    Ok(image)
}

fn places(placement: &Placement) -> String {
    let ranges = placement
        .reserved()
        .map(|range| format!("{}:{}", range.start / 512, (range.end - range.start) / 512));
    ranges.join(" ")
}

fn bytes_of(text: &str) -> Outcome<u64> {
    let (number, shift) = match text.char_indices().next_back() {
        Some((at, 'K')) => (&text[..at], 10),
        Some((at, 'M')) => (&text[..at], 20),
        Some((at, 'G')) => (&text[..at], 30),
        Some((at, 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let number: u64 = number.parse()?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the size is too large".into())
}
