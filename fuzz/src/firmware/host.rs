//! The host on one queue: its epoch, what it knows of flows, and its messages.

use std::collections::BTreeMap;

use protocol::channel::{
    self, Abort, AcceptPolicy, Close, FlowId, Header, Hello, Kind, Listen, ListenStatus, MessageFlags,
    NO_HANDLE, Refusal,
};
use protocol::ipv4;
use protocol::tcp::{self, Flags, Options, SeqNumber, fill_checksum};

use crate::input::Input;
use crate::peer::{OUR_MAC, PEER, PEER_V4, US, US_V4};

/// How a flow stands for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// ESTABLISHED came.
    Held,
    /// CLOSE or ABORT was sent; a CLOSED may be under way.
    HandedOver,
    /// CLOSED came.
    Ended,
}

/// What the host knows of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) stand: Stand,
    pub(super) remote_port: u16,
    pub(super) snd_nxt: SeqNumber,
    pub(super) rcv_nxt: SeqNumber,
    /// What the host called it, once it did.
    pub(super) handle: u32,
    /// Where a hand-over in pieces began, and where its next piece continues it.
    pub(super) pieces: Option<(SeqNumber, SeqNumber)>,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) epoch: u32,
    pub(super) nic_epoch: u32,
    pub(super) flows: BTreeMap<(u32, u32), Flow>,
}

impl Host {
    pub(super) fn new(epoch: u32) -> Self {
        Self { epoch, nic_epoch: 0, flows: BTreeMap::new() }
    }

    pub(super) fn hello(&self, reply: bool) -> Vec<u8> {
        let mut body = [0; Hello::LEN];
        Hello::new(self.epoch, 1).emit(&mut body);
        let flags = if reply { MessageFlags::REPLY } else { MessageFlags::default() };
        message(&Header { flags, ..Header::new(Kind::Hello, self.nic_epoch) }, &[&body])
    }

