//! Commands on list values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=list>

mod blocking;
mod end;
mod inner;

use super::Context;
use super::table::{Command, Flags, Keys};

const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const STORE_FAST: Flags = STORE.and(Flags::FAST);
const BLOCK: Flags = Flags::WRITE.and(Flags::BLOCKING);
const BLOCK_STORE: Flags = BLOCK.and(Flags::DENYOOM);
const POLLED: Keys = Keys::Range { first: 1, last: -2, step: 1 };
const TAKE: Flags = Flags::WRITE.and(Flags::FAST);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("lpush", -3, STORE_FAST, Keys::ONE, end::lpush).doc(
        "1.0.0",
        "O(N) with N elements",
        "key element [element ...]",
        "Adds elements at the head of a list.",
    ),
    Command::new("rpush", -3, STORE_FAST, Keys::ONE, end::rpush).doc(
        "1.0.0",
        "O(N) with N elements",
        "key element [element ...]",
        "Adds elements at the tail of a list.",
    ),
    Command::new("lpushx", -3, STORE_FAST, Keys::ONE, end::lpushx).doc(
        "2.2.0",
        "O(N) with N elements",
        "key element [element ...]",
        "Adds elements at the head of a list that exists.",
    ),
    Command::new("rpushx", -3, STORE_FAST, Keys::ONE, end::rpushx).doc(
        "2.2.0",
        "O(N) with N elements",
        "key element [element ...]",
        "Adds elements at the tail of a list that exists.",
    ),
    Command::new("lpop", -2, TAKE, Keys::ONE, end::lpop).doc(
        "1.0.0",
        "O(N) with N elements",
        "key [count]",
        "Takes elements from the head of a list.",
    ),
    Command::new("rpop", -2, TAKE, Keys::ONE, end::rpop).doc(
        "1.0.0",
        "O(N) with N elements",
        "key [count]",
        "Takes elements from the tail of a list.",
    ),
    Command::new("lmpop", -4, Flags::WRITE, Keys::Count { at: 1, dest: false }, end::lmpop).doc(
        "7.0.0",
        "O(N+M) with N keys and M elements",
        "numkeys key [key ...] LEFT|RIGHT [COUNT count]",
        "Takes elements from the first list that has any.",
    ),
    Command::new("lmove", 5, STORE, Keys::TWO, end::lmove).doc(
        "6.2.0",
        "O(1)",
        "source destination LEFT|RIGHT LEFT|RIGHT",
        "Moves an element from one list's end to another's.",
    ),
    Command::new("rpoplpush", 3, STORE, Keys::TWO, end::rpoplpush).doc(
        "1.2.0",
        "O(1)",
        "source destination",
        "Moves an element from one list's tail to another's head.",
    ),
    Command::new("blpop", -3, BLOCK, POLLED, blocking::blpop).doc(
        "2.0.0",
        "O(N) with N keys",
        "key [key ...] timeout",
        "Takes an element from the head of the first list that has any, or waits for one.",
    ),
    Command::new("brpop", -3, BLOCK, POLLED, blocking::brpop).doc(
        "2.0.0",
        "O(N) with N keys",
        "key [key ...] timeout",
        "Takes an element from the tail of the first list that has any, or waits for one.",
    ),
    Command::new("blmpop", -5, BLOCK, Keys::Count { at: 2, dest: false }, blocking::blmpop).doc(
        "7.0.0",
        "O(N+M) with N keys and M elements",
        "timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]",
        "Takes elements from the first list that has any, or waits for one.",
    ),
    Command::new("blmove", 6, BLOCK_STORE, Keys::TWO, blocking::blmove).doc(
        "6.2.0",
        "O(1)",
        "source destination LEFT|RIGHT LEFT|RIGHT timeout",
        "Moves an element from one list's end to another's, or waits for one.",
    ),
    Command::new("brpoplpush", 4, BLOCK_STORE, Keys::TWO, blocking::brpoplpush).doc(
        "2.2.0",
        "O(1)",
        "source destination timeout",
        "Moves an element from one list's tail to another's head, or waits for one.",
    ),
    Command::new("llen", 2, Flags::READONLY.and(Flags::FAST), Keys::ONE, inner::llen).doc(
        "1.0.0",
        "O(1)",
        "key",
        "Length of a list.",
    ),
    Command::new("lindex", 3, Flags::READONLY, Keys::ONE, inner::lindex).doc(
        "1.0.0",
        "O(1)",
        "key index",
        "An element by its index.",
    ),
    Command::new("lrange", 4, Flags::READONLY, Keys::ONE, inner::lrange).doc(
        "1.0.0",
        "O(N) with N elements returned",
        "key start stop",
        "A range of elements.",
    ),
    Command::new("lset", 4, STORE, Keys::ONE, inner::lset).doc(
        "1.0.0",
        "O(1)",
        "key index element",
        "Sets an element by its index.",
    ),
    Command::new("linsert", 5, STORE, Keys::ONE, inner::linsert).doc(
        "2.2.0",
        "O(N) with N elements",
        "key BEFORE|AFTER pivot element",
        "Inserts an element beside another one.",
    ),
    Command::new("lrem", 4, Flags::WRITE, Keys::ONE, inner::lrem).doc(
        "1.0.0",
        "O(N) with N elements",
        "key count element",
        "Removes equal elements.",
    ),
    Command::new("ltrim", 4, Flags::WRITE, Keys::ONE, inner::ltrim).doc(
        "1.0.0",
        "O(N) with N elements removed",
        "key start stop",
        "Keeps a range of elements only.",
    ),
    Command::new("lpos", -3, Flags::READONLY, Keys::ONE, inner::lpos).doc(
        "6.0.6",
        "O(N) with N elements",
        "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        "Indexes of equal elements.",
    ),
];
