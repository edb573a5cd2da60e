extern crate std;
use std::format;
use std::vec::Vec;

use super::*;

#[derive(Default)]
struct Ranges(Vec<ArgRange>);
impl ArgSink for Ranges {
    fn push(&mut self, range: ArgRange) {
        self.0.push(range);
    }
}

fn parse_all(input: &[u8], limits: &Limits) -> Result<(Parsed, Vec<Vec<u8>>), ProtocolError> {
    let mut args = Ranges::default();
    let parsed = ParseState::default().parse(input, limits, &mut args)?;
    let args = args.0.iter().map(|r| input[r.start as usize..r.end as usize].to_vec()).collect();
    Ok((parsed, args))
}

#[test]
fn a_request_is_the_same_however_it_is_cut() {
    let mut input = b"*3\r\n$3\r\nSET\r\n$11\r\nhello\r\nkey1\r\n$120\r\n".to_vec();
    input.extend_from_slice(&[b'x'; 120]);
    input.extend_from_slice(b"\r\n");
    let whole = parse_all(&input, &Limits::default()).unwrap();
    assert_eq!(whole.0, Parsed::Request { len: input.len() });
    assert_eq!(whole.1[1], b"hello\r\nkey1");
    for step in 1..input.len() {
        let mut state = ParseState::default();
        let mut args = Ranges::default();
        let mut shown = 0;
        loop {
            shown = (shown + step).min(input.len());
            match state.parse(&input[..shown], &Limits::default(), &mut args).unwrap() {
                Parsed::Incomplete { need } => assert!(need >= 1 && shown + need <= input.len()),
                done => {
                    assert_eq!((done, shown), (whole.0, input.len()));
                    break;
                }
            }
        }
        assert_eq!(args.0.len(), 3);
    }
}

#[test]
fn wrong_requests_get_redis_texts() {
    let text = |input: &[u8], limits: &Limits| format!("{}", parse_all(input, limits).unwrap_err());
    let limits = Limits::default();
    let locked = Limits { unauthenticated: true, ..limits };
    for (input, limits, expected) in [
        (&b"*x\r\n"[..], &limits, "invalid multibulk length"),
        (b"*\r\n", &limits, "invalid multibulk length"),
        (b"*3000000000\r\n", &limits, "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", &limits, "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", &limits, "invalid bulk length"),
        (b"*1\r\n$+1\r\n", &limits, "invalid bulk length"),
        (b"*1\r\nfoo\r\n", &limits, "expected '$', got 'f'"),
        (b"*11\r\n", &locked, "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", &locked, "unauthenticated bulk length"),
    ] {
        assert_eq!(text(input, limits), format!("Protocol error: {expected}"));
    }
    assert_eq!(text(&[b'a'; LINE_LEN_MAX + 1], &limits), "Protocol error: too big inline request");
    let mut long = b"*1".to_vec();
    long.resize(LINE_LEN_MAX + 1, b'1');
    assert_eq!(text(&long, &limits), "Protocol error: too big mbulk count string");
    let mut long = b"*1\r\n$".to_vec();
    long.resize(LINE_LEN_MAX + 8, b'1');
    assert_eq!(text(&long, &limits), "Protocol error: too big bulk count string");
}

#[test]
fn empty_requests_and_lines() {
    let limits = Limits::default();
    assert_eq!(parse_all(b"*0\r\n", &limits).unwrap().0, Parsed::Request { len: 4 });
    assert_eq!(parse_all(b"*-1\r\n", &limits).unwrap().0, Parsed::Request { len: 5 });
    assert_eq!(parse_all(b"PING\r\nx", &limits).unwrap().0, Parsed::Inline { len: 6, line: 4 });
    assert_eq!(parse_all(b"\n", &limits).unwrap().0, Parsed::Inline { len: 1, line: 0 });
    assert_eq!(parse_all(b"", &limits).unwrap().0, Parsed::Incomplete { need: 1 });
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 1u64;
    let alphabet = b"*$\r\n0123-9a \"'\\x";
    for _ in 0..20_000 {
        let mut input = Vec::new();
        for _ in 0..24 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            input.push(alphabet[(seed >> 33) as usize % alphabet.len()]);
        }
        let _ = parse_all(&input, &Limits::default());
    }
}
