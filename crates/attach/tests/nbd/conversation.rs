//! What is said to each command, and to nonsense.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::request::{Command, Request, flag};
use keyhaven_attach::nbd::{Export, MAX_REQUEST_LEN, Server};
use keyhaven_disk::Writable;

use crate::client::{self, Client};
use crate::devices::{Archipelago, Moody, Slow};
use crate::running::Running;

const EPERM: u32 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;
const EOVERFLOW: u32 = 75;
const ENOTSUP: u32 = 95;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Serves a device that can be written, and keeps a hold on it.
fn serve(device: Moody) -> (Running, Arc<Moody>) {
    let device = Arc::new(device);
    let shown: Writable = device.clone();
    (Running::of(Shown::Writable(shown)), device)
}

#[test]
fn both_kinds_of_clients_read_what_is_there() {
    let content = content(3 << 20);
    let server = Running::of(Shown::ReadOnly(Arc::new(content.clone())));
    let mut modern = Client::connect(&server.socket());
    let mut simple = Client::connect_simply(&server.socket());
    assert_eq!((modern.size, simple.size), (3 << 20, 3 << 20));
    assert_eq!((modern.flags, simple.flags), (0x183, 0x103));
    for (offset, len) in [
        (0, 1),
        (511, 2),
        (4095, 262_145),
        (1, (3 << 20) - 1),
        (0, 3 << 20),
        (3 << 20, 0),
    ] {
        for client in [&mut modern, &mut simple] {
            let heard = client.read(offset, len);
            assert_eq!(heard.error, None);
            assert!(
                heard.data == content[offset as usize..][..len],
                "{len} bytes at {offset}"
            );
        }
    }
    let parts = modern.read(1, 600_000).parts;
    let expected = [
        (1, 262_144, false),
        (262_145, 262_144, false),
        (524_289, 75_712, false),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn what_is_not_possible_has_a_number_and_costs_nothing() {
    let server = Running::of(Shown::ReadOnly(Arc::new(content(1 << 20))));
    let end = 1 << 20;
    for connect in [Client::connect, Client::connect_simply] {
        let mut client = connect(&server.socket());
        for (offset, len) in [
            (end, 1),
            (end - 1, 2),
            (u64::MAX, 1),
            (0, MAX_REQUEST_LEN as usize + 1),
        ] {
            assert_eq!(client.read(offset, len).number(), EINVAL, "{len} at {offset}");
        }
        assert_eq!(client.write(0, &[1; 700_000]), EPERM);
        assert_eq!(client.write(end, &[1; 7]), EPERM);
        for command in [Command::Trim, Command::WriteZeroes] {
            assert_eq!(client.ask(command, 0, 0, 512, b"").number(), EPERM);
        }
        assert_eq!(client.ask(Command::Flush, 0, 0, 0, b"").number(), 0);
        for number in [5, 8, 99] {
            assert_eq!(
                client.ask(Command::Unknown(number), 0, 0, 0, b"").number(),
                EINVAL
            );
        }
        assert_eq!(client.ask(Command::Read, 1 << 5, 0, 512, b"").number(), EINVAL);
        assert_eq!(
            client
                .ask(Command::Read, flag::FORCE_UNIT_ACCESS, 0, 512, b"")
                .number(),
            0
        );
        assert_eq!(client.read(0, 512).number(), 0, "still there");
    }
    let mut simple = Client::connect_simply(&server.socket());
    assert_eq!(
        simple
            .ask(Command::Read, flag::DO_NOT_FRAGMENT, 0, 512, b"")
            .number(),
        EINVAL
    );
    assert_eq!(simple.ask(Command::BlockStatus, 0, 0, 512, b"").number(), EINVAL);
}

#[test]
fn what_is_written_is_read_and_flushed_when_asked() {
    let (server, device) = serve(Moody::new(content(2 << 20)));
    let mut client = Client::connect(&server.socket());
    assert_eq!(client.flags, 0x9ED);
    let mut model = content(2 << 20);
    let data: Vec<u8> = (0..1_000_000_u32).map(|at| (at >> 3) as u8).collect();
    for (offset, len) in [
        (0, 1),
        (513, 4096),
        (77, 1_000_000),
        (262_144, 262_144),
        (2 << 20, 0),
    ] {
        assert_eq!(client.write(offset, &data[..len]), 0);
        model[offset as usize..][..len].copy_from_slice(&data[..len]);
    }
    assert!(device.memory.content() == model);
    assert_eq!(
        client
            .ask(Command::WriteZeroes, flag::NO_HOLE, 1000, 600_000, b"")
            .number(),
        0
    );
    model[1000..601_000].fill(0);
    assert_eq!(client.ask(Command::Trim, 0, 700_000, 100, b"").number(), 0);
    model[700_000..700_100].fill(0xDC);
    assert!(client.read(0, 2 << 20).data == model);

    assert_eq!(device.flushes.load(Ordering::SeqCst), 0);
    assert_eq!(client.ask(Command::Flush, 0, 0, 0, b"").number(), 0);
    assert_eq!(
        client
            .ask(Command::Write, flag::FORCE_UNIT_ACCESS, 0, 3, b"abc")
            .number(),
        0
    );
    for command in [Command::WriteZeroes, Command::Trim] {
        assert_eq!(
            client.ask(command, flag::FORCE_UNIT_ACCESS, 0, 3, b"").number(),
            0
        );
    }
    assert_eq!(device.flushes.load(Ordering::SeqCst), 4);

    let fast = flag::FAST_ZERO;
    assert_eq!(
        client.ask(Command::WriteZeroes, fast, 0, 512, b"").number(),
        ENOTSUP
    );
    let end = 2 << 20;
    assert_eq!(client.write(end - 1, b"ab"), ENOSPC);
    assert_eq!(client.ask(Command::WriteZeroes, 0, end, 1, b"").number(), ENOSPC);
    assert_eq!(client.ask(Command::Trim, 0, end, 1, b"").number(), EINVAL);
    assert_eq!(
        client.ask(Command::Write, flag::NO_HOLE, 0, 2, b"ab").number(),
        EINVAL
    );
    assert_eq!(client.write(u64::MAX, b"ab"), ENOSPC);
    assert!(
        device.longest.load(Ordering::SeqCst) <= 256 << 10,
        "memory is bounded"
    );
    drop(client);
    server.stop().unwrap();
    assert_eq!(device.flushes.load(Ordering::SeqCst), 5, "and once at the end");
}

#[test]
fn a_bad_place_is_told_and_the_rest_is_served() {
    let mut device = Moody::new(content(2 << 20));
    device.unreadable = 700_000..700_001;
    device.fixed = 1_500_000..1_500_512;
    device.full = 1_700_000..1_700_001;
    let (server, device) = serve(device);
    let mut client = Client::connect(&server.socket());
    let heard = client.read(1000, 1 << 20);
    assert_eq!(heard.data.len(), 524_288, "what comes before is there");
    let (number, message, place) = heard.error.unwrap();
    assert_eq!((number, place), (EIO, Some(700_000)));
    assert!(message.contains("700000"), "{message}");
    let mut simple = Client::connect_simply(&server.socket());
    assert_eq!(simple.read(1000, 1 << 20).number(), EIO, "before the first byte");
    assert_eq!(simple.read(700_000, 1).number(), EIO);
    for client in [&mut client, &mut simple] {
        assert_eq!(client.read(0, 700_000).data, content(700_000));
    }

    // The rest of the data is taken from the connection, whatever happens in the middle.
    let before = device.memory.content();
    assert_eq!(client.write(1_400_000, &[1; 600_000]), EPERM);
    assert_eq!(client.write(1_700_000, &[1; 10]), ENOSPC);
    assert_eq!(client.write(2_000_000, &[1; 10]), 0);
    assert_eq!(device.memory.content()[2_000_010..], before[2_000_010..]);
    let events = server.events().join("\n");
    assert!(
        events.contains("ReadFailed(Io { offset: 700000") && events.contains("WriteFailed(Fixed"),
        "{events}"
    );
}

#[test]
fn a_bug_in_a_device_costs_one_request() {
    let mut device = Moody::new(content(2 << 20));
    device.bug = 300_000..300_001;
    let (server, _device) = serve(device);
    let mut client = Client::connect(&server.socket());
    let mut simple = Client::connect_simply(&server.socket());
    for client in [&mut client, &mut simple] {
        assert_eq!(client.read(0, 400_000).number(), EIO);
        assert_eq!(client.write(300_000, b"abc"), EIO);
        assert_eq!(client.read(0, 300_000).data, content(300_000));
    }
    // In the middle of its data there is no way to go on.
    let request = Request {
        flags: 0,
        command: Command::Write,
        cookie: 1,
        offset: 0,
        len_bytes: 1 << 20,
    };
    client.stream.write_all(&request.to_bytes()).unwrap();
    let _ = client.stream.write_all(&content(1 << 20));
    assert!(client.hear().is_err());
    assert_eq!(simple.read(1 << 20, 10).number(), 0);
    server.stop().unwrap();
}

#[test]
fn a_failed_flush_is_told_to_clients_and_at_the_end() {
    let mut device = Moody::new(content(4096));
    device.flush_fails = true;
    let (server, _device) = serve(device);
    let mut client = Client::connect(&server.socket());
    assert_eq!(client.write(0, b"abc"), 0);
    assert_eq!(client.ask(Command::Flush, 0, 0, 0, b"").number(), EIO);
    let sure = flag::FORCE_UNIT_ACCESS;
    assert_eq!(client.ask(Command::Write, sure, 0, 3, b"abc").number(), EIO);
    let error = server.stop().unwrap_err();
    assert_eq!(
        error.to_string(),
        "what was written last is not safe on the medium"
    );
}

#[test]
fn holes_are_told_and_not_sent() {
    let device = Archipelago { len_bytes: 4 << 40 };
    let server = Running::of(Shown::ReadOnly(Arc::new(device)));
    let mut client = Client::connect(&server.socket());
    let shore = 2 * Archipelago::EVERY;
    let heard = client.read(shore - 4096, 8192);
    assert_eq!(heard.parts, [(shore - 4096, 4096, true), (shore, 4096, false)]);
    let whole = client.ask(Command::Read, flag::DO_NOT_FRAGMENT, shore - 4096, 8192, b"");
    assert_eq!(whole.parts, [(shore - 4096, 8192, false)]);
    assert_eq!(whole.data, heard.data);
    let too_much = 256 * 1024 + 1;
    let refused = client.ask(Command::Read, flag::DO_NOT_FRAGMENT, 0, too_much, b"");
    assert_eq!(refused.number(), EOVERFLOW);

    let status = client.ask(Command::BlockStatus, 0, shore - 4096, 2 << 20, b"");
    assert_eq!(status.extents, [(4096, 3), (1 << 20, 0), ((1 << 20) - 4096, 3)]);
    let first = client.ask(Command::BlockStatus, flag::ONE_EXTENT, shore, 2 << 20, b"");
    assert_eq!(first.extents, [(1 << 20, 0)]);
    let most = client.ask(Command::BlockStatus, 0, 1 << 20, u32::MAX as usize, b"");
    assert_eq!(most.extents, [(u32::MAX, 3)]);
    for (offset, len) in [(4 << 40, 1), (0, 0), (u64::MAX, 5)] {
        let refused = client.ask(Command::BlockStatus, 0, offset, len, b"");
        assert_eq!(refused.number(), EINVAL);
    }
}

#[test]
fn several_requests_are_worked_on_at_once() {
    let device = Arc::new(Slow::new(content(1 << 20)));
    let shown = Shown::ReadOnly(device.clone());
    let server = Running::start(Server::new(Export::new(shown)).workers(3));
    let mut client = Client::connect(&server.socket());
    for request in 0..6 {
        client.send(Command::Read, 0, request * 1000, 1000, b"");
    }
    // Three wait in the device; the other three wait in the socket.
    device.wait_for_readers(3);
    device.let_go();
    let mut heard: Vec<u64> = (0..6).map(|_| client.hear().unwrap().0).collect();
    heard.sort_unstable();
    assert_eq!(heard, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn nonsense_ends_its_connection_and_no_other() {
    let server = Running::of(Shown::ReadOnly(Arc::new(content(4096))));
    let mut other = Client::connect(&server.socket());
    let mut rest = Vec::new();

    let mut client = Client::connect(&server.socket());
    client.stream.write_all(&[0x25; 28]).unwrap();
    client.stream.read_to_end(&mut rest).unwrap();
    let mut early = client::greeted(&server.socket());
    early.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    early.read_to_end(&mut rest).unwrap();
    let mut endless = client::greeted(&server.socket());
    endless.write_all(b"IHAVEOPT\0\0\0\x07\xFF\xFF\xFF\xFF").unwrap();
    endless.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    // A write that breaks off is not begun.
    let mut gone = Client::connect(&server.socket());
    gone.send(Command::Write, 0, 0, 4096, b"only this");
    drop(gone);

    assert_eq!(other.read(0, 4096).data, content(4096));
    other.send(Command::Disconnect, 0, 0, 0, b"");
    other.stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    server.stop().unwrap();
}
