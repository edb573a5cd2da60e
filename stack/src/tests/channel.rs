//! Level `lifecycle`: the test plays the firmware at the other end of the port.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use netcore::Duration;
use protocol::channel::{
    self, Abort, Close, Closed, ClosedEntry, ClosedReason, Established, FlowId, Header, Hello, Kind, Listen,
    ListenStatus, MessageFlags, NO_HANDLE,
};
use protocol::ethernet::Mac;
use protocol::tcp::SeqNumber;

use super::harness::*;
use crate::{ChannelState, Config, EndReason, Next, Offload, State};

const NIC_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
pub(super) const FLOW: FlowId = FlowId { slot: 5, generation: 9 };
const ISS: u32 = 70_000;

pub(super) struct Message {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
}

/// A harness whose wire ends in a firmware.
pub(super) struct Nic {
    pub(super) h: Harness,
    pub(super) epoch: u32,
    pub(super) host_epoch: u32,
    /// What HELLO says that it takes over.
    last_data_max: u32,
    /// News that it has sent.
    pub(super) news: u32,
}

impl Nic {
    pub(super) fn new(config: Config) -> Self {
        let config = Config { offload: Offload::Lifecycle, ..config };
        let mut h = Harness::new(config);
        h.iss = ISS - 1;
        Self { h, epoch: 4711, host_epoch: 0, last_data_max: 0, news: 0 }
    }

