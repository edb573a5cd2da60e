//! Segments are written here, and nowhere else: the IP packet into a fresh frame, then in front
//! of it what its path needs, an Ethernet header or a message of the channel.

use netcore::frame::complete_segment;
use netcore::{Frame, FramePool, Instant};
use protocol::channel::{self, Close, FlowId, Kind, MessageFlags};
use protocol::ethernet::{self, Mac};
use protocol::ip::{self, Version};
use protocol::ipv4::{self, PROTOCOL_TCP};
use protocol::tcp::{self, Header, Options, SeqNumber, Timestamps};

use super::{Blocked, window};
use crate::ecn;
use crate::env::{Bare, Env};
use crate::state::State;
use crate::tcb::{Connection, Flags, HandOver, Path, Phase, Tcb, Timer};

/// Which part of the stream a segment carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    /// Where it begins; `None`: at SND.NXT.
    pub(super) seq: Option<SeqNumber>,
    /// Where that is in the send queue.
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) fin: bool,
}

impl Data {
    /// A pure acknowledgment.
    pub(super) const NONE: Self = Self { seq: None, offset: 0, len: 0, fin: false };
}

/// Sends a segment of a synchronized connection; it acknowledges everything received.
#[inline]
pub(super) fn data<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
    data: Data,
) -> Result<(), Blocked> {
    let seq = data.seq.unwrap_or(connection.tcb.snd_nxt);
    let mut flags = tcp::Flags::ACK;
    // RFC 9293 §3.9.1.2 MUST-61: nothing more is queued.
    if data.len > 0 && data.offset + data.len == connection.queue.len() {
        flags = flags | tcp::Flags::PSH;
    }
    if data.fin {
        flags = flags | tcp::Flags::FIN;
    }
    if connection.tcb.ecn.is_agreed() {
        let new_data = data.seq.is_none() && data.len > 0;
        flags = flags | connection.tcb.ecn.segment_flags(new_data);
    }
    let mut options = usual_options(env.now, connection);
    if data.len == 0 && connection.full.is_some() {
        add_sack(connection, &mut options);
    }
    let window = window::announce(env, connection);
    let frame = packet(env, connection, pool, (seq, flags, window), &options, (data.offset, data.len))?;
    let idle = is_idle_after(connection, seq + data.len as u32);
    let flags = if idle { MessageFlags::IDLE } else { MessageFlags::default() };
    push(env, slot, connection, frame, flags)?;
    let tcb = &mut connection.tcb;
    tcb.rcv_acked = tcb.rcv_nxt;
    tcb.ack_deadline = Instant::FAR_FUTURE;
    tcb.flags.clear(Flags::ACK_NOW | Flags::ACK_BARE);
    Ok(())
}

/// Sends a SYN or SYN-ACK.
pub(super) fn syn<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let tcb = &connection.tcb;
    let answers = tcb.state == State::SynReceived;
    let timestamps = !answers || tcb.flags.has(Flags::TIMESTAMPS);
    let options = Options {
        // RFC 9293 §3.7.1 MUST-14, SHLD-5, MAY-3: always, whatever its value.
        mss: Some(env.config.mss(tcb.key.version())),
        // RFC 7323 §1.3: a SYN-ACK has what the SYN had.
        window_scale: (!answers || tcb.flags.has(Flags::SCALE)).then(|| env.config.window_scale()),
        sack_permitted: !answers || tcb.flags.has(Flags::SACK),
        timestamps: timestamps.then(|| Timestamps {
            value: tcb.ts_value(env.now),
            echo: if answers { tcb.ts_recent } else { 0 },
        }),
        ..Options::default()
    };
    let flags = if answers { tcp::Flags::SYN | tcp::Flags::ACK } else { tcp::Flags::SYN };
    let flags = flags | tcb.ecn.handshake_flags(&env.config, answers, tcb.retries == 0);
    // RFC 7323 §2.2: never scaled here.
    let window = env.config.receive_window.min(0xffff) as u16;
    let seq = tcb.snd_una;
    let frame = packet(env, connection, pool, (seq, flags, window), &options, (0, 0))?;
    push(env, slot, connection, frame, MessageFlags::default())?;
    connection.tcb.snd_nxt = seq + 1;
    connection.tcb.flags.clear(Flags::ACK_NOW | Flags::ACK_BARE);
    Ok(())
}

