//! What happened, counted: every event and every reason for a drop, readable at any time.

use crate::flow_table::State;

macro_rules! events {
    ($($variant:ident $name:literal $description:literal)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Event { $(#[doc = $description] $variant,)* }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The counter's name: lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// What is counted, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

events! {
    WireReceived "wire_received" "Frames received from the wire."
    WireSent "wire_sent" "Frames queued for the wire."
    WireQueueFull "wire_queue_full" "Frames dropped because too many waited for the wire."
    HostReceived "host_received" "Frames received from the host."
    HostSent "host_sent" "Frames queued for the host."
    HostQueueFull "host_queue_full" "Frames dropped because too many waited for the host; peers retransmit."
    PoolEmpty "pool_empty" "Frames that could not be made because the pool was exhausted."
    RawToHost "raw_to_host" "Frames handed to the host as they came."
    RawToWire "raw_to_wire" "Frames of the host sent as they came."
    Fragment "fragment" "IP fragments."
    FragmentDropped "fragment_dropped" "Fragments dropped: senseless, repeated, overlapping, or of a packet larger than a frame."
    Reassembled "reassembled" "Packets put together from fragments."
    IcmpToHost "icmp_to_host" "ICMP errors about flows that the host holds, handed to it."
    IcmpMtuLowered "icmp_mtu_lowered" "Flows being closed whose segments became smaller after an ICMP error."
    IcmpIgnored "icmp_ignored" "ICMP errors about flows being closed that nothing follows from."
    Malformed "malformed" "Frames dropped because an IP or TCP header was malformed."
    BadChecksum "bad_checksum" "Segments dropped because the TCP checksum was wrong."
    SynReceived "syn_received" "SYNs answered with a cookie."
    SynUnusable "syn_unusable" "SYNs dropped: impossible source, or SYN together with FIN or RST."
    CookieAccepted "cookie_accepted" "Connections opened by a valid cookie."
    CookieRefused "cookie_refused" "ACKs without flow and without valid cookie, answered with RST."
    FirstDataMissing "first_data_missing" "Later segments of a handshake whose first data is not there yet, dropped; peers retransmit."
    CookieSpent "cookie_spent" "Old segments of an ended connection whose cookie is still valid, refused."
    NoFlowDropped "no_flow_dropped" "Segments without flow that ask for no answer, dropped."
    FlowTableFull "flow_table_full" "Valid cookies dropped because the flow table was full; peers retransmit."
    BacklogEvicted "backlog_evicted" "Waiting flows reset because the listener's backlog was full."
    ConnectionsMax "connections_max" "Connections refused because their port had as many as its listener wants."
    HostBehind "host_behind" "Connections refused because their queue's host had too many that it has not answered."
    NetworkFlowsMax "network_flows_max" "Connections refused because their source network had as many as one may have."
    NetworkSynRate "network_syn_rate" "SYNs dropped because their source network had spent its budget of SYN-ACKs."
    NetworkUncounted "network_uncounted" "SYNs and connections let through uncounted: no place for one more network."
    NewcomerDropped "newcomer_dropped" "Answers to those without a flow dropped: what room is left for the wire is for flows."
    RefusedReset "refused_reset" "Refusals by RST."
    RefusedSilently "refused_silently" "Refusals by silence: SYNs and first data dropped; peers try again."
    RefusedWithError "refused_with_error" "Refusals by a Redis error."
    WaitingProbed "waiting_probed" "Probes sent to silent peers of flows that the host has not heard of."
    WaitingTimedOut "waiting_timed_out" "Flows that the host never heard of, given up because probes had no answer."
    WaitingExpired "waiting_expired" "Flows that the host never heard of, reset because no data came in the time that is allowed."
    WaitingClosed "waiting_closed" "Flows that the peer closed before it sent data; the host never heard of them."
    Unacceptable "unacceptable" "Segments dropped because they lay outside the window or failed PAWS."
    TimestampMissing "timestamp_missing" "Segments dropped because they lacked the timestamps that were agreed on."
    EstablishedSent "established_sent" "Connections announced to the host."
    EstablishedDelayed "established_delayed" "Announcements put off because the host's queue was full."
    SteeredByKey "steered_by_key" "Connections whose queue the key of their first request decided."
    SteeredByTuple "steered_by_tuple" "Connections without a key to be told, at steering by key: their addresses and ports decided."
    IndirectionChanged "indirection_changed" "Changes of the table from hash to queue."
    SegmentToHost "segment_to_host" "Segments handed to the host."
    SegmentToWire "segment_to_wire" "Segments of the host sent."
    PassiveClose "passive_close" "Connections that the peer closed and the firmware finished."
    ActiveClose "active_close" "Connections whose end the host handed over."
    HandOverTaken "hand_over_taken" "Connections taken over in pieces; the host was told."
    HandOverRefused "hand_over_refused" "Hand-overs refused: no place for a piece, too much for a flow, or a gap; the host was told and went on."
    HandOverIncomplete "hand_over_incomplete" "Begun hand-overs thrown away: the host began anew, went on by itself, or the flow ended."
    Aborted "aborted" "Connections that the host reset."
    ResetReceived "reset_received" "Connections ended by a valid RST."
    ResetIgnored "reset_ignored" "RSTs dropped: outside the window, or in TIME_WAIT."
    ResetSent "reset_sent" "RSTs sent."
    ChallengeSent "challenge_sent" "Challenge ACKs sent (RFC 5961)."
    ChallengeLimited "challenge_limited" "Challenge ACKs not sent because of their rate limit."
    DataAfterClose "data_after_close" "Connections reset because data came after the host had closed."
    DataHeldOff "data_held_off" "Segments with data after the host's close, dropped because last data of ours is still on its way."
    FinCrossed "fin_crossed" "FINs of peers that the host had not read when it closed, found when the firmware took over."
    Retransmitted "retransmitted" "Last data and FINs sent again."
    FastRetransmitted "fast_retransmitted" "Last data sent again after three duplicate acknowledgments."
    TimedOut "timed_out" "Connections given up after too many retransmissions, or in FIN_WAIT_2."
    UserTimedOut "user_timed_out" "Closing connections given up because their peer acknowledged nothing new in the user timeout."
    RetainLetGo "retain_let_go" "Frames of last data let go, of the peer that had taken nothing for the longest, because as many were kept as may be."
    RetainGivenUp "retain_given_up" "Connections reset because their last data would have been needed again and had been let go."
    TimeWaitEvicted "time_wait_evicted" "Ended connections forgotten early to make room."
    TimeWaitAnswered "time_wait_answered" "ACKs sent again for connections in TIME_WAIT."
    TimeWaitLimited "time_wait_limited" "Segments for connections in TIME_WAIT not answered because of their rate limit."
    TimeWaitReused "time_wait_reused" "SYNs answered for a connection in TIME_WAIT (RFC 6191)."
    ClosedSent "closed_sent" "Ends of connections reported to the host."
    HelloReceived "hello_received" "HELLOs of the host."
    HelloSent "hello_sent" "HELLOs to the host."
    HostRestarted "host_restarted" "New lives of the host: its flows were reset."
    HostGone "host_gone" "Hosts given up because nobody was at their port's other end."
    HostSilent "host_silent" "Hosts given up because nothing was heard of them."
    HostNewsLost "host_news_lost" "Hosts given up because the link had lost news of theirs."
    HostAbsentRefused "host_absent_refused" "Connections and segments refused because no host was there."
    NeighbourTold "neighbour_told" "Neighbours told where an address of the last host is because no host was there."
    HostAbsentDropped "host_absent_dropped" "Frames for a host queue dropped because nobody was at its port's other end."
    RestartReset "restart_reset" "Flows reset because the host that held them is gone."
    ListenAccepted "listen_accepted" "Listeners added or changed."
    ListenRefused "listen_refused" "Listeners refused because their table was full."
    ChannelStale "channel_stale" "Messages dropped because they were meant for an earlier life of the firmware."
    ChannelVersion "channel_version" "Messages dropped because of their version."
    ChannelMalformed "channel_malformed" "Messages dropped because of their form, kind or direction."
    ChannelFromWire "channel_from_wire" "Forged messages of the channel that came from the wire, dropped."
    ChannelUnknownFlow "channel_unknown_flow" "Messages for flows that have ended."
}

const STATES: usize = State::ALL.len();

/// The counts. Gauges among them go down again; everything else only grows.
#[derive(Clone, Debug)]
pub struct Counters {
    events: [u64; Event::ALL.len()],
    pub(crate) states: [u64; STATES],
    pub(crate) time_wait: u64,
    pub(crate) spent: u64,
    pub(crate) retained: u64,
    pub(crate) listeners: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            events: [0; Event::ALL.len()],
            states: [0; STATES],
            time_wait: 0,
            spent: 0,
            retained: 0,
            listeners: 0,
        }
    }
}

impl Counters {
    #[inline]
    pub(crate) fn add(&mut self, event: Event) {
        self.events[event as usize] += 1;
    }

    /// How often `event` happened.
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize]
    }

    /// Flows that are in `state` now.
    pub fn flows_in(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// Flows in any state.
    pub fn flows(&self) -> u64 {
        self.states.iter().sum()
    }

    /// Everything that is there now and should be gone when all connections have ended and time
    /// has passed: flows, TIME_WAIT, spent cookies, retained frames. Listeners do not count.
    pub fn held(&self) -> u64 {
        self.flows() + self.time_wait + self.spent + self.retained
    }

    /// Every counter and gauge: name, description, value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let events = Event::ALL.iter().map(|&event| (event.name(), event.description(), self.count(event)));
        let states =
            State::ALL.iter().map(|&state| (state.gauge_name(), state.description(), self.flows_in(state)));
        let gauges = [
            ("time_wait_now", "Connections in TIME_WAIT.", self.time_wait),
            ("spent_now", "Ended connections kept so that their cookies are not taken again.", self.spent),
            ("retained_now", "Frames kept for retransmission.", self.retained),
            ("listeners_now", "Addresses and ports listened on.", self.listeners),
        ];
        events.chain(states).chain(gauges)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        let counters = Counters::default();
        let names: BTreeSet<_> = counters.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), counters.iter().count());
        assert!(counters.iter().all(|(_, description, _)| description.ends_with('.')));
    }
}
