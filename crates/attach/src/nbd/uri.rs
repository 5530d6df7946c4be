//! The address of an export, as NBD clients write it.
//!
//! Source: the NBD URI specification, beside the protocol's.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The port that clients try when they are told none.
const DEFAULT_PORT: u16 = 10809;

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Unix(&'a Path),
    Tcp(SocketAddr),
}

/// Returns the URI of an export.
pub(super) fn of(place: Place<'_>, export_name: &str, is_tls: bool) -> String {
    let scheme = if is_tls { "nbds" } else { "nbd" };
    let name = percent_encoded(export_name.as_bytes());
    match place {
        Place::Unix(path) => {
            let path = percent_encoded(path.as_os_str().as_bytes());
            format!("{scheme}+unix:///{name}?socket={path}")
        }
        Place::Tcp(address) => {
            let host = match address {
                SocketAddr::V4(address) => address.ip().to_string(),
                SocketAddr::V6(address) => format!("[{}]", address.ip()),
            };
            match address.port() {
                DEFAULT_PORT => format!("{scheme}://{host}/{name}"),
                port => format!("{scheme}://{host}:{port}/{name}"),
            }
        }
    }
}

/// Writes what could end a part of a URI, or a word in a shell, as percent signs and numbers.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_clients_take_them() {
        let socket = Path::new("/run/user/1000/keyhaven/a disk#2.sock");
        assert_eq!(
            of(Place::Unix(socket), "", false),
            "nbd+unix:///?socket=/run/user/1000/keyhaven/a%20disk%232.sock"
        );
        assert_eq!(
            of(Place::Unix(Path::new("/s")), "ü&?", true),
            "nbds+unix:///%C3%BC%26%3F?socket=/s"
        );
        let tcp = |address: &str| Place::Tcp(address.parse().unwrap());
        assert_eq!(of(tcp("127.0.0.1:10809"), "", false), "nbd://127.0.0.1/");
        assert_eq!(of(tcp("127.0.0.1:1"), "x", false), "nbd://127.0.0.1:1/x");
        assert_eq!(of(tcp("[::1]:2"), "", true), "nbds://[::1]:2/");
    }
}