    /// HELLO and LISTEN are done.
    fn up() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        Self::new(config).joined()
    }

    /// The same with a firmware that takes over so many bytes of last data.
    fn that_takes(last_data_max: u32) -> Self {
        Self { last_data_max, ..Self::new(config()) }.joined()
    }

    fn joined(self) -> Self {
        self.answered(ListenStatus::Accepted)
    }

    /// HELLO is done, and LISTEN is answered like this.
    fn answered(self, status: ListenStatus) -> Self {
        let mut nic = self;
        nic.h.poll();
        let hello = nic.take().remove(0);
        nic.host_epoch = Hello::parse(&hello.body).unwrap().epoch;
        nic.hello(MessageFlags::REPLY);
        nic.h.poll();
        let listen = nic.take().remove(0);
        assert_eq!((listen.header.kind, listen.header.epoch), (Kind::Listen, 4711));
        let mut body = Listen::parse(&listen.body).unwrap();
        let window_scale = nic.h.stack.config().window_scale();
        assert_eq!(
            (body.addr, body.port, body.mss, body.window_scale),
            (US.into(), PORT, 1460, window_scale)
        );
        body.status = status;
        let mut bytes = vec![0; Listen::LEN];
        body.emit(&mut bytes);
        assert!(!nic.h.stack.is_ready());
        nic.send(Kind::Listen, MessageFlags::REPLY, FlowId::default(), NO_HANDLE, &bytes);
        nic.h.poll();
        assert_eq!(nic.h.stack.is_ready(), status == ListenStatus::Accepted);
        assert!(nic.take().is_empty());
        nic
    }

    pub(super) fn hello(&mut self, flags: MessageFlags) {
        let hello = Hello {
            features: Hello::LIFECYCLE,
            last_data_max: self.last_data_max,
            news: self.news,
            ..Hello::new(self.epoch, 1)
        };
        let mut body = vec![0; Hello::LEN];
        hello.emit(&mut body);
        self.send(Kind::Hello, flags, FlowId::default(), NO_HANDLE, &body);
    }

    pub(super) fn send(&mut self, kind: Kind, flags: MessageFlags, flow: FlowId, handle: u32, body: &[u8]) {
        self.news += u32::from(kind.is_news());
        let mut bytes = vec![0; 14 + channel::HEADER_LEN];
        channel::emit_ethernet(OUR_MAC, NIC_MAC, &mut bytes);
        let header = Header { kind, flags, epoch: self.host_epoch, flow, handle };
        header.emit(body.len(), &mut bytes[14..]);
        bytes.extend_from_slice(body);
        self.h.put_frame(&bytes);
    }

    /// ESTABLISHED, with the first data when there is any, whose segment has to be read.
    pub(super) fn established(&mut self, flow: FlowId, data: &[u8]) {
        self.established_told(flow, data, false);
    }

    /// The same; `told`: the message says where the data is.
    fn established_told(&mut self, flow: FlowId, data: &[u8], told: bool) {
        let established = Established {
            local_addr: US.into(),
            remote_addr: PEER.into(),
            local_port: PORT,
            remote_port: self.h.peer_port,
            timestamps: false,
            sack: true,
            window_scaling: true,
            snd_scale: 0,
            rcv_scale: 5,
            snd_nxt: SeqNumber(ISS),
            rcv_nxt: SeqNumber(IRS + 1),
            snd_wnd: 60_000,
            mss: 1000,
            remote_mac: PEER_MAC,
            ts_recent: 0,
            ts_value: 0,
            data_at: if told { 40 } else { 0 },
        };
        let mut body = vec![0; Established::LEN];
        established.emit(&mut body);
        let mut flags = MessageFlags::default();
        if !data.is_empty() {
            body.extend_from_slice(&self.h.encode(&seg(A | P, 1, 1, data))[14..]);
            flags = MessageFlags::FIRST_DATA | MessageFlags::CHECKSUM_GOOD;
        }
        self.send(Kind::Established, flags, flow, NO_HANDLE, &body);
    }

    fn segment(&mut self, flow: FlowId, handle: u32, seg: &Seg) {
        let packet = self.h.encode(seg)[14..].to_vec();
        self.send(Kind::Segment, MessageFlags::CHECKSUM_GOOD, flow, handle, &packet);
        self.h.poll();
    }

    fn closed(&mut self, entries: &[(FlowId, u32, ClosedReason)]) {
        let mut body = vec![0; Closed::LEN + entries.len() * Closed::ENTRY_LEN];
        Closed::emit_count(entries.len(), &mut body);
        for (n, &(flow, handle, reason)) in entries.iter().enumerate() {
            ClosedEntry { flow, handle, reason }.emit(&mut body[Closed::LEN + n * Closed::ENTRY_LEN..]);
        }
        self.send(Kind::Closed, MessageFlags::default(), FlowId::default(), NO_HANDLE, &body);
        self.h.poll();
    }

    pub(super) fn take(&mut self) -> Vec<Message> {
        let frames = self.h.take_frames();
        let parse = |frame: &Vec<u8>| {
            assert_eq!(frame[12..14], [0x88, 0xb5]);
            let (header, body) = Header::parse(&frame[14..]).unwrap();
            Message { header, body: body.to_vec() }
        };
        frames.iter().map(parse).collect()
    }

    /// What was sent, a line each: kind, handle, flags of ours, segment.
    fn lines(&mut self) -> Vec<String> {
        let messages = self.take();
        messages.iter().map(|message| self.line(message)).collect()
    }

    fn line(&self, message: &Message) -> String {
        let Message { header, body } = message;
        assert_eq!(header.epoch, self.epoch);
        let idle = if header.flags.has(MessageFlags::IDLE) { " idle" } else { "" };
        match header.kind {
            Kind::Segment => {
                assert!(header.flags.has(MessageFlags::CHECKSUM_NEEDED));
                alloc::format!("{}{idle} {}", header.handle, self.h.decode(body, false).line())
            }
            Kind::Close => {
                let (close, packet) = Close::parse(body).unwrap();
                // The first one before a round trip was measured, the other one after.
                assert!(close.snd_wnd == 60_000 && [1_000_000, 200_000].contains(&close.rto_us), "{close:?}");
                let finished = if header.flags.has(MessageFlags::PEER_FINISHED) { " finished" } else { "" };
                let kept = if header.flags.has(MessageFlags::KEPT) { " kept" } else { "" };
                let more = if header.flags.has(MessageFlags::MORE) { " more" } else { "" };
                if kept.is_empty() {
                    let packet = &self.h.decode(packet, false);
                    assert_eq!(close.snd_una.0.wrapping_sub(self.h.iss), packet.seq, "nothing is in flight");
                }
                alloc::format!("close{kept}{more}{finished} {}", self.h.decode(packet, false).line())
            }
            Kind::Abort => {
                let abort = Abort::parse(body).unwrap();
                let seq = abort.snd_nxt.0.wrapping_sub(self.h.iss);
                alloc::format!("abort {seq} {}", abort.rcv_nxt.0.wrapping_sub(self.h.irs))
            }
            other => alloc::format!("{other:?}"),
        }
    }

    fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.lines(), lines);
    }
}

