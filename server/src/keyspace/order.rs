//! A sequence with cheap insertion, removal and access anywhere: a B-tree without keys.
//!
//! Items are found by position, or by a predicate that is true up to some position and false
//! from there on. So the order belongs to whoever uses it; here only positions count. Every
//! operation costs O(log n). A sequence that fits one leaf is a plain array.

/// Most items of a leaf, and most children of an inner node.
const LEAF_MAX: usize = 64;
const INNER_MAX: usize = 32;

/// Items in an order that their owner keeps.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<T> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

#[derive(Clone, Debug)]
struct Child<T> {
    /// A copy of the first item below.
    first: T,
    /// Items below.
    count: usize,
    node: Box<Node<T>>,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), len: 0 }
    }
}

impl<T: Copy> Sequence<T> {
    /// How many items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The number of items at the start for which `before` holds.
    pub fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(before),
                Node::Inner(children) => {
                    // The first child is entered unseen: its own search says 0 if need be.
                    let at = children[1..].partition_point(|child| before(&child.first));
                    rank += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }
    /// The leaf that holds `rank` (below [`Sequence::len`]), and the place in it.
    fn leaf(&self, mut rank: usize) -> (&[T], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => return (items, rank),
                Node::Inner(children) => {
                    let (at, rest) = child_of(children, rank);
                    (node, rank) = (&children[at].node, rest);
                }
            }
        }
    }
    /// The item at `rank`.
    pub fn get(&self, rank: usize) -> Option<T> {
        (rank < self.len).then(|| {
            let (items, at) = self.leaf(rank);
            items[at]
        })
    }
    /// Inserts an item before the one at `rank`, at most [`Sequence::len`].
    pub fn insert(&mut self, rank: usize, item: T) {
        assert!(rank <= self.len, "a rank within the sequence");
        self.len += 1;
        if let Some(right) = self.root.insert(rank, item) {
            let left = core::mem::replace(&mut self.root, Node::Inner(Vec::with_capacity(INNER_MAX + 1)));
            let left = Child::of(left);
            let Node::Inner(children) = &mut self.root else { unreachable!("made above") };
            children.extend([left, right]);
        }
    }
    /// Takes out the item at `rank`, below [`Sequence::len`].
    pub fn remove(&mut self, rank: usize) -> T {
        assert!(rank < self.len, "a rank within the sequence");
        self.len -= 1;
        let gone = self.root.remove(rank);
        if let Node::Inner(children) = &mut self.root
            && children.len() == 1
        {
            let only = children.pop().expect("one child");
            self.root = *only.node;
        }
        gone
    }
    /// Puts another item in the place of the one at `rank`, below [`Sequence::len`].
    pub fn replace(&mut self, rank: usize, item: T) {
        assert!(rank < self.len, "a rank within the sequence");
        self.root.replace(rank, item);
    }
    /// The items from `start` on, at most `count`.
    pub fn range(&self, start: usize, count: usize) -> Range<'_, T> {
        let end = start.saturating_add(count).min(self.len);
        Range { sequence: self, start: start.min(end), end, leaf: &[], leaf_start: 0 }
    }
    /// Bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

/// The child that holds `rank`, and the rank in it. `rank` may be one past the end.
fn child_of<T>(children: &[Child<T>], mut rank: usize) -> (usize, usize) {
    for (at, child) in children.iter().enumerate() {
        if rank < child.count {
            return (at, rank);
        }
        rank -= child.count;
    }
    let last = children.len() - 1;
    (last, children[last].count + rank)
}

impl<T: Copy> Child<T> {
    fn of(node: Node<T>) -> Self {
        let (first, count) = match &node {
            Node::Leaf(items) => (items[0], items.len()),
            Node::Inner(children) => (children[0].first, children.iter().map(|child| child.count).sum()),
        };
        Self { first, count, node: Box::new(node) }
    }
}

