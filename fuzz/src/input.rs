//! Fuzz input read as a program: numbers, choices and bytes, one after another. Behind the end
//! everything is zero, so every input means something and a shorter one means less.

/// The bytes of an input and how far they have been read.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// At the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True when all has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes steps until all has been read, `max` at most.
    pub fn steps(&mut self, max: usize, mut step: impl FnMut(&mut Self)) {
        for _ in 0..max {
            if self.is_empty() {
                return;
            }
            step(self);
        }
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// The next byte as yes or no.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number in `0..bound`, from one byte or two; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = if bound <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        if bound == 0 { 0 } else { drawn % bound }
    }

    /// One of `choices`, by the next byte.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A byte says how many of the next bytes; at most what is there.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.u8());
        self.take(len)
    }

    /// The next `len` bytes, fewer at the end.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_on_and_then_gives_zeros() {
        let mut input = Input::new(&[1, 2, 0, 3, 9, 9, 9, 7]);
        assert!(input.flag());
        assert_eq!(input.u16(), 2);
        assert_eq!(input.bytes(), [9, 9, 9]);
        assert_eq!(input.pick(&[5, 6]), 6);
        assert!(input.is_empty());
        assert_eq!((input.u64(), input.below(10), input.bytes()), (0, 0, &[][..]));
    }
}
