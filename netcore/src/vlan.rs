//! A port in one VLAN (IEEE 802.1Q): a port around a port that takes the tag off what arrives and
//! puts it on what is sent, so that nobody behind it knows of tags.

use alloc::vec::Vec;

use protocol::ethernet::HEADER_LEN;

use crate::frame::Frame;
use crate::port::{Capabilities, FrameQueue, Port};

/// Bytes of a tag.
pub const TAG_LEN: usize = 4;
/// Largest number of a VLAN; 0 and 4095 are reserved.
pub const ID_MAX: u16 = 4094;
/// Where the tag stands: behind both hardware addresses.
const TAG_AT: usize = 12;
/// EtherType of a tag.
const TPID: [u8; 2] = [0x81, 0x00];

/// A port that is in one VLAN, or in none.
///
/// In none, frames with a priority tag (VLAN 0) are taken without it, and those of real VLANs
/// dropped, as IEEE 802.1Q wants it of a station that knows no VLANs.
#[derive(Debug)]
pub struct VlanPort<P: Port> {
    port: P,
    vlan: Option<u16>,
    received: FrameQueue<P::Frame>,
    tagged: FrameQueue<P::Frame>,
    left: Vec<P::Frame>,
    dropped: u64,
}

impl<P: Port> VlanPort<P> {
    /// `vlan`: its number, 1..=4094. `frames`: how many may be on their way out.
    pub fn new(port: P, vlan: Option<u16>, frames: usize) -> Self {
        Self {
            port,
            vlan,
            received: FrameQueue::with_capacity(frames),
            tagged: FrameQueue::with_capacity(frames),
            left: Vec::with_capacity(frames),
            dropped: 0,
        }
    }

    /// Frames of other VLANs, which were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The port inside.
    pub fn inner(&self) -> &P {
        &self.port
    }

    /// The port inside, to be changed.
    pub fn inner_mut(&mut self) -> &mut P {
        &mut self.port
    }
}

/// Takes a tag off; returns its VLAN, 0 when there was none.
#[inline]
fn untag(frame: &mut impl Frame) -> u16 {
    let bytes = frame.bytes_mut();
    if bytes.len() < HEADER_LEN + TAG_LEN || bytes[TAG_AT..TAG_AT + 2] != TPID {
        return 0;
    }
    let vlan = u16::from_be_bytes([bytes[TAG_AT + 2], bytes[TAG_AT + 3]]) & 0xfff;
    bytes.copy_within(..TAG_AT, TAG_LEN);
    frame.advance(TAG_LEN);
    vlan
}

