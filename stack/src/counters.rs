//! A counter for every event and every reason to drop something. Declared once, each with its
//! description; subscribers iterate.

macro_rules! counters {
    ($($name:ident: $description:literal,)*) => {
        /// Counts since the start.
        #[derive(Clone, Debug, Default)]
        pub struct Counters {
            $(#[doc = $description] pub $name: u64,)*
        }
        impl Counters {
            /// Name, description and value of each counter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + use<> {
                [$((stringify!($name), $description, self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    frames_received: "Frames taken from the port",
    frames_sent: "Frames given to the port",
    frames_malformed: "Received frames without a whole Ethernet header",
    frames_other_destination: "Received frames for another hardware address",
    frames_other_type: "Received frames of a type that we do not speak",
    ip_malformed: "Received packets with a broken or refused IP header",
    ip_fragments: "Received fragments of IP packets",
    ip_fragments_dropped: "Fragments dropped: senseless, repeated, overlapping, or of a packet larger than our MTU",
    ip_reassembled: "Packets put together from fragments",
    ip_other_destination: "Received packets for another address",
    ip_bad_source: "Received packets whose source cannot be answered",
    ip_other_protocol: "Received packets of a protocol that we do not speak",
    tcp_malformed: "Received segments with a broken header",
    tcp_bad_checksum: "Received segments with a wrong checksum",
    segments_received: "TCP segments received",
    segments_sent: "TCP segments sent",
    segments_predicted: "Received segments that took the fast path",
    bytes_received: "Payload bytes given to the application",
    bytes_sent: "Payload bytes sent for the first time",
    connections_accepted: "Connections that peers opened",
    connections_opened: "Connections that we opened",
    connections_closed: "Connections that ended in order",
    connections_reset: "Connections that the peer reset",
    connections_timed_out: "Connections whose peer stopped answering",
    connections_aborted: "Connections that we reset",
    connections_unread: "Connections that were closed before all of their input was read",
    connections_refused: "Active opens that the peer refused, or whose peer has no neighbour entry",
    connections_full: "Connections refused because the table is full",
    listen_unusable: "Segments for a listener that neither open a connection nor belong to one",
    listen_not_announced: "SYNs that came past the firmware, which does not know the listener yet",
    cookies_sent: "SYNs answered with a cookie because too many connections are half-open",
    cookies_accepted: "Connections opened by a cookie that came back",
    cookies_later: "Segments behind the first one of a handshake with a cookie, which is missing",
    cookies_refused: "Segments of no connection whose cookie is wrong or too old",
    syn_received_reset: "Half-open connections that the peer reset or that timed out",
    unacceptable: "Segments outside the receive window",
    paws_rejected: "Segments refused by PAWS (RFC 7323 §5)",
    timestamp_missing: "Segments without the timestamps that were agreed on",
    challenge_acks: "Challenge acknowledgments (RFC 5961)",
    challenge_acks_limited: "Challenge acknowledgments left out because of their limit",
    answers_limited: "Acknowledgments of empty segments that do not fit, left out because of their limit",
    ack_of_unsent: "Segments that acknowledge what was never sent",
    ack_missing: "Segments without ACK",
    out_of_order: "Segments kept until the gap before them is filled",
    duplicates_received: "Segments with data that had arrived before",
    out_of_order_dropped: "Segments out of order that found no room",
    out_of_order_no_memory: "Segments out of order dropped because all that waits takes too much memory",
    held_no_memory: "Segments for a waiting application dropped because all that waits takes too much memory",
    duplicate_acks: "Duplicate acknowledgments received",
    retransmissions: "Segments sent again",
    retransmission_timeouts: "Expiries of the retransmission timer",
    retransmissions_doubted: "Connections that began to doubt their route (R1 of RFC 9293 §3.8.3)",
    fast_retransmits: "Times that losses were found before a timeout, and fast recovery began",
    loss_probes: "Tail loss probes sent (RFC 8985 §7)",
    loss_probe_repairs: "Tail loss probes that repaired a loss",
    spurious_recoveries: "Fast recoveries taken back: what was sent again had arrived (RFC 3522)",
    spurious_timeouts: "Timeouts taken back: what was sent again had arrived (RFC 3522)",
    duplicates_reported: "Acknowledgments that report something received twice (RFC 2883)",
    zero_window_probes: "Zero-window probes sent",
    keepalive_probes: "Keepalive probes sent",
    congestion_marks: "Segments that a router has marked (ECN, RFC 3168)",
    congestion_echoes: "Times that the peer told of congestion marks, and the window shrank",
    urgent_received: "Segments with an urgent pointer; the data itself is ordinary",
    urgent_reported: "Urgent pointers that the application was told of",
    resets_sent: "RST segments sent",
    resets_received: "RST segments taken",
    bare_dropped: "Segments of no connection that were dropped because too many waited",
    closed_port: "Segments for no connection and no listener",
    time_wait_entered: "Connections that went to TIME_WAIT",
    time_wait_reused: "Names taken out of TIME_WAIT early (RFC 6191)",
    time_wait_evicted: "Entries pushed out of TIME_WAIT by newer ones",
    neighbours_asked: "Questions for a neighbour's hardware address sent (ARP, NDP)",
    neighbours_told: "Questions for our own hardware address answered (ARP, NDP)",
    neighbours_ignored: "Answers of neighbours that nobody had asked for",
    arp_malformed: "Broken ARP packets received",
    address_conflicts: "Signs that another host uses an address of ours",
    neighbours_evicted: "Neighbours pushed out by newer ones",
    icmp_echo: "Echo requests answered",
    icmp_malformed: "Broken ICMP messages received",
    icmp_mtu_lowered: "Connections whose segments became smaller after 'fragmentation needed' or 'packet too big'",
    icmp_soft: "ICMP errors about our segments that end nothing",
    icmp_hard: "Active opens given up because of an ICMP error",
    icmp_ignored: "ICMP messages that nothing follows from",
    icmp_errors_sent: "ICMP errors sent",
    icmp_errors_limited: "ICMP errors left out because of their limit",
    pool_empty: "Times that no frame was to be had",
    tx_queue_full: "Times that output had to wait for the port",
    channel_malformed: "Broken messages of the channel",
    channel_wrong_version: "Messages of another version of the channel",
    channel_unexpected: "Messages of a kind that a host does not get",
    channel_wrong_epoch: "Messages for an earlier life of this host",
    channel_stale: "Messages for a flow that is not held any more",
    channel_mismatch: "Messages whose packet belongs to another connection",
    channel_established: "Connections that the firmware handed over",
    channel_established_again: "ESTABLISHED for a flow that is already held",
    channel_closes: "CLOSE handed to the firmware",
    channel_offers: "Connections offered to the firmware in pieces, and kept until it answers",
    channel_offers_taken: "Such connections that the firmware took over",
    channel_offers_refused: "Such connections that the firmware refused: they went on here",
    channel_offers_broken_off: "Such connections that stayed here because frames ran out before all was offered",
    channel_offers_unanswered: "Such connections that went on here because no answer came",
    channel_offered: "Segments dropped because the connection was offered to the firmware",
    channel_aborts: "ABORT handed to the firmware",
    channel_closed_by_peer: "Connections that the firmware finished after the peer",
    channel_closed_known: "CLOSED for a connection that was still here",
    channel_closed_gone: "CLOSED for a flow that was handed over before",
    channel_resets: "Times that the firmware came up new, or had given this host up, and all flows were forgotten",
    channel_news_lost: "Times that the link to the firmware had lost news and all flows were forgotten",
    channel_silences: "Times that the firmware was found gone and all flows were forgotten",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_are_unique() {
        let all: alloc::vec::Vec<_> = Counters::default().iter().collect();
        for (at, (name, description, value)) in all.iter().enumerate() {
            assert_eq!(*value, 0);
            assert!(all[..at].iter().all(|(n, d, _)| n != name && d != description), "{name}");
        }
    }
}