#[test]
fn hello_is_repeated_until_it_is_answered() {
    let mut nic = Nic::new(config());
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Waiting);
    nic.h.pass(Duration::from_millis(1050));
    let hellos = nic.take();
    assert_eq!(hellos.len(), 11);
    assert!(hellos.iter().all(|m| m.header.kind == Kind::Hello && m.header.epoch == 0));
    nic.host_epoch = 1;
    nic.hello(MessageFlags::REPLY);
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Waiting, "an answer to somebody else");
    nic.host_epoch = 0;
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
    let answers = nic.take();
    assert!(answers[0].header.flags.has(MessageFlags::REPLY));
    // LISTEN follows, and is repeated.
    nic.h.pass(Duration::from_millis(250));
    assert!(nic.take().iter().filter(|m| m.header.kind == Kind::Listen).count() >= 2);
    assert!(!nic.h.stack.is_ready());
}

#[test]
fn a_firmware_of_another_version_is_told_apart() {
    let mut nic = Nic::new(config());
    nic.h.poll();
    nic.take();
    let (version_min, version_max) = (channel::VERSION + 1, channel::VERSION + 2);
    let hello = Hello { version_min, version_max, ..Hello::new(1, 1) };
    let mut body = vec![0; Hello::LEN];
    hello.emit(&mut body);
    nic.send(Kind::Hello, MessageFlags::default(), FlowId::default(), NO_HANDLE, &body);
    nic.h.poll();
    let expected = ChannelState::WrongVersion { version_min, version_max };
    assert_eq!(nic.h.stack.channel_state(), expected);
}

#[test]
fn a_connection_that_the_firmware_would_reset_is_not_begun() {
    // It has a new life, say, and has not heard of the listener yet: a SYN comes as it is.
    let mut nic = Nic::up();
    nic.h.put(&seg(S, 0, 0, b""));
    nic.h.poll();
    assert!(nic.take().is_empty());
    assert_eq!(nic.h.stack.counters().listen_not_announced, 1);
    // Without room there for the listener, it is all the host's.
    let mut nic = Nic::new(config()).answered(ListenStatus::TableFull);
    nic.h.put(&seg(S, 0, 0, b""));
    nic.h.poll();
    assert_eq!(nic.h.take_frames().len(), 1);
    assert_eq!(nic.h.stack.gauges().in_state(State::SynReceived), 1);
}

#[test]
fn request_reply_and_the_firmware_finishes() {
    let mut nic = Nic::up();
    nic.h.app.reply = b"+PONG\r\n".to_vec();
    nic.established(FLOW, b"PING\r\n");
    nic.h.poll();
    nic.expect(&["0 idle PA 1+7 7"]);
    assert_eq!(nic.h.stack.gauges().in_state(State::Established), 1);
    nic.closed(&[(FLOW, 0, ClosedReason::PeerClosed)]);
    assert_eq!(nic.h.app.ended, [EndReason::Closed]);
    nic.expect(&[]);
    nic.h.assert_empty();
    nic.h.pass(Duration::from_secs(5));
    nic.expect(&[]);
    assert_eq!(nic.h.stack.next_deadline(), None);
}

#[test]
fn first_data_is_the_same_wherever_the_host_learns_of_its_place() {
    let lives = [false, true].map(|told| {
        let mut nic = Nic::up();
        nic.h.app.reply = b"+PONG\r\n".to_vec();
        nic.established_told(FLOW, b"PING\r\n", told);
        nic.h.poll();
        let mut lines = nic.lines();
        nic.segment(FLOW, 0, &seg(A | P, 7, 8, b"PING\r\n"));
        lines.extend(nic.lines());
        let counters = nic.h.stack.counters();
        let counted = (counters.segments_received, counters.segments_predicted);
        (lines, counted, nic.h.app.seen.clone())
    });
    assert_eq!(lives[0], lives[1]);
    let (lines, counted, seen) = &lives[1];
    assert_eq!(
        (&lines[..], *counted, &seen[..]),
        (&["0 idle PA 1+7 7".into()][..], (2, 2), &b"PING\r\nPING\r\n"[..])
    );
}

