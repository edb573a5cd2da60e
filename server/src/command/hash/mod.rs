//! Commands on hash values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=hash>

mod field;
mod whole;

use super::Context;
use super::table::{Command, Flags, Keys};

const READ: Flags = Flags::READONLY.and(Flags::FAST);
const STORE_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("hset", -4, STORE_FAST, Keys::ONE, field::hset).doc(
        "2.0.0",
        "O(N) with N fields",
        "key field value [field value ...]",
        "Sets fields of a hash.",
    ),
    Command::new("hmset", -4, STORE_FAST, Keys::ONE, field::hmset).doc(
        "2.0.0",
        "O(N) with N fields",
        "key field value [field value ...]",
        "Sets fields of a hash (old form of HSET).",
    ),
    Command::new("hsetnx", 4, STORE_FAST, Keys::ONE, field::hsetnx).doc(
        "2.0.0",
        "O(1)",
        "key field value",
        "Sets a field that does not exist yet.",
    ),
    Command::new("hget", 3, READ, Keys::ONE, field::hget).doc(
        "2.0.0",
        "O(1)",
        "key field",
        "The value of a field.",
    ),
    Command::new("hmget", -3, READ, Keys::ONE, field::hmget).doc(
        "2.0.0",
        "O(N) with N fields",
        "key field [field ...]",
        "The values of several fields.",
    ),
    Command::new("hdel", -3, Flags::WRITE.and(Flags::FAST), Keys::ONE, field::hdel).doc(
        "2.0.0",
        "O(N) with N fields",
        "key field [field ...]",
        "Removes fields.",
    ),
    Command::new("hexists", 3, READ, Keys::ONE, field::hexists).doc(
        "2.0.0",
        "O(1)",
        "key field",
        "Is there such a field?",
    ),
    Command::new("hstrlen", 3, READ, Keys::ONE, field::hstrlen).doc(
        "3.2.0",
        "O(1)",
        "key field",
        "Length of a field's value.",
    ),
    Command::new("hincrby", 4, STORE_FAST, Keys::ONE, field::hincrby).doc(
        "2.0.0",
        "O(1)",
        "key field increment",
        "Adds to a number in a field.",
    ),
    Command::new("hincrbyfloat", 4, STORE_FAST, Keys::ONE, field::hincrbyfloat).doc(
        "2.6.0",
        "O(1)",
        "key field increment",
        "Adds to a floating point number in a field.",
    ),
    Command::new("hlen", 2, READ, Keys::ONE, whole::hlen).doc("2.0.0", "O(1)", "key", "Number of fields."),
    Command::new("hkeys", 2, Flags::READONLY, Keys::ONE, whole::hkeys).doc(
        "2.0.0",
        "O(N) with N fields",
        "key",
        "All fields.",
    ),
    Command::new("hvals", 2, Flags::READONLY, Keys::ONE, whole::hvals).doc(
        "2.0.0",
        "O(N) with N fields",
        "key",
        "All values.",
    ),
    Command::new("hgetall", 2, Flags::READONLY, Keys::ONE, whole::hgetall).doc(
        "2.0.0",
        "O(N) with N fields",
        "key",
        "All fields with their values.",
    ),
    Command::new("hrandfield", -2, Flags::READONLY, Keys::ONE, whole::hrandfield).doc(
        "6.2.0",
        "O(N) with N fields returned",
        "key [count [WITHVALUES]]",
        "Random fields.",
    ),
    Command::new("hscan", -3, Flags::READONLY, Keys::ONE, whole::hscan).doc(
        "2.8.0",
        "O(1) a call",
        "key cursor [MATCH pattern] [COUNT count]",
        "Walks over the fields in steps.",
    ),
];
