//! ICMP errors about flows (RFC 5927): the host hears of those about its flows, since it alone
//! knows what is in flight there; what is being closed here gets smaller segments if it must.

use netcore::{FourTuple, Frame, FramePool};
use protocol::channel::{Header, Kind};
use protocol::ethernet;
use protocol::icmp_error::{self, IcmpError, Meaning, PathMtu};
use protocol::tcp;

use crate::counters::Event;
use crate::firmware::{Firmware, Found};
use crate::flow_table::{FlowFlags, State};

impl<F: Frame> Firmware<F> {
    /// An ICMP packet from the wire.
    #[cold]
    pub(crate) fn icmp<P: FramePool<Frame = F>>(&mut self, frame: F, pool: &mut P) {
        let error = icmp_error::read(&frame.bytes()[ethernet::HEADER_LEN..]);
        let found = error.as_ref().map(|error| {
            self.find(&FourTuple {
                local_addr: error.src,
                remote_addr: error.dst,
                local_port: error.src_port,
                remote_port: error.dst_port,
            })
        });
        let (Some(error), Some(Found::Flow(slot))) = (error, found) else {
            // Echo, neighbours, and errors about what is not ours.
            return self.other_to_host(frame, pool);
        };
        match self.flows[slot].state {
            State::Established => self.icmp_to_host(slot, frame),
            State::FinWait1 | State::Closing | State::LastAck => self.icmp_while_closing(slot, &error, pool),
            // Nothing of ours is in flight.
            State::Waiting | State::Announcing | State::FinWait2 | State::Ended => {
                self.counters.add(Event::IcmpIgnored);
            }
        }
    }

    fn icmp_to_host(&mut self, slot: u32, mut frame: F) {
        let flow = &self.flows[slot];
        let queue = flow.queue;
        let header = Header {
            flow: self.flows.id(slot),
            handle: flow.handle,
            ..Header::new(Kind::IcmpError, self.channel.queues[usize::from(queue)].epoch)
        };
        let len_behind = frame.bytes().len() - ethernet::HEADER_LEN;
        if self.put_header(&mut frame, &header, len_behind, 0) {
            self.counters.add(Event::IcmpToHost);
            self.data_to_host(queue, frame);
        }
    }

    /// RFC 1191 §6.3, RFC 8201 §4; RFC 5927 §4.1: only about what is in flight. Other errors end
    /// nothing: the timers do (RFC 9293 §3.9.2.2 MUST-56).
    fn icmp_while_closing<P: FramePool<Frame = F>>(&mut self, slot: u32, error: &IcmpError, pool: &mut P) {
        let flow = &mut self.flows[slot];
        let in_flight = error.seq.in_window(flow.snd_una, flow.snd_nxt.distance_from(flow.snd_una));
        let version = flow.tuple.local_addr.version();
        let path = match error.meaning {
            Meaning::TooBig { mtu } => {
                PathMtu::of(mtu.unwrap_or_else(|| icmp_error::plateau_below(error.packet_len)), version)
            }
            Meaning::Hard | Meaning::Soft => None,
        };
        let path = path.filter(|_| in_flight);
        if !path.is_some_and(|path| path.narrow(version, 0, &mut flow.mss, &mut flow.may_be_fragmented)) {
            return self.counters.add(Event::IcmpIgnored);
        }
        self.counters.add(Event::IcmpMtuLowered);
        if self.has_chain(slot) {
            return self.chain_path_narrowed(slot, pool);
        }
        self.transmit(slot, false, pool);
    }

    /// Payload bytes that a segment of this flow may have.
    pub(crate) fn segment_max(&self, slot: u32) -> u32 {
        let flow = &self.flows[slot];
        let options = if flow.flags.has(FlowFlags::TIMESTAMPS) { tcp::TIMESTAMPS_LEN as u32 } else { 0 };
        u32::from(flow.mss).saturating_sub(options).max(1)
    }
}