/// Sends a segment from before the window, which a living peer answers.
///
/// RFC 9293 §3.8.4 MAY-5, SHLD-12: without data.
#[cold]
pub(super) fn keepalive<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let options = usual_options(env.now, connection);
    let window = window::announce(env, connection);
    let seq = connection.tcb.snd_una - 1;
    let frame = packet(env, connection, pool, (seq, tcp::Flags::ACK, window), &options, (0, 0))?;
    push(env, slot, connection, frame, MessageFlags::default())?;
    env.counters.keepalive_probes += 1;
    Ok(())
}

/// Sends a CLOSE with all that is left and the FIN.
pub(super) fn hand_over<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let Path::Flow(flow) = connection.tcb.path else { return Err(Blocked) };
    let options = usual_options(env.now, connection);
    let window = window::announce(env, connection);
    let len = connection.queue.len();
    let mut flags = tcp::Flags::ACK | tcp::Flags::FIN;
    if len > 0 {
        flags = flags | tcp::Flags::PSH;
    }
    let seq = connection.tcb.snd_nxt;
    let mut frame = packet(env, connection, pool, (seq, flags, window), &options, (0, len))?;
    let tcb = &connection.tcb;
    close_body(tcb).emit(frame.prepend(Close::LEN).ok_or(Blocked)?);
    let flags = MessageFlags::CHECKSUM_NEEDED | close_flags(tcb);
    message(env, &mut frame, (Kind::Close, flags), flow, slot)?;
    env.tx.push(frame).map_err(|_| Blocked)?;
    env.counters.segments_sent += 1;
    env.counters.bytes_sent += len as u64;
    env.counters.channel_closes += 1;
    Ok(())
}

/// Offers the firmware all that is not acknowledged, and the FIN, in pieces of a segment each. The
/// connection stays here until it answers.
#[cold]
pub(super) fn offer<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let Path::Flow(flow) = connection.tcb.path else { return Err(Blocked) };
    let (left, mss) = (connection.queue.len(), usize::from(connection.tcb.mss));
    if env.tx.room() < left.div_ceil(mss) {
        env.counters.tx_queue_full += 1;
        return Err(Blocked);
    }
    let options = usual_options(env.now, connection);
    let window = window::announce(env, connection);
    let body = close_body(&connection.tcb);
    let mut piece = |env: &mut Env<F>, connection: &mut Connection<S>, offset: usize| {
        let len = mss.min(left - offset);
        let is_last = offset + len == left;
        let fin = if is_last { tcp::Flags::FIN | tcp::Flags::PSH } else { tcp::Flags::default() };
        let head = (body.snd_una + offset as u32, tcp::Flags::ACK | fin, window);
        let mut frame = packet(env, connection, pool, head, &options, (offset, len))?;
        body.emit(frame.prepend(Close::LEN).ok_or(Blocked)?);
        let more = if is_last { MessageFlags::default() } else { MessageFlags::MORE };
        let flags = MessageFlags::KEPT | more | close_flags(&connection.tcb);
        message(env, &mut frame, (Kind::Close, flags), flow, slot)?;
        env.tx.push(frame).map_err(|_| Blocked)
    };
    for offset in (0..left).step_by(mss) {
        if let Err(blocked) = piece(env, connection, offset) {
            if offset > 0 {
                // To begin anew would use up the frames again, and again. Where so few are left the
                // connection stays here; the firmware throws the beginning away.
                connection.tcb.hand_over = HandOver::Refused;
                env.counters.channel_offers_broken_off += 1;
            }
            return Err(blocked);
        }
    }
    env.counters.channel_offers += 1;
    let tcb = &mut connection.tcb;
    tcb.hand_over = HandOver::Offered;
    tcb.timer = Timer::Retransmission;
    tcb.rtx_deadline = env.now + tcb.rto();
    Ok(())
}

