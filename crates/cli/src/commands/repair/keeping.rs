//! What a repair is about to overwrite, kept in the folder for what Keyhaven keeps.

use std::path::PathBuf;

use jiff::Timestamp;
use keyhaven_backup::destination::write_new;
use keyhaven_backup::private;
use keyhaven_crypto::SecretBytes;
use keyhaven_fve::salvage::Replaced;

use crate::changing;
use crate::error::CliError;

/// Saves the bytes of each place in a file named after it; returns the folder.
pub(super) fn keep(replaced: &[Replaced]) -> Result<PathBuf, CliError> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H%M%S%.6fZ").to_string();
    let folder = changing::metadata_folder()?.join(format!("repair {now}"));
    let failed = |error: &dyn std::error::Error| {
        CliError::could_not(format!(
            "what is there now cannot be saved in `{}` first",
            folder.display()
        ))
        .because(error)
        .hint("nothing was changed: without a way back nothing is")
    };
    private::create_folder(&folder).map_err(|error| failed(&error))?;
    for place in replaced {
        // The name says where to put it back.
        let path = folder.join(format!("byte-{}.bin", place.offset));
        let bytes = SecretBytes::copy_of(&place.bytes);
        write_new(&path, &bytes, |_| false).map_err(|error| failed(&error))?;
    }
    Ok(folder)
}
