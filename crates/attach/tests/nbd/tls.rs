//! TLS, as others' clients see it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::option::ClientOption;
use keyhaven_attach::nbd::{Export, Listener, Server, Tls, TlsError};
use keyhaven_testkit::tool;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::client;
use crate::judges::{content, noise, run};
use crate::running::Running;

/// An authority, with the files that libnbd and qemu expect.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca-cert.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Vouches for somebody: `who-cert.pem` and `who-key.pem`.
    fn vouch_for(&self, who: &str, purpose: ExtendedKeyUsagePurpose) {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{who}-cert.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{who}-key.pem")), key.serialize_pem()).unwrap();
    }

    fn of_server() -> Self {
        let authority = Self::new();
        authority.vouch_for("server", ExtendedKeyUsagePurpose::ServerAuth);
        authority
    }

    fn tls(&self, client_authority: Option<&Path>) -> Tls {
        Tls::from_files(
            &self.path("server-cert.pem"),
            &self.path("server-key.pem"),
            client_authority,
        )
        .unwrap()
    }
}

fn disk() -> Vec<u8> {
    noise(24 << 20)
}

fn serve(tls: Tls) -> Running {
    let export = Export::new(Shown::ReadOnly(Arc::new(disk())));
    Running::start(Server::new(export).tls(tls).patience(Duration::from_secs(5)))
}

fn uri(server: &Running, certificates: &Authority) -> String {
    let socket = server.socket();
    let folder = certificates.folder.path().display();
    format!(
        "nbds+unix:///?socket={}&tls-certificates={folder}",
        socket.display()
    )
}

#[test]
fn a_client_that_knows_the_authority_copies_all_of_it() {
    let (Some(nbdinfo), Some(nbdcopy)) = (tool::find("nbdinfo"), tool::find("nbdcopy")) else {
        return;
    };
    let authority = Authority::of_server();
    let server = serve(authority.tls(None));
    let said = content(&nbdinfo, ["--json", &uri(&server, &authority)]);
    assert!(said.contains("\"TLS\": true"), "{said}");
    let copy = server.folder().join("copy.img");
    content(&nbdcopy, [&uri(&server, &authority), copy.to_str().unwrap()]);
    assert!(fs::read(copy).unwrap() == disk());

    let plain = run(&nbdinfo, [server.uri()]);
    assert!(!plain.status.success(), "{plain:#?}");
    server.stop().unwrap();
}

#[test]
fn a_client_that_knows_another_authority_leaves() {
    let Some(nbdinfo) = tool::find("nbdinfo") else {
        return;
    };
    let authority = Authority::of_server();
    // libnbd does not look at who a server on a Unix socket is.
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.tcp_address().unwrap().port();
    let export = Export::new(Shown::ReadOnly(Arc::new(vec![0; 512])));
    let server = Running::start_at(Server::new(export).tls(authority.tls(None)), vec![listener]);
    let at = |certificates: &Authority| {
        let folder = certificates.folder.path().display();
        format!("nbds://localhost:{port}/?tls-certificates={folder}")
    };
    let refused = run(&nbdinfo, [at(&Authority::new())]);
    assert!(!refused.status.success(), "{refused:#?}");
    content(&nbdinfo, [at(&authority)]);
    let events = server.events().join("\n");
    assert!(events.contains("problem: Some(Tls("), "{events}");
    server.stop().unwrap();
}

#[test]
fn what_is_written_through_tls_arrives() {
    let Some(nbdcopy) = tool::find("nbdcopy") else {
        return;
    };
    let authority = Authority::of_server();
    let device = Arc::new(keyhaven_disk::MemoryDevice::new(vec![0; 24 << 20]));
    let shown: keyhaven_disk::Writable = device.clone();
    let server = Running::start(Server::new(Export::new(Shown::Writable(shown))).tls(authority.tls(None)));
    let source = server.folder().join("source.img");
    fs::write(&source, disk()).unwrap();
    content(&nbdcopy, [source.to_str().unwrap(), &uri(&server, &authority)]);
    server.stop().unwrap();
    assert!(device.content() == disk());
}

#[test]
fn qemu_takes_it_too() {
    let Some(qemu_img) = tool::find("qemu-img") else {
        return;
    };
    let authority = Authority::of_server();
    let server = serve(authority.tls(None));
    let credentials = format!(
        "tls-creds-x509,id=tls,endpoint=client,dir={}",
        authority.folder.path().display()
    );
    let image = format!(
        "driver=nbd,server.type=unix,server.path={},tls-creds=tls,tls-hostname=localhost",
        server.socket().display()
    );
    let copy = server.folder().join("copy.img");
    let arguments = [
        "convert",
        "--object",
        &credentials,
        "--image-opts",
        &image,
        "-O",
        "raw",
    ];
    content(
        &qemu_img,
        arguments.iter().copied().chain([copy.to_str().unwrap()]),
    );
    assert!(fs::read(copy).unwrap() == disk());
}

#[test]
fn with_an_authority_for_clients_only_its_own_get_in() {
    let Some(nbdinfo) = tool::find("nbdinfo") else {
        return;
    };
    let authority = Authority::of_server();
    let server = serve(authority.tls(Some(&authority.path("ca-cert.pem"))));
    let refused = run(&nbdinfo, [uri(&server, &authority)]);
    assert!(!refused.status.success(), "it has no certificate: {refused:#?}");
    authority.vouch_for("client", ExtendedKeyUsagePurpose::ClientAuth);
    content(&nbdinfo, [uri(&server, &authority)]);
    server.stop().unwrap();
}

#[test]
fn a_client_that_begins_tls_and_falls_silent_is_cut_off() {
    let authority = Authority::of_server();
    let export = Export::new(Shown::ReadOnly(Arc::new(vec![0; 512])));
    let server = Server::new(export)
        .tls(authority.tls(None))
        .patience(Duration::from_millis(150));
    let server = Running::start(server);
    let mut client = client::greeted(&server.socket());
    client.write_all(&ClientOption::List.to_bytes()).unwrap();
    assert_eq!(client::answer(&mut client).unwrap().1, 0x8000_0005);
    client.write_all(&ClientOption::StartTls.to_bytes()).unwrap();
    assert_eq!(client::answer(&mut client).unwrap().1, 1);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();

    let mut nonsense = client::greeted(&server.socket());
    nonsense.write_all(&ClientOption::StartTls.to_bytes()).unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    nonsense.read_to_end(&mut rest).unwrap();
    server.stop().unwrap();
}

#[test]
fn files_that_are_no_certificates_are_refused() {
    let authority = Authority::of_server();
    let (certificate, key) = (
        authority.path("server-cert.pem"),
        authority.path("server-key.pem"),
    );
    let nowhere = authority.path("none.pem");
    assert!(matches!(
        Tls::from_files(&nowhere, &key, None),
        Err(TlsError::Pem { .. })
    ));
    assert!(matches!(
        Tls::from_files(&certificate, &nowhere, None),
        Err(TlsError::Pem { .. })
    ));
    assert!(matches!(
        Tls::from_files(&key, &key, None),
        Err(TlsError::NoCertificate { .. })
    ));
    assert!(matches!(
        Tls::from_files(&certificate, &key, Some(&key)),
        Err(TlsError::NoCertificate { .. })
    ));
    authority.vouch_for("other", ExtendedKeyUsagePurpose::ServerAuth);
    let mixed = Tls::from_files(&certificate, &authority.path("other-key.pem"), None);
    assert!(matches!(mixed, Err(TlsError::CertificateAndKey(_))));
}