#[test]
fn first_data_that_cannot_be_taken_as_it_is_is_read() {
    // More than the window takes.
    let mut nic = Nic::with(Config { receive_window: 4, ..config() });
    nic.established_told(FLOW, b"PING\r\n", true);
    nic.h.poll();
    assert_eq!(nic.h.app.seen, b"PING");
    // The application has refused the connection.
    let mut nic = Nic::up();
    nic.h.app.refuse = true;
    nic.established_told(FLOW, b"PING\r\n", true);
    nic.h.poll();
    assert_eq!(nic.h.app.seen, b"");
    assert_eq!(nic.h.stack.gauges().connections(), 0);
}

#[test]
fn many_requests_on_one_flow() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"");
    nic.h.poll();
    nic.expect(&[]);
    for n in 0..100 {
        nic.h.app.reply = b"r".to_vec();
        // The first frames do not know our handle yet.
        let handle = if n == 0 { NO_HANDLE } else { 0 };
        nic.segment(FLOW, handle, &seg(A | P, 1 + n, 1 + n, b"q"));
        let expected = alloc::format!("0 idle PA {}+1 {}", 1 + n, 2 + n);
        assert_eq!(nic.lines(), [expected]);
    }
    assert_eq!(nic.h.stack.counters().segments_predicted, 100);
}

#[test]
fn we_close_with_the_last_reply() {
    let mut nic = Nic::up();
    nic.h.app.reply = b"bye".to_vec();
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.expect(&["close FPA 1+3 7"]);
    assert_eq!(nic.h.app.ended, [EndReason::Closed]);
    nic.h.assert_empty();
    // What comes for it later finds nobody.
    nic.segment(FLOW, 0, &seg(A, 7, 5, b""));
    nic.closed(&[(FLOW, 0, ClosedReason::Finished)]);
    assert_eq!(nic.h.stack.counters().channel_stale, 1);
    assert_eq!(nic.h.stack.counters().channel_closed_gone, 1);
    nic.expect(&[]);
}

#[test]
fn close_waits_for_what_is_in_flight() {
    let mut nic = Nic::up();
    nic.h.app.reply = vec![b'z'; 2500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.expect(&["0 A 1+1000 7", "0 A 1001+1000 7", "0 PA 2001+500 7"]);
    nic.segment(FLOW, 0, &seg(A, 7, 2001, b""));
    nic.expect(&[]);
    nic.segment(FLOW, 0, &seg(A, 7, 2501, b""));
    nic.expect(&["close FA 2501+0 7"]);
    nic.h.assert_empty();
}

#[test]
fn what_is_in_flight_is_offered_in_pieces() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 2500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    let pieces = ["close kept more A 1+1000 7", "close kept more A 1001+1000 7", "close kept FPA 2001+500 7"];
    nic.expect(&pieces);
    assert_eq!(nic.h.app.ended, [], "the connection stays until the answer is there");
    // Whatever comes meanwhile changes nothing: who gets the connection will see.
    nic.segment(FLOW, 0, &seg(A, 7, 2001, b""));
    nic.expect(&[]);
    assert_eq!(nic.h.stack.counters().channel_offered, 1);
    nic.closed(&[(FLOW, 0, ClosedReason::HandedOver)]);
    nic.expect(&[]);
    assert_eq!(nic.h.app.ended, [EndReason::Closed]);
    let counters = nic.h.stack.counters();
    assert_eq!((counters.channel_offers, counters.channel_offers_taken, counters.bytes_sent), (1, 1, 2500));
    nic.h.assert_empty();
}

