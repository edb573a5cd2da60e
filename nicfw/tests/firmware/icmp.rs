//! ICMP errors: about flows of the host, about what is being closed, and about others.

use netcore::Duration;
use nicfw::Event;
use protocol::channel::Kind;
use protocol::checksum::{Sum, pseudo_header};
use protocol::ethernet;
use protocol::icmp_error::{self, Meaning};
use protocol::ip::{self, Address, Version};
use protocol::ipv4;

use crate::harness::*;

/// "Too big: `mtu`" about the segment with number `seq` on a connection with this client.
fn too_big(client: Address, port: u16, seq: u32, mtu: u16) -> Vec<u8> {
    let version = client.version();
    let (server, protocol) = match version {
        Version::V4 => (SERVER, 1),
        Version::V6 => (SERVER_V6, 58),
    };
    let mut message = match version {
        Version::V4 => vec![3, 4, 0, 0, 0, 0],
        Version::V6 => vec![2, 0, 0, 0, 0, 0],
    };
    message.extend_from_slice(&mtu.to_be_bytes());
    let quoted_at = message.len();
    message.resize(quoted_at + ip::header_len(version), 0);
    ip::emit(&server, &client, 6, 0, 1440, &mut message[quoted_at..]);
    message.extend_from_slice(&PORT.to_be_bytes());
    message.extend_from_slice(&port.to_be_bytes());
    message.extend_from_slice(&seq.to_be_bytes());
    let router = client;
    let sum = match version {
        Version::V4 => Sum::new(),
        Version::V6 => pseudo_header(router, server, protocol, message.len()),
    };
    let sum = sum.add(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![0; 14 + ip::header_len(version)];
    let ether_type = ip::ether_type(version);
    ethernet::Header { dst: NIC_MAC, src: CLIENT_MAC, ether_type }.emit(&mut frame);
    ip::emit(&router, &server, protocol, 0, message.len(), &mut frame[14..]);
    frame.extend_from_slice(&message);
    frame
}

#[test]
fn the_host_hears_of_errors_about_its_flows() {
    for (mut world, client) in [(World::new(), CLIENT), (World::new_v6(), CLIENT_V6)] {
        let conn = world.connect(1);
        world.wire(&too_big(client, 1, conn.seq, 1300));
        let messages = world.host_messages();
        let [Msg::IcmpError(header, packet)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((header.kind, header.flow), (Kind::IcmpError, conn.flow));
        let error = icmp_error::read(packet).unwrap();
        assert_eq!(error.meaning, Meaning::TooBig { mtu: Some(1300) });
        // About another connection: nobody's.
        world.wire(&too_big(client, 2, conn.seq, 1300));
        assert!(matches!(&world.host_messages()[..], [Msg::Raw(_)]));
    }
}

#[test]
fn last_data_is_cut_to_what_the_path_takes() {
    for (mut world, client, headers) in [(World::new(), CLIENT, 40), (World::new_v6(), CLIENT_V6, 60)] {
        let conn = world.connect(1);
        let data = vec![b'x'; 530];
        world.host_close(&conn, &data, 5000, false);
        assert_eq!(world.one().data.len(), 530);
        let mtu = match client.version() {
            Version::V4 => 400,
            Version::V6 => 1280,
        };
        // Not in flight; too small to be true; then the real one.
        world.wire(&too_big(client, 1, conn.seq + 600, mtu));
        world.wire(&too_big(client, 1, conn.seq, 67));
        assert_eq!((world.count(Event::IcmpIgnored), world.wire_segments().len()), (2, 0));
        world.wire(&too_big(client, 1, conn.seq, mtu));
        if client == CLIENT_V6 {
            // 536 bytes of MSS fit already.
            assert_eq!(world.count(Event::IcmpIgnored), 3);
            continue;
        }
        let mss = u32::from(mtu) - headers;
        let first = world.one();
        assert_eq!((first.flags, first.data.len() as u32, first.seq), (PSH_ACK, mss, conn.seq));
        world.client(&Seg::new(ACK, 106, conn.seq + mss).port(1));
        let second = world.one();
        assert_eq!((second.flags, second.data.len() as u32), (FIN_ACK | PSH_ACK, 530 - mss));
        world.client(&Seg::new(FIN_ACK, 106, conn.seq + 531).port(1));
        assert_eq!(world.one().ack, 107);
        world.all_gone();
    }
}

/// RFC 1191 §3, RFC 6864 §4.3
#[test]
fn where_routers_have_to_fragment_each_packet_has_a_number_of_its_own() {
    let atomic = |bytes: &[u8]| ipv4::Header::parse(&bytes[14..]).unwrap().dont_fragment;
    let ident = |bytes: &[u8]| ipv4::Header::parse(&bytes[14..]).unwrap().ident;
    let mut world = World::new();
    let (first, second) = (world.connect(1), world.connect_quietly(2));
    let mut idents = Vec::new();
    for conn in [&first, &second] {
        world.host_close(conn, &[b'x'; 200], 5000, false);
        assert!(world.wire_frames().iter().all(|bytes| atomic(bytes)));
        // The segments are no smaller than the path's other packets: only routers can make them so.
        world.wire(&too_big(CLIENT, conn.port, conn.seq, 68));
        assert_eq!(world.count(Event::IcmpMtuLowered), u64::from(conn.port));
        for _ in 0..3 {
            for bytes in world.wire_frames() {
                assert!(!atomic(&bytes));
                assert_eq!(sent(&bytes).data.len(), 200);
                idents.push(ident(&bytes));
            }
            world.pass(Duration::from_secs(1));
        }
        // The same again says nothing new.
        world.wire(&too_big(CLIENT, conn.port, conn.seq, 68));
        world.wire_frames();
    }
    assert_eq!(world.count(Event::IcmpIgnored), 2);
    let count = idents.len();
    idents.sort_unstable();
    idents.dedup();
    assert!(count > 6 && idents.len() == count, "{idents:?}");
    // What the host knows of the path, its last segment says.
    let conn = world.connect_quietly(3);
    world.host_close_fragmentable(&conn, b"bye", 77);
    let frames = world.wire_frames();
    assert_eq!((frames.len(), atomic(&frames[0]), ident(&frames[0])), (1, false, 77));
    world.pass(Duration::from_millis(250));
    assert!(!atomic(&world.wire_frames()[0]));
}
