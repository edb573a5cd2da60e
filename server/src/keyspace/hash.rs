//! Hashes: fields with their values, in the order of insertion while small.

use super::dict::{Dict, Member, key_heap_bytes};
use super::key::KeyHasher;
use super::string::Str;

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    fields: Dict<Str>,
    /// Has outgrown a listpack, and no longer keeps the order of insertion.
    hashtable: bool,
}

impl Hash {
    /// How many fields.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
    /// The value of `field`.
    #[inline]
    pub fn get(&self, hasher: &KeyHasher, field: &[u8]) -> Option<&Str> {
        self.fields.get(hasher, field)
    }
    /// Sets `field`. True: it was not there before.
    #[inline]
    pub fn set(&mut self, hasher: &KeyHasher, field: &[u8], value: Str) -> bool {
        self.hashtable |= field.len() > hasher.limits.hash_value_bytes.now()
            || value.len() > hasher.limits.hash_value_bytes.now();
        if let Some(position) = self.fields.find(hasher, field) {
            *self.fields.value_mut(position) = value;
            return false;
        }
        self.hashtable |= self.fields.len() >= hasher.limits.hash_entries.now();
        self.fields.push_new(hasher, field, value);
        true
    }
    /// Removes `field`. True: it was there.
    pub fn remove(&mut self, hasher: &KeyHasher, field: &[u8]) -> bool {
        let Some(position) = self.fields.find(hasher, field) else { return false };
        if self.hashtable {
            self.fields.swap_remove(hasher, position);
        } else {
            self.fields.remove(hasher, position);
        }
        true
    }
    /// All fields with their values.
    pub fn fields(&self) -> &[Member<Str>] {
        self.fields.members()
    }
    /// Shows some fields, see [`Dict::scan`]; a small hash is shown whole.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, show: impl FnMut(&'a Member<Str>)) -> u64 {
        if !self.hashtable {
            self.fields.members().iter().for_each(show);
            return 0;
        }
        self.fields.scan(cursor, count, show)
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        if self.hashtable { "hashtable" } else { "listpack" }
    }
    /// About how many bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        let members = self.fields.members().iter();
        size_of::<Self>()
            + self.fields.heap_bytes()
            + members.map(|member| key_heap_bytes(&member.key) + member.value.heap_bytes()).sum::<usize>()
    }
}