/// Puts a tag on; false when there is no room in front.
fn tag(frame: &mut impl Frame, vlan: u16) -> bool {
    if frame.prepend(TAG_LEN).is_none() {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(TAG_LEN..TAG_LEN + TAG_AT, 0);
    bytes[TAG_AT..TAG_AT + 2].copy_from_slice(&TPID);
    bytes[TAG_AT + 2..TAG_AT + 4].copy_from_slice(&vlan.to_be_bytes());
    true
}

impl<P: Port> Port for VlanPort<P> {
    type Frame = P::Frame;

    fn capabilities(&self) -> Capabilities {
        self.port.capabilities().in_vlan(self.vlan)
    }

    #[inline]
    fn receive(&mut self, into: &mut FrameQueue<P::Frame>, max: usize) -> usize {
        self.port.receive(&mut self.received, max.min(into.room()));
        let mut count = 0;
        while let Some(mut frame) = self.received.pop() {
            if untag(&mut frame) != self.vlan.unwrap_or(0) {
                self.dropped += 1;
            } else {
                count += usize::from(into.push(frame).is_ok());
            }
        }
        count
    }

    #[inline]
    fn send(&mut self, from: &mut FrameQueue<P::Frame>) -> usize {
        let Some(vlan) = self.vlan else { return self.port.send(from) };
        let mut count = 0;
        while !self.tagged.is_full()
            && let Some(mut frame) = from.pop()
        {
            count += 1;
            if tag(&mut frame, vlan) {
                // There is room: it was looked for above.
                let _ = self.tagged.push(frame);
            } else {
                self.dropped += 1;
            }
        }
        self.port.send(&mut self.tagged);
        // What the port did not take stays with the caller, as it was and in its order.
        while let Some(mut frame) = self.tagged.pop() {
            untag(&mut frame);
            self.left.push(frame);
        }
        while let Some(frame) = self.left.pop() {
            count -= usize::from(from.unpop(frame).is_ok());
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HeapFrame;

    /// Gives back what was sent; takes no more than fits.
    struct Loop(FrameQueue<HeapFrame>);

    impl Port for Loop {
        type Frame = HeapFrame;
        fn capabilities(&self) -> Capabilities {
            Capabilities::new([2; 6], 1500)
        }
        fn receive(&mut self, into: &mut FrameQueue<HeapFrame>, max: usize) -> usize {
            let mut count = 0;
            while count < max
                && let Some(frame) = self.0.pop()
            {
                into.push(frame).unwrap();
                count += 1;
            }
            count
        }
        fn send(&mut self, from: &mut FrameQueue<HeapFrame>) -> usize {
            let mut count = 0;
            while !self.0.is_full()
                && let Some(frame) = from.pop()
            {
                self.0.push(frame).unwrap();
                count += 1;
            }
            count
        }
    }

    fn port(vlan: Option<u16>) -> VlanPort<Loop> {
        VlanPort::new(Loop(FrameQueue::with_capacity(8)), vlan, 8)
    }

    const PLAIN: [u8; 18] = *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0data";

    fn exchange(port: &mut VlanPort<Loop>, bytes: &[u8]) -> Option<Vec<u8>> {
        port.port.0.push(HeapFrame::from_bytes(bytes)).unwrap();
        let mut queue = FrameQueue::with_capacity(8);
        port.receive(&mut queue, 8);
        queue.pop().map(|frame| frame.bytes().to_vec())
    }

    #[test]
    fn a_tag_goes_on_and_comes_off() {
        let mut port = port(Some(0x123));
        let mut queue = FrameQueue::with_capacity(8);
        queue.push(HeapFrame::from_bytes(&PLAIN)).unwrap();
        assert_eq!(port.send(&mut queue), 1);
        let on_the_wire = port.port.0.pop().unwrap().bytes().to_vec();
        assert_eq!(on_the_wire[..12], PLAIN[..12]);
        assert_eq!(on_the_wire[12..], *b"\x81\0\x01\x23\x08\0data");
        assert_eq!(exchange(&mut port, &on_the_wire), Some(PLAIN.to_vec()));
    }

    #[test]
    fn what_the_port_does_not_take_stays_with_the_caller() {
        let mut port = port(Some(5));
        let mut queue = FrameQueue::with_capacity(16);
        for n in 0..12 {
            queue.push(HeapFrame::from_bytes(&[&PLAIN[..], &[n]].concat())).unwrap();
        }
        assert_eq!((port.send(&mut queue), queue.len()), (8, 4));
        let left: Vec<u8> = queue.iter().map(|frame| frame.bytes()[PLAIN.len()]).collect();
        assert_eq!(left, [8, 9, 10, 11]);
        assert_eq!(queue.front().unwrap().bytes()[..PLAIN.len()], PLAIN);
    }

    #[test]
    fn other_vlans_stay_outside() {
        let tagged = |high: u8, low: u8| {
            let mut bytes = PLAIN[..12].to_vec();
            bytes.extend_from_slice(&[0x81, 0, high, low]);
            bytes.extend_from_slice(&PLAIN[12..]);
            bytes
        };
        let mut ours = port(Some(5));
        assert_eq!(exchange(&mut ours, &PLAIN), None);
        assert_eq!(exchange(&mut ours, &tagged(0, 6)), None);
        assert_eq!(exchange(&mut ours, &tagged(0xe0, 5)), Some(PLAIN.to_vec()), "whatever the priority");
        assert_eq!(ours.dropped(), 2);
        let mut none = port(None);
        assert_eq!(exchange(&mut none, &PLAIN), Some(PLAIN.to_vec()));
        assert_eq!(exchange(&mut none, &tagged(0xe0, 0)), Some(PLAIN.to_vec()), "a priority tag");
        assert_eq!(exchange(&mut none, &tagged(0, 5)), None);
        assert_eq!(exchange(&mut none, &PLAIN[..14]), Some(PLAIN[..14].to_vec()));
    }
}
