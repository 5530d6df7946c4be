//! A folder of saved keys as people and companies have them: many kinds of files, many languages, most of them of
//! drives that are not here.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyhaven_backup::paper::{PageContext, Paper, render_pdf};
use keyhaven_backup::vault::{self, Encoding, VaultKeys};
use keyhaven_crypto::{Secret, SecretBytes, SecretText};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{ExternalKey, RecoveryPassword};
use keyhaven_fve::{Guid, RecordKey, RecoveryRecord};
use keyhaven_testkit::numbers;
use zip::write::SimpleFileOptions;

/// The passphrase of the vaults.
pub(crate) const PASSPHRASE: &str = "correct horse";

/// A recovery key to put somewhere.
#[derive(Clone)]
pub(crate) struct Saved {
    pub(crate) id: Guid,
    pub(crate) digits: String,
}

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WindowsText,
    PlainText,
    Csv,
    Workbook,
    Document,
    Ldif,
    Json,
    Pdf,
    Picture,
    Vault,
    /// Holds no recovery key.
    StartupKey,
    /// Holds no key at all.
    Letter,
}

pub(crate) const KINDS: [Kind; 12] = [
    Kind::WindowsText,
    Kind::PlainText,
    Kind::Csv,
    Kind::Workbook,
    Kind::Document,
    Kind::Ldif,
    Kind::Json,
    Kind::Pdf,
    Kind::Picture,
    Kind::Vault,
    Kind::StartupKey,
    Kind::Letter,
];

/// A title, the label of the identifier and that of the key.
const LANGUAGES: [[&str; 3]; 6] = [
    [
        "BitLocker Drive Encryption recovery key",
        "Identifier",
        "Recovery Key",
    ],
    [
        "Wiederherstellungsschlüssel für die BitLocker-Laufwerkverschlüsselung",
        "Bezeichner",
        "Wiederherstellungsschlüssel",
    ],
    [
        "Clé de récupération du chiffrement de lecteur BitLocker",
        "Identificateur",
        "Clé de récupération",
    ],
    [
        "Ключ восстановления шифрования диска BitLocker",
        "Идентификатор",
        "Ключ восстановления",
    ],
    ["BitLocker ドライブ暗号化の回復キー", "識別子", "回復キー"],
    ["BitLocker 驱动器加密恢复密钥", "标识符", "恢复密钥"],
];

/// Makes keys of drives that do not exist.
pub(crate) struct Others(Box<Numbers>);

type Numbers = dyn FnMut(&mut [u8]) -> std::io::Result<()>;

impl Others {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Box::new(numbers(seed)))
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn key(&mut self) -> Saved {
        let password = RecoveryPassword::from_key(Secret::from(self.bytes::<16>()));
        Saved {
            id: Guid::from_random(self.bytes()),
            digits: password.to_digits().expose_secret().to_owned(),
        }
    }

    /// Writes a file of a kind with a key in it, among others where the kind is a list. Returns its path and where in it
    /// the key is.
    pub(crate) fn write(
        &mut self,
        folder: &Path,
        number: usize,
        kind: Kind,
        key: &Saved,
    ) -> (PathBuf, Option<String>) {
        let mut rows: Vec<Saved> = (0..number % 7 + 2).map(|_| self.key()).collect();
        let at = number % 7;
        rows.insert(at, key.clone());
        let [title, id_label, key_label] = LANGUAGES[number % LANGUAGES.len()];
        let text = format!(
            "{title}\r\n\r\n{id_label}:\r\n\r\n\t{}\r\n\r\n{key_label}:\r\n\r\n\t{}\r\n",
            key.id, key.digits
        );
        let row = |number: usize| format!("row {number}");
        let (ending, content, spot) = match kind {
            Kind::WindowsText => {
                let units = std::iter::once(0xFEFF).chain(text.encode_utf16().collect::<Vec<_>>());
                let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
                ("TXT", bytes, Some("line 9".to_owned()))
            }
            Kind::PlainText => ("txt", text.into_bytes(), Some("line 9".to_owned())),
            Kind::Csv => {
                let delimiter = [",", ";", "\t"][number % 3];
                let mut table = ["Computer", "Key ID", "Recovery key"].join(delimiter) + "\r\n";
                for saved in &rows {
                    let cells = [
                        format!("\"PC, {number}\""),
                        format!("{{{}}}", saved.id),
                        saved.digits.clone(),
                    ];
                    table += &(cells.join(delimiter) + "\r\n");
                }
                ("csv", table.into_bytes(), Some(row(at + 2)))
            }
            Kind::Workbook => (
                "xlsx",
                workbook(&rows),
                Some(format!("sheet `PCs`, {}", row(at + 2))),
            ),
            Kind::Document => (
                "docx",
                document(title, &rows),
                Some(format!("table 1, {}", row(at + 2))),
            ),
            Kind::Ldif => ("ldf", ldif(&rows).into_bytes(), Some(format!("entry {}", at + 1))),
            Kind::Json => (
                "json",
                self.graph(&rows).into_bytes(),
                Some(format!("entry {}", at + 1)),
            ),
            Kind::Pdf => ("pdf", pdf(key), Some("page 1".to_owned())),
            Kind::Picture => ("png", picture(key), None),
            Kind::Vault => {
                let keys = VaultKeys::Passphrase {
                    passphrase: SecretText::copy_of(PASSPHRASE),
                    work_factor: 4,
                };
                let text = SecretBytes::copy_of(text.as_bytes());
                (
                    "age",
                    vault::seal(&text, &keys, Encoding::Binary).unwrap(),
                    Some("line 9".to_owned()),
                )
            }
            Kind::StartupKey => {
                let key = ExternalKey::new(
                    Guid::from_random(self.bytes()),
                    None,
                    None,
                    FileTime(0),
                    Secret::from(self.bytes::<32>()),
                );
                ("BEK", key.to_bek(FileTime(0)).to_vec(), None)
            }
            Kind::Letter => {
                let letter = "Dear Ann, call 030 123456-78 before 2026-11-24.\n".repeat(40);
                ("txt", letter.into_bytes(), None)
            }
        };
        // The name of a picture is what says whose it is.
        let name = match kind {
            Kind::Picture => format!("{number:04} {}.{ending}", key.id),
            _ => format!("{number:04} {}.{ending}", title.split(' ').next().unwrap()),
        };
        let folder = folder.join(format!("desk {}", number % 5));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        (path, spot)
    }

    fn graph(&mut self, rows: &[Saved]) -> String {
        let entries: Vec<serde_json::Value> = rows
            .iter()
            .map(|saved| {
                serde_json::json!({
                    "id": saved.id.to_string().to_lowercase(),
                    "createdDateTime": "2026-01-02T03:04:05Z",
                    "volumeType": "operatingSystemVolume",
                    "deviceId": Guid::from_random(self.bytes()).to_string(),
                    "key": saved.digits,
                })
            })
            .collect();
        serde_json::json!({"@odata.context": "recoveryKeys", "value": entries}).to_string()
    }
}

