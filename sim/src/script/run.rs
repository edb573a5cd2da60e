//! Plays a script against a subject.

use std::collections::HashMap;

use netcore::{Duration, Instant};
use protocol::tcp::{Flags, SeqNumber};

use super::icmp;
use super::parse::{Action, Script, Step, When};
use super::segment::{self, Addresses, Origin, Segment, Sent};
use super::subject::{Subject, Tolerance};

/// The peer's initial number where the script gives none: 100 numbers before the wrap.
const PEER_INITIAL: u32 = u32::MAX - 99;

struct Run<'a, S> {
    subject: &'a mut S,
    addresses: Addresses,
    tolerance: Tolerance,
    origins: HashMap<u16, Origin>,
    /// When the step before happened.
    last: Instant,
    /// Sent by the subject, not yet expected.
    pending: Option<(Instant, Sent)>,
}

/// Plays `script`; all of it must happen as written, and nothing else.
///
/// # Errors
/// The first line that differs, and how.
pub fn run(script: &Script, subject: &mut impl Subject) -> Result<(), String> {
    let addresses = subject.addresses();
    let last = subject.now();
    let tolerance = subject.tolerance();
    let mut run = Run { subject, addresses, tolerance, origins: HashMap::new(), last, pending: None };
    let ending = script.ending();
    for (at, step) in script.steps.iter().enumerate() {
        run.step(step, at >= ending).map_err(|error| format!("line {}: {error}", step.line))?;
    }
    run.nothing_pending().map_err(|error| format!("at the end: {error}"))
}

impl<S: Subject> Run<'_, S> {
    /// `ending`: nothing but quiet and checks follows.
    fn step(&mut self, step: &Step, ending: bool) -> Result<(), String> {
        match &step.action {
            Action::Inject(after, segment) => {
                self.quiet_until(self.last + *after)?;
                let origin = *self.origin(segment.peer_port);
                let frame = segment::build(segment, &origin, &self.addresses);
                self.subject.inject(&frame);
            }
            Action::InjectError(after, error) => {
                self.quiet_until(self.last + *after)?;
                let origin = *self.origin(error.quoted.peer_port);
                let frame = icmp::build(error, &origin, &self.addresses);
                self.subject.inject(&frame);
            }
            Action::Expect(when, segment) => return self.expect(*when, segment),
            Action::Silence(time) => {
                let most = if ending { self.tolerance.last_silence } else { *time };
                self.quiet_until(self.last + (*time).min(most))?;
            }
            Action::App(peer_port, command) => {
                self.nothing_pending()?;
                self.subject.command(*peer_port, command)?;
            }
            Action::Seen(peer_port, seen) => return self.subject.seen(*peer_port, seen),
            Action::PeerInitial(peer_port, number) => {
                *self.origin(*peer_port) = Origin { peer: SeqNumber(*number), ..Origin::default() };
            }
        }
        self.last = self.subject.now();
        Ok(())
    }

    fn origin(&mut self, peer_port: u16) -> &mut Origin {
        let fresh = Origin { peer: SeqNumber(PEER_INITIAL), ..Origin::default() };
        self.origins.entry(peer_port).or_insert(fresh)
    }

    /// The oldest segment that was sent and not expected yet.
    fn pending(&mut self) -> Result<Option<&(Instant, Sent)>, String> {
        while self.pending.is_none() {
            let Some((at, frame)) = self.subject.sent() else { return Ok(None) };
            let sent = segment::read(&frame, &self.addresses)
                .map_err(|error| format!("the subject sent a broken frame: {error}"))?;
            self.pending = sent.map(|sent| (at, sent));
        }
        Ok(self.pending.as_ref())
    }

    fn nothing_pending(&mut self) -> Result<(), String> {
        let Some((_, sent)) = self.pending()? else { return Ok(()) };
        let sent = sent.clone();
        Err(format!("unexpected: {}", self.show(&sent)))
    }

    /// Lets time pass in which nothing may be sent.
    fn quiet_until(&mut self, until: Instant) -> Result<(), String> {
        self.nothing_pending()?;
        while self.subject.now() < until {
            self.subject.advance(until);
            if self.pending()?.is_some() {
                let after = self.subject.now().since(self.last).micros() as f64 / 1e6;
                return self.nothing_pending().map_err(|error| format!("after {after} s, {error}"));
            }
        }
        Ok(())
    }

    fn expect(&mut self, when: When, expected: &Segment) -> Result<(), String> {
        let begin = self.last;
        let mut expected = expected.clone();
        loop {
            let (at, sent) = self.next_sent(begin, when)?;
            let port = sent.header.dst_port;
            if port != expected.peer_port {
                return Err(format!(
                    "to port {port} instead of {}: {}",
                    expected.peer_port,
                    self.show(&sent)
                ));
            }
            let origin = self.origin(port);
            if sent.header.flags.has(Flags::SYN) && expected.flags.has(Flags::SYN) && expected.seq == 0 {
                origin.subject = sent.header.seq;
                origin.port = Some(sent.header.src_port);
            }
            let origin = *origin;
            let difference = segment::difference(&expected, &sent, &origin, self.tolerance.windows);
            if let Some(timestamps) = sent.options.timestamps {
                self.origin(port).last_timestamp = timestamps.value;
            }
            self.last = at;
            let Some(difference) = difference else { return Ok(()) };
            if !self.tolerance.apart || !segment::takes_apart(&mut expected, &sent, &origin) {
                return Err(format!("{difference}: {}", self.show(&sent)));
            }
        }
    }

    /// The next segment, which has to come at its time.
    fn next_sent(&mut self, begin: Instant, when: When) -> Result<(Instant, Sent), String> {
        let Tolerance { early, late, late_now, .. } = self.tolerance;
        let late = if when.most > Duration::ZERO { late } else { late_now };
        let latest = begin + when.most + late;
        while self.pending()?.is_none() && self.subject.now() < latest {
            self.subject.advance(latest);
        }
        self.pending()?;
        let Some((at, sent)) = self.pending.take() else {
            return Err(format!("nothing was sent up to {} s", latest.since(begin).micros() as f64 / 1e6));
        };
        if at + early < begin + when.least || at > latest {
            let after = at.since(begin).micros() as f64 / 1e6;
            return Err(format!("after {after} s instead of {when:?}: {}", self.show(&sent)));
        }
        Ok((at, sent))
    }

    fn show(&mut self, sent: &Sent) -> String {
        let origin = *self.origin(sent.header.dst_port);
        let header = &sent.header;
        let seq = header.seq.distance_from(origin.subject);
        let len = sent.payload.len();
        let ack = if header.flags.has(Flags::ACK) {
            format!(" ack {}", header.ack.distance_from(origin.peer))
        } else {
            String::new()
        };
        format!(
            "> @{} {} {seq}:{}({len}){ack} win {}{}",
            header.dst_port,
            netcore::decode::flags(header.flags),
            seq.wrapping_add(len as u32),
            header.window,
            netcore::decode::options(&sent.options),
        )
    }
}
