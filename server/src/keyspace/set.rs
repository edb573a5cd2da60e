//! Sets: sorted integers, or members in the order of insertion while small, or a hash table.

use protocol::resp::number::{format_i64, parse_i64};

use super::dict::{Dict, key_heap_bytes};
use super::key::KeyHasher;
use super::string::StrBytes;

/// A set.
#[derive(Clone, Debug)]
pub struct Set(Form);

#[derive(Clone, Debug)]
enum Form {
    /// Ascending.
    Integers(Vec<i64>),
    /// A listpack, in the order of insertion.
    Listpack(Dict<()>),
    /// A hash table, in no order.
    Table(Dict<()>),
}

impl Default for Set {
    fn default() -> Self {
        Self(Form::Integers(Vec::new()))
    }
}

impl Set {
    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Integers(numbers) => numbers.len(),
            Form::Listpack(members) | Form::Table(members) => members.len(),
        }
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The member at `position`, below [`Set::len`].
    #[inline]
    pub fn at(&self, position: usize) -> StrBytes<'_> {
        match &self.0 {
            Form::Integers(numbers) => StrBytes::Digits(format_i64(numbers[position])),
            Form::Listpack(members) | Form::Table(members) => {
                StrBytes::Slice(members.at(position).key.as_bytes())
            }
        }
    }
    /// All members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StrBytes<'_>> {
        (0..self.len()).map(|position| self.at(position))
    }
    /// Is `member` in it?
    #[inline]
    pub fn contains(&self, hasher: &KeyHasher, member: &[u8]) -> bool {
        self.position(hasher, member).is_some()
    }
    fn position(&self, hasher: &KeyHasher, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Form::Integers(numbers) => numbers.binary_search(&parse_i64(member)?).ok(),
            Form::Listpack(members) | Form::Table(members) => members.find(hasher, member),
        }
    }
    /// `count` members will be added, `first` among them: takes the form for that many.
    pub fn expect(&mut self, hasher: &KeyHasher, first: &[u8], count: usize) {
        if self.is_empty() {
            let integers = parse_i64(first).is_some() && count <= hasher.limits.intset_entries.now();
            self.0 = if integers { Form::Integers(Vec::new()) } else { Form::Listpack(Dict::default()) };
        }
        match self.0 {
            Form::Integers(_) if count > hasher.limits.intset_entries.now() => self.make_table(hasher),
            Form::Listpack(_) if count > hasher.limits.set_entries.now() => self.make_table(hasher),
            _ => {}
        }
    }
    /// Adds `member`. True: it was not there before.
    #[inline]
    pub fn add(&mut self, hasher: &KeyHasher, member: &[u8]) -> bool {
        if let Form::Integers(numbers) = &mut self.0 {
            if let Some(number) = parse_i64(member) {
                let Err(position) = numbers.binary_search(&number) else { return false };
                numbers.insert(position, number);
                if numbers.len() > hasher.limits.intset_entries.now() {
                    self.make_table(hasher);
                }
                return true;
            }
            self.make_listpack(hasher);
        }
        if matches!(self.0, Form::Listpack(_))
            && (self.len() >= hasher.limits.set_entries.now()
                || member.len() > hasher.limits.set_value_bytes.now())
            && !self.contains(hasher, member)
        {
            self.make_table(hasher);
        }
        let (Form::Listpack(members) | Form::Table(members)) = &mut self.0 else {
            unreachable!("no integers any more")
        };
        let is_new = members.find(hasher, member).is_none();
        if is_new {
            members.push_new(hasher, member, ());
        }
        is_new
    }
    /// Removes `member`. True: it was there.
    pub fn remove(&mut self, hasher: &KeyHasher, member: &[u8]) -> bool {
        let found = self.position(hasher, member);
        found.map(|position| self.remove_at(hasher, position)).is_some()
    }
    /// Removes the member at `position`, below [`Set::len`].
    pub fn remove_at(&mut self, hasher: &KeyHasher, position: usize) {
        match &mut self.0 {
            Form::Integers(numbers) => drop(numbers.remove(position)),
            Form::Listpack(members) => drop(members.remove(hasher, position)),
            Form::Table(members) => drop(members.swap_remove(hasher, position)),
        }
    }
    /// Shows some members, see [`Dict::scan`]; a small set is shown whole.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut show: impl FnMut(StrBytes<'a>)) -> u64 {
        match &self.0 {
            Form::Table(members) => {
                members.scan(cursor, count, |member| show(StrBytes::Slice(member.key.as_bytes())))
            }
            _ => {
                self.iter().for_each(show);
                0
            }
        }
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Integers(_) => "intset",
            Form::Listpack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }
    /// About how many bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        let held = match &self.0 {
            Form::Integers(numbers) => numbers.capacity() * size_of::<i64>(),
            Form::Listpack(members) | Form::Table(members) => {
                let keys = members.members().iter().map(|member| key_heap_bytes(&member.key));
                members.heap_bytes() + keys.sum::<usize>()
            }
        };
        size_of::<Self>() + held
    }

    /// Integers become members like any other.
    fn make_listpack(&mut self, hasher: &KeyHasher) {
        if let Form::Integers(numbers) = &self.0 {
            let mut members = Dict::default();
            numbers.iter().for_each(|number| members.push_new(hasher, format_i64(*number).as_bytes(), ()));
            self.0 = Form::Listpack(members);
        }
    }
    fn make_table(&mut self, hasher: &KeyHasher) {
        self.make_listpack(hasher);
        if let Form::Listpack(members) = &mut self.0 {
            self.0 = Form::Table(core::mem::take(members));
        }
    }
}
