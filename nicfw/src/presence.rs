//! Whether somebody serves the host queues, and what happens while nobody does.
//!
//! A host that runs in another process than the firmware may die, hang, or be cut off. The firmware
//! learns of it by the port's link ([`Firmware::host_link`]), by silence ([`crate::Config`]'s
//! `host_silence`), by a new epoch in HELLO (`channel`), or there by a number of news that it has not heard. Then the old life is over: its listeners
//! are gone and its flows are reset. What was handed over by CLOSE goes on, and so does TIME_WAIT.

use netcore::{Duration, Frame, FramePool, Instant, RxChecksum};
use protocol::tcp::Flags;

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::packet::Segment;

/// Looks for silent hosts in a time of silence: how late it may be noticed, as its share.
const LOOKS: u64 = 4;

impl<F: Frame> Firmware<F> {
    /// Says whether anybody is at the other end of a host queue's port, as far as the port knows.
    /// Say it again now and then, about every 5 ms: while nobody is there, what waits for the
    /// queue is dropped then. Panics when there is no such queue.
    pub fn host_link(&mut self, queue: usize, up: bool) {
        let host = &mut self.channel.queues[queue];
        if up {
            // Whoever comes may have known an earlier life of ours.
            return if core::mem::take(&mut host.deserted) {
                host.greet()
            };
        }
        while host.out.pop().is_some() {
            self.counters.add(Event::HostAbsentDropped);
        }
        if !core::mem::replace(&mut host.deserted, true) && host.epoch != 0 {
            self.counters.add(Event::HostGone);
            self.host_is_gone(queue);
        }
    }

    /// Gives up hosts of which nothing was heard for long.
    pub(crate) fn look_for_silence(&mut self) {
        let Some(silence) = self.config.host_silence else { return };
        let due = self.channel.silence_due;
        if self.now < due {
            return;
        }
        let interval = Duration::from_micros(silence.micros() / LOOKS);
        self.channel.silence_due = self.now + interval;
        if self.now.since(due) > interval {
            // It is us who were away (a stopped process, a paused machine): begin anew.
            for host in self.channel.queues.iter_mut() {
                host.heard_at = self.now;
            }
            return;
        }
        for queue in 0..self.channel.queues.len() {
            let epoch = self.channel.queues[queue].epoch;
            // One stack may serve several queues, and speak on one of them.
            let mut of_this_life = self.channel.queues.iter().filter(|host| host.epoch == epoch);
            if epoch != 0 && of_this_life.all(|host| self.now.since(host.heard_at) >= silence) {
                self.counters.add(Event::HostSilent);
                self.host_is_gone(queue);
            }
        }
    }

    /// When [`Self::look_for_silence`] has something to do.
    pub(crate) fn silence_deadline(&self) -> Option<Instant> {
        let anybody = self.channel.queues.iter().any(|host| host.epoch != 0);
        (self.config.host_silence.is_some() && anybody).then_some(self.channel.silence_due)
    }

    pub(crate) fn host_is_gone(&mut self, queue: usize) {
        let old = core::mem::take(&mut self.channel.queues[queue].epoch);
        self.host_life_over(queue, old);
        // If it lives after all, it has to learn that nothing of it is left.
        self.channel.queues[queue].greet();
    }

    /// True when no host takes part and one is known to be gone: whoever wants to connect is refused.
    /// One that has not said HELLO yet may be starting; frames wait for it as they would in a card.
    #[cold]
    pub(crate) fn is_nobody_there(&self) -> bool {
        let queues = &self.channel.queues;
        !queues.iter().any(|host| host.joined) && queues.iter().any(|host| host.is_gone())
    }

    /// A segment for us while nobody is there: the answer that a machine gives on which no program
    /// listens.
    #[cold]
    pub(crate) fn host_is_absent<P: FramePool<Frame = F>>(
        &mut self,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let good = match frame.rx_checksum() {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => segment.checksum_is_good(frame.bytes(), self.config.rx_partial_checksum),
        };
        if !good {
            return self.counters.add(Event::BadChecksum);
        }
        if segment.has(Flags::RST) || !segment.may_be_answered() {
            return self.counters.add(Event::NoFlowDropped);
        }
        self.counters.add(Event::HostAbsentRefused);
        self.reset_unknown(segment, Some(frame), pool);
    }
}
