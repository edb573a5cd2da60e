//! What the firmware's thread shows to commands, and what commands ask of it.
//!
//! The thread shows what happened at least every few milliseconds, and which flows there are a few
//! times a second, so that a command waits for nobody; a capture begins in its next round.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk::Mbuf;
use netcore::{Duration, Instant};
use nic::Onlooker;
use nicfw::{Firmware, FlowView, Record};
use protocol::channel::FlowId;

use super::capture::Capture;
use super::lock;
use crate::nic::{CaptureLimits, NicView, Side};

/// Events that are kept here: more than the firmware itself keeps.
const EVENTS_MAX: usize = 8192;
/// Flows that are shown, so that looking at them never takes long.
pub(crate) const FLOWS_MAX: usize = 256;
/// How often they are.
const FLOWS_EVERY: Duration = Duration::from_millis(100);

/// Events with their numbers, oldest first.
#[derive(Default)]
struct Events {
    records: VecDeque<(u64, Record)>,
    next: u64,
}

/// Flows, and when they are looked at again.
#[derive(Default)]
struct Flows {
    views: Vec<FlowView>,
    next_look: Instant,
}

/// What both sides share.
#[derive(Default)]
pub(crate) struct Shown {
    events: Mutex<Events>,
    flows: Mutex<Flows>,
    /// The capture of each side.
    captures: Mutex<[Option<Capture>; 2]>,
    /// They are not the ones that the firmware's thread knows.
    changed: AtomicBool,
    capture_dir: String,
}

impl Shown {
    /// `capture_dir`: the folder for captures; empty: there are none.
    pub(crate) fn new(capture_dir: String) -> Self {
        Self { capture_dir, ..Self::default() }
    }

    /// Fields of INFO: name and value.
    pub(crate) fn info(&self) -> Vec<(String, String)> {
        let captures = lock(&self.captures);
        let field = |side: Side| {
            let value = match &captures[side as usize] {
                None => "off".to_owned(),
                Some(capture) => {
                    let state =
                        capture.ended().map_or_else(|| "running".into(), |why| format!("ended ({why})"));
                    format!("{state}, {} frames", capture.frames())
                }
            };
            (format!("capture_{}", side.name()), value)
        };
        let mut fields: Vec<_> = Side::ALL.map(field).into();
        fields.push(("firmware_events_written".into(), lock(&self.events).next.to_string()));
        fields
    }
}

impl Onlooker for Shown {
    type Watcher = Capture;

    /// Copies from the firmware what is new.
    fn update(&self, firmware: &Firmware<Mbuf>, now: Instant) {
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
        let mut captures = lock(&self.captures);
        for capture in captures.iter_mut() {
            if capture.as_ref().is_some_and(|capture| !capture.flush()) {
                self.changed.store(true, Ordering::Release);
            }
        }
    }

    /// The captures of both sides, when they have changed: who taps the ports takes these then.
    #[inline]
    fn changed(&self) -> Option<[Option<Capture>; 2]> {
        if !self.changed.load(Ordering::Relaxed) {
            return None;
        }
        self.changed.store(false, Ordering::Relaxed);
        let running = |capture: &Option<Capture>| capture.clone().filter(|capture| capture.ended().is_none());
        Some(lock(&self.captures).each_ref().map(running))
    }
}

impl NicView for Shown {
    fn events(&self, flow: Option<FlowId>, count: usize) -> Vec<String> {
        let events = lock(&self.events);
        let wanted =
            events.records.iter().rev().filter(|(_, record)| flow.is_none_or(|id| record.flow == id));
        wanted.take(count).map(|(number, record)| format!("event_number={number} {record}")).collect()
    }

    fn flows(&self, count: usize) -> Vec<String> {
        lock(&self.flows).views.iter().take(count).map(FlowView::to_string).collect()
    }

    fn start_capture(&self, side: Side, name: &str, limits: CaptureLimits) -> Result<(), String> {
        let mut captures = lock(&self.captures);
        let capture = &mut captures[side as usize];
        if capture.as_ref().is_some_and(|running| running.ended().is_none()) {
            return Err(format!("a capture of the {} side is running: stop it first", side.name()));
        }
        *capture = Some(Capture::start(&self.capture_dir, name, limits)?);
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
