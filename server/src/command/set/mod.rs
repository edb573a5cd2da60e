//! Commands on set values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=set>

mod algebra;
mod member;

use super::Context;
use super::table::{Command, Flags, Keys};

const READ: Flags = Flags::READONLY.and(Flags::FAST);
const TAKE: Flags = Flags::WRITE.and(Flags::FAST);
const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const COST: &str = "O(N*M) with N members of the smallest set and M sets";

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("sadd", -3, STORE.and(Flags::FAST), Keys::ONE, member::sadd).doc(
        "1.0.0",
        "O(N) with N members",
        "key member [member ...]",
        "Adds members to a set.",
    ),
    Command::new("srem", -3, TAKE, Keys::ONE, member::srem).doc(
        "1.0.0",
        "O(N) with N members",
        "key member [member ...]",
        "Removes members from a set.",
    ),
    Command::new("smove", 4, TAKE, Keys::TWO, member::smove).doc(
        "1.0.0",
        "O(1)",
        "source destination member",
        "Moves a member from one set to another.",
    ),
    Command::new("sismember", 3, READ, Keys::ONE, member::sismember).doc(
        "1.0.0",
        "O(1)",
        "key member",
        "Is there such a member?",
    ),
    Command::new("smismember", -3, READ, Keys::ONE, member::smismember).doc(
        "6.2.0",
        "O(N) with N members",
        "key member [member ...]",
        "Which of these are members?",
    ),
    Command::new("scard", 2, READ, Keys::ONE, member::scard).doc(
        "1.0.0",
        "O(1)",
        "key",
        "Number of members.",
    ),
    Command::new("smembers", 2, Flags::READONLY, Keys::ONE, member::smembers).doc(
        "1.0.0",
        "O(N) with N members",
        "key",
        "All members.",
    ),
    Command::new("spop", -2, TAKE, Keys::ONE, member::spop).doc(
        "1.0.0",
        "O(N) with N members taken",
        "key [count]",
        "Takes random members out.",
    ),
    Command::new("srandmember", -2, Flags::READONLY, Keys::ONE, member::srandmember).doc(
        "1.0.0",
        "O(N) with N members returned",
        "key [count]",
        "Random members.",
    ),
    Command::new("sscan", -3, Flags::READONLY, Keys::ONE, member::sscan).doc(
        "2.8.0",
        "O(1) a call",
        "key cursor [MATCH pattern] [COUNT count]",
        "Walks over the members in steps.",
    ),
    Command::new("sinter", -2, Flags::READONLY, Keys::ALL, algebra::sinter).doc(
        "1.0.0",
        COST,
        "key [key ...]",
        "Members that all sets have.",
    ),
    Command::new("sintercard", -3, Flags::READONLY, Keys::Count { at: 1, dest: false }, algebra::sintercard)
        .doc("7.0.0", COST, "numkeys key [key ...] [LIMIT limit]", "Number of members that all sets have."),
    Command::new("sinterstore", -3, STORE, Keys::ALL, algebra::sinterstore).doc(
        "1.0.0",
        COST,
        "destination key [key ...]",
        "Stores the members that all sets have.",
    ),
    Command::new("sunion", -2, Flags::READONLY, Keys::ALL, algebra::sunion).doc(
        "1.0.0",
        "O(N) with N members of all sets",
        "key [key ...]",
        "Members that any set has.",
    ),
    Command::new("sunionstore", -3, STORE, Keys::ALL, algebra::sunionstore).doc(
        "1.0.0",
        "O(N) with N members of all sets",
        "destination key [key ...]",
        "Stores the members that any set has.",
    ),
    Command::new("sdiff", -2, Flags::READONLY, Keys::ALL, algebra::sdiff).doc(
        "1.0.0",
        "O(N*M) with N members of the first set and M sets",
        "key [key ...]",
        "Members that only the first set has.",
    ),
    Command::new("sdiffstore", -3, STORE, Keys::ALL, algebra::sdiffstore).doc(
        "1.0.0",
        "O(N*M) with N members of the first set and M sets",
        "destination key [key ...]",
        "Stores the members that only the first set has.",
    ),
];
