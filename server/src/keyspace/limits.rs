//! How large collections may become before they change their encoding.
//!
//! A collection is asked when it grows, so a new limit counts from its next element on, as in
//! Redis.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A limit that `CONFIG SET` can change while others read it.
#[derive(Debug)]
pub struct Limit(AtomicUsize);

impl Limit {
    /// The limit now.
    #[inline]
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
    /// Changes it.
    pub fn set(&self, limit: usize) {
        self.0.store(limit, Ordering::Relaxed);
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $default:literal;)*) => {
        /// The limits in force.
        #[derive(Debug)]
        pub struct Limits { $($(#[$doc])* pub $name: Limit,)* }

        /// The same as plain numbers, as the configuration holds them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct LimitValues { $($(#[$doc])* pub $name: usize,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: Limit(AtomicUsize::new($default)),)* }
            }
        }
        impl Default for LimitValues {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
        impl Limits {
            /// Takes new ones.
            pub fn set(&self, values: &LimitValues) {
                $(self.$name.set(values.$name);)*
            }
        }
    };
}

limits! {
    /// `hash-max-listpack-entries`: most fields of a listpack.
    hash_entries = 512;
    /// `hash-max-listpack-value`: longest field or value in a listpack, in bytes.
    hash_value_bytes = 64;
    /// `set-max-intset-entries`: most members of an intset.
    intset_entries = 512;
    /// `set-max-listpack-entries`: most members of a listpack.
    set_entries = 128;
    /// `set-max-listpack-value`: longest member of a listpack, in bytes.
    set_value_bytes = 64;
    /// `zset-max-listpack-entries`: most members of a listpack.
    zset_entries = 128;
    /// `zset-max-listpack-value`: longest member of a listpack, in bytes.
    zset_value_bytes = 64;
}
