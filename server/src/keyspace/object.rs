//! What a key holds.

use super::hash::Hash;
use super::list::List;
use super::set::Set;
use super::string::Str;
use super::zset::ZSet;
use crate::error::{self, Error};

/// A value of one of Redis's types. 24 bytes: short strings lie inside, the rest is boxed.
#[derive(Clone, Debug)]
pub enum Value {
    /// Bytes or a number.
    String(Str),
    /// A list.
    List(Box<List>),
    /// A hash.
    Hash(Box<Hash>),
    /// A set.
    Set(Box<Set>),
    /// A sorted set.
    ZSet(Box<ZSet>),
}

impl Value {
    /// The name that `TYPE` shows.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::ZSet(_) => "zset",
        }
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(value) => value.encoding(),
            Self::List(value) => value.encoding(),
            Self::Hash(value) => value.encoding(),
            Self::Set(value) => value.encoding(),
            Self::ZSet(value) => value.encoding(),
        }
    }
    /// About how many bytes it holds outside the table's entry.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(value) => value.heap_bytes(),
            Self::List(value) => value.heap_bytes(),
            Self::Hash(value) => value.heap_bytes(),
            Self::Set(value) => value.heap_bytes(),
            Self::ZSet(value) => value.heap_bytes(),
        }
    }
    /// The string in it.
    ///
    /// # Errors
    /// [`error::WRONG_TYPE`].
    #[inline]
    pub fn as_string(&self) -> Result<&Str, Error> {
        match self {
            Self::String(value) => Ok(value),
            _ => Err(error::WRONG_TYPE),
        }
    }
}

/// A type that a [`Value`] can hold: what the typed lookups of `Context` need to know of it.
pub trait Container: Sized {
    /// The value in `value`, if it is of this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The same, to change.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Puts it into a value.
    fn into_value(self) -> Value;
    /// Nothing in it: Redis removes such a key (never true for a string).
    fn is_empty(&self) -> bool;
}

macro_rules! boxed_containers {
    ($($type:ident),*) => { $(
        impl Container for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$type(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$type(inner) = value { Some(inner) } else { None }
            }
            fn into_value(self) -> Value {
                Value::$type(Box::new(self))
            }
            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    )* };
}
boxed_containers!(List, Hash, Set, ZSet);

impl Container for Str {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::String(inner) = value { Some(inner) } else { None }
    }
    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::String(inner) = value { Some(inner) } else { None }
    }
    fn into_value(self) -> Value {
        Value::String(self)
    }
    fn is_empty(&self) -> bool {
        false
    }
}