/// What a CLOSE says of the connection.
fn close_body(tcb: &Tcb) -> Close {
    Close {
        snd_wnd: tcb.snd_wnd,
        rto_us: tcb.rtt.rto().micros().min(u64::from(u32::MAX)) as u32,
        rcv_nxt: tcb.rcv_nxt,
        ts_recent: tcb.ts_recent,
        cwnd: tcb.window.cwnd,
        snd_una: tcb.snd_una,
    }
}

fn close_flags(tcb: &Tcb) -> MessageFlags {
    if tcb.state == State::CloseWait { MessageFlags::PEER_FINISHED } else { MessageFlags::default() }
}

/// Sends a segment that belongs to no connection.
pub(crate) fn bare<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    bare: &Bare,
) -> Result<(), Blocked> {
    let tcp_len = tcp::HEADER_LEN + bare.options.emitted_len();
    if env.tx.is_full() {
        env.counters.tx_queue_full += 1;
        return Err(Blocked);
    }
    let (local, remote) = (env.config.address(bare.key.local()), bare.key.remote_addr());
    let version = remote.version();
    let total = ip::header_len(version) + tcp_len;
    let mut frame = env.frame(pool, total).ok_or(Blocked)?;
    let out = frame.append(total).ok_or(Blocked)?;
    let service = (env.config.diffserv & !0b11, env.config.ttl);
    let ip_len = ip::emit_with_ttl(&local, &remote, PROTOCOL_TCP, service, tcp_len, out);
    let out = &mut out[ip_len..];
    Header {
        src_port: bare.key.local_port(),
        dst_port: bare.key.remote_port(),
        seq: bare.seq,
        ack: bare.ack,
        flags: bare.flags,
        window: bare.window,
        urgent: 0,
        header_len: tcp_len,
    }
    .emit(&bare.options, out);
    complete_segment(&mut frame, env.config.tx_checksum, (local, remote), ip_len..total);
    ethernet(env, &mut frame, bare.mac, version)?;
    env.tx.push(frame).map_err(|_| Blocked)?;
    env.counters.segments_sent += 1;
    Ok(())
}

/// Puts a channel header and an Ethernet header in front of a message's body. The caller has looked for room.
pub(crate) fn message<F: Frame>(
    env: &mut Env<F>,
    frame: &mut F,
    (kind, flags): (Kind, MessageFlags),
    flow: FlowId,
    handle: u32,
) -> Result<(), Blocked> {
    let len_behind = frame.bytes().len();
    let header = channel::Header { kind, flags, epoch: env.channel.nic_epoch(), flow, handle };
    let out = frame.prepend(ethernet::HEADER_LEN + channel::HEADER_LEN).ok_or(Blocked)?;
    channel::emit_ethernet(env.channel.nic_mac(), env.config.mac, out);
    header.emit(len_behind, &mut out[ethernet::HEADER_LEN..]);
    env.channel.says(kind);
    Ok(())
}

/// RFC 9293 §3.2 MUST-65: no MSS here; these go into everything but SYNs.
#[inline]
fn usual_options<S>(now: Instant, connection: &Connection<S>) -> Options {
    let tcb = &connection.tcb;
    let timestamps = tcb
        .flags
        .has(Flags::TIMESTAMPS)
        .then(|| Timestamps { value: tcb.ts_value(now), echo: tcb.ts_recent });
    Options { timestamps, ..Options::default() }
}

/// RFC 2018 §4: what lies beyond RCV.NXT is told with every acknowledgment.
#[cold]
fn add_sack<S>(connection: &mut Connection<S>, options: &mut Options) {
    let Some(full) = &mut connection.full else { return };
    if connection.tcb.flags.has(Flags::SACK) {
        let most = if options.timestamps.is_some() { 3 } else { 4 };
        let first = usize::from(full.duplicate.is_some());
        if let Some(block) = full.duplicate.take() {
            options.sack[0] = block;
        }
        let count = first + full.reassembly.sack_blocks(&mut options.sack[first..most]);
        options.sack_count = count as u8;
    }
}

