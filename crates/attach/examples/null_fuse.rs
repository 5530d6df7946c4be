//! The file of `keyhaven unlock --as-image` over a device of zeros that does no work: what FUSE alone costs.
//!
//! `null_fuse MOUNTPOINT LENGTH` shows `volume.img` with so many bytes until it is unmounted.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use keyhaven_attach::Shown;
    use keyhaven_attach::fuse::{MountOptions, mount_image};
    use keyhaven_disk::{BlockDevice, ReadError};

    #[derive(Debug)]
    struct Zeros(u64);

    impl BlockDevice for Zeros {
        fn len_bytes(&self) -> u64 {
            self.0
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
            // The buffer was zeros when it was made, and nothing else was ever read into it.
            Ok(())
        }
    }

    let mut arguments = std::env::args_os().skip(1);
    let (Some(mountpoint), Some(len)) = (arguments.next(), arguments.next()) else {
        return Err("usage: null_fuse MOUNTPOINT LENGTH".into());
    };
    let len = len.to_str().ok_or("a length is a number of bytes")?.parse()?;
    let shown = Shown::ReadOnly(Arc::new(Zeros(len)));
    let options = MountOptions::new("null", SystemTime::now());
    let mut mounted = mount_image(shown, "volume.img", mountpoint.as_ref(), &options)?;
    while !mounted.wait(Duration::from_secs(60))? {}
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("FUSE is used on Linux only");
}
