//! Lists: a ring of values, constant time at both ends and by index.

use std::collections::VecDeque;

use super::string::Str;

/// Largest list that is a listpack, in bytes (`list-max-listpack-size -2`).
const LISTPACK_BYTES_MAX: usize = 8192;
/// A listpack's own head and end, in bytes.
const LISTPACK_FRAME: usize = 7;

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {
    items: VecDeque<Str>,
    /// What the items would take in a listpack.
    listpack_bytes: usize,
    /// Has outgrown a listpack, and not shrunk to half of one since.
    quicklist: bool,
}

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

impl List {
    /// How many items.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The item at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Str> {
        self.items.get(index)
    }
    /// The items from `start` on, at most `count`.
    pub fn range(&self, start: usize, count: usize) -> impl ExactSizeIterator<Item = &Str> {
        let start = start.min(self.items.len());
        let end = start.saturating_add(count).min(self.items.len());
        self.items.range(start..end)
    }
    /// Adds a copy of `value` at an end.
    #[inline]
    pub fn push(&mut self, end: End, value: &[u8]) {
        self.push_item(end, Str::plain(value));
    }
    /// Adds an item at an end.
    #[inline]
    pub fn push_item(&mut self, end: End, item: Str) {
        self.grow(&item);
        match end {
            End::Left => self.items.push_front(item),
            End::Right => self.items.push_back(item),
        }
    }
    /// Takes the item at an end.
    #[inline]
    pub fn pop(&mut self, end: End) -> Option<Str> {
        let item = match end {
            End::Left => self.items.pop_front(),
            End::Right => self.items.pop_back(),
        }?;
        self.shrink(&item);
        Some(item)
    }
    /// Puts a copy of `value` before the item at `index`, at most [`List::len`].
    pub fn insert(&mut self, index: usize, value: &[u8]) {
        let item = Str::plain(value);
        self.grow(&item);
        self.items.insert(index, item);
    }
    /// Puts a copy of `value` in the place of the item at `index`, below [`List::len`].
    pub fn replace(&mut self, index: usize, value: &[u8]) {
        let item = Str::plain(value);
        self.grow(&item);
        let before = core::mem::replace(&mut self.items[index], item);
        self.shrink(&before);
    }
    /// Keeps only `count` items from `start` on.
    pub fn trim(&mut self, start: usize, count: usize) {
        let end = start.saturating_add(count).min(self.items.len());
        let gone = self.items.drain(end..).map(|item| listpack_len(&item)).sum::<usize>()
            + self.items.drain(..start.min(end)).map(|item| listpack_len(&item)).sum::<usize>();
        self.listpack_bytes -= gone;
        self.settle();
    }
    /// Removes up to `limit` items that equal `value`, from the left or from the right. How many.
    pub fn remove_equal(&mut self, from: End, value: &[u8], limit: usize) -> usize {
        let matching = self.items.iter().filter(|item| *item.bytes() == *value).count();
        let removed = matching.min(limit);
        // From the right: the first ones stay.
        let mut keep = if from == End::Right { matching - removed } else { 0 };
        let mut left = removed;
        let mut gone = 0;
        self.items.retain(|item| {
            if left == 0 || *item.bytes() != *value {
                return true;
            }
            if keep > 0 {
                keep -= 1;
                return true;
            }
            left -= 1;
            gone += listpack_len(item);
            false
        });
        self.listpack_bytes -= gone;
        self.settle();
        removed
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        if self.quicklist { "quicklist" } else { "listpack" }
    }
    /// About how many bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.items.capacity() * size_of::<Str>()
            + self.items.iter().map(Str::heap_bytes).sum::<usize>()
    }

    #[inline]
    fn grow(&mut self, item: &Str) {
        self.listpack_bytes += listpack_len(item);
        self.quicklist |= LISTPACK_FRAME + self.listpack_bytes > LISTPACK_BYTES_MAX;
    }
    #[inline]
    fn shrink(&mut self, item: &Str) {
        self.listpack_bytes -= listpack_len(item);
        self.settle();
    }
    #[inline]
    fn settle(&mut self) {
        self.quicklist &= LISTPACK_FRAME + self.listpack_bytes > LISTPACK_BYTES_MAX / 2;
        if self.items.capacity() > 64 && self.items.len() < self.items.capacity() / 8 {
            self.items.shrink_to(self.items.len() * 2);
        }
    }
}

/// Bytes of an entry in a listpack: its head, its data and its length at the end.
fn listpack_len(item: &Str) -> usize {
    let body = match item.integer() {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(number) if i16::try_from(number).is_ok() => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(number) if i32::try_from(number).is_ok() => 5,
        Some(_) => 9,
        None => match item.len() {
            len @ ..64 => 1 + len,
            len @ 64..4096 => 2 + len,
            len => 5 + len,
        },
    };
    let back = match body {
        ..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        2_097_152..268_435_456 => 4,
        _ => 5,
    };
    body + back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgrows_a_listpack_and_comes_back_at_half() {
        let mut list = List::default();
        for _ in 0..81 {
            list.push(End::Right, &[b'x'; 97]);
        }
        assert_eq!((list.encoding(), list.listpack_bytes), ("listpack", 81 * 100));
        list.push(End::Left, &[b'x'; 97]);
        assert_eq!(list.encoding(), "quicklist");
        while list.len() > 41 {
            list.pop(End::Left);
        }
        assert_eq!(list.encoding(), "quicklist");
        list.pop(End::Right);
        assert_eq!(list.encoding(), "listpack");
    }

    #[test]
    fn removes_from_either_side() {
        let of = |text: &[u8]| {
            let mut list = List::default();
            text.iter().for_each(|byte| list.push(End::Right, &[*byte]));
            list
        };
        let text = |list: &List| list.range(0, 99).flat_map(|item| item.bytes().to_vec()).collect::<Vec<_>>();
        for (from, limit, removed, left) in [
            (End::Left, 2, 2, &b"bcaa"[..]),
            (End::Right, 2, 2, b"abac"),
            (End::Left, usize::MAX, 4, b"bc"),
            (End::Right, 9, 4, b"bc"),
        ] {
            let mut list = of(b"abacaa");
            assert_eq!(list.remove_equal(from, b"a", limit), removed);
            assert_eq!(text(&list), left);
        }
        let mut list = of(b"abcdef");
        list.trim(1, 3);
        assert_eq!(text(&list), b"bcd");
        assert_eq!(list.listpack_bytes, 9);
        list.trim(2, 0);
        assert_eq!((list.len(), list.listpack_bytes), (0, 0));
    }
}
