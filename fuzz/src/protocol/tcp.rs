//! The TCP header, its options, its checksum, and the order of sequence numbers.

use std::net::Ipv4Addr;

use protocol::ip::Address;
use protocol::tcp::{Flags, Header, Options, SeqNumber, Timestamps, fill_checksum, verify_checksum};

use crate::input::Input;

const A: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 1));
const B: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 2));

/// The first byte chooses: a segment as received, or one to be written.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        written(&mut input);
    } else {
        received(input.rest());
    }
}

fn received(segment: &[u8]) {
    options(segment);
    let Ok(header) = Header::parse(segment) else { return };
    assert!((20..=60).contains(&header.header_len) && header.header_len <= segment.len());
    let options = header.options(segment);
    if options.emitted_len() > 40 {
        return;
    }
    let mut out = [0; 60];
    let len = header.emit(&options, &mut out);
    let again = Header::parse(&out[..len]).expect("what was written can be read");
    assert_eq!(again, Header { header_len: len, ..header });
    assert_eq!(valid(again.options(&out)), valid(options));
    let mut segment = segment.to_vec();
    fill_checksum(A, B, &mut segment);
    assert!(verify_checksum(A, B, &segment, false));
}

/// Any bytes are a list of options.
fn options(bytes: &[u8]) {
    let options = Options::parse(&bytes[..bytes.len().min(40)]);
    assert!(options.sack_count <= 4 && options.window_scale.is_none_or(|shift| shift <= 14));
    let mut out = [0; 80];
    let len = options.emit(&mut out);
    assert_eq!(len, options.emitted_len());
    assert_eq!(len % 4, 0);
    assert_eq!(valid(Options::parse(&out[..len])), valid(options));
    // However they are padded, they say the same: the fast path for timestamps is no other rule.
    if len + 4 <= 40 {
        out[len..len + 4].copy_from_slice(&[1, 1, 1, 0]);
        assert_eq!(valid(Options::parse(&out[..len + 4])), valid(options));
    }
}

/// Without what stands behind the valid SACK blocks.
fn valid(mut options: Options) -> Options {
    options.sack[usize::from(options.sack_count)..].fill(Default::default());
    options
}

fn written(input: &mut Input<'_>) {
    let header = Header {
        src_port: input.u16(),
        dst_port: input.u16(),
        seq: SeqNumber(input.u32()),
        ack: SeqNumber(input.u32()),
        flags: Flags(input.u8()),
        window: input.u16(),
        urgent: input.u16(),
        header_len: 0,
    };
    order(header.seq, header.ack);
    let kinds = input.u8();
    let mut options = Options {
        mss: (kinds & 1 != 0).then(|| input.u16()),
        window_scale: (kinds & 2 != 0).then(|| input.u8() % 15),
        sack_permitted: kinds & 4 != 0,
        timestamps: (kinds & 8 != 0).then(|| Timestamps { value: input.u32(), echo: input.u32() }),
        ..Options::default()
    };
    options.sack_count = (kinds >> 4) % 5;
    for block in &mut options.sack[..usize::from(options.sack_count)] {
        *block = (SeqNumber(input.u32()), SeqNumber(input.u32()));
    }
    if options.emitted_len() > 40 {
        return;
    }
    let payload = input.rest();
    let mut segment = vec![0; 60 + payload.len()];
    let len = header.emit(&options, &mut segment);
    segment[len..len + payload.len()].copy_from_slice(payload);
    segment.truncate(len + payload.len());
    fill_checksum(A, B, &mut segment);
    assert_eq!(Header::parse(&segment), Ok(Header { header_len: len, ..header }));
    assert_eq!(header_options(&segment), options);
    assert!(verify_checksum(A, B, &segment, false));
    // One flipped bit is always found.
    let at = usize::from(header.window) % segment.len();
    segment[at] ^= 1 << (header.urgent % 8);
    assert!(!verify_checksum(A, B, &segment, false));
}

fn header_options(segment: &[u8]) -> Options {
    Header::parse(segment).map(|header| header.options(segment)).unwrap_or_default()
}

/// The order is that of the distance as a signed number.
fn order(a: SeqNumber, b: SeqNumber) {
    let ahead = b.0.wrapping_sub(a.0);
    assert_eq!(a == b, ahead == 0);
    if ahead == 1 << 31 {
        return; // Neither is before the other, or both are: RFC 9293 leaves it open.
    }
    assert_eq!(a.before(b), (1..1 << 31).contains(&ahead));
    assert_eq!(a.before(b), b.after(a));
    assert_eq!(a.before_eq(b), a.before(b) || a == b);
    assert_eq!(a.after_eq(b), !a.before(b));
    assert_eq!(a.later(b), b.later(a));
    assert_eq!(a.earlier(b), b.earlier(a));
    assert_eq!(a + b.distance_from(a), b);
    assert_eq!(b - ahead, a);
    for len in [0, 1, 1000, 1 << 30, u32::MAX] {
        assert_eq!(b.in_window(a, len), u64::from(ahead) < u64::from(len));
    }
}
