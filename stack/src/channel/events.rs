//! Messages from the firmware. Each field is checked; what is malformed, stale or meant for an
//! earlier life is counted and dropped.

use netcore::{FourTuple, Frame, Instant, RxChecksum};
use protocol::channel::{
    ChannelError, Closed, ClosedEntry, ClosedReason, Established, FlowId, Header, Hello, Kind, Listen,
    ListenStatus, MessageFlags, NO_HANDLE, VERSION,
};
use protocol::ethernet::Mac;
use protocol::icmp_error;
use protocol::ip;

use super::{ChannelState, is_believed};
use crate::app::{App, EndReason};
use crate::env::{Control, Env};
use crate::input::{self, After};
use crate::listen::Announced;
use crate::round::Stack;
use crate::state::State;
use crate::tcb::{Connection, Flags, HandOver, Key, Opening, Path, segment_max};

impl<F: Frame, A: App> Stack<F, A> {
    /// Takes the payload of a channel frame.
    pub(crate) fn channel_arrived(&mut self, app: &mut A, message: &[u8], from: Mac) {
        if !self.env.channel.is_used() {
            self.env.counters.frames_other_type += 1;
            return;
        }
        let (header, body) = match Header::parse(message) {
            Ok(parsed) => parsed,
            Err(ChannelError::Version(_)) => {
                self.env.counters.channel_wrong_version += 1;
                return;
            }
            Err(ChannelError::Kind(_) | ChannelError::Malformed(_)) => {
                self.env.counters.channel_malformed += 1;
                return;
            }
        };
        if header.kind == Kind::Hello {
            return self.hello_arrived(app, &header, body, from);
        }
        self.env.channel.hears(header.kind);
        if header.epoch != self.env.channel.epoch || !self.env.channel.is_up() {
            self.env.counters.channel_wrong_epoch += 1;
            return;
        }
        match header.kind {
            Kind::Segment => self.segment_arrived(app, &header, body),
            Kind::Established => self.established_arrived(app, &header, body),
            Kind::Closed => self.closed_arrived(app, body),
            Kind::IcmpError => self.icmp_error_arrived(app, &header, body),
            Kind::Listen => self.listen_answered(&header, body),
            Kind::Hello | Kind::Unlisten | Kind::Close | Kind::Abort => {
                self.env.counters.channel_unexpected += 1;
            }
        }
    }

