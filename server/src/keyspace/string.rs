//! Strings: numbers as numbers, short ones inside the table's entry, large ones shared.

use core::ops::Deref;

use bytes::Bytes;
use protocol::resp::number::{Text, format_i64, parse_i64};
use stack::app::SHARE_MIN_BYTES;

/// Longest string that lies inside the entry, in bytes.
pub const INLINE_LEN_MAX: usize = 22;
/// Longest string that Redis shows as `embstr`, in bytes.
const EMBSTR_LEN_MAX: usize = 44;

/// A string value.
#[derive(Clone, Debug)]
pub enum Str {
    /// A 64-bit integer in its one decimal form.
    Int(i64),
    /// Up to [`INLINE_LEN_MAX`] bytes.
    Inline {
        /// How many of `bytes` count.
        len: u8,
        /// The string and zeros.
        bytes: [u8; INLINE_LEN_MAX],
    },
    /// A string that is not expected to grow.
    Heap(Box<[u8]>),
    /// From [`SHARE_MIN_BYTES`] on: replies refer to it instead of copying it.
    Shared(Box<Bytes>),
    /// A string that was changed in place (`APPEND`, `SETRANGE`) and has room to grow.
    #[allow(clippy::box_collection, reason = "keeps the enum at 24 bytes")]
    Raw(Box<Vec<u8>>),
}

impl Str {
    /// A copy of `bytes`; a number in its usual form is stored as such.
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() <= 20
            && let Some(number) = parse_i64(bytes)
        {
            return Self::Int(number);
        }
        Self::plain(bytes)
    }
    /// A copy of `bytes`, never stored as a number.
    #[inline]
    pub fn plain(bytes: &[u8]) -> Self {
        if bytes.len() <= INLINE_LEN_MAX {
            let mut inline = [0; INLINE_LEN_MAX];
            inline[..bytes.len()].copy_from_slice(bytes);
            Self::Inline { len: bytes.len() as u8, bytes: inline }
        } else if bytes.len() < SHARE_MIN_BYTES {
            Self::Heap(bytes.into())
        } else {
            Self::Shared(Box::new(Bytes::copy_from_slice(bytes)))
        }
    }
    /// `bytes` as a string that was made by changing one in place.
    pub fn raw(bytes: Vec<u8>) -> Self {
        Self::Raw(Box::new(bytes))
    }
    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> StrBytes<'_> {
        match self {
            Self::Int(number) => StrBytes::Digits(format_i64(*number)),
            Self::Inline { len, bytes } => StrBytes::Slice(&bytes[..usize::from(*len)]),
            Self::Heap(bytes) => StrBytes::Slice(bytes),
            Self::Shared(bytes) => StrBytes::Slice(bytes),
            Self::Raw(bytes) => StrBytes::Slice(bytes),
        }
    }
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }
    /// True for the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The number it shows, if it shows one.
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            other => parse_i64(&other.bytes()),
        }
    }
    /// Its bytes, to change in place; from then on it is [`Str::Raw`].
    pub fn make_raw(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Self::Raw(_)) {
            *self = Self::raw(self.bytes().to_vec());
        }
        match self {
            Self::Raw(bytes) => bytes,
            _ => unreachable!("made raw above"),
        }
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Raw(_) => "raw",
            other if other.len() <= EMBSTR_LEN_MAX => "embstr",
            _ => "raw",
        }
    }
    /// Bytes held outside the table's entry.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Int(_) | Self::Inline { .. } => 0,
            Self::Heap(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len() + size_of::<Bytes>(),
            Self::Raw(bytes) => bytes.capacity() + size_of::<Vec<u8>>(),
        }
    }
}

/// A string's bytes: borrowed, or a number's digits.
pub enum StrBytes<'a> {
    /// Where they are stored.
    Slice(&'a [u8]),
    /// Made from a number.
    Digits(Text<20>),
}

impl Deref for StrBytes<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Digits(text) => text.as_bytes(),
        }
    }
}
