//! Files in volumes that Windows encrypted.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use keyhaven_attach::files::{self, Cleanliness, OpenFilesError};
use keyhaven_crypto::SecretText;
use keyhaven_disk::Device;
use keyhaven_fve::keys::Password;
use keyhaven_fve::{Credential, OpenOptions, Volume, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind};

use crate::made::{program, run};
use crate::model::Folder;

/// Unlocks a volume of the corpus with its password.
fn unlocked(name: &str) -> Option<Device> {
    let known = corpus::volume_or_skip(name)?;
    let password = known.secret(SecretKind::Password).unwrap();
    let credential = Credential::Password(Password::new(SecretText::copy_of(password)));
    let options = OpenOptions {
        // Wrong checksums are a property of this one published volume.
        ignore_checksums: name == "dfvfs-bdetogo",
        ..OpenOptions::default()
    };
    let device = keyhaven_disk::open(&known.image()).unwrap();
    let volume = Volume::open(device, &options, &mut unwatched).unwrap();
    let unlocked = volume.unlock(&credential).unwrap();
    Some(Arc::new(volume.data(unlocked).unwrap()))
}

#[test]
fn a_stick_of_bitlocker_to_go_has_the_files_that_mtools_sees() {
    let (Some(device), Some(mcopy)) = (unlocked("dfvfs-bdetogo"), program("mcopy")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let mut target = File::create(&image).unwrap();
    let mut buf = vec![0; 1 << 20];
    for at in (0..device.len_bytes()).step_by(buf.len()) {
        let len = (device.len_bytes() - at).min(buf.len() as u64) as usize;
        device.read_at(at, &mut buf[..len]).unwrap();
        target.write_all(&buf[..len]).unwrap();
    }
    let seen = folder.path().join("seen");
    std::fs::create_dir(&seen).unwrap();
    run(Command::new(mcopy)
        .args(["-s", "-n", "-Q", "-i"])
        .arg(&image)
        .arg("::/")
        .arg(&seen)
        .env("LC_ALL", "C.UTF-8"));

    let expected = Folder::read_from(&seen);
    assert!(expected.0.contains_key("passwords.txt"));
    expected.check(&*files::open(device.clone()).unwrap());
    assert_eq!(files::state(&device).unwrap(), Cleanliness::Clean);
}

#[test]
fn what_a_cut_down_volume_lacks_is_said() {
    // Its makers left out nearly all but what BitLocker needs.
    let Some(device) = unlocked("cs-aes-xts-128") else {
        return;
    };
    match files::open(device).unwrap_err() {
        OpenFilesError::Damaged { what, .. } => {
            assert_eq!(what, "file record 5: it does not begin with FILE");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_there_instead_is_said() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let locked = keyhaven_disk::open(&known.image()).unwrap();
    let error = files::open(locked).unwrap_err().to_string();
    assert!(error.starts_with("the files cannot be read: expected NTFS, exFAT or FAT, found "));
    let empty: Device = Arc::new(vec![0; 1 << 20]);
    assert!(matches!(
        files::open(empty),
        Err(OpenFilesError::NotAFileSystem { .. })
    ));
}
