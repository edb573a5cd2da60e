//! Packets that arrive: whom they are for, what they carry, and ICMP's news of our own.

use netcore::fragments::Taken;
use netcore::{Frame, Instant};
use protocol::Malformed;
use protocol::ethernet::{self, EtherType};
use protocol::icmp_error::{self, Complaint, IcmpError, Meaning, PathMtu};
use protocol::ip::{self, Version};
use protocol::ipv4::{PROTOCOL_ICMP, PROTOCOL_TCP};
use protocol::ipv6::{self, NEXT_ICMP};
use protocol::tcp;

use super::{arp, icmp};
use crate::app::{App, EndReason, NetworkError, Report};
use crate::input::After;
use crate::recovery;
use crate::round::Stack;
use crate::state::State;
use crate::tcb::{Flags, Key, Path};
use crate::timers;

/// Protocol number of UDP, of which we say that nobody listens.
const PROTOCOL_UDP: u8 = 17;

impl<F: Frame, A: App> Stack<F, A> {
    pub(crate) fn arp_arrived(&mut self, frame: F) {
        if arp::arrived(&mut self.env, frame) {
            self.neighbour_found();
        }
    }

    /// Takes a frame with an IP packet.
    #[inline]
    pub(crate) fn ip_arrived(&mut self, app: &mut A, frame: F, link: &ethernet::Header) {
        self.packet_arrived(app, frame, link, false);
    }

    fn packet_arrived(&mut self, app: &mut A, frame: F, link: &ethernet::Header, fragmented: bool) {
        let env = &mut self.env;
        let packet = &frame.bytes()[ethernet::HEADER_LEN..];
        let ip = match ip::Header::parse(packet) {
            Ok(ip) if ip::ether_type(ip.src.version()) == link.ether_type => ip,
            Ok(_) => {
                env.counters.ip_malformed += 1;
                return;
            }
            Err(why) => {
                env.counters.ip_malformed += 1;
                if why == Malformed::Value && link.ether_type == EtherType::Ipv6 {
                    self.refuse_extension(frame, link);
                }
                return;
            }
        };
        let local = env.config.local(ip.dst);
        if ip.protocol == NEXT_ICMP
            && ip.src.version() == Version::V6
            && (local.is_some() || ip.dst.is_group())
        {
            let verdict = icmp::arrived_v6(env, frame, &ip, link.src, fragmented);
            return self.follow_icmp(app, verdict);
        }
        // RFC 9293 §3.9.2.3 MUST-57: what is for a group is not for us.
        let Some(local) = local.filter(|_| !link.dst.is_multicast()) else {
            env.counters.ip_other_destination += 1;
            return;
        };
        // RFC 9293 §3.9.2.3 MUST-63: never answer who cannot be one host (RFC 1122 §3.2.1.3).
        if !env.config.is_unicast_source(ip.src) || link.src.is_multicast() {
            env.counters.ip_bad_source += 1;
            return;
        }
        if ip.fragment {
            return self.fragment_arrived(app, frame, link);
        }
        match ip.protocol {
            PROTOCOL_TCP => {
                let segment = &packet[ip.header_len..ip.total_len];
                let verdict = frame.rx_checksum();
                if let Some((segment, payload)) = env.parse_segment(&ip, segment, verdict, Some(link.src)) {
                    let (src_port, dst_port) = (segment.header.src_port, segment.header.dst_port);
                    let key = Key::new(local, dst_port, ip.src, src_port);
                    self.segment_on_wire(app, key, &segment, payload, link.src);
                }
                self.env.recycle(frame);
            }
            PROTOCOL_ICMP if ip.src.version() == Version::V4 => {
                let verdict = icmp::arrived_v4(env, frame, &ip, link.src);
                self.follow_icmp(app, verdict);
            }
            other => {
                env.counters.ip_other_protocol += 1;
                self.refuse_protocol(frame, link, &ip, other);
            }
        }
    }

    #[cold]
    fn fragment_arrived(&mut self, app: &mut A, frame: F, link: &ethernet::Header) {
        self.env.counters.ip_fragments += 1;
        match self.env.fragments.take(frame, self.env.now) {
            Taken::Kept => {}
            Taken::Dropped => self.env.counters.ip_fragments_dropped += 1,
            Taken::Whole(frame) => {
                self.env.counters.ip_reassembled += 1;
                self.packet_arrived(app, frame, link, true);
            }
        }
    }

    /// RFC 1122 §3.2.2.1, RFC 8200 §4: who speaks what nobody understands here is told.
    #[cold]
    fn refuse_protocol(&mut self, frame: F, link: &ethernet::Header, ip: &ip::Header, protocol: u8) {
        let complaint = match (protocol, ip.src.version()) {
            (PROTOCOL_UDP, _) => Complaint::Port,
            (_, Version::V4) => Complaint::Protocol,
            // RFC 8200 §4.7: there is nothing that could be understood.
            (ipv6::NEXT_NONE, Version::V6) => return,
            (_, Version::V6) => {
                let packet = &frame.bytes()[ethernet::HEADER_LEN..];
                let Some(pointer) = ipv6::protocol_at(packet) else { return };
                Complaint::Parameter { code: 1, pointer }
            }
        };
        icmp::complain(&mut self.env, frame, (ip.dst, ip.src), complaint, link.src);
    }

