//! `mayfly-nic top`: what the firmware does now, as rates between two looks at its counters.

use std::collections::HashMap;
use std::fmt::Write as _;

use nicfw::{Event, State};

/// Reasons why those who wanted to connect, or to go on, were turned away.
const REFUSED: &[Event] = &[
    Event::ConnectionsMax,
    Event::HostBehind,
    Event::NetworkFlowsMax,
    Event::NetworkSynRate,
    Event::BacklogEvicted,
    Event::FlowTableFull,
    Event::CookieRefused,
    Event::CookieSpent,
    Event::HostAbsentRefused,
];

/// Reasons why frames were dropped.
const DROPPED: &[Event] = &[
    Event::WireQueueFull,
    Event::HostQueueFull,
    Event::HostAbsentDropped,
    Event::PoolEmpty,
    Event::NewcomerDropped,
    Event::FragmentDropped,
    Event::Malformed,
    Event::BadChecksum,
    Event::SynUnusable,
    Event::FirstDataMissing,
    Event::NoFlowDropped,
    Event::Unacceptable,
    Event::TimestampMissing,
    Event::ResetIgnored,
    Event::DataHeldOff,
    Event::ChannelStale,
    Event::ChannelVersion,
    Event::ChannelMalformed,
    Event::ChannelFromWire,
    Event::ChannelUnknownFlow,
];

/// The same, by the device at the wire.
const DEVICE_DROPPED: &[&str] = &[
    "device_rx_missed",
    "device_rx_no_frame",
    "device_rx_errors",
    "device_rx_unusable",
    "device_rx_other_vlan",
    "device_tx_errors",
];

/// An answer to `STATUS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(HashMap<String, String>);

impl Snapshot {
    /// Reads lines `name:value`.
    pub(crate) fn new(lines: &[String]) -> Self {
        let fields = lines.iter().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("-", String::as_str)
    }

    /// A counter's value; one that is not there counts nothing.
    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn event(&self, event: Event) -> u64 {
        self.number(&format!("firmware_{}", event.name()))
    }

    /// When it was taken, in µs since the start of the firmware.
    fn at_us(&self) -> u64 {
        self.number("nic_at_us")
    }

    /// Connections that have ended: all but those that are there.
    fn ended(&self) -> u64 {
        self.event(Event::CookieAccepted).saturating_sub(self.number("firmware_flows_now"))
    }
}

/// What happened between two looks.
#[derive(Debug)]
pub(crate) struct Interval<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
}

impl<'a> Interval<'a> {
    /// `None`: no time has passed in the firmware between them, or it was started anew.
    pub(crate) fn between(before: &'a Snapshot, after: &'a Snapshot) -> Option<Self> {
        (after.at_us() > before.at_us()).then_some(Self { before, after })
    }

    fn seconds(&self) -> f64 {
        (self.after.at_us() - self.before.at_us()) as f64 / 1e6
    }

    /// How much `of` grew in a second.
    fn rate(&self, of: impl Fn(&Snapshot) -> u64) -> f64 {
        of(self.after).saturating_sub(of(self.before)) as f64 / self.seconds()
    }

    /// Share of the core's time that was spent on work, in percent.
    fn busy(&self) -> f64 {
        let hz = self.after.number("tsc_hz").max(1);
        100.0 * self.rate(|look| look.number("nic_busy_cycles")) / hz as f64
    }