#[test]
fn a_refused_offer_goes_on_here() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 1500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.expect(&["close kept more A 1+1000 7", "close kept FPA 1001+500 7"]);
    nic.closed(&[(FLOW, 0, ClosedReason::Refused)]);
    nic.expect(&["0 A 1+1000 7", "0 PA 1001+500 7"]);
    nic.segment(FLOW, 0, &seg(A, 7, 1001, b""));
    nic.expect(&[]);
    // Not offered again; one segment with nothing in flight is handed over as ever.
    nic.segment(FLOW, 0, &seg(A, 7, 1501, b""));
    nic.expect(&["close FA 1501+0 7"]);
    nic.closed(&[(FLOW, 0, ClosedReason::Refused)]);
    assert_eq!(nic.h.stack.counters().channel_offers_refused, 1);
    nic.h.assert_empty();
}

#[test]
fn an_offer_that_frames_run_out_for_is_not_begun_anew() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 2500];
    nic.h.pool.set_limit(1);
    nic.established(FLOW, b"!close");
    // Each frame that becomes free could begin the same again.
    for _ in 0..5 {
        nic.h.poll();
    }
    nic.h.pool.set_limit(100);
    nic.h.poll();
    nic.expect(&["close kept more A 1+1000 7", "0 A 1+1000 7", "0 A 1001+1000 7", "0 PA 2001+500 7"]);
    let counters = nic.h.stack.counters();
    assert_eq!((counters.channel_offers, counters.channel_offers_broken_off), (0, 1));
    nic.segment(FLOW, 0, &seg(A, 7, 2501, b""));
    nic.expect(&["close FA 2501+0 7"]);
    nic.h.assert_empty();
}

#[test]
fn an_offer_without_an_answer_goes_on_here() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 1500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.take();
    nic.h.pass(Duration::from_millis(1002));
    nic.expect(&["0 A 1+1000 7", "0 PA 1001+500 7"]);
    // A late refusal is none of a connection that goes on.
    nic.closed(&[(FLOW, 0, ClosedReason::Refused)]);
    nic.expect(&[]);
    let counters = nic.h.stack.counters();
    assert_eq!((counters.channel_offers_unanswered, counters.channel_offers_refused), (1, 0));
    // A late answer that it is taken over is believed.
    nic.closed(&[(FLOW, 0, ClosedReason::HandedOver)]);
    assert_eq!(nic.h.app.ended, [EndReason::Closed]);
    nic.h.assert_empty();
}

#[test]
fn more_than_the_firmware_takes_is_offered_when_it_fits() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 4500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.expect(&["0 A 1+1000 7", "0 A 1001+1000 7", "0 A 2001+1000 7", "0 A 3001+1000 7", "0 PA 4001+500 7"]);
    nic.segment(FLOW, 0, &seg(A, 7, 1001, b""));
    nic.expect(&[]);
    nic.segment(FLOW, 0, &seg(A, 7, 2001, b""));
    let pieces =
        ["close kept more A 2001+1000 7", "close kept more A 3001+1000 7", "close kept FPA 4001+500 7"];
    nic.expect(&pieces);
}

#[test]
fn nothing_is_offered_while_a_loss_is_repaired() {
    let mut nic = Nic::that_takes(3000);
    nic.h.app.reply = vec![b'z'; 4500];
    nic.established(FLOW, b"!close");
    nic.h.poll();
    nic.take();
    nic.h.pass(Duration::from_millis(1100));
    nic.take();
    nic.segment(FLOW, 0, &seg(A, 7, 2001, b""));
    let sent = nic.take();
    assert!(!sent.is_empty() && sent.iter().all(|message| message.header.kind == Kind::Segment));
    // When it is repaired, what is left is handed over.
    nic.segment(FLOW, 0, &seg(A, 7, 4501, b""));
    let last = nic.take();
    assert_eq!(last.iter().map(|message| message.header.kind).collect::<Vec<_>>(), [Kind::Close]);
    nic.h.assert_empty();
}

#[test]
fn the_peer_closes_while_we_still_send() {
    let mut nic = Nic::up();
    nic.h.app.reply = b"reply".to_vec();
    nic.established(FLOW, b"ask");
    nic.h.poll();
    nic.expect(&["0 idle PA 1+5 4"]);
    // The firmware leaves the FIN to us, since the reply is not acknowledged.
    nic.segment(FLOW, 0, &seg(F | A, 4, 1, b""));
    nic.expect(&["0 A 6+0 5"]);
    nic.segment(FLOW, 0, &seg(A, 5, 6, b""));
    nic.expect(&["close finished FA 6+0 5"]);
    nic.h.assert_empty();
}

