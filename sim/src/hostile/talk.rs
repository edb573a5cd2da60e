//! One connection of the hostile client: a real handshake, then moves that few clients make.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};
use protocol::tcp::{self, Flags, Options, SeqNumber};

use crate::packet::{Route, tcp_frame};
use crate::wire::WirePort;

/// Something it does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// The next bytes of the request, so many.
    Send(usize),
    /// Bytes further on, before those in between.
    SendAhead(usize),
    /// Bytes that were sent before, once more.
    SendAgain,
    /// FIN behind what was sent.
    Fin,
    /// Data behind our FIN.
    DataAfterFin,
    /// RST with exactly the right number.
    ResetExact,
    /// RST elsewhere in the window: a challenge must come, nothing else.
    ResetInWindow,
    /// SYN on the open connection.
    SynAgain,
    /// Acknowledges what was never sent.
    AckFuture,
    /// Acknowledges less than before.
    AckPast,
    /// Closes its window.
    WindowZero,
    /// Opens it again.
    WindowOpen,
    /// A FIN whose number is wrong.
    FinWrong,
    /// Urgent data.
    Urgent,
    /// No flags at all.
    NoFlags,
}

/// A connection.
pub(super) struct Talk {
    route: Route,
    port: u16,
    target_port: u16,
    iss: SeqNumber,
    /// Bytes of the request stream sent so far.
    sent: usize,
    fin_sent: bool,
    rcv_nxt: Option<SeqNumber>,
    window: u16,
    /// Never answers.
    deaf: bool,
    stream: Vec<u8>,
    moves: VecDeque<Move>,
    next_at: Option<Instant>,
    over: bool,
}

impl Talk {
    pub(super) fn open(
        route: Route,
        port: u16,
        target_port: u16,
        wire: &mut WirePort,
        rng: &mut SeededRng,
        now: Instant,
    ) -> Self {
        let talk = Self {
            route,
            port,
            target_port,
            iss: SeqNumber(rng.next_u64() as u32),
            sent: 0,
            fin_sent: false,
            rcv_nxt: None,
            window: 0xffff,
            deaf: rng.chance(100_000),
            stream: stream(rng),
            moves: (0..1 + rng.below(12)).map(|_| draw(rng)).collect(),
            next_at: Some(now + Duration::from_secs(20)),
            over: false,
        };
        let options = Options {
            mss: rng.chance(800_000).then(|| [0, 1, 64, 536, 1460, 65_535][rng.below(6) as usize]),
            window_scale: rng.chance(500_000).then(|| rng.below(16) as u8),
            sack_permitted: rng.chance(500_000),
            ..Options::default()
        };
        // Now and then the SYN brings data along.
        let early = if rng.chance(100_000) { talk.stream.len().min(5) } else { 0 };
        let header = talk.header(Flags::SYN, talk.iss);
        let data = talk.stream[..early].to_vec();
        wire.send_bytes(&tcp_frame(&route, &header, &options, &data));
        talk
    }

    pub(super) fn is(&self, addr: Ipv4Addr, port: u16) -> bool {
        (self.route.src, self.port) == (addr.into(), port)
    }

