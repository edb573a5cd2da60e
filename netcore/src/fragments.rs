//! Pieces of IP packets, put together again (RFC 791 §3.2, RFC 1122 §3.3.2, RFC 8200 §4.5).
//!
//! Fixed memory: [`SLOTS`] packets at once, each of at most [`PIECES`] pieces whose frames are
//! kept; the oldest packet gives way. The whole must fit into the frame of its first piece, which
//! holds anything up to our own MTU: a TCP that minds our MSS sends nothing larger. Pieces that
//! overlap are an attack, and the packet with them is dropped (RFC 5722 §4, and for IPv4 alike).

use protocol::ethernet;
use protocol::ip::{self, Address, Version};
use protocol::ipv4;
use protocol::ipv6::{self, FragmentHeader};
use protocol::tcp;

use crate::frame::{Frame, RxChecksum};
use crate::time::{Duration, Instant};

/// Packets that are being put together at once.
pub const SLOTS: usize = 16;
/// Pieces of one packet.
pub const PIECES: usize = 8;
/// How long the first piece waits for the last (RFC 8200 §4.5: 60 s; less is what attacks call
/// for, and Linux has 30 s for IPv4).
const LIFETIME: Duration = Duration::from_secs(30);

/// What became of a piece.
#[derive(Debug)]
pub enum Taken<F> {
    /// It waits for the others.
    Kept,
    /// The packet is whole, in this frame, and no fragment any more.
    Whole(F),
    /// It made no sense, overlapped another, or the whole is too large.
    Dropped,
}

/// What the pieces of one packet have in common (RFC 8200 §4.5, RFC 791 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    src: Address,
    dst: Address,
    ident: u32,
    /// Part of the name in IPv4 only.
    protocol: u8,
}

#[derive(Debug)]
struct Piece<F> {
    frame: F,
    /// Where the payload begins in the frame, and where it belongs in the whole.
    payload_at: usize,
    offset: usize,
    len: usize,
    more: bool,
}

#[derive(Debug)]
struct Slot<F> {
    name: Name,
    since: Instant,
    pieces: [Option<Piece<F>>; PIECES],
}

/// Packets that are being put together.
#[derive(Debug)]
pub struct Fragments<F> {
    slots: [Option<Slot<F>>; SLOTS],
}

impl<F> Default for Fragments<F> {
    fn default() -> Self {
        Self { slots: [const { None }; SLOTS] }
    }
}

impl<F: Frame> Fragments<F> {
    /// Takes a frame whose IP packet is a fragment ([`ip::Header::fragment`]).
    #[cold]
    pub fn take(&mut self, frame: F, now: Instant) -> Taken<F> {
        let Some((name, piece)) = read(frame) else { return Taken::Dropped };
        let is_atomic = piece.offset == 0 && !piece.more;
        if is_atomic {
            // RFC 6946 §4: on its own, whatever else waits under this name.
            let mut pieces = [const { None }; PIECES];
            pieces[0] = Some(piece);
            return join(&mut pieces).map_or(Taken::Dropped, Taken::Whole);
        }
        let slot = self.slot(name, now);
        match add(slot, piece) {
            Added::Waits => Taken::Kept,
            Added::Repeated => Taken::Dropped,
            Added::Overlaps => {
                self.forget(&name);
                Taken::Dropped
            }
            Added::Complete => {
                let whole = join(&mut slot.pieces);
                self.forget(&name);
                whole.map_or(Taken::Dropped, Taken::Whole)
            }
        }
    }