#[test]
fn a_waiting_application_is_not_idle() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"!wait");
    nic.h.poll();
    nic.h.pass(Duration::from_millis(50));
    nic.expect(&["0 A 1+0 6"]);
    nic.h.write(b"woken", Next::Continue);
    nic.expect(&["0 idle PA 1+5 6"]);
}

#[test]
fn lost_replies_are_sent_again_by_the_host() {
    let mut nic = Nic::up();
    nic.h.app.reply = b"reply".to_vec();
    nic.established(FLOW, b"ask");
    nic.h.poll();
    nic.take();
    nic.h.pass(Duration::from_millis(1002));
    assert_eq!(nic.lines(), ["0 PA 1+5 4"]);
}

#[test]
fn abort_and_reset() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"!abort");
    nic.h.poll();
    nic.expect(&["abort 1 7"]);
    assert_eq!(nic.h.app.ended, [EndReason::Aborted]);
    let next = FlowId { generation: 10, ..FLOW };
    nic.established(next, b"x");
    nic.h.poll();
    let reason = ClosedReason::Reset;
    nic.closed(&[(FLOW, 0, reason), (next, NO_HANDLE, reason)]);
    assert_eq!(nic.h.app.ended, [EndReason::Aborted, EndReason::Reset]);
    nic.h.assert_empty();
}

#[test]
fn a_full_table_gives_flows_back() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"one");
    nic.h.poll();
    nic.take();
    nic.h.peer_port += 1;
    nic.established(FlowId { slot: 1 << 30, generation: 1 }, b"beyond belief");
    nic.h.poll();
    nic.expect(&["abort 1 1"]);
    nic.h.our_port = 1;
    let unknown = FlowId { slot: 7, generation: 1 };
    nic.segment(unknown, NO_HANDLE, &seg(A, 1, 1, b"nobody"));
    nic.segment(unknown, 0, &seg(A, 1, 1, b"another's handle"));
    nic.segment(FLOW, 0, &seg(A, 4, 1, b"another's packet"));
    let c = nic.h.stack.counters();
    assert_eq!((c.channel_stale, c.channel_mismatch, c.connections_full), (2, 1, 1));
    assert_eq!(nic.h.app.seen, b"one");
}

#[test]
fn established_twice_is_one_connection() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"once");
    nic.established(FLOW, b"once");
    nic.h.poll();
    assert_eq!(nic.h.app.opened.len(), 1);
    assert_eq!(nic.h.app.seen, b"once");
    // A new generation in the same slot ends the old one.
    nic.h.peer_port += 1;
    nic.established(FlowId { generation: 10, ..FLOW }, b"new");
    nic.h.poll();
    assert_eq!(nic.h.app.ended, [EndReason::Aborted]);
    assert_eq!(nic.h.app.seen, b"oncenew");
}

#[test]
fn a_new_firmware_knows_nothing() {
    let mut nic = Nic::up();
    for n in 0..10 {
        nic.h.peer_port += 1;
        nic.established(FlowId { slot: n, generation: 1 }, b"x");
    }
    nic.h.poll();
    assert_eq!(nic.h.stack.gauges().connections(), 10);
    nic.take();
    nic.epoch = 4712;
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.app.ended, [EndReason::Aborted; 10]);
    nic.h.assert_empty();
    assert!(!nic.h.stack.is_ready());
    nic.h.pass(Duration::from_millis(1));
    let kinds: Vec<Kind> = nic.take().iter().map(|m| m.header.kind).collect();
    assert_eq!(kinds, [Kind::Hello, Kind::Listen]);
}

#[test]
fn plain_frames_are_served_beside_the_channel() {
    let mut nic = Nic::up();
    nic.h.our_port = 1;
    nic.h.inject(&seg(S, 0, 0, b""));
    assert_eq!(nic.h.take()[0].flags, R | A);
}

