//! Writes a page for made-up keys to standard output, to be looked at.
//!
//!     cargo run -p keyhaven-backup --example page -- "Anna's laptop (C:)" > page.pdf

use std::io::Write;

use keyhaven_backup::paper::{PageContext, Paper, render_pdf};
use keyhaven_crypto::Secret;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Guid, RecordKey, RecoveryRecord};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let drive_name = arguments
        .next()
        .unwrap_or_else(|| "Anna's laptop (C:)".to_owned());
    let paper = match arguments.next().as_deref() {
        Some("letter") => Paper::Letter,
        _ => Paper::A4,
    };
    let records: Vec<RecoveryRecord> = (1..=arguments.next().map_or(Ok(1), |n| n.parse())?)
        .map(|number: u8| RecoveryRecord {
            volume_id: Guid::from_bytes([7; 16]),
            protector_id: Guid::from_bytes(std::array::from_fn(|i| {
                number.wrapping_mul(171) ^ (i as u8).wrapping_mul(29)
            })),
            description: None,
            modified: FileTime(0),
            key: RecordKey::RecoveryPassword(RecoveryPassword::from_key(Secret::init_with(|key| {
                for (i, byte) in key.iter_mut().enumerate() {
                    *byte = number.wrapping_mul(67).wrapping_add((i as u8).wrapping_mul(37));
                }
            }))),
        })
        .collect();
    let context = PageContext {
        drive_name,
        saved_on: "24 November 2026".to_owned(),
        paper,
    };
    let pdf = render_pdf(&records, &context)?;
    std::io::stdout().write_all(pdf.expose_secret())?;
    Ok(())
}