impl<T: Copy> Node<T> {
    fn first(&self) -> T {
        match self {
            Self::Leaf(items) => items[0],
            Self::Inner(children) => children[0].first,
        }
    }
    /// Leaves or children.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(children) => children.len(),
        }
    }
    fn is_too_small(&self) -> bool {
        match self {
            Self::Leaf(items) => items.len() < LEAF_MAX / 4,
            Self::Inner(children) => children.len() < INNER_MAX / 4,
        }
    }
    fn is_too_large(&self) -> bool {
        match self {
            Self::Leaf(items) => items.len() > LEAF_MAX,
            Self::Inner(children) => children.len() > INNER_MAX,
        }
    }
    /// Cuts off the right half if the node is too large.
    fn split(&mut self, appending: bool) -> Option<Child<T>> {
        if !self.is_too_large() {
            return None;
        }
        // Where items come in ascending order, full nodes stay behind.
        let at = if appending { self.width() - self.width() / 8 } else { self.width() / 2 };
        Some(Child::of(match self {
            Self::Leaf(items) => Self::Leaf(items.split_off(at)),
            Self::Inner(children) => Self::Inner(children.split_off(at)),
        }))
    }
    fn insert(&mut self, rank: usize, item: T) -> Option<Child<T>> {
        let appending = match self {
            Self::Leaf(items) => {
                items.insert(rank, item);
                rank + 1 == items.len()
            }
            Self::Inner(children) => {
                let (at, rest) = child_of(children, rank);
                let child = &mut children[at];
                child.count += 1;
                let right = child.node.insert(rest, item);
                child.first = child.node.first();
                let last = at + 1 == children.len();
                if let Some(right) = right {
                    children[at].count -= right.count;
                    children.insert(at + 1, right);
                }
                last
            }
        };
        self.split(appending)
    }
    fn remove(&mut self, rank: usize) -> T {
        match self {
            Self::Leaf(items) => items.remove(rank),
            Self::Inner(children) => {
                let (at, rest) = child_of(children, rank);
                let child = &mut children[at];
                child.count -= 1;
                let gone = child.node.remove(rest);
                if child.count > 0 {
                    child.first = child.node.first();
                }
                if child.node.is_too_small() {
                    // Joined with a neighbour, and split again if that is too much.
                    let left = at.saturating_sub(1);
                    if left + 1 < children.len() {
                        let right = children.remove(left + 1);
                        children[left].absorb(right);
                        if let Some(right) = children[left].node.split(false) {
                            children[left].count -= right.count;
                            children.insert(left + 1, right);
                        }
                    }
                }
                gone
            }
        }
    }
    fn replace(&mut self, rank: usize, item: T) {
        match self {
            Self::Leaf(items) => items[rank] = item,
            Self::Inner(children) => {
                let (at, rest) = child_of(children, rank);
                children[at].node.replace(rest, item);
                children[at].first = children[at].node.first();
            }
        }
    }
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(items) => items.capacity() * size_of::<T>(),
            Self::Inner(children) => {
                let below: usize =
                    children.iter().map(|child| child.node.heap_bytes() + size_of::<Self>()).sum();
                children.capacity() * size_of::<Child<T>>() + below
            }
        }
    }
}

impl<T: Copy> Child<T> {
    fn absorb(&mut self, right: Self) {
        if self.count == 0 {
            self.first = right.first;
        }
        self.count += right.count;
        match (&mut *self.node, *right.node) {
            (Node::Leaf(items), Node::Leaf(more)) => items.extend(more),
            (Node::Inner(children), Node::Inner(more)) => children.extend(more),
            _ => unreachable!("neighbours have the same height"),
        }
    }
}

/// Items of a [`Sequence`] in order, from either end.
pub struct Range<'a, T> {
    sequence: &'a Sequence<T>,
    start: usize,
    end: usize,
    leaf: &'a [T],
    leaf_start: usize,
}

impl<T: Copy> Range<'_, T> {
    #[inline]
    fn item(&mut self, rank: usize) -> T {
        if rank < self.leaf_start || rank >= self.leaf_start + self.leaf.len() {
            let (leaf, at) = self.sequence.leaf(rank);
            (self.leaf, self.leaf_start) = (leaf, rank - at);
        }
        self.leaf[rank - self.leaf_start]
    }
}

impl<T: Copy> Iterator for Range<'_, T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.start == self.end {
            return None;
        }
        self.start += 1;
        Some(self.item(self.start - 1))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }
}

impl<T: Copy> DoubleEndedIterator for Range<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        if self.start == self.end {
            return None;
        }
        self.end -= 1;
        Some(self.item(self.end))
    }
}

impl<T: Copy> ExactSizeIterator for Range<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_array() {
        for seed in 0..6 {
            let mut rng = netcore::rng::SeededRng::new(seed);
            let (mut sequence, mut model) = (Sequence::default(), Vec::<u64>::new());
            for step in 0..12_000u64 {
                // Grows, then shrinks; even seeds append, odd ones insert anywhere.
                let grow = if step < 8000 { 3 } else { 1 };
                if rng.next_u64() % 4 < grow {
                    let at =
                        if seed % 2 == 0 { model.len() } else { rng.next_u64() as usize % (model.len() + 1) };
                    sequence.insert(at, step);
                    model.insert(at, step);
                } else if !model.is_empty() {
                    let at = rng.next_u64() as usize % model.len();
                    if rng.next_u64().is_multiple_of(8) {
                        sequence.replace(at, step);
                        model[at] = step;
                    } else {
                        assert_eq!(sequence.remove(at), model.remove(at));
                    }
                }
                assert_eq!(sequence.len(), model.len());
                if step % 500 == 0 {
                    assert!(sequence.range(0, usize::MAX).eq(model.iter().copied()));
                    assert!(sequence.range(3, 700).rev().eq(model.iter().copied().skip(3).take(700).rev()));
                }
            }
            while !model.is_empty() {
                let at = rng.next_u64() as usize % model.len();
                assert_eq!(sequence.get(at), Some(model[at]));
                assert_eq!(sequence.remove(at), model.remove(at));
            }
        }
    }

    #[test]
    fn partition_points() {
        let mut sequence = Sequence::default();
        for number in 0..5000 {
            sequence.insert(number, number);
        }
        for number in 0..=5000 {
            assert_eq!(sequence.partition_point(|&item| item < number), number);
        }
    }
}