/// An IP packet in a fresh frame; `offset` and `len` name the payload in the send queue. The TCP
/// checksum is computed unless the firmware does it.
#[inline]
fn packet<F: Frame, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
    (seq, flags, window): (SeqNumber, tcp::Flags, u16),
    options: &Options,
    (offset, len): (usize, usize),
) -> Result<F, Blocked> {
    if env.tx.is_full() {
        env.counters.tx_queue_full += 1;
        return Err(Blocked);
    }
    let tcp_len = tcp::HEADER_LEN + options.emitted_len();
    let key = connection.tcb.key;
    // RFC 9293 §3.9.1.1 MUST-45: the local address that the connection began with.
    let (local, remote) = (env.config.address(key.local()), key.remote_addr());
    let total = ip::header_len(remote.version()) + tcp_len + len;
    let mut frame = env.frame(pool, total).ok_or(Blocked)?;
    let out = frame.append(total).ok_or(Blocked)?;
    // RFC 9293 §3.9.2 MUST-49, §3.9.1.9 SHLD-22: as the configuration and the application say.
    let service = (connection.settings.diffserv | ecn_field(&connection.tcb, seq, len), env.config.ttl);
    let ip_len = ip::emit_with_ttl(&local, &remote, PROTOCOL_TCP, service, tcp_len + len, out);
    if connection.tcb.may_be_fragmented {
        match env.path_mtus.next_ident(remote, env.now) {
            Some(ident) => ipv4::allow_fragments(out, ident),
            // RFC 1191 §6.3: it is tried whether the path has become wider.
            None => connection.tcb.may_be_fragmented = false,
        }
    }
    let out = &mut out[ip_len..];
    let tcb = &connection.tcb;
    let has_ack = flags.has(tcp::Flags::ACK);
    Header {
        src_port: key.local_port(),
        dst_port: key.remote_port(),
        seq,
        ack: if has_ack { tcb.rcv_nxt } else { SeqNumber(0) },
        flags,
        window,
        urgent: 0,
        header_len: tcp_len,
    }
    .emit(options, out);
    if len > 0 {
        connection.queue.read(offset, &mut out[tcp_len..]);
    }
    // RFC 9293 §3.1 MUST-2: by us, or by the firmware.
    if matches!(connection.tcb.path, Path::Wire(_)) {
        complete_segment(&mut frame, env.config.tx_checksum, (local, remote), ip_len..total);
    }
    Ok(frame)
}

/// RFC 3168 §6.1.4 to §6.1.6: new data may be marked; acknowledgments, retransmissions and window
/// probes may not.
#[inline]
fn ecn_field(tcb: &Tcb, seq: SeqNumber, len: usize) -> u8 {
    let may = tcb.ecn.is_agreed() && len > 0 && seq == tcb.snd_nxt && !tcb.flags.has(Flags::PROBE);
    if may { ecn::ECT_0 } else { 0 }
}

/// Sends a packet along the connection's path.
#[inline]
fn push<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &Connection<S>,
    mut frame: F,
    flags: MessageFlags,
) -> Result<(), Blocked> {
    match connection.tcb.path {
        Path::Wire(mac) => ethernet(env, &mut frame, mac, connection.tcb.key.version())?,
        Path::Flow(flow) => {
            let flags = flags | MessageFlags::CHECKSUM_NEEDED;
            message(env, &mut frame, (Kind::Segment, flags), flow, slot)?;
        }
        Path::Unresolved => return Err(Blocked),
    }
    env.tx.push(frame).map_err(|_| Blocked)?;
    env.counters.segments_sent += 1;
    Ok(())
}

#[inline]
fn ethernet<F: Frame>(env: &Env<F>, frame: &mut F, dst: Mac, version: Version) -> Result<(), Blocked> {
    let out = frame.prepend(ethernet::HEADER_LEN).ok_or(Blocked)?;
    ethernet::Header { dst, src: env.config.mac, ether_type: ip::ether_type(version) }.emit(out);
    Ok(())
}

/// Whether we only wait for the peer once the numbers up to `sent` are out: then the firmware
/// may finish the connection when the peer does. A waiting application is going to write.
#[inline]
fn is_idle_after<S>(connection: &Connection<S>, sent: SeqNumber) -> bool {
    let tcb = &connection.tcb;
    tcb.state == State::Established
        && !tcb.flags.any(Flags::WAITING | Flags::CLOSING | Flags::LOSS_PROBE)
        && sent == tcb.snd_una + connection.queue.len() as u32
        && tcb.phase == Phase::Open
        && connection.full.is_none()
}