    fn hello_arrived(&mut self, app: &mut A, header: &Header, body: &[u8], from: Mac) {
        let Ok(hello) = Hello::parse(body) else {
            self.env.counters.channel_malformed += 1;
            return;
        };
        let reply = header.flags.has(MessageFlags::REPLY);
        if reply && header.epoch != self.env.channel.epoch {
            // An answer to our earlier life.
            self.env.counters.channel_wrong_epoch += 1;
            return;
        }
        let channel = &mut self.env.channel;
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            self.env.counters.channel_wrong_version += 1;
            channel.state =
                ChannelState::WrongVersion { version_min: hello.version_min, version_max: hello.version_max };
            return;
        }
        channel.nic_mac = if from.is_multicast() { channel.nic_mac } else { from };
        let is_new = hello.epoch != channel.nic_epoch;
        let is_first = core::mem::replace(&mut channel.nic_epoch, hello.epoch) == 0;
        if is_new {
            channel.news_heard = None;
        }
        if is_new && !is_first {
            self.env.counters.channel_resets += 1;
            self.forget_flows(app);
        } else if !is_new && !reply && header.epoch == 0 && channel.is_up() && channel.watch.is_some() {
            // It is the same, and knows us no more: it has given us up meanwhile.
            self.env.counters.channel_resets += 1;
            self.begin_anew(app);
        }
        if self.env.channel.news_heard.replace(hello.news).is_some_and(|heard| heard != hello.news) {
            // Connections that the firmware has begun or ended, and we do not know which.
            self.env.counters.channel_news_lost += 1;
            return self.give_up_nic(app);
        }
        if !self.know_nic(&hello) {
            return;
        }
        self.env.channel.last_data_max = hello.last_data_max;
        self.env.channel.state = ChannelState::Up;
        if !reply {
            self.env.controls.push_back(Control::Hello { reply: true });
        }
    }

    /// The NIC does not know our flows any more: end them, announce the listeners anew.
    pub(crate) fn forget_flows(&mut self, app: &mut A) {
        for slot in 0..self.connections.slots() {
            if self.connections.at(slot).is_some_and(|c| matches!(c.tcb.path, Path::Flow(_))) {
                self.end_without_telling(app, slot, EndReason::Aborted);
            }
        }
        self.env.controls.retain(|control| !matches!(control, Control::Abort { .. } | Control::Listen(..)));
        for listener in self.listeners.iter_mut() {
            listener.announced = Announced::Due(Instant::ZERO);
        }
    }

    fn listen_answered(&mut self, header: &Header, body: &[u8]) {
        let (true, Ok(listen)) = (header.flags.has(MessageFlags::REPLY), Listen::parse(body)) else {
            self.env.counters.channel_malformed += 1;
            return;
        };
        let Some(local) = self.env.config.local(listen.addr) else {
            self.env.counters.channel_mismatch += 1;
            return;
        };
        let Some(listener) = self.listeners.find_mut(local, listen.port) else {
            self.env.counters.channel_stale += 1;
            return;
        };
        listener.announced = match listen.status {
            ListenStatus::Accepted => Announced::Accepted,
            ListenStatus::TableFull => Announced::Refused,
            ListenStatus::Unanswered => listener.announced,
        };
    }

    /// The connection of a flow: by handle, or by the flow's slot as long as the firmware does
    /// not know the handle. The flow's whole name has to be the connection's.
    #[inline]
    fn flow_slot(&mut self, flow: FlowId, handle: u32) -> Option<u32> {
        let slot = if handle == NO_HANDLE { self.env.channel.connection_of(flow)? } else { handle };
        self.is_flow(slot, flow).then_some(slot)
    }

    /// Whether the connection in this slot is the flow's.
    #[inline]
    fn is_flow(&mut self, slot: u32, flow: FlowId) -> bool {
        self.connections.at(slot).is_some_and(|connection| connection.tcb.path == Path::Flow(flow))
    }

    #[inline]
    fn segment_arrived(&mut self, app: &mut A, header: &Header, packet: &[u8]) {
        match self.flow_slot(header.flow, header.handle) {
            Some(slot) => self.flow_packet(app, slot, header.flags, packet),
            None => self.env.counters.channel_stale += 1,
        }
    }

    /// An IP packet of a flow.
    fn flow_packet(&mut self, app: &mut A, slot: u32, flags: MessageFlags, packet: &[u8]) {
        let env = &mut self.env;
        let Ok(ip) = ip::Header::parse(packet) else {
            env.counters.ip_malformed += 1;
            return;
        };
        let verdict = match flags.has(MessageFlags::CHECKSUM_GOOD) {
            true => RxChecksum::Good,
            false => RxChecksum::Unknown,
        };
        let segment = &packet[ip.header_len..ip.total_len];
        let Some((segment, payload)) = env.parse_segment(&ip, segment, verdict, None) else { return };
        let connection = self.connections.slot(slot);
        if connection.tcb.hand_over == HandOver::Offered {
            // Whoever gets the connection learns the same from what the peer sends next.
            env.counters.channel_offered += 1;
            return;
        }
        let held = connection.tcb.key;
        let key = Key::new(held.local(), segment.header.dst_port, ip.src, segment.header.src_port);
        if ip.fragment || ip.dst != env.config.address(held.local()) || key != held {
            env.counters.channel_mismatch += 1;
            return;
        }
        match input::arrives(env, slot, connection, app, &segment, payload) {
            After::Output => env.mark(slot, connection),
            after => self.follow(app, slot, after),
        }
    }

    /// An ICMP error about a flow that we hold. It is checked as if it had come from the wire.
    #[cold]
    fn icmp_error_arrived(&mut self, app: &mut A, header: &Header, packet: &[u8]) {
        let Some(slot) = self.flow_slot(header.flow, header.handle) else {
            self.env.counters.channel_stale += 1;
            return;
        };
        let key = self.connections.slot(slot).tcb.key;
        let error = icmp_error::read(packet).filter(|error| {
            let quoted = Key::new(key.local(), error.src_port, error.dst, error.dst_port);
            error.src == self.env.config.address(key.local()) && quoted == key
        });
        match error {
            Some(error) => self.icmp_error(app, slot, &error),
            None => self.env.counters.channel_mismatch += 1,
        }
    }

    fn established_arrived(&mut self, app: &mut A, header: &Header, body: &[u8]) {
        let Ok((established, packet)) = Established::parse(body) else {
            self.env.counters.channel_malformed += 1;
            return;
        };
        let flow = header.flow;
        let bound = self.env.channel.connection_of(flow);
        if let Some(slot) = bound.filter(|&slot| self.is_flow(slot, flow)) {
            self.env.counters.channel_established_again += 1;
            if header.flags.has(MessageFlags::FIRST_DATA) {
                self.flow_packet(app, slot, header.flags, packet);
            }
            return;
        }
        self.accept_flow(app, header, bound, &established, packet);
    }

    /// A connection has begun, and perhaps nothing arrived that the output phase would answer.
    fn without_first_data(&mut self, slot: u32) {
        let Some(connection) = self.connections.at(slot) else { return };
        if connection.queue.is_empty() && !connection.tcb.flags.has(Flags::CLOSING) {
            // Keepalive: the output phase, which arms the timer otherwise, is not coming.
            self.env.arm(slot, connection);
        } else {
            self.env.mark(slot, connection);
        }
    }

    /// Makes the connection of a flow, and takes its first data, if that is there. `old`: the connection of
    /// an earlier use of the flow's slot.
    #[inline]
    fn accept_flow(
        &mut self,
        app: &mut A,
        header: &Header,
        old: Option<u32>,
        established: &Established,
        packet: &[u8],
    ) {
        let (env, flow) = (&mut self.env, header.flow);
        let local = env.config.local(established.local_addr);
        let listens = self.listeners.listens(established.local_port);
        let Some(local) = local.filter(|_| listens) else {
            env.counters.channel_mismatch += 1;
            return abort(env, flow, established);
        };
        // The firmware uses a flow slot again: what we still hold of its old use is over.
        if let Some(old) = old {
            env.counters.channel_stale += 1;
            self.end_without_telling(app, old, EndReason::Aborted);
        }
        let env = &mut self.env;
        let (remote_addr, timestamps) = (established.remote_addr, established.timestamps);
        let path_mtu = env.path_mtus.find(remote_addr, env.now);
        let mss = segment_max(established.mss, timestamps, remote_addr.version(), &env.config, path_mtu);
        let opening = Opening {
            key: Key::new(local, established.local_port, remote_addr, established.remote_port),
            path: Path::Flow(flow),
            state: State::Established,
            snd_una: established.snd_nxt,
            snd_nxt: established.snd_nxt,
            ts_offset: established.ts_value.wrapping_sub(env.now.millis() as u32),
            mss,
        };
        let opened = if is_believed(flow) { self.connections.open(&opening, env) } else { None };
        let Some((slot, connection)) = opened else {
            env.counters.connections_full += 1;
            return abort(env, flow, established);
        };
        take_state(env, connection, established);
        connection.tcb.may_be_fragmented = path_mtu.is_some_and(|path| path.fragmented);
        env.channel.bind(flow, slot);
        env.counters.channel_established += 1;
        let ends = FourTuple {
            local_addr: established.local_addr,
            remote_addr,
            local_port: established.local_port,
            remote_port: established.remote_port,
        };
        input::establish(env, slot, connection, app, &ends);
        if header.flags.has(MessageFlags::FIRST_DATA) {
            let data = &packet[usize::from(established.data_at)..];
            if established.data_at > 0 && input::expects_first(connection, data) {
                return match input::take_first(env, connection, app, data) {
                    After::Output => env.mark(slot, connection),
                    after => self.follow(app, slot, after),
                };
            }
            self.flow_packet(app, slot, header.flags, packet);
        }
        self.without_first_data(slot);
    }

    fn closed_arrived(&mut self, app: &mut A, body: &[u8]) {
        let Ok(closed) = Closed::parse(body) else {
            self.env.counters.channel_malformed += 1;
            return;
        };
        for ClosedEntry { flow, handle, reason } in closed.entries() {
            let Some(slot) = self.flow_slot(flow, handle) else {
                self.env.counters.channel_closed_gone += 1;
                continue;
            };
            let reason = match reason {
                ClosedReason::HandedOver => {
                    self.env.counters.channel_offers_taken += 1;
                    self.env.counters.channel_closes += 1;
                    self.env.counters.bytes_sent += self.connections.slot(slot).unsent() as u64;
                    EndReason::Closed
                }
                ClosedReason::Refused => {
                    self.hand_over_refused(app, slot);
                    continue;
                }
                ClosedReason::PeerClosed => {
                    self.env.counters.channel_closed_by_peer += 1;
                    EndReason::Closed
                }
                ClosedReason::Finished => EndReason::Closed,
                ClosedReason::Reset => EndReason::Reset,
                ClosedReason::TimedOut => EndReason::TimedOut,
                ClosedReason::Unknown => EndReason::Aborted,
            };
            self.env.counters.channel_closed_known += 1;
            self.end_without_telling(app, slot, reason);
        }
    }

    /// The firmware has no room for what it was offered: the connection goes on here.
    #[cold]
    fn hand_over_refused(&mut self, app: &mut A, slot: u32) {
        let tcb = &mut self.connections.slot(slot).tcb;
        if tcb.hand_over != HandOver::Offered {
            self.env.counters.channel_stale += 1;
            return;
        }
        self.env.counters.channel_offers_refused += 1;
        tcb.hand_over = HandOver::Refused;
        if tcb.flight() == 0 {
            // The deadline was for the answer.
            tcb.rtx_deadline = Instant::FAR_FUTURE;
        }
        self.follow(app, slot, After::Output);
    }
}

