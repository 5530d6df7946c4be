//! `keyhaven serve`: the decrypted drive for other programs, and other machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_attach::Shown;
use keyhaven_attach::nbd::{self, Export, Listener, ServeError, Server, Tls};
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::content::ContentArgs;
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::showing::WriteArgs;
use crate::unclean::UncleanArgs;
use crate::unlocking::UnlockArgs;

mod place;
mod told;

use told::Told;

pub(super) const VERB: Verb = Verb::of::<Serve>();

/// Offer a decrypted drive to other programs, over NBD
///
/// NBD (network block device) is what qemu, libnbd's tools and Linux itself read disks over. The address is printed
/// first, on standard output; then the drive is served until Ctrl-C (or SIGTERM), which is how it is meant to end:
/// the exit code is then 0.
///
/// Without `--socket` and `--tcp` it is offered at a socket in a folder of your own: `$XDG_RUNTIME_DIR/keyhaven`, for
/// root `/run/keyhaven`. Only you and root can connect to a socket; to a TCP port, everybody who can reach it.
#[derive(Parser)]
#[command(name = "serve")]
struct Serve {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    unlock: UnlockArgs,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    unclean: UncleanArgs,

    #[command(flatten)]
    content: ContentArgs,

    /// The name that clients ask for; the empty name always works
    #[arg(long, value_name = "NAME")]
    export_name: Option<String>,

    /// Listen at this Unix socket, which only you can connect to
    #[arg(long, value_name = "PATH", help_heading = "Who gets in")]
    socket: Option<PathBuf>,

    /// Listen at this TCP port (`127.0.0.1:10809`; 0 takes a free one); an address that other machines can reach
    /// needs TLS
    #[arg(long, value_name = "ADDR:PORT", value_parser = tcp_address, help_heading = "Who gets in")]
    tcp: Option<SocketAddr>,

    /// Let clients in only under TLS: the server's certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Who gets in")]
    tls_certificate: Option<PathBuf>,

    /// The key of the server's certificate, a PEM file
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        help_heading = "Who gets in"
    )]
    tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate of this authority, a PEM file
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        help_heading = "Who gets in"
    )]
    tls_client_ca: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    /// The first of the addresses.
    uri: &'a str,
    uris: &'a [String],
    export_name: &'a str,
    size_bytes: u64,
    read_only: bool,
    pid: u32,
}

impl Run for Serve {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        // All that can go wrong does so before a person types 48 digits.
        let tls = self.tls()?;
        self.check_tcp(tls.as_ref(), context)?;
        let drive = self.write.open(&self.drive, context)?;
        let listeners = self.listen(&drive.name)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let shown = drive.shown(unlocked, &self.content)?;
        self.unclean.check(&shown, context)?;

        let server = self.server(shown, tls)?;
        let uris: Vec<String> = listeners
            .iter()
            .map(|listener| listener.uri(self.export_name(), self.tls_certificate.is_some()))
            .collect();
        self.tell(&drive.name, server.export(), &uris, &listeners, context)?;
        let told = Told::new(&context.ui);
        server
            .serve(listeners, &mut || context.interrupt.flow(), &|event| {
                told.tell(&event)
            })
            .map_err(|error| refusal(&error))?;
        context.ui.say(if self.write.write {
            "No longer served. What was written is on the drive."
        } else {
            "No longer served."
        });
        Ok(Exit::Done)
    }
}

impl Serve {
    fn export_name(&self) -> &str {
        self.export_name.as_deref().unwrap_or_default()
    }