#[test]
fn a_peer_that_dies_after_the_handshake_is_found_out() {
    let mut nic =
        Nic::with(Config { keepalive: Some(Duration::from_secs(10)), keepalive_probes: 2, ..config() });
    nic.established(FLOW, b"");
    nic.h.poll();
    assert_eq!(nic.h.app.opened.len(), 1);
    nic.h.pass(Duration::from_secs(200));
    assert_eq!(nic.h.app.ended, [EndReason::TimedOut]);
    assert_eq!(nic.h.stack.counters().keepalive_probes, 2);
    nic.h.assert_empty();
}

#[test]
fn broken_messages_are_counted_and_dropped() {
    let mut nic = Nic::up();
    nic.established(FLOW, b"good");
    nic.h.poll();
    nic.take();
    let mut rng = netcore::rng::SeededRng::new(5);
    let packet = nic.h.encode(&seg(A, 5, 1, b"more"))[14..].to_vec();
    for _ in 0..30_000 {
        let kind = Kind::ALL[rng.below(8) as usize];
        if kind == Kind::Hello {
            continue;
        }
        let mut body = packet.clone();
        body.splice(..0, (0..rng.below(90)).map(|_| 0u8));
        for _ in 0..rng.below(5) {
            let at = rng.below(body.len() as u64) as usize;
            body[at] = rng.next_u64() as u8;
        }
        body.truncate(rng.below(body.len() as u64 + 1) as usize);
        let flags = MessageFlags(rng.next_u64() as u16 & 0x1f);
        let handle = [0, 1, NO_HANDLE][rng.below(3) as usize];
        nic.send(kind, flags, FlowId { slot: rng.below(8) as u32, ..FLOW }, handle, &body);
        nic.h.poll();
        nic.h.take_frames();
    }
    nic.host_epoch ^= 1;
    nic.segment(FLOW, 0, &seg(A, 5, 1, b"more"));
    assert_eq!(nic.h.stack.counters().channel_wrong_epoch, 1);
    assert!(nic.h.stack.counters().channel_malformed > 1000);
    assert!(nic.h.stack.counters().channel_unexpected > 1000);
}

#[test]
fn unlisten_is_told() {
    let mut nic = Nic::up();
    assert!(nic.h.stack.unlisten(PORT) && !nic.h.stack.unlisten(PORT));
    nic.h.poll();
    nic.expect(&["Unlisten"]);
}

#[test]
fn the_limit_of_connections_is_announced_and_can_change() {
    let mut nic = Nic::with(Config { listen_max: 7, refusal: crate::Refusal::Silence, ..config() });
    nic.h.stack.set_listen_max(7);
    nic.h.poll();
    nic.expect(&[]);
    nic.h.stack.set_listen_max(8);
    nic.h.poll();
    let listens = nic.take();
    let [listen] = &listens[..] else { panic!("one listener") };
    let body = Listen::parse(&listen.body).unwrap();
    assert_eq!((listen.header.kind, body.connections_max), (Kind::Listen, 8));
    assert_eq!(body.refusal, crate::Refusal::Silence);
}

#[test]
fn a_session_that_is_left_serves_the_next_connection_of_its_place() {
    let mut nic = Nic::up();
    let flows = [FLOW, FlowId { generation: 10, ..FLOW }, FlowId { generation: 11, ..FLOW }];
    for flow in &flows[..2] {
        nic.established(*flow, b"hello");
        nic.h.poll();
        assert_eq!(nic.h.app.sessions, 1);
        nic.closed(&[(*flow, 0, ClosedReason::PeerClosed)]);
        nic.h.peer_port += 1;
    }
    assert_eq!((nic.h.app.opened.len(), nic.h.app.used_again), (2, 1));
    // Whom the application refuses has none, though one is there.
    nic.h.app.refuse = true;
    nic.established(flows[2], b"hello");
    nic.h.poll();
    assert_eq!((nic.h.app.sessions, nic.h.app.seen.as_slice()), (0, &b"hellohello"[..]));
    assert_eq!(nic.h.app.ended, [EndReason::Closed; 2]);
    assert!(nic.h.stack.has_no_leftovers());
    nic.h.app.refuse = false;
    nic.established(FlowId { generation: 12, ..FLOW }, b"again");
    nic.h.poll();
    assert_eq!((nic.h.app.sessions, nic.h.app.used_again), (1, 2));
}
