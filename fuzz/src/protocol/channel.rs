//! Every message of the host–NIC channel, both ways.

use protocol::Malformed;
use protocol::channel::{
    Abort, ChannelError, Close, Closed, ClosedEntry, Established, FlowId, HEADER_LEN, Header, Hello, Kind,
    Listen, MessageFlags, VERSION,
};

use crate::input::Input;

/// The first byte chooses: a message as received, or one to be written.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(3) {
        0 => received(input.rest()),
        1 => {
            // The fixed header is right, so that the bodies are reached.
            let kind = input.pick(&Kind::ALL);
            let body = input.rest();
            received(&message(&Header::new(kind, 7), body));
        }
        _ => header_written(&mut input),
    }
}

fn message(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    header.emit(body.len().min(usize::from(u16::MAX)), &mut out);
    out.extend_from_slice(body);
    out
}

fn header_written(input: &mut Input<'_>) {
    let header = Header {
        kind: input.pick(&Kind::ALL),
        flags: MessageFlags(input.u16()),
        epoch: input.u32(),
        flow: FlowId { slot: input.u32(), generation: input.u32() },
        handle: input.u32(),
    };
    let padding = input.below(64);
    let body = input.rest();
    let mut out = message(&header, body);
    out.resize(out.len() + padding, 0xee);
    assert_eq!(Header::parse(&out), Ok((header, body)));
}

fn received(bytes: &[u8]) {
    match Header::parse(bytes) {
        Ok((header, body)) => {
            assert!(HEADER_LEN + body.len() <= bytes.len());
            let again = message(&header, body);
            assert_eq!(again, bytes[..again.len()]);
            take(header.kind, body);
        }
        Err(ChannelError::Version(version)) => assert!(version == bytes[0] && version != VERSION),
        Err(ChannelError::Kind(kind)) => assert!(Kind::ALL.iter().all(|known| *known as u8 != kind)),
        Err(ChannelError::Malformed(Malformed::Truncated | Malformed::Value)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

fn take(kind: Kind, body: &[u8]) {
    match kind {
        Kind::Hello => same(Hello::parse(body), body, Hello::LEN, Hello::emit, Hello::parse),
        Kind::Listen | Kind::Unlisten => {
            same(Listen::parse(body), body, Listen::LEN, Listen::emit, Listen::parse);
        }
        Kind::Established => {
            let parsed = Established::parse(body).map(|(established, packet)| {
                assert_eq!(packet, &body[Established::LEN..]);
                let data_at = usize::from(established.data_at);
                assert!(data_at == 0 || data_at < packet.len());
                // Without its packet.
                Established { data_at: 0, ..established }
            });
            let again = |bytes: &[u8]| Established::parse(bytes).map(|(established, _)| established);
            same(parsed, body, Established::LEN, Established::emit, again);
        }
        Kind::Segment | Kind::IcmpError => {}
        Kind::Close => {
            let parsed = Close::parse(body).map(|(close, packet)| {
                assert_eq!(packet, &body[Close::LEN..]);
                close
            });
            same(parsed, body, Close::LEN, Close::emit, |bytes| Close::parse(bytes).map(|(close, _)| close));
        }
        Kind::Abort => same(Abort::parse(body), body, Abort::LEN, Abort::emit, Abort::parse),
        Kind::Closed => closed(body),
    }
}

/// What was read, written and read again is the same; it is never read from too few bytes.
fn same<T: PartialEq + core::fmt::Debug>(
    parsed: Result<T, Malformed>,
    body: &[u8],
    len: usize,
    emit: impl Fn(&T, &mut [u8]),
    parse: impl Fn(&[u8]) -> Result<T, Malformed>,
) {
    let Ok(parsed) = parsed else { return };
    assert!(body.len() >= len);
    let mut out = vec![0; len];
    emit(&parsed, &mut out);
    assert_eq!(parse(&out), Ok(parsed));
    assert_eq!(parse(&out[..len - 1]), Err(Malformed::Truncated));
}

fn closed(body: &[u8]) {
    let Ok(closed) = Closed::parse(body) else { return };
    let entries: Vec<ClosedEntry> = closed.entries().collect();
    let mut out = vec![0; Closed::LEN + entries.len() * Closed::ENTRY_LEN];
    Closed::emit_count(entries.len(), &mut out);
    for (entry, place) in entries.iter().zip(out[Closed::LEN..].chunks_exact_mut(Closed::ENTRY_LEN)) {
        entry.emit(place);
    }
    let again = Closed::parse(&out).expect("what was written can be read");
    assert!(again.entries().eq(entries.iter().copied()));
    assert_eq!(usize::from(u16::from_le_bytes([body[0], body[1]])), entries.len());
}