/// Takes over what the firmware has agreed on with the peer.
#[inline]
fn take_state<F, S>(env: &Env<F>, connection: &mut Connection<S>, established: &Established) {
    let tcb = &mut connection.tcb;
    tcb.rcv_nxt = established.rcv_nxt;
    tcb.rcv_acked = established.rcv_nxt;
    tcb.rcv_right = established.rcv_nxt + env.config.receive_window.min(0xffff);
    tcb.snd_wl1 = established.rcv_nxt;
    tcb.snd_wl2 = established.snd_nxt;
    // The firmware's SYN-ACK: no time without output has passed that would shrink the window.
    tcb.sent_at = env.now;
    tcb.snd_scale = established.snd_scale;
    tcb.rcv_scale = established.rcv_scale;
    // Written once: read again soon, halves that were written apart would have to meet in memory first.
    let mut flags = Flags::default();
    if established.window_scaling {
        flags.set(Flags::SCALE);
    }
    if established.sack {
        flags.set(Flags::SACK);
    }
    if established.timestamps {
        flags.set(Flags::TIMESTAMPS);
    }
    tcb.flags = flags;
    if established.timestamps {
        tcb.ts_recent = established.ts_recent;
        connection.ts_recent_s = (env.now.millis() / 1000) as u32;
    }
    connection.set_snd_wnd(established.snd_wnd);
}

fn abort<F>(env: &mut Env<F>, flow: FlowId, established: &Established) {
    env.counters.channel_aborts += 1;
    let (snd_nxt, rcv_nxt) = (established.snd_nxt, established.rcv_nxt);
    env.controls.push_back(Control::Abort { flow, handle: NO_HANDLE, snd_nxt, rcv_nxt });
}
