//! Coming and going: limits, patience, and an end at which nothing is cut short.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::request::Command;
use keyhaven_attach::nbd::{Export, Listener, ServeError, Server};

use crate::client::{self, Client};
use crate::devices::Slow;
use crate::running::Running;

fn export() -> Export {
    Export::new(Shown::ReadOnly(Arc::new(vec![7; 1 << 20])))
}

#[test]
fn a_client_too_many_is_turned_away() {
    let server = Running::start(Server::new(export()).limit_clients(2));
    let first = Client::connect(&server.socket());
    let mut second = Client::connect(&server.socket());
    let mut third = UnixStream::connect(server.socket()).unwrap();
    let mut nothing = Vec::new();
    third.read_to_end(&mut nothing).unwrap();
    assert_eq!(nothing, b"");
    assert_eq!(second.read(0, 10).data, [7; 10]);
    drop(first);
    // Its place is free once the server has seen that it is gone.
    let again = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.read_exact(&mut [0; 18]).is_ok()
    });
    assert!(again);
    assert!(server.events().contains(&"TurnedAway".to_owned()));
}

#[test]
fn a_client_that_does_not_get_on_is_cut_off() {
    let server = Running::start(Server::new(export()).patience(Duration::from_millis(100)));
    let mut silent = UnixStream::connect(server.socket()).unwrap();
    let mut slow = client::greeted(&server.socket());
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 18, "the greeting, and then the end");
    // It says something all the time, and does not get anywhere.
    let dribble = (0..1000).find_map(|_| {
        thread::sleep(Duration::from_millis(5));
        slow.write_all(b"I").err()
    });
    assert_eq!(dribble.map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
    // Who uses the export may take all the time in the world.
    let mut user = Client::connect(&server.socket());
    thread::sleep(Duration::from_millis(300));
    assert_eq!(user.read(0, 10).data, [7; 10]);
    assert!(server.events().iter().any(|event| event.contains("TooSlow")));
}

#[test]
fn requests_in_progress_end_before_the_server_does() {
    let device = Arc::new(Slow::new(vec![7; 1 << 20]));
    let server = Running::start(Server::new(Export::new(Shown::ReadOnly(device.clone()))).workers(2));
    let socket = server.socket();
    let mut client = Client::connect(&socket);
    client.send(Command::Read, 0, 0, 1000, b"");
    device.wait_for_readers(1);
    server.tell_to_stop();
    // The place is free at once: nobody comes in any more.
    let gone = (0..400).any(|_| {
        thread::sleep(Duration::from_millis(5));
        !socket.exists()
    });
    assert!(gone);
    device.let_go();
    let (_, heard) = client.hear().unwrap();
    assert_eq!(heard.data, [7; 1000]);
    assert_eq!(client.hear().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    server.stop().unwrap();
}

#[test]
fn a_client_that_takes_no_replies_does_not_hold_up_the_end() {
    let export = Export::new(Shown::ReadOnly(Arc::new(vec![7; 8 << 20])));
    let server = Running::start(Server::new(export).grace(Duration::from_millis(100)));
    let mut client = Client::connect(&server.socket());
    // More than fits into the socket.
    client.send(Command::Read, 0, 0, 8 << 20, b"");
    thread::sleep(Duration::from_millis(100));
    server.stop().unwrap();
}

#[test]
fn tcp_is_for_this_machine_unless_there_is_tls() {
    let open_door: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let listener = Listener::tcp(open_door).unwrap();
    let refused = Server::new(export()).serve(vec![listener], &mut || ControlFlow::Break(()), &|_| {});
    assert!(
        matches!(refused, Err(ServeError::TlsRequired { .. })),
        "{refused:?}"
    );

    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    assert_eq!(listener.uri("", false), format!("nbd://{address}/"));
    let server = Server::new(export());
    let mut greeting = [0; 18];
    thread::scope(|scope| {
        let client = scope.spawn(|| TcpStream::connect(address).unwrap().read_exact(&mut greeting));
        let mut keep_on = || match client.is_finished() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        server.serve(vec![listener], &mut keep_on, &|_| {}).unwrap();
    });
    assert!(greeting.starts_with(b"NBDMAGIC"));
}

#[test]
fn a_stream_that_is_there_already_can_be_served() {
    let (client, server) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let server_side = Server::new(export());
            server_side.serve_stream(&server, &server, &|_| {}).unwrap();
        });
        let mut client = client;
        client.read_exact(&mut [0; 18]).unwrap();
        client.write_all(&[0, 0, 0, 3]).unwrap();
        client.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
        let mut size_and_flags = [0; 10];
        client.read_exact(&mut size_and_flags).unwrap();
        assert_eq!(size_and_flags, [0, 0, 0, 0, 0, 0x10, 0, 0, 1, 3]);
    });
}