    pub(super) fn listen(&self, kind: Kind, input: &mut Input<'_>) -> Vec<u8> {
        // One byte for all limits, so that the corpus keeps its meaning.
        let limits = |input: &mut Input<'_>| {
            let byte = usize::from(input.u8());
            let backlog = [4, 0, 1, u32::MAX][byte % 4];
            (backlog, [0, 1, 2, u32::MAX][byte / 4 % 4], Refusal::ALL[byte / 16 % 3])
        };
        let mut listen = Listen {
            addr: US,
            port: input.pick(&[6379, 6379, 6379, 6380, 1]),
            policy: input.pick(&[AcceptPolicy::Deferred, AcceptPolicy::Immediate]),
            mss: input.pick(&[1460, 64, 9000]),
            window_scale: input.pick(&[7, 0, 14]),
            status: ListenStatus::Unanswered,
            window: input.pick(&[64_000, 0, 1]),
            backlog: 0,
            connections_max: 0,
            refusal: Refusal::Reset,
        };
        (listen.backlog, listen.connections_max, listen.refusal) = limits(input);
        let mut body = [0; Listen::LEN];
        listen.emit(&mut body);
        message(&Header::new(kind, self.nic_epoch), &[&body])
    }

    /// One of the flows, and now and then one that has ended.
    fn flow(&mut self, input: &mut Input<'_>) -> Option<(FlowId, &mut Flow)> {
        let count = self.flows.len();
        let (&(slot, generation), flow) = self.flows.iter_mut().nth(input.below(count))?;
        Some((FlowId { slot, generation }, flow))
    }

    fn header(&self, kind: Kind, flow: FlowId, handle: u32) -> Header {
        Header { flow, handle, ..Header::new(kind, self.nic_epoch) }
    }

    /// Data on a flow.
    pub(super) fn segment(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let (id, flow) = self.flow(input)?;
        let len = input.pick(&[0, 1, 100, 1400]);
        let ahead = if input.u8() < 230 { 0 } else { input.u32() };
        let segment = packet(flow, flow.snd_nxt + ahead, Flags::ACK | Flags::PSH, len);
        flow.snd_nxt += ahead.wrapping_add(len as u32);
        flow.handle = id.slot + 100;
        let idle = if input.flag() { MessageFlags::IDLE } else { MessageFlags::default() };
        let (flags, segment) = checksummed(idle, segment, input);
        let header = Header { flags, ..self.header(Kind::Segment, id, id.slot + 100) };
        Some(message(&header, &[&segment]))
    }

    /// The last data and the FIN, at once or in pieces.
    pub(super) fn close(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let (id, flow) = self.flow(input)?;
        let kept = input.flag();
        let more = kept && input.flag();
        let len = input.pick(&[1400, 5, 0]);
        let (snd_una, seq) = match flow.pieces.filter(|_| kept && input.u8() < 220) {
            Some(pieces) => pieces,
            None if kept => {
                let start = flow.snd_nxt - input.pick(&[0, 0, 100, 1400]);
                (start, start)
            }
            None => (flow.snd_nxt, flow.snd_nxt),
        };
        let fin = if more { Flags::default() } else { Flags::FIN };
        let segment = packet(flow, seq, Flags::ACK | fin, len);
        flow.pieces = more.then_some((snd_una, seq + len as u32));
        if flow.stand == Stand::Held && !kept {
            flow.stand = Stand::HandedOver;
        }
        let mut body = [0; Close::LEN];
        Close {
            snd_wnd: input.pick(&[60_000, 0, 1, u32::MAX]),
            rto_us: input.pick(&[250_000, 0, 1, u32::MAX]),
            rcv_nxt: flow.rcv_nxt,
            ts_recent: input.pick(&[0, 1, u32::MAX]),
            cwnd: input.pick(&[14_600, 0, 1, u32::MAX]),
            snd_una,
        }
        .emit(&mut body);
        let finished = if input.flag() { MessageFlags::PEER_FINISHED } else { MessageFlags::default() };
        let kept = if kept { MessageFlags::KEPT } else { MessageFlags::default() };
        let more = if more { MessageFlags::MORE } else { MessageFlags::default() };
        let (flags, segment) = checksummed(finished | kept | more, segment, input);
        let header = Header { flags, ..self.header(Kind::Close, id, id.slot + 100) };
        Some(message(&header, &[&body, &segment]))
    }

    pub(super) fn abort(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let (id, flow) = self.flow(input)?;
        if flow.stand == Stand::Held {
            flow.stand = Stand::HandedOver;
        }
        let mut body = [0; Abort::LEN];
        Abort { snd_nxt: flow.snd_nxt, rcv_nxt: flow.rcv_nxt }.emit(&mut body);
        Some(message(&self.header(Kind::Abort, id, id.slot + 100), &[&body]))
    }

    /// Any message: each field of the header near something that matters, or anywhere.
    pub(super) fn any(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let known = self.flow(input).map(|(id, _)| id).unwrap_or_default();
        let header = Header {
            kind: input.pick(&Kind::ALL),
            flags: MessageFlags(input.u16()),
            epoch: input.pick(&[self.nic_epoch, self.nic_epoch, self.nic_epoch, 0, self.epoch]),
            flow: FlowId {
                slot: input.pick(&[known.slot, known.slot + 1, u32::MAX, 7]),
                generation: known.generation.wrapping_add(input.pick(&[0, 0, 1, u32::MAX])),
            },
            handle: input.pick(&[known.slot + 100, NO_HANDLE, 0]),
        };
        message(&header, &[input.bytes()])
    }
}

/// A frame with this message.
pub(super) fn message(header: &Header, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut out = vec![0; 14 + channel::HEADER_LEN];
    channel::emit_ethernet(OUR_MAC, OUR_MAC, &mut out);
    header.emit(body.len(), &mut out[14..]);
    out.extend(body);
    out
}

/// An IP packet of the flow.
fn packet(flow: &Flow, seq: SeqNumber, flags: Flags, len: usize) -> Vec<u8> {
    let header = tcp::Header {
        src_port: 6379,
        dst_port: flow.remote_port,
        seq,
        ack: flow.rcv_nxt,
        flags,
        window: 500,
        urgent: 0,
        header_len: 0,
    };
    let mut out = vec![0; 40 + len];
    ipv4::Header::outgoing(US_V4, PEER_V4, ipv4::PROTOCOL_TCP, 20 + len).emit(&mut out);
    header.emit(&Options::default(), &mut out[20..]);
    fill_checksum(US, PEER, &mut out[20..]);
    out
}

/// The checksum stays, or is left to the firmware.
fn checksummed(flags: MessageFlags, mut packet: Vec<u8>, input: &mut Input<'_>) -> (MessageFlags, Vec<u8>) {
    if input.flag() {
        return (flags, packet);
    }
    packet[36..38].copy_from_slice(&[0xde, 0xad]);
    (flags | MessageFlags::CHECKSUM_NEEDED, packet)
}
