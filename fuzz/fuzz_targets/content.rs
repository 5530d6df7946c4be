//! Naming what is on a device.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::{Device, content};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let device: Device = Arc::new(bytes.to_vec());
    let _ = content::identify(&device).to_string();
});
