//! What an NBD client sends: options and requests as shapes, then the whole of it to a server with a small device.
#![no_main]

use std::io::sink;
use std::sync::Arc;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::option::{ClientOption, OptionHeader};
use keyhaven_attach::nbd::request::Request;
use keyhaven_attach::nbd::{Export, Server};
use keyhaven_disk::MemoryDevice;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((header, data)) = bytes.split_first_chunk()
        && let Some(header) = OptionHeader::read(header)
        && let Ok(option) = ClientOption::read(header.code, data)
    {
        let again = option.to_bytes();
        let (header, data) = again.split_first_chunk().expect("a header");
        let header = OptionHeader::read(header).expect("what we write, we read");
        assert_eq!(ClientOption::read(header.code, data), Ok(option));
    }
    if let Some(request) = bytes.first_chunk().and_then(Request::read) {
        assert!(bytes.starts_with(&request.to_bytes()));
    }
    let device = Arc::new(MemoryDevice::new(vec![0; 1 << 16]));
    let server = Server::new(Export::new(Shown::Writable(device))).workers(1);
    let _ = server.serve_stream(bytes, sink(), &|_| {});
});