    #[cold]
    fn refuse_extension(&mut self, frame: F, link: &ethernet::Header) {
        let packet = &frame.bytes()[ethernet::HEADER_LEN..];
        let (Some(problem), Some(ends)) = (ipv6::parameter_problem(packet), ipv6::ends(packet)) else {
            return;
        };
        let (src, dst) = ends;
        let us = match self.env.config.local(dst) {
            Some(_) if !link.dst.is_multicast() => Some(dst),
            _ if dst.is_group() && problem.also_to_groups => {
                self.env.config.source_for(src).map(|local| self.env.config.address(local))
            }
            _ => None,
        };
        let Some(us) = us.filter(|_| self.env.config.is_unicast_source(src)) else { return };
        let complaint = Complaint::Parameter { code: problem.code, pointer: problem.pointer };
        icmp::complain(&mut self.env, frame, (us, src), complaint, link.src);
    }

    fn follow_icmp(&mut self, app: &mut A, verdict: icmp::Verdict) {
        match verdict {
            icmp::Verdict::Nothing => {}
            icmp::Verdict::NeighbourFound => self.neighbour_found(),
            icmp::Verdict::Error(error) => {
                // RFC 9293 §3.9.2.2 MUST-54: the connection that the quoted packet belongs to.
                let local = self.env.config.local(error.src);
                let key = local.map(|local| Key::new(local, error.src_port, error.dst, error.dst_port));
                match key.and_then(|key| self.connections.find(key)) {
                    Some(slot) => self.icmp_error(app, slot, &error),
                    None => self.env.counters.icmp_ignored += 1,
                }
            }
        }
    }

    /// News of a segment of this connection (RFC 9293 §3.9.2.2, RFC 5927).
    pub(crate) fn icmp_error(&mut self, app: &mut A, slot: u32, error: &IcmpError) {
        let connection = self.connections.slot(slot);
        let tcb = &connection.tcb;
        // RFC 5927 §4.1: believed only when it quotes what is in flight.
        if !error.seq.in_window(tcb.snd_una, tcb.flight()) {
            self.env.counters.icmp_ignored += 1;
            return;
        }
        match error.meaning {
            Meaning::TooBig { mtu } => {
                let mtu = mtu.unwrap_or_else(|| icmp_error::plateau_below(error.packet_len));
                self.lower_mtu(slot, mtu);
            }
            // RFC 9293 §3.9.2.2 SHLD-26: an open is given up. RFC 5927 §5.2: nothing else, which a
            // blind attacker could end so.
            Meaning::Hard if tcb.state == State::SynSent => {
                self.env.counters.icmp_hard += 1;
                self.follow(app, slot, After::End(EndReason::Reset));
            }
            // RFC 9293 §3.9.2.2 MUST-56, SHLD-25: a soft error aborts nothing; the application hears
            // of it, and timers decide.
            Meaning::Hard | Meaning::Soft => {
                self.env.counters.icmp_soft += 1;
                if let Some(session) = connection.seat.session() {
                    app.reported(
                        session,
                        Report::Network(NetworkError { kind: error.kind, code: error.code }),
                    );
                }
            }
        }
    }

    /// RFC 1191 §6.3, RFC 8201 §4, §5.2: the segments of this connection, and those of later ones
    /// to the same host, must fit.
    fn lower_mtu(&mut self, slot: u32, mtu: usize) {
        let env = &mut self.env;
        let connection = self.connections.slot(slot);
        let tcb = &mut connection.tcb;
        let version = tcb.key.version();
        let options = if tcb.flags.has(Flags::TIMESTAMPS) { tcp::TIMESTAMPS_LEN } else { 0 };
        let narrowed = PathMtu::of(mtu, version)
            .filter(|path| path.narrow(version, options, &mut tcb.mss, &mut tcb.may_be_fragmented));
        let Some(path) = narrowed else {
            env.counters.icmp_ignored += 1;
            return;
        };
        env.counters.icmp_mtu_lowered += 1;
        // The TSval's origin is as good as a random number.
        env.path_mtus.lower(tcb.key.remote_addr(), path, tcb.ts_offset as u16, env.now);
        recovery::path_narrowed(connection, &env.config);
        env.mark(slot, connection);
    }

    /// Connections that wait for a neighbour may go on.
    fn neighbour_found(&mut self) {
        // Rare: an active open waits for its neighbour. The table's walk is not hot.
        for slot in 0..self.connections.slots() {
            let Some(connection) = self.connections.at(slot) else { continue };
            let doubts = timers::doubts_route(connection);
            if connection.tcb.path != Path::Unresolved && !doubts {
                continue;
            }
            let hop = self.env.config.next_hop(connection.tcb.key.remote_addr());
            if let Some(mac) = hop.and_then(|hop| self.env.neighbours.find(hop, self.env.now)) {
                connection.tcb.path = Path::Wire(mac);
                if doubts {
                    // Its timer goes on; only the way is another.
                    continue;
                }
                connection.tcb.unanswered = 0;
                connection.tcb.idle_deadline = Instant::FAR_FUTURE;
                self.env.mark(slot, connection);
            }
        }
    }
}