    /// Lets go of packets whose time is over; call it now and then.
    #[inline]
    pub fn expire(&mut self, now: Instant) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|slot| now.since(slot.since) >= LIFETIME) {
                *slot = None;
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.slots.iter().flatten().map(|slot| slot.since + LIFETIME).min()
    }

    fn forget(&mut self, name: &Name) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|slot| slot.name == *name) {
                *slot = None;
            }
        }
    }

    /// The slot of this packet: its own, a free one, or the oldest.
    fn slot(&mut self, name: Name, now: Instant) -> &mut Slot<F> {
        self.expire(now);
        let own = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.name == name));
        let place = own.unwrap_or_else(|| {
            let age = |at: &usize| self.slots[*at].as_ref().map_or(Instant::ZERO, |slot| slot.since);
            let free = self.slots.iter().position(Option::is_none);
            free.unwrap_or_else(|| (0..SLOTS).min_by_key(age).unwrap_or(0))
        });
        let slot = &mut self.slots[place];
        if own.is_none() {
            *slot = None;
        }
        slot.get_or_insert_with(|| Slot { name, since: now, pieces: [const { None }; PIECES] })
    }
}

enum Added {
    Waits,
    Complete,
    Repeated,
    Overlaps,
}

fn add<F>(slot: &mut Slot<F>, new: Piece<F>) -> Added {
    let new_end = new.offset + new.len;
    let mut room = None;
    for (at, place) in slot.pieces.iter().enumerate() {
        let Some(piece) = place else {
            room = room.or(Some(at));
            continue;
        };
        let end = piece.offset + piece.len;
        if (piece.offset, end, piece.more) == (new.offset, new_end, new.more) {
            return Added::Repeated;
        }
        let behind_the_end = (!piece.more && new_end > end) || (!new.more && end > new_end);
        if (new.offset < end && piece.offset < new_end) || behind_the_end || (!piece.more && !new.more) {
            return Added::Overlaps;
        }
    }
    let Some(room) = room else { return Added::Overlaps };
    slot.pieces[room] = Some(new);
    let have: usize = slot.pieces.iter().flatten().map(|piece| piece.len).sum();
    let last = slot.pieces.iter().flatten().find(|piece| !piece.more);
    if last.is_some_and(|last| have == last.offset + last.len) { Added::Complete } else { Added::Waits }
}

/// What a frame holds, if it is a piece that makes sense.
fn read<F: Frame>(frame: F) -> Option<(Name, Piece<F>)> {
    let packet = frame.bytes().get(ethernet::HEADER_LEN..)?;
    let header = ip::Header::parse(packet).ok().filter(|header| header.fragment)?;
    let (payload_at, offset, more, ident, protocol) = match header.src.version() {
        Version::V4 => {
            let fragment = ipv4::Fragment::parse(packet);
            (header.header_len, fragment.offset, fragment.more, u32::from(fragment.ident), header.protocol)
        }
        Version::V6 => {
            let fragment = FragmentHeader::parse(&packet[header.header_len..header.total_len]).ok()?;
            let payload_at = header.header_len + ipv6::FRAGMENT_HEADER_LEN;
            // RFC 8200 §4.5: the first piece holds all headers, TCP's too; filters read it there.
            let cuts_header = fragment.offset == 0
                && fragment.next == ipv4::PROTOCOL_TCP
                && header.total_len < payload_at + tcp::HEADER_LEN;
            if cuts_header {
                return None;
            }
            (payload_at, fragment.offset, fragment.more, fragment.ident, 0)
        }
    };
    let len = header.total_len - payload_at;
    let makes_sense = len > 0 && (!more || len % 8 == 0) && offset + len <= usize::from(u16::MAX);
    let name = Name { src: header.src, dst: header.dst, ident, protocol };
    let piece = Piece { payload_at: ethernet::HEADER_LEN + payload_at, offset, len, more, frame };
    makes_sense.then_some((name, piece))
}