    fn tls(&self) -> Result<Option<Tls>, CliError> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        Tls::from_files(certificate, key, self.tls_client_ca.as_deref())
            .map(Some)
            .map_err(|error| {
                CliError::could_not("cannot offer TLS")
                    .because(&error)
                    .hint("certificates and keys are PEM files here: they have lines with BEGIN and END")
            })
    }

    /// Refuses an open door, and says who can come in through the others.
    fn check_tcp(&self, tls: Option<&Tls>, context: &Context) -> Result<(), CliError> {
        let Some(address) = self.tcp else {
            return Ok(());
        };
        let can_do = if self.write.write {
            "read and change"
        } else {
            "read"
        };
        let door = match tls {
            Some(tls) if tls.knows_clients() => return Ok(()),
            Some(_) if nbd::is_local(address) => return Ok(()),
            Some(_) => format!("everybody who can reach {address} can {can_do} the drive"),
            None if nbd::is_local(address) => {
                format!("all users of this computer can connect to a TCP port and {can_do} the drive")
            }
            None => return Err(refusal(&ServeError::TlsRequired { address })),
        };
        context.ui.warn(&match tls {
            Some(_) => format!("{door}; `--tls-client-ca FILE` lets in only those with a certificate"),
            None => format!("{door}; to a socket, without `--tcp`, only you can"),
        });
        Ok(())
    }

    fn listen(&self, drive_name: &str) -> Result<Vec<Listener>, CliError> {
        let mut listeners = Vec::new();
        if let Some(path) = &self.socket {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            listeners.push(Listener::unix(&path).map_err(|error| refusal(&error))?);
        }
        if let Some(address) = self.tcp {
            listeners.push(Listener::tcp(address).map_err(|error| refusal(&error))?);
        }
        if listeners.is_empty() {
            listeners.push(place::listen_for(drive_name)?);
        }
        Ok(listeners)
    }

    fn server(&self, shown: Shown, tls: Option<Tls>) -> Result<Server, CliError> {
        let export = Export::new(shown)
            .named(self.export_name())
            .map_err(|error| refusal(&error))?;
        let server = Server::new(export);
        Ok(match tls {
            Some(tls) => server.tls(tls),
            None => server,
        })
    }

    fn tell(
        &self,
        drive: &str,
        export: &Export,
        uris: &[String],
        listeners: &[Listener],
        context: &Context,
    ) -> Result<(), CliError> {
        let ui = &context.ui;
        let how = if export.is_read_only() {
            "read-only"
        } else {
            "can be written"
        };
        ui.say(&format!(
            "Serving {drive} ({}, {how}). Ctrl-C ends it.",
            HumanBytes(export.len_bytes())
        ));
        let Some(uri) = uris.first() else {
            return Ok(());
        };
        for line in self.examples(uri, listeners) {
            ui.say(&format!("  {line}"));
        }
        if ui.is_json() {
            return ui.json(&Answer {
                drive,
                uri,
                uris,
                export_name: self.export_name(),
                size_bytes: export.len_bytes(),
                read_only: export.is_read_only(),
                pid: std::process::id(),
            });
        }
        uris.iter().try_for_each(|uri| ui.line(uri))
    }

    /// Shows how the drive can be used now.
    fn examples(&self, uri: &str, listeners: &[Listener]) -> Vec<String> {
        if self.tls_certificate.is_some() {
            // Where a client looks for certificates is its own affair.
            return vec![format!("nbdinfo '{uri}'")];
        }
        let name = match self.export_name() {
            "" => String::new(),
            name => format!(" -name '{}'", name.replace('\'', "'\\''")),
        };
        let mut lines = vec![format!("qemu-img convert -p -O raw '{uri}' copy.img")];
        let path = listeners.iter().find_map(Listener::socket_path);
        match (path, listeners.iter().find_map(Listener::tcp_address)) {
            (Some(path), _) => {
                let path = path.display();
                lines.push(format!("sudo nbd-client -unix '{path}' /dev/nbd0{name}"));
            }
            (None, Some(address)) => {
                let (host, port) = (address.ip(), address.port());
                lines.push(format!("sudo nbd-client {host} {port} /dev/nbd0{name}"));
            }
            (None, None) => {}
        }
        lines
    }
}

/// Reads an address with a port; names are not looked up, but for the one that everybody knows.
fn tcp_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "give an address and a port, such as 127.0.0.1:10809 or [::1]:10809".to_owned())
}

/// Says why a drive is not served, and what to do next.
fn refusal(error: &ServeError) -> CliError {
    let refused = CliError::could_not("the drive is not served").because(error);
    match error {
        ServeError::SocketInUse { .. } => {
            refused.hint("another `keyhaven serve`? Give another place: `--socket PATH`")
        }
        ServeError::NotASocket { .. } => refused.hint("nothing is overwritten: give another place"),
        ServeError::SocketPathTooLong { .. } => refused.hint("give a shorter path: `--socket PATH`"),
        ServeError::Listen { place, source } => match source.kind() {
            std::io::ErrorKind::AddrInUse => refused.hint("another program has this port: give another"),
            std::io::ErrorKind::AddrNotAvailable => refused.hint("this computer does not have that address"),
            std::io::ErrorKind::NotFound if Path::new(place).is_absolute() => {
                refused.hint("make the folder first; a socket is made in it")
            }
            _ => refused.hint("give another place: `--socket PATH`, or `--tcp ADDR:PORT`"),
        },
        ServeError::TlsRequired { .. } => refused
            .hint("`--tls-certificate FILE --tls-key FILE` has TLS, and `--tls-client-ca FILE` says who gets in")
            .hint("without TLS: serve at 127.0.0.1, or at a socket, and reach it through `ssh -L`"),
        ServeError::Flush(_) => CliError::could_not(
            "the drive is no longer served, but something that was written may not be on it",
        )
        .because(error)
        .hint("do not unplug it in a hurry next time, and check the files that were written last"),
        _ => refused,
    }
}
