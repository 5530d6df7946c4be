//! Random commands through several connections, against an array.

use std::sync::Arc;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::request::{Command, flag};
use keyhaven_disk::Writable;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::client::Client;
use crate::devices::Moody;
use crate::running::Running;

const LEN: usize = 1 << 20;
const CLIENTS: usize = 3;

#[derive(Debug, Clone)]
enum Action {
    Read,
    Write(u8),
    Zero(bool),
    Trim,
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Read),
        4 => any::<u8>().prop_map(Action::Write),
        1 => any::<bool>().prop_map(Action::Zero),
        1 => Just(Action::Trim),
        1 => Just(Action::Flush),
    ]
}

/// Short ranges, ranges of sectors, and ones that are longer than a worker's buffer.
fn range() -> impl Strategy<Value = (usize, usize)> {
    let any_range = (0..=LEN, 0..5000_usize);
    let sectors = (0..LEN / 512, 0..64_usize).prop_map(|(start, len)| (start * 512, len * 512));
    let long = (0..LEN, 0..LEN);
    prop_oneof![4 => any_range, 4 => sectors, 1 => long]
        .prop_map(|(start, len)| (start, len.min(LEN - start)))
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn clients_see_what_all_of_them_wrote(
        steps in vec((0..CLIENTS, action(), range(), any::<bool>()), 1..60)
    ) {
        let mut model = pattern(0, LEN);
        let device = Arc::new(Moody::new(model.clone()));
        let shown: Writable = device.clone();
        let server = Running::of(Shown::Writable(shown));
        let mut clients: Vec<Client> = (0..CLIENTS)
            .map(|number| match number {
                0 => Client::connect_simply(&server.socket()),
                _ => Client::connect(&server.socket()),
            })
            .collect();
        for (client, action, (start, len), is_sure) in steps {
            let client = &mut clients[client];
            let sure = if is_sure { flag::FORCE_UNIT_ACCESS } else { 0 };
            let offset = start as u64;
            let own = &mut model[start..start + len];
            let number = match action {
                Action::Read => {
                    let heard = client.read(offset, len);
                    prop_assert!(heard.data == own, "{} bytes at {}", len, start);
                    heard.number()
                }
                Action::Write(seed) => {
                    own.copy_from_slice(&pattern(seed, len));
                    client.ask(Command::Write, sure, offset, len, own).number()
                }
                Action::Zero(keeps_room) => {
                    own.fill(0);
                    let kept = if keeps_room { flag::NO_HOLE } else { 0 };
                    client.ask(Command::WriteZeroes, sure | kept, offset, len, b"").number()
                }
                Action::Trim => {
                    own.fill(0xDC);
                    client.ask(Command::Trim, sure, offset, len, b"").number()
                }
                Action::Flush => client.ask(Command::Flush, 0, 0, 0, b"").number(),
            };
            prop_assert_eq!(number, 0);
        }
        drop(clients);
        server.stop().unwrap();
        prop_assert!(device.memory.content() == model);
    }

    #[test]
    fn writes_in_flight_all_arrive(seeds in vec(any::<u8>(), 1..40)) {
        // Each request has a range of its own: requests in flight have no order.
        const PART: usize = LEN / 40;
        let device = Arc::new(Moody::new(vec![0; LEN]));
        let shown: Writable = device.clone();
        let server = Running::of(Shown::Writable(shown));
        let mut clients = [Client::connect(&server.socket()), Client::connect_simply(&server.socket())];
        for (number, seed) in seeds.iter().enumerate() {
            let offset = (number * PART) as u64;
            clients[number % 2].send(Command::Write, 0, offset, PART, &pattern(*seed, PART));
        }
        for (number, _) in seeds.iter().enumerate() {
            prop_assert_eq!(clients[number % 2].hear().unwrap().1.number(), 0);
        }
        for (number, seed) in seeds.iter().enumerate() {
            let heard = clients[(number + 1) % 2].read((number * PART) as u64, PART);
            prop_assert!(heard.data == pattern(*seed, PART));
        }
    }
}