    /// The view: lines of at most 80 columns, as long as numbers are of reasonable size.
    pub(crate) fn view(&self) -> String {
        let now = self.after;
        let up = now.at_us() / 1_000_000;
        let mut out = format!(
            "mayfly-nic  wire {}, host {}, offload {}, up {}:{:02}:{:02}\n",
            now.text("wire"),
            now.text("host"),
            now.text("offload"),
            up / 3600,
            up / 60 % 60,
            up % 60
        );
        let (served, queues) = (now.number("firmware_queues_served_now"), now.text("host_queues"));
        let host = if served == 0 { "nobody is attached" } else { "attached" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "core        {:.1} % busy; host: {host}, {served} of {queues} queues served",
            self.busy()
        );
        let held: Vec<_> = State::ALL
            .iter()
            .map(|state| (state.name(), now.number(&format!("firmware_{}", state.gauge_name()))))
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {}", grouped(count)))
            .collect();
        let _ = writeln!(
            out,
            "now         {} flows{}{}; {} in TIME_WAIT, {} spent, {} frames retained",
            grouped(now.number("firmware_flows_now")),
            if held.is_empty() { "" } else { ": " },
            held.join(", "),
            grouped(now.number("firmware_time_wait_now")),
            grouped(now.number("firmware_spent_now")),
            grouped(now.number("firmware_retained_now")),
        );
        let _ = writeln!(out, "\n{:<32}{:>16}{:>20}", "", "per second", "since the start");
        if now.text("offload") == "none" {
            out.push_str("connections are the host's at --offload none\n");
        } else {
            self.line(&mut out, "new connections", |look| look.event(Event::CookieAccepted));
            self.line(&mut out, "ended", Snapshot::ended);
            let reasons = REFUSED.iter().map(|&event| format!("firmware_{}", event.name()));
            self.reasons(&mut out, "refused", &reasons.collect::<Vec<_>>());
        }
        for (name, counter) in [
            ("frames from the wire", "firmware_wire_received"),
            ("frames to the wire", "firmware_wire_sent"),
            ("bytes from the wire", "device_rx_bytes"),
            ("bytes to the wire", "device_tx_bytes"),
            ("frames from the host", "firmware_host_received"),
            ("frames to the host", "firmware_host_sent"),
        ] {
            self.line(&mut out, name, |look| look.number(counter));
        }
        let reasons = DROPPED.iter().map(|&event| format!("firmware_{}", event.name()));
        let device = DEVICE_DROPPED.iter().map(|&name| name.to_owned());
        self.reasons(&mut out, "frames dropped", &reasons.chain(device).collect::<Vec<_>>());
        out
    }

    fn line(&self, out: &mut String, name: &str, of: impl Fn(&Snapshot) -> u64) {
        let (rate, total) = (self.rate(&of).round() as u64, of(self.after));
        let _ = writeln!(out, "{name:<32}{:>16}{:>20}", grouped(rate), grouped(total));
    }

    /// The sum of `counters`, and those of them that have counted anything.
    fn reasons(&self, out: &mut String, name: &str, counters: &[String]) {
        self.line(out, name, |look| counters.iter().map(|counter| look.number(counter)).sum());
        for counter in counters.iter().filter(|counter| self.after.number(counter) > 0) {
            let shown = counter.strip_prefix("firmware_").unwrap_or(counter);
            self.line(out, &format!("  {shown}"), |look| look.number(counter));
        }
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Snapshot {
        Snapshot::new(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rates_are_per_second_of_the_firmwares_time() {
        let before = look("nic_at_us:1000000 tsc_hz:1000 nic_busy_cycles:100 firmware_cookie_accepted:10");
        let after = look(
            "wire:packet:eth1 host:vhost:/run/m.sock host_queues:2 offload:lifecycle nic_at_us:3500000 tsc_hz:1000 \
             nic_busy_cycles:1350 firmware_cookie_accepted:5010 firmware_flows_now:4 firmware_flows_established:3 \
             firmware_flows_waiting:1 firmware_queues_served_now:1 firmware_connections_max:5 device_rx_missed:50",
        );
        let interval = Interval::between(&before, &after).unwrap();
        assert_eq!(interval.rate(|look| look.event(Event::CookieAccepted)), 2000.0);
        assert_eq!(interval.busy(), 50.0);
        let view = interval.view();
        let squeezed: Vec<String> =
            view.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "mayfly-nic wire packet:eth1, host vhost:/run/m.sock, offload lifecycle, up 0:00:03",
            "core 50.0 % busy; host: attached, 1 of 2 queues served",
            "now 4 flows: waiting 1, established 3; 0 in TIME_WAIT, 0 spent, 0 frames retained",
            "new connections 2,000 5,010",
            "ended 1,998 5,006",
            "refused 2 5",
            "connections_max 2 5",
            "frames dropped 20 50",
            "device_rx_missed 20 50",
        ] {
            assert!(squeezed.iter().any(|shown| shown == line), "no {line:?} in\n{view}");
        }
        assert!(!view.contains("host_behind"), "what never happened is not shown:\n{view}");
        assert!(Interval::between(&after, &before).is_none(), "started anew");
        assert!(Interval::between(&after, &after).is_none(), "no time has passed");
    }

    #[test]
    fn what_is_dropped_or_refused_has_its_place() {
        // How somebody was refused, and what is refused to the host.
        let elsewhere = [Event::RefusedSilently, Event::HandOverRefused, Event::ListenRefused];
        for &event in Event::ALL {
            let said = event.description();
            if (said.contains("dropped") || said.contains("refused")) && !elsewhere.contains(&event) {
                assert!(DROPPED.contains(&event) != REFUSED.contains(&event), "{event:?}: {said}");
            }
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
    }
}
