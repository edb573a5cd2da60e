//! Steering in a whole machine.

use nicfw::{Event, INDIRECTION, Steer};
use protocol::resp::first_key::key_slot;
use protocol::tcp::Flags;

use crate::lab::{CORES, Client, Lab};

fn core_of(key: &str) -> usize {
    usize::from(key_slot(key.as_bytes())) % INDIRECTION % CORES
}

#[test]
fn connections_with_one_first_key_are_on_one_core() {
    let mut lab = Lab::new(Steer::Key);
    let mut seen = [0; CORES];
    let mut port = 20_000;
    for n in 0..20 {
        let key = format!("key:{n}");
        let core = core_of(&key);
        seen[core] += 1;
        let len = key.len();
        for (request, reply) in [
            (format!("SET {key} {n}\r\n"), "+OK\r\n".to_owned()),
            (
                format!("*2\r\n$3\r\nGET\r\n${len}\r\n{key}\r\n"),
                format!("${}\r\n{n}\r\n", n.to_string().len()),
            ),
            (format!("*2\r\n$4\r\nincr\r\n${len}\r\n{key}\r\n"), format!(":{}\r\n", n + 1)),
        ] {
            port += 1;
            let (mut client, found) = lab.connect(port, &request, &reply);
            assert_eq!(found, core, "{request:?}");
            // The core that has it goes on with it, whatever it asks.
            assert_eq!(lab.ask(&mut client, "PING\r\n"), "+PONG\r\n");
            assert_eq!(lab.ask(&mut client, "EXISTS key:0 key:1\r\n"), format!(":{}\r\n", 1 + n.min(1)));
        }
    }
    assert!(seen.iter().all(|&keys| keys > 3), "{seen:?}");
    assert_eq!(lab.machine.firmware().counters().count(Event::SteeredByKey), 60);
}

#[test]
fn without_steering_by_key_they_are_on_both() {
    let mut lab = Lab::new(Steer::Rss);
    let cores: Vec<usize> = (1..40).map(|n| lab.connect(20_000 + n, "GET foo\r\n", "$-1\r\n").1).collect();
    assert!(cores.contains(&0) && cores.contains(&1), "{cores:?}");
}

#[test]
fn the_table_changes_under_load_and_nothing_is_lost() {
    for steer in [Steer::Rss, Steer::SymmetricRss, Steer::Key] {
        let mut lab = Lab::new(steer);
        let mut clients: Vec<Client> = Vec::new();
        for round in 0..40u16 {
            let table: Vec<u16> =
                (0..INDIRECTION as u16).map(|at| (at / (1 + round % 7) + round) % 2).collect();
            lab.machine.firmware_mut().set_indirection(&table).expect("both queues take part");
            // A connection has its handshake before and its first request behind the change.
            let mut late = Client::new(30_000 + round);
            lab.exchange(&mut late, Flags::SYN, b"");
            lab.exchange(&mut late, Flags::ACK, b"");
            lab.machine.firmware_mut().set_indirection(&[round % 2; INDIRECTION]).expect("it takes part");
            assert_eq!(lab.ask(&mut late, "INCR late\r\n"), format!(":{}\r\n", round + 1));
            let (client, core) = lab.connect(20_000 + round, "INCR new\r\n", &format!(":{}\r\n", round + 1));
            assert_eq!(core, usize::from(round % 2), "new ones follow the table");
            clients.extend([late, client]);
            for client in &mut clients {
                assert_eq!(lab.ask(client, "PING\r\n"), "+PONG\r\n", "{steer:?}, round {round}");
            }
        }
        assert_eq!(lab.connections().iter().sum::<u32>(), 80);
    }
}