/// Joins all pieces in the frame of the first; `None`: they do not fit.
fn join<F: Frame>(pieces: &mut [Option<Piece<F>>; PIECES]) -> Option<F> {
    let total: usize = pieces.iter().flatten().map(|piece| piece.len).sum();
    let first = pieces.iter_mut().find(|piece| piece.as_ref().is_some_and(|piece| piece.offset == 0))?;
    let mut first = first.take()?;
    first.frame.truncate(first.payload_at + first.len);
    let mut end = first.len;
    while let Some(next) = pieces.iter_mut().find(|piece| piece.as_ref().is_some_and(|p| p.offset == end)) {
        let next = next.take()?;
        let bytes = next.frame.bytes().get(next.payload_at..next.payload_at + next.len)?;
        first.frame.append(bytes.len())?.copy_from_slice(bytes);
        end += next.len;
    }
    if end != total {
        return None;
    }
    let packet = &mut first.frame.bytes_mut()[ethernet::HEADER_LEN..];
    if packet[0] >> 4 == 4 {
        ipv4::make_whole(packet);
    } else {
        let at = ipv6::make_whole(packet)?;
        // The link-layer header moves with what stood in front of the fragment header.
        let bytes = first.frame.bytes_mut();
        bytes.copy_within(..ethernet::HEADER_LEN + at, ipv6::FRAGMENT_HEADER_LEN);
        first.frame.advance(ipv6::FRAGMENT_HEADER_LEN);
    }
    first.frame.set_rx_checksum(RxChecksum::Unknown);
    Some(first.frame)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::frame::HeapFrame;
    use crate::rng::SeededRng;

    const PAYLOAD: usize = 1200;

    fn payload() -> Vec<u8> {
        (0..PAYLOAD).map(|n| (n * 7) as u8).collect()
    }

    /// Bytes `from..to` of the payload as a fragment.
    fn piece(v6: bool, ident: u16, from: usize, to: usize) -> HeapFrame {
        let more = to < PAYLOAD;
        let mut frame = HeapFrame::with_capacity(2048);
        let field = (from as u16 / 8, u16::from(more));
        let len = to - from;
        let out = frame.append(14).unwrap();
        let ether_type = ip::ether_type(if v6 { Version::V6 } else { Version::V4 });
        ethernet::Header { dst: Default::default(), src: Default::default(), ether_type }.emit(out);
        if v6 {
            let (a, b) = (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
            let out = frame.append(48).unwrap();
            ipv6::emit(&a, &b, ipv6::NEXT_FRAGMENT, 0, 64, 8 + len, out);
            let [high, low] = (field.0 << 3 | field.1).to_be_bytes();
            out[40..].copy_from_slice(&[6, 0, high, low, 0, 0, (ident >> 8) as u8, ident as u8]);
        } else {
            let out = frame.append(20).unwrap();
            let header = ipv4::Header::outgoing(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, 6, len);
            ipv4::Header { ident, dont_fragment: false, ..header }.emit(out);
            out[6..8].copy_from_slice(&(field.0 | field.1 << 13).to_be_bytes());
            out[10..12].fill(0);
            let sum = protocol::checksum::Sum::new().add(out).finish();
            out[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        frame.append(len).unwrap().copy_from_slice(&payload()[from..to]);
        frame.append(3).unwrap().fill(0x55);
        frame
    }

    fn check_whole(taken: Taken<HeapFrame>, what: &str) {
        let Taken::Whole(frame) = taken else { panic!("{what}: {taken:?}") };
        let packet = &frame.bytes()[14..];
        let header = ip::Header::parse(packet).unwrap();
        assert!(!header.fragment && header.protocol == 6, "{what}");
        assert_eq!(packet[header.header_len..header.total_len], payload(), "{what}");
        assert_eq!(packet.len(), header.total_len, "{what}");
        let link = ethernet::Header::parse(frame.bytes()).unwrap();
        assert_eq!(link.ether_type, ip::ether_type(header.src.version()), "{what}");
    }

    #[test]
    fn any_order_and_any_cut() {
        let mut rng = SeededRng::new(1);
        for round in 0..200 {
            let v6 = round % 2 == 0;
            let mut cuts = vec![0, PAYLOAD];
            for _ in 0..rng.below(7) {
                cuts.push(24 + rng.below(PAYLOAD as u64 / 8 - 3) as usize * 8);
            }
            cuts.sort_unstable();
            cuts.dedup();
            let mut pieces: Vec<_> = cuts.windows(2).map(|cut| (cut[0], cut[1])).collect();
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, rng.below(at as u64 + 1) as usize);
            }
            let mut fragments = Fragments::default();
            let last = pieces.len() - 1;
            for (n, &(from, to)) in pieces.iter().enumerate() {
                if pieces.len() == 1 && !v6 {
                    continue; // Without MF and offset it is no fragment in IPv4.
                }
                let taken = fragments.take(piece(v6, 7, from, to), Instant::ZERO);
                if n < last {
                    assert!(matches!(taken, Taken::Kept), "{pieces:?}");
                } else {
                    check_whole(taken, "last piece");
                }
            }
            assert!(fragments.next_deadline().is_none());
        }
    }

    #[test]
    fn repeats_are_harmless_and_overlaps_are_fatal() {
        for v6 in [false, true] {
            let mut fragments = Fragments::default();
            let mut take = |ident, from, to| fragments.take(piece(v6, ident, from, to), Instant::ZERO);
            assert!(matches!(take(1, 0, 400), Taken::Kept));
            assert!(matches!(take(1, 0, 400), Taken::Dropped));
            check_whole(take(1, 400, PAYLOAD), "a repeat changes nothing");
            assert!(matches!(take(2, 0, 400), Taken::Kept));
            assert!(matches!(take(2, 392, 800), Taken::Dropped));
            assert!(matches!(take(2, 400, PAYLOAD), Taken::Kept), "the first piece is gone");
            assert!(matches!(take(3, 0, 400), Taken::Kept));
            check_whole(
                {
                    assert!(matches!(take(4, 400, PAYLOAD), Taken::Kept));
                    take(3, 400, PAYLOAD)
                },
                "packets are told apart",
            );
        }
    }

    #[test]
    fn a_first_piece_holds_the_header_of_tcp() {
        for (v6, cut, is_taken) in [(true, 16, false), (true, 24, true), (false, 16, true)] {
            let mut fragments = Fragments::default();
            let taken = fragments.take(piece(v6, 1, 0, cut), Instant::ZERO);
            assert_eq!(matches!(taken, Taken::Kept), is_taken, "v6: {v6}, {cut} bytes");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut fragments = Fragments::default();
        for ident in 0..SLOTS as u16 + 1 {
            let now = Instant::from_micros(u64::from(ident));
            assert!(matches!(fragments.take(piece(false, ident, 0, 8), now), Taken::Kept));
        }
        assert_eq!(fragments.slots.iter().flatten().count(), SLOTS);
        assert!(fragments.slots.iter().flatten().all(|slot| slot.name.ident != 0), "the oldest went");
        for n in 1..PIECES {
            assert!(matches!(fragments.take(piece(false, 16, 8 * n, 8 * n + 8), Instant::ZERO), Taken::Kept));
        }
        assert!(matches!(fragments.take(piece(false, 16, 800, 808), Instant::ZERO), Taken::Dropped));
        fragments.expire(Instant::ZERO + LIFETIME + LIFETIME);
        assert_eq!(fragments.slots.iter().flatten().count(), 0);
    }

    #[test]
    fn too_large_for_a_frame_is_dropped() {
        let mut fragments = Fragments::default();
        let small = HeapFrame::from_bytes(&piece(false, 1, 0, 400).bytes()[..14 + 20 + 400]);
        assert!(matches!(fragments.take(small, Instant::ZERO), Taken::Kept));
        assert!(matches!(fragments.take(piece(false, 1, 400, PAYLOAD), Instant::ZERO), Taken::Dropped));
        assert!(fragments.next_deadline().is_none());
    }
}
