//! Partition tables of a whole disk.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::{Device, partition};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let disk: Device = Arc::new(bytes.to_vec());
    if let Ok(Some(table)) = partition::table(&disk) {
        for partition in &table.partitions {
            let mut sector = [0; 512];
            let _ = partition.device(&disk).read_at(0, &mut sector);
        }
    }
});
