use super::*;

fn begun(config: WorkloadConfig) -> (Workload, Session, Vec<u8>) {
    let mut workload = Workload::new(config);
    let (mut session, mut out) = (Session::default(), Vec::new());
    assert!(workload.begin(&mut session, &mut out, Instant::ZERO));
    (workload, session, out)
}

fn one_get() -> WorkloadConfig {
    WorkloadConfig { keys: 1, value_bytes: 40, load: false, ..WorkloadConfig::default() }
}

fn right_reply(workload: &Workload) -> Vec<u8> {
    [&b"$40\r\n"[..], &workload.values.of(0).parts().concat(), b"\r\n"].concat()
}

#[test]
fn a_reply_is_taken_in_any_pieces() {
    let reply = right_reply(&begun(one_get()).0);
    for cut in 1..reply.len() {
        let (mut workload, mut session, out) = begun(one_get());
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
        assert_eq!(workload.received(&mut session, &reply[..cut], Instant::ZERO), Progress::More);
        let later = Instant::from_micros(7);
        assert_eq!(workload.received(&mut session, &reply[cut..], later), Progress::Done);
        assert_eq!(workload.results.transactions, 1);
        assert_eq!(workload.results.latency_us.max(), 7);
        assert!(!workload.next(&mut session, &mut Vec::new(), later), "one request per connection");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let reply = right_reply(&begun(one_get()).0);
    for at in 0..reply.len() {
        let (mut workload, mut session, _) = begun(one_get());
        let mut bad = reply.clone();
        bad[at] ^= 1;
        assert_eq!(
            workload.received(&mut session, &bad, Instant::ZERO),
            Progress::Wrong(ErrorKind::WrongReply),
            "byte {at}"
        );
        assert!(workload.results.first_error.is_some());
    }
}

#[test]
fn errors_missing_keys_and_unasked_bytes_are_told_apart() {
    let (mut workload, mut session, _) = begun(one_get());
    assert_eq!(
        workload.received(&mut session, b"-ERR no\r\n", Instant::ZERO),
        Progress::Wrong(ErrorKind::ErrorReply)
    );
    let (mut workload, mut session, _) = begun(one_get());
    assert_eq!(
        workload.received(&mut session, b"$-1\r\n", Instant::ZERO),
        Progress::Wrong(ErrorKind::WrongReply)
    );
    assert!(workload.results.first_error.as_ref().is_some_and(|text| text.contains("not there")));
    let (mut workload, mut session, _) = begun(one_get());
    let twice = [right_reply(&workload), b"+OK\r\n".to_vec()].concat();
    assert_eq!(
        workload.received(&mut session, &twice, Instant::ZERO),
        Progress::Wrong(ErrorKind::WrongReply)
    );
}

#[test]
fn loading_sets_every_key_once_and_ends_before_anything_is_asked() {
    let config = WorkloadConfig { keys: 20, value_bytes: 3, ..WorkloadConfig::default() };
    let (mut workload, mut session, mut out) = begun(config);
    let (mut other, mut other_out) = (Session::default(), Vec::new());
    assert!(workload.begin(&mut other, &mut other_out, Instant::ZERO));
    let all = [&out[..], &other_out].concat();
    for key in 0..20 {
        let name = key_name(key);
        assert_eq!(all.windows(KEY_BYTES).filter(|window| *window == name).count(), 1);
    }
    assert_eq!(workload.received(&mut session, &b"+OK\r\n".repeat(16), Instant::ZERO), Progress::Done);
    assert!(!workload.next(&mut session, &mut out, Instant::ZERO), "nothing left to load");
    assert!(!workload.loaded(), "four keys are not answered");
    assert!(!workload.begin(&mut session, &mut out, Instant::ZERO), "and nobody asks before that");
    assert_eq!(workload.received(&mut other, &b"+OK\r\n".repeat(4), Instant::ZERO), Progress::Done);
    assert!(workload.loaded());
    assert_eq!(workload.results.transactions, 0);
    assert!(workload.begin(&mut session, &mut out, Instant::ZERO));
}

#[test]
fn the_server_closes_after_a_pipelined_quit_and_auth_comes_first() {
    let config = WorkloadConfig {
        closes: ClosesFirst::Server,
        password: Some("pw".into()),
        get_percent: 0,
        ..one_get()
    };
    let (mut workload, mut session, mut out) = begun(config);
    assert!(out.starts_with(b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n*3\r\n$3\r\nSET\r\n"));
    assert!(out.ends_with(QUIT));
    assert!(session.quit_sent());
    assert_eq!(workload.received(&mut session, &b"+OK\r\n".repeat(3), Instant::ZERO), Progress::Done);
    assert_eq!((workload.results.transactions, workload.results.sets), (1, 1));
    assert!(!workload.next(&mut session, &mut out, Instant::ZERO));
}

#[test]
fn the_budget_ends_connections_and_lost_requests_are_errors() {
    let config = WorkloadConfig { pipeline: 4, requests_per_connection: None, ..one_get() };
    let mut workload = Workload::new(config);
    workload.allow(6);
    let (mut session, mut out) = (Session::default(), Vec::new());
    assert!(workload.begin(&mut session, &mut out, Instant::ZERO));
    let reply = right_reply(&workload);
    assert_eq!(workload.received(&mut session, &reply.repeat(4), Instant::ZERO), Progress::Done);
    assert!(workload.next(&mut session, &mut out, Instant::ZERO));
    assert_eq!(workload.received(&mut session, &reply, Instant::ZERO), Progress::More);
    workload.failed(&mut session, ErrorKind::Reset, "gone");
    assert_eq!(workload.results.errors.of(ErrorKind::Reset), 1, "two asked, one answered");
    assert!(workload.settled());
    assert!(!workload.begin(&mut session, &mut out, Instant::ZERO));
}

#[test]
fn zipf_prefers_the_first_keys_and_stays_in_range() {
    let mut rng = SeededRng::new(3);
    for keys in [1, 2, 10, 1000] {
        let zipf = Zipf::new(keys, 0.99);
        let mut counts = vec![0u32; keys as usize];
        for _ in 0..20_000 {
            counts[zipf.draw(&mut rng) as usize] += 1;
        }
        assert!(counts[0] >= *counts.iter().max().unwrap_or(&0) * 9 / 10);
        if keys == 1000 {
            assert!(counts[0] > 1500 && counts[999] < 60, "{} {}", counts[0], counts[999]);
        }
    }
}
