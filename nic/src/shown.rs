//! What the firmware's thread shows to whoever asks, and what is asked of it.
//!
//! The thread shows what happened at least every few milliseconds, and which flows there are a few
//! times a second, so that nobody who asks waits for it; a capture begins in its next round, a table of
//! steering is taken when it shows what happened.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk::Mbuf;
use netcore::{Duration, Instant};
use nicfw::{Changeable, Firmware, FlowView, Record};
use protocol::channel::FlowId;

use crate::capture::{Capture, CaptureLimits};
use crate::lock;
use crate::request::{Answer, Request, Side};
use crate::steering::Steering;

/// Events that are kept here: more than the firmware itself keeps.
const EVENTS_MAX: usize = 8192;
/// Flows that are shown, so that looking at them never takes long.
const FLOWS_MAX: usize = 256;
/// How often they are.
const FLOWS_EVERY: Duration = Duration::from_millis(100);

/// What was counted up to a moment.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    at: Instant,
    /// Ticks of the processor's clock spent in rounds that did something.
    pub(crate) busy_cycles: u64,
    firmware: Vec<(&'static str, u64)>,
    /// Of the device at the wire.
    pub(crate) device: Vec<(&'static str, u64)>,
}

/// Events with their numbers, oldest first.
#[derive(Debug, Default)]
struct Events {
    records: VecDeque<(u64, Record)>,
    next: u64,
}

/// Flows, and when they are looked at again.
#[derive(Debug, Default)]
struct Flows {
    views: Vec<FlowView>,
    next_look: Instant,
}

/// What a core of the card shows of itself, to any thread.
#[derive(Debug, Default)]
pub struct Shown {
    counted: Mutex<Counted>,
    events: Mutex<Events>,
    flows: Mutex<Flows>,
    steering: Mutex<Steering>,
    /// Settings that the firmware has not taken yet.
    changes: Mutex<Option<Changeable>>,
    /// The capture of each side.
    captures: Mutex<[Option<Capture>; 2]>,
    /// They are not the ones that the firmware's thread knows.
    changed: AtomicBool,
}

impl Shown {
    /// Every counter, and how captures stand: name and value.
    pub fn status(&self) -> Vec<(String, String)> {
        let counted = lock(&self.counted);
        let mut fields = vec![
            ("nic_at_us".to_owned(), counted.at.micros().to_string()),
            ("nic_busy_cycles".to_owned(), counted.busy_cycles.to_string()),
        ];
        for (prefix, counters) in [("firmware", &counted.firmware), ("device", &counted.device)] {
            fields
                .extend(counters.iter().map(|(name, value)| (format!("{prefix}_{name}"), value.to_string())));
        }
        drop(counted);
        let captures = lock(&self.captures);
        for side in Side::ALL {
            let value = match &captures[side as usize] {
                None => "off".to_owned(),
                Some(capture) => {
                    let state =
                        capture.ended().map_or_else(|| "running".into(), |why| format!("ended ({why})"));
                    format!("{state}, {} frames", capture.frames())
                }
            };
            fields.push((format!("capture_{}", side.name()), value));
        }
        fields.push(("firmware_events_written".into(), lock(&self.events).next.to_string()));
        fields
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// What is wrong, for whoever asks: a capture is running there or none is, or the file.
    pub fn answer(&self, request: &Request) -> Result<Answer, String> {
        match request {
            Request::Flows { count } => Ok(Answer::Lines(self.flows(*count))),
            Request::Events { flow, count } => Ok(Answer::Lines(self.events(*flow, *count))),
            Request::StartCapture { side, file, limits } => {
                self.start_capture(*side, file, *limits).map(|()| Answer::Done)
            }
            Request::StopCapture { side } => self.stop_capture(*side).map(Answer::Count),
            Request::Steering => Ok(Answer::Lines(lock(&self.steering).lines())),
            Request::Steer(change) => lock(&self.steering).change(*change).map(|()| Answer::Done),
        }
    }

    /// Has the firmware go on with other settings, within milliseconds.
    pub fn change(&self, to: Changeable) {
        *lock(&self.changes) = Some(to);
    }

    /// Ends all captures, so that their files are whole.
    pub fn end_captures(&self) {
        for capture in lock(&self.captures).iter().flatten() {
            capture.stop();
        }
    }

    /// Copies from the firmware what is new, and tells it what is wanted; `rest` adds what it does not know
    /// itself.
    pub(crate) fn update(
        &self,
        firmware: &mut Firmware<Mbuf>,
        now: Instant,
        rest: impl FnOnce(&mut Counted),
    ) {
        lock(&self.steering).update(firmware);
        if let Some(to) = lock(&self.changes).take() {
            firmware.change(to);
        }
        let mut counted = lock(&self.counted);
        counted.at = now;
        counted.firmware.clear();
        counted.firmware.extend(firmware.counters().iter().map(|(name, _, value)| (name, value)));
        counted.firmware.push(("flows_now", firmware.counters().flows()));
        counted.firmware.push(("queues_served_now", firmware.queues_served() as u64));
        counted.device.clear();
        rest(&mut counted);
        drop(counted);
        let mut events = lock(&self.events);
        for (number, record) in firmware.history().since(events.next) {
            if events.records.len() == EVENTS_MAX {
                events.records.pop_front();
            }
            events.records.push_back((number, *record));
        }
        events.next = firmware.history().written();
        drop(events);
        let mut flows = lock(&self.flows);
        if now >= flows.next_look {
            flows.next_look = now + FLOWS_EVERY;
            flows.views.clear();
            flows.views.extend(firmware.views().take(FLOWS_MAX));
        }
        drop(flows);
        for capture in lock(&self.captures).iter().flatten() {
            if !capture.flush() {
                self.changed.store(true, Ordering::Release);
            }
        }
    }

    /// The captures of both sides, when they have changed: who taps the ports takes these then.
    /// Asked in every round.
    #[inline]
    pub(crate) fn changed(&self) -> Option<[Option<Capture>; 2]> {
        if !self.changed.load(Ordering::Relaxed) {
            return None;
        }
        self.changed.store(false, Ordering::Relaxed);
        let running = |capture: &Option<Capture>| capture.clone().filter(|capture| capture.ended().is_none());
        Some(lock(&self.captures).each_ref().map(running))
    }

    fn events(&self, flow: Option<FlowId>, count: usize) -> Vec<String> {
        let events = lock(&self.events);
        let wanted =
            events.records.iter().rev().filter(|(_, record)| flow.is_none_or(|id| record.flow == id));
        wanted.take(count).map(|(number, record)| format!("event_number={number} {record}")).collect()
    }

    fn flows(&self, count: usize) -> Vec<String> {
        lock(&self.flows).views.iter().take(count).map(FlowView::to_string).collect()
    }

    fn start_capture(&self, side: Side, file: &Path, limits: CaptureLimits) -> Result<(), String> {
        let mut captures = lock(&self.captures);
        let capture = &mut captures[side as usize];
        if capture.as_ref().is_some_and(|running| running.ended().is_none()) {
            return Err(format!("a capture of the {} side is running: stop it first", side.name()));
        }
        *capture = Some(Capture::start(file, limits)?);
        self.changed.store(true, Ordering::Release);
        Ok(())
    }

    fn stop_capture(&self, side: Side) -> Result<u64, String> {
        let capture = lock(&self.captures)[side as usize].take();
        let capture = capture.ok_or_else(|| format!("no capture of the {} side is running", side.name()))?;
        self.changed.store(true, Ordering::Release);
        capture.stop();
        Ok(capture.frames())
    }
}