fn zipped(parts: &[(&str, String)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn workbook(rows: &[Saved]) -> Vec<u8> {
    let mut texts =
        String::from("<sst><si><t>Key ID</t></si><si><t>Recovery key</t></si><si><t>Computer</t></si>");
    let mut cells = String::from(
        r#"<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c><c r="C1" t="s"><v>2</v></c></row>"#,
    );
    for (number, saved) in rows.iter().enumerate() {
        texts += &format!("<si><t>{}</t></si>", saved.digits);
        let row = number + 2;
        cells += &format!(
            r#"<row r="{row}"><c r="A{row}" t="inlineStr"><is><t>{}</t></is></c><c r="B{row}" t="s"><v>{}</v></c></row>"#,
            saved.id,
            number + 3,
        );
    }
    zipped(&[
        ("[Content_Types].xml", "<Types/>".to_owned()),
        (
            "xl/workbook.xml",
            r#"<workbook><sheets><sheet name="PCs" sheetId="1" r:id="rId1"/></sheets></workbook>"#.to_owned(),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            r#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#
                .to_owned(),
        ),
        ("xl/sharedStrings.xml", texts + "</sst>"),
        (
            "xl/worksheets/sheet1.xml",
            format!("<worksheet><sheetData>{cells}</sheetData></worksheet>"),
        ),
    ])
}

fn document(title: &str, rows: &[Saved]) -> Vec<u8> {
    let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
    let mut table = format!("<w:tr>{}{}</w:tr>", cell("Key ID"), cell("Recovery key"));
    for saved in rows {
        table += &format!(
            "<w:tr>{}{}</w:tr>",
            cell(&saved.id.to_string()),
            cell(&saved.digits)
        );
    }
    zipped(&[(
        "word/document.xml",
        format!(
            "<w:document><w:body><w:p><w:r><w:t>{title}</w:t></w:r></w:p><w:tbl>{table}</w:tbl></w:body></w:document>"
        ),
    )])
}

fn ldif(rows: &[Saved]) -> String {
    rows.iter()
        .enumerate()
        .map(|(number, saved)| {
            format!(
                "dn: CN=2026-01-02T03:04:05-00:00{{{}}},CN=PC-{number},OU=Berlin,DC=exa\r\n mple,DC=com\r\nobjectClass: \
                 msFVE-RecoveryInformation\r\nmsFVE-RecoveryGuid:: {}\r\nmsFVE-RecoveryPassword: {}\r\n\r\n",
                saved.id,
                STANDARD.encode(saved.id.to_bytes()),
                saved.digits
            )
        })
        .collect()
}

fn pdf(saved: &Saved) -> Vec<u8> {
    let record = RecoveryRecord {
        volume_id: Guid::ZERO,
        protector_id: saved.id,
        description: None,
        modified: FileTime(0),
        key: RecordKey::RecoveryPassword(RecoveryPassword::parse(&saved.digits).unwrap()),
    };
    let context = PageContext {
        drive_name: "a drive".to_owned(),
        saved_on: "24 November 2026".to_owned(),
        paper: Paper::A4,
    };
    render_pdf(&[record], &context).unwrap().expose_secret().to_vec()
}

fn picture(saved: &Saved) -> Vec<u8> {
    const SCALE: u32 = 4;
    const MARGIN: u32 = 4;
    let code = qrcode::QrCode::new(&saved.digits).unwrap();
    let width = code.width() as u32;
    let side = (width + 2 * MARGIN) * SCALE;
    let image = image::GrayImage::from_fn(side, side, |x, y| {
        let (x, y) = (x / SCALE, y / SCALE);
        let is_inside = (MARGIN..MARGIN + width).contains(&x) && (MARGIN..MARGIN + width).contains(&y);
        let is_dark =
            is_inside && code[((x - MARGIN) as usize, (y - MARGIN) as usize)] == qrcode::Color::Dark;
        image::Luma([if is_dark { 0 } else { 255 }])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