    pub(super) fn over(&self) -> bool {
        self.over
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Makes the next move when its time has come.
    pub(super) fn poll(&mut self, wire: &mut WirePort, rng: &mut SeededRng, now: Instant) -> bool {
        if self.over || self.next_at.is_none_or(|at| at > now) {
            return false;
        }
        let span = [1, 1_000, 100_000, 2_000_000][rng.below(4) as usize];
        self.next_at = Some(now + Duration::from_micros(1 + rng.below(span)));
        if self.rcv_nxt.is_none() {
            // The SYN or its answer got lost: this one gives up.
            self.over = true;
            return true;
        }
        match self.moves.pop_front() {
            Some(next) => self.make(next, wire, rng),
            // Stays, silent or acknowledging, until the whole client goes.
            None => self.next_at = None,
        }
        true
    }

    fn make(&mut self, next: Move, wire: &mut WirePort, rng: &mut SeededRng) {
        let nxt = self.snd_nxt();
        match next {
            Move::Send(len) => {
                let end = (self.sent + len).min(self.stream.len());
                let data = self.stream[self.sent..end].to_vec();
                if !self.fin_sent {
                    self.sent = end;
                    self.send(wire, Flags::ACK | Flags::PSH, nxt, &data);
                }
            }
            Move::SendAhead(len) => {
                let from = (self.sent + len).min(self.stream.len());
                let end = (from + 20).min(self.stream.len());
                if !self.fin_sent {
                    let data = self.stream[from..end].to_vec();
                    self.send(wire, Flags::ACK, nxt + (from - self.sent) as u32, &data);
                }
            }
            Move::SendAgain => {
                let from = rng.below(self.sent as u64 + 1) as usize;
                let data = self.stream[from..self.sent].to_vec();
                self.send(wire, Flags::ACK, self.iss + 1 + from as u32, &data);
            }
            Move::Fin => {
                self.send(wire, Flags::FIN | Flags::ACK, nxt, &[]);
                self.fin_sent = true;
            }
            Move::DataAfterFin => self.send(wire, Flags::ACK, nxt, b"too late"),
            Move::ResetExact => {
                self.send(wire, Flags::RST, nxt, &[]);
                self.over = true;
            }
            Move::ResetInWindow => self.send(wire, Flags::RST, nxt + 1 + rng.below(1_000) as u32, &[]),
            Move::SynAgain => {
                let header = self.header(Flags::SYN, nxt + rng.below(3) as u32);
                wire.send_bytes(&tcp_frame(&self.route, &header, &Options::default(), &[]));
            }
            Move::AckFuture => {
                let kept = self.rcv_nxt;
                self.rcv_nxt = kept.map(|ack| ack + 1 + rng.below(1 << 16) as u32);
                self.send(wire, Flags::ACK, nxt, &[]);
                self.rcv_nxt = kept;
            }
            Move::AckPast => {
                let kept = self.rcv_nxt;
                self.rcv_nxt = kept.map(|ack| ack - rng.below(1 << 18) as u32);
                self.send(wire, Flags::ACK, nxt, &[]);
                self.rcv_nxt = kept;
            }
            Move::WindowZero | Move::WindowOpen => {
                self.window = if next == Move::WindowZero { 0 } else { rng.below(65_536) as u16 };
                self.send(wire, Flags::ACK, nxt, &[]);
            }
            Move::FinWrong => {
                self.send(wire, Flags::FIN | Flags::ACK, nxt + 1 + rng.below(100) as u32, &[]);
            }
            Move::Urgent => {
                let header = tcp::Header { urgent: 3, ..self.header(Flags::ACK | Flags::URG, nxt) };
                wire.send_bytes(&tcp_frame(&self.route, &header, &Options::default(), &[]));
            }
            Move::NoFlags => {
                let header = self.header(Flags::default(), nxt);
                wire.send_bytes(&tcp_frame(&self.route, &header, &Options::default(), b"?"));
            }
        }
    }

    pub(super) fn received(
        &mut self,
        header: &tcp::Header,
        payload: &[u8],
        wire: &mut WirePort,
        rng: &mut SeededRng,
        now: Instant,
    ) {
        if header.flags.has(Flags::RST) {
            self.over = true;
            return;
        }
        if self.deaf {
            return;
        }
        let Some(rcv_nxt) = self.rcv_nxt else {
            if header.flags.has(Flags::SYN | Flags::ACK) && header.ack == self.iss + 1 {
                self.rcv_nxt = Some(header.seq + 1);
                self.next_at = Some(now + Duration::from_micros(rng.below(10_000)));
                if rng.chance(700_000) {
                    self.send(wire, Flags::ACK, self.snd_nxt(), &[]);
                }
            }
            return;
        };
        let len = payload.len() as u32 + u32::from(header.flags.has(Flags::FIN));
        if len == 0 {
            return;
        }
        if header.seq == rcv_nxt && (self.window > 0 || payload.is_empty()) {
            self.rcv_nxt = Some(rcv_nxt + len);
        }
        if rng.chance(900_000) {
            self.send(wire, Flags::ACK, self.snd_nxt(), &[]);
        }
    }

    fn snd_nxt(&self) -> SeqNumber {
        self.iss + 1 + self.sent as u32 + u32::from(self.fin_sent)
    }

    fn header(&self, flags: Flags, seq: SeqNumber) -> tcp::Header {
        tcp::Header {
            src_port: self.port,
            dst_port: self.target_port,
            seq,
            ack: self.rcv_nxt.unwrap_or_default(),
            flags,
            window: self.window,
            urgent: 0,
            header_len: 0,
        }
    }

    fn send(&self, wire: &mut WirePort, flags: Flags, seq: SeqNumber, data: &[u8]) {
        let header = self.header(flags, seq);
        wire.send_bytes(&tcp_frame(&self.route, &header, &Options::default(), data));
    }
}

/// What it says: requests, parts of requests, or rubbish.
fn stream(rng: &mut SeededRng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..1 + rng.below(6) {
        match rng.below(9) {
            0 => stream.extend_from_slice(b"PING\r\n"),
            1 => stream.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
            2 => stream.extend_from_slice(b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n"),
            3 => stream.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$7\r\nhostile\r\n$3\r\nabc\r\n"),
            4 => {
                let value = vec![b'x'; rng.below(20_000) as usize];
                stream.extend_from_slice(
                    format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len()).as_bytes(),
                );
                stream.extend_from_slice(&value);
                stream.extend_from_slice(b"\r\n");
            }
            5 => stream
                .extend_from_slice(&b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(1 + rng.below(20) as usize)),
            6 => stream.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1000000\r\n"),
            7 => stream.extend_from_slice(b"*-5\r\n$nonsense\r\nQUIT\r\n"),
            _ => stream.extend((0..rng.below(300)).map(|_| rng.next_u64() as u8)),
        }
    }
    stream
}

fn draw(rng: &mut SeededRng) -> Move {
    match rng.below(26) {
        0..7 => Move::Send(1 + rng.below(2_000) as usize),
        7..10 => Move::Send(1),
        10 | 11 => Move::SendAhead(1 + rng.below(100) as usize),
        12 | 13 => Move::SendAgain,
        14 | 15 => Move::Fin,
        16 => Move::DataAfterFin,
        17 => Move::ResetExact,
        18 => Move::ResetInWindow,
        19 => Move::SynAgain,
        20 => Move::AckFuture,
        21 => Move::AckPast,
        22 => Move::WindowZero,
        23 => Move::WindowOpen,
        24 => Move::FinWrong,
        _ => [Move::Urgent, Move::NoFlags][rng.below(2) as usize],
    }
}
